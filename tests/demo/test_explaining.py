"""What the page says of initializations and findings: their docstrings, read."""

import inspect

import pytest

from tfinit.demo import explaining, menu
from tfinit.diagnostics.judging.rules import RULES
from tfinit.schemes.engine.registry import REGISTRY


@pytest.mark.parametrize(
    "name, formula, why, paper, link",
    [
        ("he", "σ² = gain² / fan_in", "ReLU sets half", "ICCV 2015.", "abs/1502.01852"),
        ("he_uniform", "σ² = gain² / fan_in", "ReLU sets half", "ICCV 2015.", "abs/1502.01852"),
        ("lsuv", "W ← W · s", "this one looks", "ICLR 2016.", "abs/1511.06422"),
        ("ZerO", "w = I (out ≤ in)", "Nothing is random", "TMLR 2022.", "abs/2110.12661"),
        ("Sparse", "Each output unit has k", "how wide", "ICML 2010 (k = 15, std = 1).", ""),
        ("keras", "σ² = gain² · 2 /", "as tanh is", "AISTATS 2010.", "v9/glorot10a.html"),
        ("zeros", "w = 0", "twins", "", ""),
        ("normal", "w ~ N(0, std²)", "explode", "", ""),
    ],
)
def test_an_initialization_in_words(name, formula, why, paper, link):
    about = explaining.initialization(name)
    assert about["formula"].startswith(formula)
    assert why in about["why"]
    assert about["paper"].endswith(paper) and "http" not in about["paper"]
    assert about["link"].endswith(link)


def test_each_of_the_menu_is_explained_and_each_scheme_names_its_paper():
    told = {name: explaining.initialization(name) for name in menu.initializations()}
    assert [name for name, about in told.items() if not (about["formula"] and about["why"])] == []
    assert [n for n in told if n in REGISTRY and not told[n]["link"].startswith("http")] == []
    for name in set(told) & set(REGISTRY):
        first = inspect.getdoc(REGISTRY[name].function).splitlines()[0]
        assert first.replace("``", "`").startswith(told[name]["formula"][:40])


def test_each_rule_says_why_and_the_depth_scale_is_explained_where_it_is_named():
    assert [rule.code for rule in RULES if not explaining.finding_reason(rule.code)] == []
    assert "Units with the same weights" in explaining.finding_reason("TFI002")
    assert explaining.finding_reason("") == ""
    assert explaining.terms("Healthy: 0.8 (depth scale 9.5 layers).").keys() == {"depth scale"}
    assert explaining.terms("Gradients shrink.") == {}
