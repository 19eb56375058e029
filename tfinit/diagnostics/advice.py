"""Which initializer suits each layer of a model, and why: from its layers alone, without data."""

import math
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np

from tfinit.diagnostics.nonlinearity import Nonlinearity, nonlinearity
from tfinit.diagnostics.recommendation import Advice, Plan, Recommendation
from tfinit.diagnostics.surroundings import Surroundings
from tfinit.errors import InputError
from tfinit.fans import fans
from tfinit.gains import gain
from tfinit.initializers.critical import critical_point
from tfinit.schemes.activations import Activation, gate_activations
from tfinit.schemes.kernels import Kernel
from tfinit.schemes.task import Task
from tfinit.variables import all_weights, children, keras_of, walk_layers

# From this many tanh in a row on, their critical point rather than Xavier with their gain. Under
# that, the length settles at q = 0.85, where χ₁ = 1.15: a gradient's mean square grows 4 times in
# 10 layers and 1000 times in 50.
DEEP = 10
_ATTENTION = {"MultiHeadAttention", "GroupedQueryAttention"}
_ARGUMENTS = {
    "kernel": "kernel_initializer",
    "depthwise_kernel": "depthwise_initializer",
    "pointwise_kernel": "pointwise_initializer",
    "recurrent_kernel": "recurrent_initializer",
    "embeddings": "embeddings_initializer",
}


def recommend(model: Any) -> Recommendation:
    """For each kernel of a model the initializer that suits what surrounds it, with the reason.

    The first row that fits decides; fans are those of the layer (`tfinit.fans`), not of the shape:

    ============================== ============================================================
    kernel                         standard deviation
    ============================== ============================================================
    of a frozen layer              kept
    embedding                      1/√dim
    recurrent: state; input        orthogonal, as a whole; √(2/(fan_in + fan_out)) of one gate
    end of a residual branch       1/√(N·fan_in), N additions; unless a normalization follows
    output layer, none after it    1/√fan_in
    ReLU and its kin follow        gain/√fan_in
    linear, selu follow            1/√fan_in
    tanh and other odd saturating  Xavier with its gain; 1/(φ′(0)·√fan_in), the critical point,
    functions follow               where 10 or more are in a row without normalization
    sigmoid and its kin follow     1/(φ′(0)·√fan_in), and the layers that read it take out its
                                   mean: b_j = -φ(0)·Σ_i w_ij. 1/√fan_in with normalization
                                   before it, or where it is a gate (squeeze and excite)
    ============================== ============================================================

    Biases are 0 otherwise; those of recurrent layers stay as they are (Keras starts the forget
    gate of an LSTM at 1).

    Args:
        model: Any built model of Keras 3: functional, nested, subclassed, shared. It is left as
            it was.

    Returns:
        One `Advice` for each kernel and embedding. Prints as a table; ``.code`` is Python to paste
        and ``.apply()`` sets the weights.

    Raises:
        InputError: a model that is not built, has no kernels, or is not of Keras 3.

    Example:
        >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4, "relu", name="fc")])
        >>> recommend(model)["fc/kernel"].code
        'kernel_initializer=tfinit.initializers.He("relu")'

    He et al., Delving deep into rectifiers, ICCV 2015; Glorot & Bengio, AISTATS 2010; LeCun et al.,
    Efficient backprop, 1998; Schoenholz et al., Deep information propagation, ICLR 2017; Radford
    et al., Language models are unsupervised multitask learners, 2019.
    """
    if keras_of(model) == "tf_keras":
        raise InputError(
            "`model` must be a model of Keras 3, received a tf_keras model. "
            'For that one, tfinit.initialize(model, "he") initializes it without advice.'
        )
    all_weights(model)  # refuses a model that is not built
    task = Task(model, 0)
    if not task.kernels:
        raise InputError(
            f"`model` {model.name!r} has no kernels or embeddings, so there is nothing to "
            "initialize. Pass a model with layers such as Dense or Conv2D."
        )
    rules = _Rules(task)
    plans = [rules.plan(kernel) for kernel in task.kernels]
    return Recommendation(model, plans, task.report("", []).notes)


