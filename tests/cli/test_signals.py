"""Signals, each in a process of its own that imports nothing heavy."""

import os
import signal
import subprocess
import sys
import textwrap

import pytest

from tfinit.cli import _typed
from tfinit.cli.signals import heard

BEGIN = """
import contextlib, gc, os, signal, sys, time
from tfinit.cli import signals
from tfinit.cli.signals import heard, nothing_begun

def send(name="SIGTERM"):
    os.kill(os.getpid(), signal.Signals[name])

def go_on(seconds=20):
    "As work does, in which a signal can be heard."
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.01)
    print("not heard")

"""
STOPPED = "tfinit: stopped (SIGTERM). Nothing was written.\n"


def process(code, *, prefix=(), **options):
    """(exit code, output, errors) of a process that runs some code."""
    # Ctrl-C is ignored by what a shell runs in the background, and would be by the children.
    options.setdefault("preexec_fn", lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    done = subprocess.run(
        [*prefix, sys.executable, "-c", BEGIN + textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=60,
        **options,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("name", "code", "line"),
    [
        ("SIGINT", 130, "tfinit: interrupted. Start again.\n"),
        ("SIGTERM", 143, "tfinit: stopped (SIGTERM). Start again.\n"),
        ("SIGHUP", 129, "tfinit: stopped (SIGHUP). Start again.\n"),
    ],
)
def test_a_signal_ends_the_block_and_the_process(name, code, line):
    work = f"""
    print("seen")
    with heard() as here:
        here.after = "Start again."
        with contextlib.ExitStack() as put_back:
            put_back.callback(print, "put in order")
            send("{name}")
            go_on()
    print("not reached")
    """
    assert process(work) == (code, "seen\nput in order\n", line)


@pytest.mark.parametrize(
    "work",
    [
        # As JAX has one: whatever is raised there is printed, and lost.
        """
        def collected(phase, info):
            gc.callbacks.remove(collected)
            send()
        gc.callbacks.append(collected)
        gc.collect()
        """,
        """
        class Dying:
            def __del__(self):
                send()
        Dying()
        """,
        """
        try:
            send()
        except:
            pass
        """,
        """
        for _ in range(3):
            with contextlib.suppress(BaseException):
                send()
                time.sleep(1)
        """,
    ],
    ids=["garbage collector", "__del__", "except:", "often"],
)
def test_a_signal_that_was_swallowed_comes_again(work):
    code = "with heard():\n" + textwrap.indent(textwrap.dedent(work), "    ") + "    go_on()\n"
    assert process(code) == (143, "", STOPPED)


@pytest.mark.parametrize(
    "work",
    [
        # RuntimeError, in Python before 3.12.
        """
        class Named:
            def __set_name__(self, owner, name):
                send()
                time.sleep(1)
        class Owner:
            name = Named()
        """,
        """
        try:
            send()
            time.sleep(1)
        except BaseException as error:
            raise ValueError("The same, in other words") from None
        """,
        # What a process of ours says that was ended with this one.
        """
        with contextlib.suppress(BaseException):
            send()
        sys.exit(1)
        """,
    ],
    ids=["__set_name__", "ValueError", "exit"],
)
def test_what_became_of_a_signal_is_the_signal(work):
    code = "with heard():\n" + textwrap.indent(textwrap.dedent(work), "    ")
    assert process(code) == (143, "", STOPPED)


def test_what_is_begun_is_put_in_order_however_often_a_signal_comes(tmp_path):
    work = f"""
    with heard():
        try:
            send()
            go_on()
        finally:
            for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGTERM"):
                send(name)
                time.sleep(0.01)
            open({str(tmp_path / "file")!r}, "w").write("whole")
    """
    assert process(work) == (143, "", STOPPED)
    assert (tmp_path / "file").read_text() == "whole"


def test_where_that_hangs_a_later_signal_ends_the_process():
    work = """
    signals._PATIENCE = 0.0
    with heard():
        try:
            send()
            go_on()
        finally:
            send()
            go_on()
    """
    assert process(work) == (143, "", STOPPED)


def test_while_all_loads_a_signal_ends_the_process_at_once_with_its_line():
    work = """
    import atexit
    atexit.register(print, "cleared up")
    with heard(), nothing_begun():
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 2)  # as around TensorFlow's loading
        try:
            send()
            go_on()
        finally:
            print("an exception here may abort the process")
    """
    assert process(work) == (143, "cleared up\n", STOPPED)


def test_a_signal_that_was_ignored_stays_so():
    work = """
    with heard():
        send("SIGHUP")
        time.sleep(0.1)
        print("goes on")
    """
    ignored = {"preexec_fn": lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)}
    assert process(work, **ignored) == (0, "goes on\n", "")


def test_streams_that_are_gone_change_no_exit_code():
    work = """
    reader, writer = os.pipe()
    os.close(reader)
    os.dup2(writer, 1)
    os.dup2(writer, 2)
    sys.stdout = open(1, "w", closefd=False)
    with heard():
        print("into a buffer")
        send("SIGHUP")
        go_on()
    """
    assert process(work) == (129, "", "")


def can_unshare():
    """Whether a process can be made the first of a namespace, as in a container."""
    try:
        done = subprocess.run(
            ["unshare", "--pid", "--fork", "--mount-proc", "true"], capture_output=True
        )
    except FileNotFoundError:
        return False
    return done.returncode == 0


def test_as_the_first_process_of_a_container():
    if not can_unshare():
        pytest.skip("no namespace can be made here, which needs root")
    work = """
    import subprocess
    assert os.getpid() == 1
    with heard():
        # By another, as `docker stop` does: the kernel drops what nobody listens to.
        subprocess.Popen(["sh", "-c", "kill -TERM 1"])
        go_on()
    """
    prefix = ("unshare", "--pid", "--fork", "--mount-proc")
    assert process(work, prefix=prefix) == (143, "", STOPPED)


def test_whose_process_it_is_not_gets_no_handlers():
    """A user's own script that imports parts of tfinit."""
    work = """
    import tfinit, tfinit.cli, tfinit.cli.console, tfinit.lottery.config
    print(signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)
    """
    assert process(work) == (0, "True\n", "")


@pytest.fixture(params=["heard", "ignored"])
def numbers(request):
    """The signals, as they are here or ignored as under nohup and in a shell's background."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    if request.param == "ignored":
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
    yield numbers
    for number, handler in before.items():
        signal.signal(number, handler)


def test_after_the_block_all_is_as_before(numbers):
    before = [*map(signal.getsignal, numbers), sys.unraisablehook]
    descriptors = len(os.listdir("/proc/self/fd"))
    with heard():
        assert signal.getsignal(signal.SIGTERM) != signal.SIG_DFL
    assert sys.unraisablehook == before[-1]
    with pytest.raises(ValueError, match="of mine"), heard():
        raise ValueError("of mine")
    assert [*map(signal.getsignal, numbers), sys.unraisablehook] == before
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_an_interruption_that_is_no_signal_is_told_alike(capsys):
    with pytest.raises(SystemExit) as ended, heard("Start again."):
        raise KeyboardInterrupt
    assert ended.value.code == 130
    assert capsys.readouterr() == ("", "tfinit: interrupted. Start again.\n")


@pytest.mark.parametrize(
    ("words", "after"),
    [
        (["lottery"], "Start the same command again to go on where it was."),
        (["initializations"], "Start the same command again to go on where it was."),
        (["stability"], "Start the same command again to go on where it was."),
        (
            ["prune", "m.keras", "--data", "d"],
            "Start the same command again to go on where it was.",
        ),
        (["compare"], "Nothing was written."),
        (["diagnose", "m.keras"], "Nothing was written."),
        (["export", "m.keras", "m.tflite"], "Nothing was written."),
        (["demo"], "The page could not be opened yet."),
    ],
)
def test_what_a_command_says_to_do_next(words, after):
    assert _typed(words).stopped == after
