"""What a model is measured by between its steps: loss, accuracy, and all it was compiled with."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tfinit.arguments import flag, one_of
from tfinit.array_trees import each, flat
from tfinit.datasets import Dataset
from tfinit.errors import InputError, reason
from tfinit.graph.keras_internals import compiled_metrics, weighted_metrics
from tfinit.training.evaluation_programs import (
    Logs,
    Split,
    array_of,
    counts_put_back,
    program_of,
    rows_of,
)
from tfinit.training.judged import EVALUATE_TEST
from tfinit.training.metric_names import steady_names
from tfinit.training.metrics import Metrics, MetricsRecorder, Partial, has_classes
from tfinit.variables import keras_of

_ROWS = 1000  # of one call: bounds memory, not the result
_BYTES = 2**28  # of inputs, targets and outputs of one call


class Evaluator:
    """Measures a model on the validation and the test split, of either Keras, on any backend.

    The loss is the mean over the split of ``compute_loss``, with sample weights and the losses of
    layers; where targets are class numbers, accuracy is the fraction of rows whose largest output
    is at their class. To these come all metrics that the model was compiled with or has of its
    own, under the names of Keras's ``evaluate`` and ``fit``, with their values there; of a metric
    with several numbers, one a class, ``name[0]``, ``name[1]`` … Numbers that Keras gives to equal
    names begin anew in each model, see `training.metric_names`. A model with a ``test_step`` of its
    own is measured by ``evaluate``. What the model's metrics have counted is put back afterwards:
    one can measure in the middle of a ``fit``.

    Args:
        model: A compiled model; or one that is not, with ``loss``.
        data: What to evaluate on, arrays; a split that is None is left out.
        loss: (targets, predictions, sample weights or None) → mean loss, as a tensor. None: the
            model's own ``compute_loss``.
        jit_compile: Whether XLA compiles it on TensorFlow; on JAX it always does.

    Attributes:
        names: What is measured: ``validation_loss``, ``validation_accuracy``, other metrics of the
            validation split, ``test_loss`` …
        left_out: Logs of the model that are no numbers, and so are not measured → what they are.

    Raises:
        InputError: the model cannot be evaluated on such data, or has no loss.

    Example:
        >>> data = tfinit.datasets.load("digits")
        >>> layers = [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(10)]
        >>> model = keras.Sequential(layers)
        >>> loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        >>> top = keras.metrics.SparseTopKCategoricalAccuracy(3, name="top_3")
        >>> model.compile("adam", loss, metrics=[top])
        >>> evaluator = Evaluator(model, data)
        >>> evaluator.names[:3]
        ('validation_loss', 'validation_accuracy', 'validation_top_3')
        >>> loss, accuracy, top_3 = evaluator()[:3]
        >>> 0 <= accuracy <= top_3 <= 1
        True
    """

    def __init__(
        self,
        model: Any,
        data: Dataset,
        loss: Callable[[Any, Any, Any], Any] | None = None,
        jit_compile: bool = True,
    ):
        flag("jit_compile", jit_compile)
        self.left_out: dict[str, str] = {}
        self._model = model
        self._program = program_of(model, loss, jit_compile)
        splits = {"validation": data.validation, "test": data.test}
        self._splits = {
            which: self._split(which, tuple(split))
            for which, split in splits.items()
            if split is not None
        }
        self.names = tuple(
            f"{which}_{name}" for which, split in self._splits.items() for name in split.names
        )

    def __call__(self, validation: bool = True, test: bool = True) -> list[float]:
        """The present values of `names`; NaN for those of a split that is not asked for."""
        asked = {"validation": validation, "test": test}
        row: list[float] = []
        with counts_put_back(self._model):
            for which, split in self._splits.items():
                if asked[which]:
                    row += split.values(self._program)
                else:
                    row += [float("nan")] * len(split.names)
        return row

    def _split(self, which: str, split: Split) -> "_Split":
        """A split with the names of what is measured on it, known from two of its examples."""
        program = self._program
        few = tuple(each(lambda a: a[:2], split))
        try:
            with counts_put_back(self._model):
                outputs, logs = program.first(few)
        except Exception as error:  # from inside a model's call, its loss or a metric
            raise InputError(
                f"`model` cannot be evaluated on `data.{which}`: {reason(error)} Compile it with a "
                "loss, or give it a test_step, and pass inputs and targets that fit it."
            ) from error
        found = {name: array_of(value) for name, value in _flattened(logs).items()}
        shapes = {name: value.shape for name, value in found.items() if value.dtype.kind in "biuf"}
        self.left_out |= {n: f"of {v.dtype}" for n, v in found.items() if n not in shapes}
        own: list[str] = []
        if not program.by_keras:
            own.append("loss")
            shape = tuple(getattr(outputs, "shape", ()))
            classes = len(shape) == 2 and has_classes(split[1], int(shape[1]))
            if classes and counts_as_ours(self._model, weighted=len(split) == 3):
                own.append("accuracy")
        others = {name: shape for name, shape in shapes.items() if name not in own}
        program.counts = bool(others)
        rows = _ROWS
        if (size := _bytes([few, outputs])) > 0:
            rows = int(min(_ROWS, max(1, _BYTES * rows_of(few) // size)))
        steady = steady_names(self._model, others, own)
        return _Split(own, others, steady, program.parts(split, rows))


class Evaluations:
    """The evaluations of one training, and which of them are on the test split too.

    ``"always"``: all. ``"needed"``: the first, the last, and that of the smallest validation loss,
    which are all that a result tells of. Which these are is known at the end: until then the
    weights of the last two are kept. Elsewhere the test split has NaN.

    Args:
        model: The model in training.
        evaluator: Gives what measures it: a loop may change it.
        test: When the test split is evaluated. Without a validation split: always.
        partial: What the training goes on from.
    """

    def __init__(
        self,
        model: Any,
        evaluator: Callable[[], Evaluator],
        test: str = "always",
        partial: Partial | None = None,
    ):
        one_of("evaluate_test", test, EVALUATE_TEST)
        self._model, self._evaluator = model, evaluator
        self._names = evaluator().names
        self._record = MetricsRecorder(self._names, partial)
        self._always = test == "always" or "validation_loss" not in self._names
        self._kept: dict[int, list[np.ndarray]] = {}  # row → weights, of what is to be tested

    def measure(self, step: int, end: bool = False) -> None:
        """Add an evaluation; at the ``end``, and first, with the test split whatever it is."""
        rows = self._record.rows
        whole = self._always or end or not rows
        self._record.row(step, self._evaluator()(test=whole))
        if self._always:
            return
        last, best = len(rows) - 1, self._record.metrics().early_stop
        for row in set(range(1, last)) - {best}:
            rows[row] = self._without_test(rows[row])
        self._kept = {row: weights for row, weights in self._kept.items() if row == best}
        if not whole:
            self._kept[last] = [array_of(weight) for weight in self._model.weights]

    def add_losses(self, losses: np.ndarray) -> None:
        """Add the losses of some steps."""
        self._record.add_losses(losses)

    def metrics(self) -> Metrics:
        """All that was measured."""
        self._test_what_is_kept()
        return self._record.metrics()

    def partial(self, step: int, state: dict[str, np.ndarray]) -> Partial:
        """Where the training stands."""
        self._test_what_is_kept()
        return self._record.partial(step, state)

    def _test_what_is_kept(self) -> None:
        if not self._kept:
            return
        rows, weights = self._record.rows, self._model.weights
        now = [array_of(weight) for weight in weights]
        try:
            for row, kept in self._kept.items():
                for weight, value in zip(weights, kept, strict=True):
                    weight.assign(value)
                tested = self._evaluator()(validation=False)
                rows[row] = [
                    new if name.startswith("test_") else old
                    for name, old, new in zip(self._names, rows[row], tested, strict=True)
                ]
        finally:
            for weight, value in zip(weights, now, strict=True):
                weight.assign(value)
        self._kept = {}

    def _without_test(self, row: list[float]) -> list[float]:
        return [
            float("nan") if name.startswith("test_") else value
            for name, value in zip(self._names, row, strict=True)
        ]


class _Split:
    """One split: what is measured on it, and its parts, each for one call."""

    def __init__(
        self,
        own: list[str],
        others: dict[str, tuple[int, ...]],
        steady: dict[str, str],
        parts: list[Split],
    ):
        self._own, self._others, self._parts = own, others, parts
        shown = (n for name, shape in others.items() for n in _names(steady[name], shape))
        self.names = [*own, *shown]

    def values(self, program: Any) -> list[float]:
        """The present values of `names`."""
        measured, logs = program(self._parts)
        rows = [rows_of(part) for part in self._parts]
        row = []
        if self._own:
            total = sum(float(loss) * n for (loss, _), n in zip(measured, rows, strict=True))
            row.append(total / sum(rows))
        if len(self._own) > 1:
            row.append(sum(int(right) for _, right in measured) / sum(rows))
        logs = _flattened(logs)
        for name in self._others:
            row += [float(value) for value in array_of(logs[name]).reshape(-1)]
        return row


def counts_as_ours(model: Any, weighted: bool) -> bool:
    """Whether a metric that the model has as ``accuracy`` is the fraction of right rows."""
    metric = compiled_metrics(model).get("accuracy")
    if metric is None or keras_of(model) == "tf_keras":
        return True
    import keras

    if weighted and metric in weighted_metrics(model):
        return False
    return type(metric) is keras.metrics.SparseCategoricalAccuracy


def _bytes(arrays: Any) -> int:
    sized = [a for a in flat(arrays) if hasattr(a, "shape")]
    return sum(int(np.prod(a.shape)) * 4 for a in sized)


def _names(name: str, shape: tuple[int, ...]) -> list[str]:
    return [f"{name}[{n}]" for n in range(int(np.prod(shape)))] if shape else [name]


def _flattened(logs: Logs) -> Logs:
    """Logs of logs as one, in the order of the model."""
    flat: Logs = {}
    for name, value in logs.items():
        flat |= _flattened(value) if isinstance(value, dict) else {name: value}
    return flat
