"""A run directory tells its results without training: whole, interrupted, damaged, of earlier."""

import dataclasses
import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from bare_runs import measure_stability, run

import tfinit.lottery
from tfinit import datasets
from tfinit.cli import main
from tfinit.errors import InputError
from tfinit.lottery import Conclusion, LotteryConfig, StabilityConfig, load
from tfinit.lottery.controls import CONTROLS, Control, register
from tfinit.lottery.report import evaluations_to_csv, layers_to_csv, to_csv
from tfinit.pruning import Score

X, Y = np.random.default_rng(0).random((40, 4), np.float32), np.arange(40) % 2
DATA = datasets.from_arrays((X, Y), (X, Y), name="noise")
SMALL = {"model": "mlp-2-relu", "steps": 4, "evaluate_every": 2, "batch_size": 4}
SUFFIXES = (".csv", ".png", ".txt")
BESIDE = ("described", "made_with", "own_parts")
CONTROLS_OF = ("reinit", "constant-signs", "snip-shuffle", "lr-rewind", "tripled")


class Squares(Score):
    """A score of which no other process knows."""

    def __call__(self, weights):
        return weights**2


def tripled(own, other, keys):
    return {key: 3 * w if key in keys else w for key, w in own.items()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run with its reports: own parts, late rewinding, every kind of branch, two replicates."""
    register(Control("tripled", "three times", "all weights tripled", weights=tripled))
    config = LotteryConfig(
        **SMALL | {"seeds": (0, 7), "levels": 2, "rewind_step": 2},
        controls=CONTROLS_OF,
        score=Squares(),
        run_dir=tmp_path_factory.mktemp("whole") / "r",
    )
    yield config, tfinit.lottery.run(config, progress=None, data=DATA)
    del CONTROLS["tripled"]


def copied(config, to):
    shutil.copytree(config.run_dir, to)
    return to


def files(directory):
    return {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in directory.rglob("*") if p.is_file()}


def assert_same(one, two):
    place = "seed", "branch", "level", "diverged_at", "density", "metric"
    assert [getattr(one, n) for n in place] == [getattr(two, n) for n in place]
    for part in ("initial", "rewind", "mask", "final"):
        mine, other = getattr(one, part), getattr(two, part)
        assert list(mine) == list(other)
        assert all(np.array_equal(mine[key], other[key]) for key in mine)
    assert one.metrics.step.tolist() == two.metrics.step.tolist()
    assert all(np.array_equal(v, two.metrics.values[n]) for n, v in one.metrics.values.items())
    assert np.array_equal(one.metrics.losses, two.metrics.losses)


def test_all_that_a_run_returned_comes_back_and_nothing_is_touched(whole):
    config, results = whole
    before = files(config.run_dir)
    loaded = load(str(config.run_dir))
    assert loaded.finished and loaded.missing == () and loaded.run_dir == config.run_dir
    assert loaded.config.own_parts() == config.own_parts()
    for one, two in zip(loaded.results, results, strict=True):
        assert_same(one, two)
    assert str(loaded.conclusion) == str(Conclusion.of(results, config))
    assert str(loaded.conclusion) in str(loaded) and "noise, 2 seeds" in str(loaded)
    assert loaded.to_frame().equals(tfinit.lottery.report.to_frame(results))
    assert loaded.to_dict()["results"][1]["branch"] == "ticket"
    assert loaded.to_dict()["config"]["own_parts"]["score"]["own"] == "Squares"
    assert loaded._repr_html_().count("<tr>") == 1 + len(results)
    assert files(config.run_dir) == before


REPORTED = """
import sys
from tfinit.lottery import load
from tfinit.cli import main
directory = sys.argv[1]
loaded = load(directory)
assert loaded.finished
assert loaded.config.score.name == "Squares" and "tripled" in loaded.config.controls
[start] = [r.rewind for r in loaded.results if (r.seed, r.branch, r.level) == (7, "tripled", 1)]
try:
    dict(start)
except ValueError as error:
    assert "`controls` has 'tripled', which is registered nowhere here" in str(error)
else:
    raise AssertionError
main(["lottery", "--plot-only", "--run-dir", directory])
assert not {"keras", "tensorflow", "jax", "torch"} & set(sys.modules)
"""


def test_the_reports_come_again_the_same_bytes_without_keras_data_and_own_parts(whole, tmp_path):
    config, results = whole
    place = copied(config, tmp_path / "r")
    reports = {p.name: p.read_bytes() for p in place.iterdir() if p.suffix in SUFFIXES}
    assert len(reports) == 8
    for name in reports:
        (place / name).unlink()
    told = subprocess.run(
        [sys.executable, "-c", REPORTED, place], capture_output=True, text=True, check=False
    )
    assert told.returncode == 0, told.stderr
    # The legend of that figure has the control's name, for its label which is not known there.
    different = [name for name in reports if (place / name).read_bytes() != reports[name]]
    assert different == ["tickets.png"]
    load(place).write_reports()
    assert {name: (place / name).read_bytes() for name in reports} == reports
    assert "mlp-2-relu on noise, 2 seeds" in told.stdout
    said = " ".join(told.stdout.split())
    assert str(Conclusion.of(results, config)) in said
    assert said.endswith(f"Tables and figures: {place}") and "Not finished" not in said


def test_what_is_missing_is_said_and_the_rest_is_there(whole, tmp_path, capfd):
    config, results = whole
    place = copied(config, tmp_path / "r")
    (place / "seed-7/ticket/level-02.npz").unlink()
    (place / "seed-7/lr-rewind/level-01.npz").unlink()
    shutil.rmtree(place / "seed-0/tripled")
    loaded = load(place)
    assert not loaded.finished
    assert loaded.missing == (
        *("seed 0 level 1 tripled", "seed 0 level 2 tripled"),
        *("seed 7 level 1 lr-rewind", "seed 7 level 2 ticket"),
    )
    there = [
        r for r in results if f"seed {r.seed} level {r.level} {r.branch}" not in loaded.missing
    ]
    for one, two in zip(loaded.results, there, strict=True):
        if (one.seed, one.level, one.branch) != (7, 2, "lr-rewind"):  # its start was that
            assert_same(one, two)
    with pytest.raises(InputError, match="lr-rewind: level 1 is missing"):
        [dict(r.rewind) for r in loaded.results if (r.seed, r.branch) == (7, "lr-rewind")]
    assert "Not finished; missing: seed 0 level 1 tripled, " in str(loaded)
    main(["lottery", "--plot-only", "--run-dir", str(place)])
    out = " ".join(capfd.readouterr().out.split())
    assert "missing: seed 0 level 1 tripled, seed 0 level 2 tripled, seed 7 level 1" in out
    assert len((place / "results.csv").read_text().splitlines()) == 1 + len(there)


def test_what_is_damaged_is_said_and_left_out(whole, tmp_path):
    config, results = whole
    place = copied(config, tmp_path / "r")
    for name in ("seed-0/ticket/level-01.npz", "seed-0/ticket/initial.npz"):
        (place / name).write_bytes((place / name).read_bytes()[:100])
    shutil.copy(place / "seed-7/reinit/level-01.npz", place / "seed-7/reinit/level-02.npz")
    lines = []
    before = files(place)
    loaded = load(place, lines.append)
    assert files(place) == before
    assert [re.sub(r".*/r/", "", line) for line in lines] == [
        f"seed-0/ticket/{name}.npz is damaged: it is left out here, and trained again when the run "
        "goes on."
        for name in ("initial", "level-01")
    ] + [
        "seed-7/reinit/level-02.npz is of another training (level 1, not 2): it is left out here, "
        "and trained again when the run goes on."
    ]
    assert loaded.missing == ("seed 0 level 1 ticket", "seed 7 level 2 reinit")
    dense, same = loaded.results[0], results[0]
    assert np.array_equal(dense.final["fc1/kernel"], same.final["fc1/kernel"])
    with pytest.raises(InputError, match="seed 0: the initial weights of ticket are missing"):
        dense.initial["fc1/kernel"]


def test_a_training_that_is_under_way_tells_its_step(tmp_path):
    class Left(Exception):
        pass

    told = []

    def leave(done):
        told.append(done)
        if sum(told) > 6:
            raise Left

    config = LotteryConfig(**SMALL, seeds=(0,), levels=1, controls=(), run_dir=tmp_path / "r")
    with pytest.raises(Left):
        run(config, leave, data=DATA, checkpoint_every=0)
    loaded = load(config.run_dir)
    assert [r.level for r in loaded.results] == [0]
    assert re.fullmatch(r"seed 0 level 1 ticket( \(at step \d\))?", loaded.missing[0])
    # Nothing but a configuration: it is loaded, and there is nothing to draw.
    shutil.rmtree(config.run_dir / "seed-0")
    loaded = load(config.run_dir)
    assert loaded.results == [] and loaded.conclusion is None and len(loaded.missing) == 2
    assert "Not finished" in str(loaded)
    with pytest.raises(InputError, match="has no results yet: Not finished; missing: seed 0"):
        loaded.plot()


@pytest.mark.parametrize(
    ("changes", "levels"),
    [
        ({"levels": 40, "prune_fraction": 0.5, "output_prune_fraction": 0.5}, 8),
        ({"levels": 2, "optimizer": "sgd", "learning_rate": 1e30, "controls": ("reinit",)}, 0),
    ],
    ids=["ends early", "diverges"],
)
def test_what_ends_before_its_last_level_is_finished(tmp_path, changes, levels):
    given = {**SMALL, "steps": 2, "seeds": (0,), "controls": (), **changes}
    config = LotteryConfig(**given, run_dir=tmp_path / "r")
    results = run(config, None, data=DATA, warn=lambda line: None)
    assert results[-1].level == levels
    loaded = load(config.run_dir)
    assert loaded.finished and len(loaded.results) == len(results)
    assert str(loaded.conclusion) == str(Conclusion.of(results, config))
    # As an earlier tfinit left it.
    path = config.run_dir / "config.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps({n: v for n, v in values.items() if n not in BESIDE}))
    before = files(config.run_dir)
    loaded = load(config.run_dir)
    assert loaded.finished and len(loaded.results) == len(results)
    assert loaded.subject.named() == "mlp-2-relu on digits"
    assert files(config.run_dir) == before


def test_a_stability_experiment(tmp_path, capfd):
    config = StabilityConfig(
        **SMALL, seeds=(0,), spawn_steps=(0, 2), points=3, run_dir=tmp_path / "r"
    )
    results = tfinit.lottery.stability(config, None, data=DATA)
    reports = [config.run_dir / f"stability.{suffix}" for suffix in ("csv", "png")]
    before = [path.read_bytes() for path in reports]
    loaded = load(config.run_dir)
    assert loaded.finished and loaded.config == config
    for one, two in zip(loaded.results, results, strict=True):
        assert one.to_dict() == two.to_dict()
    for path in reports:
        path.unlink()
    main(["stability", "--plot-only", "--run-dir", str(config.run_dir)])
    assert [path.read_bytes() for path in reports] == before
    assert "error barrier" in capfd.readouterr().out
    (config.run_dir / "seed-0/from-000002-copy-2/level-00.npz").unlink()
    (config.run_dir / "seed-0/from-000000/line.npz").unlink()
    loaded = load(config.run_dir)
    assert loaded.missing == ("seed 0 k=0: the line", "seed 0 level 0 from-000002-copy-2")
    assert [r.k for r in loaded.results] == [2]  # it was measured before the copy was lost


def test_where_a_copy_diverged_there_is_no_line_and_nothing_is_missing(tmp_path):
    given = SMALL | {"optimizer": "sgd", "learning_rate": 1e30, "seeds": (0,), "points": 3}
    config = StabilityConfig(**given, spawn_steps=(0, 3), run_dir=tmp_path / "r")
    results = measure_stability(config, None, data=DATA)
    loaded = load(config.run_dir)
    assert loaded.finished
    assert [(r.k, r.diverged) for r in loaded.results] == [(r.k, r.diverged) for r in results]


def test_a_comparison_of_initializations(tmp_path, capfd):
    config = LotteryConfig(**SMALL, seeds=(0,), levels=1, controls=(), run_dir=tmp_path / "r")
    names = ["zeros", "ones"]
    results = tfinit.lottery.compare_initializations(config, names, None, data=DATA)
    figure = config.run_dir / "initializations.png"
    before = figure.read_bytes()
    figure.unlink()
    loaded = load(config.run_dir)
    assert loaded.finished and list(loaded.results) == names
    for name in names:
        for one, two in zip(loaded.results[name], results[name], strict=True):
            assert_same(one, two)
    assert loaded.to_frame()["initialization"].tolist() == ["zeros", "zeros", "ones", "ones"]
    flags = ["--plot-only", "--run-dir", str(config.run_dir)]
    main(["initializations", *flags])
    assert figure.read_bytes() == before
    main(["initializations", *flags, "--initializations", "ones"])
    assert "zeros" in capfd.readouterr().out.split("Tables and figures")[0]
    assert figure.read_bytes() != before
    shutil.rmtree(config.run_dir / "zeros")
    loaded = load(config.run_dir)
    assert loaded.missing == ("zeros: all",) and list(loaded.results) == ["ones"]
    (config.run_dir / "initializations.json").unlink()  # an earlier tfinit wrote none
    assert load(config.run_dir).finished


def test_what_holds_no_experiment_is_refused_by_name(whole, tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    for place, says in (
        (tmp_path / "nothing", "nothing does not exist"),
        (tmp_path / "file", "file is no directory"),
        (tmp_path / "empty", "holds no experiment: there is no config.json"),
    ):
        with pytest.raises(InputError, match=f"`run_dir` .*{says}"):
            load(place)
    for text in ("{", "[]", '{"seeds": [0]', "null", '{"seeds": 3, "spawn_steps": 1}'):
        (tmp_path / "empty/config.json").write_text(text)
        with pytest.raises(InputError, match=r"config\.json cannot be read") as error:
            load(tmp_path / "empty")
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("command", "flags", "says"),
    [
        ("stability", [], "is one of `tfinit lottery`"),
        ("lottery", ["--steps", "7"], "--steps is 4 in .*, received 7. Leave it out"),
        ("lottery", ["--seeds", "1"], r"--seeds is \(0, 7\) in "),
    ],
)
def test_another_command_or_flag_than_that_of_the_directory_is_refused(
    whole, capfd, command, flags, says
):
    config, _ = whole
    before = files(config.run_dir)
    with pytest.raises(SystemExit) as stop:
        main([command, "--plot-only", "--run-dir", str(config.run_dir), *flags])
    assert stop.value.code == 2
    assert re.search(says, capfd.readouterr().err)
    assert files(config.run_dir) == before


def test_tables_of_a_larger_run_are_those_of_the_results(whole):
    """Whatever was asked for since: the same text from the results and from the directory."""
    config, results = whole
    loaded = load(config.run_dir)
    for table in (to_csv, evaluations_to_csv, layers_to_csv):
        assert table(loaded.results) == table(results)
    assert set(loaded.figures()) == {"tickets", "curves", "layers", "masks"}
    assert dataclasses.asdict(loaded.subject)["example"] == (4,)
