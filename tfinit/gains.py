"""The factor by which weights make up for what an activation takes from the signal.

For a standard normal pre-activation z::

    forward   g² · E[φ(z)²]  = 1
    backward  g² · E[φ′(z)²] = 1

The expectations are Gaussian quadratures of any elementwise function: Gauss–Legendre on panels of
width 1/4 under the normal density, which is exact to rounding for smooth functions and for kinks
and jumps on a panel's edge (0 for the ReLU family, ±1, ±3, 6, … for the hard ones). Full-line
Gauss–Hermite, the textbook choice, is off by 1e-3 at a kink.

PyTorch's ``calculate_gain`` follows another convention in three rows: tanh 5/3 (here 1.5925, which
keeps the second moment after one layer; 5/3 is an empirical value), sigmoid 1 (here 1.8463 forward,
4.7226 backward), selu 3/4 (here 1, Klambauer's own choice). Its relu, leaky_relu and linear agree.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tfinit.arguments import number, one_of, refused
from tfinit.errors import InputError
from tfinit.graph.layer_kinds import kind_of

__all__ = [
    "CUT",
    "CUT_STD",
    "MODES",
    "Sinusoid",
    "check_activation",
    "config_of",
    "evaluate",
    "gain",
    "moments",
    "sinusoid",
]

_PANEL = 0.25
_REACH = 12.0  # the normal density is 2e-32 there, so that even exp(z)² ends far below rounding
_POINTS = 8
_LEAST = 1e-8  # a float32 backend differentiates a constant to less than this
MODES = ("forward", "backward")

# Where a truncated normal is cut, and what is left of a standard one: its standard deviation.
CUT = 2.0
_MASS = math.erf(CUT / math.sqrt(2))
CUT_STD = math.sqrt(1 - 2 * CUT * math.exp(-(CUT**2) / 2) / math.sqrt(2 * math.pi) / _MASS)


@functools.cache
def _rule() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Nodes and weights for E over N(0, 1), (panels, points), and the derivative on one panel."""
    t, w = np.polynomial.legendre.leggauss(_POINTS)
    edges = np.arange(-_REACH, _REACH, _PANEL)
    nodes = edges[:, None] + _PANEL * (t + 1) / 2
    weights = w * _PANEL / 2 * np.exp(-(nodes**2) / 2) / math.sqrt(2 * math.pi)
    # d/dx of the interpolating polynomial: differentiate the Legendre fit, then evaluate it.
    fit = np.linalg.inv(np.polynomial.legendre.legvander(t, _POINTS - 1))
    slope = np.polynomial.legendre.legval(t, np.polynomial.legendre.legder(fit)).T
    return nodes, weights, slope * 2 / _PANEL


def gain(activation: Any, mode: str = "forward", **params: float) -> float:
    """The g with g²·E[φ(z)²] = 1 (forward) or g²·E[φ′(z)²] = 1 (backward), z ~ N(0, 1).

    Args:
        activation: A Keras name (``"relu"``, also ``"prelu"``), an activation layer of either
            Keras (``keras.layers.LeakyReLU(0.2)``), any elementwise function of an array, None
            for linear, or the known gains themselves, ``{"forward": 1.2, "backward": 1.1}``.
        mode: ``"forward"`` or ``"backward"``.
        **params: Passed to the function: ``negative_slope=0.2`` for leaky_relu, prelu and relu,
            ``alpha=0.5`` for elu.

    Returns:
        A positive float; relu √2, leaky_relu and prelu √(2/(1+a²)), linear and selu 1.

    Raises:
        InputError: an unknown name or parameter, a function that is not elementwise (softmax), or
            one whose output (or slope) is zero or not finite everywhere it matters.

    Example:
        >>> round(gain("relu"), 6), round(gain("tanh"), 4)
        (1.414214, 1.5925)
    """
    one_of("mode", mode, MODES)
    if isinstance(activation, dict):
        return _known_gain(activation, mode, params)
    moment = moments(activation, **params)[MODES.index(mode)]
    if not _LEAST < moment < math.inf:
        what = "E[φ(z)²]" if mode == "forward" else "E[φ′(z)²]"
        raise InputError(
            f"`activation` {activation!r} has no {mode} gain: {what} is {moment:.3g}. "
            "Allowed are functions with a finite, non-zero response to a normal input."
        )
    return 1 / math.sqrt(moment)


def _known_gain(gains: dict[str, float], mode: str, params: dict[str, float]) -> float:
    value = gains.get(mode)
    if params or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise InputError(
            f"`activation` given by its gains must hold a positive {mode!r} and take no "
            f"parameters, received {gains} with {params}."
        )
    return float(value)


def moments(activation: Any, variance: float = 1.0, **params: float) -> tuple[float, float]:
    """``(E[φ(x)²], E[φ′(x)²])`` for x ~ N(0, variance); ``activation`` as in :func:`gain`."""
    nodes, weights, slope = _rule()
    std = math.sqrt(number("variance", variance, above=0))
    values = evaluate(activation, std * nodes.ravel(), **params).reshape(nodes.shape)
    slopes = values @ slope.T / std
    return float(np.sum(weights * values**2)), float(np.sum(weights * slopes**2))


def check_activation(activation: Any) -> None:
    """Raise InputError unless this is what Keras or a user may call an activation."""
    _function(activation, {})


