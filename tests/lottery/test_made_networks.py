"""One network that is trained from many weights, on every backend."""

import keras
import numpy as np
import pytest

from tfinit.lottery import LotteryConfig, run
from tfinit.lottery.frameworks import TrainingPlan, framework_of
from tfinit.model_builders import builder_of
from tfinit.splits import from_arrays

pytestmark = pytest.mark.backends
X = np.random.default_rng(0).normal(size=(40, 4)).astype("float32")
DATA = from_arrays(*(((X, X[:, :1]),) * 3))


def config(path):
    return LotteryConfig(
        levels=1, steps=4, batch_size=8, evaluate_every=4, seeds=(0,), run_dir=path, rewind_step=1
    )


def falling_to_nothing():
    layers = [keras.Input((4,)), keras.layers.Dense(5, "tanh"), keras.layers.Dense(1)]
    model = keras.Sequential(layers)
    rate = keras.optimizers.schedules.PiecewiseConstantDecay([7], [0.1, 0.0])
    model.compile(keras.optimizers.SGD(rate, momentum=0.9), "mse")
    return model


@pytest.mark.filterwarnings("ignore:Training with fit")
def test_a_training_begins_at_its_step_of_the_schedule_and_the_mask_holds(tmp_path):
    framework = framework_of(config(tmp_path), DATA, builder_of(falling_to_nothing))
    initial, mask = framework.initial(3), framework.full_mask()
    mask["dense/kernel"][0] = False
    moved = []
    for rate_from in (0, 8, 2):  # compiled once: the schedule's start is a value
        framework.train(TrainingPlan(initial, mask, 0, rate_from=rate_from), lambda done: None)
        final = framework.final()
        assert (final["dense/kernel"][0] == 0).all()
        moved.append(not np.array_equal(final["dense_1/kernel"], initial["dense_1/kernel"]))
    assert moved == [True, False, True]


@pytest.mark.filterwarnings("ignore:Training with fit")
def test_an_experiment_on_it_ends_as_a_second_one_does(tmp_path):
    one, two = (
        run(
            config(tmp_path / name), False, build_model=falling_to_nothing, data=DATA, reports=False
        )
        for name in ("one", "two")
    )
    assert [r.branch for r in one] == ["ticket", "ticket", "reinit"]
    for a, b in zip(one, two, strict=True):
        for key, value in a.final.items():
            np.testing.assert_array_equal(value, b.final[key])
