"""What a tracker is told: every training, in order, whether it was trained now or found."""

import csv
import dataclasses
import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from bare_runs import measure_stability, run

from tfinit import datasets
from tfinit.cli import main
from tfinit.errors import InputError
from tfinit.lottery import LotteryConfig, StabilityConfig, TensorBoard, compare_initializations

X, Y = np.random.default_rng(0).random((40, 4), np.float32), np.arange(40) % 2
DATA = datasets.from_arrays((X, Y), (X, Y), name="noise")
SMALL = {"model": "mlp-2-relu", "steps": 5, "evaluate_every": 2, "batch_size": 4, "seeds": (3,)}
# On PyTorch it is `fit` that trains.
pytestmark = pytest.mark.filterwarnings("ignore:Training with fit:tfinit.errors.TfinitWarning")
NAMES = [f"seed-3/{at}" for at in ("ticket/level-00", "ticket/level-01", "reinit/level-01")]
DOCS = Path(__file__).parents[2] / "docs/trackers.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", DOCS.read_text("utf-8"), re.MULTILINE | re.DOTALL)


class Told:
    """All that is told, in order; fails where it is told to."""

    def __init__(self, failing=()):
        self.calls, self.failing = [], failing

    def started(self, config):
        self.name = config["name"]
        self._call("started", config)

    def logged(self, values, step):
        self._call("logged", values, step)

    def finished(self, summary):
        self._call("finished", summary)

    def _call(self, method, *arguments):
        self.calls.append((self.name, method, *arguments))
        if (self.name, method) in self.failing:
            raise ConnectionError("no route\nto host")

    def of(self, method):
        return [call[2:] for call in self.calls if call[1] == method]

    def told_to(self, tracker):
        """Tell another the same."""
        for _, method, *arguments in self.calls:
            getattr(tracker, method)(*arguments)

    @property
    def names(self):
        return list(dict.fromkeys(call[0] for call in self.calls))


