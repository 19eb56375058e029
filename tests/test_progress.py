"""What is seen of long work: on a terminal, in a file, and by a function."""

import doctest
import re
import warnings

import numpy as np
import pytest

from tfinit import progress as module
from tfinit.errors import InputError, TfinitWarning
from tfinit.progress import Bar, as_warning, check_progress, following


def work(progress):
    """Half of four steps."""
    with following(progress, "beginning") as follower:
        follower.expect(4)
        follower(2)
        follower.say("two are done")


@pytest.fixture
def terminal(monkeypatch):
    """For rich, standard error is one."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")


def test_a_terminal_has_a_bar_with_a_percentage_the_time_left_and_the_last_line(terminal, capsys):
    work(True)
    out, err = capsys.readouterr()
    assert out == ""
    for word in ("two are done", "50%", "left"):
        assert word in err
    assert err.endswith("\x1b[2K")  # and in the end the line is erased


def test_the_part_and_the_times_are_seen_in_80_columns_however_long_the_line(
    terminal, monkeypatch, capsys
):
    monkeypatch.setenv("COLUMNS", "80")
    with Bar() as bar:
        bar.expect(4, parts=3)
        bar(2)
        bar.say("truncated_normal seed 0 level  1 reinit-signs: density 80.2%, test accuracy 76.5%")
        bar.at_work({"learning_rate=0.01 seed 0 level 1 reinit": "worker 3 on 10.0.0.1, 2 CPUs"})
        bar._rich.refresh()
    drawn = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().err)
    lines = re.split(r"[\r\n]+", drawn)
    assert max(map(len, lines)) <= 80
    [*_, line] = [line for line in lines if "truncated" in line]
    assert re.search(r"truncated_n.*… [━╸╺]+ +50% \d:\d\d:\d\d left ", line), line


@pytest.mark.parametrize("progress", [False, None, np.False_, lambda done: None])
def test_nothing_is_drawn_where_it_is_not_asked_for(terminal, capsys, progress):
    work(progress)
    assert capsys.readouterr() == ("", "")


def test_a_file_gets_nothing_but_from_a_command_its_lines(monkeypatch, capsys):
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    work(True)
    assert capsys.readouterr() == ("", "")
    with Bar(lines=True) as bar:
        work(bar)
        bar.warn("something is odd")
    assert capsys.readouterr().err == "two are done\ntfinit: something is odd\n"


def test_what_is_said_is_text_and_a_line_stays_one(terminal, capsys):
    """For rich "[/x]" is the end of something, and more than 80 columns are two lines."""
    for lines in (False, True):
        with Bar("runs/[/x]", lines) as bar:
            bar.say("runs/[/y] [bold]b")
            bar.warn("[/z]" * 100)
        err = capsys.readouterr().err
        assert "runs/[/y] [bold]b" in err
        assert f"tfinit: {'[/z]' * 100}\n" in err


def test_what_goes_beside_each_other_has_a_line_each_while_it_lasts(terminal, capsys):
    with Bar() as bar:
        bar.at_work({"level 1": "here", "level 2": "[/there]"})
        bar.say("both")
        bar.at_work({"level 2": "[/there]"})
        capsys.readouterr()
        bar.say("one")
        bar._rich.refresh()
        left = capsys.readouterr().err
    assert "level 2: [/there]" in left
    assert "level 1" not in left


def beside(bar):
    """One of four parts is done, one runs, and two wait, one of them for a worker."""
    bar.expect(400, parts=4)
    bar.at_work({"first": None, "second": None})
    bar.at_work({"first": "here 1", "second": None})
    bar(100)
    bar.one_ended()
    bar.at_work({"second": "here 1", "third": None})
    bar.say("first is done")


def test_how_many_are_done_run_and_wait_is_beside_the_bar(terminal, capsys):
    with Bar() as bar:
        beside(bar)
        bar._rich.refresh()
    err = capsys.readouterr().err
    assert "1 done, 1 running, 2 waiting; first is done" in err
    assert "third: waits for a worker" in err


def test_in_a_file_it_is_in_the_lines(monkeypatch, capsys):
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    with Bar(lines=True) as bar:
        beside(bar)
        bar.one_ended()
    assert capsys.readouterr().err.splitlines() == [
        "begun: first: here 1",
        "begun: second: here 1",
        "first is done (1 done, 1 running, 2 waiting)",
    ]


def test_a_function_is_told_the_steps_and_no_more():
    told = []
    work(told.append)
    assert told == [2]


@pytest.mark.parametrize("wrong", ["yes", 1, 0, 2.5, [], {}])
def test_what_is_no_progress_is_refused(wrong):
    with pytest.raises(InputError, match="`progress` must be True, False or a function of the num"):
        check_progress(wrong)


def test_an_error_in_the_work_comes_through_and_the_bar_is_gone(terminal, capsys):
    with pytest.raises(ZeroDivisionError), following(True):
        1 / 0  # noqa: B018
    assert capsys.readouterr().err.endswith("\x1b[2K")


def test_a_warning_is_at_the_line_that_called_tfinit():
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        as_warning("it is so")
    assert [(str(w.message), w.category, w.filename) for w in seen] == [
        ("it is so", TfinitWarning, __file__)
    ]


def test_examples():
    failed, tried = doctest.testmod(module)
    assert (failed, tried > 0) == (0, True)
