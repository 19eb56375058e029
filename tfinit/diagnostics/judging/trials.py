"""A cure is tried on a copy, with the same measurement, before it is named."""

import ast
import threading
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from tfinit.diagnostics.judging.cures import EVERY_LAYER, Cure, in_vain
from tfinit.diagnostics.judging.findings import SEVERE, Finding
from tfinit.graph.overlay import Put, overlaid

# What warns while a cure is tried warns nobody. Python's filters are the process's.
_warnings = threading.Lock()

# A line of code → the findings after it; None where it cannot be tried, False where it fails.
Try = Callable[[str], "list[Finding] | Literal[False] | None"]


def with_cures_that_cure(findings: Sequence[Finding], attempt: Try) -> list[Finding]:
    """The findings, and of the severe ones only the code after which they are not found again.

    Where a finding's own line does not do, another that does is named in its place; where none
    does, none is, and the words say so.

    Args:
        findings: What was found.
        attempt: As `Trial` does it.
    """
    known: dict[str, list[Finding] | Literal[False] | None] = {}

    def after(code: str) -> list[Finding] | Literal[False] | None:
        if code not in known:
            known[code] = attempt(code)
        return known[code]

    return [
        _confirmed(finding, findings, after)
        if finding.severity == SEVERE and finding.code
        else finding
        for finding in findings
    ]


def _confirmed(finding: Finding, before: Sequence[Finding], after: Try) -> Finding:
    own = Cure(finding.cure, finding.code, finding.changes)
    others = [c for c in EVERY_LAYER if c.code != own.code] if _draws_weights(own.code) else []
    partly = None
    for cure in (own, *others):
        left = after(cure.code)
        if left is None:
            return finding
        if left is False:
            continue
        severe = {f.kind for f in left if f.severity == SEVERE}
        if finding.kind in severe:
            continue
        if severe <= {f.kind for f in before}:
            return replace(finding, cure=cure.words, code=cure.code, changes=cure.changes)
        if partly is None and len(severe) <= sum(f.severity == SEVERE for f in before):
            partly = cure
    chosen = partly or in_vain(finding.kind, finding.layer)
    return replace(finding, cure=chosen.words, code=chosen.code, changes=chosen.changes)


class Trial:
    """A model and the batch that it was diagnosed on, to try lines of code on.

    All of it happens in this thread's copy of the variables and on a layer's attributes as this
    thread sees them: the model is not written, and no stream of random numbers is drawn from.

    Args:
        model: The model.
        x: The batch as it was given; None where it was made up.
        y: Its targets.
        find: (x, y) → the findings in the model as it is now.
    """

    def __init__(
        self, model: Any, x: Any, y: Any, find: Callable[[Any, Any], list[Finding]]
    ) -> None:
        self._model, self._x, self._y, self._find = model, x, y, find

    def __call__(self, code: str) -> list[Finding] | Literal[False] | None:
        """What is found after a line of code.

        None where it is not of those that can be tried: calls of tfinit that draw weights,
        attributes of a layer, and ``x`` or ``y`` made anew. False where it fails.
        """
        import keras

        from tfinit.graph.snapshot import apart  # it imports Keras

        statements = ast.parse(code).body
        if not all(map(_can_be_tried, statements)):
            return None
        names = {"tfinit": _Seeded, "keras": keras, "numpy": np}
        names |= {"model": self._model, "x": self._x, "y": self._y}
        try:
            with _warnings, warnings.catch_warnings():
                warnings.simplefilter("ignore")
                with apart(self._model), overlaid() as put:
                    for statement in statements:
                        if not _perform(statement, names, put):
                            return None
                    return self._find(names["x"], names["y"])
        except Exception:
            # A line that fails cures nothing, and neither does one after which nothing is measured.
            return False


class _Seeded:
    """tfinit, as a line of code calls it, with random numbers of a stream of its own."""

    @staticmethod
    def initialize(*args: Any, **options: Any) -> Any:
        from tfinit.schemes import initialize

        return initialize(*args, **{"seed": 0, **options})

    @staticmethod
    def recommend(model: Any) -> Any:
        from tfinit.diagnostics.advising.advice import recommend

        return _SeededAdvice(recommend(model))


class _SeededAdvice:
    def __init__(self, advice: Any) -> None:
        self._advice = advice

    def apply(self, **options: Any) -> Any:
        return self._advice.apply(**{"seed": 0, **options})


def _draws_weights(code: str) -> bool:
    return code.startswith(("tfinit.initialize(", "tfinit.recommend("))


def _can_be_tried(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Expr):
        return _draws_weights(ast.unparse(statement))
    if not isinstance(statement, ast.Assign) or len(statement.targets) != 1:
        return False
    target = statement.targets[0]
    return isinstance(target, ast.Attribute) or ast.unparse(target) in ("x", "y")


def _perform(statement: ast.stmt, names: dict[str, Any], put: Put) -> bool:
    """Do it, with attributes as this thread sees them; False where that cannot be."""
    target = statement.targets[0] if isinstance(statement, ast.Assign) else None
    if not isinstance(target, ast.Attribute):
        exec(compile(ast.Module([statement], []), "<cure>", "exec"), names)
        return True
    assert isinstance(statement, ast.Assign)
    owner = _value(target.value, names)
    # A property (as `trainable`) does more than to be remembered.
    if not _is_own(owner, target.attr):
        return False
    put(owner, target.attr, _value(statement.value, names))
    return True


def _is_own(owner: Any, name: str) -> bool:
    import keras

    if not isinstance(owner, keras.layers.Layer) or isinstance(owner, keras.Model):
        return False
    return name in vars(owner) and not hasattr(type(owner), name)


def _value(expression: ast.expr, names: dict[str, Any]) -> Any:
    return eval(compile(ast.Expression(expression), "<cure>", "eval"), names)
