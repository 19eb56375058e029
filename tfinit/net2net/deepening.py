"""`deeper`: Net2DeeperNet."""

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from tfinit.arguments import listed, one_of
from tfinit.deserializing import filled_afterwards
from tfinit.errors import InputError, TfinitWarning
from tfinit.graph.activations import activation_of
from tfinit.graph.calling import call, check_data
from tfinit.graph.channel_values import Untouchable
from tfinit.graph.channels import follow
from tfinit.graph.elementwise import elementwise
from tfinit.graph.gradients import without_gradients
from tfinit.graph.layer_kinds import kind_of
from tfinit.graph.output_channels import entering_statistics
from tfinit.graph.snapshot import apart
from tfinit.graph.tracing import trace
from tfinit.initializers.base import center
from tfinit.probes import Point, probing
from tfinit.pruning.compaction.followed import check_model
from tfinit.pruning.compaction.liveness import Liveness
from tfinit.pruning.compaction.rebuilding import Rebuilder, copy_of
from tfinit.pruning.compaction.recompiling import compile_alike
from tfinit.variables import unique_name, walk_layers


class _Place(NamedTuple):
    """Where new layers go.

    Attributes:
        behind: The layer or operation that they follow.
        layers: Those whose likes they are: with a kernel, maybe a normalization, maybe an
            activation.
    """

    behind: Any
    layers: tuple[Any, ...]


def deeper(model: Any, after: str | Sequence[str], x: Any = None) -> Any:
    """A model with more layers that computes what the given one does: the new ones pass all on.

    ::

        h' = φ(I·h + 0) = h    where φ(φ(z)) = φ(z)

    Behind each layer that is named, and behind the BatchNormalization and the activation that
    follow it, come its likes: a Dense layer with the identity, or a convolution of the same window
    with 1 at its center ("same" padding, no strides); BatchNormalization with γ = 1, β = 0, μ = 0
    and σ² = 1 − ε, which is the identity in inference; the activation again. The activation must
    leave what it made as it is: ReLU and none do, tanh does not.

    In training a new BatchNormalization takes the batch's mean and variance away, so that the first
    steps differ, until its γ and β have learned them. With ``x`` it has them from the start::

        γ = √(σ² + ε), β = μ, with the mean μ and the variance σ² of what enters it

    in training mode, which are its moving statistics, too: what it takes away it gives back, up to
    the difference between a batch and ``x``, and in inference exactly. A layer without γ or β
    stays as it is without ``x``.

    A model that was trained goes on from where it was, and the new layers learn to do something of
    their own; from scratch the deeper network trains as well. It is compiled as the given one, with
    a new optimizer.

    Args:
        model: A built Sequential or functional model of Keras 3. It is left as it was.
        after: Name of a Dense layer or convolution, or of several.
        x: Some hundred examples, as the model takes them, for new layers of BatchNormalization.

    Returns:
        The deeper model. The new layers are called as those that they are like, with ``_deeper``
        behind.

    Raises:
        InputError: no such layer, of another kind, called several times, its activation does not
            leave its own outputs as they are, or ``x`` does not fit the model or is not finite.

    Example:
        >>> hidden = keras.layers.Dense(3, "relu", name="hidden")
        >>> model = keras.Sequential([keras.Input((2,)), hidden, keras.layers.Dense(1)])
        >>> x = np.ones((1, 2), "float32")
        >>> larger = deeper(model, "hidden")
        >>> larger.layers[1].name, bool(keras.ops.all(larger(x) == model(x)))
        ('hidden_deeper', True)

    Chen, Goodfellow & Shlens, Net2Net: accelerating learning via knowledge transfer, ICLR 2016,
    https://arxiv.org/abs/1511.05641.
    """
    check_model(model)
    names = [after] if isinstance(after, str) else listed("after", after, str)
    data = None if x is None else check_data(model, x)
    channels = follow(model)
    places = [_place(model, name) for name in names]
    taken = {layer.name for _, layer in walk_layers(model)}
    inserted: dict[int, list[Any]] = {}
    for place in places:
        new_layers = [_like(layer, taken) for layer in place.layers]
        inserted.setdefault(id(place.behind), []).extend(new_layers)
    live = np.ones(len(channels.representatives()), dtype=int)
    everything = Liveness(channels.representatives(), live, {}, folds=False)
    rebuilder = Rebuilder(channels, everything, inserted)
    with filled_afterwards():
        new = rebuilder.model(model)
    added = [layer for layers in inserted.values() for layer in layers]
    for layer in added:
        _pass_on(layer)
    if data is not None:
        _give_back(new, added, data)
    for note in rebuilder.notes + compile_alike(new, model, None):
        warnings.warn(f"`deeper`: {note}", TfinitWarning, stacklevel=2)
    return new


