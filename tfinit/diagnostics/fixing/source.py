"""A source file with some calls changed: the rest stays byte for byte as it was."""

import ast
import builtins
import difflib
import inspect
from typing import Any


class Source:
    """The text of a Python file, with the changes that are made to it.

    Args:
        text: The text.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._bytes = text.encode()
        self.tree = ast.parse(text)
        self._starts = [0]
        for line in self._bytes.split(b"\n"):
            self._starts.append(self._starts[-1] + len(line) + 1)
        self._edits: dict[tuple[int, int], str] = {}

    def set_argument(self, call: ast.Call, cls: Any, argument: str, value: str) -> bool:
        """Give a call another argument, or one more.

        Args:
            call: A call of the file.
            cls: What is called: its parameters are in order.
            argument: The argument's name.
            value: The expression.

        Returns:
            False where that cannot be said of the call alone: it has ``*`` or ``**`` in it, or what
            is called knows no such argument.
        """
        given = next((k for k in call.keywords if k.arg == argument), None)
        if given is not None:
            return self._replace(given.value, value)
        names = _parameters(cls)
        if argument not in names:
            return False
        place = names.index(argument)
        if any(isinstance(part, ast.Starred) for part in call.args):
            return False
        if place < len(call.args):
            return self._replace(call.args[place], value)
        if any(k.arg is None for k in call.keywords):
            return False
        return self._append(call, f"{argument}={value}")

    def replace_call(self, call: ast.Call, expression: str) -> bool:
        """Another expression in place of a whole call."""
        return self._replace(call, expression)

    def rename(self, node: ast.Name, name: str) -> bool:
        """Another name in this place."""
        return self._replace(node, name)

    def add_before(self, statement: ast.stmt, code: str) -> None:
        """Lines of code before a statement, as far in as it."""
        start, _ = self._span(statement)
        lines = "".join(f"{line}\n{' ' * statement.col_offset}" for line in code.split("\n"))
        self._edit(start, start, lines)

    def add_import(self, module: str, alias: str | None = None) -> None:
        """``import module``, or ``as`` an alias, behind the last import of the file."""
        if (alias or module) in names_of_modules(self.tree):
            return
        line = f"import {module}" + (f" as {alias}" if alias else "")
        imports = [n for n in self.tree.body if isinstance(n, ast.Import | ast.ImportFrom)]
        described = ast.get_docstring(self.tree) is not None
        after = (imports or self.tree.body[:described])[-1:]
        if after:
            _, end = self._span(after[0])
            self._edit(end, end, f"\n{line}")
        else:
            self._edit(0, 0, f"{line}\n")

    def edits(self) -> dict[tuple[int, int], str]:
        """The changes so far, for `put_back`."""
        return dict(self._edits)

    def put_back(self, edits: dict[tuple[int, int], str]) -> None:
        """Forget all changes but these."""
        self._edits = edits

    def changed(self) -> str:
        """The text with all changes."""
        out = self._bytes
        for (start, end), new in sorted(self._edits.items(), reverse=True):
            out = out[:start] + new.encode() + out[end:]
        return out.decode()

    def _span(self, node: Any) -> tuple[int, int]:
        start = self._starts[node.lineno - 1] + node.col_offset
        return start, self._starts[node.end_lineno - 1] + node.end_col_offset

    def _replace(self, node: ast.expr, value: str) -> bool:
        start, end = self._span(node)
        if self._bytes[start:end].decode() == value:
            return True  # it says so already
        return self._edit(start, end, value)

    def _edit(self, start: int, end: int, new: str) -> bool:
        """Note a change; False where another one is of the same place."""
        for known_start, known_end in self._edits:
            if start < known_end and known_start < end:
                return False
        self._edits[start, end] = self._edits.get((start, end), "") + new
        return True

    def _append(self, call: ast.Call, argument: str) -> bool:
        parts = [*call.args, *(k.value for k in call.keywords)]
        _, end = self._span(call)
        if not parts:
            return self._edit(end - 1, end - 1, argument)
        last = max(parts, key=lambda node: self._span(node)[1])
        begins = self._span(last)[1]
        gap = self._bytes[begins : end - 1].decode()
        if not gap.strip():
            return self._edit(begins, begins, f", {argument}")
        if not gap.lstrip().startswith(","):  # a parenthesis or a comment
            return self._edit(end - 1, end - 1, f", {argument}")
        comma = begins + gap.index(",") + 1
        closing = self._starts[(call.end_lineno or 1) - 1]
        if closing < comma or self._bytes[closing : end - 1].strip():
            return self._edit(comma, comma, f" {argument}")
        line = self._bytes[self._starts[last.lineno - 1] :]
        indent = line[: len(line) - len(line.lstrip())].decode()
        return self._edit(closing, closing, f"{indent}{argument},\n")


def _parameters(cls: Any) -> list[str]:
    """The names of the arguments in order, those that ``**kwargs`` hands to a base class last."""
    names: list[str] = []
    for base in inspect.getmro(cls) if inspect.isclass(cls) else [cls]:
        function = base.__dict__.get("__init__") if inspect.isclass(base) else base
        if function is None:
            continue
        try:
            parameters = list(inspect.signature(function).parameters.values())
        except (TypeError, ValueError):  # of C
            break
        known = [p.name for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
        names += [n for n in known if n != "self" and n not in names]
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return names


def literal(value: Any) -> str:
    """A value as it is written in a program."""
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, bool | None):
        return repr(value)
    if isinstance(value, float):
        return repr(float(f"{value:.3g}"))
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(literal, value))}]"
    return repr(value)


def name_of_keras(tree: ast.Module) -> str | None:
    """What a file calls Keras: ``keras``, ``tf.keras``; None where it imports parts of it only."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name == "keras":
                    return alias.asname or "keras"
                if alias.name == "tensorflow":
                    return f"{alias.asname or 'tensorflow'}.keras"
        elif isinstance(node, ast.ImportFrom) and node.module == "tensorflow":
            for alias in node.names:
                if alias.name == "keras":
                    return alias.asname or "keras"
    return None


