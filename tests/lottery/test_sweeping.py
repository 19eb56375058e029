"""One experiment in many configurations: what is run, what is told of it, and where it goes on."""

import csv
import json
import re
import shutil

import pytest

from tfinit.cli import main
from tfinit.cli.sweep import read
from tfinit.errors import InputError
from tfinit.lottery import LotteryConfig, load, run, sweep
from tfinit.lottery.sweeping import configurations, sweep_of

SMALL = {
    "levels": 1,
    "steps": 6,
    "seeds": (0,),
    "train_examples": 100,
    "model": "mlp-2-relu",
    "controls": (),
}


def base(path, **changes):
    return LotteryConfig(run_dir=path, **{**SMALL, **changes})


def test_all_combinations_of_a_grid_in_their_order(tmp_path):
    found = configurations(
        base(tmp_path), {"learning_rate": [0.001, 0.1], "learning_rate_drops": [[], [2, 4]]}
    )
    assert list(found) == [
        "learning_rate=0.001,learning_rate_drops=none",
        "learning_rate=0.001,learning_rate_drops=2-4",
        "learning_rate=0.1,learning_rate_drops=none",
        "learning_rate=0.1,learning_rate_drops=2-4",
    ]
    last = found["learning_rate=0.1,learning_rate_drops=2-4"]
    assert (last.learning_rate, last.learning_rate_drops) == (0.1, (2, 4))
    assert last.run_dir == tmp_path / "learning_rate=0.1,learning_rate_drops=2-4"
    assert last.steps == 6


def test_a_list_of_configurations(tmp_path):
    changes = [
        {"optimizer": "sgd", "learning_rate": 0.1},
        {"optimizer": "adam", "learning_rate": 1e-3},
    ]
    found = configurations(base(tmp_path), changes)
    assert [(c.optimizer, c.learning_rate) for c in found.values()] == [
        ("sgd", 0.1),
        ("adam", 1e-3),
    ]


@pytest.mark.parametrize(
    ("grid", "told"),
    [
        ({}, "varies nothing"),
        ([], "varies nothing"),
        ({"steps": []}, "varies nothing"),
        ({"step": [1]}, r"may vary .*steps.*received 'step'"),
        ({"run_dir": ["a"]}, "received 'run_dir'"),
        ({"steps": 5}, r"`grid\['steps'\]` must be a list of values"),
        ({"optimizer": "sgd"}, r"`grid\['optimizer'\]` must be a list of values"),
        ({"steps": [5, 5]}, "steps=5 twice"),
        ({"steps": [5, 0]}, "`steps` must be a whole number of at least 1"),
        ([{"steps": 5}, {"optimizer": "sgd"}], "Name the same fields in all"),
        ("steps", "`grid` must be"),
    ],
)
def test_what_is_no_grid_is_told_before_anything_is_written(tmp_path, grid, told):
    with pytest.raises(InputError, match=told):
        sweep(base(tmp_path / "sweep"), grid, progress=False)
    assert not (tmp_path / "sweep").exists()


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    path = tmp_path_factory.mktemp("sweep") / "all"
    told = []
    grid = {"initialization": ["zeros", "he"]}
    found = sweep(base(path), grid, False, lambda name, result: told.append((name, result.level)))
    return path, found, told


def test_each_configuration_is_an_experiment_of_its_own(swept, tmp_path):
    path, found, told = swept
    assert told == [
        (f"initialization={name}", level) for name in ("zeros", "he") for level in (0, 1)
    ]
    alone = run(base(tmp_path / "alone", initialization="he"), progress=False)
    assert list(map(str, found.runs[1].results)) == list(map(str, alone))
    there, here = path / "initialization=he", tmp_path / "alone"
    level = "seed-0/ticket/level-01.npz"
    assert (there / level).read_bytes() == (here / level).read_bytes()
    assert (there / "conclusion.txt").read_text() == (here / "conclusion.txt").read_text()


def test_table_and_figure_of_all(swept):
    path, found, _ = swept
    assert found.best == "initialization=he"  # from zeros nothing is learned
    rows = list(csv.DictReader((path / "sweep.csv").read_text().splitlines()))
    assert [(row["initialization"], row["level"]) for row in rows] == [
        ("zeros", "0"),
        ("zeros", "1"),
        ("he", "0"),
        ("he", "1"),
    ]
    he = found.runs[1].results
    assert float(rows[3]["value"]) == he[1].final_value
    assert float(rows[3]["density"]) == pytest.approx(he[1].density)
    text = str(found)
    assert "2 configurations of" in text
    assert sweep_of(found.runs[:1], []).title == "1 configuration"
    assert "zeros" in text
    assert text.endswith("Best last tickets: initialization=he.")
    assert (path / "sweep.png").stat().st_size > 1000
    assert json.loads(json.dumps(found.to_dict()))["best"] == "initialization=he"


