"""The scripts of published lottery experiments in small."""

import importlib
import runpy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tfinit.executors.workers import Workers, threaded
from tfinit.lottery.config import LotteryConfig
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


def result(seed, branch, level, density, accuracy, diverged_at=None):
    mask = {"w": np.arange(1000) < 1000 * density}
    columns = {"validation_loss": [2.0, 1.0], "test_accuracy": [0.1, accuracy]}
    metrics = Metrics(np.array([0, 10]), {k: np.array(v) for k, v in columns.items()})
    return LevelResult(seed, branch, level, {}, {}, mask, {}, metrics, diverged_at)


def test_nothing_heavy_is_imported_before_signals_are_heard():
    """As the first process of a container, it would not hear them for as long as that takes."""
    code = f"import sys, {', '.join(NAMES)}; print(*{{'keras', 'matplotlib'}} & {{*sys.modules}})"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=SCRIPTS, capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


SMALL = {
    "model": "mlp-2-relu",
    "steps": 8,
    "evaluate_every": 4,
    "train_examples": 60,
    "batch_size": 20,
    "levels": 2,
    "seeds": (0, 1),
    "dataset": "digits",
    "augment": False,
    "rewind_step": 2,
    "spawn_steps": (0, 2),
    "points": 3,
}


@pytest.fixture
def small(script, monkeypatch):
    """Every experiment of a script, a few steps of a small network long: the results are real."""
    experiment = script("_experiment")
    choose = experiment.Options.choose

    def smaller(options, full, quick, label=""):
        config = choose(options, full, quick, label)
        changes = {name: value for name, value in SMALL.items() if hasattr(config, name)}
        return replace(config, **changes)

    monkeypatch.setattr(experiment.Options, "choose", smaller)


@pytest.mark.parametrize(
    ("name", "flags", "changed"),
    [
        ("frankle2019", [], {}),
        ("frankle2020_rewinding", ["--quick"], {"STEPS": {True: (0, 4)}}),
        ("frankle2020_stability", [], {}),
        ("initializations", ["--names", "he", "zeros"], {}),
        ("renda2020", ["--quick"], {}),
        ("sanity_checks", [], {}),
        ("zhou2019", ["--quick"], {}),
    ],
)
def test_a_script_leaves_table_and_figure(
    script, small, monkeypatch, tmp_path, capsys, name, flags, changed
):
    module, experiment = script(name), script("_experiment")
    if name == "frankle2019":  # its claims are those of the network
        monkeypatch.delitem(SMALL, "model")
    if name == "zhou2019":  # 11 experiments, of which three are run, and stand for the others
        of, run = module.run_all, ("magnitude", "large-final-same-sign", "random")

        def three(configs, workers):
            found = of({n: configs[n] for n in run}, workers)
            return {n: found.get(n, found["random"]) for n in configs}

        monkeypatch.setattr(module, "run_all", three)
    for constant, value in changed.items():
        monkeypatch.setattr(module, constant, value)
    figure = tmp_path / "here" / "figure.png"
    paths = ["--run-dir", str(tmp_path / "run"), "--figure", str(figure)]
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *paths, *flags])
    options = getattr(module, "Settings", experiment.Options)
    experiment.main(module.script, options, module.__doc__)
    text = (tmp_path / "run" / "table.md").read_text(encoding="utf-8")
    assert text.strip() in capsys.readouterr().out
    for table in text.split("\n\n")[1::2]:
        assert len({line.count("|") for line in table.splitlines()}) == 1
    assert figure.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("network", ["conv-2", "conv-4", "conv-6"])
def test_the_convolutions_are_pruned_by_their_own_fraction(script, network):
    config = script("frankle2019").Settings(network=network).config()
    convolutions = [f"conv{n}/kernel" for n in range(1, int(network[-1]) + 1)]
    assert list(config.layer_prune_fractions) == convolutions
    assert set(config.layer_prune_fractions.values()) == {0.15 if network == "conv-6" else 0.1}
    assert (config.prune_fraction, config.output_prune_fraction) == (0.2, 0.1)


