"""`wider`: Net2WiderNet."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from tfinit import arguments
from tfinit.arguments import mapping, number, one_of, refused, whole
from tfinit.deserializing import filled_afterwards
from tfinit.errors import InputError, TfinitWarning
from tfinit.graph.channel_rules import OWN
from tfinit.graph.channel_values import Channels, Value
from tfinit.graph.channels import follow
from tfinit.graph.layer_kinds import kind_of
from tfinit.pruning.channels.groups import Group, find_groups, weights_with_channels
from tfinit.pruning.compaction.followed import check_model
from tfinit.pruning.compaction.liveness import Liveness
from tfinit.pruning.compaction.rebuilding import Rebuilder
from tfinit.pruning.compaction.recompiling import compile_alike
from tfinit.streams import stream_for
from tfinit.variables import all_weights, walk_layers

# Normalizations whose statistics are of means: copies of all channels do not change them.
_OF_MEANS = ("layer", "rms", "group")


def wider(model: Any, widths: Mapping[str, int], *, spread: float = 0.0, seed: int = 0) -> Any:
    """A model with more units that computes what the given one does: units are copied.

    ::

        W'[:, j] = W[:, g(j)]      for j of the wider layer, g(j) the unit that j is a copy of
        V'[j, :] = V[g(j), :] / c  where c units are copies of g(j), in every layer that reads them

    Biases, BatchNormalization with its statistics, depthwise kernels and gates are copied along. A
    unit stands beside its copies, so that Flatten, groups and heads stay in order. Each is there
    ⌊n'/n⌋ times or once more; which ones is drawn (in the paper all that are added are).

    What is added, normalized or read with a layer's units grows with them: name one of the layers.
    Where a layer normalizes over them, LayerNormalization say, all must be copied equally often.
    Units of Dense, filters of convolutions, units of recurrent layers, heads of attention can be
    copied; what the model is given and what it returns stays.

    Copies learn alike, as they have the same gradients, unless something parts them: Dropout, or
    ``spread``. A model that was trained goes on from where it was; from scratch the larger network
    trains as well. It is compiled as the given one, with a new optimizer.

    Args:
        model: A built Sequential or functional model of Keras 3. It is left as it was.
        widths: Name of a layer → how many units it is to have, at least as many as it has.
        spread: How unequal the shares are that copies have of what their unit gave to those that
            read it: each is c⁻¹ · (1 + spread · u), u ~ U(−1, 1), all of them then scaled to a sum
            of 1, so that outputs stay. 0 to below 1.
        seed: Of the choice and the shares.

    Returns:
        The wider model, of the same names, inputs and outputs, compiled alike.

    Raises:
        InputError: an unknown layer, fewer units than it has, units that must stay, two widths for
            units that go together, or a layer reads them that copies would change.

    Example:
        >>> hidden = keras.layers.Dense(3, "relu", name="hidden")
        >>> model = keras.Sequential([keras.Input((2,)), hidden, keras.layers.Dense(1)])
        >>> x = np.ones((1, 2), "float32")
        >>> larger = wider(model, {"hidden": 8}, seed=1)
        >>> larger.layers[0].units, bool(keras.ops.max(abs(larger(x) - model(x))) < 1e-6)
        (8, True)

    Chen, Goodfellow & Shlens, Net2Net: accelerating learning via knowledge transfer, ICLR 2016,
    https://arxiv.org/abs/1511.05641.
    """
    check_model(model)
    widths = mapping("widths", widths, "names of layers to numbers of units")
    if not widths:
        raise refused("widths", "the name of at least one layer, with a number of units", widths)
    spread = number("spread", spread, least=0, below=1)
    seed = arguments.seed("seed", seed)
    channels = follow(model)
    weights = list(weights_with_channels(channels))
    counts = _counts(channels, find_groups(channels, weights), widths, seed)
    _check_readers(channels, counts)
    copies = Liveness(channels.representatives(), counts, {}, folds=False)
    rebuilder = Rebuilder(channels, copies)
    with filled_afterwards():
        new = rebuilder.model(model)
    reads = {(weight.layer, weight.key): weight.letters for weight in weights}
    for layer in channels.weighted.values():
        made = all_weights(rebuilder.layer(layer.layer))
        for key, axes in layer.weights.items():
            letters = reads.get((layer.name, key), "")
            for axis, value in enumerate(axes):
                if value is not None and letters[axis : axis + 1] == "i":
                    shares = _shares(copies.of(value), spread, seed, f"{layer.name}/{key}/{axis}")
                    shape = [-1 if other == axis else 1 for other in range(len(axes))]
                    kernel = keras.ops.convert_to_numpy(made[key])
                    made[key].assign(kernel * shares.reshape(shape))
    for note in rebuilder.notes + compile_alike(new, model, None):
        warnings.warn(f"`wider`: {note}", TfinitWarning, stacklevel=2)
    return new


def _counts(
    channels: Channels, groups: Sequence[Group], widths: Mapping[str, Any], seed: int
) -> np.ndarray:
    """How often each class of channels is to be there."""
    names = {told: group for group in groups for told in (*group.called, *group.layers)}
    counts = np.ones(len(channels.representatives()), dtype=int)
    asked: dict[str, tuple[str, int]] = {}
    for name, width in widths.items():
        group = names[one_of("widths", name, names)]
        width = whole(f"widths[{name!r}]", width, group.size)
        if group.held and width > group.size:
            raise InputError(
                f"`widths` has {name!r}, whose units must stay: {group.held[0]}. Leave it out."
            )
        before = asked.setdefault(group.name, (name, width))
        if before[1] != width:
            raise InputError(
                f"`widths` has {before[1]} units for {before[0]!r} and {width} for {name!r}, which "
                "go together. Give one of them."
            )
        counts[group.classes] = _copies(channels, group, width, seed)
    return counts


def _copies(channels: Channels, group: Group, width: int, seed: int) -> np.ndarray:
    times, more = divmod(width, group.size)
    copies = np.full(group.size, times)
    if group.normalized and width > group.size:
        kinds = {c.name: kind_of(c.layer).normalization for c in channels.carriers.values()}
        for name in group.normalized:
            if kinds.get(name) not in _OF_MEANS:
                raise InputError(
                    f"`widths`: {name} normalizes the units of {group.name!r} by a sum, which "
                    "copies change."
                )
        if more:
            raise InputError(
                f"`widths` has {width} units for {group.name!r}, over which {group.normalized[0]} "
                f"normalizes: all must be copied equally often. Give a multiple of {group.size}."
            )
    random = stream_for("copied units", seed, group.name)
    copies[random.permutation(group.size)[:more]] += 1
    return copies


def _check_readers(channels: Channels, counts: np.ndarray) -> None:
    """Refuse copies where a layer computes something else of them than of the unit."""
    speaks = channels.representatives()

    def grows(value: Value) -> bool:
        return bool((counts[speaks[value.classes]] > 1).any())

    for mixing in channels.mixings.values():
        kind = kind_of(mixing.layer)
        products = kind.attention and not kind.projections
        if grows(mixing.taken) and (products or type(mixing.layer) in OWN):
            raise InputError(
                f"`widths`: {mixing.name} ({type(mixing.layer).__name__}) reads units that are to "
                "be copied, and what it computes of copies is another thing. Leave them out."
            )
    for layer in channels.weighted.values():
        if "groups" in layer.sizes and grows(layer.sizes["groups"]):
            raise InputError(
                f"`widths`: {layer.name} normalizes in groups, which copies would part anew."
            )
        for _, part in walk_layers(layer.layer):
            tied = getattr(part, "tie_weights", False) and kind_of(part).looks_up
            if tied and any(grows(v) for axes in layer.weights.values() for v in axes if v):
                raise InputError(
                    f"`widths`: {layer.name} reads its table the other way round, too, for which "
                    "copies would count several times."
                )


def _shares(copies: np.ndarray, spread: float, seed: int, place: str) -> np.ndarray:
    """For each entry of the wider axis the share that it has of the weight that it is a copy of."""
    shares = 1 / np.repeat(copies, copies).astype(np.float64)
    if spread:
        random = stream_for("shares of copies", seed, place)
        shares *= 1 + spread * random.uniform(-1, 1, len(shares))
        starts = np.cumsum(copies) - copies
        shares /= np.repeat(np.add.reduceat(shares, starts), copies)
    return shares