def _place(model: Any, name: str) -> _Place:
    graph = trace(model, composites=False)
    steps, readers = graph.steps, graph.readers()
    known = {step.op.name: step.op for step in steps if _has_identity(step.op)}
    layer = known[one_of("after", name, known, "It must be a Dense layer or a convolution.")]

    def once(op: Any) -> int:
        calls = [i for i, step in enumerate(steps) if step.op is op]
        if len(calls) != 1:
            raise InputError(
                f"`after` has {name!r}: {op.name!r} is called {len(calls)} times, and what follows "
                "it would be at all these places. Give each place a layer of its own."
            )
        return calls[0]

    at, found = once(layer), [layer]
    bent = not _is_linear(layer)
    while not bent:
        following = readers.get(steps[at].outputs[0], [])
        ahead = steps[following[0]].op if len(following) == 1 else None
        if steps[at].outputs[0] in graph.outputs or ahead is None:
            break
        normalizes = kind_of(ahead, exactly=True).normalization == "batch" and len(found) == 1
        bent = activation_of(ahead) is not None
        if not (normalizes or bent):
            break
        at = once(ahead)
        found.append(ahead)
    _check_idempotent(name, found[-1])
    return _Place(found[-1], tuple(found))


def _has_identity(op: Any) -> bool:
    kind = kind_of(op, exactly=True)
    kernel = kind.kernels.get("kernel")
    return bool(kind.linear and kernel and kernel.letters in ("io", "*io"))


def _is_linear(layer: Any) -> bool:
    return getattr(layer, "activation", None) in (None, keras.activations.linear)


def _check_idempotent(name: str, last: Any) -> None:
    """Refuse an activation that makes something else of what it made."""
    if kind_of(last, exactly=True).normalization:
        return
    own = getattr(last, "activation", None) if kind_of(last).kernels else last
    try:
        function = elementwise(own)
        z = keras.ops.convert_to_tensor(np.linspace(-9, 9, 73, dtype="float32")[None])
        once, twice = (keras.ops.convert_to_numpy(v) for v in (function(z), function(function(z))))
        same = np.array_equal(once, twice)
    except Untouchable:
        same = False
    if not same:
        told = getattr(own, "__name__", None) or getattr(own, "name", "")
        raise InputError(
            f"`after` has {name!r}, whose activation {told} makes something else of its own "
            "outputs, so that no layer like it passes them on. ReLU, ReLU6 and none do."
        )


def _like(layer: Any, taken: set[str]) -> Any:
    """A new layer of the same settings, for its outputs."""
    changes: dict[str, Any] = {"name": unique_name(f"{layer.name}_deeper", taken)}
    if kind_of(layer).convolution:
        ones = [1] * len(layer.kernel_size)
        changes |= {"strides": ones, "dilation_rate": ones, "padding": "same", "groups": 1}
    if not isinstance(layer, keras.layers.Layer):  # keras.ops.relu: its layer is an activation
        function = layer.call
        return keras.layers.Activation(function, name=changes["name"])
    return copy_of(layer, **changes)


def _pass_on(layer: Any) -> None:
    """Let a new layer give what it is given."""
    kind = kind_of(layer)
    if kind.normalization:
        layer.moving_variance.assign(np.full(layer.moving_variance.shape, 1 - layer.epsilon))
        return
    if not kind.kernels:
        return
    shape = tuple(layer.kernel.shape)
    kernel = np.zeros(shape, np.float32)
    kernel[center(shape[:-2])] = np.eye(shape[-1])
    layer.kernel.assign(kernel)
    if layer.use_bias:
        layer.bias.assign(np.zeros(tuple(layer.bias.shape), np.float32))


def _give_back(new: Any, added: list[Any], data: Any) -> None:
    """Let new normalizations scale and shift by what they divide by and take away in training."""
    norms = [
        (layer.name, layer)
        for layer in added
        if kind_of(layer).normalization and layer.scale and layer.center
    ]
    if not norms:
        return
    found: list[tuple[Any, np.ndarray]] = []

    def see(point: Point, tensor: Any) -> None:
        if point.what != "input":
            return
        layer = point.layer
        mean, variance = entering_statistics(layer, tensor)
        if not (np.isfinite(mean).all() and np.isfinite(variance).all()):
            raise InputError(f"What enters {layer.name!r} on `x` is not finite.")
        values = [
            (layer.gamma, np.sqrt(variance + layer.epsilon)),
            (layer.beta, mean),
            (layer.moving_mean, mean),
            (layer.moving_variance, variance),
        ]
        for variable, value in values:  # so that what follows sees what it will see
            variable.assign(value)
        found.extend(values)

    entering = [layer for _, layer in norms]
    with apart(new), without_gradients(), probing(new, see, layers=norms, entering=entering):
        call(new, data, training=True)
    for variable, value in found:
        variable.assign(value)
