"""What a caller passed, checked at the entrance and returned in the form in which it is used.

    steps = whole("steps", steps, least=1)

is how every public function of tfinit begins: one line for each argument, before anything is done.
So an error names the argument, says what is allowed and what was received, and nothing has changed;
and what follows has Python's own numbers, whatever kind of NumPy's they were. Nothing heavy is
imported here.

Annotations alone would not do: they do not say ranges, most arguments are several things, and a
decorator that read them would be one more frame between a warning and the line that it is about.
A frozen dataclass of settings has its types checked by its annotations: `check_fields`.
"""

import dataclasses
import difflib
import math
import operator
import os
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

from tfinit.errors import InputError

# Whole numbers end where those of 64 bits do: beyond, they wrap in what they are stored in.
_MOST = 2**63 - 1
_ANY = math.inf  # but for seeds, which are hashed
_LONGEST = 100  # characters of a value in an error


def refused(name: str, wanted: str, value: object, cure: str = "") -> InputError:
    """The error for an argument, to be raised.

    Example:
        >>> str(refused("steps", "a whole number", "many", "Leave it out for 100."))
        "`steps` must be a whole number, received 'many'. Leave it out for 100."
    """
    return InputError(f"`{name}` must be {wanted}, received {shown(value)}. {cure}".rstrip())


def shown(value: Any) -> str:
    """A value in a few words: numbers, text and short lists as they are, arrays by their shape."""
    axes = _axes(value)
    if axes:
        kind = getattr(value.dtype, "name", value.dtype)
        return f"{type(value).__name__} of shape {axes} and type {kind}"
    if value is None or isinstance(value, str | bytes | Real | complex | list | tuple | dict | set):
        text = repr(value)
        return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
    if axes == ():
        return repr(value)[:_LONGEST]
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__


def is_whole(value: object) -> bool:
    """True for whole numbers of Python, NumPy and tensors without axes; False for True and 1.0."""
    return not _is_bool(value) and not _axes(value) and _index(value) is not None


def whole(
    name: str,
    value: Any,
    least: int | None = None,
    most: float = _MOST,
    *,
    none: bool = False,
    of: str = "",
    cure: str = "",
    floats: bool = False,
) -> Any:
    """A whole number as Python's int.

    Args:
        name: The argument, for the error.
        value: What was passed: a whole number of Python or NumPy, or a tensor without axes.
        least: The smallest that is allowed.
        most: The largest.
        none: Whether None is allowed, and returned.
        of: What is counted: ``"steps"``.
        cure: What the error ends with.
        floats: Whether 2.0 will do, as NumPy's ceil returns it.

    Raises:
        InputError: it is something else (True, "3" and 1.5 among them), or out of range.

    Example:
        >>> whole("steps", 3, least=1)
        3
    """
    if none and value is None:
        return None
    found = _index(value) if is_whole(value) else None
    if floats and found is None and _is_real(value) and float(value).is_integer():
        found = int(value)
    if found is None or (least is not None and found < least) or found > most:
        wanted = _wanted("a whole number" + (f" of {of}" if of else ""), least, most)
        if found is not None and found > most == _MOST:
            wanted += " and below 2**63"
        raise refused(name, wanted + (", or None" if none else ""), value, cure)
    return found


def wholes(
    name: str,
    value: Any,
    least: int | None = None,
    most: float = _MOST,
    *,
    length: int | None = None,
    different: bool = False,
    empty: bool = False,
    cure: str = "",
) -> tuple[int, ...]:
    """Several whole numbers as a tuple of Python's: of a list, a tuple, a range or an array.

    Args:
        name: The argument, for the error.
        value: What was passed.
        least: The smallest that is allowed.
        most: The largest.
        length: How many there must be.
        different: Whether one may not be there twice.
        empty: Whether there may be none.
        cure: What the error ends with.

    Raises:
        InputError: it is something else, a number is out of range, or their count is.

    Example:
        >>> wholes("seeds", range(3), least=0)
        (0, 1, 2)
    """
    found = _listed(value)
    if (
        found is None
        or not all(is_whole(n) for n in found)
        or (length is not None and len(found) != length)
        or not (found or empty or length == 0)
        or (different and len({_index(n) for n in found}) < len(found))
        or any((least is not None and _index(n) < least) or _index(n) > most for n in found)
    ):
        count = "one or more" if length is None and not empty else length or ""
        kind = " ".join(str(word) for word in (count, "different" * different, "whole numbers"))
        raise refused(name, _wanted(" ".join(kind.split()), least, most), value, cure)
    return tuple(operator.index(n) for n in found)


