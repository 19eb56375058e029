"""The best that an iterative scheme has seen: by its own measure, and the start is one of them."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfinit.schemes.engine.task import Task


class Best:
    """Weights and their measure, turn by turn; the smallest measure is the best.

    Args:
        task: What writes the weights.
        variables: All that the scheme changes from turn to turn.
    """

    def __init__(self, task: Task, variables: Sequence[Any]) -> None:
        self._task, self._variables = task, list(variables)
        self._values: dict[int, list[np.ndarray]] = {}
        self.measures: list[float] = []

    def see(self, measure: float) -> None:
        """Remember what the weights measure now; what is not finite is worse than all else."""
        self.measures.append(measure if math.isfinite(measure) else math.inf)
        turn = len(self.measures) - 1
        if self.turn == turn:
            # The start stays, for whoever measures the turns anew.
            self._values = {n: v for n, v in self._values.items() if n == 0}
            self._values[turn] = [variable.numpy() for variable in self._variables]

    @property
    def turn(self) -> int:
        """The first turn with the smallest measure; 0 is the start."""
        return int(np.argmin(self.measures))

    def put_back(self, turn: int) -> None:
        """Write the weights of the start, or of `turn`."""
        for variable, value in zip(self._variables, self._values[turn], strict=True):
            self._task.write(variable, value)


def chosen(start: float, best: float, last: float, noise: float) -> str:
    """``"last"`` where it is as good as the best but for noise, and no worse than the start.

    Else ``"best"``, or ``"start"`` if nothing is smaller than it.
    """
    if last <= start and last <= best * (1 + noise):
        return "last"
    return "best" if best < start else "start"
