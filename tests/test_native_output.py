"""What libraries write past Python's stderr is not seen while it is closed."""

import os
import subprocess
import sys

from tfinit.native_output import native_stderr_closed


def test_stderr_is_closed_and_open_again(capfd):
    with native_stderr_closed():
        os.write(2, b"a library")
    os.write(2, b"after")
    assert capfd.readouterr().err == "after"


def test_a_stderr_that_is_closed_already(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)  # so Python begins then
    kept = os.dup(2)
    try:
        os.close(2)
        with native_stderr_closed():
            pass
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def test_a_command_without_stdout_and_stderr_says_nothing_to_its_files(tmp_path):
    """What they were is else the next file that is opened: a result, with a warning in it."""
    code = """
import os
from tfinit.cli import main
try:
    main(["lottery", "--levels", "0"])
except SystemExit as stop:
    code = stop.code
with open("file", "wb") as file:
    os.write(1, b"a library")
    os.write(2, b"a library")
    print("a line")
os._exit(code)
"""
    shell = f'exec "{sys.executable}" -c "$CODE" >&- 2>&-'
    environment = {**os.environ, "CODE": code}
    asked = subprocess.run(["sh", "-c", shell], env=environment, cwd=tmp_path)
    assert asked.returncode == 2
    assert (tmp_path / "file").read_bytes() == b""


def test_an_error_does_not_go_to_stdout_where_stderr_is_closed():
    code = "from tfinit.cli import main; main(['lottery', '--levels', '0'])"
    shell = f'exec "{sys.executable}" -c "{code}" 2>&-'
    asked = subprocess.run(["sh", "-c", shell], capture_output=True)
    assert (asked.returncode, asked.stdout) == (2, b"")
