"""docs/rules.md: how it is made of the rules' docstrings, and that it is as they say."""

import importlib.util
import re
from pathlib import Path

from recipes import recipe

from tfinit.diagnostics.judging.rules import RULES, Kind

ROOT = Path(__file__).parents[1]
spec = importlib.util.spec_from_file_location("rules_page", ROOT / "scripts" / "rules_page.py")
rules_page = importlib.util.module_from_spec(spec)
spec.loader.exec_module(rules_page)


def whole():
    """A layer of one unit
    between others.

    Why: What comes after it
    sees one number.

    It learns little.

    Evidence: ``units`` = 1.

    Cure: Give it more units.

    Example:
        model.add(Dense(1))

        model.add(Dense(8))

    He et al., Deep Residual Learning, CVPR 2016.
    """


def close():
    """A short one.

    Example: model.add(Dense(1))
    A paper, 2020.
    """


def test_a_docstring_is_read():
    found = rules_page.page(whole.__doc__)
    assert found.finds == "A layer of one unit between others."
    assert found.parts == {
        "Why": "What comes after it sees one number.\n\nIt learns little.",
        "Evidence": "`units` = 1.",
        "Cure": "Give it more units.",
        "Example": "model.add(Dense(1))\n\nmodel.add(Dense(8))",
    }
    assert found.source == "He et al., Deep Residual Learning, CVPR 2016."
    assert rules_page.lacks("TFI999", whole.__doc__) == []


def test_what_is_missing_is_said():
    assert rules_page.page(close.__doc__).source == "A paper, 2020."
    missing = [f"TFI999: no paragraph `{name}:`" for name in ("Why", "Evidence", "Cure")]
    assert rules_page.lacks("TFI999", close.__doc__) == missing
    assert rules_page.lacks("TFI1", None)[0] == "TFI1: its first line is no sentence"


def test_a_rule_is_in_the_table_and_has_a_section():
    text = rules_page.written()
    assert "| [TFI002](#tfi002) | twins | " in text
    assert "\n## TFI002\n\n**twins**: " in text


def test_every_rule_says_why_and_how_it_is_seen_its_cure_and_an_example():
    assert len(RULES) > 50
    missing = [words for rule in RULES for words in rules_page.lacks(rule.code, rule.find.__doc__)]
    assert missing == []


def test_so_does_the_recipe():
    before, names = list(RULES), {}
    try:
        exec(recipe("A diagnosis rule"), names)
    finally:
        RULES[:] = before
    assert rules_page.lacks("TFI999", names["bottleneck"].__doc__) == []


def test_the_page_is_as_the_docstrings_say():
    """Else: python scripts/rules_page.py"""
    page = (ROOT / "docs" / "rules.md").read_text(encoding="utf-8")
    assert page == rules_page.written()
    assert re.findall(r"^## (TFI\d+)$", page, re.MULTILINE) == sorted(rule.code for rule in RULES)


def labels():
    return "labels", None


def finds(evidence):
    fault, cure = labels()
    yield evidence.finding("a", "severe", "", "", cure, fault)
    yield evidence.finding("a", "severe", "", "", fault="head")


def finds_of_its_kind(evidence):
    yield evidence.finding("a", "severe", "", "the loss")


def test_the_faults_are_those_that_it_says_itself_else_those_of_its_kinds():
    kind = Kind("a", fault="initial")
    own = rules_page.Rule(finds, (kind,), "TFI999")
    assert rules_page.faults_of(own) == ["head", "labels", "initial"]
    assert rules_page.faults_of(rules_page.Rule(finds_of_its_kind, (kind,), "T")) == ["initial"]