def config_of(activation: Any, modes: tuple[str, ...], **params: float) -> tuple[Any, dict]:
    """``activation`` and ``params`` in a form that JSON holds: names stay, others are their gains.

    A function or layer of the user's own cannot be found again from a file, its gains can.
    """
    if activation is None or isinstance(activation, str | dict):
        return activation, params
    return {mode: gain(activation, mode, **params) for mode in modes}, {}


def evaluate(activation: Any, points: np.ndarray, **params: float) -> np.ndarray:
    """φ at a vector of points, in float64; InputError unless φ is known and elementwise."""
    function = _function(activation, params)
    # In another order, or a sum of all that came before would pass.
    part = points[: len(points) // 2][::-1]
    try:
        values, half = (_asked(function, given) for given in (points, part))
    except Exception as error:
        raise InputError(
            f"`activation` {activation!r} with parameters {params} cannot be evaluated on an "
            f"array: {error}. Pass a Keras name, an activation layer or an elementwise function."
        ) from error
    # Not equal where the value of one unit depends on the others.
    if values.shape != points.shape or not np.allclose(
        values[: len(part)][::-1], half, rtol=1e-5, atol=1e-7, equal_nan=True
    ):
        raise InputError(
            f"`activation` {activation!r} is not elementwise, so it has no gain. "
            'For an output layer such as softmax, use "linear".'
        )
    return values


class Sinusoid(NamedTuple):
    """``amplitude · sin(frequency · z + phase)``."""

    frequency: float
    amplitude: float


def sinusoid(activation: Any) -> Sinusoid | None:
    """Frequency and amplitude of an activation that is a sinusoid of any phase; None for others.

    By its values: the frequency ω is that of φ(z + h) + φ(z - h) = 2 cos(ωh) φ(z), and what it
    gives has to be φ. Frequencies from 0.1 to 300 are told; below, the function is a line to a
    unit normal input.

    Args:
        activation: As in :func:`gain`, but not as its gains.

    Raises:
        InputError: it is none.

    Example:
        >>> sinusoid(lambda z: 2 * keras.ops.sin(30 * z))
        Sinusoid(frequency=30.0, amplitude=2.0)
    """
    check_activation(activation)
    if activation is None or isinstance(activation, str):  # of those that Keras names none is
        return None
    centers = np.linspace(-3, 3, 65) * 0.987  # on no grid that a period could share
    frequency, step = 0.0, 0.01
    # Coarsely, and then twice at a quarter of a period, where rounding matters least.
    for _ in range(3):
        points = centers[:, None] + step * np.array([-1.0, 0.0, 1.0])
        try:
            values = evaluate(activation, points.ravel()).reshape(points.shape)
        except InputError:
            return None
        left, middle, right = values.T
        square = float(middle @ middle)
        cosine = (left + right) @ middle / (2 * square) if square > _LEAST else math.nan
        if not -1 < cosine < 1:
            return None
        frequency = math.acos(cosine) / step
        step = math.pi / 2 / max(frequency, 0.1)
    waves = np.stack([np.sin(frequency * centers), np.cos(frequency * centers)], axis=1)
    found, *_ = np.linalg.lstsq(waves, middle, rcond=None)
    amplitude = float(np.hypot(*found))
    # In float32 a fast one is rounded by more.
    off = np.abs(waves @ found - middle).max() / amplitude
    if frequency < 0.1 or off > 1e-3 + 1e-4 * frequency:
        return None
    return Sinusoid(float(f"{frequency:.5g}"), float(f"{amplitude:.5g}"))


def _asked(function: Callable[[Any], Any], points: np.ndarray) -> np.ndarray:
    try:
        return _to_numpy(function(points))
    except Exception:
        import keras

        # A function of PyTorch's takes its tensors alone.
        if keras.backend.backend() != "torch":
            raise
        return _to_numpy(function(keras.ops.convert_to_tensor(points)))


def _to_numpy(value: Any) -> np.ndarray:
    import keras

    return np.asarray(keras.ops.convert_to_numpy(value), dtype=np.float64)


def _function(activation: Any, params: dict[str, float]) -> Callable[[np.ndarray], Any]:
    import keras

    for name, value in params.items():
        if not isinstance(value, bool):  # gelu's `approximate`
            number(name, value)
    if activation is None:
        activation = "linear"
    if isinstance(activation, str):
        try:
            known = keras.activations.get("leaky_relu" if activation == "prelu" else activation)
        except ValueError as error:
            raise InputError(
                f"`activation` {activation!r} is unknown. Pass a name that Keras knows, such as "
                '"relu", "leaky_relu", "prelu", "tanh", "gelu", "silu" or "selu", an activation '
                "layer, or an elementwise function."
            ) from error
        return functools.partial(known, **params)
    if kind_of(activation).activation == "prelu":
        # Slopes differ between channels; the moments depend on their mean square alone.
        alpha = activation.alpha if activation.built else activation.alpha_initializer((64,))
        root = math.sqrt(float(np.mean(_to_numpy(alpha) ** 2)))
        return functools.partial(keras.activations.leaky_relu, negative_slope=root)
    if isinstance(activation, type):
        raise refused("activation", "a name, an activation layer, a function or None", activation)
    if hasattr(activation, "weights"):  # `call`, for calling the layer itself would build it
        activation = activation.call
    if not callable(activation):
        raise refused("activation", "a name, an activation layer, a function or None", activation)
    return functools.partial(activation, **params)
