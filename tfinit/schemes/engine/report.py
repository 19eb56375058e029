"""What a scheme did to each weight: a list of records that prints as a table."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from tfinit.graph.kernels import Kernel
from tfinit.results import Records, cell, json_ready
from tfinit.text_table import aligned


@dataclass(frozen=True)
class Record:
    """What was done to one weight.

    Attributes:
        key: The weight's stable key.
        layer: The class of its layer.
        shape: The weight's shape.
        action: ``"set"``, ``"scaled"``, ``"kept"`` (left as it was).
        activation: The activation that follows, one for each gate of a recurrent kernel.
        fan_in: The products that one output sums, on average.
        fan_out: The products that one input enters, on average.
        std: The standard deviation that the weight was drawn with, or has after the scheme.
        scale: What the weight was multiplied with, where the scheme rescales.
        multiplier: The factor on the learning rate, where the scheme gives one.
        note: Why a weight was kept, or what to know about it.
    """

    key: str
    layer: str
    shape: tuple[int, ...]
    action: str
    activation: str = ""
    fan_in: float | None = None
    fan_out: float | None = None
    std: float | None = None
    scale: float | None = None
    multiplier: float | None = None
    note: str = ""


def record_of(kernel: Kernel, action: str, **known: Any) -> Record:
    """The line about a kernel."""
    return Record(
        kernel.key,
        type(kernel.layer).__name__,
        kernel.shape,
        action,
        activation="/".join(dict.fromkeys(map(str, kernel.activations))),
        fan_in=kernel.fan_in,
        fan_out=kernel.fan_out,
        **known,
    )


def frozen(kernel: Kernel) -> Record:
    """The line of a kernel that is left alone, as its layer is frozen or it has no entries."""
    return record_of(kernel, "kept", note="no entries" if 0 in kernel.shape else "frozen")


def records_of_set(
    kernels: Sequence[Kernel], known: Callable[[Kernel], Mapping[str, Any]]
) -> list[Record]:
    """The lines of a scheme that sets every kernel that trains: what is known of it, or why not."""
    return [
        record_of(kernel, "set", **known(kernel)) if kernel.trainable else frozen(kernel)
        for kernel in kernels
    ]


class Report(Records[Record]):
    """The records of one call of `initialize`, in the model's order.

    Args:
        scheme: The scheme's name.
        records: One record for each weight that the scheme looked at.
        notes: What concerns the whole model.

    Example:
        >>> report = Report("he", [Record("fc/kernel", "Dense", (4, 2), "set", std=0.5)])
        >>> report["fc/kernel"].std
        0.5
    """

    def __init__(self, scheme: str, records: list[Record], notes: Sequence[str] = ()) -> None:
        self.scheme = scheme
        self.notes = list(notes)
        self._records = list(records)

    @property
    def records(self) -> list[Record]:
        """One for each weight that the scheme looked at."""
        return self._records

    def __str__(self) -> str:
        """The table: the columns that have something to say."""
        names = [
            f.name
            for f in fields(Record)
            if any(getattr(record, f.name) not in ("", None) for record in self._records)
        ]
        rows = [names, *([cell(getattr(r, name)) for name in names] for r in self._records)]
        changed = sum(record.action != "kept" for record in self._records)
        head = f"{self.scheme}: {changed} of {len(self._records)} weights initialized"
        return "\n".join([head, *aligned(rows), *self.notes])

    def to_dict(self) -> dict[str, Any]:
        """The report as what JSON can hold: scheme, records, notes."""
        return json_ready({"scheme": self.scheme, "records": self._records, "notes": self.notes})

    def _rows(self) -> list[dict[str, Any]]:
        return [dict(vars(record)) for record in self._records]