def renamed(code: str, names: dict[str, str]) -> str | None:
    """Lines of code with variables called otherwise; None where they need one that there is not.

    Args:
        code: The lines, about ``model``, ``x`` and ``y``, and modules.
        names: What each of these is called; those that are missing are not there.

    Example:
        >>> renamed('tfinit.initialize(model, "lsuv", x=x)', {"tfinit": "tfinit", "model": "net"})
        >>> renamed('tfinit.initialize(model, "he")', {"tfinit": "tfinit", "model": "net"})
        'tfinit.initialize(net, "he")'
    """
    try:
        source = Source(code)
    except SyntaxError:
        return None
    found = [node for node in ast.walk(source.tree) if isinstance(node, ast.Name)]
    made = {n.id for n in found if isinstance(n.ctx, ast.Store)} - {"model", "x", "y"}
    known = {*names, *made, *dir(builtins)}
    if not all(node.id in known for node in found):
        return None
    for node in found:
        source.rename(node, names.get(node.id, node.id))
    return source.changed()


def name_of_module(tree: ast.Module, module: str) -> str | None:
    """What a file calls a module that it imports whole; None where it does not."""
    whole = [a for n in tree.body if isinstance(n, ast.Import) for a in n.names]
    return next((a.asname or module for a in whole if a.name == module), None)


def names_of_modules(tree: ast.Module) -> set[str]:
    """What a file imports, by the names that it has in it."""
    imports = [n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)]
    return {(a.asname or a.name).split(".")[0] for node in imports for a in node.names}


def difference(before: str, after: str, path: str) -> str:
    """A unified diff of a file; "" where nothing changed."""
    lines = difflib.unified_diff(
        before.splitlines(), after.splitlines(), path, path, n=1, lineterm=""
    )
    return "\n".join(lines)
