"""The examples of one split as a user gives them: checked, and in the form in which they train."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tfinit.arguments import array, on_host
from tfinit.array_trees import Arrays, each, flat, like, with_places
from tfinit.errors import InputError

Split = tuple[Any, ...]  # (x, y) or (x, y, sample weights)

_PARTS = {"x": "inputs", "y": "targets", "sample_weight": "sample weights"}
_LAST = 2**31 - 1  # class numbers become int32
_RAGGED = "Pad rows of different lengths, as keras.utils.pad_sequences does."
_TEXT = "SUTO"  # NumPy's kinds of types; text is often in arrays of objects


def read_split(name: str, which: str, given: Any) -> Split:
    """The arrays of a split, checked; not converted yet, which would be a copy.

    Args:
        name: What the data set is called, for errors.
        which: ``"train"``, ``"validation"`` or ``"test"``.
        given: (x, y) or (x, y, sample weights): arrays, or structures of arrays; y is None for
            networks all of whose loss comes from their layers.

    Raises:
        InputError: it is something else, has no example, arrays of different lengths or of objects,
            text as targets, whole numbers as targets beyond int32, or negative weights.
    """
    if not isinstance(given, tuple | list) or len(given) not in (2, 3):
        received = type(given).__name__
        if isinstance(given, tuple | list):
            received = f"{received} of {len(given)}"
        raise InputError(
            f"`{which}` must be a pair (x, y) of arrays, received {received}. Pass (inputs, "
            "targets) or (inputs, targets, sample weights); what learns its inputs takes (x, x)."
        )
    parts = list(given) if len(given) == 2 or given[2] is not None else list(given[:2])
    again = parts[1] is parts[0]
    parts[:2] = _stacked(*parts[:2])
    split = []
    for part, one in zip(_PARTS, parts, strict=False):
        if part == "y" and (again or one is None):
            split.append(split[0] if again else None)
        else:
            split.append(_mapped(one, _reader(name, which, part)))
    _check_lengths(name, which, split)
    for place, y in [] if again else with_places(split[1]):
        where = f"{_where(name, which)} must have{_at('y', place)}"
        if y.dtype.kind in "SU":
            raise InputError(
                f"{where} targets that are numbers, received {y.flat[0].item()!r}. Number the "
                "classes from 0, as numpy.unique(y, return_inverse=True)[1] does."
            )
        most = max(int(y.max()), -int(y.min())) if y.dtype.kind in "iu" else 0
        if most > _LAST:
            raise InputError(
                f"{where} labels within int32, received {most}, which is beyond 2**31 - 1. "
                "Number classes from 0, as numpy.unique(y, return_inverse=True)[1] does; pass "
                "other numbers as floats."
            )
    return tuple(split)


def in_training_form(
    name: str, which: str, split: Split, *, pixels: bool, images: bool, labels: bool
) -> Split:
    """A split as it trains: pixels in [0, 1], floats in float32, class numbers in int32.

    Args:
        name: What the data set is called, for errors.
        which: Which split it is, for errors.
        split: What `read_split` gave.
        pixels: Whether inputs of uint8 are pixels to scale.
        images: Whether inputs of shape (n, height, width) get a channel axis also where they are no
            pixels of uint8.
        labels: Whether the targets are class numbers.

    Raises:
        InputError: a number is NaN, or infinite in float32.
    """
    x, y, *weights = split
    inputs = each(lambda one: _input(one, pixels, images), x)
    if labels:
        targets: Any = y.astype(np.int32, copy=False)
    else:
        pairs = list(zip(flat(x), flat(inputs), strict=True))
        targets = each(lambda one: _target(one, pairs), y)
    ready = (inputs, targets, *(each(_in_float32, one) for one in weights))
    check_numbers(_where(name, which), ready, " in float32")
    return ready


def check_numbers(where: str, split: Split, of: str = "") -> None:
    """Raise InputError if a number of a split is NaN or infinite, or a sample weight negative.

    Args:
        where: What an error begins with.
        split: (x, y) or (x, y, sample weights).
        of: What an error says after "NaN or infinite".
    """
    for (part, called), arrays in zip(_PARTS.items(), split, strict=False):
        for place, one in with_places(arrays):
            # Of minimum and maximum, one is NaN or infinite if anything is; and they copy nothing.
            if one.dtype.kind == "f" and not (np.isfinite(one.min()) and np.isfinite(one.max())):
                raise InputError(
                    f"{where} has {called} that are NaN or infinite{of}{_at(part, place)}. "
                    "Remove or replace them, as numpy.nan_to_num does."
                )
            if part == "sample_weight" and (one.dtype.kind in "SU" or one.min() < 0):
                odd = one.dtype if one.dtype.kind in "SU" else one.min()
                raise InputError(
                    f"{where} must have sample weights of at least 0, received {odd}"
                    f"{_at(part, place)}. 0 leaves an example out."
                )


def number_classes(y: Arrays) -> bool:
    """Whether targets number classes: one whole number of at least 0 for each example.

    Example:
        >>> number_classes(np.array([0, 2])), number_classes(np.array([0.0, 2]))
        (True, False)
    """
    return (
        isinstance(y, np.ndarray)
        and y.dtype.kind in "iu"
        and y.shape[1:] in ((), (1,))
        and int(y.min()) >= 0
    )


def pixels_of(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of images, which have a channel axis."""
    return (*shape, 1) if len(shape) == 3 else shape


