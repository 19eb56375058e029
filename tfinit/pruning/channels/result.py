"""What `prune_channels` did: the smaller model, what went of each layer, and what it costs now."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tfinit.pruning.compaction.result import Removed, Smaller
from tfinit.text_table import aligned, printable

if TYPE_CHECKING:
    from tfinit.pruning.channels.plan import ChannelPlan, Skipped


@dataclass(frozen=True, repr=False)
class ChannelPruning(Smaller):
    """The result of `prune_channels`. Prints as a table, a line for each layer that lost channels.

    Attributes:
        model: The smaller model.
        plan: Which channels went, of which groups.
        removed: Layer → the channels removed, of how many; only layers that lost some.
        skipped: What could not lose any, and why.
        multiply_adds_before: Of one sample through the given model; None where the sizes of its
            inputs are open.
        multiply_adds: Of one sample through the smaller one, counted of it.
        parameters_before: The entries of all weights of the given model.
        parameters: Those of the smaller model.
        notes: What else differs from the given model: settings of `compile` that could not be
            copied, a model inside that is of another class now.
    """

    model: Any
    plan: "ChannelPlan"
    removed: Mapping[str, Removed]
    skipped: "Sequence[Skipped]"
    multiply_adds_before: int | None
    multiply_adds: int | None
    parameters_before: int
    parameters: int
    notes: tuple[str, ...] = ()

    def _rows(self) -> list[dict[str, Any]]:
        """One for each layer that lost channels, and one for each that could not."""
        return [
            *(
                {"layer": layer, "channels": one.of, "left": one.of - one.units}
                for layer, one in self.removed.items()
            ),
            *({"layer": one.path, "reason": one.reason} for one in self.skipped),
        ]

    def __str__(self) -> str:
        lines = [f"{printable(self.model.name)}: {', '.join(self._costs())}"]
        lines += aligned(
            (f"  {layer}", f"{one.of:,} → {one.of - one.units:,}")
            for layer, one in self.removed.items()
        )
        lines += [
            f"  {printable(one.path)}  not touched: {printable(one.reason)}" for one in self.skipped
        ]
        return "\n".join([*lines, *self.notes])

    def _costs(self) -> list[str]:
        costs = [("parameters", self.parameters_before, self.parameters)]
        if self.multiply_adds_before is not None and self.multiply_adds is not None:
            counted = ("multiply-adds", self.multiply_adds_before, self.multiply_adds)
            costs = [counted, *costs]
        return [
            f"{before:,} → {after:,} {what} ({after / (before or 1):.1%})"
            for what, before, after in costs
        ]
