"""Findings → the lines of a program that their cures change, tried: built and diagnosed again."""

import ast
import dataclasses
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from tfinit.diagnostics.diagnosis import Diagnosis
from tfinit.diagnostics.fixing.call_sites import CallSites
from tfinit.diagnostics.fixing.changes import changed
from tfinit.diagnostics.fixing.source import (
    Source,
    difference,
    names_of_modules,
    renamed,
)
from tfinit.diagnostics.judging.findings import Finding
from tfinit.errors import InputError
from tfinit.model_builders import ModelBuilder, builder_of
from tfinit.named_functions import load_named

_ROUNDS = 4  # what a cure uncovers is cured in the next
# What a line of code calls a module → the module.
_IMPORTS = {"tfinit": "tfinit", "np": "numpy", "keras": "keras"}

# (builder, how its function is called) → the model and its diagnosis.
Examine = Callable[[ModelBuilder, Any], tuple[Any, Diagnosis]]


@dataclass(frozen=True)
class Fix:
    """What a program is changed to.

    Attributes:
        before: The diagnosis of the program as it is.
        diff: The changed lines, as a unified diff; "" where none can be said.
        after: The diagnosis of the changed program; None without.
        left: The severe findings that are left to do by hand.
    """

    before: Diagnosis
    diff: str
    after: Diagnosis | None
    left: tuple[Finding, ...]

    def to_dict(self) -> dict[str, Any]:
        """The diff and what the program is like then, for JSON."""
        after = None if self.after is None else self.after.to_dict()
        return {"diff": self.diff, "after": after, "left": [f.kind for f in self.left]}

    def __str__(self) -> str:
        lines = [self.diff, ""] if self.diff else []
        if self.after is not None:
            lines.append(f"With these lines: {self.after.verdict}")
        lines += [f"By hand: {f.named}: {f.cure}{_pasted(f.code)}" for f in self.left]
        return "\n".join(lines or ["Nothing severe: there is nothing to change."])


def _pasted(code: str) -> str:
    return f" `{code}`" if code else ""


def fix(name: str, argument: str, examine: Examine) -> Fix:
    """The lines that cure a program. Nothing is written; the changed program is run in memory.

    Args:
        name: The place of the function that builds it, as `load_named` takes it.
        argument: The argument that names it, for errors.
        examine: Builds and diagnoses. It calls the function that builds by its second argument.

    Raises:
        InputError: there is no such function, or no source of it; or as `examine` says.
    """
    import keras

    function = inspect.unwrap(load_named(name, argument))
    path = inspect.getsourcefile(function) if inspect.isfunction(function) else None
    if path is None or not Path(path).is_file():
        raise InputError(
            f"`fix` reads the source of `{argument}` {name!r}, and there is none. Name a function "
            "in a .py file."
        )
    text = Path(path).read_text(encoding="utf-8")
    builder, sites = builder_of(name, argument), CallSites(function.__code__.co_filename)
    model, before = examine(builder, sites.watch)
    diagnosis, now, after = before, text, None
    for _ in range(_ROUNDS):
        tried = _changed(now, function.__name__, diagnosis, model, sites)
        if tried == now:
            break
        sites = CallSites(path)
        keras.utils.clear_session()  # layers without a name are counted anew
        try:
            with _run(tried, path, function) as again:
                new = dataclasses.replace(builder_of(again, argument), name=name)
                model, found = examine(new, sites.watch)
        except Exception:  # of the user's code, so changed
            break
        if not _is_better(found, diagnosis):
            break
        diagnosis = after = found
        now = tried
    left = tuple(diagnosis.severe)
    return Fix(before, difference(text, now, _shown(path)), after, left)


def _is_better(new: Diagnosis, old: Diagnosis) -> bool:
    """Whether something severe is gone."""
    return bool({f.kind for f in old.severe} - {f.kind for f in new.severe})


def _shown(path: str) -> str:
    found, here = Path(path), Path.cwd()
    return str(found.relative_to(here) if found.is_relative_to(here) else found)


def _changed(text: str, name: str, diagnosis: Diagnosis, model: Any, sites: CallSites) -> str:
    """The source with the cures of all that is severe."""
    source = Source(text)
    for finding in diagnosis.severe:
        if finding.changes:
            changed(source, sites, model, diagnosis, finding.changes)
        elif finding.code:
            _add_line(source, name, finding.code)
    return source.changed()


def _add_line(source: Source, name: str, code: str) -> bool:
    """A line of code before what a function returns; False where it has no place there."""
    functions = [n for n in source.tree.body if isinstance(n, ast.FunctionDef) and n.name == name]
    last = functions[-1].body[-1] if functions else None
    if not isinstance(last, ast.Return) or last.value is None:
        return False
    parts = last.value.elts if isinstance(last.value, ast.Tuple) else [last.value]
    named = zip(("model", "x", "y"), parts, strict=False)
    names = {what: part.id for what, part in named if isinstance(part, ast.Name)}
    modules = {name: name for name in {*names_of_modules(source.tree), *_IMPORTS}}
    lines = renamed(code, modules | names)
    if lines is None:
        return False
    for alias, module in _IMPORTS.items():
        if f"{alias}." in code:
            source.add_import(module, None if alias == module else alias)
    source.add_before(last, lines)
    return True


@contextmanager
def _run(text: str, path: str, function: Any) -> Iterator[Any]:
    """The function of a changed source; while this is open, its module is the one of its name."""
    name = function.__module__
    module = ModuleType(name)
    module.__file__ = path
    module.__package__ = getattr(sys.modules.get(name), "__package__", None)
    before = sys.modules.get(name)
    sys.modules[name] = module
    try:
        exec(compile(text, path, "exec"), vars(module))
        yield getattr(module, function.__name__)
    finally:
        if before is None:
            del sys.modules[name]
        else:
            sys.modules[name] = before
