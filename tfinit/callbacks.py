"""Watching signals during training: what `tfinit.diagnose` sees, again and again, in `fit`."""

import csv as comma_separated
import errno
import io
import math
import os
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import keras

from tfinit.arguments import check_real, number, one_of, path, whole
from tfinit.diagnostics.diagnosis import Diagnosis, line_of
from tfinit.diagnostics.judging.findings import SEVERE
from tfinit.diagnostics.judging.outcome import Outcome, Reading, fell
from tfinit.diagnostics.measuring.measurement import measure
from tfinit.errors import InputError, of_system
from tfinit.event_files import EventFile, need_tensorboard
from tfinit.files import check_writable, make_directory, why_not

__all__ = ["HEADER", "SignalMonitor"]

# Readings may take their share of at least so many seconds of training. Of the seconds trained so
# far alone, the second reading would wait very long: the first is the slowest.
_CHARGED = 60.0
# The fraction of the budget that is planned with: readings vary, and leave the caches cold.
_PLANNED = 0.9
HEADER = ("step", "layer", "statistic", "value")
# Of a layer and of its kernels, as `Diagnosis.to_frame` calls them.
_OF_LAYER = (
    *("activation_mean", "activation_std", "variation", "zeros", "dead", "saturated"),
    "gradient_std",
)
_OF_KERNEL = ("weight_std", "weight_gradient_std", "update_ratio")


class _Line(NamedTuple):
    """One number: whose (``""``: the network's), which, and what it is."""

    layer: str
    statistic: str
    value: float