class _Choice(NamedTuple):
    """An initializer: in words, as Python, its standard deviation from (fan_in, fan_out), why."""

    text: str
    expression: str
    std: Callable[[float, float], float]
    why: str
    distribution: str = "normal"
    # Keras tells initializers derived from its VarianceScaling the axes of an einsum.
    knows_axes: bool = True


class _Rules:
    def __init__(self, task: Task) -> None:
        self.task = task
        self.kind = _by_source(nonlinearity)
        self.around = Surroundings(task.graph, task.kernels, self.kind)
        self.parents: dict[int, tuple[str, Any]] = {}
        for key, layer in walk_layers(task.model):
            for child in children(layer):
                self.parents.setdefault(id(child), (key, layer))
        # What an attention layer was told for all its kernels: the first of them decides.
        self.told: dict[tuple[str, str], str] = {}
        self.names: dict[Any, tuple[str, str]] = {}

    def plan(self, kernel: Kernel) -> Plan:
        """The advice about a kernel, with what `apply` and the code need."""
        layer = type(kernel.layer).__name__
        if not kernel.trainable:
            why = "frozen: its weights are not initialized anew"
            if 0 in kernel.shape:
                why = "it has no entries"
            advice = Advice(kernel.key, layer, "kept", None, "", why)
            return Plan(advice, kernel, "", "", "", "")
        choice = self.choose(kernel)
        std = choice.std(kernel.fan_in, kernel.fan_out)
        why, expression, distribution = choice.why, choice.expression, choice.distribution
        pasted = _fans_by_shape(kernel, choice.knows_axes)
        if not math.isclose(choice.std(*pasted), std, rel_tol=1e-3):
            # Named outright, for an initializer would take the fans from the shape.
            expression = f"keras.initializers.RandomNormal(stddev={std:.4g})"
            distribution = "normal"
            if pasted[0] != kernel.fan_in:
                why += f"; the layer sums {kernel.fan_in:g} products, not {pasted[0]:g} as by shape"
        why += self._about_normalization(kernel)
        cancels, about = self._about_mean(kernel)
        owner, argument = self._argument(kernel)
        if argument and self.told.setdefault((owner, argument), expression) != expression:
            argument = ""
        code = f"{argument}={expression}"
        if not argument:
            code = f'tfinit.recommend(model).apply(only="{kernel.key}")'
        bias = 0.0 if kernel.bias is not None and cancels is None else None
        advice = Advice(kernel.key, layer, choice.text, std, code, why + about, bias, cancels)
        return Plan(advice, kernel, distribution, owner, argument, expression)

    def choose(self, kernel: Kernel) -> _Choice:
        """The first rule that fits."""
        around, activation = self.around, kernel.activations[0]
        if kernel.name == "embeddings":
            dim = kernel.shape[-1]
            return _Choice(
                f"N(0, 1/{dim})",
                f"keras.initializers.RandomNormal(stddev={dim**-0.5:.4g})",
                lambda fan_in, fan_out: dim**-0.5,
                "a lookup sums nothing; rows of length 1 leave a rare word's noise small and start "
                "dot products at order 1 (Vaswani et al. 2017, 3.4)",
            )
        if kernel.name == "recurrent_kernel":
            longer = max(math.prod(kernel.shape[:-1]), kernel.shape[-1])
            return _Choice(
                "orthogonal",
                "tfinit.initializers.Orthogonal()",
                lambda fan_in, fan_out: longer**-0.5,
                "the state comes back at each step, and an orthogonal matrix keeps its norm "
                "(Saxe et al. 2014)",
                "orthogonal",
            )
        if gate_activations(kernel.layer):
            return _Choice(
                "Xavier, one gate",
                "tfinit.initializers.Xavier()",
                lambda fan_in, fan_out: math.sqrt(2 / (fan_in + fan_out)),
                "gates saturate on both sides: between what forward and backward ask of one gate "
                "(Glorot & Bengio 2010)",
                "uniform",
            )
        if kernel.key in around.branch_ends and not self._scaled_by_normalization(kernel):
            n = around.additions
            return _Choice(
                f"LeCun / √{n}" if n > 1 else "LeCun",
                f"keras.initializers.RandomNormal(stddev={(n * kernel.fan_in) ** -0.5:.4g})",
                lambda fan_in, fan_out: (n * kernel.fan_in) ** -0.5,
                f"it ends a residual branch: the branches of all additions (here {n}), each of "
                f"variance 1/{n}, add up to order 1 at any depth (Radford et al. 2019, 2.3)",
            )
        kind = self.kind(activation)
        bare = kernel.key not in around.normalized and kernel.key not in around.shortcuts
        if kernel.key in around.outputs and bare and kind.kind != "gain":
            return _lecun(
                "the output layer: variance 1/fan_in starts its outputs at order 1, a softmax near "
                "even odds (LeCun et al. 1998)"
            )
        if kernel.step is None:
            return _lecun("no call of it was found: a scale that keeps the signal if it is linear")
        if kernel.key in around.shortcuts:
            return _lecun("a shortcut hands on its input: variance 1/fan_in keeps its scale")
        return self._by_activation(kernel, activation, kind)

    def _by_activation(self, kernel: Kernel, activation: Activation, kind: Nonlinearity) -> _Choice:
        normalized = kernel.key in self.around.normalized
        if kind.kind == "selu":
            return _lecun(
                "selu keeps mean 0 and variance 1 by itself at variance 1/fan_in "
                "(Klambauer et al. 2017)"
            )
        if kind.kind == "sigmoid" and kernel.key in self.around.gates:
            return _lecun(f"a gate: {activation} starts near {kind.at_zero:g}, far from saturated")
        if kind.kind == "sigmoid" and not normalized:
            return _critical(
                activation,
                kind.slope**-2,
                f"{activation} has slope {kind.slope:.4g} at 0, so this keeps gradients (χ₁ = 1, "
                "Schoenholz et al. 2017) once the layers that read it take out its mean",
                centred=False,
            )
        if kind.kind == "odd":
            if not normalized and self.around.saturating_depth >= DEEP:
                variance = kind.slope**-2
                with suppress(InputError):  # where there is none, the limit at 0 is as good
                    variance = critical_point(activation.source).weight_variance
                return _critical(
                    activation,
                    variance,
                    f"{self.around.saturating_depth} saturating layers in a row: at their critical "
                    "point a gradient neither shrinks nor grows (χ₁ = 1, Schoenholz et al. 2017)",
                )
            return self._xavier(activation)
        if kind.kind == "gain":
            return self._he(activation)
        if kind.kind == "sigmoid":
            return _lecun(f"{activation} then reads a normalized input of order 1")
        return _lecun(
            "nothing follows that changes the scale: variance 1/fan_in keeps it (LeCun et al. 1998)"
        )

    def _he(self, activation: Activation) -> _Choice:
        g = self.task.gain(activation)
        text, arguments = self._named(activation, {"forward": g})
        return _Choice(
            f"He, {text}",
            f"tfinit.initializers.He({arguments})",
            lambda fan_in, fan_out: g / math.sqrt(fan_in),
            f"{activation} keeps {g**-2:.3g} of the mean square, gain² = {g * g:.3g} makes up for "
            "it (He et al. 2015)",
        )

    def _xavier(self, activation: Activation) -> _Choice:
        gains = {mode: self.task.gain(activation, mode) for mode in ("forward", "backward")}
        text, arguments = self._named(activation, gains)

        def std(fan_in: float, fan_out: float) -> float:
            both = fan_in / gains["forward"] ** 2 + fan_out / gains["backward"] ** 2
            return math.sqrt(2 / both)

        return _Choice(
            f"Xavier, {text}",
            f"tfinit.initializers.Xavier({arguments})",
            std,
            f"{activation} saturates: between its forward and its backward gain, which is good for "
            f"fewer than {DEEP} in a row (Glorot & Bengio 2010)",
            "uniform",
        )

    def _named(self, activation: Activation, gains: dict[str, float]) -> tuple[str, str]:
        source = activation.source
        key = (source if isinstance(source, str) else id(source), len(gains))
        if key not in self.names:
            self.names[key] = _named(activation, gains)
        return self.names[key]

    def _scaled_by_normalization(self, kernel: Kernel) -> bool:
        return kernel.key in self.around.normalized or self.around.sums_are_normalized

    def _about_normalization(self, kernel: Kernel) -> str:
        around = self.around
        ends = kernel.key in around.branch_ends
        if kernel.key in around.normalized:
            about = (
                "; the normalization behind it fixes the scale of the output, this one keeps the "
                "effective learning rate (van Laarhoven 2017)"
            )
            if ends:
                about += "; gamma = 0 in it starts the branch at nothing (Goyal et al. 2017)"
            return about
        if ends and around.sums_are_normalized:
            return "; each residual sum is normalized, so depth asks for no smaller scale"
        return ""

    def _about_mean(self, kernel: Kernel) -> tuple[float | None, str]:
        """What the bias should cancel, and a sentence about it."""
        mean = self.around.means.get(kernel.key)
        if mean is None or kernel.key in self.around.normalized:
            return None, ""
        kinds = {cls.__name__ for cls in type(kernel.layer).__mro__}
        if not kinds & {"Dense", "BaseConv"}:
            return None, f"; what it reads has mean {mean:g}, which normalization would take out"
        if kernel.bias is None:
            return None, f"; give it a bias: what it reads has mean {mean:g}, for it to take out"
        return mean, f"; its bias takes out the mean {mean:g} of what it reads"

    def _argument(self, kernel: Kernel) -> tuple[str, str]:
        """The layer that takes the kernel's initializer, and the argument; "" if it has none."""
        layer = kernel.layer
        owner = kernel.key.rpartition("/")[0] or self.task.model.name
        key, parent = self.parents.get(id(layer), ("", None))
        kinds = {cls.__name__ for cls in type(parent).__mro__}
        cell = getattr(parent, "cell", None) is layer and type(parent).__name__ != "RNN"
        if cell or kinds & _ATTENTION:
            owner, layer = key or self.task.model.name, parent
        argument = _ARGUMENTS[kernel.name]
        if any(cls.__name__ == "BaseDepthwiseConv" for cls in type(layer).__mro__):
            argument = "depthwise_initializer"
        known = hasattr(layer, argument) or hasattr(layer, f"_{argument}")
        return owner, argument if known else ""


