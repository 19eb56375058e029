"""The learning rate of an experiment, for Keras 3 and tf_keras."""

from types import ModuleType
from typing import Any

from tfinit.lottery.network_config import NetworkConfig


class LearningRate:
    """A linear warm-up, then a constant, divided by ten at each drop; begins at any step.

    Step s of a training is step s + `begin_at` of the schedule. An optimizer counts its steps from
    0 also where a training begins late (rewinding, fine-tuning): Adam's corrections want that.

    Args:
        keras: The module ``keras`` or ``tf_keras``.
        config: Says the rate, the warm-up and the drops.

    Attributes:
        value: What to give to the optimizer: a number if the rate is constant, else a schedule.
    """

    def __init__(self, keras: ModuleType, config: NetworkConfig):
        self.value: Any = config.learning_rate
        self._offset: Any = None
        if not config.warmup_steps and not config.learning_rate_drops:
            return
        import tensorflow as tf

        offset = self._offset = tf.Variable(0, dtype=tf.int64, trainable=False)
        drops, warmup, peak = config.learning_rate_drops, config.warmup_steps, config.learning_rate

        class Schedule(keras.optimizers.schedules.LearningRateSchedule):
            def __call__(self, step: Any) -> Any:
                now = tf.cast(tf.cast(step, tf.int64) + offset, tf.float32)
                rate: Any = tf.constant(peak, tf.float32)
                for drop in drops:
                    rate = tf.where(now >= drop, rate * 0.1, rate)
                if warmup:  # the first step is the first fraction, not 0
                    rate = rate * tf.minimum(1.0, (now + 1.0) / warmup)
                return rate

            def get_config(self) -> dict[str, Any]:
                return {"peak": peak, "warmup": warmup, "drops": drops}

        self.value = Schedule()

    def begin_at(self, step: int) -> None:
        """Let the next training's first step be this one of the schedule."""
        if self._offset is not None:
            self._offset.assign(step)
