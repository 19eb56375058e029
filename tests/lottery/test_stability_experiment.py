"""Linear mode connectivity: what the line between two copies of a network must be."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from bare_runs import measure_stability

from tfinit import datasets
from tfinit.errors import InputError
from tfinit.lottery import LotteryConfig, StabilityConfig, StabilityResult, Store
from tfinit.lottery.frameworks import TrainingPlan, framework_of
from tfinit.lottery.linear_connectivity import (
    barrier,
    interpolate,
    stability_to_csv,
    summarize_stability,
)
from tfinit.lottery.stability_experiment import branch_of, copy_seed, stability_steps
from tfinit.lottery.store import Place

# So much noise that copies from initialization end in different valleys.
NOISY = {"optimizer": "momentum", "learning_rate": 0.1, "batch_size": 10}
KS = (20, 0, 8)


def noisy(run_dir, **kwargs):
    kwargs = {"steps": 30, "spawn_steps": KS, "points": 5, "evaluate_every": 15, **kwargs}
    return StabilityConfig(seeds=(3,), run_dir=run_dir, **{**NOISY, **kwargs})


def files(run_dir):
    return {str(p.relative_to(run_dir)): p.read_bytes() for p in run_dir.rglob("*.npz")}


def stored(config, branch, k=0, seed=3):
    """The result of a training, read from its file."""
    store = Store(config)
    initial = store.initial(seed, "trunk", lambda: pytest.fail("not there"))
    start = initial if k == 0 else store.rewind(seed, branch_of(k))
    return store.level(Place(seed, branch, 0), initial, start)


def same(one, two):
    assert one.keys() == two.keys()
    return all(one[key].tobytes() == two[key].tobytes() for key in one)


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    config = noisy(tmp_path_factory.mktemp("stability") / "r")
    steps, said = [], []
    results = measure_stability(config, steps.append, said.append)
    assert sum(steps) == stability_steps(config) == 20 + 2 * (30 + 22 + 10)
    assert said == results
    return config, results


@pytest.fixture(scope="module")
def parts(experiment):
    """A network of its own, as another process would have, that has seen no mark."""
    return framework_of(experiment[0], datasets.load("digits"))


# Arithmetic


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        ([0.25, 0.25, 0.25], 0.0),
        ([0.0, 0.5, 0.25], 0.375),  # 0.5 - 0.125
        ([0.5, 0.25, 0.0], 0.25),  # an end is the highest: it is above their mean
        ([0.25, 0.0, 0.25], 0.0),  # a valley between
        ([0.25, 1.0, 0.5, 0.75, 0.25], 0.75),
        ([0.5, 1.0], 0.25),
    ],
)
def test_the_barrier_by_hand(errors, expected):
    assert barrier(np.array(errors)) == expected


def test_the_barrier_of_no_number_is_none():
    assert np.isnan(barrier(np.array([0.0, np.nan, 0.0])))


@pytest.mark.parametrize("errors", [[], [0.5], [[0.5, 0.5]], 0.5])
def test_a_barrier_needs_a_line(errors):
    with pytest.raises(InputError, match=r"`errors` must be of shape \(points,\)"):
        barrier(errors)


def test_interpolation_by_hand_of_every_weight_in_its_type():
    one = {"fc/kernel": np.float32([[0, 4]]), "norm/moving_variance": np.float16([1])}
    two = {"fc/kernel": np.float32([[8, -4]]), "norm/moving_variance": np.float16([3])}
    quarter = interpolate(one, two, 0.25)
    assert quarter["fc/kernel"].tolist() == [[2, 2]]
    assert quarter["norm/moving_variance"].tolist() == [1.5]
    assert {k: v.dtype for k, v in quarter.items()} == {k: v.dtype for k, v in one.items()}


def test_the_ends_of_an_interpolation_are_the_networks_bit_for_bit():
    rng = np.random.default_rng(0)
    one, two = ({"w": rng.normal(size=100).astype("f4")} for _ in range(2))
    assert same(interpolate(one, two, 0.0), one)
    assert same(interpolate(one, two, 1.0), two)


def test_the_middle_is_rounded_once():
    # In float32 the half of each would be exact and their sum rounded too; thirds are not.
    one, two = {"w": np.float32([0.1, 3e-8])}, {"w": np.float32([0.7, 1.0])}
    third = np.linspace(0, 1, 4)[1]
    exact = (1 - third) * one["w"].astype(float) + third * two["w"].astype(float)
    assert interpolate(one, two, third)["w"].tolist() == exact.astype("f4").tolist()


@pytest.mark.parametrize(
    "two", [{}, {"w": np.zeros(3, "f4")}, {"w": np.zeros(2, "f4"), "b": np.zeros(1, "f4")}]
)
def test_interpolation_between_different_networks(two):
    with pytest.raises(InputError, match="two"):
        interpolate({"w": np.zeros(2, "f4")}, two, 0.5)


def test_each_copy_has_a_seed_of_its_own():
    seeds = [copy_seed(seed, copy) for seed in range(50) for copy in (1, 2)]
    assert len({*seeds, *range(50)}) == 150
    assert copy_seed(7, 1) == copy_seed(7, 1)


# The experiment


def test_results_come_by_rising_k(experiment):
    _, results = experiment
    assert [(r.seed, r.k) for r in results] == [(3, 0), (3, 8), (3, 20)]
    for r in results:
        assert r.alphas.tolist() == [0, 0.25, 0.5, 0.75, 1]
        assert not r.diverged


def test_copies_of_late_steps_share_a_valley(tmp_path):
    config = noisy(
        tmp_path / "r",
        steps=150,
        spawn_steps=(0, 120),
        learning_rate_drops=(100,),
        evaluate_every=150,
    )
    start, late = measure_stability(config)
    for split in ("train", "test"):
        assert start.barrier(split) > 0.05
        assert late.barrier(split) < start.barrier(split) / 4


def test_the_ends_of_the_line_are_the_stored_copies(experiment):
    config, results = experiment
    for r in results:
        for end, copy in ((0, 1), (-1, 2)):
            metrics = stored(config, branch_of(r.k, copy), r.k).metrics
            assert r.test_error[end] == 1 - metrics.values["test_accuracy"][-1]
            assert r.test_loss[end] == pytest.approx(metrics.values["test_loss"][-1], rel=1e-6)


def test_train_errors_are_counted_on_the_training_examples(experiment):
    _, results = experiment
    rows = len(datasets.load("digits").train[1])
    wrong = np.concatenate([r.train_error for r in results]) * rows
    np.testing.assert_allclose(wrong, np.round(wrong), atol=1e-9)


def test_the_trunk_is_an_unmarked_training_bit_for_bit(experiment, parts):
    config, _ = experiment
    store = Store(config)
    initial = store.initial(3, "trunk", lambda: pytest.fail("not there"))
    for k in (8, 20):
        metrics = parts.train(
            TrainingPlan(initial, parts.full_mask(), 3, stop=k), lambda done: None
        )
        assert same(dict(store.rewind(3, branch_of(k))), parts.final())
    trunk = stored(config, "trunk")
    assert same(dict(trunk.final), parts.final())
    assert trunk.metrics.losses.tobytes() == metrics.losses.tobytes()


def test_copies_start_from_the_trunk_and_part(experiment, parts):
    config, _ = experiment
    for k in (0, 8):
        one, two = (stored(config, branch_of(k, copy), k) for copy in (1, 2))
        assert one.metrics.step[0] == two.metrics.step[0] == k
        for name, column in one.metrics.values.items():
            assert column[0] == two.metrics.values[name][0]
        assert one.metrics.losses[0] != two.metrics.losses[0]  # the first batches differ
        assert not same(dict(one.final), dict(two.final))
        # From the kept weights, a fresh optimizer and the copy's own order, the same bits.
        start = {}
        training = TrainingPlan(
            one.rewind, parts.full_mask(), copy_seed(3, 1), k, k, at={k: start.update}
        )
        parts.train(training, lambda done: None)
        assert same(start, dict(one.rewind))
        assert same(parts.final(), dict(one.final))


class Stop(Exception):
    """In place of Ctrl-C."""


def test_interrupted_damaged_and_resumed_it_leaves_the_same_files(experiment, tmp_path):
    config, results = experiment
    torn = dataclasses.replace(config, run_dir=tmp_path / "torn")
    fewer = dataclasses.replace(torn, spawn_steps=(20, 8))  # and in the end all of them
    whole, lines = files(config.run_dir), []
    mark = f"seed-3/{branch_of(8)}/rewind.npz"
    # In the middle of the trunk, past its first mark; then of a copy; then a mark is lost.
    for after, left in ((13, "trunk"), (30, branch_of(8, 1)), (None, None)):
        done = 0

        def progress(more, after=after):
            nonlocal done
            done += more
            if after is not None and done >= after:
                raise Stop

        if after is None:
            (torn.run_dir / mark).write_bytes(whole[mark][:-9])
            again = measure_stability(torn, progress, warn=lines.append, checkpoint_every=0)
        else:
            with pytest.raises(Stop):
                measure_stability(fewer, progress, checkpoint_every=0)
            there = files(torn.run_dir)
            assert mark in there
            assert [n for n in there if "partial" in n] == [f"seed-3/{left}/partial-00.npz"]
    assert done == stability_steps(config)
    assert len(lines) == 1 and mark in lines[0] and "damaged" in lines[0]
    assert files(torn.run_dir) == whole
    assert stability_to_csv(again) == stability_to_csv(results)


def test_a_damaged_line_is_measured_again(experiment):
    config, _ = experiment
    whole, lines = files(config.run_dir), []
    name = f"seed-3/{branch_of(8)}/line.npz"
    (config.run_dir / name).write_bytes(whole[name][:-9])
    measure_stability(config, warn=lines.append)
    assert len(lines) == 1 and name in lines[0] and lines[0].endswith("damaged: measuring again.")
    assert files(config.run_dir) == whole


def test_what_is_there_is_not_made_again(experiment):
    config, results = experiment
    before = {p: p.stat().st_mtime_ns for p in config.run_dir.rglob("*.npz")}
    steps = []
    again = measure_stability(config, steps.append)
    assert {p: p.stat().st_mtime_ns for p in config.run_dir.rglob("*.npz")} == before
    assert sum(steps) == stability_steps(config)
    assert stability_to_csv(again) == stability_to_csv(results)


def test_divergence_is_a_result_without_a_barrier(tmp_path):
    config = noisy(tmp_path / "r", learning_rate=1e12, steps=12, spawn_steps=(0, 10))
    for _ in range(2):  # found the second time
        steps = []
        results = measure_stability(config, steps.append)
        assert sum(steps) == stability_steps(config)
        assert [(r.k, r.diverged) for r in results] == [(0, True), (10, True)]
        for r in results:
            assert np.isnan([r.barrier("train"), r.barrier("test")]).all()
            assert str(r) == f"seed 3 k={r.k}: diverged, so there is no barrier"
    assert not (tmp_path / "r/seed-3/from-000010").exists()
    assert np.isnan(summarize_stability(results)[0].test.mean)


def test_tf_keras_too(tmp_path):
    config = noisy(tmp_path / "r", keras="tf_keras", steps=8, spawn_steps=(0, 4), points=3)
    results = measure_stability(config)
    for r in results:
        for end, copy in ((0, 1), (-1, 2)):
            metrics = stored(config, branch_of(r.k, copy), r.k).metrics
            assert r.test_error[end] == 1 - metrics.values["test_accuracy"][-1]
    assert files(config.run_dir).keys() >= {"seed-3/from-000004/rewind.npz"}


# Configuration


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("spawn_steps", (), "one or more different whole numbers"),
        ("spawn_steps", (5, 5), "one or more different whole numbers"),
        ("spawn_steps", (1000,), "from 0 to 999"),
        ("spawn_steps", (0, -1), "from 0 to 999"),
        ("spawn_steps", (0, 1.5), "whole numbers"),
        ("points", 2, "at least 3"),
        ("points", 4.0, "whole number"),
        ("steps", 0, "at least 1"),
        ("optimizer", "adamm", "sgd, adam, momentum, rmsprop"),
        ("seeds", (1, 1), "different whole numbers"),
    ],
)
def test_bad_values_are_named_with_what_was_received(field, value, allowed):
    with pytest.raises(InputError) as error:
        StabilityConfig(**{field: value})
    message = str(error.value)
    assert f"`{field}`" in message
    assert str(value) in message
    assert allowed in message
    assert "\n" not in message


def test_json_loads_back_into_an_equal_object():
    config = StabilityConfig(spawn_steps=(0, 7), points=5, learning_rate_drops=(10,))
    again = StabilityConfig.from_json(config.to_json(), Path("elsewhere"))
    assert again == config
    assert again.run_dir == Path("elsewhere")


def test_a_directory_of_another_kind_of_experiment(tmp_path):
    Store(LotteryConfig(run_dir=tmp_path / "lottery"))
    with pytest.raises(InputError, match="not a stability configuration"):
        Store(StabilityConfig(run_dir=tmp_path / "lottery"))
    Store(StabilityConfig(run_dir=tmp_path / "stability"))
    with pytest.raises(InputError, match="not a lottery configuration"):
        Store(LotteryConfig(run_dir=tmp_path / "stability"))


def test_a_directory_with_other_steps(tmp_path):
    Store(StabilityConfig(run_dir=tmp_path / "r"))
    with pytest.raises(InputError, match=r"spawn_steps \(there \(0, 10, 30, 100, 300\), asked"):
        Store(StabilityConfig(run_dir=tmp_path / "r", spawn_steps=(0,)))


# What is made of results


def result(seed, k, *errors):
    e = np.array(errors)
    return StabilityResult(seed, k, np.linspace(0, 1, len(e)), e, e / 2, 2 * e, 4 * e)


def test_csv_has_a_line_for_each_point():
    assert stability_to_csv([result(1, 20, 0.0, 0.5, 0.25)]) == (
        "seed,k,alpha,train_error,test_error,train_loss,test_loss\n"
        "1,20,0.0,0.0,0.0,0.0,0.0\n"
        "1,20,0.5,0.5,0.25,1.0,2.0\n"
        "1,20,1.0,0.25,0.125,0.5,1.0\n"
    )


def test_summary_is_over_the_replicates_of_each_k():
    rows = summarize_stability(
        [result(0, 20, 0.0, 0.5, 0.0), result(0, 0, 0.0, 1.0, 0.0), result(1, 20, 0.0, 1.0, 0.0)]
    )
    assert [(r.k, r.train.mean, r.train.n, r.test.mean) for r in rows] == [
        (0, 1.0, 1, 0.5),
        (20, 0.75, 2, 0.375),
    ]


def test_a_result_in_one_line():
    assert str(result(1, 20, 0.0, 0.5, 0.0)) == (
        "seed 1 k=20: error barrier 50.0% in training, 25.0% in test"
    )


def test_no_such_split():
    with pytest.raises(InputError, match="`split` must be one of train, test, received 'val'"):
        result(0, 0, 0.0, 0.0, 0.0).barrier("val")
