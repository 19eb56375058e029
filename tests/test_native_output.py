"""What is written to stderr while libraries load is seen if that fails, and only then."""

import os
import signal
import subprocess
import sys
import textwrap

import pytest

from tfinit.native_output import stderr_held


def test_stderr_is_held_and_open_again(capfd):
    with stderr_held():
        os.write(2, b"a library")
    os.write(2, b"after")
    assert capfd.readouterr().err == "after"


def ended(code, **options):
    """(exit code, output, errors) of a process in which TensorFlow would be loading."""
    begin = """
import os, signal, sys, warnings
from tfinit.cli.console import loading
from tfinit.cli.signals import heard
from tfinit.errors import InputError

def loads():
    os.write(2, b"a library\\n")
    warnings.warn("beware")
"""
    done = subprocess.run(
        [sys.executable, "-c", begin + textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=60,
        **options,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("code", "after"),
    [
        ("with loading():\n    loads()", 0),
        ("with heard():\n    with loading():\n        loads(); os.kill(os.getpid(), 15)", 143),
        (
            "try:\n    with loading():\n        loads(); raise InputError('no')\n"
            "except InputError:\n    pass",
            0,
        ),
    ],
    ids=["well", "a signal", "an error of one line"],
)
def test_nothing_is_said_of_what_ends_well_or_in_one_line(tmp_path, code, after):
    found, _, errors = ended(code, env={**os.environ, "TMPDIR": str(tmp_path)})
    assert found == after
    assert "a library" not in errors and "beware" not in errors
    assert len(errors.splitlines()) == (after != 0)
    assert not [*tmp_path.iterdir()]


def test_what_was_written_is_shown_before_the_error_of_an_import():
    code, _, errors = ended("with loading():\n    loads()\n    import no_such_module")
    assert code == 1
    told = [errors.index(words) for words in ("a library", "UserWarning: beware", "Traceback")]
    assert told == sorted(told)
    assert "ModuleNotFoundError: No module named 'no_such_module'" in errors


@pytest.mark.parametrize("how", ["os.abort()", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_what_was_written_is_shown_when_the_process_dies(tmp_path, how):
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    code, _, errors = ended(f"with loading():\n    loads()\n    {how}", env=env)
    assert code in (-signal.SIGABRT, -signal.SIGKILL)
    assert "a library" in errors and "UserWarning: beware" in errors
    assert ("Fatal Python error: Aborted" in errors) == (code == -signal.SIGABRT)
    assert not [*tmp_path.iterdir()]


def test_inside_another_it_leaves_the_showing_to_that(capfd):
    with pytest.raises(ZeroDivisionError), stderr_held(), stderr_held((Exception,)) as stderr:
        print("ours", file=stderr, flush=True)
        os.write(2, b"a library")
        1 / 0  # noqa: B018
    assert capfd.readouterr().err == "ours\na library"


def test_a_stderr_that_is_closed_already(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)  # so Python begins then
    kept = os.dup(2)
    try:
        os.close(2)
        with stderr_held():
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
