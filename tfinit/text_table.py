"""Tables as text: each column as wide as its widest cell, two blanks between columns.

Every result that prints a table prints it by this; tables of the lottery, which break into more
where the terminal is narrow, are made with rich (`tfinit.lottery.table`).
"""

import re
from collections.abc import Collection, Iterable, Sequence

# Names of layers come from files: no escape codes.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


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
    rows: Iterable[Sequence[str]], right: Collection[int] = (), drop_empty: bool = False
) -> list[str]:
    """The lines of a table, without blanks at their ends.

    Args:
        rows: As in `padded`; the first is the heading.
        right: As in `padded`.
        drop_empty: Whether to leave out columns that hold nothing below the heading.

    Example:
        >>> aligned([("layer", "note", "zeros"), ("fc", "", "7")], right=[2], drop_empty=True)
        ['layer  zeros', 'fc         7']
    """
    rows = list(rows)
    shown = [
        i
        for i in range(len(rows[0]) if rows else 0)
        if not drop_empty or any(r[i] for r in rows[1:])
    ]
    return ["  ".join(cells[i] for i in shown).rstrip() for cells in padded(rows, right)]


def of_shape(shape: Iterable[int | None]) -> str:
    """A shape as a cell.

    Example:
        >>> of_shape((3, 3, 16)), of_shape(())
        ('3×3×16', 'scalar')
    """
    return "×".join(map(str, shape)) or "scalar"
