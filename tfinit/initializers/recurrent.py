"""What recurrent layers start from: biases of gates, and kernels that keep the state's length."""

from typing import Any

import keras
import numpy as np

from tfinit.arguments import flag, number, one_of, whole
from tfinit.errors import InputError
from tfinit.haar import haar
from tfinit.initializers.base import Initializer, RandomInitializer, Seed, shape_being_filled
from tfinit.initializers.registry import serializable

# The gates of each cell in the order of its bias, and those that a memory of T steps sets: with
# the sign of log T.
GATES = {"lstm": "ifco", "gru": "zrc"}
_KEEPS = {"lstm": {"f": 1.0, "i": -1.0}, "gru": {"z": 1.0}}


def memory(gates: str, steps: np.ndarray) -> np.ndarray:
    """The biases, one row for each gate, with which units keep what they hold for so many steps.

    Args:
        gates: Those of the cell, in the order of its bias: ``"ifco"`` or ``"zrc"``.
        steps: One number of at least 1 for each unit.
    """
    cell = next(name for name, known in GATES.items() if known == gates)
    return np.stack([_KEEPS[cell].get(gate, 0.0) * np.log(steps) for gate in gates])


def lifetimes(random: np.random.Generator, units: int, longest: int) -> np.ndarray:
    """T ~ U(1, longest − 1), the steps for which each unit keeps what it holds."""
    return random.uniform(1, max(1, longest - 1), units)


def keeping_gate(gates: str) -> str | None:
    """The gate that says how much of the state stays: f, or z in a GRU; None without gates."""
    return next((gate for gate in "fz" if gate in gates), None)


class _Gated(Initializer):
    """What fills the bias of a cell, gate by gate."""

    cell: str

    def check(self, shape: tuple[int, ...]) -> None:
        """InputError unless it is the bias of such a cell, as a whole."""
        name, gates = type(self).__name__, len(GATES[self.cell])
        rows = 2 if self.cell == "gru" else 1
        if not 1 <= len(shape) <= rows or shape[-1] % gates or (len(shape) == 2 and shape[0] != 2):
            kinds = "({0} · units,)" + (" or (2, {0} · units)" if rows == 2 else "")
            raise InputError(
                f'{name} with cell="{self.cell}" fills a bias of shape {kinds.format(gates)}, '
                f"received {shape}. Pass it as `bias_initializer`, with `cell` as the layer is."
            )
        whole_bias = shape_being_filled()
        if whole_bias is not None and whole_bias != shape:
            raise InputError(
                f"{name} sets all gates of a bias, received shape {shape}, a part of the bias "
                f"{whole_bias}: the layer sets the forget gate itself. Give it "
                "unit_forget_bias=False."
            )

    def _in_bias(self, rows: np.ndarray, shape: tuple[int, ...], dtype: str) -> np.ndarray:
        """A bias of which the first row, if there are two that are added, has these gates."""
        bias = np.zeros(shape, dtype)
        bias.reshape(-1, shape[-1])[0] = rows.reshape(-1)
        return bias