def contents(directory):
    return {str(p.relative_to(directory)): p.read_bytes() for p in directory.rglob("*.npz")}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of three trainings, its results and what was told."""
    config = LotteryConfig(levels=1, run_dir=tmp_path_factory.mktemp("run") / "r", **SMALL)
    told = Told()
    return config, run(config, progress=None, data=DATA, tracker=told), told


@pytest.mark.backends
def test_every_training_is_told_evaluation_by_evaluation(whole):
    config, results, told = whole
    assert told.names == NAMES
    for (given,), result in zip(told.of("started"), results, strict=True):
        assert given["experiment"] == "lottery" and given["steps"] == 5 and given["seeds"] == [3]
        place = (given["seed"], given["branch"], given["level"], given["density"])
        assert place == (3, result.branch, result.level, result.density)
        assert given["run_dir"] == str(config.run_dir)
    for name, result in zip(NAMES, results, strict=True):
        rows = [call[2:] for call in told.calls if call[:2] == (name, "logged")]
        assert [step for _, step in rows] == [0, 2, 4, 5]
        losses = result.metrics.losses
        means = [None, losses[:2].mean(), losses[2:4].mean(), losses[4]]
        for n, ((values, _), mean) in enumerate(zip(rows, means, strict=True)):
            values = dict(values)
            assert values.pop("training_loss", None) == pytest.approx(mean)
            assert values == {key: column[n] for key, column in result.metrics.values.items()}
    for (summary,), result in zip(told.of("finished"), results, strict=True):
        assert summary["final_accuracy"] == result.final_accuracy
        assert summary["survivors"] == result.survivors
        assert all(isinstance(value, int | float) for value in summary.values())
        assert not {"seed", "level", "diverged_at"} & set(summary)


def test_what_is_found_is_told_again_in_the_same_order(whole, tmp_path):
    config, _, told = whole
    again = Told()
    run(config, progress=None, data=DATA, tracker=again)
    assert again.calls == told.calls
    larger, place = Told(), shutil.copytree(config.run_dir, tmp_path / "r")
    grown = dataclasses.replace(config, seeds=(3, 4), run_dir=place)
    run(grown, progress=None, data=DATA, tracker=larger)
    assert larger.names[:3] == NAMES and len(larger.names) == 6


def test_a_tracker_that_fails_costs_the_run_nothing(whole, tmp_path):
    config, failing = whole[0], list(zip(NAMES, ("started", "logged", "finished"), strict=True))
    lines, told = [], Told(failing)
    elsewhere = dataclasses.replace(config, run_dir=tmp_path / "r")
    run(elsewhere, progress=None, data=DATA, warn=lines.append, tracker=told)
    for line, (name, method) in zip(lines, failing, strict=True):
        assert f"`tracker` failed in `{method}` of {name} (ConnectionError: no route)." in line
    assert told.names == NAMES
    assert contents(tmp_path / "r") == contents(config.run_dir)


def test_ctrl_c_in_a_tracker_ends_the_run_which_goes_on(whole, tmp_path):
    class Stops(Told):
        def logged(self, values, step):
            raise KeyboardInterrupt

    config = dataclasses.replace(whole[0], run_dir=tmp_path / "r")
    with pytest.raises(KeyboardInterrupt):
        run(config, progress=None, data=DATA, tracker=Stops())
    assert [p.name for p in tmp_path.rglob("level-*.npz")] == ["level-00.npz"]


def test_trunk_copies_and_lines_of_a_stability_experiment(tmp_path):
    config = StabilityConfig(spawn_steps=(0, 2), points=3, run_dir=tmp_path / "r", **SMALL)
    told = Told()
    results = measure_stability(config, progress=None, data=DATA, tracker=told)
    copies = [[f"from-{k:06d}-copy-{c}/level-00" for c in (1, 2)] for k in (0, 2)]
    lines = ["from-000000/line", "from-000002/line"]
    wanted = ["trunk/level-00", *copies[0], lines[0], *copies[1], lines[1]]
    assert told.names == [f"seed-3/{name}" for name in wanted]
    rows = [call[2:] for call in told.calls if call[:2] == (f"seed-3/{lines[1]}", "logged")]
    assert [step for _, step in rows] == [0, 1, 2]
    assert [values["alpha"] for values, _ in rows] == [0, 0.5, 1]
    assert [values["test_error"] for values, _ in rows] == results[1].test_error.tolist()
    assert told.calls[-1][2] == {
        f"{split}_barrier": results[1].barrier(split) for split in ("train", "test")
    }
    again = Told()
    measure_stability(config, progress=None, data=DATA, tracker=again)
    assert again.calls == told.calls


def test_names_of_a_comparison_begin_with_the_initialization(tmp_path):
    told = Told()
    config = LotteryConfig(levels=1, controls=(), run_dir=tmp_path, **SMALL)
    compare_initializations(config, ["he"], None, data=DATA, reports=False, tracker=told)
    assert told.names == [f"he/{name}" for name in NAMES[:2]]
    assert {config["initialization"] for (config,) in told.of("started")} == {"he"}


@pytest.mark.parametrize(
    ("tracker", "lacks"),
    [
        (print, "It lacks started.config., logged.values, step., finished.summary."),
        (SimpleNamespace(started=print, finished=print), "It lacks logged.values, step.*"),
        (Told, "Make one: Told"),
    ],
)
def test_what_is_no_tracker_is_refused_before_anything_is_made(tmp_path, tracker, lacks):
    config = LotteryConfig(run_dir=tmp_path / "r", **SMALL)
    with pytest.raises(InputError, match=rf"`tracker` must be an object .*{lacks}"):
        run(config, tracker=tracker, data=DATA)
    assert not config.run_dir.exists()


def scalars(directory):
    """Tag → (step, value) of each point, as TensorBoard reads them."""
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator"
    ).EventAccumulator(str(directory))
    accumulator.Reload()
    found = {}
    for tag in accumulator.Tags()["tensors"]:
        values = [(e.step, float(e.tensor_proto.float_val[0])) for e in accumulator.Tensors(tag)]
        found[tag] = values
    return found


def test_tensorboard_has_the_curves_and_the_levels_once_however_often_they_are_told(
    whole, tmp_path
):
    _, results, told = whole
    for _ in range(2):
        told.told_to(TensorBoard(tmp_path / "logs"))
    _, ticket, _ = results
    curves = scalars(tmp_path / "logs" / NAMES[1])
    wanted = zip(ticket.metrics.step, ticket.metrics.values["test_loss"], strict=True)
    assert curves["test_loss"] == [(step, pytest.approx(value)) for step, value in wanted]
    assert [step for step, _ in curves["training_loss"]] == [2, 4, 5]
    levels = scalars(tmp_path / "logs/seed-3/ticket")
    assert levels["final_accuracy"] == [
        (r.level, pytest.approx(r.final_accuracy)) for r in results[:2]
    ]


def test_a_log_where_none_can_be_is_refused(tmp_path):
    (tmp_path / "logs").write_text("")
    with pytest.raises(InputError, match=r"`log_dir` .*is a file"):
        TensorBoard(tmp_path / "logs")


def test_the_commands_write_it_too(tmp_path, monkeypatch):
    np.savez(tmp_path / "tiny.npz", x_train=X, y_train=Y, x_test=X, y_test=Y)
    monkeypatch.setenv("TFINIT_DATA_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    flags = "--dataset tiny --model mlp-2-relu --steps 2 --evaluate-every 2 --batch-size 4"
    flags += " --seeds 0 --spawn-steps 0 --points 3 --log-dir logs"
    main(["stability", *flags.split()])
    assert [step for step, _ in scalars("logs/seed-0/from-000000/line")["test_error"]] == [0, 1, 2]


class Recording:
    """A module of another tool, of which the calls are kept."""

    def __init__(self, name, calls):
        self._name, self._calls = name, calls

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Recording(f"{self._name}.{name}", self._calls)

    def __call__(self, *arguments, **named):
        self._calls.append((self._name, arguments, named))
        return Recording(self._name, self._calls)

    def __iter__(self):
        return iter([SimpleNamespace(info=SimpleNamespace(run_id="7"))])


@pytest.fixture
def trackers(monkeypatch):
    """The classes of docs/trackers.md, and what they call of tools that are not installed."""
    calls, namespace = [], {}
    for tool in ("wandb", "mlflow"):
        monkeypatch.setitem(sys.modules, tool, Recording(tool, calls))
    for block in BLOCKS:
        exec(compile(block, str(DOCS), "exec"), namespace)
    return namespace, calls


def test_weights_and_biases_as_the_docs_have_it(whole, trackers):
    (_, results, told), (namespace, calls) = whole, trackers
    told.told_to(namespace["WeightsAndBiases"]())
    assert [name for name, _, _ in calls[:7]] == [
        "wandb.init",
        *["wandb.init.log"] * 4,
        *("wandb.init.summary.update", "wandb.init.finish"),
    ]
    begun = [named for name, _, named in calls if name == "wandb.init"]
    assert [named["name"] for named in begun] == NAMES
    assert len({named["id"] for named in begun}) == 3
    assert not any(re.search(r"[/\\#?%:]", named["id"]) for named in begun)
    ended = [given[0] for name, given, _ in calls if name.endswith("update")]
    assert [summary["density"] for summary in ended] == [r.density for r in results]


def test_mlflow_as_the_docs_have_it(whole, trackers):
    (_, _, told), (namespace, calls) = whole, trackers
    told.told_to(namespace["MLflow"]())
    names = [name.removeprefix("mlflow.") for name, _, _ in calls]
    of_one = ["end_run", "set_experiment", "search_runs", "delete_run", "start_run", "log_params"]
    assert names == (of_one + ["log_metrics"] * 5 + ["end_run"]) * 3
    assert [named["run_name"] for _, _, named in calls if "run_name" in named] == NAMES
    assert [named["step"] for _, _, named in calls if "step" in named] == [0, 2, 4, 5] * 3


def test_a_file_as_the_docs_have_it(whole, trackers, tmp_path):
    _, results, told = whole
    told.told_to(trackers[0]["Lines"](tmp_path / "tickets.csv"))
    with (tmp_path / "tickets.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["name"] for line in lines] == NAMES
    assert [float(line["final_accuracy"]) for line in lines] == [r.final_accuracy for r in results]
