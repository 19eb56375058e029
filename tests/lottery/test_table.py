"""Tables to the letter, and that they fit a terminal."""

import io

import numpy as np
import pytest
from rich.console import Console

from tfinit.lottery.linear_connectivity import StabilityRow
from tfinit.lottery.report import LevelSummary
from tfinit.lottery.table import initializations_table, lottery_table, stability_table
from tfinit.spread import Spread


def printed(rows, table=lottery_table):
    """The lines on a terminal of 80 columns, without the spaces that centre them."""
    console = Console(width=80, file=io.StringIO())
    console.print(table(rows, "made up"))
    return [line.strip() for line in console.file.getvalue().splitlines() if line.strip()]


def row(branch, level, accuracy, n=3, diverged=0):
    nothing = Spread(np.nan, np.nan, 0)
    final = Spread(accuracy, 0.001, n) if n else nothing
    there = Spread(accuracy - 0.01, 0.002, n) if n else nothing
    step = Spread(1000.0 * (level + 1), 50.0, n) if n else nothing
    start = Spread(0.1, 0.0, n + diverged)
    return LevelSummary(branch, level, 0.8**level, step, there, final, start, diverged)


def rows_of(*controls, **kwargs):
    rows = [row("ticket", 0, 0.98, **kwargs)]
    for level in (1, 2):
        rows.append(row("ticket", level, 0.98, **kwargs))
        rows += [row(name, level, 0.975 - level / 100, **kwargs) for name in controls]
    return rows


def test_ticket_and_one_control_side_by_side():
    assert printed(rows_of("reinit")) == [
        "made up",
        "test accuracy in %, mean±standard deviation; gain of ticket in points",
        "ticket   ticket   ticket    reinit   reinit   reinit final",
        "level density stop step    there    final stop step    there    final  gain",
        "───────────────────────────────────────────────────────────────────────────",
        "0  100.0%   1000±50 97.0±0.2 98.0±0.1",
        "1   80.0%   2000±50 97.0±0.2 98.0±0.1   2000±50 95.5±0.2 96.5±0.1  +1.5",
        "2   64.0%   3000±50 97.0±0.2 98.0±0.1   3000±50 94.5±0.2 95.5±0.1  +2.5",
    ]


def test_one_replicate_has_no_deviation():
    lines = printed(rows_of("reinit", n=1))
    assert lines[5].split() == ["0", "100.0%", "1000", "97.0", "98.0"]


def test_tickets_alone():
    lines = printed(rows_of())
    assert "gain" not in " ".join(lines)
    assert lines[-1].split() == ["2", "64.0%", "3000±50", "97.0±0.2", "98.0±0.1"]


def test_three_branches_are_two_tables():
    assert printed(rows_of("reinit", "my own")) == [
        "made up",
        "final test accuracy in %, mean±std",
        "level density   ticket   reinit   my own",
        "────────────────────────────────────────",
        "0  100.0% 98.0±0.1",
        "1   80.0% 98.0±0.1 96.5±0.1 96.5±0.1",
        "2   64.0% 98.0±0.1 95.5±0.1 95.5±0.1",
        "early-stop step, mean±std",
        "level density  ticket  reinit  my own",
        "─────────────────────────────────────",
        "0  100.0% 1000±50",
        "1   80.0% 2000±50 2000±50 2000±50",
        "2   64.0% 3000±50 3000±50 3000±50",
    ]


def test_what_diverged_is_marked():
    rows = [*rows_of("reinit", "random"), row("random", 3, 0.9, n=2, diverged=1)]
    rows += [row("reinit", 3, 0.9, n=0, diverged=3)]
    lines = printed(rows)
    assert [line.split() for line in lines if line.startswith("3")] == [
        ["3", "51.2%", "–", "†3", "90.0±0.1", "†1"],
        ["3", "51.2%", "–", "†3", "4000±50", "†1"],
    ]
    assert lines[-1] == "†n: n replicates diverged, left out"


def test_a_gain_over_what_diverged_is_not_told():
    lines = printed([*rows_of("reinit"), row("ticket", 3, 0.9), row("reinit", 3, 0.9, 0, 3)])
    assert lines[-2].split()[-5:] == ["–", "†3", "–", "–", "†3"]


MANY = ("reinit", "shuffle", "random", "reinit-signs", "constant-signs", "one-shot", "snip-reinit")


@pytest.mark.parametrize("controls", [MANY[:n] for n in range(len(MANY) + 1)] + [MANY[4:5]])
@pytest.mark.parametrize("n", [1, 5])
def test_80_columns_hold_every_branch_and_each_table_has_the_ticket(controls, n):
    console = Console(width=200, file=io.StringIO())
    console.print(lottery_table(rows_of(*controls, n=n), "made up"))
    lines = console.file.getvalue().splitlines()
    assert max(len(line) for line in lines) <= 80
    headers = [line.split() for line in lines if line.split()[:2] == ["level", "density"]]
    if len(controls) > 1:
        assert all(words[2] == "ticket" for words in headers)
        shown = [word for words in headers for word in words[3:]]
        assert shown == [*controls, *controls]


def test_initializations_are_columns_of_tickets():
    bad = [row("ticket", 0, 0.0, n=0, diverged=3)]
    lines = printed({"he": rows_of("reinit"), "zeros": bad}, initializations_table)
    assert lines[:2] == ["made up", "final test accuracy of the tickets in %, mean±std"]
    assert [line.split() for line in lines[2:] if "─" not in line] == [
        ["level", "density", "he", "zeros"],
        ["0", "100.0%", "98.0±0.1", "–", "†3"],
        ["1", "80.0%", "98.0±0.1"],
        ["2", "64.0%", "98.0±0.1"],
        ["†n:", "n", "replicates", "diverged,", "left", "out"],
    ]


def test_barriers():
    nothing = Spread(np.nan, np.nan, 2)
    rows = [
        StabilityRow(0, Spread(0.4, 0.02, 3), Spread(0.35, 0.01, 3)),
        StabilityRow(1000, Spread(0.001, 0.0, 1), nothing),
    ]
    lines = printed(rows, stability_table)
    assert [line.split() for line in lines[-2:]] == [
        ["0", "40.0±2.0", "35.0±1.0"],
        ["1000", "0.1", "–"],
    ]
