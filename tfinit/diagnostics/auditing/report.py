"""The result of `initialization_report`."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from tfinit.results import Records, cell, json_ready
from tfinit.text_table import aligned

__all__ = ["STATES", "InitializationReport", "WeightState"]

# State → what it says of a weight; the first two are as they should be.
STATES = {
    "untouched": "bit for bit what its layer drew when it was built",
    "initialized": "as its initializer draws it",
    "other": "as another initializer draws it",
    "trained": "moved away from its initialization: trained, or loaded",
    "zero": "all zero, where its initializer draws numbers",
    "not finite": "NaN or infinite",
    "unknown": "its layer does not say how it was initialized",
}
_GOOD = ("untouched", "initialized")


@dataclass(frozen=True)
class WeightState:
    """What is known of one weight.

    Attributes:
        key: The weight's stable key (`tfinit.variables`).
        layer: The class of its layer.
        shape: The weight's shape.
        initializer: What it is held against: the class of the layer's own initializer, or of the
            one that was expected.
        state: One of `STATES`.
        std: The standard deviation of its entries; None where they are not finite.
        expected_std: That of what the initializer draws.
        probability: An upper bound on the probability that the initializer draws what is as odd;
            None where there was nothing to compare with.
        same_as: The key of an earlier weight that holds the same numbers, but for a factor: the
            same seed was used twice, or the tensor was copied.
        note: What it looks like, where it is not what was expected.
    """

    key: str
    layer: str
    shape: tuple[int, ...]
    initializer: str
    state: str
    std: float | None = None
    expected_std: float | None = None
    probability: float | None = None
    same_as: str = ""
    note: str = ""

    @property
    def is_initialized(self) -> bool:
        """True if it is as its initializer would have it, and not the same as another weight."""
        return self.state in _GOOD and not self.same_as


class InitializationReport(Records[WeightState]):
    """A `WeightState` for each weight, in the model's order. Prints as a table.

    Args:
        name: The model's name.
        records: One for each weight.
        false_alarm: The probability that was asked for.
        notes: What concerns the whole model.
    """

    def __init__(
        self,
        name: str,
        records: Sequence[WeightState],
        false_alarm: float,
        notes: Sequence[str] = (),
    ) -> None:
        self.name, self.false_alarm = name, false_alarm
        self._records, self.notes = tuple(records), tuple(notes)

    @property
    def records(self) -> tuple[WeightState, ...]:
        """One for each weight."""
        return self._records

    @property
    def all_initialized(self) -> bool:
        """True if every weight is as its initializer would have it, and none the same as another.

        For a test: ``assert report.all_initialized, report``.
        """
        return all(record.is_initialized for record in self._records)

    @property
    def wrong(self) -> tuple[str, ...]:
        """The keys of all others, which are why `all_initialized` is False."""
        return tuple(record.key for record in self._records if not record.is_initialized)

    @property
    def fresh(self) -> tuple[str, ...]:
        """The keys of weights of two or more axes that still are as they were drawn.

        Of a model that was loaded or trained there should be none: ``assert not report.fresh``.
        """
        return tuple(r.key for r in self._records if r.state in _GOOD and len(r.shape) > 1)

    def __str__(self) -> str:
        """The table: the columns that have something to say."""
        names = [
            f.name
            for f in fields(WeightState)
            if any(getattr(record, f.name) not in ("", None) for record in self._records)
        ]
        rows = [[name.replace("_", " ") for name in names]]
        rows += [[cell(getattr(record, name)) for name in names] for record in self._records]
        good = len(self._records) - len(self.wrong)
        head = f"{self.name}: {good} of {len(self._records)} weights as initialized"
        return "\n".join([head, *aligned(rows), *self.notes])

    def to_dict(self) -> dict[str, Any]:
        """The report as what JSON can hold: model, all_initialized, false_alarm, records, notes."""
        return json_ready(
            {
                "model": self.name,
                "all_initialized": self.all_initialized,
                "false_alarm": self.false_alarm,
                "records": self._records,
                "notes": self.notes,
            }
        )

    def _rows(self) -> list[dict[str, Any]]:
        return [dict(vars(record)) for record in self._records]
