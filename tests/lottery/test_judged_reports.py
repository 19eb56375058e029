"""Reports of networks that are judged by another metric than an accuracy; results by hand."""

import csv
import io
from dataclasses import replace

import numpy as np
import pytest
from drawn import means
from rich.console import Console

from tfinit.errors import InputError
from tfinit.lottery import Conclusion, LevelResult, StabilityResult
from tfinit.lottery.linear_connectivity import stability_to_csv, summarize_stability
from tfinit.lottery.report import summarize, to_csv
from tfinit.lottery.table import lottery_table, stability_table
from tfinit.plots import curves_figure, lottery_figure, stability_figure
from tfinit.training import Metrics
from tfinit.training.judged import JudgedMetric

MAE = JudgedMetric("size_mae", "min")
R2 = JudgedMetric("r2", "max")


def result(seed, branch, level, survivors, mae):
    """Validation loss is smallest at the second evaluation; R² is 1 - MAE."""
    mae = np.array([2.0, mae + 0.5, mae])
    values = {"validation_loss": np.array([3.0, 1.0, 2.0]), "test_loss": mae**2}
    values |= {"test_size_mae": mae, "test_r2": 1 - mae}
    mask = {"w": np.arange(100) < survivors}
    return LevelResult(
        seed, branch, level, {}, {}, mask, {}, Metrics(10 * np.arange(3), values), None, MAE
    )


RESULTS = [
    made
    for seed, off in ((0, 0.0), (1, 0.002), (2, 0.001))
    for made in (
        result(seed, "ticket", 0, 100, 0.40 + off),
        result(seed, "ticket", 1, 40, 0.30 + off),
        result(seed, "reinit", 1, 40, 0.50 + off),
        result(seed, "ticket", 2, 5, 0.404 + off),
        result(seed, "reinit", 2, 5, 0.60 + 2 * off),
    )
]


def test_values_are_of_the_metric_and_the_early_stop_is_that_of_the_loss():
    one = RESULTS[0]
    assert (one.early_stop_step, one.early_stop_value) == (10, 0.9)
    assert (one.final_value, one.untrained_value) == (0.4, 2.0)
    assert str(one).endswith("test size_mae 0.4")
    with pytest.raises(InputError, match=r"'accuracy' was not measured .* loss, size_mae, r2\."):
        one.final_accuracy  # noqa: B018
    by_loss = replace(one, judged_by=None)
    assert (by_loss.metric.name, by_loss.final_value) == ("loss", pytest.approx(0.16))


def test_columns_carry_the_name():
    (first, *_) = csv.DictReader(io.StringIO(to_csv(RESULTS)))
    assert [name for name in first if name.endswith("mae")] == [
        "early_stop_size_mae",
        "final_size_mae",
        "untrained_size_mae",
    ]
    assert first["final_size_mae"] == "0.4"
    assert RESULTS[0].to_dict()["final_size_mae"] == 0.4


def test_results_by_several_metrics_are_not_mixed():
    with pytest.raises(InputError, match="judged by several metrics, size_mae, r2"):
        summarize([RESULTS[0], replace(RESULTS[1], judged_by=R2)])


def test_a_table_shows_numbers_and_which_way_is_better():
    def lines(results):
        console = Console(width=80, file=io.StringIO())
        console.print(lottery_table(summarize(results), "made up"))
        return [" ".join(line.split()) for line in console.file.getvalue().splitlines()]

    found = lines(RESULTS)
    assert found[1] == "final test size_mae (lower is better), mean±std"
    assert "2 5.0% 0.405±0.001 0.602±0.002" in found
    single = lines(RESULTS[:5])
    assert single[1] == "test size_mae (lower is better), mean±standard deviation; gain of ticket"
    assert "2 5.0% 10 0.904 0.404 10 1.1 0.6 +0.196" in single


def test_the_conclusion_is_in_terms_of_the_metric():
    assert str(Conclusion.of(RESULTS)) == (
        "Tickets stay within 1% of the dense network's size_mae of 0.401 ± 0.001 down to 5.0% "
        "density, and their initial weights matter: their size_mae is 0.197 ± 0.001 lower than "
        "that of reinitialized networks at 5.0% density (95% interval 0.195 to 0.199)."
    )
    by_r2 = str(Conclusion.of([replace(r, judged_by=R2) for r in RESULTS]))
    assert "r2 is 0.197 ± 0.001 higher than that of reinitialized networks" in by_r2
    swapped = {"ticket": "reinit", "reinit": "ticket"}
    worse = [replace(r, branch=swapped[r.branch]) if r.level else r for r in RESULTS]
    text = str(Conclusion.of(worse))
    assert text.startswith("No ticket stays within 1% of the dense network's size_mae of 0.401")
    assert "but reinitialized networks do better: their size_mae is 0.197 ± 0.001 higher" in text
    alone = str(Conclusion.of(RESULTS[:5]))
    assert "is 0.196 lower than that" in alone and "one replicate cannot tell" in alone


def line(metric, turned):
    alphas = np.array([0.0, 0.5, 1.0])
    return StabilityResult(0, 10, alphas, turned, 2 * turned, turned, turned, metric)


def test_a_line_tells_the_metric_itself_and_its_barrier():
    by_mae, by_r2 = (line(metric, np.array([0.25, 0.75, 0.25])) for metric in (MAE, R2))
    assert str(by_mae) == "seed 0 k=10: barrier of size_mae 0.5 in training, 1 in test"
    rows = stability_to_csv([by_mae]).splitlines()
    assert rows[0] == "seed,k,alpha,train_size_mae,test_size_mae,train_loss,test_loss"
    assert rows[2] == "0,10,0.5,0.75,1.5,0.75,0.75"
    assert stability_to_csv([by_r2]).splitlines()[2] == "0,10,0.5,0.25,-0.5,0.75,0.75"
    by_loss = line(JudgedMetric("loss", "min"), np.zeros(3))
    assert stability_to_csv([by_loss]).startswith("seed,k,alpha,train_loss,test_loss\n")
    table = stability_table(summarize_stability([by_mae]), "it")
    assert "barrier of size_mae" in str(table.title)


def test_a_curve_that_has_gaps_on_the_test_split_is_drawn_on_that_of_validation():
    gaps = []
    for one in RESULTS:
        values = {**one.metrics.values, "validation_size_mae": one.metrics.values["test_size_mae"]}
        values["test_size_mae"] = np.array([2.0, np.nan, 1.0])
        gaps.append(replace(one, metrics=replace(one.metrics, values=values)))
    assert curves_figure(gaps, "it").axes[0].get_ylabel() == "validation size_mae"
    axes = curves_figure(gaps, "it", value="test_size_mae").axes[0]
    assert [x.tolist() for x, _ in (one.get_data() for one in means(axes))] == [[0, 20]] * 3


def test_axes_are_in_the_metrics_units():
    quality, _ = lottery_figure(summarize(RESULTS), "it").axes
    assert quality.get_ylabel() == "final test size_mae (lower is better)"
    low, high = quality.get_ylim()
    assert 0.2 < low < high < 0.7
    assert curves_figure(RESULTS, "it").axes[0].get_ylabel() == "test size_mae"
    figure = stability_figure([line(R2, np.array([0.25, 0.75, 0.25]))], "it")
    barriers, test, _ = figure.axes
    assert (barriers.get_ylabel(), test.get_ylabel()) == ("barrier of r2", "1 - test r2")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["test", "train"]
