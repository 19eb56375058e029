"""The learning rate, step by step, in both Kerases."""

import keras
import numpy as np
import pytest
import tf_keras

from tfinit.graph.keras_internals import schedule_of
from tfinit.lottery import LotteryConfig
from tfinit.lottery.schedule import ScheduleFrom, learning_rate

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
    optimizer = k.optimizers.SGD(learning_rate(k, config))
    schedule_from = ScheduleFrom(k, optimizer)
    for start in (0, 2, len(rates) - 1, 0):
        schedule_from.begin_at(start)
        rate = schedule_of(optimizer) or (lambda step: 8.0)
        seen = [float(rate(np.int64(step))) for step in range(len(rates) - start)]
        np.testing.assert_allclose(seen, rates[start:], rtol=1e-6)


@BOTH
def test_a_constant_rate_is_a_number_and_begins_anywhere(k):
    rate = learning_rate(k, LotteryConfig(learning_rate=0.5))
    optimizer = k.optimizers.SGD(rate)
    ScheduleFrom(k, optimizer).begin_at(7)
    assert rate == float(optimizer.learning_rate) == 0.5


@BOTH
def test_a_schedule_of_keras_begins_at_any_step_as_the_optimizer_counts_from_0(k):
    falling = k.optimizers.schedules.PiecewiseConstantDecay([2, 5], [4.0, 2.0, 1.0])
    optimizer = k.optimizers.SGD(falling)
    schedule_from = ScheduleFrom(k, optimizer)
    schedule_from.begin_at(4)
    if k is keras:
        assert float(optimizer.learning_rate) == 2.0
    assert [float(schedule_of(optimizer)(np.int64(step))) for step in range(3)] == [2.0, 2.0, 1.0]
    schedule_from.begin_at(0)
    assert float(schedule_of(optimizer)(np.int64(0))) == 4.0