def _lecun(why: str) -> _Choice:
    return _Choice(
        "LeCun", "tfinit.initializers.LeCun()", lambda fan_in, fan_out: fan_in**-0.5, why
    )


def _critical(activation: Activation, variance: float, why: str, centred: bool = True) -> _Choice:
    variance = float(f"{variance:.4g}")  # as in the code
    # By its variance where no equation knows it: the critical point of a sigmoid is that of the
    # function without its mean.
    by_name = centred and activation.source == activation.name
    arguments = f'"{activation.name}"' if by_name else f"weight_variance={variance}"
    return _Choice(
        f"critical, {activation}",
        f"tfinit.initializers.EdgeOfChaos({arguments})",
        lambda fan_in, fan_out: math.sqrt(variance / fan_in),
        why,
        knows_axes=False,
    )


def _named(activation: Activation, gains: dict[str, float]) -> tuple[str, str]:
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


def _fans_by_shape(kernel: Kernel, knows_axes: bool) -> tuple[float, float]:
    """The fans that a pasted initializer finds."""
    kinds = {cls.__name__ for cls in type(kernel.layer).__mro__}
    if knows_axes and "EinsumDense" in kinds:
        return kernel.fan_in, math.prod(kernel.shape) / kernel.fan_in
    return fans(kernel.shape) if kernel.shape else (1.0, 1.0)


def _by_source(
    function: Callable[[Activation], Nonlinearity],
) -> Callable[[Activation], Nonlinearity]:
    """The function, each activation looked at once; sources need not be hashable."""
    known: dict[Any, Nonlinearity] = {}

    def cached(activation: Activation) -> Nonlinearity:
        source = activation.source
        key = source if isinstance(source, str) else id(source)
        if key not in known:
            known[key] = function(activation)
        return known[key]

    return cached