@serializable
class Chrono(RandomInitializer, _Gated):
    """b_f = log T, b_i = −log T with T ~ U(1, longest − 1): each unit keeps its state for T steps.

    A state that decays by a factor σ(b) at each step is down to 1/e after about 1 + eᵇ steps, so
    that b = log T makes a unit remember for T. Units of all lifetimes up to ``longest`` are there
    from the start. In a GRU the gate z keeps: b_z = log T. The other gates' biases are zeros.

    It helps where a target depends on inputs of tens to thousands of steps before, and nearly
    always where that span is known. Where nothing is to be remembered for more than a few steps it
    delays learning: the input gates of units with a long T are nearly shut.

    Args:
        longest: The longest span in steps, at least 2; the length of the sequences, if unknown.
        cell: ``"lstm"`` or ``"gru"``. A SimpleRNN has no gates.
        seed: An integer, a SeedGenerator or None; see :mod:`tfinit.initializers`.

    Shape ``(4 · units,)`` for LSTM, which must have ``unit_forget_bias=False`` (or it fills the
    gate itself), ``(3 · units,)`` or ``(2, 3 · units)`` for GRU; any float dtype. The scheme
    "chrono" does it for a whole model.

    Raises:
        InputError: an argument is none of these, or, when called, the shape is no such bias or a
            part of one.

    Example:
        >>> chrono = Chrono(500, seed=1)
        >>> layer = keras.layers.LSTM(64, bias_initializer=chrono, unit_forget_bias=False)

    Tallec and Ollivier, Can recurrent neural networks warp time?, ICLR 2018,
    https://arxiv.org/abs/1804.11188.
    """

    def __init__(self, longest: int, cell: str = "lstm", seed: Seed = None) -> None:
        super().__init__(seed)
        self.longest = whole("longest", longest, 2)
        self.cell = one_of("cell", cell, GATES)

    def values(self, shape: tuple[int, ...], dtype: str) -> Any:
        """log T in the gate that keeps, −log T in that which writes."""
        gates = GATES[self.cell]
        random = np.random.Generator(np.random.Philox(self.stream(shape)))
        steps = lifetimes(random, shape[-1] // len(gates), self.longest)
        return self._in_bias(memory(gates, steps), shape, dtype)


@serializable
class ForgetBias(_Gated):
    """b_f = value, zeros in the other gates: units keep most of what they hold.

    In a GRU the gate z keeps. Keras's LSTM has b_f = 1 by itself (``unit_forget_bias``), its GRU
    b_z = 0. A larger value helps where more than some ten steps matter: the state decays by σ(b)
    at each step, 0.73 for b = 1, 0.95 for b = 3. All units then have one memory; `Chrono` gives
    each its own.

    Args:
        value: The bias, any number.
        cell: ``"lstm"`` or ``"gru"``.

    Shapes, dtypes and errors as for `Chrono`.

    Example:
        >>> layer = keras.layers.GRU(64, bias_initializer=ForgetBias(1.0, "gru"))

    Gers, Schmidhuber and Cummins, Learning to forget, 2000; Jozefowicz, Zaremba and Sutskever, An
    empirical exploration of recurrent network architectures, ICML 2015.
    """

    def __init__(self, value: float = 1.0, cell: str = "lstm") -> None:
        self.value = number("value", value)
        self.cell = one_of("cell", cell, GATES)

    def values(self, shape: tuple[int, ...], dtype: str) -> Any:
        """The value in the gate that keeps."""
        gates = GATES[self.cell]
        rows = np.zeros((len(gates), shape[-1] // len(gates)))
        rows[gates.index(str(keeping_gate(gates)))] = self.value
        return self._in_bias(rows, shape, dtype)


@serializable
class RecurrentOrthogonal(RandomInitializer):
    """g·Q in each gate by itself, QᵀQ = I: no gate stretches or loses a direction of the state.

    Keras's own ``"orthogonal"`` makes the rows of all gates together orthonormal, so that each
    gate of an LSTM has singular values of about ½. With ``unitary=True`` Q is a unitary matrix
    U = A + iB of half the size in real numbers, [[A, B], [−B, A]]: the state is taken as the real
    and imaginary parts of half as many complex numbers, and each rotates. Of an odd number of units
    the last is ±1 by itself.

    It helps plain recurrent networks over many steps, and gated ones a little; where the past
    should fade quickly it does not. Gains below 1 forget: gᵗ after t steps.

    Args:
        gain: A positive factor g.
        unitary: Whether Q is the real form of a unitary matrix.
        seed: An integer, a SeedGenerator or None; see :mod:`tfinit.initializers`.

    Shape ``(units, gates · units)``: SimpleRNN, GRU, LSTM, found from the shape. Any float dtype.

    Raises:
        InputError: the gain is not positive, or, when called, the shape is no such kernel.

    Example:
        >>> layer = keras.layers.LSTM(64, recurrent_initializer=RecurrentOrthogonal(seed=1))

    Saxe et al., ICLR 2014; Arjovsky, Shah and Bengio, Unitary evolution recurrent neural networks,
    ICML 2016, https://arxiv.org/abs/1511.06464; Henaff, Szlam and LeCun, Recurrent orthogonal
    networks and long-memory tasks, ICML 2016, https://arxiv.org/abs/1602.06662.
    """

    def __init__(self, gain: float = 1.0, unitary: bool = False, seed: Seed = None) -> None:
        super().__init__(seed)
        self.gain = number("gain", gain, above=0)
        self.unitary = flag("unitary", unitary)

    def check(self, shape: tuple[int, ...]) -> None:
        """InputError unless it is the recurrent kernel of some gates."""
        if len(shape) != 2 or (shape[0] and shape[1] % shape[0]):
            raise InputError(
                "RecurrentOrthogonal is for recurrent kernels (units, gates · units), received "
                f"{shape}. For other kernels use Orthogonal."
            )

    def values(self, shape: tuple[int, ...], dtype: str) -> Any:
        """A matrix for each gate, side by side."""
        units, gates = shape[0], shape[1] // shape[0]
        random = np.random.Generator(np.random.Philox(self.stream(shape)))
        if self.unitary:
            parts = [self.gain * _unitary(random, units) for _ in range(gates)]
            return np.concatenate(parts, axis=1).astype(dtype)
        seeds = random.integers(2**32, size=gates).tolist()
        parts = [haar(units, units, seed, dtype, self.gain) for seed in seeds]
        return keras.ops.concatenate(parts, axis=1)


def _unitary(random: np.random.Generator, units: int) -> np.ndarray:
    """A Haar-distributed unitary matrix of half the size, in real numbers."""
    half = units // 2
    drawn = random.standard_normal((2, half, half))
    q, r = np.linalg.qr(drawn[0] + 1j * drawn[1])
    diagonal = np.diagonal(r)
    q = q * (diagonal / np.abs(diagonal))  # else Q is not uniform
    made = np.zeros((units, units))
    made[: 2 * half, : 2 * half] = np.block([[q.real, q.imag], [-q.imag, q.real]])
    if units % 2:
        made[-1, -1] = random.choice([-1.0, 1.0])
    return made
