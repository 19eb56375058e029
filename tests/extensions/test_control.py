"""A control that is added: in flags, help and errors, trained, in figures, tables and CSVs."""

import re

import numpy as np
import pytest
from bare_runs import run
from drawn import labels
from recipes import recipe
from rich.console import Console

from tfinit.cli import main
from tfinit.errors import InputError
from tfinit.lottery import BRANCHES, LotteryConfig
from tfinit.lottery.branches import TICKET
from tfinit.lottery.controls import CONTROLS, Control, register
from tfinit.lottery.report import summarize, to_csv
from tfinit.lottery.table import lottery_table
from tfinit.plots import lottery_figure


@pytest.fixture
def added():
    exec(recipe("A control of the lottery"), {})
    yield
    del CONTROLS["flipped"]


def test_it_is_trained_and_found_wherever_controls_are(added, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["lottery", "--help"])
    told = " ".join(re.sub("[│\\s]+", " ", capsys.readouterr().out).split())
    assert "flipped (the ticket's mask, all signs flipped)" in told
    with pytest.raises(InputError, match=r"may name .*\bflipped, .*snip-flipped"):
        LotteryConfig(controls=("flippd",))

    short = {"levels": 1, "steps": 2, "train_examples": 200, "seeds": (0,)}
    controls = ("flipped", "snip-flipped")
    config = LotteryConfig(controls=controls, run_dir=tmp_path, rewind_step=1, **short)
    assert LotteryConfig.from_json(config.to_json(), tmp_path) == config
    results = run(config)
    of = {(r.branch, r.level): r for r in results}
    ticket, initial = of["ticket", 1], of["ticket", 0].initial
    for name, source in (("flipped", ticket.rewind), ("snip-flipped", initial)):
        r = of[name, 1]
        for key, weight in source.items():
            sign = -1 if key in r.mask else 1
            np.testing.assert_array_equal(r.rewind[key], sign * weight)
    assert all(np.array_equal(of["flipped", 1].mask[key], m) for key, m in ticket.mask.items())

    assert f"\n0,flipped,1,{ticket.density}," in to_csv(results)
    rows = summarize(results)
    console = Console(width=80)
    with console.capture() as table:
        console.print(lottery_table(rows, "made up"))
    assert "snip-flipped" in table.get()
    legend = labels(lottery_figure(rows, "made up").axes[0])
    assert {"same mask, signs flipped", "SNIP, signs flipped"} <= set(legend)


def test_it_is_gone_again():
    assert not [name for name in BRANCHES if "flipped" in name]
    with pytest.raises(InputError, match="`controls` may name"):
        LotteryConfig(controls=("flipped",))


@pytest.mark.parametrize("name", ["reinit", "A name", "", "../up", "two--hyphens"])
def test_a_name_is_that_of_a_new_directory(name):
    with pytest.raises(InputError, match=r"`name` of a control .* other than reinit,.*received"):
        register(Control(name, "it", "it"))


def test_the_docs_have_every_control(lottery_docs):
    """Those of the ticket's mask, and other masks; what is combined has no line of its own."""
    for branch in BRANCHES.values():
        if branch.name != TICKET and (not branch.control or branch.masks == TICKET):
            line = f"| `{branch.name}` | {branch.description} | {branch.label} |"
            assert line in lottery_docs, f"docs/lottery.md lacks: {line}"


@pytest.fixture
def lottery_docs(pytestconfig):
    return (pytestconfig.rootpath / "docs/lottery.md").read_text(encoding="utf-8").splitlines()
