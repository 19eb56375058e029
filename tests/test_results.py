"""What every result can do, whichever part of tfinit made it."""

import json
import pickle
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import keras
import numpy as np
import pytest
from matplotlib.figure import Figure
from public_calls import X, Y, coordinates, data, exported, level, line, masks, model, race, weights
from public_surface import public

import tfinit
from tfinit.errors import MissingPackage
from tfinit.exporting import Choice
from tfinit.lottery import Conclusion, Ticket
from tfinit.lottery.sweeping import Sweep, SweepRun
from tfinit.pruning import (
    channel_plan,
    compact,
    prune_after_training,
    prune_at_initialization,
    prune_channels,
    repair,
    sensitivity,
    sparsity_report,
)
from tfinit.results import Result, flat, html_table, json_ready
from tfinit.spread import Spread


def compacted():
    layers = [keras.layers.Dense(5, "relu", name="a"), keras.layers.Dense(3, name="b")]
    made = keras.Sequential([keras.Input((4,)), *layers], name="small")
    kernel = made.layers[0].kernel.numpy()
    kernel[:, 1:3] = 0
    made.layers[0].kernel.assign(kernel)
    return compact(made)


def channels_pruned():
    return prune_channels(model(), target={"channels": 0.6}, round_to=1)


def fine_tuned():
    from tfinit.fine_tuning import FineTuned

    report = sparsity_report(model())
    return FineTuned(report, {"loss": 0.5}, {"loss": 0.25}, None, Path("a.keras"), Path("a.json"))


# How each is made, and how many rows its table has.
MADE = {
    "Report": (lambda: tfinit.initialize(model(), "he", seed=1), 2),
    "CoordinateCheck": (coordinates, 1),
    "InitializationReport": (lambda: tfinit.initialization_report(model()), 4),
    "Diagnosis": (lambda: tfinit.diagnose(model(), X, Y), 2),
    "Recommendation": (lambda: tfinit.recommend(model()), 2),
    "Comparison": (race, 1),
    "Dataset": (data, 3),
    "AtInitialization": (lambda: prune_at_initialization(model(), 0.5, "magnitude"), 2),
    "AfterTraining": (lambda: prune_after_training(model(), X, 0.5), 2),
    "Sensitivity": (lambda: sensitivity(model(), X, Y), 2),
    "Repair": (lambda: repair(model(), X, model()), 2),
    "SparsityReport": (lambda: sparsity_report(model()), 2),
    "ChannelPlan": (lambda: channel_plan(model(), target={"channels": 0.6}, round_to=1), 2),
    "ChannelPruning": (channels_pruned, 2),
    "Compaction": (compacted, 1),
    "ExportReport": (exported, 2),
    "FileReport": (lambda: exported().file, 1),
    "Choice": (lambda: Choice("plain", None, "Choose plain."), 1),
    "LevelResult": (level, 1),
    "Conclusion": (lambda: Conclusion.of([level(), level(1)]), 1),
    "StabilityResult": (line, 3),
    "FineTuned": (fine_tuned, 2),
    "Ticket": (lambda: Ticket(masks(), weights()), 2),
    "Sweep": (lambda: Sweep("one", (SweepRun("steps=4", {"steps": 4}, [level()]),)), 1),
}
PLOTTED = {
    "AfterTraining",
    "CoordinateCheck",
    "Sensitivity",
    "SparsityReport",
    "AtInitialization",
    "Diagnosis",
    "Comparison",
    "LevelResult",
    "StabilityResult",
    "Sweep",
}


@pytest.fixture(scope="module")
def results():
    return {name: make() for name, (make, _) in MADE.items()}


class Read(HTMLParser):
    """The cells of a table, and what is around them."""

    def __init__(self, html):
        super().__init__()
        self.heads, self.rows, self.open, self.text = [], [], [], ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag == "th":
            self.heads.append(dict(attributes).get("scope"))
        if tag in ("th", "td"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data
        if self.open and self.open[-1] in ("th", "td"):
            self.rows[-1][-1] += data


def test_all_results_are_here():
    classes = {t for t in public().values() if isinstance(t, type) and issubclass(t, Result)}
    assert {cls.__name__ for cls in classes} == MADE.keys()


@pytest.mark.parametrize("name", MADE)
def test_prints(results, name):
    text = str(results[name])
    assert text and " at 0x" not in text and not text.startswith(f"{name}(")
    assert repr(results[name]) == text


@pytest.mark.parametrize("name", MADE)
def test_a_copy_is_the_same_and_can_be_compared(results, name):
    copied = pickle.loads(pickle.dumps(results[name]))
    assert copied.to_dict() == results[name].to_dict() and str(copied) == str(results[name])
    assert (copied == results[name]) in (True, False)  # of arrays NumPy would not say


@pytest.mark.parametrize("name", MADE)
def test_to_dict_is_json(results, name):
    found = results[name].to_dict()
    assert found and json.loads(json.dumps(found, allow_nan=False)) == found


@pytest.mark.parametrize("name", MADE)
def test_to_frame_has_a_row_for_each_line(results, name, monkeypatch):
    frame = results[name].to_frame()
    assert len(frame) == MADE[name][1] and len(frame.columns) > 1
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingPackage, match=rf"{name}.to_frame needs pandas: .*tfinit\[pandas\]"):
        results[name].to_frame()