class SignalMonitor(keras.callbacks.Callback):
    """Takes the statistics of `tfinit.diagnose` on one fixed batch while `fit` trains the model.

    A reading is one forward and one backward pass over the batch that leave everything as it was:
    training goes bit for bit as it would without. There is one before the first step, one at the
    end, and between them:

    * ``every=None``: one when r / budget seconds of training have passed since the last, which
      took r seconds (the first, which is slow: half of it), if that and the one at the end fit in:
      all readings of this `fit`, the first too, may take ``0.9 · budget · max(trained, 60 s)``,
      ``trained`` being the seconds of `fit` without them; a tenth is kept for what they disturb.
      So the share holds for a training of a minute or more; in a shorter one the first and the
      last may come on top;
    * ``every=n``: at steps n, 2n, 3n, …; with ``steps_per_execution``, when the execution that
      has the step in it is done.

    On JAX a reading is one compiled program, which the first makes.

    A step is one of the optimizer's (``optimizer.iterations``), so a training that is resumed
    goes on counting. Of each layer: ``activation_mean``, ``activation_std``, ``variation``,
    ``zeros``, ``dead``, ``saturated``, ``gradient_std`` (with respect to its activations),
    ``weight_std``, ``weight_gradient_std`` and ``update_ratio`` (of a fresh optimizer's first step,
    as in `tfinit.diagnose`). What a layer does not have is left out; a layer with several kernels
    has the last three under the kernels' keys. Of the network: ``loss``, ``forward_factor``,
    ``backward_factor``, ``depth_scale`` and ``risk``. What is not finite is NaN (the risk:
    infinite); the first time, a warning says where.

    At each reading the rules of `tfinit.diagnose` are asked, too. At the end `outcome` says what
    they foretold and whether it came true: whether the loss on the batch has fallen since. `fit`
    prints its sentence unless its ``verbose`` is 0.

    Args:
        x: A batch as the model takes it; some dozens of examples tell enough. None: drawn from
            N(0, 1), the same at each reading.
        y: Its targets. None: gradients are those of random sums of the outputs.
        log_dir: Directory of TensorBoard's logs: scalars ``signals/<layer>/<statistic>``, and
            ``signals/<statistic>`` of the network.
        csv: Path of a table with the columns step, layer (empty: the network), statistic, value.
            Each reading is written at once, as whole lines. An existing file is appended to, so
            where a training was resumed from an earlier step, a step's last lines are the valid.
        every: Steps between readings. None: as many as ``budget`` allows.
        budget: The share of the training time that readings may take where ``every`` is None.
        loss: As for `tfinit.diagnose`. None: the loss that the model was compiled with.
        sample_weight: As for `tfinit.diagnose`.
        stop_on: ``"severe"``: end `fit` at the first reading with a severe finding, unless the loss
            on the batch has fallen by a tenth since the reading before, which says otherwise; a
            warning says why. Keras does the step that it has begun, so one is done where it is
            found before the first. None: go on.

    Attributes:
        outcome: What was foretold in the current or last `fit`, and whether it came true: it prints
            as a sentence and a table (`tfinit.diagnostics.judging.outcome.Outcome`).
        latest: The last reading, a `Diagnosis`.
        readings: (step, numbers of the network) of each reading so far.
        cost: Seconds of readings / seconds of the rest of `fit`, in the current or last `fit`.

    Raises:
        InputError: neither ``log_dir`` nor ``csv`` nor ``stop_on``, ``every`` or ``budget`` out of
            range. At the start of `fit`, before anything is trained: ``csv`` is another file,
            several replicas, or what `tfinit.diagnose` refuses.
        MissingPackage: ``log_dir`` without TensorBoard.

    Example:
        >>> x, y = np.random.rand(64, 8), np.random.rand(64, 1)
        >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> monitor = SignalMonitor(x, y, csv="signals.csv", every=2)
        >>> history = model.fit(x, y, batch_size=16, callbacks=[monitor], verbose=0)
        >>> [step for step, network in monitor.readings]
        [0, 2, 4]

    Glorot & Bengio, Understanding the difficulty of training deep feedforward neural networks,
    AISTATS 2010 (activations and gradients during training, figures 2 to 4).
    """

    def __init__(
        self,
        x: Any,
        y: Any = None,
        *,
        log_dir: str | os.PathLike[str] | None = None,
        csv: str | os.PathLike[str] | None = None,
        every: int | None = None,
        budget: float = 0.05,
        loss: Any = None,
        sample_weight: Any = None,
        stop_on: str | None = None,
    ) -> None:
        super().__init__()
        log_dir, csv = path("log_dir", log_dir, none=True), path("csv", csv, none=True)
        check_real("x", x)
        check_real("y", y)
        check_real("sample_weight", sample_weight)
        one_of("stop_on", stop_on, (None, SEVERE))
        if log_dir is None and csv is None and stop_on is None:
            raise InputError(
                "Neither `log_dir` nor `csv` was given, so nothing would be written. Pass "
                'log_dir="logs" for TensorBoard, csv="signals.csv" for a table, or both; or '
                'stop_on="severe".'
            )
        every = whole("every", every, 1, of="steps", none=True)
        cure = "It is the share of the training time that readings may take, as 0.05."
        budget = number("budget", budget, above=0, most=1, cure=cure)
        if log_dir is not None:
            need_tensorboard("SignalMonitor")
        self.latest: Diagnosis | None = None
        self.readings: list[tuple[int, dict[str, float]]] = []
        self._batch = (x, y, loss, sample_weight)
        self._log_dir, self._csv = log_dir, csv
        self._every, self._budget, self._stop_on = every, budget, stop_on
        self._found: list[Reading] = []
        self._stopped_at: int | None = None
        self._events: EventFile | None = None
        self._began = self._ended = self._spent = self._took = 0.0

    @property
    def outcome(self) -> Outcome:
        """What was foretold in the current or last `fit`, and whether it came true."""
        return Outcome(self._found, self._batch[1] is not None, self._stopped_at)

    @property
    def cost(self) -> float:
        """Seconds of readings / seconds of the rest of the current or last `fit`."""
        trained = self._trained()
        return self._spent / trained if trained > 0 else 0.0

    def on_train_begin(self, logs: Any = None) -> None:
        """The reading before the first step."""
        strategy = getattr(self.model, "distribute_strategy", None)
        replicas = getattr(strategy, "num_replicas_in_sync", 1)
        if replicas > 1:
            raise InputError(
                f"SignalMonitor watches a model on one device, this one has {replicas} replicas. "
                "Train it without a distribution strategy, or without the monitor."
            )
        if self._csv is not None:
            _check_table(self._csv)
        self._kept: dict[Any, Any] = {}
        self._began, self._ended = time.perf_counter(), math.nan
        self._spent, self._trained_then, self._warned = 0.0, 0.0, False
        self._unwritten: set[Path | None] = set()
        self._found, self._stopped_at = [], None
        self._read(self._step())

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Count from the optimizer's steps: an epoch may have ended early."""
        self._before = self._step()

    # Not at a batch's end: with a callback there, Keras no longer hands out the logs beside the
    # training, which then waits for those of each step.
    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """A reading after the steps so far, if it is due."""
        if self._every is None:
            trained = self._trained()
            if (trained - self._trained_then) * self._budget < self._took:
                return
            # This one, and the one at the end.
            allowed = _PLANNED * self._budget * max(trained, _CHARGED)
            if self._spent + 2 * self._took > allowed:
                return
        # No more steps than that, but fewer where gradients are accumulated or steps skipped.
        elif self._before + batch < self._next:
            return
        step = self._step()
        self._before = step - batch
        if step > self._last and (self._every is None or step >= self._next):
            self._read(step)

    def on_train_end(self, logs: Any = None) -> None:
        """The reading after the last step."""
        step = self._step()
        if step != self._last:
            self._read(step)
        if self._events is not None:
            events, self._events = self._events, None
            self._save(step, self._log_dir, events.close)
        self._ended = time.perf_counter()
        if (self.params or {}).get("verbose"):
            print(f"SignalMonitor: {self.outcome.summary}", flush=True)

    def _step(self) -> int:
        if hasattr(self.model, "jax_state_sync"):
            self.model.jax_state_sync()  # on JAX, `fit` has the values elsewhere
        return int(keras.ops.convert_to_numpy(self.model.optimizer.iterations))

    def _trained(self) -> float:
        now = time.perf_counter() if math.isnan(self._ended) else self._ended
        return now - self._began - self._spent

    def _read(self, step: int) -> None:
        self._trained_then = self._trained()
        began = time.perf_counter()
        diagnosis = Diagnosis(self.model.name, measure(self.model, *self._batch, self._kept))
        if self._log_dir is not None and self._events is None:
            self._events = EventFile(self._log_dir)
        network = _network(diagnosis)
        self.latest = diagnosis
        self.readings.append((step, network))
        lines = [_Line("", name, value) for name, value in network.items()]
        lines += _layers(diagnosis)
        if self._csv is not None:
            self._save(step, self._csv, _append, self._csv, step, lines)
        if self._events is not None:
            self._save(step, self._log_dir, _log, self._events, step, lines)
        self._last = step
        if self._every is not None:
            self._next = (step // self._every + 1) * self._every
        broken = next((f for f in diagnosis.findings if f.kind == "not finite"), None)
        self._judge(step, diagnosis)
        if broken is not None and not self._warned and self._stopped_at is None:
            self._warned = True
            warnings.warn(
                f"SignalMonitor at step {step}: {broken.evidence} Training goes on; such numbers "
                "are written as NaN.",
                RuntimeWarning,
                stacklevel=2,
            )
        seconds = time.perf_counter() - began
        # The first finds nothing in memory and takes twice as long as the next.
        self._took = seconds if self._spent else seconds / 2
        self._spent += seconds

    def _judge(self, step: int, diagnosis: Diagnosis) -> None:
        """Keep what was found, and stop where that is asked for."""
        before = [reading.loss for reading in self._found[-1:]]
        loss = diagnosis.measurement.loss
        self._found.append(Reading(step, loss, tuple(diagnosis.findings)))
        if self._stop_on is None or self._stopped_at is not None or not diagnosis.severe:
            return
        if before and self._batch[1] is not None and fell(before[0], [loss]):
            return  # it learns, whatever it looks like
        self._stopped_at = step
        self.model.stop_training = True
        worst = diagnosis.severe[0]
        rule = f" ({worst.rule})" if worst.rule else ""
        warnings.warn(
            f"SignalMonitor stops the training at step {step}: {worst.kind}{rule}: "
            f"{worst.evidence} {worst.cure}",
            RuntimeWarning,
            stacklevel=3,
        )

    def _save(self, step: int, place: Path | None, write: Any, *what: Any) -> None:
        try:
            write(*what)
        except OSError as error:  # a full disk is no reason to lose the training
            if place not in self._unwritten:
                self._unwritten.add(place)
                warnings.warn(
                    f"SignalMonitor at step {step}: {str(place)!r} cannot be written: "
                    f"{of_system(error)}. Training goes on; `readings` has what it lacks.",
                    RuntimeWarning,
                    stacklevel=2,
                )


def _log(events: EventFile, step: int, lines: list[_Line]) -> None:
    for layer, statistic, value in lines:
        events.scalar("/".join(filter(None, ("signals", layer, statistic))), value, step)
    events.flush()


def _network(diagnosis: Diagnosis) -> dict[str, float]:
    trends = diagnosis.trends
    network = {
        "loss": diagnosis.measurement.loss,
        "forward_factor": trends.forward_factor,
        "backward_factor": trends.backward_factor,
        "depth_scale": trends.depth_scale,
        "risk": diagnosis.risk,
    }
    # Trends leave out the layers that are not finite: one of the others would look healthy.
    seen = [layer.linear for layer in diagnosis.layers if layer.is_kernel]
    back = [layer.linear_gradient for layer in diagnosis.layers if layer.is_kernel]
    if not all(signal.finite for signal in seen):
        network["forward_factor"] = math.nan
    if not all(signal is None or signal.finite for signal in (*seen, *back)):
        network["backward_factor"] = network["depth_scale"] = math.nan
    return network


def _layers(diagnosis: Diagnosis) -> Iterator[_Line]:
    weighed = set()
    for layer in diagnosis.layers:
        line = line_of(layer, None)
        yield from _lines(layer.key, line, _OF_LAYER)
        for weights in layer.weights:
            # A layer that is called twice has its weights once.
            if weights.key not in weighed:
                weighed.add(weights.key)
                key = layer.key if len(layer.weights) == 1 else weights.key
                yield from _lines(key, line_of(layer, weights), _OF_KERNEL)


def _lines(key: str, line: dict[str, Any], statistics: tuple[str, ...]) -> Iterator[_Line]:
    for statistic in statistics:
        if line[statistic] is not None:
            yield _Line(key, statistic, float(line[statistic]))


def _check_table(path: Path) -> None:
    """InputError unless lines can be appended to the file; a line that was cut short goes."""
    try:
        if not os.path.lexists(path):
            check_writable("csv", path)
        make_directory(path.parent)
        if not path.exists():
            return
        if not path.is_file():  # to open a pipe would wait for ever
            raise OSError(errno.EINVAL, "it is something else than a file")
        with path.open("ab"):  # it can be written to
            pass
        if not path.stat().st_size:
            return
        with path.open("r+b") as file:
            header = file.readline().decode("utf-8", "replace").rstrip("\r\n")
            if header != ",".join(HEADER):
                raise InputError(
                    f"`csv`: {str(path)!r} exists and is another table: its first line is "
                    f"{header[:80]!r}, not {','.join(HEADER)!r}. Choose another path, or move the "
                    "file."
                )
            file.seek(-1, os.SEEK_END)
            if file.read() != b"\n":
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)
    except OSError as error:
        raise InputError(
            f"`csv`: {str(path)!r} cannot be written: {why_not(error, path)}."
        ) from error


def _append(path: Path, step: int, lines: list[_Line]) -> None:
    text = io.StringIO()
    table = comma_separated.writer(text, lineterminator="\n")
    if not path.exists() or not path.stat().st_size:
        table.writerow(HEADER)
    for layer, statistic, value in lines:
        table.writerow((step, layer, statistic, f"{value:.9g}"))
    # Opened and closed at each reading: an interrupted training leaves nothing in a buffer.
    with path.open("a", encoding="utf-8", newline="") as file:
        file.write(text.getvalue())
