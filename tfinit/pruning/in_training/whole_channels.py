"""Whole channels in compiled training steps: which weights each is on, what it is worth, its masks.

The channels of a group can only be removed together, from every weight that they are on: kernels
that make or read them, biases, the scales of normalizations. With s(w) the score of a weight::

    score_c = Σ over the weights that count, Σ over the entries of channel c: s(w)
    mask(w) = Π over the axes of w that channels are on: keep[channel of the entry]

Which channels are in a group does not change, so that it is found once, before training.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from keras import ops

from tfinit.errors import InputError
from tfinit.graph.layer_kinds import axes_of
from tfinit.pruning.in_training.selection import keep_count
from tfinit.pruning.scoring.sparsities import floor_counts
from tfinit.variables import all_weights

if TYPE_CHECKING:
    from tfinit.pruning.channels.groups import Weight


class MaskedAxis(NamedTuple):
    """An axis of a weight, some entries of which are channels of a group.

    Attributes:
        weight: Which weight: what a list of groups is told about says what names it.
        axis: The axis.
        runs: Which channel each entry is, in runs of (first channel, how many), each one more than
            that before it; of -1 are entries of no channel of the group.
        kernel: Whether it mixes channels: one that cannot be masked keeps its group whole.
        counts: Whether it counts for the score.
    """

    weight: int
    axis: int
    runs: tuple[tuple[int, int], ...]
    kernel: bool
    counts: bool

    def entries(self, size: int) -> np.ndarray:
        """Which channel each entry is, of so many; ``size`` for those of no channel."""
        found = [np.arange(f, f + n) if f >= 0 else np.full(n, size) for f, n in self.runs]
        return np.concatenate(found).astype("int32")


class MaskedGroup(NamedTuple):
    """Channels of which whole ones are masked, in all weights that they are on.

    Attributes:
        size: How many they are.
        axes: Where they are.
        names: What an allocation may call them: the layers whose units, filters or heads they are,
            the first of which is that of `tfinit.pruning.channel_plan`.
    """

    size: int
    axes: tuple[MaskedAxis, ...]
    names: tuple[str, ...] = ()


class ChannelGroups(NamedTuple):
    """The groups of a rule, for a file: weights are places in the rule's ``scope``."""

    groups: tuple[MaskedGroup, ...]

    def get_config(self) -> list[Any]:
        """As lists of numbers."""
        return [
            [size, [_axis_config(axis) for axis in axes], *names]
            for size, axes, names in self.groups
        ]

    @classmethod
    def from_config(cls, config: Any) -> "ChannelGroups":
        """The groups that `get_config` described.

        Raises:
            InputError: it is no description of groups.
        """
        try:
            return cls(
                tuple(
                    MaskedGroup(
                        int(size),
                        tuple(
                            MaskedAxis(
                                *(int(weight), int(axis)),
                                tuple((int(first), int(count)) for first, count in runs),
                                *(bool(kernel), bool(counts)),
                            )
                            for weight, axis, kernel, counts, *runs in axes
                        ),
                        tuple(map(str, names)),
                    )
                    for size, axes, *names in config
                )
            )
        except (TypeError, ValueError) as error:
            raise InputError(f"`structure` is no description of channels: {error}.") from error


def _axis_config(axis: MaskedAxis) -> list[Any]:
    return [axis.weight, axis.axis, int(axis.kernel), int(axis.counts), *map(list, axis.runs)]


def check_fit(groups: Iterable[MaskedGroup], shapes: Mapping[int, Sequence[int]]) -> None:
    """Refuse groups, as a file may hold them, that are not of weights of these shapes.

    Raises:
        InputError: they are not.
    """
    for size, axes, _ in groups:
        lengths = [0]
        for axis in axes:
            shape = tuple(shapes.get(axis.weight, ()))
            if axis.weight in shapes and not 0 <= axis.axis < len(shape):
                raise InputError(f"`structure` has an axis {axis.axis} of a weight of {shape}.")
            length = shape[axis.axis] if shape else sum(count for _, count in axis.runs)
            told = all(
                count > 0 and first >= -1 and first + count <= (size if first >= 0 else length)
                for first, count in axis.runs
            )
            if not told or sum(count for _, count in axis.runs) != length:
                raise InputError(
                    f"`structure` is of other weights: an axis of {length} entries is not one of "
                    f"its {size} channels."
                )
            if shape:
                lengths.append(length)
        if size > max(lengths) > 0:
            raise InputError(f"`structure` has {size} channels on axes of {max(lengths)} entries.")


