"""What `compact` did: the smaller model, what went, and what could not go."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from tfinit.results import Result
from tfinit.text_table import aligned, printable


class Removed(NamedTuple):
    """How many units or channels of a layer were removed, of how many."""

    units: int
    of: int


class Smaller(Result):
    """A result that has the smaller model as ``model``, and as ``removed`` what each layer lost."""

    def to_dict(self) -> dict[str, Any]:
        """All but the model, which is there by its name, as what JSON can hold."""
        own: Any = self
        removed = {layer: removed._asdict() for layer, removed in own.removed.items()}
        return super().to_dict() | {"model": own.model.name, "removed": removed}


@dataclass(frozen=True)
class Kept:
    """What could not be touched.

    Attributes:
        layer: The layer's name.
        units: How many of its units are dead and stay; 0 for a layer that could not be followed:
            everything that it reads and makes stays.
        reason: Why.
    """

    layer: str
    units: int
    reason: str


@dataclass(frozen=True, repr=False)
class Compaction(Smaller):
    """The result of `compact`. Prints as a table.

    Attributes:
        model: The smaller model.
        removed: Layer → the units or channels removed; only layers that lost some.
        kept: What could not be touched, and why.
        parameters_before: The entries of all weights of the given model.
        parameters: Those of the smaller model.
        notes: What else differs from the given model: a bias that a layer was given, settings of
            `compile` that could not be copied.
    """

    model: Any
    removed: Mapping[str, Removed]
    kept: tuple[Kept, ...]
    parameters_before: int
    parameters: int
    notes: tuple[str, ...] = ()

    def _rows(self) -> list[dict[str, Any]]:
        """One for each layer that lost units, and one for each that could not."""
        removed = [
            {"layer": layer, "removed": removed.units, "of": removed.of}
            for layer, removed in self.removed.items()
        ]
        return [
            *removed,
            *({"layer": k.layer, "dead_kept": k.units, "reason": k.reason} for k in self.kept),
        ]

    def __str__(self) -> str:
        name = printable(self.model.name)
        lines = [f"{name}: {self.parameters_before:,} → {self.parameters:,} parameters"]
        if not self.removed:
            lines.append("nothing to remove: no unit is dead that could be removed")
        lines += aligned(
            (f"  {layer}", f"removed {removed.units:,} of {removed.of:,}")
            for layer, removed in self.removed.items()
        )
        alike: dict[tuple[str, bool], list[Kept]] = {}
        for kept in self.kept:
            alike.setdefault((kept.reason, kept.units > 0), []).append(kept)
        for (reason, dead), group in alike.items():
            units = sum(kept.units for kept in group)
            what = f"{units:,} dead kept" if dead else "not touched"
            lines.append(f"  {_names([kept.layer for kept in group])}  {what}: {reason}")
        return "\n".join([*lines, *self.notes])


def _names(names: list[str]) -> str:
    """A few names, and how many more."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return printable(", ".join(names[:3])) + more
