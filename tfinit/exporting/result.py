"""What an export gives: one record a file, side by side, and what they come to."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tfinit.arguments import listed, number, one_of
from tfinit.exporting.choice import Choice, choose, is_faster
from tfinit.exporting.layers import LayerNote, sentences
from tfinit.results import Result, flat, json_ready
from tfinit.text_table import aligned, width

# Quartiles that are further apart: something else ran on the machine.
_STEADY = 1.3
_WIDTH = 100


@dataclass(frozen=True)
class Latency:
    """Seconds of one run at batch 1, warm, on one thread.

    Attributes:
        median: Half of the runs were faster.
        low: A quarter of the runs were faster than this.
        high: A quarter of the runs were slower than this.
        runs: How many there were.
    """

    median: float
    low: float
    high: float
    runs: int

    @classmethod
    def of(cls, seconds: Sequence[float]) -> "Latency":
        """The quartiles of some times.

        Example:
            >>> Latency.of([1.0, 2.0, 3.0, 4.0, 5.0])
            Latency(median=3.0, low=2.0, high=4.0, runs=5)
        """
        seconds = [number("seconds", one, least=0) for one in listed("seconds", seconds, object)]
        low, median, high = (float(n) for n in np.percentile(seconds, [25, 50, 75]))
        return cls(median, low, high, len(seconds))

    @property
    def is_steady(self) -> bool:
        """Whether the upper quartile is less than 1.3 times the lower one."""
        return self.high < _STEADY * self.low

    def __str__(self) -> str:
        """The median and the quartiles, in milliseconds."""
        digits = max(0, 2 - int(np.floor(np.log10(1e3 * self.median)))) if self.median > 0 else 3
        median, low, high = (f"{1e3 * n:.{digits}f}" for n in (self.median, self.low, self.high))
        return f"{median} [{low}, {high}]"


@dataclass(frozen=True, repr=False)
class FileReport(Result):
    """One exported file that was run and agrees with Keras.

    Attributes:
        label: What it is called in the table.
        path: Where it is; None if it was written for the comparison only and is gone.
        format: A word of `tfinit.exporting.formats.FORMATS`.
        runtime: What ran it.
        quantize: None or ``"int8"``.
        sparse: Whether it was written to hold zeros sparse.
        bytes: Its size.
        gzip_bytes: Its size after gzip, level 6.
        weights: The entries of its weights of rank 2 or more, counted in the file; in the model,
            where Keras quantized it and its own file holds the codes.
        zeros: How many of those are zero, counted there too.
        model_zeros: How many are zero in the weights of rank 2 or more of the model.
        difference: The largest difference from Keras's outputs, over the outputs' spread; see
            `tfinit.exporting.isolated_runs.difference`.
        latency: At batch 1, if it was measured.
        accuracy: Share of right classes on the data, if there were any.
        layers: What becomes of each pruned layer.
        notes: What else there is to know.
        reference: Whether it is there to compare with only, and none to choose.
    """

    label: str
    path: str | None
    format: str
    runtime: str
    quantize: str | None
    sparse: bool
    bytes: int
    gzip_bytes: int
    weights: int
    zeros: int
    model_zeros: int
    difference: float
    latency: Latency | None = None
    accuracy: float | None = None
    layers: tuple[LayerNote, ...] = field(default=(), repr=False)
    notes: tuple[str, ...] = ()
    reference: bool = False

    @property
    def sparsity(self) -> float:
        """Share of zeros in the weights of the file."""
        return self.zeros / self.weights if self.weights else 0.0

    def __str__(self) -> str:
        """One line: what it is, its size and its speed."""
        size = f"{self.bytes:,} bytes, {self.gzip_bytes:,} gzipped, {self.sparsity:.1%} zeros"
        speed = "" if self.latency is None else f", {self.latency} ms at batch 1"
        return f"{self.label}: {self.format}, {size}{speed}"

    def to_dict(self) -> dict[str, Any]:
        """All attributes as plain values."""
        return super().to_dict() | {"sparsity": self.sparsity}


@dataclass(frozen=True, repr=False)
class ExportReport(Result):
    """Exported files side by side; the others are compared with the first. Prints as a table.

    Attributes:
        rows: The files. Of `tfinit.export` the last one is the file that was asked for. The first,
            if there are more, is the dense model: the ``baseline``, or a pruned model with its
            zeros filled (``"dense"``), or the model itself where nothing is pruned. Between them
            are the pruned model as it is (``"pruned"``), and sparse or int8, which was not asked
            for, to choose from.
        examples: How many examples the accuracy is of; 0 without.
        left_out: A sentence for each file that could not be compared.
    """

    rows: tuple[FileReport, ...]
    examples: int = 0
    left_out: tuple[str, ...] = ()

    @property
    def file(self) -> FileReport:
        """The last row: the file that `tfinit.export` wrote."""
        return self.rows[-1]

    def __getitem__(self, label: str) -> FileReport:
        """The row of a label."""
        rows = {row.label: row for row in self.rows}
        return rows[one_of("label", label, rows)]

    @property
    def choice(self) -> Choice | None:
        """Which file to ship; None where there is nothing to choose between."""
        return choose(self.rows)

    def speedup(self, label: str) -> float | None:
        """Median latency of the first row over that of another; None if not measured."""
        first, row = self.rows[0].latency, self[label].latency
        return None if first is None or row is None else first.median / row.median

    def verdict(self, label: str) -> str:
        """One sentence on a file against the first: what was measured, and nothing else."""
        row, first = self[label], self.rows[0]
        if row is first:
            return self._alone(row)
        size = (
            f"{row.bytes / first.bytes:.2f}× the bytes, {row.gzip_bytes / first.gzip_bytes:.2f}× "
            "gzipped"
        )
        speed = self.speedup(label)
        if speed is None:
            return f"{size} of {first.label}; its speed was not measured."
        against = f"{size} of {first.label}, and"
        assert row.latency is not None and first.latency is not None
        if is_faster(row.latency, first.latency):
            return f"{against} {speed:.2f}× as fast at batch 1."
        if is_faster(first.latency, row.latency):
            return f"{against} slower at batch 1: {speed:.2f}× as fast."
        shrunk = row.bytes < 0.95 * first.bytes or row.gzip_bytes < 0.95 * first.gzip_bytes
        told = "size only: " if shrunk else "nothing gained: "
        return f"{told}{against} as fast at batch 1 ({speed:.2f}×)."

    def _alone(self, row: FileReport) -> str:
        slow = [note for note in row.layers if not note.sparse_kernel]
        if slow and len(slow) == len(row.layers) and not row.quantize:
            return (
                "size only, and only once compressed: it holds its zeros like other numbers and "
                f"multiplies them; {row.gzip_bytes / row.bytes:.2f}× gzipped."
            )
        return ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values as `json` takes them: rows with speed-up and verdict, and the choice."""
        rows = [
            row.to_dict() | {"speedup": self.speedup(row.label), "verdict": self.verdict(row.label)}
            for row in self.rows
        ]
        return super().to_dict() | {"rows": rows, "choice": json_ready(self.choice)}

    def _rows(self) -> list[dict[str, Any]]:
        """One for each file."""
        rows = [{**row, "latency": row["latency"] or {}} for row in self.to_dict()["rows"]]
        return [
            flat({k: v for k, v in row.items() if k not in ("layers", "notes")}) for row in rows
        ]

    def _caption(self) -> str:
        return f"{len(self.rows)} files side by side"

    def _remarks(self) -> list[str]:
        notes = [sentence for row in self.rows for sentence in (*row.notes, *sentences(row.layers))]
        return [*notes, *self.left_out, *([] if self.choice is None else [self.choice.why])]

    def __str__(self) -> str:
        """The table, a verdict for each file, a sentence for each slow layer, and the choice."""
        rows = [_COLUMNS, *(_cells(self, row) for row in self.rows)]
        lines = [*aligned(rows, right=range(2, len(_COLUMNS)), drop_empty=True), ""]
        wide = min(_WIDTH, width(_WIDTH))
        for row in self.rows:
            told = [self.verdict(row.label), *row.notes, *sentences(row.layers)]
            for n, words in enumerate(filter(None, told)):
                start = f"{row.label}: " if n == 0 else "  "
                lines += textwrap.wrap(words, wide, initial_indent=start, subsequent_indent="    ")
        restless = [r.label for r in self.rows if r.latency and not r.latency.is_steady]
        if restless:
            told = f"The times of {', '.join(restless)} vary much: the machine was busy with other "
            lines += textwrap.wrap(f"{told}things. Measure again when it is quiet.", wide)
        choice = self.choice
        for words in (*self.left_out, *([] if choice is None else [choice.why])):
            lines += textwrap.wrap(words, wide)
        return "\n".join(lines).rstrip()


_COLUMNS = (
    *("", "format", "bytes", "gzipped", "zeros", "ms at batch 1", "speed", "accuracy", "differs"),
)


def _cells(report: ExportReport, row: FileReport) -> tuple[str, ...]:
    speed = report.speedup(row.label)
    return (
        row.label,
        row.format,
        f"{row.bytes:,}",
        f"{row.gzip_bytes:,}",
        f"{row.sparsity:.1%}",
        "" if row.latency is None else str(row.latency),
        "" if speed is None else f"{speed:.2f}×",
        "" if row.accuracy is None else f"{row.accuracy:.2%}",
        f"{row.difference:.1g}",
    )
