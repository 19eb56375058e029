"""An optimizer around an optimizer: what is the inner one's, and what that keeps of each weight."""

from collections.abc import Iterable, Iterator
from typing import Any

import keras

from tfinit.graph.keras_internals import moving_averages, states_of

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


def chain(optimizer: Any) -> Iterator[Any]:
    """An optimizer and those in it, the outermost first; none for None."""
    while optimizer is not None:
        yield optimizer
        optimizer = getattr(optimizer, "inner_optimizer", None)


def innermost(optimizer: Any) -> Any:
    """The optimizer that moves the weights; a LossScaleOptimizer may be around it."""
    return list(chain(optimizer))[-1]


def averages(optimizer: Any) -> list[Any]:
    """The average of each weight that an optimizer keeps, or none at all."""
    inner = innermost(optimizer)
    return moving_averages(inner) if inner.use_ema else []


def slots(optimizer: Any, weights: list[Any], places: Iterable[int]) -> dict[int, list[Any]]:
    """Place of a weight → what an optimizer keeps of each entry of it, with its value at the start.

    By Keras's convention these are lists with a variable for each weight: momenta, second moments.
    The rows and columns of Adafactor are of no single entry.
    """
    inner = innermost(optimizer)
    found: dict[int, list[Any]] = {i: [] for i in places}
    for name, kept in states_of(inner).items():
        if len(kept) != len(weights):
            continue
        at_first = getattr(inner, "initial_accumulator_value", 0.0)
        for i, of_weight in found.items():
            if isinstance(kept[i], keras.Variable) and kept[i].shape == weights[i].shape:
                of_weight.append((kept[i], at_first if name == "_accumulators" else 0.0))
    return found


def writes_nothing_but_rows(optimizer: Any, variable: Any) -> bool:
    """Whether a step with a sparse gradient leaves all other rows of the variable as they were.

    Plain SGD does. Momentum, Adam, weight decay and averages move every row, in every step.
    """
    return (
        type(optimizer) is keras.optimizers.SGD
        and not optimizer.momentum
        and not optimizer.weight_decay
        and not optimizer.use_ema
        and not optimizer.gradient_accumulation_steps
        and variable.constraint is None
    )