def groups_of(
    model: Any, counts: "Callable[[Weight], bool]"
) -> tuple[list[MaskedGroup], dict[int, Any]]:
    """The groups of a model whose channels may be masked, and the weights that these are on.

    They are those of which some weight counts for the score and which no layer normalizes over: of
    others, what is left computes something else than all with zeros among them.

    Args:
        model: A built Sequential or functional model.
        counts: Which weights count for the score.

    Returns:
        The groups, in which a weight is the id of a variable; id → variable.

    Raises:
        InputError: the model cannot be followed.
    """
    # Here, as Keras registers what imports this, in the middle of importing one of those.
    from tfinit.graph.channels import coupled_groups, follow
    from tfinit.pruning.channels.groups import find_groups, weights_with_channels
    from tfinit.pruning.compaction.followed import check_model

    check_model(model)
    channels = follow(model, reads=False)
    found = list(weights_with_channels(channels))
    weights = {id(weight.variable): weight for weight in found}
    named = {group.classes[0]: group for group in find_groups(channels, found)}
    groups, variables = [], {}
    for coupling in coupled_groups(channels):
        if coupling.held or coupling.normalized or coupling.size < 2:
            continue
        axes = {}
        for spot in coupling.spots:
            variable = all_weights(spot.layer)[spot.key]
            weight = weights[id(variable)]
            axes[id(variable), spot.axis] = MaskedAxis(
                *(id(variable), spot.axis, _runs(spot.entries)),
                *(_is_pruned(weight), counts(weight)),
            )
            variables[id(variable)] = variable
        if any(axis.counts for axis in axes.values()):
            group = named.get(coupling.classes[0])
            names = () if group is None else tuple(dict.fromkeys((group.name, *group.layers)))
            groups.append(MaskedGroup(coupling.size, tuple(axes.values()), names))
    return groups, variables


def _is_pruned(weight: "Weight") -> bool:
    """Not a depthwise kernel, say: what it makes of a channel is read by others, of that group."""
    axes = axes_of(weight.owner, weight.name)
    return bool(weight.letters) and axes is not None and axes.prunable


def _runs(entries: np.ndarray) -> tuple[tuple[int, int], ...]:
    before, after = entries[:-1], entries[1:]
    goes_on = np.where(before < 0, after < 0, after == before + 1)
    starts = np.flatnonzero(np.concatenate([[True], ~goes_on]))
    counts = np.diff(np.concatenate([starts, [len(entries)]]))
    return tuple(zip(entries[starts].tolist(), counts.tolist(), strict=True))


def _places(entries: np.ndarray, size: int) -> np.ndarray:
    """(channels, most entries of one): where each channel is; the length where it is less often."""
    own = np.flatnonzero(entries < size)
    order = own[np.argsort(entries[own], kind="stable")]
    counts = np.bincount(entries[own], minlength=size)
    column = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    places = np.full((size, counts.max(initial=1)), len(entries), dtype="int32")
    places[entries[order], column] = order
    return places


def placed(groups: Iterable[MaskedGroup], places: Mapping[int, int]) -> tuple[MaskedGroup, ...]:
    """The groups whose kernels all have a place, with weights by their places.

    Args:
        groups: The groups.
        places: What names a weight in them → its place. Weights that have none are left out.
    """
    return tuple(
        group._replace(
            axes=tuple(
                axis._replace(weight=places[axis.weight])
                for axis in group.axes
                if axis.weight in places
            )
        )
        for group in groups
        if all(axis.weight in places for axis in group.axes if axis.kernel)
    )


