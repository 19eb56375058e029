"""Arguments under their former names, and in their former order: taken with a warning."""

import functools
import inspect
import warnings
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from tfinit.errors import InputError, TfinitDeprecationWarning

Called = TypeVar("Called", bound=Callable[..., Any])


def renamed(
    order: Sequence[str] = (), /, **names: str | tuple[str, ...]
) -> Callable[[Called], Called]:
    """Let a function or a dataclass be given arguments as they were called before.

    A former name in a call is a `DeprecationWarning` that says today's. Of a class it is an
    attribute too. What is decorated is one frame further from the line that calls it: where it
    warns of its own, ``stacklevel`` counts one more.

    Args:
        order: The former positional arguments, if some of them are keyword-only today.
        **names: Former name → today's; or several, for what was a tuple of them.

    Raises:
        InputError: in a call with the same argument under both names, or with a former tuple of
            another length. An error of Python's own, as ever, for names that never were.

    Example:
        >>> @renamed(method="score", data=("x", "y"))
        ... def prune(model, score="snip", *, x=None, y=None):
        ...     return model, score, x, y
        >>> prune("a", method="grasp", data=(1, 2))
        ('a', 'grasp', 1, 2)
    """

    def decorate(called: Any) -> Any:
        if isinstance(called, type):
            constructor = _taking(called.__init__, called.__name__, order, names)
            setattr(called, "__init__", constructor)  # noqa: B010  (types know no assignment to it)
            for former, today in names.items():
                if isinstance(today, str):
                    setattr(called, former, _attribute(called.__name__, former, today))
            return called
        return _taking(called, called.__name__, order, names)

    return decorate


def _taking(
    called: Callable[..., Any],
    title: str,
    order: Sequence[str],
    names: dict[str, str | tuple[str, ...]],
) -> Callable[..., Any]:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    positional = sum(p.kind in kinds for p in inspect.signature(called).parameters.values())

    @functools.wraps(called)
    def taking(*given: Any, **named: Any) -> Any:
        if positional < len(given) <= len(order):
            late = dict(zip(order[positional:], given[positional:], strict=False))
            _warn(f"{title}: {_listed(list(late))} by position; give them by name.")
            given, named = given[:positional], _joined(title, named, late)
        for former, today in names.items():
            if former not in named:
                continue
            several = (today,) if isinstance(today, str) else today
            _warn(f"{title}: `{former}` is now {_listed(several)}.")
            value = named.pop(former)
            values = (value,) if isinstance(today, str) else _split(former, several, value)
            named = _joined(title, named, dict(zip(several, values, strict=True)))
        return called(*given, **named)

    return taking


def _joined(title: str, named: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    twice = [name for name in more if name in named]
    if twice:
        raise InputError(f"{title} was given `{twice[0]}` twice. Give it once, by that name.")
    return named | more


def _split(former: str, today: tuple[str, ...], value: Any) -> Sequence[Any]:
    if value is None:
        return [None] * len(today)
    if not isinstance(value, tuple | list) or len(value) != len(today):
        raise InputError(
            f"`{former}` must be ({', '.join(today)}), received {type(value).__name__}. "
            f"Give {_listed(today)} by name."
        )
    return value


def _attribute(title: str, former: str, today: str) -> property:
    def get(owner: Any) -> Any:
        _warn(f"{title}: `{former}` is now `{today}`.")
        return getattr(owner, today)

    return property(get, doc=f"The former name of `{today}`.")


def _warn(text: str) -> None:
    warnings.warn(text, TfinitDeprecationWarning, stacklevel=3)


def _listed(names: Sequence[str]) -> str:
    return " and ".join(f"`{name}`" for name in names)
