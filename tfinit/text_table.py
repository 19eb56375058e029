"""Tables as text: each column as wide as its widest cell, two blanks between columns.

Every result that prints a table prints it by this; tables of the lottery, which break into more
where the terminal is narrow, are made with rich (`tfinit.lottery.table`).
"""

import re
import textwrap
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

# Names of layers come from files: no escape codes.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


# A row of a table that is drawn as a rule.
RULE = "-"
_NARROWEST = 20  # what a column of words is wrapped to at least
_width: ContextVar[int | None] = ContextVar("width of tables", default=None)


@contextmanager
def as_wide_as(columns: int) -> Iterator[None]:
    r"""Tables that are printed in the block are folded where they are wider: for a terminal.

    Example:
        >>> with as_wide_as(14):
        ...     print("\n".join(aligned([("key", "shape", "zeros"), ("fc", "4×2", "7")])))
        key  shape
        fc   4×2
        <BLANKLINE>
        key  zeros
        fc   7
    """
    before = _width.set(columns)
    try:
        yield
    finally:
        _width.reset(before)


def width(default: int) -> int:
    """How wide text may be: what `as_wide_as` says, else ``default``."""
    return _width.get() or default


def padded(rows: Iterable[Sequence[str]], right: Collection[int] = ()) -> list[list[str]]:
    """The cells of each row, filled with blanks to the width of their columns.

    Args:
        rows: The rows, the heading among them, all with as many cells.
        right: The columns, counted from 0, whose cells end at the same place: numbers. Those of
            the others begin at the same place.

    Example:
        >>> padded([("layer", "zeros"), ("fc", "7")], right=[1])
        [['layer', 'zeros'], ['fc   ', '    7']]
    """
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        [
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        for row in rows
    ]


def printable(text: str) -> str:
    r"""The same, with what would move the cursor or colour a terminal escaped.

    Example:
        >>> printable("a\x1b[31m")
        'a\\x1b[31m'
    """
    return _CONTROL.sub(lambda control: repr(control[0])[1:-1], text)


def aligned(
    rows: Iterable[Sequence[str] | str],
    right: Collection[int] = (),
    drop_empty: bool = False,
    keys: int = 1,
) -> list[str]:
    """The lines of a table, without blanks at their ends.

    Inside of `as_wide_as` a table that is too wide is folded into several, one below the other,
    with its first columns in each.

    Args:
        rows: As in `padded`; the first is the heading. Text is a line of its own, and `RULE` a rule
            as wide as the table.
        right: As in `padded`.
        drop_empty: Whether to leave out columns that hold nothing below the heading.
        keys: How many columns say what a row is about, and are in each of the tables.

    Example:
        >>> aligned([("layer", "note", "zeros"), ("fc", "", "7")], right=[2], drop_empty=True)
        ['layer  zeros', 'fc         7']
    """
    rows = list(rows)
    cells = iter(padded((row for row in rows if not isinstance(row, str)), right))
    filled = [row if isinstance(row, str) else next(cells) for row in rows]
    head = next((row for row in filled if not isinstance(row, str)), [])
    shown = [
        i
        for i in range(len(head))
        if not drop_empty or any(row[i] for row in rows[1:] if not isinstance(row, str))
    ]
    lines: list[str] = []
    for columns in _parts(shown, [len(cell) for cell in head], keys):
        lines += [""] * bool(lines) + _drawn(filled, columns)
    return lines


def _parts(shown: Sequence[int], widths: Sequence[int], keys: int) -> Iterator[list[int]]:
    """The columns of each of the tables."""
    first, room = list(shown[:keys]), _width.get()
    part = list(first)
    for column in shown[keys:]:
        wide = sum(widths[i] + 2 for i in part) + widths[column]
        if room is not None and wide > room and len(part) > len(first):
            yield part
            part = list(first)
        part.append(column)
    if part:
        yield part


def _drawn(rows: Sequence[Sequence[str] | str], columns: Sequence[int]) -> list[str]:
    """The lines of some columns; the cells of the last are wrapped where they are too wide."""
    lines: list[str] = []
    for row in rows:
        if isinstance(row, str):
            lines.append(row)
            continue
        begin = "".join(f"{row[i]}  " for i in columns[:-1])
        text, room = row[columns[-1]].rstrip(), _width.get()
        parts = [text]
        if room is not None and len(begin) + len(text) > room:
            parts = textwrap.wrap(text, max(_NARROWEST, room - len(begin)))
        for part in parts:
            lines.append(f"{begin}{part}".rstrip())
            begin = " " * len(begin)
    rule = "-" * max(len(line) for line in lines if line != RULE)
    return [rule if line == RULE else line for line in lines]


def of_shape(shape: Iterable[int | None]) -> str:
    """A shape as a cell.

    Example:
        >>> of_shape((3, 3, 16)), of_shape(())
        ('3×3×16', 'scalar')
    """
    return "×".join(map(str, shape)) or "scalar"
