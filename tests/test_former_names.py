"""Names of before: they are found, with a warning that says today's."""

import importlib
import sys

import pytest

import tfinit.lottery
import tfinit.training
from tfinit.lottery import frameworks, report
from tfinit.training import compiled


@pytest.mark.parametrize(
    ("home", "former", "today"),
    [
        (tfinit.lottery, "Parts", "Framework"),
        (tfinit.lottery, "KerasParts", "KerasFramework"),
        (tfinit.lottery, "TfmotParts", "TfmotFramework"),
        (frameworks, "parts_of", "framework_of"),
        (frameworks, "Training", "TrainingPlan"),
        (report, "Row", "LevelSummary"),
        (tfinit.training, "wake_up", "warm_up"),
        (compiled, "wake_up", "warm_up"),
    ],
)
def test_a_former_name_is_the_thing_of_today(home, former, today):
    with pytest.warns(DeprecationWarning, match=rf"{former} is now .*\.{today}\."):
        found = getattr(home, former)
    assert found is getattr(home, today)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = home.nothing


def test_stability_is_the_function_also_when_its_former_module_is_imported(monkeypatch):
    function = tfinit.lottery.stability
    assert function.__name__ == "stability"
    monkeypatch.delitem(sys.modules, "tfinit.lottery.stability", raising=False)
    with pytest.warns(DeprecationWarning, match=r"is now tfinit\.lottery\.stability_experiment"):
        from tfinit.lottery.stability import StabilityResult, barrier, copy_seed, stability
    assert tfinit.lottery.stability is stability is function
    assert StabilityResult is tfinit.lottery.StabilityResult
    assert barrier([0.1, 0.75, 0.15]) == 0.625
    assert copy_seed(0, 1) != copy_seed(0, 2)
    # As it was called before, in each of the ways to import a module.
    import tfinit.lottery.stability as module

    assert module.stability is function
    assert importlib.import_module("tfinit.lottery.stability").barrier is barrier
    assert tfinit.lottery.stability.summarize_stability is tfinit.lottery.summarize_stability
