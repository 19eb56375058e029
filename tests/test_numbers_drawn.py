"""Each test draws its own numbers (`rng` of conftest.py): they depend on no test before it."""

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
GENERATORS = {"default_rng", "RandomState", "Generator", "Random", "SeedGenerator"}


def shared(code):
    """Lines on which a file makes a generator as it is loaded, and keeps it.

    Those it draws from at once, ``default_rng(0).normal(size=3)``, are kept by nobody.
    """
    used, lines = set(), []
    waiting = list(ast.parse(code).body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            waiting += [*node.decorator_list, node.args]  # its body is run when it is called
            continue
        if isinstance(node, ast.Lambda):
            continue
        if isinstance(node, ast.Attribute):
            used.add(id(node.value))
        if isinstance(node, ast.Call) and id(node) not in used:
            name = getattr(node.func, "attr", getattr(node.func, "id", None))
            if name in GENERATORS:
                lines.append(node.lineno)
        waiting += ast.iter_child_nodes(node)
    return sorted(lines)


@pytest.mark.parametrize(
    ("code", "lines"),
    [
        ("RNG = np.random.default_rng(0)", [1]),
        ("X = 1\nA, B = default_rng(0), np.random.RandomState(1)", [2, 2]),
        ("class T:\n    rng = random.Random(0)", [2]),
        ("def f(x, rng=np.random.default_rng(0)): pass", [1]),
        ("@pytest.mark.parametrize('rng', [np.random.default_rng(0)])\ndef f(rng): pass", [1]),
        ("X = np.random.default_rng(0).normal(size=3)", []),
        ("X = [np.random.default_rng(i).random(3) for i in range(2)]", []),
        ("def f():\n    rng = np.random.default_rng(0)", []),
        ("f = lambda: np.random.default_rng(0)", []),
    ],
)
def test_generators_that_a_file_keeps_are_found(code, lines):
    assert shared(code) == lines


def test_no_file_of_tests_keeps_a_generator():
    found = {str(p.relative_to(TESTS)): shared(p.read_text()) for p in TESTS.rglob("*.py")}
    assert {path: lines for path, lines in found.items() if lines} == {}
