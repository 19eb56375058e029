"""The learning rate, step by step, in both Kerases."""

import keras
import numpy as np
import pytest
import tf_keras

from tfinit.lottery import LotteryConfig
from tfinit.lottery.schedule import LearningRate

BOTH = pytest.mark.parametrize("k", [keras, tf_keras], ids=["keras", "tf_keras"])
# warm-up, drops → the rates of steps 0, 1, ...
TABLE = [
    (0, (3,), [8, 8, 8, 0.8, 0.8]),
    (4, (), [2, 4, 6, 8, 8, 8]),
    (1, (), [8, 8]),
    (4, (6, 8), [2, 4, 6, 8, 8, 8, 0.8, 0.8, 0.08, 0.08]),
    (4, (8, 6), [2, 4, 6, 8, 8, 8, 0.8, 0.8, 0.08, 0.08]),
    (4, (2,), [2, 4, 0.6, 0.8, 0.8]),
]


@BOTH
@pytest.mark.parametrize(("warmup", "drops", "rates"), TABLE)
def test_rates_by_hand_from_any_step_on(k, warmup, drops, rates):
    config = LotteryConfig(learning_rate=8.0, warmup_steps=warmup, learning_rate_drops=drops)
    rate = LearningRate(k, config)
    for start in (0, 2, len(rates) - 1, 0):
        rate.begin_at(start)
        seen = [float(rate.value(np.int64(step))) for step in range(len(rates) - start)]
        np.testing.assert_allclose(seen, rates[start:], rtol=1e-6)


@BOTH
def test_a_constant_rate_is_a_number_and_begins_anywhere(k):
    rate = LearningRate(k, LotteryConfig(learning_rate=0.5))
    rate.begin_at(7)
    assert rate.value == 0.5
