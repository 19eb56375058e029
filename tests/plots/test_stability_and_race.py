"""What the figures of stability and of the race draw: lines, bands and labels."""

from dataclasses import dataclass

import numpy as np
import pytest
from drawn import bands, labels, line, thin

from tfinit.comparison.result import Comparison, Run
from tfinit.plots import race_figure, stability_figure
from tfinit.training.metrics import Metrics

# -- stability ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Interpolated:
    seed: int
    k: int
    alphas: np.ndarray
    train_error: np.ndarray
    test_error: np.ndarray

    def barrier(self, split):
        error = getattr(self, f"{split}_error")
        return float(error.max() - (error[0] + error[-1]) / 2)


RECORDS = [
    Interpolated(
        seed,
        k,
        np.array([0.0, 0.5, 1.0]),
        np.array([0.0, top + seed / 100, 0.0]),
        np.array([0.02, 0.02 + top / 2, 0.02]),
    )
    for seed in (0, 1)
    for k, top in ((100, 0.1), (0, 0.4), (1000, 0.0))
]


def test_stability():
    barriers, test, train = stability_figure(RECORDS, "made up").axes
    assert labels(barriers) == ["test", "train", "stable below"]
    x, y = line(barriers, "train")
    np.testing.assert_allclose(x, [0, 100, 1000])
    np.testing.assert_allclose(y, [40.5, 10.5, 0.5])
    np.testing.assert_allclose(line(barriers, "test")[1], [20, 5, 0], atol=1e-12)
    assert [t.get_text() for t in barriers.get_xticklabels()] == ["0", "100", "1,000"]
    np.testing.assert_allclose(thin(barriers)[2:], [[40, 10, 0], [41, 11, 1]], atol=1e-12)
    for axes in (test, train):
        assert labels(axes) == ["k = 0", "k = 100", "k = 1,000"]
        assert len(thin(axes)) == 3 * 2
    x, y = line(train, "k = 0")
    np.testing.assert_allclose(x, [0, 0.5, 1])
    np.testing.assert_allclose(y, [0, 40.5, 0])
    np.testing.assert_allclose(line(test, "k = 100")[1], [2, 7, 2])


def test_stability_of_one_seed_and_one_step():
    records = [RECORDS[1]]
    barriers, test, _ = stability_figure(records, "made up").axes
    np.testing.assert_allclose(line(barriers, "test")[1], [20])
    assert bands(barriers) == bands(test) == []


def test_stability_leaves_out_what_diverged():
    nowhere = np.full(3, np.nan)
    lost = [Interpolated(2, k, RECORDS[0].alphas, nowhere, nowhere) for k in (0, 5)]
    barriers, test, _ = stability_figure([*RECORDS, *lost], "made up").axes
    np.testing.assert_allclose(line(barriers, "train")[1], [40.5, np.nan, 10.5, 0.5])
    assert labels(test) == ["k = 0", "k = 100", "k = 1,000"]
    assert labels(stability_figure(lost, "made up").axes[1]) == []


# -- race -----------------------------------------------------------------------------------------


def racer(label, seed, losses, diverged_at=None):
    metrics = Metrics(np.array([0]), {}, np.array(losses, np.float32))
    return Run(label, seed, 100, metrics, diverged_at, 0.01)


RACE = Comparison(
    "made up",
    (
        racer("he", 0, [2.0, 0.5] * 25 + [0.1] * 50),
        racer("he", 1, [2.0, 0.5] * 25 + [0.4] * 50),
        racer("large", 0, [8.0] * 30, diverged_at=31),
        racer("large", 1, [2.0] * 100),
    ),
    10,
    100,
    32,
    0.3,
)


def test_race_lines_are_geometric_means_over_bins_and_seeds():
    (axes,) = race_figure(RACE).axes
    assert labels(axes) == ["he", "large (diverged: 1 of 2)", "loss to reach"]
    assert axes.get_yscale() == "log"
    x, y = line(axes, "he")
    # Bins of two steps, at the middle of the steps counted from 1.
    np.testing.assert_allclose(x, np.arange(50) * 2 + 1.5)
    np.testing.assert_allclose(y, [1.0] * 25 + [0.2] * 25, rtol=1e-6)
    np.testing.assert_allclose(line(axes, "loss to reach")[1], 0.3)
    assert bands(axes) == []
    np.testing.assert_allclose([of[-1] for of in thin(axes)[:2]], [0.1, 0.4], rtol=1e-6)


def test_race_of_four_seeds_has_bands_of_the_logarithm():
    runs = tuple(racer("he", n, [0.1 if n % 2 else 0.4] * 100) for n in range(4))
    (axes,) = race_figure(Comparison("made up", runs, 10, 100, 32, None)).axes
    assert thin(axes) == []
    # t(0.975) is 3.182 for three degrees of freedom; the logs deviate by log 2, √(4 / 3) in all.
    half = 3.182 * np.log(2) * (4 / 3) ** 0.5 / 2
    np.testing.assert_allclose(bands(axes), [0.2 * np.exp([-half, half])], rtol=2e-3)


def test_race_goes_on_without_the_diverged_and_marks_where():
    (axes,) = race_figure(RACE).axes
    _, y = line(axes, "large (diverged: 1 of 2)")
    np.testing.assert_allclose(y, [4.0] * 15 + [2.0] * 35, rtol=1e-6)
    (cross,) = [one for one in axes.get_lines() if one.get_marker() == "x"]
    np.testing.assert_allclose(cross.get_data(), [[30], [8]])
    low, high = axes.get_ylim()
    assert 0.02 < low < 0.1
    assert 8 < high < 32


def test_race_shows_no_towering_start():
    high = (*RACE.runs[:2], racer("large", 0, [1e20] * 5, diverged_at=6))
    (axes,) = race_figure(Comparison("made up", high, 10, 100, 32, None)).axes
    # Ten times log(10), and 0.3 of the decades between that and the lowest seed's 0.1 above it.
    top = 23.03 * (23.03 / 0.1) ** 0.3
    assert axes.get_ylim()[1] == pytest.approx(top, rel=0.01)
    (cross,) = [one for one in axes.get_lines() if one.get_marker() == "x"]
    assert cross.get_ydata()[0] == axes.get_ylim()[1]


def test_race_of_one_seed_and_of_nothing_that_trained():
    (axes,) = race_figure(Comparison("made up", RACE.runs[:1], 10, 100, 32, None)).axes
    assert (labels(axes), bands(axes)) == (["he"], [])
    lost = (racer("large", 0, [], diverged_at=1),)
    assert labels(race_figure(Comparison("made up", lost, 10, 100, 32, None)).axes[0]) == [
        "large (diverged: 1 of 1)"
    ]


def test_a_race_of_negative_losses_is_on_a_linear_axis():
    runs = (racer("he", 0, [1.0, -1.0] * 50), racer("large", 0, [3.0] * 100))
    (axes,) = race_figure(Comparison("made up", runs, None, 100, 32, None)).axes
    assert axes.get_yscale() == "linear"
    np.testing.assert_allclose(line(axes, "he")[1], 0)
    low, high = axes.get_ylim()
    assert -2 < low < 0 < 3 < high < 5


@pytest.mark.parametrize("draw", [lambda: stability_figure(RECORDS, "made up"), RACE.plot])
def test_it_can_be_saved(draw, tmp_path):
    """Drawing runs the formatters and the layout."""
    figure = draw()
    figure.savefig(tmp_path / "figure.png")
    assert figure.get_suptitle() == "made up"
