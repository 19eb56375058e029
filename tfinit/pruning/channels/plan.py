"""Which channels of which groups go: a choice that can be looked at, saved, changed and made."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tfinit.arguments import one_of, text, wholes
from tfinit.deserializing import filled_afterwards
from tfinit.errors import InputError
from tfinit.graph.channel_values import Channels
from tfinit.graph.channels import follow
from tfinit.graph.multiply_adds import UnknownShapes, count_uses
from tfinit.pruning.channels.costs import multiply_adds
from tfinit.pruning.channels.groups import Group, find_groups, weights_with_channels
from tfinit.pruning.channels.result import ChannelPruning
from tfinit.pruning.compaction.followed import check_model
from tfinit.pruning.compaction.liveness import Liveness
from tfinit.pruning.compaction.rebuilding import Rebuilder
from tfinit.pruning.compaction.recompiling import compile_alike, cuts_of
from tfinit.pruning.compaction.result import Removed
from tfinit.results import Result
from tfinit.text_table import aligned, printable
from tfinit.variables import all_weights

_LAST = "one at least must stay of them"


@dataclass(frozen=True)
class GroupPlan:
    """What goes of one group: channels that can only be removed together.

    Attributes:
        name: The name of the first layer that makes them.
        channels: How many there are.
        layers: All layers that make them: whose units, filters or heads they are. Of a layer that
            has several, with which of them: ``"attention/num_heads"``.
        removed: Those that go, counted from 0.
    """

    name: str
    channels: int
    layers: tuple[str, ...]
    removed: tuple[int, ...] = ()

    @property
    def left(self) -> int:
        """How many channels stay."""
        return self.channels - len(self.removed)


@dataclass(frozen=True)
class Skipped:
    """Channels that stay, whatever their scores are.

    Attributes:
        path: The layer.
        reason: Why.
    """

    path: str
    reason: str


@dataclass(frozen=True, repr=False)
class ChannelPlan(Result):
    """Which channels of a model are to be removed. Prints as a table, a line for each group.

    Attributes:
        groups: What may lose channels, in data-flow order.
        skipped: What may not, and why.

    Example:
        >>> layers = [keras.layers.Dense(4, "relu", name="a"), keras.layers.Dense(2, name="b")]
        >>> model = keras.Sequential([keras.Input((3,)), *layers])
        >>> plan = channel_plan(model, target={"channels": 0.5}).removing("a", [1, 3])
        >>> ChannelPlan.from_json(plan.to_json()) == plan
        True
        >>> {key: mask.astype(int).tolist() for key, mask in plan.masks(model).items()}["a/bias"]
        [1, 0, 1, 0]
        >>> plan.apply(model).model.layers[0].units
        2
    """

    groups: tuple[GroupPlan, ...]
    skipped: tuple[Skipped, ...] = ()

    def __str__(self) -> str:
        rows = [("group", "channels", "left", "layers")]
        for group in self.groups:
            others = ", ".join(group.layers[1:4]) + (" …" if len(group.layers) > 4 else "")
            rows.append((group.name, f"{group.channels:,}", f"{group.left:,}", others))
        lines = aligned(rows, right=(1, 2), drop_empty=True)
        return "\n".join(
            [
                *lines,
                *(
                    f"{printable(one.path)}  not touched: {printable(one.reason)}"
                    for one in self.skipped
                ),
            ]
        )

    def _rows(self) -> list[dict[str, Any]]:
        """One for each group, and one for each layer that is skipped."""
        found: list[dict[str, Any]] = [
            {"layer": group.name, "channels": group.channels, "left": group.left}
            for group in self.groups
        ]
        return found + [{"layer": one.path, "reason": one.reason} for one in self.skipped]

    def _caption(self) -> str:
        channels = sum(group.channels for group in self.groups)
        return f"{channels:,} → {sum(group.left for group in self.groups):,} channels"

    def to_json(self) -> str:
        """As JSON that `from_json` reads: what is in ``removed`` may be changed in it."""
        return json.dumps(self.to_dict(), indent=1)

    @classmethod
    def from_json(cls, plan: str) -> "ChannelPlan":
        """A plan that `to_json` wrote, with what was changed in it.

        Raises:
            InputError: it is no plan, or removes a channel that its group has not, or all of one.
        """
        text("plan", plan, cure="ChannelPlan.to_json() writes it.")
        try:
            found = json.loads(plan)
            groups = [
                GroupPlan(one["name"], one["channels"], tuple(one["layers"]), one["removed"])
                for one in found["groups"]
            ]
            skipped = [Skipped(one["path"], one["reason"]) for one in found["skipped"]]
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(
                f"`plan` is no plan of channels as ChannelPlan.to_json() writes it: {error!r}."
            ) from error
        return cls(tuple(map(_checked, groups)), tuple(skipped))

    def removing(self, group: str, channels: Any) -> "ChannelPlan":
        """The same plan, but for what it removes of one group.

        Args:
            group: Its name.
            channels: The channels that go, counted from 0; none for an empty list.

        Raises:
            InputError: there is no such group, or no such channel, or all of them would go.
        """
        one_of("group", group, [one.name for one in self.groups])
        changed = [
            _checked(replace(one, removed=channels), "channels") if one.name == group else one
            for one in self.groups
        ]
        return replace(self, groups=tuple(changed))

    def masks(self, model: Any) -> dict[str, np.ndarray]:
        """Which weights stay: key → an array that is False at every entry of a removed channel.

        With its weights multiplied by them the model computes what the smaller one does, but where
        it normalizes over channels, as LayerNormalization does: there fewer channels have another
        mean and variance than the same with zeros among them.

        Args:
            model: The model that the plan was made for.

        Returns:
            For the keys of `tfinit.variables.all_weights(model)` that lose something.

        Raises:
            InputError: the plan does not fit the model.
        """
        check_model(model)
        channels = follow(model, reads=False)
        weights = list(weights_with_channels(channels))
        liveness = self._liveness(channels, find_groups(channels, weights))
        keys = {id(variable): key for key, variable in all_weights(model).items()}
        found = {}
        for weight in weights:
            mask = np.ones(tuple(weight.variable.shape), dtype=bool)
            for axis, value in enumerate(weight.axes):
                if value is not None:
                    others = [-1 if other == axis else 1 for other in range(mask.ndim)]
                    mask &= liveness.of(value).reshape(others)
            if not mask.all():
                found[keys[id(weight.variable)]] = mask
        return found

    def apply(self, model: Any) -> ChannelPruning:
        """Remove the channels from a model; the one that is given stays as it was.

        Args:
            model: The model that the plan was made for, with whatever weights.

        Returns:
            The result, with a new model of the same layers' names, inputs and outputs, compiled
            alike.

        Raises:
            InputError: the plan does not fit the model, or removes nothing.
        """
        check_model(model)
        channels = follow(model, reads=False)
        groups = find_groups(channels, list(weights_with_channels(channels)))
        liveness = self._liveness(channels, groups)
        if not any(group.removed for group in self.groups):
            raise InputError("`plan` removes no channel: there is nothing to do.")
        rebuilder = Rebuilder(channels, liveness)
        with filled_afterwards():
            new = rebuilder.model(model)
        notes = rebuilder.notes + compile_alike(
            new, model, cuts_of(model, channels, liveness), masks=True
        )
        known = {group.name: group for group in groups}
        removed, normalized = {}, {}
        for group in self.groups:
            if group.removed:
                counts = Removed(len(group.removed), group.channels)
                removed |= dict.fromkeys(group.layers, counts)
                normalized |= dict.fromkeys(known[group.name].normalized)
        if normalized:
            names = ", ".join([*normalized][:3]) + " …" * (len(normalized) > 3)
            notes.append(
                f"the mean and variance of {names} are of fewer channels now, not of the same with "
                "zeros among them"
            )
        return ChannelPruning(
            new,
            self,
            removed,
            self.skipped,
            _multiply_adds(model),
            _multiply_adds(new),
            model.count_params(),
            new.count_params(),
            tuple(notes),
        )

    def _liveness(self, channels: Channels, found: Sequence[Group]) -> Liveness:
        """Which classes stay; InputError if the plan is of another model."""
        groups = {group.name: group for group in found}
        speaks = channels.representatives()
        live = np.ones(len(speaks), dtype=bool)
        for one in self.groups:
            _checked(one)
            group = groups.get(one.name)
            if group is None or group.size != one.channels:
                has = "no such group" if group is None else f"{group.size} channels there"
                raise InputError(
                    f"The plan is of another model: it has {one.channels} channels of {one.name!r},"
                    f" `model` has {has}. Its groups are {_sizes(groups)}."
                )
            if group.held and one.removed:
                raise InputError(
                    f"The plan removes channels of {one.name!r}, which must stay in `model`: "
                    f"{group.held[0]}."
                )
            live[group.classes[list(one.removed)]] = False
        liveness = Liveness(speaks, live, {}, folds=False)
        for value, size, reason in unfit(channels):
            if liveness.of(value).sum() == size:
                names = [
                    n for n, g in groups.items() if np.isin(speaks[value.classes], g.classes).any()
                ]
                raise InputError(
                    f"The plan leaves {size} of {len(value)} channels of {', '.join(names)}: "
                    f"{reason}."
                )
        return liveness


def unfit(channels: Channels) -> list[tuple[Any, int, str]]:
    """Values, the number of channels that they must not have, and why."""
    return [(value, 0, _LAST) for value in channels.values if len(value)] + channels.unfit


def _checked(group: GroupPlan, called: str | None = None) -> GroupPlan:
    """The group with what is removed of it in order; InputError if that cannot be."""
    removed = wholes(
        called or f"removed of {group.name}",
        group.removed,
        0,
        group.channels - 1,
        different=True,
        empty=True,
    )
    if len(removed) == group.channels:
        raise InputError(
            f"The plan removes all {group.channels} channels of {group.name!r}. Let one stay: "
            "nothing would get through."
        )
    return replace(group, removed=tuple(sorted(removed)))


def _sizes(groups: Mapping[str, Group]) -> str:
    return ", ".join(f"{name} ({group.size})" for name, group in groups.items())


def _multiply_adds(model: Any) -> int | None:
    try:
        return multiply_adds(model, count_uses(model))
    except UnknownShapes:
        return None
