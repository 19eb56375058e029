"""`repair`: the statistics that pruning changed, brought back by forward passes alone."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from tfinit.arguments import instance
from tfinit.errors import InputError
from tfinit.graph import passes
from tfinit.graph.calling import call, check_data
from tfinit.graph.gradients import without_gradients
from tfinit.graph.layer_kinds import axes_of, kind_of
from tfinit.graph.output_channels import (
    ChannelStatistics,
    against_kernel,
    any_of_kernel,
    channel_statistics,
    entering_statistics,
)
from tfinit.graph.overlay import overlaid
from tfinit.graph.snapshot import apart
from tfinit.pruning.calibrated.kernels import Linear, find_linear
from tfinit.pruning.calibrated.result import Repair, RepairedLayer, SkippedWeight
from tfinit.pruning.calibrated.writing import check_keras_3, write_all
from tfinit.pruning.channels.groups import check_filters
from tfinit.pruning.channels.plan import ChannelPlan
from tfinit.pruning.scoring.loss_gradients import values_of
from tfinit.variables import own_weights, walk_layers, weight_name

# Of the largest deviation in a layer: channels that vary less have nothing that could be scaled.
_CONSTANT = 1e-5


def repair(model: Any, x: Any, like: Any = None, plan: ChannelPlan | None = None) -> Repair:
    """Bring the statistics of a pruned model back to those of the dense one, without training.

    The examples go once through each of the two. In the pruned model, in the order in which they
    come to the layers and through what is repaired already:

    * **Kernels**: with mean μ and deviation σ of each output channel before the activation, of the
      pruned model and of the dense one::

          W ← W · σ_dense / σ_pruned
          b ← μ_dense − (μ_pruned − b) · σ_dense / σ_pruned

      so that both are those of the dense model. A layer without a bias keeps its mean; a channel
      that does not vary in one of the two is not scaled. Zeros stay zeros.
    * **BatchNormalization**: the moving mean and variance become those of what enters.

    Args:
        model: A built model of Keras 3, pruned in whatever way; changed in place.
        x: Calibration data as the model takes them, a few hundred examples without targets.
        like: The dense model, left as it is: with layers of the same names, or of the same order
            and classes where Keras made the names up. None: BatchNormalization alone.
        plan: Of a model that `prune_channels` made smaller: its ``plan``, which says which channels
            of the dense model are meant.

    Frozen layers, layers that are called several times, and those in which a kernel is not a linear
    map by Keras's own code are left, with the reason; where the dense model is without a layer of
    that name, too.

    Returns:
        What was scaled and shifted, and what was left.

    Raises:
        InputError: an argument is wrong, the data do not fit or are not finite, the two models'
            channels do not match, or there is nothing to repair. Both are as they were.

    Example:
        >>> fc = keras.layers.Dense(1, name="fc")
        >>> dense = keras.Sequential([keras.Input((2,)), fc])
        >>> dense.set_weights([np.array([[1.0], [1.0]]), np.zeros(1)])
        >>> pruned = keras.models.clone_model(dense)
        >>> pruned.set_weights([np.array([[1.0], [0.0]]), np.zeros(1)])
        >>> x = np.array([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])
        >>> print(repair(pruned, x, like=dense))
        1 layer repaired
        layer      channels  scaled by    mean off by
        fc/kernel         1  2.00 … 2.00         1.22
        >>> pruned.predict(x, verbose=0).round(3).tolist()
        [[2.0], [4.0], [6.0]]

    References:
        Jordan et al., *REPAIR: REnormalizing Permuted Activations for Interpolation Repair*, 2022,
        https://arxiv.org/abs/2211.08403. Bias correction: Nagel et al., *Data-Free Quantization
        Through Weight Equalization and Bias Correction*, 2019, https://arxiv.org/abs/1906.04721.
    """
    check_keras_3("model", model)
    if like is not None:
        check_keras_3("like", like)
    instance("plan", plan, ChannelPlan, none=True)
    if plan is not None and like is None:
        raise InputError("`plan` says which channels of `like` are meant. Pass `like`, too.")
    data = check_data(model, x)
    wanted: dict[str, ChannelStatistics] = {}
    skipped: list[SkippedWeight] = []
    if like is not None:
        wanted = _statistics(like, check_data(like, x), plan)
    with apart(model), without_gradients():
        run = _Repairing(model, wanted, skipped)
        run.go(data, like is not None)
    if not run.records:
        told = "; ".join(f"{one.key}: {one.reason}" for one in skipped[:5])
        raise InputError(f"`model` {model.name!r} has nothing to repair{told and f': {told}'}.")
    write_all(model, run.values)
    return Repair(tuple(run.records), tuple(skipped))


def _linear_outputs(model: Any) -> tuple[list[Linear], list[SkippedWeight]]:
    """The kernels that make the outputs of their layers."""
    kernels, skipped = find_linear(model, check_filters(".*"))
    return [k for k in kernels if not _inside(k)], skipped


def _inside(kernel: Linear) -> bool:
    axes = axes_of(kernel.layer, kernel.name)
    return axes is not None and bool(axes.inside)


def _statistics(model: Any, data: Any, plan: ChannelPlan | None) -> dict[str, ChannelStatistics]:
    """Key → mean and variance of each channel, of those that the plan leaves."""
    masks = {} if plan is None else plan.masks(model)
    found: dict[str, ChannelStatistics] = {}

    def see(kernel: Linear, z: Any) -> None:
        told = channel_statistics(kernel, z)
        if kernel.key in masks:
            left = any_of_kernel(kernel, masks[kernel.key], told.mean.shape)
            for axis in range(left.ndim):
                others = tuple(other for other in range(left.ndim) if other != axis)
                which = left.any(axis=others)
                told = ChannelStatistics(*(np.compress(which, part, axis) for part in told))
        found[kernel.key] = told

    kernels, _ = find_linear(model, check_filters(".*"), frozen=True)
    ends = [kernel for kernel in kernels if not _inside(kernel)]
    with apart(model), without_gradients(), _at_outputs(ends, see):
        call(model, data)
    return found


class _Repairing:
    """One pass over a model whose variables are copies.

    Attributes:
        records: What was repaired, in the order of the data.
        values: Variables with their new values.
    """

    def __init__(
        self, model: Any, wanted: dict[str, ChannelStatistics], skipped: list[SkippedWeight]
    ) -> None:
        self._model, self._wanted, self._skipped = model, wanted, skipped
        self.records: list[RepairedLayer] = []
        self.values: list[tuple[Any, np.ndarray]] = []

    def go(self, data: Any, with_kernels: bool) -> None:
        """Repair each layer where the data first reach it."""
        kernels: list[Linear] = []
        if with_kernels:
            found, left = _linear_outputs(self._model)
            self._skipped += left
            for kernel in found:
                if kernel.key in self._wanted:
                    kernels.append(kernel)
                else:
                    reason = "no data reach a layer of that name in `like`"
                    self._skipped.append(SkippedWeight(kernel.key, reason))
        norms = [
            (key or layer.name, layer)
            for key, layer in walk_layers(self._model)
            if kind_of(layer).normalization == "batch" and hasattr(layer, "moving_variance")
        ]
        frozen = [(key, layer) for key, layer in norms if not layer.trainable]
        self._skipped += [SkippedWeight(key, "frozen") for key, _ in frozen]
        norms = [one for one in norms if one not in frozen]
        calls = self._count(data, [k.layer for k in kernels] + [layer for _, layer in norms])
        for key, layer in [*((k.key, k.layer) for k in kernels), *norms]:
            if calls.get(id(layer)) != 1:
                many = id(layer) in calls
                reason = "its layer is called several times" if many else "no data reach it"
                self._skipped.append(SkippedWeight(key, reason))
        kernels = [k for k in kernels if calls.get(id(k.layer)) == 1]
        norms = [(key, layer) for key, layer in norms if calls.get(id(layer)) == 1]
        with _at_outputs(kernels, self._match), _at_inputs(norms, self._recalibrate):
            call(self._model, data)

    def _count(self, data: Any, layers: list[Any]) -> dict[int, int]:
        calls: dict[int, int] = {}

        def see(key: str, layer: Any, tensor: Any) -> None:
            calls[id(layer)] = calls.get(id(layer), 0) + 1

        with _at_inputs([("", layer) for layer in {id(one): one for one in layers}.values()], see):
            call(self._model, data)
        return calls

    def _match(self, kernel: Linear, z: Any) -> None:
        now, dense = channel_statistics(kernel, z), self._wanted[kernel.key]
        if now.mean.shape != dense.mean.shape:
            raise InputError(
                f"{kernel.key!r} has {now.mean.size} channels in `model` and {dense.mean.size} in "
                "`like`. Pass the `plan` by which channels were removed."
            )
        _check_finite(kernel.key, *now, *dense)
        have, want = np.sqrt(now.variance), np.sqrt(dense.variance)
        moves = (have > _CONSTANT * have.max()) & (want > _CONSTANT * want.max())
        factor = np.where(moves, want / np.where(moves, have, 1), 1).astype(now.mean.dtype)
        self._set(kernel.variable, values_of(kernel.variable) * against_kernel(kernel, factor))
        own = {weight_name(variable): variable for variable in own_weights(kernel.layer)}
        bias = own.get("bias")
        if bias is not None and bias.trainable and np.prod(bias.shape) == factor.size:
            value = values_of(bias).reshape(factor.shape)
            value = dense.mean - factor * (now.mean - value)
            self._set(bias, value.reshape(tuple(bias.shape)))
        spread = float(np.sqrt(np.mean(dense.variance)))
        off = float(np.sqrt(np.mean((now.mean - dense.mean) ** 2)))
        told = off / spread if spread else 0.0
        low, high = float(factor.min()), float(factor.max())
        self.records.append(RepairedLayer(kernel.key, "kernel", factor.size, low, high, told))

    def _recalibrate(self, key: str, layer: Any, tensor: Any) -> None:
        means, variances = entering_statistics(layer, tensor)
        _check_finite(key, means, variances)
        before = values_of(layer.moving_mean), values_of(layer.moving_variance)
        deviation = np.sqrt(variances + layer.epsilon) / np.sqrt(before[1] + layer.epsilon)
        spread = float(np.sqrt(np.mean(variances)))
        off = float(np.sqrt(np.mean((means - before[0]) ** 2)))
        self._set(layer.moving_mean, means)
        self._set(layer.moving_variance, variances)
        told = off / spread if spread else 0.0
        low, high = float((1 / deviation).min()), float((1 / deviation).max())
        self.records.append(RepairedLayer(key, "batch normalization", means.size, low, high, told))

    def _set(self, variable: Any, value: np.ndarray) -> None:
        variable.assign(value)
        self.values.append((variable, values_of(variable)))


def _check_finite(key: str, *arrays: np.ndarray) -> None:
    if not all(np.isfinite(one).all() for one in arrays):
        raise InputError(
            f"The statistics of {key!r} are not finite. Look at `x` and at the weights of the "
            "layers before it."
        )


@contextmanager
def _at_outputs(kernels: list[Linear], see: Callable[[Linear, Any], None]) -> Iterator[None]:
    """Show what each layer makes before its activation; then it is called with what it has now."""
    on = passes.backend()
    level = on.here()

    def stopping(kernel: Linear, plain: Callable[..., Any]) -> Callable[..., Any]:
        layer = kernel.layer

        def stop(*args: Any, **kwargs: Any) -> Any:
            with overlaid() as put:
                if getattr(layer, "activation", None) is not None:
                    put(layer, "activation", None)
                z = plain(*args, **kwargs)
            if on.shown(z, level) is None:  # compiled into a loop
                return plain(*args, **kwargs)
            see(kernel, z)
            return plain(*args, **kwargs)

        return stop

    with overlaid() as put:
        for kernel in kernels:
            put(kernel.layer, "call", stopping(kernel, kernel.layer.call))
        yield


@contextmanager
def _at_inputs(
    layers: list[tuple[str, Any]], see: Callable[[str, Any, Any], None]
) -> Iterator[None]:
    """Show what enters each layer before it is called."""
    on = passes.backend()
    level = on.here()

    def stopping(key: str, layer: Any, plain: Callable[..., Any]) -> Callable[..., Any]:
        def stop(*args: Any, **kwargs: Any) -> Any:
            tensor = [*args, *kwargs.values()][0]
            if on.shown(tensor, level) is not None:
                see(key, layer, tensor)
            return plain(*args, **kwargs)

        return stop

    with overlaid() as put:
        for key, layer in layers:
            put(layer, "call", stopping(key, layer, layer.call))
        yield
