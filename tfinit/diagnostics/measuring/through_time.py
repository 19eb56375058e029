"""Recurrent layers seen in time: their gates, their state, and what a small change of it becomes.

The recurrence is run again in float64 on what the layer read, a few examples, once as it was and
once from a state that is a little off. What the difference is multiplied with in a step is what a
gradient is multiplied with on its way back (the largest Lyapunov exponent, as Benettin et al. 1980
measure it), whatever the loss is taken of.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfinit.errors import InputError
from tfinit.gains import evaluate
from tfinit.graph.activations import LINEAR, Activation, gate_activations, own_activation
from tfinit.graph.layer_kinds import kind_of
from tfinit.graph.structure import Structure

EXAMPLES = 8  # of the batch
_STEPS = 200  # of a sequence, its last
_WORK = 5e8  # products at most; for that, fewer examples
_OFF = 1e-6  # how far the other state is off
_FLAT = 0.975  # a gate or a bounded unit beyond this, on -1 to 1, is saturated
_HUGE = 1e150  # a state beyond this has exploded
_UPDATES = (3, 10)  # steps of training that are looked ahead, where the state has no bound
_KNOWN: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "linear": lambda z: z,
    "tanh": np.tanh,
    "sigmoid": lambda z: 0.5 + 0.5 * np.tanh(0.5 * z),
    "relu": lambda z: np.maximum(z, 0.0),
}
_BETWEEN = {"tanh": (-1.0, 1.0), "sigmoid": (0.0, 1.0), "hard_sigmoid": (0.0, 1.0)}


@dataclass(frozen=True)
class ThroughTime:
    """One recurrent layer.

    Attributes:
        key: Of the layer.
        layer: Its class.
        activation: Of its candidate state.
        bounded: Whether that has bounds.
        steps: The length of the sequences.
        inputs: rms of what it reads.
        gates: The letter of each gate → its mean: ``"i"``, ``"f"``, ``"o"`` of an LSTM, ``"z"``,
            ``"r"`` of a GRU; none of a SimpleRNN.
        saturated: The part of the gates and candidates that are at their flat ends.
        factor: What a small change of the state is multiplied with in a step; also a gradient.
        growth: What the size of the state is multiplied with from the second step to the last.
        ahead: The same with the weights as they would be after three steps like the optimizer's
            first; None of a bounded state, or where that is not known.
        far_ahead: The same after ten.
        by_sign: Whether the optimizer takes steps as large when gradients are small, as Adam does.
    """

    key: str
    layer: str
    activation: str
    bounded: bool
    steps: int
    inputs: float
    gates: dict[str, float]
    saturated: float
    factor: float
    growth: float
    ahead: float | None
    far_ahead: float | None
    by_sign: bool

    @property
    def kept(self) -> float | None:
        """The mean of the gate that keeps the state; None of a SimpleRNN."""
        return self.gates.get("f", self.gates.get("z"))

    @property
    def total(self) -> float:
        """log₁₀ of what a gradient is multiplied with on its way through all steps."""
        return (self.steps - 1) * math.log10(max(self.factor, 1e-300))


def is_followed(layer: Any) -> bool:
    """True for a layer that can be run again: one cell of Keras's own, dense."""
    cell = getattr(layer, "cell", None)
    kind = kind_of(cell, exactly=True)
    return bool(kind_of(layer).recurrent and kind.gates and not kind.convolution)


def through_time(
    structure: Structure,
    read: dict[str, tuple[Any, np.ndarray]],
    values: dict[str, np.ndarray],
    moves: dict[str, np.ndarray],
    by_sign: bool,
) -> Iterator[ThroughTime]:
    """What was seen of each recurrent layer.

    Args:
        structure: The model's graph, read.
        read: Key of a layer → the layer, and some examples of what it read.
        values: Key of a kernel → its values.
        moves: Key of a kernel → the first update, for those that have one.
        by_sign: As `ThroughTime.by_sign`.
    """
    for key, (layer, x) in read.items():
        if x.ndim != 3 or x.shape[1] < 2 or not np.all(np.isfinite(x)):
            continue
        kernels = {k.name: k for k in structure.kernels_of(layer)}
        if not {"kernel", "recurrent_kernel"} <= kernels.keys():
            continue
        weights = [values[kernels[name].key] for name in ("kernel", "recurrent_kernel")]
        if not all(np.all(np.isfinite(w)) for w in weights):
            continue
        ahead = [moves.get(kernels[name].key) for name in ("kernel", "recurrent_kernel")]
        try:
            yield _followed(key, layer, x, weights, ahead, by_sign)
        except InputError:  # an activation that is not elementwise
            continue


