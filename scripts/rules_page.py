"""Write docs/rules.md: a section for each rule of `tfinit diagnose`, made of its docstring.

    python scripts/rules_page.py --out docs/rules.md

A rule's docstring says in its first line what it finds, in one sentence. Then come paragraphs that
begin with ``Why:``, ``Evidence:``, ``Cure:`` and ``Example:``, the last with indented lines of
code, and where there is one, a last line with the source.
"""

import argparse
import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tfinit.cli.signals import heard
from tfinit.diagnostics.judging.findings import Rule
from tfinit.diagnostics.judging.rules import FAULTS, RULES
from tfinit.files import write_whole

PARTS = ("Why", "Evidence", "Cure", "Example")
_MEANS = {
    "head": "the output layer's activation or width does not suit the loss or the targets",
    "loss": "the loss does not suit the task or the targets",
    "labels": "the targets are not what the loss takes",
    "inputs": "the inputs' scale or content",
    "targets": "regression targets far from the scale of the outputs",
    "rate": "the learning rate or the optimizer",
    "activation": "a hidden activation saturates, or something else lets no signal through",
    "initial": "the initial weights",
}
_HEAD = """# What `tfinit diagnose` finds

*Written by `python scripts/rules_page.py` from the docstrings of the rules.*

Each finding names the rule that found it, and there is a section for each rule here. A finding is
*severe* where the network will not learn, or hardly; a *warning* where something is wrong, or may
be on purpose; a *note* where it is good to know. Where a cause is severe, what follows from it is
said as a warning. With data, targets and a compiled model (`tfinit.diagnose(model, x, y)`) all
rules can speak; without, those that need none.

What a finding's `fault` means:
"""


class Page(NamedTuple):
    """What a docstring says.

    Attributes:
        finds: The first line.
        parts: Of `PARTS`, those that it has, as text; the example as code.
        source: The last line, where it is one of its own; else "".
    """

    finds: str
    parts: dict[str, str]
    source: str


def page(docstring: str | None) -> Page:
    """A docstring, read. What does not have the form is left out; `lacks` says what that is."""
    first, *rest = re.split(r"\n\s*\n", inspect.cleandoc(docstring or ""))
    parts: dict[str, str] = {}
    part = source = ""
    for paragraph in rest:
        begun, _, text = paragraph.partition(":")
        if begun in PARTS:
            part, parts[begun] = begun, text.strip("\n")
        elif part == "Example" and paragraph.startswith(" "):
            parts[part] = f"{parts[part]}\n\n{paragraph}".strip("\n")
        elif part == "Example" or not part:
            source = _joined(paragraph) if part else source
        else:
            parts[part] += f"\n\n{paragraph}"
    if "Example" in parts:  # the source may follow the code without an empty line
        code = parts["Example"].split("\n")
        while len(code) > 1 and code[-1] and not code[-1].startswith(" "):
            source = _joined(f"{code.pop()} {source}")
        code = textwrap.dedent("\n".join(code)).strip()
        parts["Example"] = re.sub(r"(?<=\S) {2,}#", "  #", code)
    for name in PARTS[:-1]:
        if name in parts:
            text = "\n\n".join(map(_joined, parts[name].split("\n\n")))
            parts[name] = text[:1].upper() + text[1:]
    return Page(_joined(first), parts, source)


def lacks(code: str, docstring: str | None) -> list[str]:
    """What a rule's docstring lacks, in words."""
    read = page(docstring)
    found = [] if read.finds.endswith(".") else [f"{code}: its first line is no sentence"]
    return found + [f"{code}: no paragraph `{name}:`" for name in PARTS if not read.parts.get(name)]


def faults_of(rule: Rule) -> list[str]:
    """Which faults its findings are: those that it says itself, else those of its kinds."""
    own = dict.fromkeys(kind.fault for kind in rule.kinds if kind.fault)
    said: dict[str, None] = {}
    of_kind = False
    for node in _code_of(rule.find):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "finding":
            fault = next((k.value for k in node.keywords if k.arg == "fault"), None)
            fault = node.args[5] if fault is None and len(node.args) > 5 else fault
            of_kind |= fault is None or not isinstance(fault, ast.Constant)
            said |= _in(fault)
        elif isinstance(node, ast.Return | ast.Assign):
            # Of what says it for another function, or under the name of a fault.
            names = [getattr(t, "id", "") for t in getattr(node, "targets", [])]
            pair = isinstance(node, ast.Return) and isinstance(node.value, ast.Tuple)
            said |= _in(node.value) if pair or any("fault" in name for name in names) else {}
    return [f for f in FAULTS if f in said or (f in own and (of_kind or not said))]


def _in(node: ast.AST | None) -> dict[str, None]:
    constants = [n.value for n in ast.walk(node) if isinstance(n, ast.Constant)] if node else []
    return {value: None for value in constants if value in FAULTS}


def _code_of(function: Any) -> Iterator[ast.AST]:
    """The syntax tree of a function, and of those that it calls of its own file."""
    module, left, seen = inspect.getmodule(function), [function], set()
    while left:
        one = left.pop()
        seen.add(one)
        nodes = list(ast.walk(ast.parse(textwrap.dedent(inspect.getsource(one)))))
        yield from nodes
        names = {n.id for n in nodes if isinstance(n, ast.Name)}
        known = (getattr(module, name, None) for name in sorted(names))
        left += [
            f
            for f in known
            if inspect.isfunction(f) and f.__module__ == module.__name__ and f not in seen
        ]


def _joined(text: str) -> str:
    """Lines as one, and ``code`` as `code`."""
    return " ".join(text.split()).replace("``", "`")


def written() -> str:
    """The whole page."""
    rules = sorted(RULES, key=lambda rule: rule.code)
    lines = [_HEAD, "| fault | is |", "| --- | --- |"]
    lines += [f"| {fault} | {_MEANS[fault]} |" for fault in FAULTS]
    lines += ["", "| rule | kinds | finds |", "| --- | --- | --- |"]
    sections = []
    for rule in rules:
        read = page(rule.find.__doc__)
        kinds = ", ".join(kind.name for kind in rule.kinds)
        finds = read.finds.replace("|", "\\|")
        lines.append(f"| [{rule.code}](#{rule.code.lower()}) | {kinds} | {finds} |")
        faults = faults_of(rule)
        causes = dict.fromkeys(cause for kind in rule.kinds for cause in kind.follows_from)
        section = [f"## {rule.code}", f"**{kinds}**: {read.finds}"]
        section += [f"*Fault*: {', '.join(faults)}."] if faults else []
        for name in PARTS[:-1]:
            if name in read.parts:
                section.append(f"*{name}*: {read.parts[name]}")
        if causes:
            section.append(f"*Follows from*: {', '.join(causes)}.")
        if "Example" in read.parts:
            section.append(f"```python\n{read.parts['Example']}\n```")
        section += [read.source] if read.source else []
        sections.append("\n\n".join(section))
    return "\n".join(lines) + "\n\n" + "\n\n".join(sections) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("docs/rules.md"))
    arguments = parser.parse_args()
    write_whole(arguments.out, written().encode())
    for rule in RULES:
        for words in lacks(rule.code, rule.find.__doc__):
            print(words)


if __name__ == "__main__":
    with heard():
        main()
