"""One pane: a network that trains from one initialization, and what is to be seen of it."""

import base64
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tfinit.demo.initialization import EXAMPLES, initialize_pane
from tfinit.demo.network import Network, Observation, StateOwner, network
from tfinit.demo.outcome import FAILS, LEARNS, SLOW, Course, judge
from tfinit.demo.plane import SIZE
from tfinit.demo.settings import Settings
from tfinit.training.metrics import Diverged

CURVES = ("step", "train_cost", "train_accuracy", "test_cost", "test_accuracy")
READY, TRAINING, DIVERGED, DONE = "ready", "training", "diverged", "done"
_DENSE_UNTIL, _EVERY = 20, 10
_BINS = 32
# Warnings after which a network learns late, if it does. Others, as of dead units, are of what may
# well be: half of the units of a deep ReLU network are off.
_SLOWS = ("rate too small", "gradient too small", "vanishing", "saturated", "hidden sigmoids")


class PaneTraining(StateOwner):
    """A training that a page steers.

    ``begin`` initializes, ``diagnose`` says what to expect, ``advance`` trains. Each is a piece of
    work of milliseconds, for one thread at a time. The curves have their points at steps that
    depend on nothing but the step, so they are the same at any speed.

    Args:
        settings: The run.
        pane: Which of its panes.

    Attributes:
        step: Steps done.
        status: ``"ready"``, ``"training"``, ``"diverged"`` or ``"done"``.
        diverged_at: The step whose loss was not finite.
        curves: Name of `CURVES` → values; None where a value is not finite.
        initial: Key → the weights it began with.
    """

    def __init__(self, settings: Settings, pane: int):
        self.settings, self.pane = settings, pane
        self.step, self.status = 0, READY
        self.diverged_at: int | None = None
        self.curves: dict[str, list[Any]] = {name: [] for name in CURVES}
        self.initial: dict[str, np.ndarray] = {}
        self._predicts: str | None = None
        self._kinds: tuple[str, ...] = ()
        self._network = network(settings)

    def begin(self) -> None:
        """Initialize the network, and evaluate it.

        Raises:
            InputError: the initialization does not fit the network.
        """
        settings = self.settings
        with self._network.with_state_of(self):
            model = self._network.model
            fresh(self._network, settings)
            initialize_pane(
                model, settings.panes[self.pane], self._network.data.train[0], settings.seed
            )
            self.initial = {k: np.array(v.numpy()) for k, v in self._network.weights.items()}
            self._evaluate(0)

    def diagnose(self) -> dict[str, Any]:
        """What `tfinit.diagnose` says before the first step: the page's verdict."""
        from tfinit.demo.explaining import finding_reason, terms
        from tfinit.diagnostics import diagnose

        with self._with_own_state(changes=False):
            x, y = (a[:EXAMPLES] for a in self._network.data.train)
            diagnosis = diagnose(self._network.model, x, y)
        slow = [f for f in diagnosis.findings if f.severity == "warning" and f.kind in _SLOWS]
        reasons = diagnosis.severe or slow
        self._predicts = FAILS if diagnosis.severe else SLOW if slow else LEARNS
        self._kinds = tuple(dict.fromkeys(finding.kind for finding in reasons))
        verdict = reasons[0].evidence if reasons else diagnosis.verdict
        others = [finding for finding in diagnosis.findings if finding not in reasons]
        return {
            "pane": self.pane,
            "verdict": verdict,
            "predicts": self._predicts,
            "terms": terms(verdict),
            "findings": [
                {
                    "kind": finding.kind,
                    "severity": finding.severity,
                    "layer": finding.layer,
                    "evidence": finding.evidence,
                    "why": finding_reason(finding.rule),
                    "cure": finding.cure,
                    "code": finding.code,
                }
                for finding in (*reasons, *others)
            ],
        }

    def advance(self, steps: int) -> None:
        """Train so many steps more, never beyond the last of the settings."""
        stop = min(self.step + steps, self.settings.steps)
        if self.status in (DIVERGED, DONE) or stop <= self.step:
            return
        self.status = TRAINING
        with self._with_own_state():
            try:
                last = self.settings.steps
                train(self._network, self.settings, self.step, stop, last, self._evaluate)
            except Diverged as error:
                self.diverged_at = self.step = error.step
                self.status = DIVERGED
                return
        self.step = stop
        self.status = DONE if stop == self.settings.steps else TRAINING

    def frame(self, layer: int) -> dict[str, Any]:
        """What is to be seen now, but for the curves.

        Args:
            layer: Whose weights are sent; beyond the last one, the last one's.
        """
        event: dict[str, Any] = {
            "pane": self.pane,
            "step": self.step,
            "status": self.status,
            "diverged_at": self.diverged_at,
            "boundary": None,
            "layers": None,
            "weights": None,
        }
        if self.status == DIVERGED:
            return event
        with self._with_own_state(changes=False):
            seen = self._network.observe()
        if not all(np.isfinite(a).all() for a in seen.activations):
            return event
        names = list(dict.fromkeys(key.split("/")[0] for key in self.initial))
        layer = min(layer, len(names) - 1)
        event["boundary"] = boundary(seen)
        event["layers"] = [_layer(name, seen, n) for n, name in enumerate(names)]
        event["weights"] = _picture(layer, names[layer], seen.kernels[layer])
        return event

    def outcome(self) -> dict[str, Any] | None:
        """Whether what was predicted came true; None while nothing can be said."""
        course = Course(
            step=self.step,
            over=self.status in (DIVERGED, DONE),
            diverged_at=self.diverged_at,
            cost=self.curves["train_cost"],
            accuracy=self.curves["train_accuracy"],
            classes=self._network.data.class_count("the page"),
            steps=self.curves["step"],
            last=self.settings.steps,
        )
        judged = judge(course, self._predicts, self._kinds)
        return None if judged is None else {"pane": self.pane, **judged}

    def final(self) -> dict[str, np.ndarray]:
        """Key → the weights as they are now."""
        with self._with_own_state(changes=False):
            return {key: np.array(v.numpy()) for key, v in self._network.weights.items()}

    def _with_own_state(self, changes: bool = True) -> Any:
        return self._network.with_state_of(self, changes)

    def _evaluate(self, step: int) -> None:
        record(self.curves, step, self._network.evaluate())


