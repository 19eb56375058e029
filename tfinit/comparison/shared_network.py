"""One network, compiled once, that is trained again and again: each time from new weights."""

import dataclasses
import time
from typing import Any

import numpy as np

from tfinit.comparison.initializations import Initialization
from tfinit.comparison.result import Run
from tfinit.datasets import Dataset
from tfinit.models import kernels
from tfinit.schemes.initialize import initialize
from tfinit.training.engine import trainer
from tfinit.training.evaluation import Evaluator
from tfinit.training.judged import JudgedMetric, judged
from tfinit.training.metrics import Diverged, MetricsRecorder, Progress, silent
from tfinit.training.noise import set_noise
from tfinit.training.order import evaluation_steps
from tfinit.variables import all_weights, read_weights, write_weights

# Rows for the schemes and the diagnosis, which look at one batch.
_EXAMPLES = 256


class SharedNetwork:
    """Trains one compiled model from what each initialization makes of it.

    What a run starts from is a function of the model as it was given, the initialization and the
    seed: nothing of an earlier run is left. What is not a kernel is as given; kernels are drawn by
    the seed from their layers' own initializers, then the initialization sets those that it is
    about. The optimizer is fresh; data order and noise are the seed's.

    Args:
        model: A built and compiled model of Keras 3.
        data: What to train and evaluate on.

    Raises:
        InputError: it was compiled without a loss, or cannot be trained on such data.
    """

    def __init__(self, model: Any, data: Dataset):
        self.model, self._data = model, data
        self._weights = all_weights(model)
        self._given = read_weights(self._weights)
        self._base: tuple[int, dict[str, np.ndarray]] | None = None
        self._x, self._y = data.first(_EXAMPLES)[:2]
        # Evaluations are made here, so that their time is not the training's.
        self._loop = trainer(model, dataclasses.replace(data, validation=None, test=None))
        self._evaluate = Evaluator(model, data, jit_compile=False)  # compiling would take longer
        self._warm = False

    def judged(self, metric: str, direction: str) -> JudgedMetric:
        """The metric by its name.

        Raises:
            InputError: it is not measured on a validation split, or does not say which is better.
        """
        names = [n.split("_", 1)[1] for n in self._evaluate.names if n.startswith("validation_")]
        return judged(names, metric, direction, self.model)

    def start(self, initialization: Initialization, seed: int) -> None:
        """Set all weights to those that a run starts from, and the optimizer to a fresh one."""
        if self._base is None or self._base[0] != seed:
            write_weights(self._weights, self._given)
            initialize(self.model, "reinitialize", seed=seed)
            drawn = read_weights(kernels(self.model))
            self._base = seed, {**self._given, **drawn}
        write_weights(self._weights, self._base[1])
        self._loop.reset()
        set_noise(self.model, seed, 0)
        initialization.initialize(self.model, self._x, seed)

    def run(
        self,
        initialization: Initialization,
        seed: int,
        steps: int,
        batch_size: int,
        evaluate_every: int,
        diagnosed: bool,
        progress: Progress,
    ) -> Run:
        """One training, diagnosed before the first step if asked; arguments as for `compare`."""
        if not self._warm:  # compile, untimed
            self.start(initialization, seed)
            self._train(1, 1, batch_size, seed, evaluate_every, silent)
            self._warm = True
        self.start(initialization, seed)
        diagnosis = None
        if diagnosed:
            from tfinit.diagnostics import diagnose

            diagnosis = diagnose(self.model, self._x, self._y)
        done = 0

        def count(more: int) -> None:
            nonlocal done
            done += more
            progress(more)

        diverged_at, record, seconds = self._train(
            steps, steps, batch_size, seed, evaluate_every, count
        )
        if diverged_at is not None:
            # The losses of the steps before, which a loop that diverges does not give.
            self.start(initialization, seed)
            _, record, seconds = self._train(
                diverged_at - 1, steps, batch_size, seed, evaluate_every, silent
            )
            progress(steps - done)
        made = len(record.losses)
        return Run(
            initialization.label,
            seed,
            steps,
            record.metrics(),
            diverged_at,
            seconds / made if made else float("nan"),
            diagnosis,
        )

    def _train(
        self,
        stop: int,
        steps: int,
        batch_size: int,
        seed: int,
        evaluate_every: int,
        progress: Progress,
    ) -> tuple[int | None, MetricsRecorder, float]:
        """Train ``stop`` of the steps: where it diverged, what was measured, and its seconds."""
        record = MetricsRecorder(self._evaluate.names)
        evaluating = 0.0

        def evaluate(step: int) -> None:
            nonlocal evaluating
            began = time.perf_counter()
            record.row(step, self._evaluate())
            evaluating += time.perf_counter() - began

        due = [int(s) for s in evaluation_steps(steps, evaluate_every) if s <= stop]
        if stop == 0:
            evaluate(0)
            return None, record, 0.0
        diverged_at = None
        began = time.perf_counter()
        try:
            metrics = self._loop(
                stop,
                batch_size,
                seed,
                stop,
                progress,
                at={step: lambda s=step: evaluate(s) for step in due},
            )
        except Diverged as error:
            diverged_at, metrics = error.step, error.metrics
        seconds = time.perf_counter() - began - evaluating
        record.add_losses(metrics.losses)
        return diverged_at, record, seconds
