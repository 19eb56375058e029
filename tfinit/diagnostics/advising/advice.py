"""Which initializer suits each layer of a model, and why: from its layers alone, without data."""

import math
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np

from tfinit.diagnostics.advising.choices import Choice, critical, isometric, lecun, named, siren
from tfinit.diagnostics.advising.recommendation import Advice, Plan, Recommendation, cancelling
from tfinit.errors import InputError
from tfinit.fans import fans
from tfinit.graph.activations import Activation, gate_activations
from tfinit.graph.attention import self_attentions
from tfinit.graph.input_rows import share_inside
from tfinit.graph.keras_internals import tells_axes_of_einsums
from tfinit.graph.kernels import Kernel
from tfinit.graph.layer_kinds import axes_of, kind_of
from tfinit.graph.nonlinearity import Nonlinearity
from tfinit.initializers.critical import critical_point
from tfinit.schemes.engine.task import Task
from tfinit.variables import all_weights, children, keras_of, walk_layers

# From this many tanh in a row on, their critical point rather than Xavier with their gain. Under
# that, the length settles at q = 0.85, where χ₁ = 1.15: a gradient's mean square grows 4 times in
# 10 layers and 1000 times in 50.
DEEP = 10
# From this many rectifiers in a row on, orthogonal: docs/league.md has nine and 29 of them. With
# fewer, singular values that spread do little harm.
DEEP_RECTIFIED = 8
# Where padding takes less of a window than this leaves, that is no matter in a dozen layers.
MOSTLY_INSIDE = 0.95
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

    ============================== ===============================================================
    kernel                         standard deviation
    ============================== ===============================================================
    of a frozen layer              kept
    embedding                      1/√dim
    recurrent: state; input        orthogonal, as a whole; √(2/(fan_in + fan_out)) of one gate
    end of a residual branch       1/√(N·fan_in), N additions; unless a normalization follows
    output layer, none after it    1/√fan_in
    a sine sin(ω·z) follows        first layer 1/(√3·fan_in), U(±1/fan_in); after it
                                   √(2/fan_in)/ω, U(±√(6/fan_in)/ω)
    ReLU and its kin follow        gain/√fan_in; as gain times an orthogonal matrix, if square,
                                   where 8 or more are in a row without normalization or shortcut
    linear, selu follow            1/√fan_in
    tanh and other odd saturating  Xavier with its gain; 1/(φ′(0)·√fan_in), the critical point,
    functions follow               where 10 or more are in a row without normalization, as an
                                   orthogonal matrix if it is square and there is no shortcut
    sigmoid and its kin follow     1/(φ′(0)·√fan_in), and the layers that read it take out its
                                   mean: b_j = -φ(0)·Σ_i w_ij. 1/√fan_in with normalization
                                   before it, or where it is a gate (squeeze and excite)
    ============================== ===============================================================

    On small maps a padded convolution sums fewer products than its fan_in says, for a part of its
    window sees zeros: 6.25 of 9 where 3 × 3 is laid on 4 × 4. Where that is more than 5%, and no
    normalization undoes it, fans are those of the places inside.

    Biases are 0 otherwise. Those that are not zero are kept, for they are meant: the prior of a
    detector's head, class frequencies, a constant of the layer's configuration; for a model that
    has been trained, ``.apply(bias=0.0)`` sets them too. Those of recurrent layers stay as they
    are (Keras starts the forget gate of an LSTM at 1).

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
    et al., Language models are unsupervised multitask learners, 2019; Sitzmann et al., Implicit
    neural representations with periodic activation functions, NeurIPS 2020.
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
    return Recommendation(model, plans, [*rules.notes(), *task.report("", []).notes])