def seed(
    name: str, value: Any, least: int | None = None, none: bool = False, cure: str = ""
) -> Any:
    """A seed as Python's int: a whole number, however large.

    Raises:
        InputError: it is something else, or smaller than ``least``.
    """
    return whole(name, value, least, _ANY, none=none, cure=cure)


def seeds(name: str, value: Any) -> tuple[int, ...]:
    """Seeds, one replicate each: one or more different whole numbers of at least 0.

    Raises:
        InputError: they are something else.
    """
    return wholes(name, value, 0, _ANY, different=True)


def number(
    name: str,
    value: Any,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
    none: bool = False,
    what: str = "a number",
    cure: str = "",
) -> Any:
    """A finite real number as Python's float.

    Args:
        name: The argument, for the error.
        value: What was passed: a number of Python or NumPy, or a tensor without axes.
        least: The smallest that is allowed.
        above: What it must be above.
        most: The largest that is allowed.
        below: What it must be below.
        none: Whether None is allowed, and returned.
        what: What it is, in the error.
        cure: What the error ends with.

    Raises:
        InputError: it is something else (True, NaN and infinity among them), or out of range.

    Example:
        >>> number("rate", 1, above=0)
        1.0
    """
    if none and value is None:
        return None
    found = _float(value)
    if (
        found is None
        or not math.isfinite(found)
        or (least is not None and not found >= least)
        or (above is not None and not found > above)
        or (most is not None and not found <= most)
        or (below is not None and not found < below)
    ):
        limits = [
            f"{word} {limit:g}"
            for word, limit in (
                ("of at least", least),
                ("above", above),
                ("of at most" if above is None else "at most", most),
                ("below", below),
            )
            if limit is not None
        ]
        wanted = f"{what} {' and '.join(limits)}".rstrip()
        if limits == ["above 0"]:
            wanted = what.replace("a number", "a positive number")
        elif least is not None and most is not None:
            wanted = f"{what} from {least:g} to {most:g}"
        if found is not None and not math.isfinite(found):
            wanted = f"{wanted}, and finite"
        raise refused(name, wanted + (", or None" if none else ""), value, cure)
    return found


def flag(name: str, value: Any, none: bool = False) -> Any:
    """True or False, of Python or NumPy; not what Python would take for one.

    Raises:
        InputError: it is something else: ``"no"`` is no False.
    """
    if none and value is None:
        return None
    if not _is_bool(value):
        raise refused(name, "True or False" + (" or None" if none else ""), value)
    return bool(value)


def text(name: str, value: Any, none: bool = False, cure: str = "") -> Any:
    """A string.

    Raises:
        InputError: it is something else.
    """
    if not isinstance(value, str) and not (none and value is None):
        raise refused(name, "text" + (" or None" if none else ""), value, cure)
    return value


def one_of(name: str, value: Any, allowed: Iterable[Any], cure: str = "") -> Any:
    """One of some names, or None where that is among them.

    Raises:
        InputError: it is not among them, or no text at all.
    """
    allowed = tuple(allowed)
    if not (value is None or isinstance(value, str)) or value not in allowed:
        names = ", ".join(map(str, allowed))
        cure = f"{meant(value, allowed)} {cure}".strip()
        raise refused(name, f"one of {names}" if names else "one of none", value, cure)
    return value


def meant(value: object, allowed: Iterable[Any]) -> str:
    """The end of an error: which of the names a wrong one is like; "" if it is like none.

    Example:
        >>> meant("magnitud", ["magnitude", "random"])
        " Did you mean 'magnitude'?"
    """
    if not isinstance(value, str):
        return ""
    near = difflib.get_close_matches(value, [one for one in allowed if isinstance(one, str)], 1)
    return f" Did you mean {near[0]!r}?" if near else ""


