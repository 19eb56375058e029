"""Which of the files that were measured to ship."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tfinit.results import Result

if TYPE_CHECKING:
    from tfinit.exporting.result import FileReport, Latency

# A median that is nearer to the other one than this is no difference that a user would notice.
_NOTICEABLE = 1.1
# Shares of right classes that are lower by more than this are worse.
_WORSE = 0.01
# Files whose sizes differ by less are as large.
_AS_LARGE = 1.02


@dataclass(frozen=True, repr=False)
class Choice(Result):
    """What to ship, from what was measured.

    Attributes:
        size: The label of the smallest file that is accurate enough.
        speed: The label of the fastest one; the same where it is as fast, and None where no time
            was measured.
        why: A sentence with the numbers.
    """

    size: str
    speed: str | None
    why: str

    def __str__(self) -> str:
        return self.why


def is_faster(one: "Latency", other: "Latency") -> bool:
    """Whether one is faster by a tenth or more, and the middle halves of the times do not meet."""
    return other.median > _NOTICEABLE * one.median and one.high < other.low


def choose(rows: "Sequence[FileReport]") -> Choice | None:
    """The smallest and the fastest file, of those whose accuracy is at most a point below the best.

    Args:
        rows: The first one is what sizes and times are told against. Those that are there to
            compare with are not chosen.

    Returns:
        None where there is nothing to choose between.
    """
    candidates = [row for row in rows if not row.reference]
    if len(candidates) < 2:
        return None
    known = [row.accuracy for row in candidates if row.accuracy is not None]
    kept = [r for r in candidates if r.accuracy is None or r.accuracy >= max(known) - _WORSE]
    times = {row.label: row.latency for row in kept if row.latency is not None}
    smallest = min(kept, key=lambda row: row.bytes)
    as_small = [row for row in kept if row.bytes <= _AS_LARGE * smallest.bytes]
    if len(times) < len(kept):
        # What is as large is as good, and a plain file is the simplest.
        smallest = min(as_small, key=lambda row: row.sparse or row.quantize is not None)
        return Choice(smallest.label, None, _sentence(rows, kept, smallest, None))

    def quickest(among: "list[FileReport]") -> "list[FileReport]":
        best = min(among, key=lambda row: times[row.label].median)
        return [r for r in among if not is_faster(times[best.label], times[r.label])]

    smallest = min(
        quickest(as_small), key=lambda row: (row.sparse or row.quantize is not None, row.bytes)
    )
    quick = quickest(kept)
    fastest = smallest if smallest in quick else min(quick, key=lambda row: row.bytes)
    return Choice(smallest.label, fastest.label, _sentence(rows, kept, smallest, fastest))


def _sentence(
    rows: "Sequence[FileReport]",
    kept: "list[FileReport]",
    smallest: "FileReport",
    fastest: "FileReport | None",
) -> str:
    first = rows[0]
    if fastest is None or fastest is smallest:
        chosen, begun = [smallest], f"Choose {smallest.label}, {_numbers(smallest, first)}"
    else:
        chosen = [smallest, fastest]
        begun = (
            f"Choose {smallest.label} for size, {_numbers(smallest, first)}, and {fastest.label} "
            f"for speed, {_numbers(fastest, first)}"
        )
    others = [f"{r.label} is {_numbers(r, first)}" for r in kept if r not in chosen]
    worse = [
        f"{row.label}, {_numbers(row, first)}, is too far below the best accuracy"
        for row in rows
        if not row.reference and row not in kept
    ]
    return f"{'; '.join([begun, *others, *worse])}."


def _numbers(row: "FileReport", first: "FileReport") -> str:
    told = [f"{row.bytes / first.bytes:.2f}× the bytes of {first.label}"]
    if row.latency is not None and first.latency is not None:
        told.append(f"{first.latency.median / row.latency.median:.2f}× as fast")
    if row.accuracy is not None:
        told.append(f"{row.accuracy:.2%} right")
    elif row.quantize:
        told.append(f"{row.difference:.1g} of the outputs' spread off Keras's")
    return ", ".join(told)
