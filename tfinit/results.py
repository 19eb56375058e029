"""What every result can do: JSON, data frames, tables in notebooks.

A result derives from `Result` and says its rows, one dictionary for each line of a table; the frame
and the notebook's table are made of them. What it says as JSON is its own, or its fields.
"""

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from tfinit.errors import MissingPackage
from tfinit.text_table import of_shape

if TYPE_CHECKING:
    import pandas

Recorded = TypeVar("Recorded")

_MOST = 60  # rows in a notebook; of longer tables the middle is left out
_RIGHT = ' style="text-align:right"'


class Result:
    """JSON, a frame and a table for notebooks, of a dataclass or of what has its own `to_dict`."""

    def to_dict(self) -> dict[str, Any]:
        """All of it as numbers, strings, lists and dicts that JSON can hold (NaN as None)."""
        return json_ready(_fields(self))

    def to_frame(self) -> "pandas.DataFrame":
        """As a pandas frame, a row for each line of the table.

        Raises:
            MissingPackage: pandas is not installed.
        """
        return frame(self._rows(), f"{type(self).__name__}.to_frame")

    def _rows(self) -> list[dict[str, Any]]:
        """The lines of the table: column → value. By default one, of the numbers and texts."""
        return [flat(self.to_dict())]

    def _caption(self) -> str:
        """What the table is called: the first line of the text."""
        return str(self).partition("\n")[0]

    def _remarks(self) -> Iterable[str]:
        """What is below the table of a notebook: the notes."""
        return getattr(self, "notes", ())

    def __repr__(self) -> str:
        return str(self)  # what a prompt shows; the generated one of a dataclass would list arrays

    def _repr_html_(self) -> str:
        """The table of a notebook."""
        return html_table(self._caption(), self._rows(), self._remarks())


class Records(Result, Sequence[Recorded]):
    """A result that is a sequence of records, each about the layer or weight of its ``key``."""

    @property
    def records(self) -> Sequence[Recorded]:
        """One for each layer or weight, in the model's order."""
        raise NotImplementedError

    def __getitem__(self, which: int | slice | str) -> Any:
        """A record by position or by its key."""
        if isinstance(which, str):
            for record in self.records:
                if getattr(record, "key", None) == which:
                    return record
            raise KeyError(which)
        return self.records[which]

    def __iter__(self) -> Iterator[Recorded]:
        return iter(self.records)

    def __len__(self) -> int:
        return len(self.records)


def json_ready(value: Any) -> Any:
    """The same in dictionaries, lists, strings and numbers; None for those that are not finite.

    Example:
        >>> json_ready({"loss": float("inf"), "steps": np.arange(2)})
        {'loss': None, 'steps': [0, 1]}
    """
    if hasattr(value, "to_dict"):
        return json_ready(value.to_dict())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return json_ready(_fields(value))
    if isinstance(value, Mapping):
        return {str(name): json_ready(one) for name, one in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [json_ready(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return fspath(value) if isinstance(value, PathLike) else value


def frame(rows: Iterable[Any], what: str, columns: Sequence[str] | None = None) -> Any:
    """A pandas frame of some rows.

    Args:
        rows: Dictionaries, or tuples with ``columns``.
        what: Who asks for it, for the error.
        columns: The names of the columns.

    Raises:
        MissingPackage: pandas is not installed.
    """
    try:
        import pandas
    except ImportError as error:
        raise MissingPackage(what, "pandas", "tfinit[pandas]") from error
    return pandas.DataFrame(list(rows), columns=None if columns is None else list(columns))


def flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """One row of what may be nested: inner names are joined, lists of more than texts are left out.

    Example:
        >>> flat({"label": "a", "latency": {"low": 1, "high": 2}, "layers": [{}]})
        {'label': 'a', 'latency_low': 1, 'latency_high': 2}
    """
    row: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            row |= {f"{name}_{inner}": one for inner, one in flat(value).items()}
        elif not isinstance(value, list | tuple):
            row[name] = value
        elif all(isinstance(one, str) for one in value):
            row[name] = "; ".join(value)
    return row


def html_table(caption: str, rows: Sequence[Mapping[str, Any]], notes: Iterable[str] = ()) -> str:
    """A table with headers of columns and rows, and what there is to know below; all escaped.

    Args:
        caption: What is above it.
        rows: Column → value. Columns in which nothing is said are left out.
        notes: One paragraph each.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    names = [name for name in names if any(cell(row.get(name)) for row in rows)]
    lines = [f"<caption>{escape(caption)}</caption>"]
    heads = "".join(f'<th scope="col">{escape(name.replace("_", " "))}</th>' for name in names)
    lines.append(f"<thead><tr>{heads}</tr></thead>\n<tbody>")
    half = _MOST // 2
    for n, row in enumerate(rows):
        if len(rows) > _MOST and n == half:
            left = f"… {len(rows) - _MOST} more; all are in .to_frame()"
            lines.append(f'<tr><td colspan="{len(names)}">{left}</td></tr>')
        if len(rows) <= _MOST or not half <= n < len(rows) - half:
            lines.append(f"<tr>{_html_row([row.get(name) for name in names])}</tr>")
    told = "".join(f"\n<p>{escape(note)}</p>" for note in notes)
    return "<table>\n{}\n</tbody>\n</table>{}".format("\n".join(lines), told)


def _html_row(values: Sequence[Any]) -> str:
    cells = [
        f"<td{_RIGHT if isinstance(value, int | float) else ''}>{escape(cell(value))}</td>"
        for value in values[1:]
    ]
    return "".join([f'<th scope="row">{escape(cell(values[0]))}</th>', *cells] if values else [])


def cell(value: Any) -> str:
    """A value of a record in a table."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else ""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list | tuple):
        return of_shape(value)
    return str(value)


def _fields(value: Any) -> dict[str, Any]:
    return {one.name: getattr(value, one.name) for one in dataclasses.fields(value)}