def path(name: str, value: Any, none: bool = False, cure: str = "") -> Any:
    """A path as `pathlib.Path`: of text, or of what has one (``os.PathLike``).

    Raises:
        InputError: it is something else, is empty, or has a character that no path has.
    """
    if none and value is None:
        return None
    found = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(found, str) or not found or "\0" in found:
        raise refused(name, "a path" + (" or None" if none else ""), value, cure)
    return Path(found)


def function(name: str, value: Any, takes: str = "", none: bool = False) -> Any:
    """What can be called.

    Args:
        name: The argument, for the error.
        value: What was passed.
        takes: What it is called with, in the error: ``"(key, shape, weight)"``.
        none: Whether None is allowed, and returned.

    Raises:
        InputError: it cannot be called.
    """
    if not callable(value) and not (none and value is None):
        wanted = f"a function of {takes}" if takes else "a function"
        raise refused(name, wanted + (" or None" if none else ""), value)
    return value


def instance(name: str, value: Any, kind: type, none: bool = False, cure: str = "") -> Any:
    """An instance of a class.

    Raises:
        InputError: it is one of another class.
    """
    if not isinstance(value, kind) and not (none and value is None):
        wanted = f"a {kind.__name__}" + (" or None" if none else "")
        raise refused(name, wanted, value, cure)
    return value


def listed(name: str, value: Any, kind: type, empty: bool = False, cure: str = "") -> list[Any]:
    """A list of what is of one class: of a list or tuple, or whatever can be gone through.

    Raises:
        InputError: it is something else, holds something else, or is empty.
    """
    found = None if isinstance(value, str | bytes | Mapping) else _gone_through(value)
    if found is None or not (found or empty) or not all(isinstance(one, kind) for one in found):
        odd = next((one for one in found or () if not isinstance(one, kind)), value)
        raise refused(name, f"a list of {kind.__name__}", odd, cure)
    return found


def mapping(name: str, value: Any, of: str = "names to values", cure: str = "") -> dict[str, Any]:
    """A dictionary whose keys are text, from any mapping.

    Raises:
        InputError: it is something else, or a key is.
    """
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise refused(name, f"a dictionary of {of}", value, cure)
    return dict(value)


def array(name: str, value: Any, kinds: str = "biuf", cure: str = "") -> Any:
    """An array of real numbers as NumPy's, not copied where it is one.

    Args:
        name: The argument, for the error.
        value: An array, a tensor, or lists of numbers of one length.
        kinds: NumPy's kinds of type that are allowed: b, i, u, f; c for complex ones too.
        cure: What the error ends with.

    Raises:
        InputError: it has no numbers, complex ones, or a mask that NumPy would drop.
    """
    import numpy as np

    check_real(name, value, complex_too="c" in kinds)
    try:
        found = np.asarray(on_host(value))
    except Exception as error:  # rows of several lengths; a tensor that is only symbolic
        raise refused(name, "an array of numbers", value, cure) from error
    check_real(name, found, complex_too="c" in kinds)
    if found.dtype.kind not in kinds and not (
        "f" in kinds and found.dtype.type.__module__.startswith("ml_dtypes")
    ):
        names = {"b": "booleans", "i": "whole numbers", "f": "numbers"}
        wanted = "numbers" if "f" in kinds else names[kinds[0]]
        raise refused(name, f"an array of {wanted}", value, cure)
    return found


def on_host(value: Any) -> Any:
    """The value where NumPy can read it: a tensor of PyTorch may lie on a GPU."""
    return value.detach().cpu() if hasattr(value, "detach") else value


