"""Arrays in structures, as models take them: one, or several in dictionaries, lists and tuples."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

# An array, or a dictionary, list or tuple of arrays, however deep. Keras calls it a pytree.
Arrays = Any


def each(function: Callable[[Any], Any], arrays: Arrays) -> Any:
    """The same structure, with a function of each array; None stays.

    Example:
        >>> each(abs, {"image": [-1, 2], "text": None})
        {'image': [1, 2], 'text': None}
    """
    if isinstance(arrays, Mapping):
        return {name: each(function, one) for name, one in arrays.items()}
    if isinstance(arrays, list | tuple):
        return like(arrays, [each(function, one) for one in arrays])
    return None if arrays is None else function(arrays)


def flat(arrays: Arrays) -> list[Any]:
    """The arrays of a structure in the order in which they stand there."""
    if isinstance(arrays, Mapping):
        return [part for name in arrays for part in flat(arrays[name])]
    if isinstance(arrays, list | tuple):
        return [part for one in arrays for part in flat(one)]
    return [arrays]


def with_places(arrays: Arrays, place: str = "") -> Iterator[tuple[str, Any]]:
    """Each array with its place in Python: ``x['image'][0]``; None is none. Keys of dictionaries
    are sorted, so that equal dictionaries tell the same.

    Example:
        >>> list(with_places({"b": 1, "a": [2, 3]}, "x"))
        [("x['a'][0]", 2), ("x['a'][1]", 3), ("x['b']", 1)]
    """
    if isinstance(arrays, Mapping):
        for name in sorted(arrays, key=str):
            yield from with_places(arrays[name], f"{place}[{name!r}]")
    elif isinstance(arrays, list | tuple):
        for n, one in enumerate(arrays):
            yield from with_places(one, f"{place}[{n}]")
    elif arrays is not None:
        yield place, arrays


def like(given: list | tuple, parts: list[Any]) -> Any:
    """The parts as a list or tuple of the same kind."""
    if isinstance(given, list):
        return parts
    return type(given)(*parts) if hasattr(given, "_fields") else tuple(parts)
