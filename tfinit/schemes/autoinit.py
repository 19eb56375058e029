"""Bingham & Miikkulainen: weights from the mean and variance that reach each layer, by formula."""

import math
from typing import Any

import numpy as np

from tfinit.arguments import number
from tfinit.errors import InputError
from tfinit.graph.activations import activation_of
from tfinit.graph.attention import score_values
from tfinit.graph.calling import is_stateful, states_kept
from tfinit.graph.calls import Step, bears_kernel
from tfinit.graph.keras_internals import arguments_with
from tfinit.graph.kernels import Kernel
from tfinit.graph.layer_kinds import kind_of
from tfinit.schemes.engine.moments import Moments, through_activation, through_layer
from tfinit.schemes.engine.registry import scheme
from tfinit.schemes.engine.report import Record, Report, frozen, record_of
from tfinit.schemes.engine.task import Task
from tfinit.schemes.engine.unit_means import INPUTS, LEAST
from tfinit.schemes.variance import draw
from tfinit.streams import stream
from tfinit.variables import keras_of

# How many examples and how many numbers a trial has, at most.
_BATCH, _NUMBERS = 32, 200_000
# The size that an axis of unknown size gets in a trial.
_UNKNOWN = 16
_RECURRENT = "recurrent: AutoInit leaves these layers as they are, and measures what they put out"


@scheme("AutoInit")
def autoinit(task: Task, *, mean: float = 0.0, variance: float = 1.0) -> Report:
    """σ² = 1 / (fan_in · (ν + μ²)), where μ and ν are the signal's mean and variance at the layer.

    Each pre-activation then has variance 1. The moments go from the inputs through the graph:
    activations by integration, normalization, dropout (as in training), pooling, sums, products
    and concatenations by formula, and whatever has no formula by a trial: it is called on normal
    numbers of the moments of its inputs. Branches count as independent, biases as zero.

    Recurrent layers keep all their weights, as in the paper: their gates bound what they put out,
    so no scale of the weights would give it variance 1. What they put out is found by such a
    trial. Layers that the paper does not name (embeddings, attention, separable and transposed
    convolutions) follow the formula.

    Why: Formulas say what each layer makes of the mean and the variance that it gets. So the
    weights can be given just the size at which the variance stays 1, layer by layer, without data.

    Args:
        task: A model of Keras 3. No data is needed.
        mean: The mean of the model's inputs.
        variance: Their variance.

    Returns:
        A report; its notes name the layers that were tried.

    Raises:
        InputError: a tf_keras model, a variance that is not positive, or a signal that dies out.

    Example:
        >>> layers = [keras.layers.Dense(64, "relu"), keras.layers.Dense(4, name="second")]
        >>> model = keras.Sequential([keras.Input((8,)), *layers])
        >>> round(initialize(model, "autoinit", seed=1)["second/kernel"].std, 4)  # √(2 / 64)
        0.1768

    Bingham & Miikkulainen, AutoInit: analytic signal-preserving weight initialization for neural
    networks, AAAI 2023, https://arxiv.org/abs/2109.08958.
    """
    mean, variance = number("mean", mean), number("variance", variance, above=0)
    if keras_of(task.model) != "keras":
        raise InputError('Scheme "autoinit" runs on models of Keras 3. Use "he".')
    walk = _Walk(task, Moments(mean, variance))
    for index, step in enumerate(task.graph.steps):
        walk.go_through(index, step)
    records = [
        walk.records.get(kernel.key)
        or (record_of(kernel, "kept") if kernel.trainable else frozen(kernel))
        for kernel in task.kernels
    ]
    more = [f"moments by trial: {', '.join(walk.tried)}"] if walk.tried else []
    if walk.skipped:
        more.append(f"taken as passing the moments on: {', '.join(walk.skipped)}")
    return task.report("autoinit", records, *more)


