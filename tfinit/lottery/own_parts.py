"""Parts of an experiment that are a user's own: saved by name and fingerprint.

A score, an allocation, an initialization and a control may be a function or an object of the
user's. A directory cannot hold it. It holds its name and the SHA-256 of what it is made of, so that
the experiment goes on with the same part, and with no other of that name.

| part | what the digest is of |
| --- | --- |
| function | its source text, its defaults, what its closure holds, the globals that it uses |
| object | the same of its class and the bases in its module; its configuration, or what it holds |
| source not known | the bytecode and the constants: of one version of Python |

Of closures and globals numbers, text, arrays, lists, dictionaries, and functions and classes of the
same module are looked into; of everything else, modules and other objects among them, the name
counts, and so it does of what belongs to Python, Keras or NumPy. All is as it is when the
configuration is made.
"""

import ast
import builtins
import dis
import functools
import hashlib
import json
import linecache
import sys
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

_LENGTH = 12  # of the digits of a digest that are shown
_DEPTH = 20
# Of their functions and classes the name counts: with another version it is the same part.
_LIBRARIES = {*sys.stdlib_module_names, "keras", "tf_keras", "tensorflow", "jax"}
_LIBRARIES |= {"jaxlib", "torch", "numpy", "scipy", "tfinit"}
# What a dataclass has that nobody wrote.
_GENERATED = {"__init__", "__repr__", "__eq__", "__hash__", "__setattr__", "__delattr__"}
_GENERATED |= {"__lt__", "__le__", "__gt__", "__ge__", "__replace__"}
_PLAIN = (bool, int, float, complex, str, type(None))


@dataclass(frozen=True)
class OwnPart:
    """What a directory has of a part that is a user's own, and what is compared.

    Attributes:
        name: Of the function or the class.
        by: What the digest is of: ``"source"``, ``"configuration"``, or the bytecode.
        digest: SHA-256. Empty: an earlier tfinit noted the name alone.
        saved: What the file has in its place, where that is something else.
    """

    name: str
    by: str = ""
    digest: str = ""
    saved: Any = field(default=None, compare=False)

    def __repr__(self) -> str:
        if not self.digest:
            return repr(self.name)
        return f"{self.name!r} (SHA-256 of its {self.by} {self.digest[:_LENGTH]}…)"

    def to_dict(self) -> dict[str, str]:
        """As JSON can have it."""
        return {"own": self.name, "by": self.by, "sha256": self.digest}

    @classmethod
    def read(cls, values: Any) -> "OwnPart":
        """What `to_dict` gave, and was read from a file.

        Raises:
            ValueError: it was something else.
        """
        if (
            not isinstance(values, Mapping)
            or values.keys() != {"own", "by", "sha256"}
            or not all(isinstance(value, str) for value in values.values())
        ):
            raise ValueError(f"{values!r} is no part with a name and a digest")
        return cls(values["own"], values["by"], values["sha256"])


def is_shipped(part: Any) -> bool:
    """Whether a function, class or object is tfinit's own.

    Example:
        >>> is_shipped(OwnPart), is_shipped(lambda weights: weights)
        (True, False)
    """
    held: list[Any] = [type(part)]
    if hasattr(part, "__qualname__"):
        held = [part]
    else:  # of an object that is a function of the user's with a name, too
        held += [one for one in vars(part).values() if isinstance(one, FunctionType)]
    return all(str(getattr(one, "__module__", "")).startswith("tfinit.") for one in held)


def fingerprint(part: Any, name: str = "") -> OwnPart:
    """Name and digest of a part.

    Args:
        part: A function, or an object.
        name: What it is called; empty: as the function or its class is.

    Example:
        >>> of = [fingerprint(lambda weights, power=p: weights**power) for p in (2, 2, 3)]
        >>> of[0] == of[1], of[0] == of[2], of[0].name
        (True, False, '<lambda>')
    """
    looked = _Looked(part)
    whole = looked.whole(part)
    named = part if hasattr(part, "__name__") else type(part)
    by = looked.bytecode or ("source" if named is part else "configuration")
    by = "name" if whole[0] == "named" else by
    content = json.dumps(whole, sort_keys=True).encode()
    return OwnPart(name or named.__name__, by, hashlib.sha256(content).hexdigest())