@pytest.mark.parametrize("name", MADE)
def test_notebooks_show_a_table_with_headers(results, name):
    read = Read(results[name]._repr_html_())
    first, *rows = read.rows
    assert len(rows) == MADE[name][1] and {len(row) for row in rows} == {len(first)}
    assert read.heads == ["col"] * len(first) + ["row"] * len(rows)


@pytest.mark.parametrize("name", MADE)
def test_plot_gives_a_figure_where_there_is_something_to_see(results, name):
    assert hasattr(results[name], "plot") == (name in PLOTTED)
    if name in PLOTTED:
        assert isinstance(results[name].plot(), Figure)


def test_a_notebook_shows_a_figure(results):
    figure = results[min(PLOTTED)].plot()
    assert figure._repr_png_().startswith(b"\x89PNG")  # asked for where no backend is chosen


def test_data_and_trainings_are_told_in_a_line_without_their_numbers():
    said = "made up: 8 training, 8 validation, 8 test examples; inputs 4 float32; targets scalar"
    assert str(data()) == f"{said} int32, 3 classes"
    several = replace(data(), train=({"image": X, "age": Y}, X, Y), classes=None)
    assert str(several).endswith(
        "inputs ['age'] scalar int32, ['image'] 4 float32; targets 4 float32"
    )
    [run] = race().runs
    assert repr(run) == str(run) == "seed 0 he: final loss 1"
    assert repr(run.metrics) == "1 evaluation, the last at step 0: validation_loss 1; 10 losses"
    assert repr(race().rows[0]) == "rank 1 he: final loss 1, 0 of 1 diverged"


def test_numbers_of_some_results():
    pruned = prune_at_initialization(model(), 0.6, "magnitude", allocation="uniform").to_dict()
    assert pruned["score"] == "magnitude" and pruned["sparsity"] == pytest.approx(0.6, abs=0.02)
    assert pruned["weights"][0] == {
        **{"weight": "a/kernel", "shape": [4, 5], "weights": 20, "kept": 8},
        "sparsity": pytest.approx(0.6),
    }
    report = tfinit.initialize(model(), "he", seed=1).to_dict()
    assert [(r["key"], r["shape"], r["fan_in"]) for r in report["records"]] == [
        ("a/kernel", [4, 5], 4.0),
        ("b/kernel", [5, 3], 5.0),
    ]
    assert line().to_frame()["test_error"].tolist() == [0.1, 0.5, 0.1]


def test_what_is_shown_is_escaped_and_long_tables_lose_their_middle():
    rows = [{"layer": f"<b>{n}&", "std": n / 3, "empty": ""} for n in range(100)]
    html = html_table('<script>"', rows, ["a < b"])
    assert "<b>" not in html and "<script>" not in html
    read = Read(html)
    assert read.rows[0] == ["layer", "std"]
    assert read.rows[2] == ["<b>1&", "0.3333"]
    assert len(read.rows) == 1 + 60 + 1
    assert read.rows[31] == ["… 40 more; all are in .to_frame()"]
    assert read.text.count('<script>"') == 1 and read.text.endswith("a < b")


def test_json_ready_and_flat():
    given = {"a": np.float32("nan"), "b": (1, np.int64(2)), "c": Path("x"), "d": Spread(1, 0, 1)}
    ready = json_ready(given)
    spread = {"mean": 1, "std": 0, "low": None, "high": None, "n": 1}
    assert ready == {"a": None, "b": [1, 2], "c": "x", "d": spread}
    assert flat({"a": {"b": 1, "c": {"d": 2}}, "e": ["x", "y"], "f": [1]}) == {
        **{"a_b": 1, "a_c_d": 2, "e": "x; y"}
    }


def test_names_of_layers_and_models_cannot_write_to_the_terminal():
    layers = [keras.layers.Dense(2, "relu", name="\x1b[31ma"), keras.layers.Dense(3)]
    made = keras.Sequential([keras.Input((4,)), *layers], name="\x1b[2Jm")
    makes = [tfinit.recommend, compact, lambda m: tfinit.initialize(m, "he")]
    makes.append(lambda m: prune_channels(m, target={"channels": 0.5}))
    assert [text for make in makes if "\x1b" in (text := str(make(made)))] == []