class _Rules:
    def __init__(self, task: Task) -> None:
        self.task = task
        self.around = task.structure
        self.kind = self.around.kind
        self.saturating, self.rectified = map(self.around.in_a_row, ("odd", "gain"))
        self.parents: dict[int, tuple[str, Any]] = {}
        for key, layer in walk_layers(task.model):
            for child in children(layer):
                self.parents.setdefault(id(child), (key, layer))
        # What an attention layer was told for all its kernels: the first of them decides.
        self.told: dict[tuple[str, str], str] = {}
        self.names: dict[Any, tuple[str, str]] = {}

    def notes(self) -> list[str]:
        """What no initializer of a single kernel can do."""
        task = self.task
        if self.around.sums_are_normalized and self_attentions(
            task.model, task.graph, task.kernels
        ):
            return [
                'attention with the normalization behind the sum ("post-norm") learns faster from '
                "what trained attention looks like, which ties kernels to each other "
                '(docs/league.md): tfinit.initialize(model, "mimetic") after this'
            ]
        return []

    def plan(self, kernel: Kernel) -> Plan:
        """The advice about a kernel, with what `apply` and the code need."""
        layer = type(kernel.layer).__name__
        if not kernel.trainable:
            why = "frozen: its weights are not initialized anew"
            if 0 in kernel.shape:
                why = "it has no entries"
            advice = Advice(kernel.key, layer, "kept", None, "", why)
            return Plan(advice, kernel, "", "", "", "")
        inside = self._inside(kernel)
        if inside != 1:
            kernel = replace(kernel, fan_in=inside * kernel.fan_in, fan_out=inside * kernel.fan_out)
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
                why += ", as a part of its window sees padding" if inside != 1 else ""
        why += self._about_normalization(kernel)
        cancels, about = self._about_mean(kernel)
        owner, argument = self._argument(kernel)
        if argument and self.told.setdefault((owner, argument), expression) != expression:
            argument = ""
        code = f"{argument}={expression}"
        if not argument:
            code = f'tfinit.recommend(model).apply(only="{kernel.key}")'
        keeps, kept = _about_bias(kernel, cancels)
        bias = 0.0 if kernel.bias is not None and cancels is None and not keeps else None
        why += about if not keeps else kept
        advice = Advice(kernel.key, layer, choice.text, std, code, why, bias, cancels, keeps)
        return Plan(advice, kernel, distribution, owner, argument, expression)

    def _inside(self, kernel: Kernel) -> float:
        """The share of a window that sees no padding, where that matters; else 1."""
        nodes = self.task.graph.nodes
        node = nodes[kernel.step] if nodes and kernel.step is not None else None
        if (
            node is None
            or node.operation is not kernel.layer
            or kernel.key in self.around.normalized
        ):
            return 1.0
        if "*" not in _letters(kernel) or _letters(kernel).endswith("oi"):
            return 1.0
        share = share_inside(kernel.layer, tuple(node.input_tensors[0].shape))
        return share if share < MOSTLY_INSIDE else 1.0

    def choose(self, kernel: Kernel) -> Choice:
        """The first rule that fits."""
        around, activation = self.around, kernel.activations[0]
        if kernel.name == "embeddings":
            dim = kernel.shape[-1]
            return Choice(
                f"N(0, 1/{dim})",
                f"keras.initializers.RandomNormal(stddev={dim**-0.5:.4g})",
                lambda fan_in, fan_out: dim**-0.5,
                "a lookup sums nothing; rows of length 1 leave a rare word's noise small and start "
                "dot products at order 1 (Vaswani et al. 2017, 3.4)",
            )
        if kernel.name == "recurrent_kernel":
            longer = max(math.prod(kernel.shape[:-1]), kernel.shape[-1])
            return Choice(
                "orthogonal",
                "tfinit.initializers.Orthogonal()",
                lambda fan_in, fan_out: longer**-0.5,
                "the state comes back at each step, and an orthogonal matrix keeps its norm "
                "(Saxe et al. 2014)",
                "orthogonal",
            )
        if gate_activations(kernel.layer):
            return Choice(
                "Xavier, one gate",
                "tfinit.initializers.Xavier()",
                lambda fan_in, fan_out: math.sqrt(2 / (fan_in + fan_out)),
                "gates saturate on both sides: between what forward and backward ask of one gate "
                "(Glorot & Bengio 2010)",
                "uniform",
            )
        if kernel.key in around.branch_ends and not self._scaled_by_normalization(kernel):
            n = around.additions
            return Choice(
                f"LeCun / √{n}" if n > 1 else "LeCun",
                f"keras.initializers.RandomNormal(stddev={(n * kernel.fan_in) ** -0.5:.4g})",
                lambda fan_in, fan_out: (n * kernel.fan_in) ** -0.5,
                f"it ends a residual branch: the branches of all additions (here {n}), each of "
                f"variance 1/{n}, add up to order 1 at any depth (Radford et al. 2019, 2.3)",
            )
        kind = self.kind(activation)
        bare = kernel.key not in around.normalized and kernel.key not in around.shortcuts
        if kernel.key in around.outputs and bare and kind.kind not in ("gain", "sine"):
            return lecun(
                "the output layer: variance 1/fan_in starts its outputs at order 1, a softmax near "
                "even odds (LeCun et al. 1998)"
            )
        if kernel.step is None:
            return lecun("no call of it was found: a scale that keeps the signal if it is linear")
        if kernel.key in around.shortcuts:
            return lecun("a shortcut hands on its input: variance 1/fan_in keeps its scale")
        return self._by_activation(kernel, activation, kind)

    def _by_activation(self, kernel: Kernel, activation: Activation, kind: Nonlinearity) -> Choice:
        normalized = kernel.key in self.around.normalized
        if kind.kind == "selu":
            return lecun(
                "selu keeps mean 0 and variance 1 by itself at variance 1/fan_in "
                "(Klambauer et al. 2017)"
            )
        if kind.kind == "sigmoid" and kernel.key in self.around.gates:
            return lecun(f"a gate: {activation} starts near {kind.at_zero:g}, far from saturated")
        if kind.kind == "sigmoid" and not normalized:
            return critical(
                activation,
                kind.slope**-2,
                f"{activation} has slope {kind.slope:.4g} at 0, so this keeps gradients (χ₁ = 1, "
                "Schoenholz et al. 2017) once the layers that read it take out its mean",
                centred=False,
            )
        if kind.kind == "odd":
            if not normalized and self.saturating >= DEEP:
                variance = kind.slope**-2
                with suppress(InputError):  # where there is none, the limit at 0 is as good
                    variance = critical_point(activation.source).weight_variance
                why = (
                    f"{self.saturating} saturating layers in a row: at their critical point a "
                    "gradient neither shrinks nor grows (χ₁ = 1, Schoenholz et al. 2017)"
                )
                if self._may_keep_lengths(kernel):
                    return isometric(f"critical {activation}", variance**0.5, why)
                return critical(activation, variance, why)
            return self._xavier(activation)
        if kind.kind == "gain":
            deep = not normalized and self.rectified >= DEEP_RECTIFIED
            if deep and self._may_keep_lengths(kernel):
                g = self.task.gain(activation)
                text, _ = self._named(activation, {"forward": g})
                why = (
                    f"{self.rectified} layers in a row: gain² = {g * g:.3g} as of He et al. (2015)"
                )
                return isometric(text, g, why)
            return self._he(activation)
        if kind.kind == "sine" and not normalized:
            return siren(activation, kind, kernel.fan_in, kernel.key in self.around.first)
        if kind.kind in ("sigmoid", "sine"):
            return lecun(f"{activation} then reads a normalized input of order 1")
        if kind.kind == "none":
            return lecun(
                f"{activation} is not elementwise, or cannot be asked, so it has no gain: variance "
                "1/fan_in keeps what it reads at the scale of the input"
            )
        return lecun(
            "nothing follows that changes the scale: variance 1/fan_in keeps it (LeCun et al. 1998)"
        )

    def _he(self, activation: Activation) -> Choice:
        g = self.task.gain(activation)
        text, arguments = self._named(activation, {"forward": g})
        return Choice(
            f"He, {text}",
            f"tfinit.initializers.He({arguments})",
            lambda fan_in, fan_out: g / math.sqrt(fan_in),
            f"{activation} keeps {g**-2:.3g} of the mean square, gain² = {g * g:.3g} makes up for "
            "it (He et al. 2015)",
        )

    def _may_keep_lengths(self, kernel: Kernel) -> bool:
        """Whether it is a square matrix of a network without shortcuts, which keep lengths, too."""
        square = len(kernel.shape) == 2 and kernel.shape[0] == kernel.shape[1]
        return square and _letters(kernel) == "io" and not self.around.branches

    def _xavier(self, activation: Activation) -> Choice:
        gains = {mode: self.task.gain(activation, mode) for mode in ("forward", "backward")}
        text, arguments = self._named(activation, gains)

        def std(fan_in: float, fan_out: float) -> float:
            both = fan_in / gains["forward"] ** 2 + fan_out / gains["backward"] ** 2
            return math.sqrt(2 / both)

        return Choice(
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
            self.names[key] = named(activation, gains)
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
        if kernel.name != "kernel" or _letters(kernel) not in ("io", "*io"):
            return None, f"; what it reads has mean {mean:g}, which normalization would take out"
        if kernel.bias is None:
            return None, f"; give it a bias: what it reads has mean {mean:g}, for it to take out"
        return mean, f"; its bias takes out the mean {mean:g} of what it reads"

    def _argument(self, kernel: Kernel) -> tuple[str, str]:
        """The layer that takes the kernel's initializer, and the argument; "" if it has none."""
        layer = kernel.layer
        owner = kernel.key.rpartition("/")[0] or self.task.model.name
        key, parent = self.parents.get(id(layer), ("", None))
        argument = _ARGUMENTS.get(kernel.name, "")
        if _letters(kernel) == "*cm":
            argument = "depthwise_initializer"
        # The layers that make their cell, or their projections, themselves.
        cell = getattr(parent, "cell", None) is layer and hasattr(parent, argument)
        if cell or kind_of(parent).projections:
            owner, layer = key or self.task.model.name, parent
        known = hasattr(layer, argument) or hasattr(layer, f"_{argument}")
        return owner, argument if known else ""


def _about_bias(kernel: Kernel, cancels: float | None) -> tuple[bool, str]:
    """Whether the layer's bias is one to keep, and a sentence about it.

    That is one that somebody chose: not zeros, nor what an earlier `apply` made of the kernel.
    """
    if kernel.bias is None:
        return False, ""
    value = kernel.bias.numpy().astype(np.float64)
    if not np.any(value) or not np.all(np.isfinite(value)):
        return False, ""
    if cancels and np.allclose(value, cancelling(kernel, cancels), rtol=1e-3, atol=1e-5):
        return False, ""
    low, high = f"{value.min():.4g}", f"{value.max():.4g}"
    said = f"; its bias is not zero ({low if low == high else f'{low} to {high}'}), so it is kept"
    if cancels:
        said += f", although what it reads has mean {cancels:g}, which it could take out"
    return True, said


def _fans_by_shape(kernel: Kernel, knows_axes: bool) -> tuple[float, float]:
    """The fans that a pasted initializer finds."""
    if knows_axes and _letters(kernel) == "=" and tells_axes_of_einsums():
        return kernel.fan_in, math.prod(kernel.shape) / kernel.fan_in
    return fans(kernel.shape) if kernel.shape else (1.0, 1.0)


def _letters(kernel: Kernel) -> str:
    """What the axes of a kernel of the form φ(W∗x + b) are, see `tfinit.graph.layer_kinds.Axes`."""
    axes = axes_of(kernel.layer, kernel.name)
    return axes.letters if axes and kind_of(kernel.layer).linear else ""