def fresh(network: Network, settings: Settings) -> None:
    """A new optimizer, the settings' learning rate, biases of zero."""
    network.loop.reset()
    network.model.optimizer.learning_rate = settings.learning_rate
    for key, weight in network.weights.items():
        if key.endswith("/bias"):
            weight.assign(np.zeros(weight.shape, "float32"))


def train(
    network: Network,
    settings: Settings,
    start: int,
    stop: int,
    last: int,
    evaluate: Callable[[int], None],
) -> None:
    """Train from one step to another, and call ``evaluate(step)`` where the curves have points.

    They have one at each of the first steps, at every tenth, and at the ``last``.

    Raises:
        Diverged: a loss was not finite.
    """
    due = [
        step
        for step in range(start + 1, stop + 1)
        if step <= _DENSE_UNTIL or step % _EVERY == 0 or step == last
    ]
    network.loop(
        stop,
        min(settings.batch_size, len(network.data.train[1])),
        settings.seed,
        stop,
        start=start,
        at={step: lambda s=step: evaluate(s) for step in due},  # type: ignore[misc]
    )


def record(curves: dict[str, list[Any]], step: int, row: list[float]) -> None:
    """Add a point: train cost and accuracy, test cost and accuracy."""
    for name, value in zip(CURVES, (step, *row), strict=True):
        finite = isinstance(value, int) or math.isfinite(value)
        curves[name].append(value if finite else None)


def boundary(seen: Observation) -> dict[str, Any]:
    """The winning class of each square of the plane, and how sure the network is."""
    return {
        "size": SIZE,
        "winner": packed(seen.winner, "uint8"),
        "confidence": packed(np.round(255 * seen.confidence), "uint8"),
    }


def _layer(name: str, seen: Observation, n: int) -> dict[str, Any]:
    activations, gradients = seen.activations[n], seen.gradients[n]
    units = np.concatenate([seen.kernels[n], seen.biases[n][None]])
    scale = np.abs(units).max() or 1.0
    # Sums in another order part the sixth digit. + 0.0: the other zero.
    alike = np.ascontiguousarray(np.round(units / scale, 5).T) + 0.0
    with np.errstate(over="ignore"):  # of a network that explodes: shown as not finite
        stds = activations.std(), gradients.std()
    return {
        "name": name,
        "activation_std": _number(stds[0]),
        "gradient_std": _number(stds[1]),
        "activation_histogram": _histogram(activations),
        "gradient_histogram": _histogram(gradients),
        "units": units.shape[1],
        "distinct_units": len({unit.tobytes() for unit in alike}),
        "dead_units": int((~activations.any(axis=0)).sum()),
    }


def _histogram(values: np.ndarray) -> dict[str, Any] | None:
    low, high = float(values.min()), float(values.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        return None
    # Too narrow for bins of floats: all in the middle one.
    if high - low <= 1e-6 * max(abs(low), abs(high)):
        counts = [0] * _BINS
        counts[_BINS // 2] = values.size
    else:  # as np.histogram, in a third of its time
        bins = ((values.ravel() - low) * (_BINS / (high - low))).astype(np.intp)
        counts = np.bincount(np.minimum(bins, _BINS - 1), minlength=_BINS).tolist()
    return {"low": low, "high": high, "counts": counts}


def _picture(layer: int, name: str, kernel: np.ndarray) -> dict[str, Any]:
    scale = float(np.abs(kernel).max())
    return {
        "layer": layer,
        "name": name,
        "rows": kernel.shape[0],
        "columns": kernel.shape[1],
        "scale": _number(scale),
        "values": packed(np.round(127 * kernel / (scale or 1.0)), "int8"),
    }


def packed(values: np.ndarray, dtype: str) -> str:
    """The bytes of an array, row by row, in base64."""
    return base64.b64encode(values.astype(dtype).tobytes()).decode()


def _number(value: Any) -> float | None:
    return float(value) if math.isfinite(value) else None