class _Looked:
    """What was looked at for one fingerprint."""

    def __init__(self, part: Any):
        named = part if hasattr(part, "__qualname__") else type(part)
        # Of an object of tfinit's or Keras's the functions that it was given are looked into.
        self._module = None if _of_library(named) else getattr(named, "__module__", None)
        self._seen: dict[int, int] = {}
        self._kept: list[Any] = []  # so that no other object gets the place of one in memory
        self.bytecode = ""

    def whole(self, part: Any, depth: int = 0) -> Any:
        """All of a part: a function, a class, or an object with what makes it."""
        if isinstance(part, functools.partial):
            inner = [part.func, list(part.args), dict(part.keywords)]
            return [
                "partial",
                *(self.value(one, depth, always=n == 0) for n, one in enumerate(inner)),
            ]
        if isinstance(part, MethodType):
            return ["method", self.whole(part.__func__, depth), self.whole(part.__self__, depth)]
        if isinstance(part, FunctionType):
            return ["named", _place(part)] if _of_library(part) else self._function(part, depth)
        if isinstance(part, type):
            return self._class(part, depth)
        if hasattr(part, "__qualname__") or not hasattr(type(part), "__module__"):
            return ["named", _place(part)]  # written in C
        return ["object", self._class(type(part), depth), self._state(part, depth)]

    def value(self, value: Any, depth: int, always: bool = False) -> Any:
        """What something that a part uses adds to it."""
        if isinstance(value, _PLAIN):
            return [type(value).__name__, repr(value)]
        if depth > _DEPTH:
            return ["deep"]
        if isinstance(value, bytes | bytearray):
            return ["bytes", hashlib.sha256(value).hexdigest()]
        if isinstance(value, list | tuple):
            return [type(value).__name__, *(self.value(one, depth + 1) for one in value)]
        if isinstance(value, set | frozenset):
            return ["set", *sorted((self.value(one, depth + 1) for one in value), key=repr)]
        if isinstance(value, Mapping):
            pairs = [(self.value(k, depth + 1), self.value(v, depth + 1)) for k, v in value.items()]
            return ["mapping", *sorted(pairs, key=repr)]
        if isinstance(value, ModuleType):
            return ["module", value.__name__]
        if (array := _array(value)) is not None:
            return array
        if isinstance(value, functools.partial):
            return self.whole(value, depth + 1)
        own = getattr(value, "__module__", None) == self._module
        own = own or (self._module is None and not _of_library(value))
        if isinstance(value, FunctionType | type) and (own or always):
            return self.whole(value, depth + 1)
        if isinstance(value, MethodType) and own:
            return self.whole(value.__func__, depth + 1)
        return ["named", _place(value if hasattr(value, "__qualname__") else type(value))]

    def _again(self, thing: Any) -> Any:
        """Where it was looked at before, if it was."""
        if id(thing) in self._seen:
            return ["again", self._seen[id(thing)]]
        self._seen[id(thing)] = len(self._seen)
        self._kept.append(thing)
        return None

    def _function(self, function: FunctionType, depth: int) -> Any:
        if again := self._again(function):
            return again
        source = _source(function.__code__)
        if source is None:
            self.bytecode = "bytecode of Python {}.{}".format(*sys.version_info[:2])
            source = [self.bytecode, _bytecode(function.__code__)]
        closure = {}
        for name, cell in zip(
            function.__code__.co_freevars, function.__closure__ or (), strict=True
        ):
            try:
                content = cell.cell_contents
            except ValueError:  # not filled yet
                continue
            if (
                name != "__class__"
            ):  # of a method that calls super: the class that it is looked at in
                closure[name] = self.value(content, depth + 1)
        used = {
            name: self.value(function.__globals__[name], depth + 1)
            for name in sorted(set(_globals(function.__code__)))
            if name in function.__globals__ and not hasattr(builtins, name)
        }
        defaults = [list(function.__defaults__ or ()), dict(function.__kwdefaults__ or {})]
        return ["function", source, self.value(defaults, depth + 1), closure, used]

    def _class(self, cls: type, depth: int) -> Any:
        if _of_library(cls):
            return ["named", _place(cls)]
        if again := self._again(cls):
            return again
        is_dataclass = "__dataclass_fields__" in vars(cls)
        methods = {
            name: self._function(function, depth + 1)
            for name, attribute in sorted(vars(cls).items())
            for function in _functions(attribute)
            if not (is_dataclass and name in _GENERATED)
        }
        plain = {
            name: self.value(attribute, depth + 1)
            for name, attribute in sorted(vars(cls).items())
            if not name.startswith("__") and not list(_functions(attribute))
        }
        bases = [
            self._class(base, depth + 1) if base.__module__ == cls.__module__ else _place(base)
            for base in cls.__bases__
        ]
        return ["class", cls.__qualname__, methods, plain, bases]

    def _state(self, part: Any, depth: int) -> Any:
        """What makes an object: its configuration where it has one, and what it holds."""
        config = None
        if callable(getattr(part, "get_config", None)):
            config = self.value(part.get_config(), depth + 1)
            if type(part).get_config.__qualname__ != "Score.get_config":
                return config
        held = {
            **{n: getattr(part, n) for n in _slots(type(part))},
            **getattr(part, "__dict__", {}),
        }
        return [config, self.value(held, depth + 1)]


