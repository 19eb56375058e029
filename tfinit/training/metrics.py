"""What is measured during a training, and how a training is left and taken up again."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from tfinit.errors import WorkError
from tfinit.moved import former_names

if TYPE_CHECKING:
    from tfinit.datasets import Dataset

METRICS = ("validation_loss", "validation_accuracy", "test_loss", "test_accuracy")

Progress = Callable[[int], None]


def silent(done: int) -> None:
    """No progress shown."""


@dataclass(frozen=True, repr=False)
class Metrics:
    """What was measured during one training: one row per evaluation.

    Attributes:
        step: Steps done when the row was measured, from where the training started (0: untrained)
            to the last.
        values: Name of each metric → its column. Names are those of `METRICS` whose split there is,
            accuracies only for labels that are class numbers and a model with an output for each
            class. Losses are means over the split, accuracies fractions.
        losses: The training loss of each step, float32: row n is that of the (n+1)-th step made
            here.
    """

    step: np.ndarray
    values: dict[str, np.ndarray]
    losses: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))

    def __repr__(self) -> str:
        """One line: what was measured last."""
        if not len(self.step):
            return f"no evaluation; {len(self.losses):,} losses"
        count = f"{len(self.step):,} evaluation{'s' * (len(self.step) > 1)}"
        last = ", ".join(f"{name} {of[-1]:.4g}" for name, of in self.values.items() if len(of))
        return f"{count}, the last at step {self.step[-1]:,}: {last}; {len(self.losses):,} losses"

    @property
    def early_stop(self) -> int:
        """Row of the smallest validation loss, the first of equal ones; NaN is never smallest."""
        loss = self.values["validation_loss"]
        return int(np.argmin(np.where(np.isnan(loss), np.inf, loss)))


@dataclass(frozen=True)
class Partial:
    """A training that is not finished: all that it takes to go on to the same bits.

    Attributes:
        step: Steps done.
        rows: The evaluations so far: (steps, values).
        losses: The losses so far.
        state: Every variable of model and optimizer, by its name: see `tfinit.training.state`.
    """

    step: int
    rows: tuple[np.ndarray, np.ndarray]
    losses: np.ndarray
    state: dict[str, np.ndarray]


Checkpoint = Callable[[Callable[[], Partial]], None]


def no_checkpoint(partial: Callable[[], Partial]) -> None:
    """Nothing kept."""


def at_most_every(seconds: float, keep: Callable[[Partial], None]) -> Checkpoint:
    """What a training calls now and then, of which ``keep`` is told once in so many seconds."""
    last = time.monotonic()

    def checkpoint(now: Callable[[], Partial]) -> None:
        nonlocal last
        if time.monotonic() - last < seconds:
            return
        keep(now())
        last = time.monotonic()

    return checkpoint


class Diverged(WorkError):
    """The loss or the weights stopped being numbers.

    Attributes:
        step: The first step, counted from 1, whose loss is NaN or infinite; or where none was, the
            first evaluation, or step of ``at``, that finds such a weight. On some processors
            TensorFlow's ReLU makes 0 of NaN: then the loss of a network that is lost looks like
            that of one that does not learn.
        metrics: What was measured before it.
    """

    def __init__(self, step: int, metrics: Metrics, weights: bool = False):
        what = "weights are not finite after" if weights else "the loss is not finite at"
        super().__init__(f"{what} step {step}. Lower the learning rate, or look at the data.")
        self.step = step
        self.metrics = metrics


class MetricsRecorder:
    """Collects the rows and losses of one training into `Metrics`."""

    def __init__(self, names: tuple[str, ...], partial: Partial | None = None):
        self.names = names
        self.steps: list[int] = []
        self.rows: list[list[float]] = []
        self._losses: list[np.ndarray] = []
        if partial is not None:
            self.steps = [int(step) for step in partial.rows[0]]
            self.rows = [[float(v) for v in row] for row in partial.rows[1]]
            self._losses = [partial.losses]

    def row(self, step: int, values: list[float]) -> None:
        """Add an evaluation."""
        self.steps.append(step)
        self.rows.append(values)

    def add_losses(self, losses: np.ndarray) -> None:
        """Add the losses of some steps."""
        self._losses.append(losses)

    @property
    def losses(self) -> np.ndarray:
        """The losses so far."""
        return np.concatenate([np.zeros(0, np.float32), *self._losses])

    def metrics(self) -> Metrics:
        """All that was collected."""
        columns = np.array(self.rows, float).reshape(len(self.rows), len(self.names)).T
        return Metrics(
            np.array(self.steps), dict(zip(self.names, columns, strict=True)), self.losses
        )

    def partial(self, step: int, state: dict[str, np.ndarray]) -> Partial:
        """Where the training stands."""
        return Partial(step, (np.array(self.steps), np.array(self.rows)), self.losses, state)


def metric_names(data: "Dataset", outputs: int | None = None) -> tuple[str, ...]:
    """Which of `METRICS` can be measured on a data set, by a model of so many outputs."""
    names = []
    for split in ("validation", "test"):
        part = getattr(data, split)
        if part is not None:
            names.append(f"{split}_loss")
            if has_classes(part[1], outputs):
                names.append(f"{split}_accuracy")
    return tuple(names)


def has_classes(y: object, outputs: int | None = None) -> bool:
    """Whether targets are class numbers: integers, one for each example.

    For a model of one output they are not: its largest output is always the first.
    """
    if outputs == 1 or not isinstance(y, np.ndarray):
        return False
    return y.ndim == 1 and np.issubdtype(y.dtype, np.integer)


__getattr__ = former_names(__name__, {"Record": "MetricsRecorder"})
