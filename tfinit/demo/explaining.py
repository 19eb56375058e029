"""What initializations and findings are, in words: read from their docstrings, where there is one.

A docstring that explains has a paragraph that begins with ``Why:``; its first line is the formula,
and of an initialization's the last paragraph is the paper.
"""

import ast
import functools
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import tfinit
from tfinit.demo.menu import CONSTANT, NORMAL
from tfinit.schemes.engine.registry import REGISTRY

_TWINS = (
    "All units of a layer then compute the same and get the same gradient: they are twins, and "
    "training keeps them equal."
)
# Keras's own, and what has no docstring of ours: the formula, and what becomes of it.
_WORDS = {
    "zeros": ("w = 0", f"{_TWINS} Where all layers are zero, most gradients are zero too."),
    "ones": ("w = 1", f"{_TWINS} And signals grow by the number of inputs at each layer."),
    CONSTANT: ("w = c", _TWINS),
    NORMAL: (
        "w ~ N(0, std²), whatever the layer's size",
        "Where the weights are too small, signals vanish on their way through the layers; where "
        "they are too large, signals explode. The size that is right depends on the number of "
        "inputs: for ReLU it is √(2 / fan_in), which is He.",
    ),
    "random_normal": ("w ~ N(0, 0.05²), whatever the layer's size", ""),
    "random_uniform": ("w ~ U(-0.05, 0.05), whatever the layer's size", ""),
    "truncated_normal": ("w ~ N(0, 0.05²), cut at two deviations", ""),
}
# Names of Keras and of classes, by the scheme that explains them.
_LIKE = {
    "keras": "xavier",
    "glorot": "xavier",
    "he": "he",
    "lecun": "lecun",
    "He": "he",
    "LeCun": "lecun",
    "Orthogonal": "orthogonal",
    "Xavier": "xavier",
}


def initialization(name: str) -> dict[str, str]:
    """An initialization of the menu: ``formula``, ``why``, ``paper``, ``link``; "" where none is.

    Keras is not imported: the page opens before it.

    Example:
        >>> he = initialization("he_normal")
        >>> he["formula"][:20], he["link"]
        ('σ² = gain² / fan_in,', 'https://arxiv.org/abs/1502.01852')
    """
    if name in _WORDS:
        formula, why = _WORDS[name]
        return {"formula": formula, "why": why or _WORDS[NORMAL][1], "paper": "", "link": ""}
    known = _LIKE.get(name.split("_")[0], name)
    doc = inspect.getdoc(REGISTRY[known].function) if known in REGISTRY else _classes().get(known)
    paragraphs = _paragraphs(doc or "")
    paper = (
        paragraphs[-1] if len(paragraphs) > 1 and re.search(r"\b\d{4}\b", paragraphs[-1]) else ""
    )
    link = re.search(r"https?://[^\s;,]+[^\s;,.]", paper)
    return {
        "formula": paragraphs[0].rstrip(".") if paragraphs else "",
        "why": reason(doc),
        "paper": re.sub(r",? https?://[^\s;,]+[^\s;,.]", "", paper),
        "link": link.group() if link else "",
    }


def finding_reason(code: str) -> str:
    """Why what a rule of the diagnosis finds is a fault; "" of a rule that does not say."""
    from tfinit.diagnostics.judging.rules import RULES

    return next((reason(rule.find.__doc__) for rule in RULES if code and rule.code == code), "")


def terms(text: str) -> dict[str, str]:
    """The technical terms in a text that no finding explains: term → what it is."""
    from tfinit.diagnostics.judging.trends import Trends

    known = {"depth scale": reason(Trends.depth_scale.__doc__)}
    return {term: meaning for term, meaning in known.items() if term in text}


def reason(docstring: str | None) -> str:
    """The paragraph of a docstring that begins with ``Why:``, on one line, or ""."""
    found = (p for p in _paragraphs(docstring or "") if p.startswith("Why: "))
    text = next(found, "").removeprefix("Why: ")
    return text[:1].upper() + text[1:]


def _paragraphs(docstring: str) -> list[str]:
    """Each on one line, without the marks of reStructuredText."""
    text = inspect.cleandoc(docstring).replace("``", "`")
    text = re.sub(r":\w+:`~?([^`]*)`", r"`\1`", text)
    return [" ".join(part.split()) for part in re.split(r"\n\s*\n", text) if part.strip()]


@functools.cache
def _classes() -> dict[str, str]:
    """Class of `tfinit.initializers` → docstring, read from the source: they need Keras."""

    def found() -> Iterator[tuple[str, str]]:
        for file in sorted(Path(tfinit.__file__).with_name("initializers").glob("*.py")):
            for node in ast.parse(file.read_text("utf-8")).body:
                if isinstance(node, ast.ClassDef):
                    yield node.name, ast.get_docstring(node) or ""

    return dict(found())
