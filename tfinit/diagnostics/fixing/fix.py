"""Findings → the lines of a program that their cures change, tried: built and diagnosed again."""

import ast
import dataclasses
import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
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
    name_of_module,
    names_of_modules,
    renamed,
)
from tfinit.diagnostics.judging.findings import Finding
from tfinit.errors import InputError
from tfinit.model_builders import ModelBuilder, builder_of
from tfinit.named_functions import load_named

_ROUNDS = 4  # what a cure uncovers is cured in the next
# What a line of code calls a module → the module.
_IMPORTS = {"tfinit": "tfinit", "np": "numpy", "numpy": "numpy", "keras": "keras"}

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
    function = inspect.unwrap(load_named(name, argument))
    path = inspect.getsourcefile(function) if inspect.isfunction(function) else None
    if path is None or not Path(path).is_file():
        raise InputError(
            f"`fix` reads the source of `{argument}` {name!r}, and there is none. Name a function "
            "in a .py file."
        )
    text = Path(path).read_text(encoding="utf-8")
    sites = CallSites(function.__code__.co_filename)
    first = _Seen(text, *examine(builder_of(name, argument), sites.watch), sites)

    def tried(now: _Seen, findings: Sequence[Finding]) -> _Seen | None:
        """The program with the cures of some findings, if it works and something severe is gone."""
        changed = _changed(now, function.__name__, findings)
        sites = CallSites(path)
        if changed == now.text:
            return None
        try:
            with _run(changed, path, function) as again:
                builder = dataclasses.replace(builder_of(again, argument), name=name)
                new = _Seen(changed, *examine(builder, sites.watch), sites)
        except Exception:  # of the user's code, so changed
            return None
        return new if now.kinds - new.kinds else None

    now = first
    for _ in range(_ROUNDS):
        severe = now.diagnosis.severe
        # All at once, but rates after the rest, which decides what rate will do; where they do not
        # go together, one.
        others = [finding for finding in severe if finding.fault != "rate"]
        choices = [others or severe, *([finding] for finding in severe if len(severe) > 1)]
        better = next(filter(None, (tried(now, chosen) for chosen in choices)), None)
        if better is None:
            break
        now = better
    after = None if now is first else now.diagnosis
    diff = difference(text, now.text, _shown(path))
    return Fix(first.diagnosis, diff, after, tuple(now.diagnosis.severe))


@dataclass(frozen=True)
class _Seen:
    """A program: its text, what it builds, and where."""

    text: str
    model: Any
    diagnosis: Diagnosis
    sites: CallSites

    @property
    def kinds(self) -> set[str]:
        """Of its severe findings."""
        return {finding.kind for finding in self.diagnosis.severe}


def _shown(path: str) -> str:
    found, here = Path(path), Path.cwd()
    return str(found.relative_to(here) if found.is_relative_to(here) else found)


def _changed(program: _Seen, name: str, findings: Sequence[Finding]) -> str:
    """The source with the cures of some findings: changed calls, else a line about the model."""
    source = Source(program.text)
    said: dict[tuple[str, str], Any] = {}
    for finding in findings:
        asked = {(change.of, change.argument): change.value for change in finding.changes}
        if any(said.get(place, value) != value for place, value in asked.items()):
            continue  # what is left to say of it, the program with the first cure shows
        said |= asked
        kept = source.edits()
        done = changed(source, program.sites, program.model, program.diagnosis, finding.changes)
        if not done or source.edits() == kept:
            source.put_back(kept)
            if finding.code:
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
    modules = {name: name for name in names_of_modules(source.tree)}
    missing = []
    for called, module in _IMPORTS.items():
        own = name_of_module(source.tree, module)
        modules[called] = own or called
        if own is None and f"{called}." in code:
            missing.append((module, None if called == module else called))
    lines = renamed(code, modules | names)
    if lines is None:
        return False
    for module, alias in missing:
        source.add_import(module, alias)
    source.add_before(last, lines)
    return True


@contextmanager
def _run(text: str, path: str, function: Any) -> Iterator[Any]:
    """The function of a changed source; while this is open, its module is the one of its name."""
    import keras

    keras.utils.clear_session()  # layers without a name are counted anew
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