def test_experiments_run_and_go_on(script, tmp_path, capfd):
    small = {"model": "mlp-2-relu", "train_examples": 60, "output_prune_fraction": 0.2}
    config = LotteryConfig(levels=1, steps=20, seeds=(0,), run_dir=tmp_path, **small)
    experiment = script("_experiment")
    configs = experiment.variants(config, rewind_step={"at-0": 0, "at-5": 5})
    first = experiment.run_all(configs)
    assert "at-5 seed 0 level  1 reinit: density 80" in capfd.readouterr().err
    again = experiment.run_all(configs)
    assert list(again) == ["at-0", "at-5"]
    for name, found in again.items():
        assert [r.final_accuracy for r in found] == [r.final_accuracy for r in first[name]]


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
    assert options(threads=3).choose(full, quick) == replace(full, threads=3)
    asked = threaded(options(workers=2), Workers(2, cpus_per_training=4))
    assert asked.choose(full, quick) == replace(full, threads=4)


def test_an_error_is_one_line(script, monkeypatch, tmp_path, capsys):
    (tmp_path / "else").write_text("")
    monkeypatch.setattr(sys, "argv", ["renda2020.py", "--run-dir", str(tmp_path), "--quick"])
    module, experiment = script("renda2020"), script("_experiment")
    with pytest.raises(SystemExit) as stopped:
        experiment.main(module.script, experiment.Options, None)
    assert stopped.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


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


@pytest.mark.parametrize("path", sorted(SCRIPTS.glob("[!_]*.py")), ids=lambda path: path.stem)
def test_help_runs_nothing(monkeypatch, tmp_path, capsys, path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(SCRIPTS))
    monkeypatch.setattr(sys, "argv", [str(path), "--help"])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(path), run_name="__main__")
    assert not stopped.value.code
    assert capsys.readouterr().out.startswith("usage: ")
    assert not [*tmp_path.iterdir()]


def history(*_):
    return {"loss": [2.0, 1.0], "val_accuracy": [0.1, 0.9]}


@pytest.mark.parametrize(
    ("name", "made_up"),
    [
        ("completep", {"losses": lambda *_: np.ones(10)}),
        ("delta_orthogonal", {"train": history}),
        ("fixup", {"train": lambda *_: ([2.0, float("inf")], 0.5)}),
        ("he2015", {"train": history}),
        ("saxe2014", {"best": lambda *_: (7, 0.5), "flow": lambda *_: 3.0, "DEPTHS": (2, 3)}),
        ("twins", {"train": lambda *_: (1, 1, [0.1, 0.2])}),
    ],
)
def test_a_figure_goes_where_the_user_works_or_says(
    script, monkeypatch, tmp_path, capsys, name, made_up
):
    module = script(name)
    for function, instead in made_up.items():
        monkeypatch.setattr(module, function, instead)
    monkeypatch.chdir(tmp_path)
    for flags, figure in (([], f"{name}.png"), (["--figure", "deep/mine.png"], "deep/mine.png")):
        monkeypatch.setattr(sys, "argv", [str(SCRIPTS / f"{name}.py"), *flags])
        module.main()
        assert (tmp_path / figure).read_bytes().startswith(b"\x89PNG")
        assert capsys.readouterr().out.splitlines()[-1] == f"wrote {figure}"
    assert {p.name for p in tmp_path.iterdir()} == {f"{name}.png", "deep"}
    (tmp_path / "file").touch()
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--figure", "file/figure.png"])
    monkeypatch.setattr(module, next(iter(made_up)), None)  # it is seen before the work
    with pytest.raises(SystemExit) as stopped:
        module.main()
    assert stopped.value.code == 2
    assert "`figure` 'file/figure.png' cannot be written: Not a dir" in capsys.readouterr().err


def test_no_script_writes_beside_itself():
    for path in [*SCRIPTS.glob("*.py"), *SCRIPTS.with_name("benchmarks").glob("*.py")]:
        others = {"keras_hub_table", "own_networks", "prune_channels"}
        if path.stem in {"constraints", "_attack_files", "_attack_surface", *others}:
            continue  # the first makes a file of the repository, the others read the tests
        source = path.read_text(encoding="utf-8")
        assert "Path(__file__)" not in source, path


def test_textbook_says_how_much_was_foretold(script, monkeypatch, tmp_path, capsys):
    textbook = script("textbook")
    starts = {"mlp-3-tanh": {"xavier": "good", "zeros": "no symmetry broken"}}
    monkeypatch.setattr(textbook, "STARTS", starts)
    figure = tmp_path / "figure.png"
    monkeypatch.setattr(sys, "argv", ["textbook.py", "--quick", "--figure", str(figure)])
    textbook.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "The diagnosis foretold 2 of 2 starts: 2 of 2 trainings."
    assert figure.read_bytes().startswith(b"\x89PNG")
