"""Results made up by hand, and what must be read off them."""

import csv
import io
import sys

import numpy as np
import pandas
import pytest

from tfinit.errors import MissingPackage
from tfinit.lottery import Conclusion, LevelResult
from tfinit.lottery.report import (
    evaluations_to_csv,
    evaluations_to_frame,
    layers_to_csv,
    layers_to_frame,
    summarize,
    to_csv,
    to_frame,
)
from tfinit.spread import Spread
from tfinit.training import Metrics


def result(seed, branch, level, survivors, accuracies, losses=(3.0, 1.0, 2.0), diverged_at=None):
    mask = {"w": np.arange(100) < survivors}
    accuracies = np.array(accuracies)
    values = {
        "validation_loss": np.array(losses),
        "validation_accuracy": accuracies,
        "test_loss": np.array(losses),
        "test_accuracy": accuracies,
    }
    metrics = Metrics(10 * np.arange(len(accuracies)), values)
    return LevelResult(seed, branch, level, {}, {}, mask, {}, metrics, diverged_at)


def diverged(seed, branch, level, survivors):
    """Measured once, then lost: its accuracies would spoil any mean."""
    return result(seed, branch, level, survivors, [0.2], losses=[np.nan], diverged_at=7)


RESULTS = [
    result(0, "ticket", 0, 100, [0.1, 0.90, 0.96]),
    result(0, "ticket", 1, 40, [0.1, 0.91, 0.97]),
    result(0, "reinit", 1, 40, [0.1, 0.80, 0.95]),
    result(0, "ticket", 2, 5, [0.1, 0.88, 0.955]),
    result(0, "reinit", 2, 5, [0.1, 0.70, 0.90]),
    result(1, "ticket", 0, 100, [0.1, 0.90, 0.98]),
    result(1, "ticket", 1, 40, [0.1, 0.91, 0.97]),
    result(1, "reinit", 1, 40, [0.1, 0.80, 0.93]),
    result(1, "ticket", 2, 5, [0.1, 0.88, 0.975]),
    result(1, "reinit", 2, 5, [0.1, 0.70, 0.94]),
]


def test_early_stop_is_the_smallest_validation_loss_the_first_of_equal_ones():
    r = result(0, "ticket", 0, 100, [0.1, 0.5, 0.9])
    assert (r.early_stop_step, r.early_stop_accuracy, r.final_accuracy) == (10, 0.5, 0.9)
    tied = result(0, "ticket", 0, 100, [0.1, 0.5, 0.9], losses=(2.0, 1.0, 1.0))
    assert tied.early_stop_step == 10


def test_rows():
    rows = summarize(RESULTS)
    places = [(row.level, row.branch) for row in rows]
    expected = [(0, "ticket"), (1, "ticket"), (1, "reinit"), (2, "ticket"), (2, "reinit")]
    assert places == expected
    assert [row.density for row in rows] == [1.0, 0.4, 0.4, 0.05, 0.05]
    assert rows[0].final_accuracy.mean == pytest.approx(0.97)
    assert rows[0].final_accuracy.std == pytest.approx(0.02 / 2**0.5)
    assert rows[4].early_stop_accuracy == Spread(pytest.approx(0.7), pytest.approx(0.0), 2)


def test_rows_of_any_branches_come_as_the_results_do():
    branches = ["snip", "ticket", "my own", "reinit"]
    rows = summarize([result(0, b, 1, 40, [0.1, 0.8, 0.9]) for b in branches])
    assert [row.branch for row in rows] == ["ticket", "snip", "my own", "reinit"]


def test_rows_leave_out_and_count_what_diverged():
    lost = [diverged(2, "ticket", 1, 40), diverged(0, "shuffle", 1, 40)]
    rows = {(row.level, row.branch): row for row in summarize(RESULTS + lost)}
    some, whole = rows[1, "ticket"], rows[1, "shuffle"]
    assert (some.diverged, some.final_accuracy.n) == (1, 2)
    assert some.final_accuracy.mean == pytest.approx(0.97)
    assert some.early_stop_step == Spread(10.0, 0.0, 2)
    # All began.
    assert some.untrained_accuracy.n == 3
    assert some.untrained_accuracy.mean == pytest.approx(0.4 / 3)
    assert (whole.diverged, whole.final_accuracy.n, whole.early_stop_step.n) == (1, 0, 0)
    assert rows[0, "ticket"].diverged == 0


def test_conclusion_compares_below_ten_percent_density():
    c = Conclusion.of(RESULTS)
    assert c.dense.mean == pytest.approx(0.97)
    assert c.densities == (0.05, 0.05)
    # Replicate by replicate: 0.955 - 0.90 and 0.975 - 0.94.
    assert c.margin.mean == pytest.approx(0.045)
    assert c.margin.std == pytest.approx(0.02 / 2**0.5)
    # Level 2 has 96.5%, within half a point of 97%.
    assert c.sparsest_match == 0.05
    # Two replicates: 4.5 ± 12.7 * 1.41 / sqrt(2) points.
    assert str(c) == (
        "Tickets stay within 0.5 points of the dense network's 97.0 ± 1.4% down to 5.0% density; "
        "against reinitialized ones they stand at +4.5 ± 1.4 points at 5.0% density "
        "(95% interval -8.2 to +17.2), which could be chance."
    )


def third(results):
    """One more replicate, like the first."""
    return [
        result(2, r.branch, r.level, r.survivors, r.metrics.values["test_accuracy"] + 0.001)
        for r in results
        if r.seed == 0
    ]