def _followed(
    key: str,
    layer: Any,
    x: np.ndarray,
    weights: list[np.ndarray],
    moves: list[Any],
    by_sign: bool,
) -> ThroughTime:
    steps = x.shape[1]
    x = x[:, ::-1] if layer.go_backwards else x
    x = x[:, -_STEPS:]
    work = 2 * x.shape[1] * sum(w.size for w in weights)
    x = x[: max(1, min(EXAMPLES, int(_WORK / work)))].astype(np.float64)
    activation = own_activation(layer.cell) or LINEAR
    run = _Run(layer.cell, *weights)
    run.over(x)
    ahead: list[float | None] = [None, None]
    bounded = activation.name in _BETWEEN or _ends(activation)
    if not bounded and all(move is not None for move in moves):
        pairs = list(zip(weights, moves, strict=True))
        ahead = [
            _Run(layer.cell, *(w + n * move for w, move in pairs)).over(x).growth for n in _UPDATES
        ]
    return ThroughTime(
        key=key,
        layer=type(layer).__name__,
        activation=activation.name,
        bounded=bounded,
        steps=steps,
        inputs=float(np.sqrt(np.mean(x**2))),
        gates=run.gates,
        saturated=run.saturated,
        factor=run.factor,
        growth=run.growth,
        ahead=ahead[0],
        far_ahead=ahead[1],
        by_sign=by_sign,
    )


