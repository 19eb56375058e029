"""An optimizer around an optimizer: what is the inner one's."""

from typing import Any

import keras

from tfinit.arguments import refused

# What Keras's base class would add to the wrapper belongs to the inner optimizer.
INNER_ARGUMENTS = (
    "learning_rate",
    "weight_decay",
    "clipnorm",
    "clipvalue",
    "global_clipnorm",
    "use_ema",
    "ema_momentum",
    "ema_overwrite_frequency",
    "loss_scale_factor",
    "gradient_accumulation_steps",
)


def by_name(inner_optimizer: Any) -> Any:
    """The optimizer of that name, with Keras's defaults; what is no name as it is.

    Raises:
        InputError: Keras has none of that name.
    """
    if not isinstance(inner_optimizer, str):
        return inner_optimizer
    try:
        return keras.optimizers.get(inner_optimizer)
    except ValueError as error:
        wanted = "an optimizer of Keras 3 or its name"
        raise refused("inner_optimizer", wanted, inner_optimizer) from error


class WrappingOptimizer(keras.optimizers.Optimizer):
    """Everything but the step itself is the inner optimizer's.

    Args:
        inner_optimizer: What takes the steps.
        name: Name of the optimizer.
    """

    def __init__(self, inner_optimizer: keras.optimizers.Optimizer, name: str | None) -> None:
        super().__init__(learning_rate=0.0, name=name)
        self.inner_optimizer = inner_optimizer

    def scale_loss(self, loss: Any) -> Any:
        """Scale the loss as the inner optimizer does."""
        return self.inner_optimizer.scale_loss(loss)

    def exclude_from_weight_decay(self, *args: Any, **kwargs: Any) -> None:
        """Exclude variables from the inner optimizer's weight decay."""
        self.inner_optimizer.exclude_from_weight_decay(*args, **kwargs)

    @property
    def learning_rate(self) -> Any:
        """The inner optimizer's learning rate; setting it sets that one."""
        return self.inner_optimizer.learning_rate

    @learning_rate.setter
    def learning_rate(self, learning_rate: Any) -> None:
        self.inner_optimizer.learning_rate = learning_rate

    @property
    def iterations(self) -> Any:
        """The inner optimizer's count of steps."""
        return self.inner_optimizer.iterations

    @property
    def loss_scale_factor(self) -> float | None:
        """The inner optimizer's factor; a LossScaleOptimizer outside sets it to None."""
        inner = vars(self).get("inner_optimizer")  # Keras's base class asks before it is there
        return None if inner is None else inner.loss_scale_factor

    @loss_scale_factor.setter
    def loss_scale_factor(self, factor: float | None) -> None:
        if "inner_optimizer" in vars(self):
            self.inner_optimizer.loss_scale_factor = factor

    @property
    def variables(self) -> list[Any]:
        """Its own, then everything that the inner optimizer keeps."""
        return self._variables + self.inner_optimizer.variables
