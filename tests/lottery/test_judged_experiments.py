"""Experiments that are judged by another metric than an accuracy."""

import json
from dataclasses import replace

import keras
import numpy as np
import pytest

from tfinit.datasets import from_arrays
from tfinit.errors import InputError
from tfinit.lottery import LotteryConfig, StabilityConfig, run, stability

X, Y = np.random.default_rng(0).normal(size=(90, 4)).astype("f4"), np.arange(90) % 3
DATA = from_arrays((X[:60], Y[:60]), (X[60:], Y[60:]), name="made up")
SMALL = {"model": "mlp-2-relu", "steps": 6, "batch_size": 10, "evaluate_every": 3, "seeds": (0,)}


def test_a_run_is_told_by_another_metric_without_training_again(tmp_path):
    config = LotteryConfig(**SMALL, levels=1, run_dir=tmp_path / "run")
    by_accuracy = run(config, progress=False, data=DATA)
    assert "final_accuracy" in (tmp_path / "run" / "results.csv").read_text()
    trained = {p: p.stat().st_mtime_ns for p in (tmp_path / "run").glob("seed-*/**/*.npz")}
    by_loss = run(replace(config, metric="loss"), progress=False, data=DATA)
    assert trained == {p: p.stat().st_mtime_ns for p in trained}
    assert (
        (tmp_path / "run" / "results.csv")
        .read_text()
        .startswith(
            "seed,branch,level,density,survivors,early_stop_step,"
            "early_stop_loss,final_loss,untrained_loss,diverged_at\n"
        )
    )
    assert "loss" in (tmp_path / "run" / "conclusion.txt").read_text()
    assert json.loads((tmp_path / "run" / "config.json").read_text())["metric_direction"] == "min"
    for one, other in zip(by_accuracy, by_loss, strict=True):
        assert other.final_value == one.metrics.values["test_loss"][-1]
        assert other.final_accuracy == one.final_value


@pytest.mark.parametrize(
    ("start", "config"),
    [
        (run, LotteryConfig(**SMALL, levels=1, metric="mse")),
        (stability, StabilityConfig(**SMALL, spawn_steps=(0,), metric="mse")),
    ],
)
def test_a_metric_that_is_not_measured_is_refused_before_anything_is_written(
    start, config, tmp_path
):
    config = replace(config, run_dir=tmp_path / "run")
    with pytest.raises(InputError, match="`metric` must be one of auto, loss, accuracy, received"):
        start(config, progress=False, data=DATA)
    assert not (tmp_path / "run").exists()


def test_a_line_is_told_by_another_metric_without_measuring_again(tmp_path):
    config = StabilityConfig(**SMALL, spawn_steps=(0,), points=3, run_dir=tmp_path / "run")
    (by_accuracy,) = stability(config, progress=False, data=DATA, reports=False)
    (line,) = (tmp_path / "run").glob("seed-*/*/line.npz")
    written = line.stat().st_mtime_ns
    (by_loss,) = stability(replace(config, metric="loss"), progress=False, data=DATA)
    assert line.stat().st_mtime_ns == written
    np.testing.assert_array_equal(by_loss.test_error, by_accuracy.test_loss)
    assert "barrier of loss" in str(by_loss)


def wealth(true, predicted):
    return keras.ops.mean(predicted, -1)


def is_large(seed):
    """Is the sum of the inputs large? Keras numbers its AUC anew at each call."""
    layers = [keras.Input((4,)), keras.layers.Dense(6, "relu", name="fc")]
    model = keras.Sequential([*layers, keras.layers.Dense(1, "sigmoid", name="out")])
    for n, weight in enumerate(model.trainable_weights):
        weight.assign(np.random.default_rng([seed, n]).normal(size=weight.shape))
    metrics = [keras.metrics.AUC(), wealth]
    model.compile(keras.optimizers.SGD(0.1), "binary_crossentropy", metrics=metrics)
    return model


@pytest.mark.backends
@pytest.mark.filterwarnings("ignore:.*fit:tfinit.errors.TfinitWarning")
def test_a_network_of_ones_own_is_judged_by_any_metric_that_it_was_compiled_with(tmp_path):
    large = (X.sum(1, keepdims=True) > 0).astype("f4")
    own = {"data": from_arrays((X[:60], large[:60]), (X[60:], large[60:]), name="large")}
    own |= {"build_model": is_large, "progress": False, "reports": False}
    sizes = {name: value for name, value in SMALL.items() if name != "model"}
    config = LotteryConfig(**sizes, levels=1, controls=(), metric="auc", run_dir=tmp_path / "run")
    with pytest.raises(InputError, match=r"`metric` 'wealth' .* Pass `metric_direction`"):
        run(replace(config, metric="wealth"), **own)
    assert not config.run_dir.exists()
    dense, ticket = run(config, **own)
    assert (dense.metric.name, dense.metric.direction) == ("auc", "max")
    trained = {p: p.stat().st_mtime_ns for p in config.run_dir.glob("seed-*/**/level-*.npz")}
    poor = replace(config, levels=2, metric="wealth", metric_direction="min")
    by_wealth = run(poor, **own)
    assert trained == {p: p.stat().st_mtime_ns for p in trained}
    assert {tuple(r.metrics.values)[-3:] for r in [ticket, *by_wealth]} == {
        ("test_loss", "test_auc", "test_wealth")
    }
    assert by_wealth[1].final_value == ticket.metrics.values["test_wealth"][-1]
    # Without a word: there are no classes, and no accuracy.
    assert replace(ticket, judged_by=None).metric.name == "loss"
