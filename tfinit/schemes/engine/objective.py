"""The loss that iterative schemes differentiate: a user's, or the distance to random targets."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tfinit.graph.calling import call, check_data, is_stateful, output_shapes
from tfinit.graph.gradients import Program, reading, replaced, sum_of
from tfinit.graph.kernels import Kernel
from tfinit.schemes.engine.task import Task

_OFTEN = 10  # calls from which on a graph, its tracing included, is quicker than none


class Objective:
    """A loss of some kernels as they are when it is asked for.

    Args:
        task: The model, with a batch.
        kernels: By which gradients are taken.
        loss: Output of the model → a scalar. None: mean((output - target)²) with targets from
            N(0, 1), which are other ones each time.
        calls: About how often it is asked for.

    Raises:
        InputError: data that does not fit the model.
    """

    def __init__(
        self, task: Task, kernels: list[Kernel], loss: Callable[[Any], Any] | None, calls: int = 1
    ) -> None:
        self.model, self.data, self._loss = task.model, check_data(task.model, task.data), loss
        self.variables = [kernel.variable for kernel in kernels]
        self._shapes = [] if loss else output_shapes(task.model, self.data)
        # What a pass puts back of a stateful layer, it does in NumPy.
        self._often = calls >= _OFTEN and not is_stateful(task.model)

    @property
    def is_random(self) -> bool:
        """Whether it depends on targets that are drawn."""
        return self._loss is None

    def program(self, function: Callable[..., Any]) -> Program:
        """A function of the kernels' values, of the data and of targets, as one that is called."""
        return Program(function, self.variables, self.model.variables, self._often)

    def targets(self, random: np.random.Generator) -> list[Any]:
        """The targets that come next; none for a loss of the user's."""
        import keras

        return [keras.ops.array(random.standard_normal(shape)) for shape in self._shapes]

    def at(self, values: list[Any], data: Any, targets: list[Any]) -> Any:
        """The loss with these values of the kernels, where gradients are taken by them."""
        with reading(self.variables, values):
            return self.of(call(self.model, data), targets)

    def after(self, values: list[Any], data: Any, targets: list[Any]) -> Any:
        """The loss with other values of the kernels, as tensors that gradients go through."""
        with replaced(self.variables, values):
            return self.of(call(self.model, data), targets)

    def of(self, outputs: Any, targets: list[Any]) -> Any:
        """The loss of what the model put out."""
        import keras

        if self._loss is not None:
            return self._loss(outputs)
        return sum_of(
            [
                keras.ops.mean(keras.ops.square(o - keras.ops.cast(t, o.dtype)))
                for o, t in zip(keras.tree.flatten(outputs), targets, strict=True)
            ]
        )


def as_number(scalar: Any) -> float:
    """A tensor without axes as Python's float."""
    import keras

    return float(keras.ops.convert_to_numpy(scalar))