class Channels:
    """The groups of a rule with the shapes of its weights, for one update of the masks.

    Args:
        groups: The groups; weights by their places.
        shapes: The shapes of the weights.
    """

    def __init__(self, groups: Sequence[MaskedGroup], shapes: Sequence[tuple[int, ...]]) -> None:
        self._groups = groups
        self._shapes = shapes

    @property
    def counted(self) -> set[int]:
        """The weights that count for the score."""
        return {axis.weight for group in self._groups for axis in group.axes if axis.counts}

    def scores(self, scores: Mapping[int, Any]) -> list[Any]:
        """A float32 vector for each group, of the scores of the weights that count."""
        return [
            sum(
                self._summed(group, axis, ops.cast(scores[axis.weight], "float32"))
                for axis in group.axes
                if axis.counts
            )
            for group in self._groups
        ]

    def living(self, masks: Sequence[Any]) -> list[Any]:
        """A boolean vector for each group: of which channels the masks leave something."""
        found = []
        for group in self._groups:
            parts = [
                self._summed(group, axis, ops.cast(masks[axis.weight], "float32"))
                for axis in group.axes
                if axis.kernel
            ]
            found.append(sum(parts) > 0)
        return found

    def _summed(self, group: MaskedGroup, axis: MaskedAxis, values: Any) -> Any:
        """Of each channel the sum of the values at its entries."""
        others = [other for other in range(len(values.shape)) if other != axis.axis]
        sums = ops.sum(values, axis=others) if others else values
        entries = axis.entries(group.size)
        if np.array_equal(entries, np.arange(group.size)):
            return sums
        # Not by `segment_sum`, which on a GPU adds in whatever order.
        sums = ops.concatenate([sums, ops.zeros((1,), sums.dtype)])
        return ops.sum(ops.take(sums, _places(entries, group.size)), axis=1)

    def masks(self, keep: Sequence[Any]) -> list[Any]:
        """A mask for each weight, of a boolean vector for each group: which channels stay."""
        masks = [ops.ones(shape, "bool") for shape in self._shapes]
        for group, kept in zip(self._groups, keep, strict=True):
            kept = ops.concatenate([kept, ops.ones((1,), "bool")])  # entries of no channel
            for axis in group.axes:
                along = [1] * len(self._shapes[axis.weight])
                along[axis.axis] = -1
                part = ops.reshape(ops.take(kept, axis.entries(group.size)), along)
                masks[axis.weight] = ops.logical_and(masks[axis.weight], part)
        return masks


def by_group(allocation: Mapping[str, float], groups: Sequence[MaskedGroup]) -> list[float]:
    """The sparsity of each group by a mapping of layers; 0 of those that it does not name.

    Raises:
        InputError: it names no group, or one differently by two of its layers.
    """
    known = dict.fromkeys(name for group in groups for name in group.names)
    unknown = [name for name in allocation if name not in known]
    if unknown:
        raise InputError(
            f"`allocation` names {unknown[0]!r}, which has no channels that can be masked. Layers "
            f"that have are {list(known)}."
        )
    found = []
    for group in groups:
        told = {allocation[name] for name in group.names if name in allocation}
        if len(told) > 1:
            raise InputError(
                f"`allocation` has {sorted(told)} for {', '.join(group.names)}, whose channels "
                "stand or fall together. Give them the same."
            )
        found.append(told.pop() if told else 0.0)
    return found


def kept_channels(
    scores: Sequence[Any],
    sparsities: Sequence[Any],
    together: bool,
    min_density: float,
    select: Any,
) -> list[Any]:
    """Which channels stay: a boolean vector for each group, with the exact count of survivors.

    ::

        each        of each group its keep_count(size, sparsity) best
        together    as many in all, of the best by score / mean score of the group, after the
                    max(1, round(min_density · size)) best of each

    Args:
        scores: A vector for each group.
        sparsities: Of each group, the fraction of its channels that go.
        together: Whether all groups compete for their places.
        min_density: As in a rule.
        select: What selects, as in `tfinit.pruning.in_training.update`.
    """
    sizes = [math.prod(score.shape) for score in scores]
    keeps = [keep_count(size, part) for size, part in zip(sizes, sparsities, strict=True)]
    if not together:
        return select.of_each(scores, keeps, False)
    keep = sum(keeps)
    floors = floor_counts(sizes, keep, min_density)
    best = select.of_each(scores, floors, False)
    means = [ops.maximum(_mean_of_finite(score), 1e-30) for score in scores]
    infinity = ops.cast(math.inf, "float32")
    raised = [
        ops.where(ops.logical_and(first, score > -infinity), infinity, score / mean)
        for first, score, mean in zip(best, scores, means, strict=True)
    ]
    return select.of_all(raised, ops.maximum(keep, sum(floors)), absolute=False)


def _mean_of_finite(score: Any) -> Any:
    finite = ops.abs(score) < ops.cast(math.inf, "float32")
    return ops.mean(ops.where(finite, ops.abs(score), ops.zeros_like(score)))