def test_three_replicates_that_agree_are_a_finding():
    text = str(Conclusion.of(RESULTS + third(RESULTS)))
    assert "their initial weights matter: over reinitialized ones they gain +4.8" in text


def test_one_replicate_is_no_finding():
    text = str(Conclusion.of([r for r in RESULTS if r.seed == 0]))
    assert "+5.5 points at 5.0% density, which one replicate cannot tell from chance" in text
    assert "±" not in text


def swapped(r):
    branch = {"ticket": "reinit", "reinit": "ticket"}[r.branch] if r.level else r.branch
    return result(r.seed, branch, r.level, r.survivors, r.metrics.values["test_accuracy"])


def test_a_negative_finding_is_told_as_one():
    c = Conclusion.of([swapped(r) for r in RESULTS + third(RESULTS)])
    assert c.margin.mean == pytest.approx(-0.145 / 3)
    assert c.sparsest_match is None
    assert "No ticket stays within 0.5 points" in str(c)
    assert "reinitialized networks do better: against them they stand at -4.8" in str(c)


def test_no_difference_is_told_as_none():
    accuracies = {"ticket": [0.1, 0.8, 0.97], "reinit": [0.1, 0.8, 0.97]}
    even = [result(r.seed, r.branch, r.level, r.survivors, accuracies[r.branch]) for r in RESULTS]
    text = str(Conclusion.of(even))
    assert "stand at +0.0 ± 0.0 points at 5.0% density" in text
    assert "which could be chance" in text


def test_without_control():
    c = Conclusion.of([r for r in RESULTS if r.branch != "reinit"])
    assert c.margin is None
    assert "without the control 'reinit' nothing says why" in str(c)


def test_conclusion_leaves_out_what_diverged_and_says_so():
    whole = Conclusion.of(RESULTS)
    # A control without its ticket, and one that diverged beside it.
    lost = [diverged(2, "ticket", 2, 5), result(2, "reinit", 2, 5, [0.1, 0.1, 0.1])]
    c = Conclusion.of([*RESULTS, *lost, diverged(3, "reinit", 2, 5)])
    assert (c.dense, c.margin) == (whole.dense, whole.margin)
    assert c.sparsest_match == pytest.approx(0.05)
    assert c.diverged == 2
    assert str(c) == f"{whole} 2 trainings diverged and are left out."
    one = Conclusion.of([*RESULTS, diverged(3, "reinit", 2, 5)])
    assert str(one).endswith("could be chance. 1 training diverged and is left out.")


def test_conclusion_where_no_dense_network_trains():
    text = str(Conclusion.of([diverged(0, "ticket", 0, 100)]))
    assert text.startswith("Every dense network diverged, so there is nothing to compare")


def lines(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_csv():
    rows = lines(to_csv([*RESULTS, diverged(2, "ticket", 0, 100)]))
    assert len(rows) == len(RESULTS) + 1
    assert rows[4] == {
        "seed": "0",
        "branch": "reinit",
        "level": "2",
        "density": "0.05",
        "survivors": "5",
        "early_stop_step": "10",
        "early_stop_accuracy": "0.7",
        "final_accuracy": "0.9",
        "untrained_accuracy": "0.1",
        "diverged_at": "",
    }
    assert (rows[-1]["diverged_at"], rows[-1]["early_stop_step"]) == ("7", "0")
    curves = lines(evaluations_to_csv(RESULTS))
    assert len(curves) == 3 * len(RESULTS)
    assert [c["step"] for c in curves[:3]] == ["0", "10", "20"]
    assert float(curves[2]["test_accuracy"]) == 0.96


def test_csv_of_layers():
    two = result(0, "ticket", 1, 40, [0.1, 0.8, 0.9])
    two.mask["v"] = np.array([True, False, False, True])
    assert layers_to_csv([two]) == (
        "seed,branch,level,key,weights,survivors,density\n"
        "0,ticket,1,w,100,40,0.4\n"
        "0,ticket,1,v,4,2,0.5\n"
    )


def test_csv_of_nothing_is_a_header():
    assert to_csv([]).startswith("seed,branch,level,density,survivors,early_stop_step")
    assert evaluations_to_csv([]) == "seed,branch,level,density,step\n"
    assert len(layers_to_csv([]).splitlines()) == 1


@pytest.mark.parametrize(
    ("to_text", "frame"),
    [
        (to_csv, to_frame),
        (evaluations_to_csv, evaluations_to_frame),
        (layers_to_csv, layers_to_frame),
    ],
)
def test_frames_are_the_csv(to_text, frame):
    results = [*RESULTS, diverged(2, "ticket", 0, 100)]
    read = pandas.read_csv(io.StringIO(to_text(results)))
    pandas.testing.assert_frame_equal(frame(results), read, check_dtype=False)


def test_a_frame_keeps_steps_whole_numbers():
    frame = to_frame([*RESULTS, diverged(2, "ticket", 0, 100)])
    assert str(frame.dtypes["diverged_at"]) == "Int64"
    assert frame.diverged_at.isna().sum() == len(RESULTS)
    assert frame.groupby("level").final_accuracy.max()[1] == 0.97


def test_frames_without_pandas(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(
        MissingPackage, match=r"to_frame needs pandas: pip install 'tfinit\[pandas\]"
    ):
        to_frame(RESULTS)
