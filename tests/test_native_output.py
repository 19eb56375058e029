"""What libraries write past Python's stderr is not seen while it is closed."""

import os

from tfinit.native_output import native_stderr_closed


def test_stderr_is_closed_and_open_again(capfd):
    with native_stderr_closed():
        os.write(2, b"a library")
    os.write(2, b"after")
    assert capfd.readouterr().err == "after"


def test_a_stderr_that_is_closed_already(tmp_path):
    kept = os.dup(2)
    try:
        os.close(2)
        with native_stderr_closed():
            pass
    finally:
        os.dup2(kept, 2)
        os.close(kept)
