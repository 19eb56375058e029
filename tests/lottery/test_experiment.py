"""The experiment itself, on both Kerases: what a lottery ticket must be."""

import numpy as np
import pytest
from bare_runs import run

from tfinit import datasets
from tfinit.errors import InputError, WorkError
from tfinit.lottery import LotteryConfig
from tfinit.lottery.experiment import total_steps
from tfinit.lottery.frameworks import TrainingPlan, framework_of
from tfinit.lottery.report import evaluations_to_csv, to_csv

# Survivors by hand: 19200, 30000 and 1000 weights, 20% (10% in the output layer) a level.
COUNTS = {
    0: {"fc1/kernel": 19200, "fc2/kernel": 30000, "output/kernel": 1000},
    1: {"fc1/kernel": 15360, "fc2/kernel": 24000, "output/kernel": 900},
    2: {"fc1/kernel": 12288, "fc2/kernel": 19200, "output/kernel": 810},
    3: {"fc1/kernel": 9830, "fc2/kernel": 15360, "output/kernel": 729},
}


def small(tmp_path_factory, keras, **kwargs):
    kwargs = {"levels": 3, "steps": 30, "evaluate_every": 20, "seeds": (0, 5), **kwargs}
    return LotteryConfig(keras=keras, run_dir=tmp_path_factory.mktemp("run") / "r", **kwargs)


@pytest.fixture(scope="module", params=["keras", "tf_keras"])
def results(request, tmp_path_factory):
    return run(small(tmp_path_factory, request.param))


def test_every_training_is_there_in_order(results):
    expected = []
    for seed in (0, 5):
        expected.append((seed, "ticket", 0))
        for level in (1, 2, 3):
            expected += [(seed, "ticket", level), (seed, "reinit", level)]
    assert [(r.seed, r.branch, r.level) for r in results] == expected


def test_survivors_are_what_the_arithmetic_says_to_the_weight(results):
    for r in results:
        assert {k: int(m.sum()) for k, m in r.mask.items()} == COUNTS[r.level]
        assert r.survivors == sum(COUNTS[r.level].values())
        assert r.density == sum(COUNTS[r.level].values()) / 50200


def test_masks_are_nested(results):
    for r in results:
        if r.branch == "ticket" and r.level > 0:
            before = next(
                o for o in results if (o.seed, o.branch, o.level) == (r.seed, "ticket", r.level - 1)
            )
            assert all((before.mask[k] | ~m).all() for k, m in r.mask.items())


def test_pruned_are_the_smallest_trained_weights(results):
    for r in results:
        after = [
            o for o in results if (o.seed, o.branch, o.level) == (r.seed, "ticket", r.level + 1)
        ]
        if r.branch == "ticket" and after:
            for key, mask in r.mask.items():
                size = np.abs(r.final[key])
                kept, gone = size[after[0].mask[key]], size[mask & ~after[0].mask[key]]
                assert gone.max() <= kept.min()


def test_pruned_weights_stay_zero_and_survivors_learn(results):
    for r in results:
        for key, mask in r.mask.items():
            assert np.all(r.final[key][~mask] == 0)
            moved = r.final[key][mask] != r.rewind[key][mask]
            assert moved.mean() > 0.5
            # Acceptance 31: negative survivors train too.
            negative = mask & (r.rewind[key] < 0)
            assert (r.final[key][negative] != r.rewind[key][negative]).mean() > 0.5


def test_the_dense_initial_weights_are_the_rewind_point(results):
    for r in results:
        for key, value in r.initial.items():
            np.testing.assert_array_equal(value, r.rewind[key])
            if key.endswith("kernel"):
                assert np.all(value != 0)


def test_the_ticket_returns_to_its_own_weights_and_the_control_to_others(results):
    for seed in (0, 5):
        of = {(r.branch, r.level): r for r in results if r.seed == seed}
        first = of["ticket", 0].initial
        for (branch, level), r in of.items():
            same = all(np.array_equal(first[k], v) for k, v in r.rewind.items())
            assert same == (branch == "ticket"), (branch, level)
        for level in (1, 2, 3):
            for key, mask in of["ticket", level].mask.items():
                np.testing.assert_array_equal(mask, of["reinit", level].mask[key])


def test_replicates_differ(results):
    a, b = (next(r for r in results if r.seed == s) for s in (0, 5))
    assert not np.array_equal(a.initial["fc1/kernel"], b.initial["fc1/kernel"])


def test_metrics_have_a_row_before_the_first_and_after_the_last_step(results):
    for r in results:
        np.testing.assert_array_equal(r.metrics.step, [0, 20, 30])
        assert all(len(v) == 3 for v in r.metrics.values.values())
        loss = r.metrics.values["validation_loss"]
        assert loss[-1] < loss[0]
        assert r.early_stop_step == r.metrics.step[np.argmin(loss)]
        # 400 test examples: accuracies are multiples of 1/400.
        right = r.final_accuracy * 400
        assert abs(right - round(right)) < 1e-9


def test_both_kerases_start_from_the_same_weights_and_train_alike(tmp_path_factory):
    ours, theirs = (
        run(small(tmp_path_factory, keras, levels=1, steps=5, seeds=(3,)))
        for keras in ("keras", "tf_keras")
    )
    for a, b in zip(ours, theirs, strict=True):
        for key, value in a.initial.items():
            np.testing.assert_array_equal(value, b.initial[key])
    # Five steps in, the trained dense weights agree up to the order of floating point sums.
    for key, value in ours[0].final.items():
        np.testing.assert_allclose(value, theirs[0].final[key], atol=2e-5)


