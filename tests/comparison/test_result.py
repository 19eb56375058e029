"""Runs made up by hand, and what must be read off them."""

import json
import math
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from tfinit.comparison.result import Comparison, Run, choose_target
from tfinit.errors import MissingPackage
from tfinit.training.metrics import Metrics


def diagnosis(risk, verdict):
    return SimpleNamespace(risk=risk, verdict=verdict, to_dict=lambda: {"risk": risk})


def run(label, seed, losses, accuracy=0.9, diverged_at=None, risk=None, steps=40):
    values = {
        "validation_loss": np.array([2.3, 0.5 + seed / 10]),
        "test_accuracy": np.array([0.1, accuracy]),
    }
    metrics = Metrics(np.array([0, steps]), values, np.array(losses, np.float32))
    seen = None if risk is None else diagnosis(risk, f"{label} is {risk}. Use He.")
    return Run(label, seed, steps, metrics, diverged_at, 0.01, seen)


def falling(end, steps=40):
    """From 2 to its end at the twentieth step, in a line on a log scale; then constant."""
    fall = np.exp(np.linspace(math.log(2.0), math.log(end), 20))
    return [*fall, *[end] * (steps - 20)]


RUNS = (
    *(run("zeros", s, [2.3] * 40, 0.1, risk=9.0) for s in (0, 1)),
    *(run("he", s, falling(0.02 + s / 1000), 0.96 + s / 100, risk=0.5) for s in (0, 1)),
    run("large", 0, [50.0] * 3, diverged_at=4, risk=20.0),
    run("large", 1, falling(1.0), risk=20.0),
)
RACE = Comparison("made up", RUNS, 10, 40, 64, 0.1)


def test_means_are_over_a_twentieth_of_the_steps():
    one = run("he", 0, [4.0, 2.0, 1.0, 3.0] * 10)
    assert one.window == 2
    np.testing.assert_allclose(one.trailing[:4], [3.0, 1.5, 2.0, 3.5])
    assert len(one.trailing) == 39
    assert one.final_loss == 2.0
    # The first mean at or below the loss is that of steps 2 and 3, whose last is the third.
    assert one.steps_to(1.5) == 3
    assert one.seconds_to(1.5) == pytest.approx(0.03)
    assert one.steps_to(1.4) is one.seconds_to(1.4) is one.steps_to(None) is None


def test_a_huge_first_loss_does_not_drown_the_others():
    assert run("large", 0, [1e30, *[0.5] * 39]).final_loss == 0.5


def test_what_diverged_has_no_end():
    lost = RUNS[4]
    assert lost.final_loss == math.inf
    assert math.isnan(lost.last("test_accuracy"))
    assert lost.steps_to(60.0) == 2
    assert len(run("x", 0, [1.0], diverged_at=2).trailing) == 0


def test_the_target_is_half_way_between_a_guess_and_the_best_end():
    best = (falling(0.02), falling(0.04), falling(0.03))
    runs = [run("he", s, losses) for s, losses in enumerate(best)]
    runs += [run("zeros", s, [2.3] * 40) for s in range(3)]
    # The first loss, 2, is below log(10).
    assert choose_target(runs, 10) == pytest.approx(math.sqrt(2.0 * 0.03))
    assert choose_target(runs, 3) == pytest.approx(math.sqrt(math.log(3) * 0.03))
    assert choose_target(runs[3:], 10) is None
    assert choose_target([run("large", 0, [9.0], diverged_at=2)], 10) is None


def test_rows_by_rank_and_the_diverged_in_no_mean():
    he, zeros, large = RACE.rows
    assert (he.label, he.rank, he.runs, he.diverged, he.reached) == ("he", 1, 2, 0, 2)
    assert he.final_loss.mean == pytest.approx(0.0205)
    assert he.test_accuracy.mean == pytest.approx(0.965)
    # t(0.975) is 12.706 for one degree of freedom.
    low, high = he.test_accuracy.interval
    assert (high - low) / 2 == pytest.approx(12.706 * 0.01 / 2, rel=1e-3)
    assert (zeros.label, zeros.reached, zeros.steps_to_target.n) == ("zeros", 0, 0)
    assert (large.label, large.diverged, large.final_loss.n) == ("large", 1, 1)
    assert large.final_loss.mean == pytest.approx(1.0)
    assert (RACE.best, RACE.seeds, RACE.labels) == ("he", [0, 1], ["zeros", "he", "large"])


def test_what_learned_nothing_shares_no_rank_with_what_did_however_few_the_seeds():
    """Two seeds that differ much cannot tell 0.01 from 2.3 by a test."""
    ends = {"wild": (0.001, 0.5), "he": (0.1, 0.2), "slow": (0.9, 1.9)}
    runs = [run(name, s, falling(end)) for name, of in ends.items() for s, end in enumerate(of)]
    runs += [run(name, s, [2.3] * 40) for name in ("zeros", "ones") for s in (0, 1)]
    race = Comparison("made up", tuple(runs), 10, 40, 64, 0.1)
    ranks = {"he": 1, "ones": 4, "slow": 1, "wild": 1, "zeros": 4}
    assert dict(sorted(race.ranking.ranks.items())) == ranks
    assert [name for name in race.labels if race.learned_nothing(name)] == ["zeros", "ones"]
    nothing = Comparison("made up", tuple(runs[-4:]), 10, 40, 64, None)
    assert set(nothing.ranking.ranks.values()) == {1}


