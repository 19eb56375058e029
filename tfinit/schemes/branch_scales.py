"""Residual branches that start at nothing, or nearly: by what scales their ends."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tfinit.arguments import number
from tfinit.errors import InputError
from tfinit.graph.normalizations import is_normalization
from tfinit.graph.residual import behind_kernels, require_branches
from tfinit.schemes.engine.registry import scheme, start_from
from tfinit.schemes.engine.report import Record, Report, frozen, record_of
from tfinit.schemes.engine.task import Task
from tfinit.variables import all_weights, own_weights, weight_name


@scheme("Zero γ", fits="residual networks with scales")
def zero_gamma(task: Task, *, start: str | None = "he") -> Report:
    """γ = 0 in the last normalization of each residual branch, so that the branch starts at 0.

    The network so begins as its shortcuts alone, as "fixup" does without normalization. It helps
    deep residual networks at large batches and rates, and costs nothing; transformers have their
    normalizations before the branch, or behind the sum, where it has no place.

    Args:
        task: A residual network whose branches end in a normalization, as ResNet's.
        start: The scheme that the kernels are drawn with; None leaves them.

    Returns:
        A report with a line for each γ behind those of the kernels.

    Raises:
        InputError: no residual branch has a normalization with γ behind its last kernel.

    Example:
        >>> i = keras.Input((8,))
        >>> norm = keras.layers.BatchNormalization(name="norm")
        >>> o = keras.layers.add([i, norm(keras.layers.Dense(8)(i))])
        >>> initialize(keras.Model(i, o), "zero_gamma", seed=1)["norm/gamma"].std
        0.0

    Goyal et al., Accurate, large minibatch SGD, 2017, section 5.1.
    """

    def gamma(op: Any) -> Any:
        own = {weight_name(weight): weight for weight in own_weights(op)}
        return own.get("gamma", own.get("scale")) if is_normalization(op) else None

    what = "a normalization with γ behind its last kernel"
    return _set_ends(task, "zero_gamma", gamma, what, 0.0, start)


@scheme("SkipInit", fits="residual networks with scales")
def skipinit(task: Task, *, start: str | None = "he") -> Report:
    """0 for the learned number that multiplies the end of each residual branch.

    ReZero is the same for transformers and other networks, from Xavier. The model has to have the
    number: a layer of one weight a with a · x, behind the branch's last kernel. Networks of
    hundreds of layers so train without normalization; with batch normalization, which scales its
    branches down by itself, there is nothing to gain.

    Args:
        task: A residual network with such layers.
        start: The scheme that the kernels are drawn with; None leaves them.

    Raises:
        InputError: no residual branch has such a layer.

    Example:
        >>> class Scale(keras.layers.Layer):
        ...     def build(self, shape):
        ...         self.scale = self.add_weight(shape=(), initializer="ones", name="scale")
        ...     def call(self, x):
        ...         return x * self.scale
        >>> i = keras.Input((8,))
        >>> o = keras.layers.add([i, Scale(name="a")(keras.layers.Dense(8)(i))])
        >>> initialize(keras.Model(i, o), "skipinit", seed=1)["a/scale"].std
        0.0

    De & Smith, Batch normalization biases residual blocks towards the identity function in deep
    networks, NeurIPS 2020; Bachlechner et al., ReZero is all you need, UAI 2021.
    """
    return _set_ends(task, "skipinit", _multiplier(task, single=True), _ONE, 0.0, start)


@scheme("ReZero", fits="residual networks with scales")
def rezero(task: Task, *, start: str | None = "xavier") -> Report:
    """0 for the learned number that multiplies the end of each residual branch, as "skipinit".

    From Xavier, as the paper's transformers. Arguments and errors are those of "skipinit".

    Bachlechner et al., ReZero is all you need: fast convergence at large depth, UAI 2021.
    """
    return _set_ends(task, "rezero", _multiplier(task, single=True), _ONE, 0.0, start)


@scheme("LayerScale", fits="residual networks with scales")
def layer_scale(task: Task, *, value: float | None = None, start: str | None = "xavier") -> Report:
    """ε for each channel of the layer that multiplies the end of each residual branch.

    ε = 0.1 up to 18 layers of two additions, 1e-5 up to 24, 1e-6 beyond, as the paper's; ConvNeXt
    has 1e-6 at 18. The model has to have the layer: a weight γ for each channel with γ · x, as the
    LayerScale of Keras's ConvNeXt. It helps vision transformers from some 18 layers on.

    Args:
        task: A residual network with such layers.
        value: ε; None takes that of the depth.
        start: The scheme that the kernels are drawn with; None leaves them.

    Raises:
        InputError: no residual branch has such a layer, or ``value`` is not a number.

    Example:
        >>> class Scale(keras.layers.Layer):
        ...     def build(self, shape):
        ...         self.gamma = self.add_weight(shape=shape[-1:], name="gamma")
        ...     def call(self, x):
        ...         return x * self.gamma
        >>> i = keras.Input((8,))
        >>> o = keras.layers.add([i, Scale(name="a")(keras.layers.Dense(8)(i))])
        >>> initialize(keras.Model(i, o), "layer_scale", seed=1)["a/gamma"].note
        '0.1: ends a residual branch'

    Touvron et al., Going deeper with image transformers, ICCV 2021, section 2.
    """
    value = number("value", value, none=True)
    if value is None:
        layers = task.structure.additions / 2
        value = 0.1 if layers <= 18 else 1e-5 if layers <= 24 else 1e-6
    what = "a layer γ · x with a weight for each channel behind its last kernel"
    return _set_ends(task, "layer_scale", _multiplier(task, single=False), what, value, start)


_ONE = "a layer a · x of one learned number behind its last kernel"


def _multiplier(task: Task, single: bool) -> Callable[[Any], Any]:
    """A function of a layer: its weight w, if it computes w · x and w is one number, or several."""

    def found(op: Any) -> Any:
        own = own_weights(op) if hasattr(op, "weights") and not is_normalization(op) else []
        if len(own) != 1 or (int(np.prod(own[0].shape)) == 1) != single or len(own[0].shape) > 1:
            return None
        return own[0] if _multiplies(task, op, own[0]) else None

    return found


def _multiplies(task: Task, op: Any, weight: Any) -> bool:
    """Whether a layer of one weight makes 2x and -3x of x when the weight is 2 and -3."""
    import keras

    shape = tuple(weight.shape) or (1,)
    x = np.linspace(-2, 3, int(np.prod(shape)), dtype=np.float32).reshape(1, *shape)
    before = weight.numpy()
    try:
        for factor in (2.0, -3.0):
            task.write(weight, np.full(tuple(weight.shape), factor, np.float32))
            made = keras.ops.convert_to_numpy(op(keras.ops.convert_to_tensor(x)))
            if made.shape != x.shape or not np.allclose(made, factor * x, rtol=1e-2):
                return False
    except Exception:  # of whatever a layer of the user's computes
        return False
    finally:
        weight.assign(before)
    return True


def _set_ends(
    task: Task,
    name: str,
    weight_of: Callable[[Any], Any],
    what: str,
    value: float,
    start: str | None,
) -> Report:
    """Set the last weight of each branch that `weight_of` finds in its steps behind the kernels."""
    branches = require_branches(name, task.structure.branches)
    weights: dict[int, Any] = {}
    ops: dict[int, Any] = {}
    scaled = 0
    for branch in branches:
        for index in reversed(behind_kernels(task.graph, branch)):
            weight = weight_of(task.graph.steps[index].op)
            if weight is not None:
                weights[id(weight)], ops[id(weight)] = weight, task.graph.steps[index].op
                scaled += 1
                break
    if not weights:
        raise InputError(
            f"Scheme {name!r} needs {what}, and none of the model's {len(branches)} residual "
            'branches has it. Use "fixup" or "depth_scaled", which scale kernels.'
        )
    start_from(task, start)
    keys = {id(weight): key for key, weight in all_weights(task.model).items()}
    trainable = {id(weight) for weight in task.model.trainable_weights}
    records = []
    for kernel in task.kernels:
        if not kernel.trainable:
            records.append(frozen(kernel))
        else:
            records.append(record_of(kernel, "kept" if start is None else "set", note=start or ""))
    for known, weight in weights.items():
        shape, layer = tuple(weight.shape), type(ops[known]).__name__
        if known in trainable:
            task.write(weight, np.full(shape, value, np.float32))
            note = f"{value:g}: ends a residual branch"
            records.append(Record(keys[known], layer, shape, "set", std=0.0, note=note))
        else:
            records.append(Record(keys[known], layer, shape, "kept", note="frozen"))
    return task.report(name, records, f"{scaled} of {len(branches)} residual branches")