def _slots(cls: type) -> Iterator[str]:
    for base in cls.__mro__:
        slots = vars(base).get("__slots__", ())
        yield from (slots,) if isinstance(slots, str) else slots


def _functions(attribute: Any) -> Iterator[FunctionType]:
    """The functions of an attribute of a class."""
    if isinstance(attribute, property):
        inner = [attribute.fget, attribute.fset, attribute.fdel]
    else:
        inner = [getattr(attribute, "__func__", attribute)]
    yield from (one for one in inner if isinstance(one, FunctionType))


def _of_library(named: Any) -> bool:
    return str(getattr(named, "__module__", "")).partition(".")[0] in _LIBRARIES


def _place(named: Any) -> str:
    return f"{getattr(named, '__module__', '')}.{getattr(named, '__qualname__', type(named))}"


def _array(value: Any) -> Any:
    """Type, shape and digest of an array or tensor; None for all else."""
    if isinstance(value, type) or not (hasattr(value, "shape") and hasattr(value, "dtype")):
        return None
    import numpy as np

    try:
        array = np.ascontiguousarray(value)
    except Exception:  # a tensor whose value is not known
        return None
    if array.dtype.hasobject:
        return None
    digest = hashlib.sha256(array.tobytes()).hexdigest()
    return ["array", str(array.dtype), list(array.shape), digest]


def _globals(code: CodeType) -> Iterator[str]:
    """The names that a function and those inside it look up in their module."""
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            yield instruction.argval
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _globals(constant)


def _bytecode(code: CodeType) -> Any:
    constants = [
        _bytecode(c) if isinstance(c, CodeType) else [type(c).__name__, repr(c)]
        for c in code.co_consts
    ]
    names = [*code.co_names, "", *code.co_varnames, "", *code.co_freevars]
    return [code.co_code.hex(), constants, names]


def _source(code: CodeType) -> list[str] | None:
    """The text of a function; None where it is not known, or is another than what runs."""
    lines = "".join(linecache.getlines(code.co_filename))
    module = _parsed(lines, code.co_filename)
    if module is None or code not in module[1]:
        return None
    nodes = module[0].get(code.co_firstlineno, [])
    if code.co_name == "<lambda>":
        return _of_lambda(code, lines, [n for n in nodes if isinstance(n, ast.Lambda)], module[1])
    texts = [
        textwrap.dedent("\n".join(map(str.rstrip, lines.splitlines()[n.lineno - 1 : n.end_lineno])))
        for n in nodes
        if not isinstance(n, ast.Lambda) and n.name == code.co_name
    ]
    return texts or None


def _of_lambda(
    code: CodeType, lines: str, nodes: list[ast.Lambda], codes: tuple[CodeType, ...]
) -> list[str] | None:
    """The text of one of the lambdas that begin in a line; of all, where it is not clear which."""
    texts = [str(ast.get_source_segment(lines, node)) for node in nodes]
    same_line = [
        c for c in codes if (c.co_name, c.co_firstlineno) == ("<lambda>", code.co_firstlineno)
    ]
    if len(same_line) == len(nodes):  # both in the order of the text
        return [texts[same_line.index(code)]]
    return texts or None


_Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


@functools.lru_cache(maxsize=8)
def _parsed(
    lines: str, filename: str
) -> tuple[dict[int, list[_Function]], tuple[CodeType, ...]] | None:
    """First line → the functions that begin there, and what all in a file are compiled to."""
    try:
        tree = ast.parse(lines)
        top = compile(lines, filename, "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        return None
    functions: dict[int, list[_Function]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            functions.setdefault(first, []).append(node)
        elif isinstance(node, ast.Lambda):
            functions.setdefault(node.lineno, []).append(node)

    def inside(code: CodeType) -> Iterator[CodeType]:
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                yield constant
                yield from inside(constant)

    for begun in functions.values():
        begun.sort(key=lambda node: node.col_offset)
    return functions, tuple(inside(top))
