"""Where in a program its layers, optimizer and loss are made: seen while the program runs."""

import ast
import sys
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

Returned = TypeVar("Returned")


class Site(NamedTuple):
    """A call in a source file, of which `ast` says the same.

    Attributes:
        line: Of its first character, counted from 1.
        end_line: Of its last.
        column: Of the first, in bytes of UTF-8; -1 where Python does not say (3.10).
        end_column: Behind the last.
    """

    line: int
    end_line: int
    column: int
    end_column: int


class CallSites:
    """Which calls of one source file made which objects.

    Args:
        path: The file, as Python names it in code objects.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._made: dict[int, tuple[Any, Site]] = {}
        self._compiled: dict[int, tuple[Any, Site]] = {}

    def watch(self, function: Callable[[], Returned]) -> Returned:
        """Call a function, and see what it makes."""
        before = sys.getprofile()
        sys.setprofile(self._see)
        try:
            return function()
        finally:
            sys.setprofile(before)

    def made(self, thing: Any) -> Site | None:
        """The call that made a layer, an optimizer or a loss; None where none of the file did."""
        return self._made[id(thing)][1] if id(thing) in self._made else None

    def compiled(self, model: Any) -> Site | None:
        """The last call of ``compile`` of a model."""
        return self._compiled[id(model)][1] if id(model) in self._compiled else None

    def made_at(self, site: Site) -> list[Any]:
        """All that a call made, which may be in a loop."""
        return [thing for thing, where in self._made.values() if where == site]

    def _see(self, frame: Any, event: str, argument: Any) -> None:
        code = frame.f_code
        if event != "call" or code.co_name not in ("__init__", "compile") or not code.co_argcount:
            return
        thing = frame.f_locals.get(code.co_varnames[0])
        caller = frame.f_back
        if code.co_name == "compile":
            # Keras wraps it.
            while caller is not None and caller.f_code.co_filename != self._path:
                caller = caller.f_back
            if caller is not None and hasattr(thing, "compile"):
                self._compiled[id(thing)] = thing, _site(caller)
        # Later ones are those of its base classes. Its own are kept, so that no other has its id.
        elif caller is not None and caller.f_code.co_filename == self._path:
            self._made.setdefault(id(thing), (thing, _site(caller)))


def _site(frame: Any) -> Site:
    """The call that a frame is in the middle of."""
    positions = getattr(frame.f_code, "co_positions", None)
    found: Any = list(positions())[frame.f_lasti // 2] if positions is not None else (None,)
    if None in found:
        return Site(frame.f_lineno, frame.f_lineno, -1, -1)
    return Site(*found)


def call_at(tree: ast.AST, site: Site, name: str) -> ast.Call | None:
    """The call of a site in the parsed source.

    Args:
        tree: The source, parsed.
        site: Where the call is.
        name: What is called, the last part of its name: for where Python only says the line.
    """
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    if site.column >= 0:
        return next((node for node in calls if site_of(node) == site), None)
    here = [
        node
        for node in calls
        if node.lineno <= site.line <= (node.end_lineno or 0)
        and getattr(node.func, "attr", getattr(node.func, "id", "")) == name
    ]
    return here[0] if len(here) == 1 else None


def site_of(node: Any) -> Site:
    """Where a node of the syntax tree is."""
    return Site(node.lineno, node.end_lineno, node.col_offset, node.end_col_offset)
