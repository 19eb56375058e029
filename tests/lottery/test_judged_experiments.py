"""Experiments that are judged by another metric than an accuracy."""

import json
from dataclasses import replace

import numpy as np
import pytest

from tfinit.datasets import from_arrays
from tfinit.errors import InputError
from tfinit.lottery import LotteryConfig, StabilityConfig, run, stability

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(90, 4)).astype("f4"), np.arange(90) % 3
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
    (by_accuracy,) = stability(config, progress=False, data=DATA)
    (line,) = (tmp_path / "run").glob("seed-*/*/line.npz")
    written = line.stat().st_mtime_ns
    (by_loss,) = stability(replace(config, metric="loss"), progress=False, data=DATA)
    assert line.stat().st_mtime_ns == written
    np.testing.assert_array_equal(by_loss.test_error, by_accuracy.test_loss)
    assert "barrier of loss" in str(by_loss)
