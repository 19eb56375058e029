"""What is trained beside the tickets, and from where: every branch once, late rewinding too."""

from collections import Counter

import numpy as np
import pytest
from bare_runs import run

from tfinit import datasets
from tfinit.lottery import BRANCHES, LotteryConfig, Store, lottery
from tfinit.lottery.branches import AT_INITIALIZATION, CHAINS, TICKET
from tfinit.lottery.experiment import total_steps
from tfinit.lottery.frameworks import TrainingPlan, framework_of
from tfinit.pruning.scoring.scores import SCORES, Formula, register

STEPS, REWIND, SEED = 6, 2, 4
CONTROLS = tuple(name for name in BRANCHES if name != TICKET)
KERNELS = {"fc1/kernel": 19200, "fc2/kernel": 30000, "output/kernel": 1000}
# Survivors of each level, by hand: 20% a level, 10% of the output layer.
COUNTS = {
    1: {"fc1/kernel": 15360, "fc2/kernel": 24000, "output/kernel": 900},
    2: {"fc1/kernel": 12288, "fc2/kernel": 19200, "output/kernel": 810},
}


def config_at(path, **kwargs):
    kwargs = {
        "levels": 2,
        "steps": STEPS,
        "evaluate_every": STEPS,
        "seeds": (SEED,),
        "train_examples": 400,
        "learning_rate_drops": (4,),
        **kwargs,
    }
    return LotteryConfig(run_dir=path, **kwargs)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("run")
    return config_at(path, rewind_step=REWIND, controls=CONTROLS)


@pytest.fixture(scope="module")
def parts(config):
    return framework_of(config, datasets.load(config.dataset).subset(config.train_examples))


@pytest.fixture(scope="module")
def everything(config, parts):
    """All branches of one replicate, by branch and level; and the steps that were told."""
    told = []
    results = lottery(parts, Store(config), config, SEED, told.append)
    return {(r.branch, r.level): r for r in results}, told


def same(a, b, keys=KERNELS):
    return all(np.array_equal(a[key], b[key]) for key in keys)


def test_there_are_50_branches_and_their_names_say_what_they_are():
    assert len(BRANCHES) == 8 * 6 + 2
    assert {"reinit", "random", "shuffle", "one-shot-reinit", "snip-shuffle"} <= set(CONTROLS)
    assert not BRANCHES["snip"].late
    assert not BRANCHES["reinit"].late
    assert not BRANCHES["snip-constant-signs"].late
    assert all(BRANCHES[name].late for name in ("ticket", "shuffle", "constant-signs", *CHAINS))


def test_a_score_for_before_training_is_a_source_of_masks_too():
    try:
        register(Formula(lambda weights: weights**2, "energy"))
        assert len(BRANCHES) == 9 * 6 + 2
        branch = BRANCHES["energy-reinit"]
        assert (branch.masks, branch.weights, branch.late) == ("energy", "reinit", False)
        assert branch.label == "energy, reinitialized"
        assert BRANCHES["energy"].label == "energy at initialization"
        assert LotteryConfig(controls=("energy",)).controls == ("energy",)
    finally:
        del SCORES["energy"]
    assert "energy" not in BRANCHES


def test_all_are_there_and_progress_adds_up(config, everything):
    of, told = everything
    assert set(of) == {("ticket", 0)} | {(b, level) for b in BRANCHES for level in (1, 2)}
    assert len(of) == 1 + 2 * 50
    late = sum(branch.late for branch in BRANCHES.values())
    assert sum(told) == total_steps(config) == STEPS + 2 * (50 * STEPS - late * REWIND)


def test_every_branch_trains_from_where_it_should_to_the_last_step(everything):
    of, _ = everything
    for (branch, level), r in of.items():
        start = REWIND if level and BRANCHES[branch].late else 0
        assert r.metrics.step.tolist() == [start, STEPS], branch
        assert len(r.metrics.losses) == STEPS - start, branch


@pytest.mark.parametrize("name", CONTROLS)
@pytest.mark.parametrize("level", [1, 2])
def test_survivors(everything, name, level):
    of, _ = everything
    branch, r = BRANCHES[name], of[name, level]
    counts = {key: int(mask.sum()) for key, mask in r.mask.items()}
    assert sum(counts.values()) == sum(COUNTS[level].values())
    source = of[branch.masks, level] if branch.masks in BRANCHES else r
    assert counts == {key: int(mask.sum()) for key, mask in source.mask.items()}
    assert same(r.mask, source.mask) != branch.shuffled
    if branch.masks not in AT_INITIALIZATION:
        assert counts == COUNTS[level]
    for key, mask in r.mask.items():
        assert not np.any(r.final[key][~mask])
        assert np.all(r.final[key][mask] != 0)


@pytest.mark.parametrize("name", ["ticket", *CONTROLS])
def test_what_a_branch_begins_with(everything, name):
    of, _ = everything
    branch, dense = BRANCHES[name], of["ticket", 0]
    rewind, other = of["ticket", 1].rewind, of["reinit", 1].initial
    begins = rewind if branch.late else dense.initial
    assert not same(rewind, dense.initial)
    assert not same(other, dense.initial)
    for level in (1, 2):
        r = of[name, level]
        if branch.weights == "rewind":
            assert same(r.rewind, begins, begins)
        elif branch.weights == "reinit":
            assert same(r.rewind, other, other)
            assert same(r.initial, other, other)
        elif branch.weights == "own":
            before = of[name, level - 1] if level > 1 else dense
            assert same(r.rewind, before.final, before.final)
        for key in KERNELS:
            if branch.weights == "reinit-signs":
                np.testing.assert_array_equal(np.sign(r.rewind[key]), np.sign(dense.initial[key]))
                np.testing.assert_array_equal(np.abs(r.rewind[key]), np.abs(other[key]))
            elif branch.weights == "constant-signs":
                np.testing.assert_array_equal(np.sign(r.rewind[key]), np.sign(begins[key]))
                magnitude = np.unique(np.abs(r.rewind[key]))
                assert magnitude.tolist() == [np.float32(begins[key].astype("f8").std())]


