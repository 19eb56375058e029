"""The lottery tab: counts, nested masks, rewinding, and that what is pruned stays so."""

import base64
import itertools

import numpy as np
import pytest

from tfinit.demo.lottery import Lottery
from tfinit.demo.settings import LotterySettings, Pane, Settings
from tfinit.demo.training import PaneTraining
from tfinit.errors import InputError

RUN = Settings(depth=3, width=16, steps=300, seed=1, panes=(Pane(initialization="he"),))


@pytest.fixture(scope="module")
def trained():
    training = PaneTraining(RUN, 0)
    training.begin()
    training.advance(300)
    return training


def levels(training, **changes):
    lottery = Lottery(training, LotterySettings(**{"levels": 3, "prune_fraction": 0.5, **changes}))
    events = list(lottery.events())
    return lottery, [e for name, e in events if name == "level"], events


def masks(level):
    return [
        np.frombuffer(base64.b64decode(m["values"]), "uint8").reshape(m["rows"], m["columns"])
        for m in level["masks"]
    ]


def test_levels_prune_to_the_count_inside_the_level_before(trained):
    lottery, found, events = levels(trained)
    assert [level["level"] for level in found] == [0, 1, 2, 3]
    # 2·16 + 16·16 + 16·2 weights, halved.
    assert [level["remaining"] for level in found] == [320, 160, 80, 40]
    assert [level["density"] for level in found] == [1, 0.5, 0.25, 0.125]
    for larger, smaller in itertools.pairwise(found):
        for before, after in zip(masks(larger), masks(smaller), strict=True):
            assert (after <= before).all()
    assert sum(int(m.sum()) for m in masks(found[-1])) == 40
    # Level 0 is the pane itself; the others train as many steps.
    assert found[0]["test_accuracy"] == trained.curves["test_accuracy"][-1]
    assert all(level["curves"]["step"][-1] == 300 for level in found)
    assert events[-1][0] == "lottery_done"
    # What is pruned is zero after training, and nothing else.
    for mask, key in zip(masks(found[-1]), ("fc1", "fc2", "output"), strict=True):
        assert np.array_equal(lottery._final[f"{key}/kernel"] != 0, mask.astype(bool))


def test_magnitude_decides(trained):
    _, found, _ = levels(trained, levels=1)
    final = trained.final()
    kernels = [np.abs(final[f"{key}/kernel"]) for key in ("fc1", "fc2", "output")]
    pooled = np.sort(np.concatenate([k.ravel() for k in kernels]))
    for kernel, mask in zip(kernels, masks(found[1]), strict=True):
        assert np.array_equal(mask.astype(bool), kernel >= pooled[160])


def test_survivors_begin_where_they_began_or_anew(trained):
    """A ticket's first cost is that of the initial weights under its mask, by NumPy."""
    _, rewound, _ = levels(trained, levels=1)
    _, anew, _ = levels(trained, levels=1, rewind="reinitialize")
    weights = {
        key: trained.initial[f"{key}/kernel"] * mask
        for key, mask in zip(("fc1", "fc2", "output"), masks(rewound[1]), strict=True)
    }
    from tfinit.datasets import load

    x, y = load("circles").train
    for key in ("fc1", "fc2"):
        x = np.maximum(x @ weights[key], 0)
    logits = x @ weights["output"]
    cost = np.mean(np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(y)), y])
    assert rewound[1]["curves"]["train_cost"][0] == pytest.approx(cost, rel=1e-4)
    assert anew[1]["curves"]["train_cost"][0] != pytest.approx(cost, rel=1e-2)


def test_it_can_be_repeated_and_leaves_the_pane_as_it_was(trained):
    before = trained.final()
    _, first, _ = levels(trained, levels=2)
    _, second, _ = levels(trained, levels=2)
    assert [level["curves"] for level in first] == [level["curves"] for level in second]
    after = trained.final()
    assert all(np.array_equal(before[key], after[key]) for key in before)


def test_nothing_to_prune_yet():
    training = PaneTraining(RUN, 0)
    training.begin()
    with pytest.raises(InputError, match="has not trained yet"):
        Lottery(training, LotterySettings())
