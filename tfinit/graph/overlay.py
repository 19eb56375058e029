"""Attributes that one thread sees otherwise; the object and all other threads keep what is there.

A model that is looked at may be trained, called, traced, saved or looked at in another thread at
the same moment. So nothing is put into its layers: while an attribute is overlaid, the class of the
object has a descriptor of that name, which answers the thread that asked for it, for that object,
with the other value, and everybody else with what the attribute is. Blocks may be nested, and end
in any order in different threads.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_ABSENT = object()
Put = Callable[[Any, str, Any], None]


class _Mine(threading.local):
    """What this thread sees: (id of object, name) → the object and the value."""

    values: dict[tuple[int, str], Any] = {}  # noqa: RUF012


_mine = _Mine()
_lock = threading.Lock()
_overlays: dict[tuple[type, str], "_Overlay"] = {}


@contextmanager
def overlaid() -> Iterator[Put]:
    """A function ``put(owner, name, value)``: in this thread ``owner.name`` is ``value``, until the
    block ends. To put twice is to put over, and so is to assign to what was put.

    ``vars(owner)`` is never changed. What an object cannot be asked through its class is not seen:
    ``vars(owner)[name]`` is what it was in this thread too.

    Example:
        >>> class Layer:
        ...     activation = "relu"
        >>> layer = Layer()
        >>> with overlaid() as put:
        ...     put(layer, "activation", "linear")
        ...     layer.activation, Layer().activation
        ('linear', 'relu')
        >>> layer.activation
        'relu'
    """
    before = _mine.values
    used: list[_Overlay] = []

    def put(owner: Any, name: str, value: Any) -> None:
        used.append(_installed(type(owner), name))
        # Named by the id, so it has to live on.
        _mine.values[id(owner), name] = owner, value

    # Put back in one go, so that an interrupt leaves nothing but descriptors that do nothing.
    try:
        _mine.values = dict(before)
        yield put
    finally:
        _mine.values = before
        for overlay in used:
            _taken_back(overlay)


def _installed(cls: type, name: str) -> "_Overlay":
    with _lock:
        overlay = _overlays.get((cls, name))
        if overlay is None:
            overlay = _overlays[cls, name] = _Overlay(cls, name)
            setattr(cls, name, overlay)
        overlay.uses += 1
    return overlay


def _taken_back(overlay: "_Overlay") -> None:
    cls, name = overlay.cls, overlay.name
    with _lock:
        overlay.uses -= 1
        if overlay.uses:
            return
        del _overlays[cls, name]
        # Unless somebody has replaced it: then what they put there stays.
        if vars(cls).get(name) is not overlay:
            return
        if overlay.own is _ABSENT:
            delattr(cls, name)
        else:
            setattr(cls, name, overlay.own)


class _Overlay:
    """The attribute of a class while it is overlaid in some of its instances."""

    def __init__(self, cls: type, name: str) -> None:
        self.cls, self.name, self.uses = cls, name, 0
        self.own = vars(cls).get(name, _ABSENT)
        self.plain = self._below(cls)

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        # A subclass has its own: here only `super()` comes by.
        kind: Any = owner if instance is None else type(instance)
        if kind is self.cls:
            found = _mine.values.get((id(instance), self.name))
            if found is not None:
                return found[1]
            below = self.plain
        else:
            below = self._below(kind)
        getter = getattr(type(below), "__get__", None)
        if instance is not None and not _rules(below) and self._is_first(kind):
            own = getattr(instance, "__dict__", {}).get(self.name, _ABSENT)
            if own is not _ABSENT:
                return own
        if below is _ABSENT:
            # The class's own `__getattr__`, if it has one, is asked next.
            raise AttributeError(f"{kind.__name__!r} object has no attribute {self.name!r}")
        return below if getter is None else getter(below, instance, kind)

    def __set__(self, instance: Any, value: Any) -> None:
        if type(instance) is self.cls and (id(instance), self.name) in _mine.values:
            _mine.values[id(instance), self.name] = instance, value
            return
        below = self._below(type(instance))
        if _rules(below):
            type(below).__set__(below, instance, value)
        else:
            vars(instance)[self.name] = value

    def __delete__(self, instance: Any) -> None:
        below = self._below(type(instance))
        if _rules(below):
            type(below).__delete__(below, instance)
        elif self.name in vars(instance):
            del vars(instance)[self.name]
        else:
            raise AttributeError(self.name)

    def _below(self, kind: type) -> Any:
        """What the class would have without this."""
        if self.own is not _ABSENT:
            return self.own
        after = kind.__mro__[kind.__mro__.index(self.cls) + 1 :]
        found = (_without_overlay(cls, self.name) for cls in after)
        return next((attribute for attribute in found if attribute is not _ABSENT), _ABSENT)

    def _is_first(self, kind: type) -> bool:
        """False where a subclass overrides this, so that it is asked by `super()` only."""
        before = kind.__mro__[: kind.__mro__.index(self.cls)]
        return all(_without_overlay(cls, self.name) is _ABSENT for cls in before)


def _without_overlay(cls: type, name: str) -> Any:
    """What a class itself has under a name."""
    found = vars(cls).get(name, _ABSENT)
    return found.own if isinstance(found, _Overlay) else found


def _rules(attribute: Any) -> bool:
    """True for what goes before an instance's own dictionary: properties, slots, overlays."""
    return hasattr(type(attribute), "__set__") or hasattr(type(attribute), "__delete__")