def smallest_pruned(before, mask):
    for key, alive in before.mask.items():
        size = np.abs(before.final[key])
        assert not np.any(mask[key] & ~alive)
        assert size[alive & ~mask[key]].max() <= size[mask[key]].min()


def test_masks_of_one_shot_come_from_the_dense_network_and_those_of_chains_from_their_own(
    everything,
):
    of, _ = everything
    for level in (1, 2):
        smallest_pruned(of["ticket", 0], of["one-shot", level].mask)
        for name in ("ticket", *CHAINS):
            before = of[name, level - 1] if level > 1 else of["ticket", 0]
            smallest_pruned(before, of[name, level].mask)
    assert same(of["one-shot", 1].mask, of["ticket", 1].mask)
    assert not same(of["one-shot", 2].mask, of["ticket", 2].mask)


def test_shuffled_masks_are_nested_as_their_source_is(everything):
    of, _ = everything
    for key in KERNELS:
        assert not np.any(of["shuffle", 2].mask[key] & ~of["shuffle", 1].mask[key])


@pytest.mark.parametrize("name", ["ticket", "lr-rewind", "fine-tune", "shuffle", "snip", "reinit"])
def test_a_branch_trained_alone_ends_with_the_same_bits(everything, parts, name):
    """From mask × weights, on the data of step k on, at the learning rate that it says."""
    of, _ = everything
    r = of[name, 2]
    start = REWIND if BRANCHES[name].late else 0
    rate_from = STEPS if name == "fine-tune" else start
    parts.train(TrainingPlan(r.rewind, r.mask, SEED, start, rate_from), lambda done: None)
    final = parts.final()
    assert {k: v.tobytes() for k, v in final.items()} == {
        k: v.tobytes() for k, v in r.final.items()
    }


def test_the_rewind_point_is_the_dense_run_at_step_k(everything, parts):
    of, _ = everything
    r = of["ticket", 0]
    assert same(r.rewind, r.initial, r.initial)
    seen = {}
    parts.train(TrainingPlan(r.initial, r.mask, SEED, at={REWIND: seen.update}), lambda done: None)
    for level in (1, 2):
        rewind = of["ticket", level].rewind
        assert {k: v.tobytes() for k, v in rewind.items()} == {
            k: v.tobytes() for k, v in seen.items()
        }
    assert {k: v.tobytes() for k, v in parts.final().items()} == {
        k: v.tobytes() for k, v in r.final.items()
    }


def test_results_are_read_when_they_are_asked_for(everything):
    """A result holds names and numbers; its arrays stay in the directory."""
    of, _ = everything
    for r in of.values():
        held = Counter(type(getattr(r, part)).__name__ for part in ("initial", "mask", "final"))
        assert held == {"StoredArrays": 3}
    first, second = (of["ticket", 2].final["fc1/kernel"] for _ in range(2))
    assert first is not second
    assert first.tobytes() == second.tobytes()
    with pytest.raises(KeyError):
        _ = of["ticket", 2].final["fc9/kernel"]


def test_the_score_decides_which_survive(tmp_path):
    """The others: tests/pruning/scoring/test_after_training.py."""
    config = config_at(tmp_path, score="magnitude-increase", controls=("one-shot",))
    of = {(r.branch, r.level): r for r in run(config)}
    for branch, level, before in (
        ("ticket", 1, ("ticket", 0)),
        ("ticket", 2, ("ticket", 1)),
        ("one-shot", 2, ("ticket", 0)),
    ):
        source, mask = of[before], of[branch, level].mask
        assert {k: int(m.sum()) for k, m in mask.items()} == COUNTS[level]
        for key, alive in source.mask.items():
            scores = np.abs(source.final[key]) - np.abs(source.rewind[key])
            assert not np.any(mask[key] & ~alive)
            assert scores[alive & ~mask[key]].max() <= scores[mask[key]].min()


def test_global_allocation_counts_all_weights_as_one(tmp_path):
    config = config_at(
        tmp_path, allocation="global", controls=("shuffle", "one-shot", "synflow", "lr-rewind")
    )
    results = run(config)
    # 50200, 40160, 32128: exact, however the layers share them.
    for r in results:
        assert r.survivors == [50200, 40160, 32128][r.level], r.branch
    _, before, after = (r for r in results if r.branch == "ticket")
    shares = {k: m.mean() for k, m in after.mask.items()}
    assert len({round(float(s), 3) for s in shares.values()}) > 1
    final, alive = dict(before.final), dict(before.mask)
    magnitudes = [np.abs(final[k])[m] for k, m in alive.items()]
    kept = [np.abs(final[k])[m] for k, m in after.mask.items()]
    assert np.array_equal(
        np.sort(np.concatenate(magnitudes))[-32128:], np.sort(np.concatenate(kept))
    )