def _reader(name: str, which: str, part: str) -> Callable[[str, Any], np.ndarray]:
    def read(place: str, given: Any) -> np.ndarray:
        where = f"{_where(name, which)}{_at(part, place)}"
        if given is None:
            raise InputError(
                f"{where} has None for {_PARTS[part]}. Pass an array; what learns its own inputs "
                "takes them as targets, too: (x, x)."
            )
        called = f"{which}: {part}{place}" if place else which
        found = array(called, given, f"biuf{_TEXT}", _RAGGED)
        if found.dtype.kind in _TEXT:
            found = _as_text(where, found)
        if found.ndim == 0:
            raise InputError(
                f"{where} must hold arrays with a row for each example, received "
                f"{type(given).__name__}. Of what is sparse pass .toarray()."
            )
        if part == "x" and (found.size == 0 or (found.ndim < 2 and not place)):
            raise InputError(
                f"{where} must have inputs of shape (examples, …), one at least, received "
                f"{found.shape}. For a single feature pass x[:, None]."
            )
        if found.size == 0:
            raise InputError(
                f"{where} must have {_PARTS[part]} for one example at least, received shape "
                f"{found.shape}. Pass one for each input."
            )
        return found

    return read


def _as_text(where: str, found: np.ndarray) -> np.ndarray:
    """Text as an array of it alone; refused is what else Python has."""
    if found.dtype.kind == "S":
        return found
    odd = next((one for one in found.flat if not isinstance(one, str | bytes)), None)
    if odd is not None:
        raise InputError(
            f"{where} holds objects of Python, such as {type(odd).__name__}. Pass an array of "
            f"numbers. {_RAGGED}"
        )
    return found.astype("S" if found.size and isinstance(found.flat[0], bytes) else "U")


def _check_lengths(name: str, which: str, split: list[Arrays]) -> None:
    rows = {
        f"{part}{place}": len(one)
        for part, arrays in zip(_PARTS, split, strict=False)
        for place, one in with_places(arrays)
    }
    for called, arrays in zip(_PARTS.values(), split, strict=False):
        if not flat(arrays):
            raise InputError(f"{_where(name, which)} has no {called}. Pass one array or more.")
    if len(set(rows.values())) == 1:
        return
    plain = rows.keys() <= _PARTS.keys()
    told = [f"{n} {_PARTS[part] if plain else f'rows in {part}'}" for part, n in rows.items()]
    raise InputError(
        f"{_where(name, which)} has {', '.join(told[:-1])} and {told[-1]}. Pass one target, and "
        "one weight if there are weights, for each input."
    )


def _mapped(given: Any, function: Callable[[str, Any], np.ndarray], place: str = "") -> Arrays:
    """The structure, with a function of the place and of what is, or will be, an array."""
    if isinstance(given, Mapping):
        return {key: _mapped(one, function, f"{place}[{key!r}]") for key, one in given.items()}
    if _several(given):
        return like(given, [_mapped(o, function, f"{place}[{n}]") for n, o in enumerate(given)])
    return function(place, given)


def _several(given: Any) -> bool:
    """Whether a list or tuple holds arrays, and not the numbers of one."""
    if not isinstance(given, list | tuple) or not given:
        return False
    if isinstance(given[0], list | tuple) and _several(given[0]):
        return True
    return any(isinstance(one, Mapping) or _axes(one) for one in given)


def _axes(one: Any) -> int:
    shape = getattr(one, "shape", None)
    return len(shape) if isinstance(shape, tuple) or hasattr(shape, "__len__") else 0


def _stacked(x: Any, y: Any) -> tuple[Any, Any]:
    """Lists of arrays are examples where there are as many as targets, and else several inputs."""
    if isinstance(y, list | tuple) and _several(y):
        alone = all(_axes(one) == 1 and len(one) == 1 for one in y)
        if not (alone and hasattr(x, "__len__") and len(x) == len(y) > 1):
            return x, y
        y = np.stack([np.asarray(on_host(one)) for one in y])
    if not (isinstance(x, list | tuple) and _several(x) and hasattr(y, "__len__")):
        return x, y
    if len(x) == len(y) and len({getattr(one, "shape", None) for one in x} - {None}) == 1:
        return np.stack([np.asarray(on_host(one)) for one in x]), y
    return x, y


def _input(x: np.ndarray, pixels: bool, images: bool) -> np.ndarray:
    pixels = pixels and x.dtype == np.uint8 and x.ndim > 1
    if x.ndim == 3 and (pixels or images):
        x = x[..., None]
    # The same 256 numbers as float32(x / 255.0), without float64 in between.
    return np.divide(x, np.float32(255), dtype=np.float32) if pixels else _in_float32(x)


def _target(y: np.ndarray, inputs: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Targets that are inputs become what those become."""
    for given, ready in inputs:
        if y is given or (
            y.dtype == given.dtype == np.uint8
            and y.shape == given.shape
            and y.ndim > 2
            and np.array_equal(y, given)
        ):
            return ready
    return _in_float32(y)


def _in_float32(one: np.ndarray) -> np.ndarray:
    """Floats in float32; whole numbers, booleans and text as they are."""
    if one.dtype.kind in "biuSU":
        return one
    with np.errstate(over="ignore"):  # too large for float32 becomes infinite, which is refused
        return one.astype(np.float32, copy=False)


def _where(name: str, which: str) -> str:
    return f"`{which}` of data set {name!r}"


def _at(part: str, place: str) -> str:
    """Which of several arrays, in an error; nothing for the only one."""
    return f" in {part}{place}" if place else ""