class _Run:
    """One run of a cell over a sequence, twice side by side.

    Args:
        cell: Keras's LSTMCell, GRUCell or SimpleRNNCell.
        kernel: Its kernel.
        recurrent: Its recurrent kernel.
    """

    def __init__(self, cell: Any, kernel: np.ndarray, recurrent: np.ndarray) -> None:
        self._letters = kind_of(cell, exactly=True).gates
        named = gate_activations(cell)
        self._functions = [_function(activation) for activation in named]
        self._bounds = [_BETWEEN.get(activation.name) for activation in named]
        self._inner = self._functions[self._letters.index("c")]
        self._kernel, self._recurrent = (w.astype(np.float64) for w in (kernel, recurrent))
        bias = None if cell.bias is None else cell.bias.numpy().astype(np.float64)
        self.bias = np.zeros(kernel.shape[1]) if bias is None else np.atleast_2d(bias)[0]
        # A GRU that resets after has another one for what comes from the state.
        two = bias is not None and bias.ndim == 2
        self._bias_of_state = bias[1] if two and bias is not None else 0.0
        self._after = bool(getattr(cell, "reset_after", False))
        self._sums: dict[str, float] = dict.fromkeys(self._letters, 0.0)
        self._flat = self._flat_of = 0
        self.gates: dict[str, float] = {}
        self.saturated = self.factor = self.growth = math.nan

    def over(self, x: np.ndarray) -> "_Run":
        """Run over examples (n, steps, inputs)."""
        rows, units = len(x), self._recurrent.shape[0]
        random = np.random.default_rng(0).standard_normal((rows, 2 * units))
        fed = x @ self._kernel + self.bias
        states = np.zeros((2 * rows, 2 * units))  # the state, and the cell's of an LSTM
        logs: list[np.ndarray] = []
        sizes: list[float] = []
        last = np.ones(rows)
        with np.errstate(all="ignore"):
            for t in range(x.shape[1]):
                # The first rows as they are, the others a little off.
                states = self.step(np.concatenate([fed[:, t], fed[:, t]]), states, rows)
                sizes.append(float(np.sqrt(np.mean(states[:rows] ** 2))))
                if not sizes[-1] < _HUGE:
                    break
                scale = _OFF * max(sizes[-1], 1e-3)
                if t == 0:
                    off = (
                        random if "o" in self._letters else random * (np.arange(2 * units) < units)
                    )
                else:
                    off = states[rows:] - states[:rows]
                    logs.append(np.linalg.norm(off, axis=1) / last)
                length = np.linalg.norm(off, axis=1)
                off = np.where(length[:, None] > 0, off, random)
                off *= (scale / np.linalg.norm(off, axis=1))[:, None]
                states[rows:] = states[:rows] + off
                last = np.linalg.norm(states[rows:] - states[:rows], axis=1)
            steps = len(sizes)
            count = steps * rows * units
            self.gates = {k: v / count for k, v in self._sums.items() if k != "c"}
            self.saturated = self._flat / self._flat_of if self._flat_of else 0.0
            grown = np.log(np.maximum(np.array(logs), 1e-12)) if logs else np.zeros((1, 1))
            self.factor = float(np.exp(grown.mean())) if np.all(np.isfinite(grown)) else math.inf
            first = next((size for size in sizes[1:] if size > 0), 0.0)
            self.growth = sizes[-1] / first if first > 0 else 1.0
            if not math.isfinite(self.growth):
                self.growth = math.inf
        return self

    def step(self, fed: np.ndarray, states: np.ndarray, rows: int) -> np.ndarray:
        """The next states."""
        units = self._recurrent.shape[0]
        h, c = states[:, :units], states[:, units:]
        if self._letters == "zrc":
            return self._gated(fed, h, rows)
        z = fed + h @ self._recurrent
        made = {
            letter: self._apply(n, z[:, n * units : (n + 1) * units], rows)
            for n, letter in enumerate(self._letters)
        }
        if self._letters == "c":
            return np.concatenate([made["c"], np.zeros_like(c)], 1)
        c = made["f"] * c + made["i"] * made["c"]
        return np.concatenate([made["o"] * self._inner(c), c], 1)

    def _gated(self, fed: np.ndarray, h: np.ndarray, rows: int) -> np.ndarray:
        units = h.shape[1]
        gated = slice(0, 2 * units)
        of_state = h @ self._recurrent[:, gated]
        later = 0.0
        if self._after:
            whole = h @ self._recurrent + self._bias_of_state
            of_state, later = whole[:, gated], whole[:, 2 * units :]
        z = self._apply(0, fed[:, :units] + of_state[:, :units], rows)
        r = self._apply(1, fed[:, units : 2 * units] + of_state[:, units:], rows)
        reset = r * later if self._after else (r * h) @ self._recurrent[:, 2 * units :]
        made = self._apply(2, fed[:, 2 * units :] + reset, rows)
        return np.concatenate([z * h + (1 - z) * made, np.zeros_like(h)], 1)

    def _apply(self, n: int, z: np.ndarray, rows: int) -> np.ndarray:
        """A gate's activation; what it makes of the first rows is counted."""
        made = self._functions[n](z)
        self._sums[self._letters[n]] += float(made[:rows].sum())
        if (ends := self._bounds[n]) is not None:
            low, high = ends
            flat = np.abs(2 * (made[:rows] - low) / (high - low) - 1) > _FLAT
            self._flat += int(np.count_nonzero(flat))
            self._flat_of += flat.size
        return made


def _function(activation: Activation) -> Callable[[np.ndarray], np.ndarray]:
    if activation.source in _KNOWN:
        return _KNOWN[activation.source]
    return lambda z: evaluate(activation.source, z.ravel()).reshape(z.shape)


def _ends(activation: Activation) -> bool:
    """True if an activation goes nowhere far from zero."""
    try:
        near, far = np.abs(evaluate(activation.source, np.array([-1e2, 1e2, -1e4, 1e4]))).reshape(
            2, 2
        )
    except InputError:
        return False
    return bool(np.all(far <= 2 * near + 1e-6))
