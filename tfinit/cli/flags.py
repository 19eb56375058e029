"""The flags of a command, read from the fields of its dataclass: for its help and its errors."""

import ast
import dataclasses
import inspect
import itertools
import shlex
import textwrap
import types
import typing
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

# What stands for a value in the help; for text it is the last word of the flag's name.
_VALUES: dict[Any, str] = {int: "N", float: "X", Path: "FILE"}
_BY_NAME = {"options": "NAME=VALUE", "filters": "LAYER"}
# What a value of a type is, in an error.
_KINDS: dict[Any, str] = {int: "a whole number", float: "a number", dict: "names with numbers"}


@dataclass(frozen=True)
class Flag:
    """A flag, or a word in its place.

    Attributes:
        name: The field's.
        names: What is typed, the longer form of each: ``("--dataset", "--data")``; nothing for
            what is told by its place.
        kind: The type of a value.
        several: Whether it takes any number of values.
        choices: The only values, where these are a few names.
        default: Its value where it is not typed, as it is typed; "" where that says nothing.
        required: Whether it must be typed.
    """

    name: str
    names: tuple[str, ...]
    kind: Any
    several: bool
    choices: tuple[str, ...]
    default: str
    required: bool

    @property
    def shown(self) -> str:
        """What errors call it."""
        return self.names[0] if self.names else self.name.upper()

    @property
    def value(self) -> str:
        """What stands for its value in the help; "" for one that takes none."""
        if self.kind is bool:
            return ""
        one = (
            _BY_NAME.get(self.name)
            or _VALUES.get(self.kind)
            or self.name.rpartition("_")[2].upper()
        )
        if self.choices:
            one = f"{{{','.join(map(shlex.quote, self.choices))}}}"
        elif self.kind is Path and self.name.endswith("dir"):
            one = "DIR"
        elif self.kind is dict:
            one = "NAME X"
        elif self.several and self.kind is str and self.name not in _BY_NAME:
            one = "NAME"
        return f"{one} ..." if self.several else one

    @property
    def wanted(self) -> str:
        """What a value must be, in an error."""
        if self.several and self.kind in (int, float):
            return f"{_KINDS[self.kind].removeprefix('a ')}s"
        return _KINDS.get(self.kind, "text")


def flags_of(command: type) -> list[Flag]:
    """The flags of a command, in the order of its fields."""
    hints = typing.get_type_hints(command, include_extras=True)
    return [_flag(f, hints[f.name], command) for f in _fields(command)]


def help_of(command: type) -> dict[str, str]:
    """Name of each field → what its flag does: from its metadata, or the text below it."""
    told = _docstrings(command)
    return {f.name: f.metadata.get("help", told.get(f.name, "")) for f in _fields(command)}


def by_typed(flags: Iterable[Flag]) -> dict[str, Flag]:
    """What may be typed → the flag that it is of: ``--no-augment`` is of ``--augment``."""
    found = {}
    for flag in flags:
        for name in flag.names:
            found[name] = flag
            if flag.kind is bool:
                found[f"--no-{name[2:]}"] = flag
    return found


def _fields(command: Any) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(command)


def _flag(field: dataclasses.Field[Any], hint: Any, command: Any) -> Flag:
    marks: list[Any] = []
    if typing.get_origin(hint) is typing.Annotated:
        hint, *marks = typing.get_args(hint)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):  # or None
        [hint] = [part for part in typing.get_args(hint) if part is not type(None)]
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    kind = dict if origin is dict else parts[0] if origin is tuple else hint
    required = field.default is field.default_factory is dataclasses.MISSING
    aliases = [name for mark in marks for name in getattr(mark, "aliases", None) or ()]
    names = (f"--{field.name.replace('_', '-')}", *aliases)
    return Flag(
        field.name,
        () if required or tyro.conf.Positional in marks else names,
        kind,
        origin in (tuple, dict),
        tuple(one for one in command.choices.get(field.name, ()) if one is not None),
        _typed(field.default),
        required,
    )


def _typed(default: Any) -> str:
    """A default as it is typed; nothing for what only means that it was left out."""
    if default is None or default is dataclasses.MISSING or isinstance(default, bool):
        return ""
    return " ".join(map(str, default)) if isinstance(default, tuple) else str(default)


def _docstrings(command: type) -> dict[str, str]:
    """Name of each field → the text below it, where that class is which says it last."""
    found: dict[str, str] = {}
    for cls in reversed(command.__mro__):
        if not dataclasses.is_dataclass(cls):
            continue
        [tree] = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
        body = getattr(tree, "body", [])
        for statement, after in itertools.pairwise(body):
            match statement, after:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(
                    value=ast.Constant(value=str(text))
                ):
                    found[name] = " ".join(text.replace("``", "").split())
    return found
