"""How many survive each level, by hand; and where pruning comes to its end."""

import doctest

import numpy as np
import pytest
from bare_runs import run

from tfinit import datasets
from tfinit.errors import InputError
from tfinit.lottery import Conclusion, LotteryConfig, counts
from tfinit.lottery.counts import last_level, next_counts
from tfinit.lottery.experiment import total_steps

# 4 inputs and 2 classes: of mlp-2-relu 4·64 + 64·2 weights.
DATA = datasets.from_arrays(
    *((np.random.default_rng(i).random((40, 4), np.float32), np.arange(40) % 2) for i in range(2)),
    name="noise",
)
SMALL = {"model": "mlp-2-relu", "steps": 2, "evaluate_every": 2, "batch_size": 4, "seeds": (0,)}


def halved(**kwargs):
    """256 and 128 weights, halved: 1 of each at level 8 and 7, and 0.5 rounds to 0."""
    given = {"levels": 40}
    if kwargs.get("allocation") == "global":
        given["prune_fraction"] = 0.5
    else:  # in place of a fifth and a tenth
        given["layer_prune_fractions"] = {"fc1/kernel": 0.5, "output/kernel": 0.5}
    return LotteryConfig(**{**SMALL, **given, **kwargs})


@pytest.mark.parametrize(
    ("kwargs", "sizes", "expected"),
    [
        # 8, 4, 2, 1, 1 and 4, 2, 1, 1
        ({"levels": 9}, {"a": 8, "b": 4}, (3, 2)),
        ({"levels": 3}, {"a": 8, "b": 4}, (3, 2)),
        ({"levels": 2}, {"a": 8, "b": 4}, (2, 3)),
        # 12, 6, 3, 1 (1.5 rounds to 2), 1
        ({"levels": 9, "allocation": "global"}, {"a": 8, "b": 4}, (3, 1)),
        # a fifth of 3 rounds to 1, of 2 to 0; a tenth of 5 to 0: 10, 8, 6, 5, 4, 3, 2
        ({"levels": 9, "prune_fraction": 0.2}, {"a": 10, "b": 1}, (6, 3)),
        # more than half of the last one: nothing is left, and nothing follows
        ({"levels": 9, "layer_prune_fractions": {"a": 0.6, "b": 0.9}}, {"a": 2, "b": 1}, (2, 0)),
        ({"levels": 9, "prune_fraction": 1e-3}, {"a": 10, "b": 1}, (0, 11)),
    ],
)
def test_the_last_level_that_prunes(kwargs, sizes, expected):
    if kwargs.get("allocation") != "global":
        kwargs = {"output_prune_fraction": 0.5, **kwargs}
    assert last_level(LotteryConfig(**{"prune_fraction": 0.5, **kwargs}), sizes) == expected


def test_that_nothing_is_left_is_no_rounding():
    config = LotteryConfig(levels=9, layer_prune_fractions={"a": 0.6, "b": 0.9})
    assert counts.ends_early(config, {"a": 2, "b": 1}) == (
        "The experiment ends at level 2 of 9, with 0 of 3 weights: further levels would train the "
        "same tickets again"
    )


def test_counts_of_a_level():
    config = LotteryConfig(layer_prune_fractions={"b": 0.5})
    assert next_counts(config, {"a": 100, "b": 10, "c": 50}) == {"a": 80, "b": 5, "c": 45}
    assert next_counts(LotteryConfig(allocation="global"), {"a": 100, "b": 50}) == 120


@pytest.mark.parametrize(
    ("allocation", "controls", "left"),
    [("uniform", ("one-shot", "snip"), 2), ("global", ("one-shot", "fine-tune"), 1)],
)
def test_it_ends_with_the_last_level_that_prunes_and_says_so_at_once(
    tmp_path, allocation, controls, left
):
    """And so do the controls, a run that goes on, the steps that are told, and the conclusion."""
    config = halved(run_dir=tmp_path / "r", controls=controls, allocation=allocation)
    for _ in range(2):
        lines, told, found = [], [], []
        results = run(config, told.append, found.append, lines.append, DATA)
        assert lines[0] == (
            f"The experiment ends at level 8 of 40, with {left} of 384 weights: of so few the "
            "fraction to prune rounds to none, and further levels would train the same tickets "
            "again."
        )
        assert sum(told) == total_steps(config, 8) == 2 + 8 * (1 + len(controls)) * 2
        assert found == results
        for branch in ("ticket", *controls):
            of = [r for r in results if r.branch == branch]
            assert [r.level for r in of] == list(range(branch != "ticket", 9))
            left_of = [r.survivors for r in of]
            assert sorted(set(left_of), reverse=True) == left_of and left_of[-1] == left
        if allocation == "uniform":
            assert results[1].alive == {"fc1/kernel": 128, "output/kernel": 64}
        # One weight is in one tensor.
        empty = [key for key, mask in results[-3].mask.items() if not mask.any()]
        assert len(empty) == (allocation == "global")
    said = str(Conclusion.of(results, config))
    assert said.endswith(lines[0])
    for key in empty:
        first = min(r.level for r in results if r.branch == "ticket" and not r.mask[key].any())
        about = f"level {first} ticket: nothing is left of {key}. What comes behind sees nothing"
        assert sum(about in line for line in lines) == 1
        assert f"From level {first} on nothing is left of {key}." in said
    assert "ends at level" not in str(Conclusion.of(results))


@pytest.mark.parametrize("allocation", ["uniform", "global"])
def test_a_fraction_that_prunes_nothing_is_refused(tmp_path, allocation):
    fractions = {"prune_fraction": 1e-4}
    if allocation == "uniform":
        fractions |= {"output_prune_fraction": 1e-4, "layer_prune_fractions": {}}
    config = halved(run_dir=tmp_path / "r", allocation=allocation, **fractions)
    with pytest.raises(
        InputError, match=r"`prune_fraction` 0\.0001 of the 384 weights rounds to no"
    ):
        run(config, data=DATA)
    assert not (tmp_path / "r").exists()


def test_examples():
    failed, tried = doctest.testmod(counts)
    assert (failed, tried > 0) == (0, True)
