"""Names of before: they are found, with a warning that says today's."""

import contextlib
import importlib
import sys
import warnings

import pytest

import tfinit
import tfinit.lottery
import tfinit.pruning
import tfinit.training
from tfinit.lottery import frameworks, report
from tfinit.training import compiled

# Here they are what is asked for.
pytestmark = pytest.mark.filterwarnings("always::tfinit.errors.TfinitDeprecationWarning")


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


@pytest.mark.parametrize(
    "former, today",
    [
        ("pruning.criteria.score", "pruning.scoring.after_training.score_trained"),
        ("pruning.allocation.sparsities", "pruning.scoring.sparsities.sparsities"),
        ("pruning.schedules.check_schedule", "pruning.in_training.schedule_checks.check_schedule"),
        ("lottery.config.KERASES", "devices.KERASES"),
        ("lottery.config.OPTIMIZERS", "optimizers.OPTIMIZERS"),
        ("lottery.config.ALLOCATIONS", "pruning.scoring.allocation.NAMES"),
        ("variables.PRUNABLE_NAMES", "graph.layer_kinds.PRUNABLE_NAMES"),
        ("fans.summed_axes", "graph.einsum.summed_axes"),
        ("training.metrics.Record", "training.metrics.MetricsRecorder"),
        ("cli.device.wake_up", "cli.device.warm_up"),
    ],
)
def test_what_is_in_another_module_today_is_found_where_it_was(former, today):
    home, name = f"tfinit.{former}".rsplit(".", 1)
    now, name_now = f"tfinit.{today}".rsplit(".", 1)
    with pytest.warns(DeprecationWarning, match=f"tfinit.{former} is now tfinit.{today}"):
        found = getattr(importlib.import_module(home), name)
    assert found is getattr(importlib.import_module(now), name_now)


@pytest.mark.parametrize(
    "call, said",
    [
        (
            lambda: tfinit.lottery.lottery(parts=1, store=1, config=1, seed=0, progress=print),
            "framework",
        ),
        (lambda: _prune_early(frameworks.KerasFramework), "score"),
        (lambda: _prune_early(frameworks.TfmotFramework), "score"),
    ],
)
def test_arguments_of_an_experiment_have_their_former_names(call, said):
    with pytest.warns(DeprecationWarning, match=f"is now `{said}`"), contextlib.suppress(Exception):
        call()


def _prune_early(framework):
    framework.prune_at_initialization(None, method="snip", initial={}, keep=1, seed=0)


def test_former_lists_are_what_is_registered():
    said = r"CRITERIA is now tfinit\.pruning\.scoring\.scores\.names\(AFTER\)"
    with pytest.warns(DeprecationWarning, match=said):
        from tfinit.pruning.at_initialization import METHODS
        from tfinit.pruning.rules import SCORES

        from tfinit.lottery.config import CRITERIA
    assert {"magnitude", "small-final", "distance", "random"} < set(CRITERIA)
    assert set(METHODS) >= {"magnitude", "random", "snip", "grasp", "synflow"}
    assert set(SCORES) >= {"magnitude", "random", "movement", "snip"}


@pytest.mark.parametrize(
    "line",
    [
        "import tfinit.pruning.lora",
        "from tfinit.pruning.lora import merge_lora",
        "from tfinit.pruning import lora",
        "tfinit.pruning.lora",
        "importlib.import_module('tfinit.pruning.lora')",
    ],
)
def test_a_former_module_warns_at_the_line_that_uses_it(line, monkeypatch):
    monkeypatch.delitem(sys.modules, "tfinit.pruning.lora", raising=False)
    monkeypatch.delitem(vars(tfinit.pruning), "lora", raising=False)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        exec(compile(line, "the user's file", "exec"), {"tfinit": tfinit, "importlib": importlib})
    assert [one.filename for one in seen] == ["the user's file"]
    assert "is now tfinit.pruning.in_training.lora" in str(seen[0].message)


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