def test_what_begins_well_and_stays_there_is_not_put_behind():
    runs = [run("pretrained", s, [0.1] * 40) for s in (0, 1)]
    runs += [run("he", s, falling(0.1 + s)) for s in (0, 1)]
    race = Comparison("made up", tuple(runs), 10, 40, 64, 0.1)
    assert race.learned_nothing("pretrained") and race.best == "pretrained"


def test_it_prints_a_table_and_a_conclusion_within_100_columns():
    lines = str(RACE).splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[0].startswith("made up: 40 steps of 64 examples, mean ± half of the 95% interval")
    header = lines[2].split("  ")
    assert "steps to 0.1" in lines[2]
    assert header[0] == "rank"
    assert lines[3].split()[:2] == ["1", "he"]
    assert lines[3].endswith("he is 0.5")
    assert lines[4].split()[:4] == ["2", "zeros", "–", "–"]
    assert "1 of 2" in lines[5]
    assert " ".join(lines[7:]) == RACE.conclusion
    assert RACE.conclusion == (
        "he wins with a final training loss of 0.0205; zeros learned nothing; large diverged with "
        "1 of 2 seeds. The diagnosis at step 0 foretold the ranking: Kendall's τ of its risk with "
        "the final loss is 1.00."
    )


@pytest.mark.parametrize(
    ("runs", "words"),
    [
        (RUNS[2:3] + RUNS[:1], "he ends lowest, with a final training loss of 0.02, which one"),
        ((run("a", 0, [9.0], diverged_at=2),), "Every scheme diverged with at least one seed (a)"),
        (
            [run(n, s, falling(0.02), risk=0.5) for n in "ab" for s in (0, 1)],
            "a and b share the first rank (2 seeds cannot tell them apart)",
        ),
        ([run(n, 0, falling(e), risk=1.0) for n, e in (("a", 1), ("b", 0.1))], "the same risk"),
        (
            [run(n, 0, falling(e), risk=e) for n, e in (("a", 0.5), ("b", 0.1))]
            + [run("c", 0, falling(1.5), risk=0.01)],
            "did not foretell",
        ),
    ],
)
def test_other_conclusions(runs, words):
    told = str(Comparison("made up", tuple(runs), 10, 40, 64, None))
    assert words in " ".join(told.split())


def test_without_a_diagnosis_nothing_is_said_of_it():
    runs = tuple(run(n, s, falling(0.1)) for n in "ab" for s in (0, 1))
    race = Comparison("made up", runs, 10, 40, 64, None)
    assert "diagnosis" not in str(race)
    assert math.isnan(race.prediction)


def test_long_words_are_cut():
    runs = (run("a" * 50, 0, falling(0.1), risk=1.0), run("b", 0, [2.0] * 40, risk=2.0))
    runs[0].diagnosis.verdict = "Gradients shrink " + 20 * "and shrink "
    lines = str(Comparison("made up", runs, 10, 40, 64, None)).splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[3].endswith("…")


def test_json_holds_everything_and_no_nan():
    told = json.loads(json.dumps(RACE.to_dict(), allow_nan=False))
    assert [row["label"] for row in told["rows"]] == ["he", "zeros", "large"]
    assert told["rows"][0]["final_loss"]["mean"] == pytest.approx(0.0205)
    assert told["rows"][2]["final_loss"]["low"] is None
    lost = told["runs"][4]
    assert (lost["scheme"], lost["diverged_at"], lost["final_loss"]) == ("large", 4, None)
    assert lost["losses"] == [50.0] * 3
    assert lost["diagnosis"] == {"risk": 20.0}
    assert told["runs"][2]["evaluations"]["test_accuracy"] == [0.1, 0.96]
    assert (told["best"], told["prediction"], told["target_loss"]) == ("he", 1.0, 0.1)


def test_frame_has_one_row_for_each_scheme_and_seed():
    frame = RACE.to_frame()
    assert frame[["scheme", "seed"]].values.tolist() == [[r.label, r.seed] for r in RUNS]
    assert frame["rank"].tolist() == [2, 2, 1, 1, 3, 3]
    assert str(frame["diverged_at"].dtype) == str(frame["steps_to_target"].dtype) == "Int64"
    assert frame["diverged_at"].dropna().tolist() == [4]
    assert frame["final_loss"][4] == math.inf
    assert frame["test_accuracy"][3] == 0.97


def test_frame_without_pandas(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingPackage, match=r"Comparison.to_frame needs pandas: .*\[pandas\]"):
        RACE.to_frame()
