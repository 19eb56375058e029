"""What kind of function an activation is: that, and not its name, decides how to start a layer."""

from typing import NamedTuple

import numpy as np

from tfinit.errors import InputError
from tfinit.gains import evaluate, sinusoid
from tfinit.graph.activations import Activation

# Points on both sides of 0, the far ones where every saturating function has saturated, and the
# near ones for the slope: further apart than float32 rounds, closer than a slope changes.
_NEAR = 0.01
_POINTS = np.array([-12.0, -6.0, -1.0, -_NEAR, 0.0, _NEAR, 1.0, 6.0, 12.0])
_FLAT = 0.05  # what counts as flat between the last two, as a slope; softsign has 0.011 there
_SAME = 1e-4


class Nonlinearity(NamedTuple):
    """What an activation φ does to a start.

    Attributes:
        kind: ``"linear"``; ``"selu"``; ``"odd"``, a saturating function with φ(-z) = -φ(z), as
            tanh; ``"sigmoid"``, one that is odd about φ(0) ≠ 0; ``"sine"``, a sinusoid of any
            phase; ``"none"``, one that is not elementwise, as softmax; ``"gain"``, every other,
            the ReLU family above all.
        at_zero: φ(0) of a sigmoid, else 0.
        slope: |φ′(0)| of an odd function or a sigmoid, else 1.
        frequency: ω of a sinusoid A·sin(ωz + p), else 0.
        amplitude: A of a sinusoid, else 1.
    """

    kind: str
    at_zero: float = 0.0
    slope: float = 1.0
    frequency: float = 0.0
    amplitude: float = 1.0


def nonlinearity(activation: Activation) -> Nonlinearity:
    """The kind of an activation, found from its values.

    Example:
        >>> nonlinearity(Activation("hard_sigmoid", "hard_sigmoid")).kind
        'sigmoid'
    """
    if activation.source in ("linear", "selu"):
        return Nonlinearity(activation.source)
    try:
        if wave := sinusoid(activation.source):
            return Nonlinearity("sine", frequency=wave.frequency, amplitude=wave.amplitude)
        values = evaluate(activation.source, _POINTS)
    except InputError:
        return Nonlinearity("none")
    if not np.all(np.isfinite(values)):
        return Nonlinearity("gain")
    zero = len(values) // 2
    middle = values[zero]
    slope = abs(values[zero + 1] - values[zero - 1]) / (2 * _NEAR)
    far = abs(np.array([values[-1] - values[-2], values[0] - values[1]])) / 6
    odd = np.allclose(values + values[::-1], 2 * middle, atol=_SAME)
    if not odd or slope < _SAME or np.any(far > _FLAT):
        return Nonlinearity("gain")
    if abs(middle) < _SAME:
        return Nonlinearity("odd", slope=float(slope))
    return Nonlinearity("sigmoid", float(middle), float(slope))