class _Walk:
    def __init__(self, task: Task, inputs: Moments) -> None:
        self.task, self.inputs = task, inputs
        self.moments = dict.fromkeys(task.graph.inputs, inputs)
        self.records: dict[str, Record] = {}
        self.tried: list[str] = []
        self.skipped: list[str] = []
        self._scores = score_values(task.graph)
        self._kernels: dict[int, list[Kernel]] = {}
        for kernel in task.kernels:
            # Layers that no call reaches get the inputs' moments, as the first layers do.
            self._kernels.setdefault(0 if kernel.step is None else kernel.step, []).append(kernel)

    def go_through(self, index: int, step: Step) -> None:
        """Set the kernels of one step, and find the moments of its outputs."""
        signals = [self.moments.get(value, self.inputs) for value in step.inputs] or [self.inputs]
        kernels = self._kernels.get(index, [])
        for kernel in kernels:
            self._set(kernel, signals[0], alone=len(kernels) == 1)
        # Masks and scores are beside the way of the signal, and may well be all the same.
        found = signals[0] if self._is_beside(index) else self._behind(index, step, signals)
        lost = not (math.isfinite(found.second) and found.second > 0)
        if lost and {*step.outputs} <= self._scores:
            found = signals[0]
        elif lost:
            raise InputError(
                f"The signal ends at {step.key!r}: its mean is {found.mean:.3g} and its variance "
                f"{found.variance:.3g} there. Check the layer's weights and its activation."
            )
        self.moments.update(dict.fromkeys(step.outputs, found))

    def _is_beside(self, index: int) -> bool:
        """True for a step that makes whole numbers, truth values, or a constant."""
        op = self.task.graph.steps[index].op
        if kind_of(op).positions and not bears_kernel(op):
            return True
        node = self.task.graph.nodes[index]
        made = [] if node is None else node.outputs
        return bool(made) and not any("float" in str(tensor.dtype) for tensor in made)

    def _set(self, kernel: Kernel, signal: Moments, alone: bool) -> None:
        # What a composite's later kernels read was made by its earlier ones, with variance 1.
        if kernel.name == "pointwise_kernel" or (kernel.ends_step and not alone):
            signal = Moments(0.0, 1.0)
        if kernel.name == "embeddings":
            signal = Moments(0.0, 1.0)  # a lookup reads no signal
        if not kernel.trainable:
            return
        if kernel.recurrent:
            self.records[kernel.key] = record_of(kernel, "kept", note=_RECURRENT)
            return
        std = 1 / math.sqrt(kernel.fan_in * signal.second)
        random = stream(self.task.seed, kernel.key)
        stds = [std] * len(kernel.activations)
        self.task.write(kernel.variable, draw(kernel, stds, "normal", random))
        if signal.variance < LEAST**2 * signal.second and not self.task.warnings:
            self.task.warn(
                f"at {kernel.key!r} the signal's mean, {signal.mean:.3g}, hides its variance, "
                f"{signal.variance:.3g}. If `mean` {self.inputs.mean:.3g} and `variance` "
                f"{self.inputs.variance:.3g} are not the inputs', pass theirs; else {INPUTS}."
            )
        note = f"input: mean {signal.mean:.3g}, variance {signal.variance:.3g}"
        self.records[kernel.key] = record_of(kernel, "set", std=std, note=note)

    def _behind(self, index: int, step: Step, signals: list[Moments]) -> Moments:
        activation = activation_of(step.op)
        if activation is not None:
            try:
                return through_activation(activation, signals[0])
            except InputError:  # not elementwise, as softmax
                return self._try(index, step, signals)
        if bears_kernel(step.op):
            return self._behind_kernel(index, step, signals)
        node = self.task.graph.nodes[index]
        shapes = [] if node is None else [tuple(t.shape)[1:] for t in node.input_tensors]
        found = through_layer(step.op, signals, shapes)
        return self._try(index, step, signals) if found is None else found

    def _behind_kernel(self, index: int, step: Step, signals: list[Moments]) -> Moments:
        kernels = self._kernels.get(index, [])
        ending = [kernel for kernel in kernels if kernel.ends_step and kernel.layer is step.op]
        # A shared layer's second call and Keras's composites are tried: they have no formula.
        if len(ending) != 1:
            return self._try(index, step, signals)
        kernel = ending[0]
        if kernel.trainable or 0 in kernel.shape:
            made = Moments(0.0, 1.0)
        else:
            size = float(np.mean(np.square(kernel.variable.numpy(), dtype=np.float64)))
            made = Moments(0.0, kernel.fan_in * size * signals[0].second)
        own = kernel.layer.activation if hasattr(kernel.layer, "activation") else None
        if own is None or str(kernel.activations[0]) == "linear":
            return made
        try:
            return through_activation(kernel.activations[0], made)
        except InputError:
            return self._try(index, step, signals)

    def _try(self, index: int, step: Step, signals: list[Moments]) -> Moments:
        """The moments behind a step that is called on normal numbers."""
        import keras

        node = self.task.graph.nodes[index]
        if node is None:
            self.skipped.append(step.key)
            return signals[0]
        given_nothing = all(0 in t.shape for t in node.input_tensors)
        if given_nothing or any(0 in t.shape for t in node.outputs):
            return signals[0]  # a signal without entries has no moments
        random = stream(self.task.seed, f"autoinit/{step.key}")
        drawn: dict[int, Any] = {}
        largest = max(
            math.prod(n or _UNKNOWN for n in tuple(t.shape)[1:]) for t in node.input_tensors
        )
        # A stateful layer takes batches of its own size only, and so do operations of a composite's
        # `call` that were told its size.
        batch = min(_BATCH, max(2, _NUMBERS // largest))
        fixed = is_stateful(step.op) or not hasattr(step.op, "weights")
        part = (node.input_tensors[0].shape[0] if fixed else None) or batch
        batch = part * math.ceil(batch / part)
        for tensor, signal in zip(node.input_tensors, signals, strict=False):
            shape = [batch, *(n or _UNKNOWN for n in tuple(tensor.shape)[1:])]
            values = signal.mean + math.sqrt(signal.variance) * random.standard_normal(shape)
            drawn[id(tensor)] = keras.ops.convert_to_tensor(values, dtype=tensor.dtype)
        try:
            with states_kept(step.op):
                made = [
                    self._called(step, node, {k: v[n : n + part] for k, v in drawn.items()})
                    for n in range(0, batch, part)
                ]
        except InputError:
            raise
        except Exception:
            # An operation of a composite's `call`, for instance, that was told other sizes.
            self.skipped.append(step.key)
            return signals[0]
        values = np.concatenate(made) if len(made) > 1 else made[0]
        self.tried.append(step.key)
        return Moments(float(np.mean(values)), float(np.var(values)))

    def _called(self, step: Step, node: Any, given: dict[int, Any]) -> np.ndarray:
        import keras

        args, kwargs = arguments_with(node, given)
        outputs = keras.tree.flatten(step.op(*args, **kwargs))
        return keras.ops.convert_to_numpy(keras.ops.cast(outputs[0], "float32"))
