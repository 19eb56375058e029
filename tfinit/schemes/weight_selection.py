"""Xu et al.: a network begins with some of the weights of a larger one of its family."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfinit.arguments import mapping, one_of, refused
from tfinit.errors import InputError
from tfinit.graph.layer_kinds import letters_of
from tfinit.graph.tracing import own_graph, trace
from tfinit.saved_model import load_model
from tfinit.schemes.engine.registry import scheme
from tfinit.schemes.engine.report import Record, Report
from tfinit.schemes.engine.task import Task
from tfinit.variables import all_weights, automatic_stem, check_built, keras_of, walk_layers

UNITS = ("uniform", "first", "best")


@scheme("Weight selection")
def weight_selection(
    task: Task, *, source: Any, units: str = "uniform", layers: Mapping[str, str] | None = None
) -> Report:
    """w ← the source's weight of the same place, of some of its units: w = W[i, j, …].

    The source is trained, of the same family, and has at least as many units and layers. Units that
    are added, normalized or read together are chosen together (`tfinit.graph.channels`), behind
    Flatten, in the gates of recurrent layers and in heads too. Of n of N units ``"uniform"`` takes
    those at 0, N/n, 2N/n …, or, where n does not divide N, n rounded places from 0 to N − 1, as the
    paper; ``"first"`` the first n; ``"best"`` those of the greatest Σ w² over all kernels that make
    or read them. Axes that are no units of the network, as the width of a head, are spaced evenly,
    or the first.

    Layers are matched by their names where these were given; else by structure: in runs of blocks
    of the same shapes, the stages, the first of the source's.

    It helps a small network on few data, and gives it the distribution of trained weights; the
    paper reports up to some points on CIFAR and ImageNet. With as much data and time as the source
    had, or of another family, it is worth no more than a good random start. The network is no
    smaller copy of what the source computes: for that prune it (`tfinit.pruning.prune_channels`).

    Args:
        task: The smaller model, Sequential or functional.
        source: The trained model, or its ``.keras`` or ``.h5`` file.
        units: ``"uniform"``, ``"first"`` or ``"best"``.
        layers: Layer of the model → that of the source, by their keys (`tfinit.variables`), where
            they are not matched as they should.

    Returns:
        A record for each weight: which of the source's, and which entries of the axes that are not
        whole. Weights of inputs or outputs of other numbers, as of other classes, are left.

    Raises:
        InputError: the layers do not match, the model has more units somewhere than the source, or
            one of them cannot be followed.

    Example:
        >>> def mlp(width):
        ...     layers = [keras.layers.Dense(width, "relu", name="a"), keras.layers.Dense(2)]
        ...     return keras.Sequential([keras.Input((3,)), *layers])
        >>> report = initialize(mlp(3), "weight_selection", source=mlp(6), seed=1)
        >>> report["a/kernel"].note
        'a/kernel, axis 1: 0, 2, 4 of 6'

    Xu, Chen, Vishniakov, Yin, Shen, Darrell, Liu & Liu, Initializing models with larger ones, ICLR
    2024, https://arxiv.org/abs/2311.18823.
    """
    one_of("units", units, UNITS)
    if isinstance(source, str | Path):
        source = load_model(Path(source), "source", compile=False)
    for name, model in (("model", task.model), ("source", source)):
        check_built(model, name)
        if keras_of(model) != "keras" or own_graph(model) is None:
            cure = "Of others it is not known which units go together."
            raise refused(name, "a Sequential or functional model of Keras 3", model, cure)
    small, large = _Network(task.model), _Network(source)
    matched = _matched(small.layers, large.layers, layers)
    choice = _Choice(small, large, matched, units)
    keys = {id(variable): key for key, variable in all_weights(task.model).items()}
    source_keys = {id(variable): key for key, variable in all_weights(source).items()}
    records: dict[str, Record] = {}
    values: list[tuple[Any, np.ndarray]] = []
    for own, theirs in matched.items():
        layer, other = small.layers[own], large.layers[theirs]
        others = all_weights(other)
        for name, variable in all_weights(layer).items():
            key = keys[id(variable)]
            given = others.get(name)
            note, value = (f"{theirs} has no {name}", None)
            if not variable.trainable and layer.trainable is False:
                note = "frozen"
            elif given is not None:
                value, note = choice.value((layer, name, variable), (other, given))
                note = f"{source_keys[id(given)]}{note}" if value is not None else note
            if value is not None:
                values.append((variable, value))
            action = "kept" if value is None else "set"
            kind, shape = type(layer).__name__, tuple(variable.shape)
            records[key] = Record(key, kind, shape, action, note=note)
    for variable, value in values:
        task.write(variable, value)
    left = set(large.layers) - set(matched.values())
    notes = [f"not used of the source: {', '.join(k for k in large.layers if k in left)}"]
    return task.report("weight_selection", list(records.values()), *(notes if left else []))


class _Network:
    """The layers of a model that have weights, in data-flow order, and where its units are.

    Attributes:
        layers: Key → layer.
        groups: The groups of units that go together.
        places: Id of layer, key of weight, axis → for each entry its group, and which of its units.
        ends: The groups of what is given to the model and of what it returns.
    """

    def __init__(self, model: Any) -> None:
        from tfinit.graph.channels import coupled_groups, follow  # they import Keras

        keys = {id(layer): key for key, layer in walk_layers(model)}
        operations = [step.op for step in trace(model, composites=False).steps]
        self.layers = {
            keys[id(op)]: op for op in operations if getattr(op, "weights", None) and id(op) in keys
        }
        channels = follow(model)
        self.groups = coupled_groups(channels)
        self.places: dict[tuple[int, str, int], tuple[np.ndarray, np.ndarray]] = {}
        for number, group in enumerate(self.groups):
            for spot in group.spots:
                shape = spot.entries.shape
                place = (id(spot.layer), spot.key, spot.axis)
                of, units = self.places.setdefault(
                    place, (np.full(shape, -1), np.zeros(shape, int))
                )
                here = spot.entries >= 0
                of[here], units[here] = number, spot.entries[here]
        ends = ("the model is given them", "the model returns them")
        self.ends = {n for n, group in enumerate(self.groups) if {*ends} & {*group.held}}

    def strength(self, number: int) -> np.ndarray:
        """Σ w² of each unit of a group, over the kernels that it is on."""
        group = self.groups[number]
        total = np.zeros(group.size)
        for spot in group.spots:
            variable = all_weights(spot.layer)[spot.key]
            if len(variable.shape) < 2:
                continue
            squares = np.square(np.asarray(variable.numpy()).astype(np.float64))
            others = tuple(axis for axis in range(squares.ndim) if axis != spot.axis)
            here = spot.entries >= 0
            np.add.at(total, spot.entries[here], squares.sum(axis=others)[here])
        return total


def evenly(of: int, count: int) -> np.ndarray:
    """``count`` numbers below ``of``, evenly spaced, as the paper's code has them."""
    if of % max(count, 1) == 0:
        return np.arange(count) * (of // max(count, 1))
    return np.round(np.linspace(0, of - 1, count)).astype(int)


@dataclass
class _Choice:
    """Which units of the larger network those of the smaller one are.

    Attributes:
        small: The smaller network.
        large: The larger one.
        matched: Layer of the smaller → of the larger, by their keys.
        units: By which rule.
    """

    small: _Network
    large: _Network
    matched: dict[str, str]
    units: str

    def __post_init__(self) -> None:
        self._chosen: dict[int, np.ndarray] = {}  # group of the smaller → units of the larger
        self._other: set[int] = set()  # groups of inputs and outputs of other numbers
        self._sizes: dict[int, int] = {}
        for own, theirs in self.matched.items():
            layer, other = self.small.layers[own], self.large.layers[theirs]
            for (of, key, axis), (groups, _) in self.small.places.items():
                if of == id(layer) and (id(other), key, axis) in self.large.places:
                    wider = self.large.places[id(other), key, axis][0]
                    self._pair(f"{own}/{key}", _in_order(groups), _in_order(wider))

    def _pair(self, name: str, groups: list[int], others: list[int]) -> None:
        if len(groups) != len(others):
            raise InputError(
                f"`source`: {name!r} reads or makes units of {len(groups)} kinds in `model` and of "
                f"{len(others)} in the source. They must be of one family."
            )
        for group, other in zip(groups, others, strict=True):
            size, of = self.small.groups[group].size, self.large.groups[other].size
            if size != of and group in self.small.ends:
                self._other.add(group)
            elif size > of:
                raise InputError(
                    f"`source` has {of} units at {name!r}, `model` has {size}: it must have at "
                    "least as many. To make a network wider there is tfinit.net2net.wider."
                )
            elif self._sizes.setdefault(group, of) != of:
                raise InputError(
                    f"`source`: the units of {name!r} are {of} there and {self._sizes[group]} in "
                    "another layer, where `model` has the same. They must be of one family."
                )
            elif group not in self._chosen:
                self._chosen[group] = self._units(other, size)

    def _units(self, group: int, count: int) -> np.ndarray:
        size = self.large.groups[group].size
        if self.units == "best" and count < size:
            best = np.argsort(-self.large.strength(group), kind="stable")[:count]
            return np.sort(best)
        return self._some(size, count)

    def _some(self, of: int, count: int) -> np.ndarray:
        return np.arange(count) if self.units == "first" else evenly(of, count)

    def value(
        self, own: tuple[Any, str, Any], given: tuple[Any, Any]
    ) -> tuple[np.ndarray | None, str]:
        """The value of a weight, with which entries it is of; or None, with why not."""
        (layer, name, variable), (other, source) = own, given
        shape, wide = tuple(variable.shape), tuple(source.shape)
        if len(shape) != len(wide):
            return None, f"the source's has shape {wide}"
        array, notes = np.asarray(source.numpy()), []
        on = [
            {axis for axis in range(len(shape)) if (id(of), name, axis) in network.places}
            for network, of in ((self.small, layer), (self.large, other))
        ]
        if on[0] != on[1]:  # one of them has LoRA, say
            same = shape == wide
            return (array, "") if same else (None, f"units of {other.name} cannot be followed")
        letters = letters_of(layer, name.split("/")[-1], len(shape))
        for axis, (size, of) in enumerate(zip(shape, wide, strict=True)):
            place = self.small.places.get((id(layer), name, axis))
            if place is None:
                if size > of or (size != of and letters[axis : axis + 1] == "*"):
                    return None, f"the source's has shape {wide}"
                entries = self._some(of, size)
            elif self._other & set(place[0].tolist()):
                return None, f"an input or output of another number: the source's is {wide}"
            else:
                entries = self._entries(place, self.large.places[id(other), name, axis])
            array = np.take(array, entries, axis)
            if size != of:
                some = ", ".join(map(str, entries[:4])) + (" …" if size > 4 else "")
                notes.append(f", axis {axis}: {some} of {of}")
        return array, "".join(notes)

    def _entries(
        self, place: tuple[np.ndarray, np.ndarray], wide: tuple[np.ndarray, np.ndarray]
    ) -> np.ndarray:
        """For each entry of an axis that of the larger network's axis.

        A unit may have several: at each place of a flattened map, in each gate. They are taken in
        their order, and where the larger has more, evenly.
        """
        partner = dict(zip(_in_order(place[0]), _in_order(wide[0]), strict=True))
        there: dict[tuple[int, int], list[int]] = {}
        for entry, unit in enumerate(zip(*(part.tolist() for part in wide), strict=True)):
            there.setdefault(unit, []).append(entry)
        here: dict[tuple[int, int], list[int]] = {}
        for entry, unit in enumerate(zip(*(part.tolist() for part in place), strict=True)):
            here.setdefault(unit, []).append(entry)
        found = np.zeros(len(place[0]), int)
        for (group, unit), entries in here.items():
            chosen = int(self._chosen[group][unit])
            of = np.array(there[partner[group], chosen])
            if len(of) < len(entries):
                raise InputError(
                    "`source` has fewer places than `model` where maps are flattened or gates are "
                    "side by side. They must be of one family."
                )
            found[entries] = of[self._some(len(of), len(entries))]
        return found


def _in_order(groups: np.ndarray) -> list[int]:
    return list(dict.fromkeys(groups.tolist()))


def _matched(
    small: Mapping[str, Any], large: Mapping[str, Any], given: Mapping[str, str] | None
) -> dict[str, str]:
    """Layer of the smaller network → of the larger, by their keys."""
    if given is not None:
        given = mapping("layers", given, "layers of the model to layers of the source")
        for own, theirs in given.items():
            one_of("layers", own, small)
            one_of(f"layers[{own!r}]", theirs, large)
    told = {**{key: key for key in small}, **(given or {})}
    named = not any(_is_automatic(layer) for layer in small.values())
    same = len(small) == len(large)
    if (named or same or given) and all(
        theirs in large and type(small[own]) is type(large[theirs]) for own, theirs in told.items()
    ):
        return told
    found = _in_stages([*small.values()], [*large.values()])
    if found is None:
        raise InputError(
            f"`source`: its layers {_told(large)} do not match those of `model`, {_told(small)}, "
            "by name or in stages. Give layers the same names, or pass `layers`."
        )
    keys, others = [*small], [*large]
    return {keys[i]: others[j] for i, j in enumerate(found)} | dict(given or {})


def _is_automatic(layer: Any) -> bool:
    return automatic_stem(layer.name, type(layer).__name__) is not None


def _told(layers: Mapping[str, Any]) -> str:
    return ", ".join([*layers][:6]) + (" …" if len(layers) > 6 else "")


def _signature(layer: Any) -> tuple[Any, ...]:
    return type(layer).__name__, tuple(tuple(w.shape) for w in layer.weights)


def _in_stages(small: Sequence[Any], large: Sequence[Any]) -> list[int] | None:
    """For each layer the place of its partner: of each stage the first blocks."""
    own, theirs = [*map(_signature, small)], [*map(_signature, large)]
    stages = list(_stages(theirs))

    def walk(at: int, stage: int) -> list[int] | None:
        if stage == len(stages):
            return [] if at == len(own) else None
        start, period, count = stages[stage]
        block = own[at : at + period]
        alike = [part[0] for part in block] == [p[0] for p in theirs[start : start + period]]
        most = 0
        while alike and most < count and own[at + most * period :][:period] == block:
            most += 1
        for times in range(most, -1 if count > 1 else 0, -1):
            rest = walk(at + times * period, stage + 1)
            if rest is not None:
                return [*range(start, start + times * period), *rest]
        return None

    return walk(0, 0)


def _stages(signatures: Sequence[Any]) -> Sequence[tuple[int, int, int]]:
    """Runs of equal blocks: where each begins, the layers of a block, how many blocks."""
    found, at = [], 0
    while at < len(signatures):
        best = (1, 1)
        for period in range(1, (len(signatures) - at) // 2 + 1):
            block, count = signatures[at : at + period], 1
            while signatures[at + count * period :][:period] == block:
                count += 1
            if count > 1 and period * count > best[0] * best[1]:
                best = (period, count)
        found.append((at, *best))
        at += best[0] * best[1]
    return found
