"""The learning rate of an experiment, for Keras 3 and tf_keras."""

import importlib
from types import ModuleType
from typing import Any

from tfinit.graph.keras_internals import schedule_of, set_schedule
from tfinit.lottery.network_config import NetworkConfig


def learning_rate(keras: ModuleType, config: NetworkConfig) -> Any:
    """A linear warm-up, then a constant, divided by ten at each drop.

    Args:
        keras: The module ``keras`` or ``tf_keras``.
        config: Says the rate, the warm-up and the drops.

    Returns:
        What to give to the optimizer: a number if the rate is constant, else a schedule.
    """
    drops, warmup, peak = config.learning_rate_drops, config.warmup_steps, config.learning_rate
    if not warmup and not drops:
        return peak
    # Of the same names in both.
    ops: Any = keras.ops if keras.__name__ == "keras" else importlib.import_module("tensorflow")

    class WarmUpAndDrops(keras.optimizers.schedules.LearningRateSchedule):
        def __call__(self, step: Any) -> Any:
            now = ops.cast(step, "float32")
            rate: Any = ops.convert_to_tensor(peak, "float32")
            for drop in drops:
                rate = ops.where(now >= drop, rate * 0.1, rate)
            if warmup:  # the first step is the first fraction, not 0
                rate = rate * ops.minimum(1.0, (now + 1.0) / warmup)
            return rate

        def get_config(self) -> dict[str, Any]:
            return {"peak": peak, "warmup": warmup, "drops": drops}

    return WarmUpAndDrops()


class ScheduleFrom:
    """Lets the learning-rate schedule of an optimizer begin at any step; none where it has none.

    Step s of a training is step s + `begin_at` of the schedule. An optimizer counts its steps from
    0 also where a training begins late (rewinding, fine-tuning): Adam's corrections want that.

    Args:
        keras: The module ``keras`` or ``tf_keras``.
        optimizer: Its optimizer that moves the weights, with no other around it yet.
    """

    def __init__(self, keras: ModuleType, optimizer: Any):
        self._offset: Any = None
        inner = schedule_of(optimizer)
        if inner is None:
            return
        offset = self._offset = _variable(keras, optimizer)

        class Later(keras.optimizers.schedules.LearningRateSchedule):
            def __call__(self, step: Any) -> Any:
                return inner(step + offset)

            def get_config(self) -> dict[str, Any]:
                return {"schedule": inner}

        set_schedule(optimizer, Later())

    def begin_at(self, step: int) -> None:
        """Let the next training's first step be this one of the schedule."""
        if self._offset is not None:
            self._offset.assign(step)


def _variable(keras: ModuleType, optimizer: Any) -> Any:
    if keras.__name__ == "keras" and keras.backend.backend() != "tensorflow":
        # JAX makes a constant of what is no state of the optimizer. On TensorFlow it is none, so
        # that checkpoints which lack it can be gone on from.
        return optimizer.add_variable((), dtype="int32", name="schedule_from")
    import tensorflow as tf

    return tf.Variable(0, dtype=tf.int64, trainable=False)