def check_real(name: str, value: Any, complex_too: bool = False) -> None:
    """Refuse what NumPy and Keras would turn into something else without a word.

    Raises:
        InputError: the value is a masked array, whose mask is dropped, or of complex numbers, of
            which the imaginary part is.
    """
    import numpy as np

    if isinstance(value, np.ma.MaskedArray):
        raise InputError(
            f"`{name}` is a masked array, and its mask would be dropped. Fill or leave out what it "
            f"masks, as {name}.filled(0) does."
        )
    if isinstance(value, list | tuple | dict):
        for part in value.values() if isinstance(value, dict) else value:
            if hasattr(part, "dtype"):
                check_real(name, part, complex_too)
    is_complex = isinstance(value, complex) or "complex" in str(getattr(value, "dtype", ""))
    if is_complex and not complex_too:
        raise InputError(
            f"`{name}` has complex numbers, of which the imaginary part would be dropped. Pass "
            "real ones, such as its .real or numpy.abs of it."
        )


def check_fields(settings: Any) -> None:
    """Check the fields of a frozen dataclass by their annotations, and set them in the right form.

    Types only: ranges are for its own checks, which come after. Known are int, float, bool, str,
    `Path`, tuples of one of them, dictionaries from text to one of them, and each of these or None.
    A field of type Any is left to its own check.

    Raises:
        InputError: a field has a value of another type.

    Example:
        >>> @dataclasses.dataclass(frozen=True)
        ... class Settings:
        ...     seeds: tuple[int, ...] = (0,)
        ...
        ...     def __post_init__(self) -> None:
        ...         check_fields(self)
        >>> Settings(seeds=[1, 2]).seeds
        (1, 2)
    """
    for field in dataclasses.fields(settings):
        value = _of_type(field.name, getattr(settings, field.name), field.type)
        object.__setattr__(settings, field.name, value)


_BY_TYPE: dict[Any, Callable[..., Any]] = {
    int: whole,
    float: number,
    bool: flag,
    str: text,
    Path: path,
}


def _of_type(name: str, value: Any, annotation: Any) -> Any:
    if annotation is Any:
        return value
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (types.UnionType, typing.Union):
        (kind,) = (part for part in parts if part is not types.NoneType)
        return _BY_TYPE[kind](name, value, none=True)
    if origin is tuple:
        if parts[0] is int:
            return wholes(name, value, empty=True)
        if parts[0] is Any:
            return tuple(listed(name, value, object, empty=True))
        found = listed(name, value, parts[0], empty=True)
        return tuple(_BY_TYPE[parts[0]](name, one) for one in found)
    if origin is dict:
        return {
            key: _BY_TYPE[parts[1]](f"{name}[{key!r}]", one)
            for key, one in mapping(name, value).items()
        }
    return _BY_TYPE[annotation](name, value)


def _wanted(kind: str, least: int | None, most: float) -> str:
    if most in (_MOST, _ANY):
        return kind if least is None else f"{kind} of at least {least}"
    return f"{kind} of at most {most}" if least is None else f"{kind} from {least} to {most}"


def _axes(value: Any) -> tuple[Any, ...] | None:
    """The shape of an array or tensor; None for all else."""
    if isinstance(value, type) or not hasattr(value, "shape") or not hasattr(value, "dtype"):
        return None
    try:
        return tuple(value.shape)
    except Exception:  # of a tensor whose number of axes is not known
        return (None,)


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool) or (_axes(value) == () and "bool" in str(value.dtype))


def _index(value: Any) -> Any:
    try:
        return operator.index(value)
    except Exception:  # a tensor says it in its own way
        return None


def _is_real(value: Any) -> bool:
    if isinstance(value, Real):
        return not isinstance(value, bool)
    return _axes(value) == () and any(kind in str(value.dtype) for kind in ("float", "int"))


def _float(value: Any) -> float | None:
    if not _is_real(value) or _is_bool(value):
        return None
    try:
        return float(value)
    except Exception:  # beyond all floats; or a tensor without a value yet
        return None


def _listed(value: Any) -> list[Any] | None:
    """The elements of a list, tuple, range or one-dimensional array; None for anything else."""
    if isinstance(value, str | bytes | Mapping):
        return None
    if isinstance(value, Sequence) or len(_axes(value) or ()) == 1:
        return _gone_through(value)
    return None


def _gone_through(value: Any) -> list[Any] | None:
    try:
        return list(value)
    except Exception:  # not iterable, as each says in its own way
        return None