@pytest.mark.parametrize("keras", ["keras", "tf_keras"])
def test_rewound_weights_equal_mask_times_initial_bit_for_bit(tmp_path_factory, keras):
    """Acceptance 32, at the place where training reads them: the model before its first step."""
    parts = framework_of(small(tmp_path_factory, keras, steps=1), datasets.load("digits"))
    initial, full = parts.initial(0), parts.full_mask()
    rng = np.random.default_rng(1)
    mask = {k: rng.random(m.shape) < 0.3 for k, m in full.items()}
    # Leave traces of another network.
    parts.train(TrainingPlan(parts.initial(9), full, 9), lambda done: None)
    variables = parts._weights if keras == "keras" else parts._pruner.variables
    seen = {}

    class Look(type(parts._loop)):
        def __call__(self, *args, **kwargs):
            seen.update({k: v.numpy() for k, v in variables.items()})
            return super().__call__(*args, **kwargs)

    parts._loop.__class__ = Look
    parts.train(TrainingPlan(initial, mask, 0), lambda done: None)
    assert seen.keys() == initial.keys()
    for key, value in initial.items():
        expected = mask[key] * value if key in mask else value
        assert expected.tobytes() == seen[key].tobytes(), key


def test_same_seed_same_bits_again_and_a_level_does_not_depend_on_what_ran_before(tmp_path_factory):
    configs = [small(tmp_path_factory, "keras", levels=2, seeds=(1,)) for _ in range(2)]
    told = []  # the steps, and in the end those that are found done
    first, second = (run(config, told.append) for config in configs)
    assert sum(told) == 2 * total_steps(configs[0]) == 2 * 5 * 30
    for a, b in zip(first, second, strict=True):
        for key, value in a.final.items():
            assert value.tobytes() == b.final[key].tobytes()
        for name, column in a.metrics.values.items():
            assert column.tobytes() == b.metrics.values[name].tobytes()
    kept = {p: p.read_bytes() for p in configs[0].run_dir.rglob("level-*.npz")}
    (configs[0].run_dir / "seed-1" / "ticket" / "level-01.npz").unlink()
    told.clear()
    run(configs[0], told.append)
    assert sum(told) == 5 * 30
    assert {p: p.read_bytes() for p in configs[0].run_dir.rglob("level-*.npz")} == kept


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"dataset": "cifr"}, r"`dataset` must be one of digits, mnist,.*received 'cifr'"),
        ({"model": "resnet"}, r"`model` must be one of lenet-300-100,.*received 'resnet'"),
        ({"batch_size": 5000}, r"`batch_size` must be in 1\.\.1097.*received 5000"),
        ({"layer_prune_fractions": {"fc9/kernel": 0.2}}, r"names \['fc9/kernel'\]"),
    ],
)
def test_what_does_not_fit_is_said_before_anything_is_written(tmp_path_factory, kwargs, message):
    config = small(tmp_path_factory, "keras", **kwargs)
    with pytest.raises(InputError, match=message):
        run(config)
    assert not config.run_dir.exists()


@pytest.mark.parametrize("keras", ["keras", "tf_keras"])
def test_a_network_that_diverges_names_level_and_step_and_keeps_what_is_done(
    tmp_path_factory, keras
):
    config = small(
        tmp_path_factory,
        keras,
        optimizer="sgd",
        learning_rate=1e30,
        seeds=(0,),
        on_divergence="stop",
    )
    with pytest.raises(
        WorkError, match=r"seed 0, ticket, level 0: the loss is not finite at step \d"
    ):
        run(config)
    assert (config.run_dir / "config.json").exists()
    assert not list(config.run_dir.rglob("level-*"))


@pytest.mark.parametrize("keras", ["keras", "tf_keras"])
def test_what_diverges_is_recorded_and_the_next_replicate_goes_on(tmp_path_factory, keras):
    config = small(tmp_path_factory, keras, levels=1, steps=6, optimizer="sgd", learning_rate=1e30)
    seen, told = [], []
    results = run(config, progress=told.append, finished=seen.append)
    assert [(r.seed, r.branch, r.level) for r in results] == [(0, "ticket", 0), (5, "ticket", 0)]
    assert seen == results
    assert sum(told) == total_steps(config) == 2 * 3 * 6
    for r in results:
        assert 1 < r.diverged_at <= 6
        assert r.metrics.step.tolist() == [0]
        assert 0 <= r.final_accuracy <= 1
    lines = to_csv(results).splitlines()
    assert len(lines) == 3
    assert all(line.count(",") == lines[0].count(",") for line in lines)
    assert len(evaluations_to_csv(results).splitlines()) == 3
    # Found done, it says the same, and trains nothing.
    before = {p: p.stat().st_mtime_ns for p in config.run_dir.rglob("*.npz")}
    again = run(config)
    assert [r.diverged_at for r in again] == [r.diverged_at for r in results]
    assert {p: p.stat().st_mtime_ns for p in config.run_dir.rglob("*.npz")} == before


def test_a_last_step_that_breaks_the_weights_is_a_divergence_too(tmp_path_factory):
    """Its own loss is finite, and nothing after it looks at the weights but the pruning."""
    data = datasets.load("digits")
    wide = datasets.from_arrays(
        (data.train[0] * 1e6, data.train[1]), data.test, data.validation, name="digits"
    )
    config = small(
        tmp_path_factory,
        "keras",
        steps=1,
        seeds=(0,),
        optimizer="sgd",
        learning_rate=3e38,
    )
    (result,) = run(config, data=wide)
    assert np.isfinite(result.metrics.losses).all()
    assert result.diverged_at == 1
    assert not np.isfinite(result.final["fc1/kernel"]).all()
