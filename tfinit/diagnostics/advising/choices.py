"""The initializers that `recommend` chooses from: in words, as Python, their deviation, why."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from tfinit.errors import InputError
from tfinit.gains import gain
from tfinit.graph.activations import Activation
from tfinit.graph.nonlinearity import Nonlinearity


class Choice(NamedTuple):
    """An initializer: in words, as Python, its standard deviation from (fan_in, fan_out), why."""

    text: str
    expression: str
    std: Callable[[float, float], float]
    why: str
    distribution: str = "normal"
    # Keras tells initializers derived from its VarianceScaling the axes of an einsum.
    knows_axes: bool = True


def lecun(why: str) -> Choice:
    """Variance 1/fan_in."""
    return Choice("LeCun", "tfinit.initializers.LeCun()", lambda fan_in, fan_out: fan_in**-0.5, why)


def siren(activation: Activation, kind: Nonlinearity, fan_in: float, first: bool) -> Choice:
    """Of a sine network; Sitzmann et al. call ω the frequency that its sines multiply by."""
    omega = kind.frequency
    limit = 1 / fan_in if first else math.sqrt(6 / fan_in) / (omega * kind.amplitude)
    why = (
        f"{activation} has frequency ω = {omega:g}: U(±√(6/n)/ω) starts what it reads at order 1, "
        "where it reads sines itself (SIREN, Sitzmann et al. 2020, 3.2); a gain at unit input "
        "would say nothing of it"
    )
    if first:
        why = (
            f"the first layer before {activation} of frequency ω = {omega:g}: U(±1/n) as of SIREN "
            "(Sitzmann et al. 2020, 3.2), there with ω = 30 and inputs from -1 to 1. ω·n·w is how "
            "fine the details are that it starts with: for other inputs choose it by them"
        )
    return Choice(
        "SIREN, first" if first else f"SIREN, ω = {omega:g}",
        f"keras.initializers.RandomUniform({-limit:.5g}, {limit:.5g})",
        lambda fan_in, fan_out: limit / math.sqrt(3),
        why,
        "uniform",
    )


def critical(activation: Activation, variance: float, why: str, centred: bool = True) -> Choice:
    """A given variance times 1/fan_in, that of the edge of chaos; ``centred``: of φ as it is."""
    variance = float(f"{variance:.4g}")  # as in the code
    # By its variance where no equation knows it: the critical point of a sigmoid is that of the
    # function without its mean.
    by_name = centred and activation.source == activation.name
    arguments = f'"{activation.name}"' if by_name else f"weight_variance={variance}"
    return Choice(
        f"critical, {activation}",
        f"tfinit.initializers.EdgeOfChaos({arguments})",
        lambda fan_in, fan_out: math.sqrt(variance / fan_in),
        why,
        knows_axes=False,
    )


def isometric(text: str, gain: float, why: str) -> Choice:
    """``gain`` times an orthogonal matrix; for square ones."""
    gain = float(f"{gain:.5g}")  # as in the code
    return Choice(
        f"orthogonal, {text}",
        f"tfinit.initializers.Orthogonal({gain})",
        lambda fan_in, fan_out: gain / math.sqrt(fan_in),
        f"{why}; orthogonal, as the singular values of a product of random matrices spread with "
        "each (Saxe et al. 2014; Pennington et al. 2017)",
        "orthogonal",
    )


def named(activation: Activation, gains: dict[str, float]) -> tuple[str, str]:
    """An activation for the table, and as an initializer's arguments, which have these gains."""
    source = activation.source
    slope = getattr(source, "negative_slope", None)
    slope = getattr(source, "keywords", {}).get("slope", slope)  # an operation of keras.ops
    if activation.name == "prelu" and hasattr(source, "alpha"):
        slope = float(np.sqrt(np.mean(np.square(source.alpha.numpy()))))
    tries = [(activation.name, {})]
    if slope is not None:  # said where there is one, even if it is the default
        with_slope = (activation.name, {"negative_slope": round(float(slope), 6)})
        tries.insert(0 if slope else 1, with_slope)
    for name, params in tries:
        try:
            found = {mode: gain(name, mode, **params) for mode in gains}
        except InputError:
            continue
        if all(math.isclose(found[mode], gains[mode], rel_tol=1e-5) for mode in gains):
            said = "".join(f", {key}={value}" for key, value in params.items())
            shown = "".join(f" {value:g}" for value in params.values())
            return name + shown, f'"{name}"{said}'
    # A function of the user's own, or a parameter that initializers do not take.
    return activation.name, repr({mode: round(value, 6) for mode, value in gains.items()})