SWEEP = """
levels = 1
steps = 6
seeds = [0]
train_examples = 100
model = "mlp-2-relu"
controls = []

[sweep]
initialization = ["zeros", "he"]
"""


@pytest.fixture
def directory(swept, tmp_path):
    """A sweep that is whole, to be changed."""
    return shutil.copytree(swept[0], tmp_path / "sweep")


def test_its_directory_tells_the_results(swept, directory):
    found, loaded = swept[1], load(directory)
    assert loaded.finished
    assert loaded.missing == ()
    assert str(loaded) == str(loaded.results) == str(found)
    assert loaded.results.best == found.best
    assert loaded.results.to_dict() == found.to_dict()
    assert loaded.to_frame()["initialization"].tolist() == ["zeros", "zeros", "he", "he"]
    assert len(loaded.runs["initialization=he"].results) == 2
    (directory / "initialization=he/seed-0/ticket/level-01.npz").unlink()
    shutil.rmtree(directory / "initialization=zeros")
    loaded = load(directory)
    assert loaded.missing == (
        "initialization=zeros: all",
        "initialization=he: seed 0 level 1 ticket",
    )
    assert [run.name for run in loaded.results.runs] == ["initialization=he"]


@pytest.mark.parametrize("with_file", [False, True])
def test_reports_come_again_without_training(directory, tmp_path, capfd, with_file):
    reports = [p for p in directory.rglob("*") if p.suffix in (".csv", ".png", ".txt")]
    before = {path: path.read_bytes() for path in reports}
    for path in reports:
        path.unlink()
    (tmp_path / "sweep.toml").write_text(SWEEP)
    file = [str(tmp_path / "sweep.toml")] if with_file else []
    main(["sweep", *file, "--plot-only", "--run-dir", str(directory)])
    assert {path: path.read_bytes() for path in reports} == before
    out = capfd.readouterr().out
    assert "2 configurations of mlp-2-relu on digits" in out
    assert out.endswith(f"Tables and figures: {directory}\n")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("steps = 6", "steps = 7"), "steps of initialization=zeros is another one than in"),
        (('"he"]', '"lsuv"]'), "asks for initialization=lsuv, of which .* has nothing"),
    ],
)
def test_a_file_that_asks_for_something_else_is_refused(directory, tmp_path, capfd, change, told):
    (tmp_path / "sweep.toml").write_text(SWEEP.replace(*change))
    with pytest.raises(SystemExit) as stop:
        main(["sweep", str(tmp_path / "sweep.toml"), "--plot-only", "--run-dir", str(directory)])
    assert stop.value.code == 2
    assert re.search(told, capfd.readouterr().err)


def test_a_larger_grid_goes_on_where_it_was(swept):
    path, found, _ = swept
    level = path / "initialization=he/seed-0/ticket/level-01.npz"
    before = level.stat().st_mtime_ns
    grid = {"initialization": ["zeros", "he", "orthogonal"]}
    grown = sweep(base(path), grid, progress=False)
    assert level.stat().st_mtime_ns == before
    assert list(map(str, grown.runs[1].results)) == list(map(str, found.runs[1].results))
    assert len(grown.runs) == 3


def test_a_file_says_the_experiment_and_what_is_varied(tmp_path):
    file = tmp_path / "sweep.toml"
    file.write_text('levels = 2\nseeds = [4]\n[sweep]\noptimizer = ["sgd", "adam"]\n')
    config, grid = read(file, tmp_path / "run")
    assert (config.levels, config.seeds, config.run_dir) == (2, (4,), tmp_path / "run")
    assert grid == {"optimizer": ["sgd", "adam"]}
    file.write_text("levels = 2\n[[run]]\nsteps = 5\n[[run]]\nsteps = 6\n")
    assert read(file, tmp_path)[1] == [{"steps": 5}, {"steps": 6}]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("levels = ", "is no TOML"),
        ("levels = 2", r"table \[sweep\]"),
        ("[sweep]\nsteps = [1]\n[[run]]\nsteps = 2", r"table \[sweep\]"),
        ("level = 2\n[sweep]\nsteps = [1]", "no 'level'. Its fields: .*levels"),
        ("levels = 0\n[sweep]\nsteps = [1]", "`levels`"),
        (None, "cannot be read"),
    ],
)
def test_a_file_that_says_no_sweep(tmp_path, text, told):
    file = tmp_path / "sweep.toml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(InputError, match=told):
        read(file, tmp_path / "run")
