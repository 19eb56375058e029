"""Measures networks along the line between two."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfinit.executors.job import Tell, Work
from tfinit.lottery.config import StabilityConfig
from tfinit.lottery.linear_connectivity import MEASURES, interpolate
from tfinit.lottery.made_networks import Networks
from tfinit.lottery.measured_lines import SPLITS
from tfinit.lottery.result import Weights
from tfinit.lottery.training_work import TrainerSetup
from tfinit.threads import use_threads
from tfinit.training.evaluation import Evaluator
from tfinit.training.judged import ACCURACY
from tfinit.training.noise import set_noise
from tfinit.variables import write_weights

# So many training examples tell an error to half a point; all of a large set would take as long as
# the training.
MOST_TRAIN_ROWS = 10_000


@dataclass(frozen=True, eq=False)
class LineSetup:
    """Makes `LineMeter.work`, here or in another process.

    Attributes:
        trainer: What trains the networks.
        compiled: Whether XLA compiles what trains them, and so what measures.
    """

    trainer: TrainerSetup
    compiled: bool

    def meter(self) -> "LineMeter":
        """What measures."""
        return LineMeter(self)

    def __call__(self) -> Work:
        """(two networks' weights, tell) → what was measured between them."""
        use_threads(self.trainer.config.threads, self.trainer.config.keras)
        return self.meter().work


class LineMeter:
    """One network, compiled once, that takes the weights of each point of a line.

    Args:
        setup: Whose lines they are.
    """

    def __init__(self, setup: LineSetup):
        config, data = setup.trainer.config, setup.trainer.data
        if not isinstance(config, StabilityConfig):
            raise TypeError(type(config))
        self.alphas = np.linspace(0, 1, config.points)
        # The loss along the line is that of the data alone.
        plain = dataclasses.replace(config, weight_decay=0.0)
        networks = Networks(plain, data, setup.trainer.builder)
        self._model, self._weights = networks.model, networks.weights
        rows = data.rows
        some = min(rows or MOST_TRAIN_ROWS, MOST_TRAIN_ROWS)
        train = data.first(some) if rows is None else data.subset(some).train
        # As in training, so that the ends of the line are what was measured there.
        measured = dataclasses.replace(data, validation=train)
        self._evaluate = Evaluator(networks.model, measured, jit_compile=setup.compiled)

    def work(self, ends: tuple[Weights, Weights], tell: Tell) -> dict[str, np.ndarray]:
        """All that is measured along a line: of accuracies the errors first, as ever."""
        one, two = (dict(end) for end in ends)  # read from their files once, not at each point
        rows = []
        for alpha in self.alphas:
            write_weights(self._weights, interpolate(one, two, alpha))
            set_noise(self._model, 0, 0)  # the same at each point, whatever was trained before
            rows.append(self._evaluate())
        names = [name.replace("validation_", "train_", 1) for name in self._evaluate.names]
        found: dict[str, Any] = dict(zip(names, np.array(rows).T, strict=True))
        accuracies = {column: found.pop(column, None) for column in map(ACCURACY.column, SPLITS)}
        errors = {
            f"{split}_error": ACCURACY.error(values)
            for split, values in zip(SPLITS, accuracies.values(), strict=True)
            if values is not None
        }
        return {**errors, **{name: found.pop(name) for name in MEASURES if name in found}, **found}
