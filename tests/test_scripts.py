"""The scripts that repeat published lottery experiments, on the smallest experiments there are."""

import importlib
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tfinit.lottery.config import LotteryConfig, StabilityConfig
from tfinit.lottery.result import LevelResult
from tfinit.training.metrics import Metrics

SCRIPTS = Path(__file__).parents[1] / "scripts"
NAMES = (
    "frankle2019",
    "frankle2020_rewinding",
    "frankle2020_stability",
    "initializations",
    "renda2020",
    "sanity_checks",
    "zhou2019",
)


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module


def small(config):
    """The same experiment as far as its branches go, on LeNet in 20 steps."""
    little = {
        "model": "lenet-300-100",
        "dataset": "digits",
        "train_examples": 120,
        "steps": 20,
        "evaluate_every": 10,
        "warmup_steps": 0,
        "learning_rate_drops": (),
        "augment": False,
        "weight_decay": 0.0,
        "seeds": (0,),
    }
    if isinstance(config, StabilityConfig):
        return replace(config, **little, spawn_steps=(0, 10), points=3)
    k = min(config.rewind_step, 10)
    return replace(config, **little, levels=2, rewind_step=k, layer_prune_fractions={})


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("quick", [True, False])
def test_a_script_leaves_table_and_figure(script, monkeypatch, tmp_path, capsys, name, quick):
    module, experiment = script(name), script("_experiment")
    choose = experiment.Options.choose

    def choose_small(self, full, quick, label=""):
        return small(choose(self, full, quick, label))

    monkeypatch.setattr(experiment.Options, "choose", choose_small)
    if name == "frankle2020_rewinding":
        monkeypatch.setattr(module, "STEPS", {True: (0, 5), False: (0, 5)})
    if name == "zhou2019":
        few = ("magnitude", "large-final-same-sign", "random", "small-final")
        few += ("magnitude-increase", "movement", "large-init")
        monkeypatch.setattr(module, "CRITERIA", few)
    figure = tmp_path / "here" / "figure.png"
    flags = ["--run-dir", str(tmp_path / "run"), "--figure", str(figure)]
    flags += ["--quick"] if quick else []
    if name == "initializations":
        flags += ["--names", "he", "zeros"]
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *flags])
    options = getattr(module, "Settings", experiment.Options)
    experiment.main(module.script, options, module.__doc__)
    printed = capsys.readouterr().out
    text = (tmp_path / "run" / "table.md").read_text(encoding="utf-8")
    assert text.strip() in printed
    for table in text.split("\n\n")[1::2]:
        assert len({line.count("|") for line in table.splitlines()}) == 1
    assert figure.read_bytes().startswith(b"\x89PNG")


def test_the_paper_s_setting_or_the_quick_one(script, monkeypatch):
    options = script("_experiment").Options
    monkeypatch.setattr(sys, "argv", ["scripts/some.py"])
    full, quick = LotteryConfig(dataset="mnist", steps=50_000), LotteryConfig(steps=100)
    assert options().choose(full, quick) == full
    assert options().choose(full, quick).run_dir == Path("runs/some/lenet-300-100-mnist")
    chosen = options(quick=True, dataset="cifar10", seeds=(7,)).choose(full, quick, "low")
    assert chosen == replace(quick, dataset="cifar10", seeds=(7,))
    assert chosen.run_dir == Path("runs/some/lenet-300-100-low-cifar10-quick")
    assert options(run_dir=Path("here")).choose(full, quick).run_dir == Path("here")


def test_an_error_is_one_line(script, monkeypatch, tmp_path, capsys):
    (tmp_path / "else").write_text("")
    monkeypatch.setattr(sys, "argv", ["renda2020.py", "--run-dir", str(tmp_path), "--quick"])
    module, experiment = script("renda2020"), script("_experiment")
    with pytest.raises(SystemExit) as stopped:
        experiment.main(module.script, experiment.Options, None)
    assert stopped.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def result(seed, branch, level, density, accuracy, diverged_at=None):
    mask = {"w": np.arange(1000) < 1000 * density}
    columns = {"validation_loss": [2.0, 1.0], "test_accuracy": [0.1, accuracy]}
    metrics = Metrics(np.array([0, 10]), {k: np.array(v) for k, v in columns.items()})
    return LevelResult(seed, branch, level, {}, {}, mask, {}, metrics, diverged_at)


def test_measured_finds_levels_by_density_and_pairs_replicates(script):
    measured = script("_experiment").Measured(
        [
            result(0, "ticket", 0, 1, 0.9),
            result(0, "ticket", 1, 0.5, 0.8),
            result(0, "reinit", 1, 0.5, 0.7),
            result(1, "ticket", 0, 1, 0.8),
            result(1, "ticket", 1, 0.5, 0.7),
            result(1, "reinit", 1, 0.5, 0.2, diverged_at=5),
        ]
    )
    assert [measured.nearest(d) for d in (0.51, 0.48, 0.2)] == [1, 1, None]
    assert measured.final(1) == "75.0±7.1"
    assert measured.final(1, "reinit") == "70.0"
    assert measured.final(1, "shuffle") == "–"
    gain = measured.gain(1, None)
    assert (gain.mean, gain.n) == (pytest.approx(-10), 2)
    gain = measured.gain(1, "reinit")  # the other replicate of it diverged
    assert (gain.mean, gain.n) == (pytest.approx(10), 1)
    assert measured.gain(1, "shuffle").n == 0


def test_markdown_has_a_cell_for_each_column(script):
    table = script("_experiment").markdown("t", ["a", "b"], [["1", "22"], ["333", ""]])
    assert table.splitlines() == [
        "**t**",
        "",
        "| a   | b  |",
        "| --- | -- |",
        "| 1   | 22 |",
        "| 333 |    |",
    ]
