"""The pages that are made: of every public name, of every command, and of the figures.

What is public is what the stubs ``__init__.pyi`` name, and of modules ``__all__``, so that no list
is kept here. The gallery shows the figures of docs/figures, with the command that the script which
draws it names. `pages` makes the text of all pages; `write` brings a folder to hold just these.
"""

import contextlib
import importlib
import inspect
import io
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).parents[1]


@dataclass
class Name:
    """A public name.

    Attributes:
        module: Where users import it from.
        name: As it is called there.
        value: What it is.
        page: Its page's name in the folder of the module.
    """

    module: str
    name: str
    value: Any
    page: str

    @property
    def kind(self) -> str:
        """What it is documented as."""
        if inspect.isclass(self.value):
            return "class"
        return "function" if inspect.isroutine(self.value) else "data"

    @property
    def summary(self) -> str:
        """The first line of its docstring; of a constant the comment above it."""
        if self.kind == "data":
            return _comment(self.module, self.name)
        return (inspect.getdoc(self.value) or "").partition("\n")[0].rstrip(":")


def modules() -> list[str]:
    """The packages that have a stub, and the modules that these name."""
    found = {"tfinit"}
    for stub in ROOT.glob("tfinit/**/__init__.pyi"):
        package = ".".join(stub.parent.relative_to(ROOT).parts)
        home = importlib.import_module(package)
        found.add(package)
        values = {name: getattr(home, name) for name in home.__all__}
        found |= {f"{package}.{n}" for n, value in values.items() if isinstance(value, ModuleType)}
    return sorted(found)


def names(module: str, elsewhere: set[int]) -> Iterator[Name]:
    """The public names of a module, but those that another one has already."""
    home = importlib.import_module(module)
    taken: set[str] = set()
    for name in home.__all__:
        value = getattr(home, name)
        if isinstance(value, ModuleType) or (callable(value) and id(value) in elsewhere):
            continue
        if callable(value):
            elsewhere.add(id(value))
        # Files whose names differ by case only are one file on some systems.
        one = Name(module, name, value, name)
        if name.lower() in taken:
            one.page = f"{name}_{one.kind}"
        taken.add(name.lower())
        yield one


def public() -> dict[str, list[Name]]:
    """Module → its names, each name in one module: the shortest that has it."""
    elsewhere: set[int] = set()
    order = sorted(modules(), key=lambda module: (module.count("."), module))
    return {module: [*names(module, elsewhere)] for module in order}


def pages() -> dict[str, str]:
    """Path in docs/reference → text of each page that is made."""
    made = {}
    found = public()
    for module, members in found.items():
        made[f"api/{module}.rst"] = _module_page(module, members)
        for one in members:
            made[f"api/{module}/{one.page}.rst"] = _name_page(one)
    entries = "\n".join(f"   {module}" for module in sorted(found))
    made["api/index.rst"] = (
        f"{_title('Python')}\nEvery public name, from its docstring.\n\n"
        f".. toctree::\n   :maxdepth: 1\n\n{entries}\n"
    )
    commands = _commands()
    for word in commands:
        made[f"commands/{word}.rst"] = _command_page(word)
    entries = "\n".join(f"   {word}" for word in commands)
    made["commands/index.rst"] = (
        f"{_title('Command line')}\n{_literal(_help())}\n"
        f".. toctree::\n   :maxdepth: 1\n\n{entries}\n"
    )
    made["figures.rst"] = _figures_page()
    return made


def write(folder: Path) -> None:
    """Write the pages that changed, so that others are not built again; remove what is no page."""
    made = pages()
    for path in folder.rglob("*.rst"):
        if path.relative_to(folder).as_posix() not in made:
            path.unlink()
    for name, text in made.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def _figures_page() -> str:
    scripts = {path: path.read_text(encoding="utf-8") for path in ROOT.glob("scripts/*.py")}
    shown = []
    for figure in sorted((ROOT / "docs" / "figures").glob("*.png")):
        named = f"docs/figures/{figure.name}"
        by = [(path, text) for path, text in scripts.items() if named in text]
        if not by:
            continue  # of an experiment: the page of its results shows it
        [(path, text)] = by
        [about] = re.findall(r'\A"""(.*)$', text, re.M)
        heading = path.stem
        shown.append(
            f"{heading}\n{'-' * len(heading)}\n\n{about.replace('|', chr(92) + '|')}\n\n"
            f".. code-block:: sh\n\n   python scripts/{path.name} --figure {figure.name}\n\n"
            f".. image:: ../figures/{figure.name}\n   :alt: What scripts/{path.name} draws\n"
        )
    return f"{_title('Figures of papers')}\n" + "\n".join(shown)


def _title(text: str) -> str:
    return f"{text}\n{'=' * len(text)}\n"


def _literal(text: str) -> str:
    lines = "\n".join(f"   {line}".rstrip() for line in text.splitlines())
    return f".. code-block:: text\n\n{lines}\n"


def _module_page(module: str, members: list[Name]) -> str:
    rows = "\n".join(
        f"   * - :doc:`{one.name} <{module}/{one.page}>`\n     - {one.summary}" for one in members
    )
    table = f".. list-table::\n   :widths: 30 70\n\n{rows}\n" if rows else ""
    entries = "\n".join(f"   {one.name} <{module}/{one.page}>" for one in members)
    toctree = f".. toctree::\n   :hidden:\n\n{entries}\n" if entries else ""
    return f"{_title(module)}\n.. automodule:: {module}\n\n{table}\n{toctree}"


def _name_page(one: Name) -> str:
    path = f"{one.module}.{one.name}"
    if one.kind == "data":
        shown = _shown(one.value)
        value = f"   :value: {shown}\n" if shown else ""
        body = f".. py:data:: {path}\n{value}\n   {one.summary}\n"
    else:
        members = "   :members:\n   :show-inheritance:\n" if one.kind == "class" else ""
        body = f".. auto{one.kind}:: {path}\n{members}"
    return f"{_title(path)}\n{body}"


def _shown(value: Any) -> str:
    """A constant in one line, or nothing where that says no more than that it is an object."""
    text = ", ".join(map(repr, value)) if isinstance(value, dict) else repr(value)
    return "" if " at 0x" in text or "\n" in text or len(text) > 300 else text


def _comment(module: str, name: str) -> str:
    """What stands above or behind the line that makes a constant."""
    home = importlib.import_module(module)
    source = inspect.getsource(home)
    stub = Path(inspect.getsourcefile(home) or "").with_suffix(".pyi")
    if stub.exists():
        [place] = re.findall(rf"^from (\.\S+) import {name} as", stub.read_text(), re.M)
        source = inspect.getsource(importlib.import_module(place, module))
    above = re.search(rf"((?:^#.*\n)+){name}\b.*=", source, re.M)
    if above:
        return " ".join(line.lstrip("# ") for line in above[1].splitlines())
    behind = re.search(rf"^{name}\b.*=[^#\n]*  # (.*)$", source, re.M)
    return behind[1] if behind else ""


def _commands() -> list[str]:
    from tfinit.cli import commands

    return [*commands()]


def _command_page(word: str) -> str:
    return f"{_title(f'tfinit {word}')}\n{_literal(_help(word))}"


def _help(*words: str) -> str:
    """What a command prints of itself, 80 columns wide."""
    from tfinit.cli import main

    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "80"
    try:
        with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):
            main([*words, "--help"])
    finally:
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before
    return re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue())
