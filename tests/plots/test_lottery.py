"""What the figures of lottery experiments draw: lines, bands and labels."""

import numpy as np
import pytest
from drawn import bands, labels, line, means, thin

from tfinit.errors import InputError
from tfinit.lottery.branches import BRANCHES, label
from tfinit.lottery.report import LevelSummary, summarize
from tfinit.lottery.result import LevelResult
from tfinit.plots import (
    curves_figure,
    initializations_figure,
    layers_figure,
    lottery_figure,
    masks_figure,
)
from tfinit.plots.masks import first_layer_image
from tfinit.plots.style import percent_ticks, styles
from tfinit.spread import Spread
from tfinit.training.metrics import Metrics


def row(branch, level, accuracies, steps=(), diverged=0):
    spread = Spread.of(accuracies)
    steps = Spread.of(steps or [10.0] * len(accuracies))
    return LevelSummary(branch, level, 0.5**level, steps, spread, spread, spread, diverged)


ROWS = [
    row("ticket", 0, [0.97, 0.98, 0.98, 0.99], [10, 20, 20, 30]),
    row("ticket", 1, [0.96, 0.98, 0.97, 0.97], [10, 20, 20, 30]),
    row("reinit", 1, [0.93, 0.94, 0.94, 0.95], [20, 30, 30, 40]),
    row("ticket", 2, [0.95, 0.96, 0.96, 0.97], [10, 10, 10, 10]),
    row("reinit", 2, [0.91, 0.92, 0.92, 0.93], [40, 40, 40, 40]),
]


def test_lottery_lines_and_bands():
    accuracy, speed = lottery_figure(ROWS, "made up").axes
    for axes in (accuracy, speed):
        assert labels(axes) == ["dense network", "ticket (rewound)", "same mask, reinitialized"]
        assert axes.get_xscale() == "log"
        assert axes.xaxis_inverted()
    x, y = line(accuracy, "ticket (rewound)")
    np.testing.assert_allclose(x, [100, 50, 25])
    np.testing.assert_allclose(y, [98, 97, 96])
    x, y = line(accuracy, "same mask, reinitialized")
    np.testing.assert_allclose(x, [50, 25])
    np.testing.assert_allclose(y, [94, 92])
    np.testing.assert_allclose(line(accuracy, "dense network")[1], 98)
    np.testing.assert_allclose(line(speed, "same mask, reinitialized")[1], [30, 40])
    # t(0.975) is 3.182 for three degrees of freedom; the deviation is √(2 / 3).
    half = 3.182 * (2 / 3) ** 0.5 / 2
    np.testing.assert_allclose(
        bands(accuracy), [(96 - half, 98 + half), (92 - half, 94 + half)], rtol=1e-4
    )
    (dense,) = accuracy.patches
    np.testing.assert_allclose(
        [dense.get_y(), dense.get_y() + dense.get_height()], [98 - half, 98 + half], rtol=1e-4
    )


def test_one_replicate_has_no_band():
    rows = [row("ticket", 0, [0.98]), row("ticket", 1, [0.97]), row("reinit", 1, [0.95])]
    figure = lottery_figure(rows, "made up")
    assert all(bands(axes) == [] and len(axes.patches) == 0 for axes in figure.axes)
    np.testing.assert_allclose(line(figure.axes[0], "ticket (rewound)")[1], [98, 97])


def test_fewer_than_four_replicates_are_drawn_one_by_one():
    """Student's interval of two would fill the panel."""
    for n in (2, 3):
        values = [[0.98, 0.96, 0.97][:n], [0.95, 0.99, 0.91][:n]]
        figure = lottery_figure([row("ticket", i, of) for i, of in enumerate(values)], "made up")
        axes = figure.axes[0]
        assert bands(axes) == []
        dense, replicates = thin(axes)[:n], thin(axes)[n:]
        np.testing.assert_allclose(np.transpose(replicates), 100 * np.array(values))
        np.testing.assert_allclose(np.array(dense)[:, 0], 100 * np.array(values[0]))
        low, high = axes.get_ylim()
        assert low < 100 * np.min(values) and high > 100 * np.max(values)
        (legend,) = figure.legends
        assert [one.get_text() for one in legend.get_texts()][-1] == "each seed"
    figure = lottery_figure(ROWS, "made up")
    assert thin(figure.axes[0]) == []
    assert figure.legends[0].get_texts()[-1].get_text() == "95% confidence"


def test_of_more_than_six_lines_only_the_means_are_drawn():
    for n in (3, 4):
        rows = [row(f"control {i}", level, [0.9] * n) for i in range(7) for level in (1, 2)]
        axes = lottery_figure(rows, "made up").axes[0]
        assert (len(means(axes)), thin(axes), bands(axes)) == (7, [], [])


def test_a_replicate_that_is_missing_is_not_taken_for_another():
    rows = [row("ticket", level, of) for level, of in enumerate([[0.9, 0.8, 0.7], [0.6, 0.5]])]
    (axes, _) = lottery_figure(rows, "made up").axes
    shown = [one for one in thin(axes) if len(one) == 2 and np.ptp(one) != 0]
    n = np.nan
    wanted = [[n, 60], [n, 50], [90, n], [80, n], [70, n]]
    np.testing.assert_allclose(shown, wanted)


def test_wide_bands_do_not_press_the_lines_together():
    rows = [row("ticket", 0, [0.98] * 4), row("ticket", 1, [0.6, 0.97, 1.23, 1.0])]
    low, high = lottery_figure(rows, "made up").axes[0].get_ylim()
    # Means are 98 and 95; the band of the second is 1.6 times 26 points each way.
    assert 93 < low < 95
    assert 98 < high < 100


def test_points_are_open_where_some_diverged_and_missing_where_all_did():
    rows = [
        *ROWS,
        row("ticket", 3, [0.95, 0.95], diverged=1),
        row("reinit", 3, [], diverged=3),
    ]
    accuracy, _ = lottery_figure(rows, "made up").axes
    assert "open: a replicate diverged" in labels(accuracy)
    np.testing.assert_allclose(line(accuracy, "ticket (rewound)")[1], [98, 97, 96, 95])
    np.testing.assert_allclose(line(accuracy, "same mask, reinitialized")[1], [94, 92, np.nan])
    unnamed = [one for one in accuracy.get_lines() if one.get_label().startswith("_")]
    shown = [one.get_data(orig=False) for one in unnamed if one.get_markerfacecolor() == "white"]
    np.testing.assert_allclose(shown[0], [[12.5], [95]])
    assert np.isfinite(accuracy.get_ylim()).all()


def test_every_dense_network_diverged():
    figure = lottery_figure([row("ticket", 0, [], diverged=2)], "made up")
    assert labels(figure.axes[0]) == ["ticket (rewound)"]


def test_any_branches_have_their_own_look_and_names():
    names = [*BRANCHES, "my own"]
    rows = [row("ticket", 0, [0.9]), *(row(name, 1, [0.9]) for name in names)]
    accuracy, _ = lottery_figure(rows, "made up").axes
    shown = labels(accuracy)
    assert len(shown) == len(set(shown)) == 1 + len(names)
    assert "my own" in shown
    assert set(shown) == {"dense network", "my own", *(b.label for b in BRANCHES.values())}
    looks = styles(names)
    assert len({tuple(look.values()) for look in looks.values()}) == len(names)


@pytest.mark.parametrize(
    ("names", "looks"),
    [
        (("ticket", "reinit", "snip"), ("#0072B2 o -", "#D55E00 s --", "#009E73 ^ -.")),
        (("ticket", "shuffle", "reinit"), ("#0072B2 o -", "#009E73 ^ -.", "#D55E00 s --")),
        (("snip-reinit", "my own"), ("#009E73 ^ -.", "#CC79A7 D :")),
    ],
)
def test_tickets_and_their_reinitialized_masks_look_the_same_in_every_figure(names, looks):
    rows = [row("ticket", 0, [0.9]), *(row(name, 1, [0.9]) for name in names)]
    lines = {one.get_label(): one for one in lottery_figure(rows, "made up").axes[0].get_lines()}
    shown = [lines[label(name)] for name in names]
    assert [f"{a.get_color()} {a.get_marker()} {a.get_linestyle()}" for a in shown] == list(looks)


@pytest.mark.parametrize(
    ("branch", "text"),
    [
        ("ticket", "ticket (rewound)"),
        ("shuffle", "mask shuffled"),
        ("reinit-signs", "same mask, reinitialized, signs kept"),
        ("one-shot", "one-shot pruning"),
        ("snip-reinit", "SNIP, reinitialized"),
        ("magnitude-shuffle", "magnitude, shuffled"),
        ("lr-rewind", "learning-rate rewinding"),
        ("mine", "mine"),
    ],
)
def test_labels(branch, text):
    assert label(branch) == text


def test_ticks_are_round():
    assert percent_ticks([100, 40, 3]) == [100, 50, 20, 10, 5]
    assert percent_ticks([100, 50]) == [100, 80, 60]
    assert percent_ticks([100]) == [100]


def test_initializations():
    bad = [row("ticket", 0, [], diverged=3)]
    (axes,) = initializations_figure({"he": ROWS, "zeros": bad}, "made up").axes
    assert labels(axes) == ["he", "zeros (diverged)"]
    x, y = line(axes, "he")
    np.testing.assert_allclose(x, [100, 50, 25])
    np.testing.assert_allclose(y, [98, 97, 96])
    assert len(bands(axes)) == 1


# -- results --------------------------------------------------------------------------------------


def result(seed, branch, level, accuracies, masks, diverged_at=None):
    accuracies = np.array(accuracies)
    metrics = Metrics(
        10 * np.arange(len(accuracies)),
        {"validation_loss": 1 - accuracies, "test_accuracy": accuracies},
    )
    return LevelResult(seed, branch, level, {}, {}, masks, {}, metrics, diverged_at)


def masks_of(level):
    return {
        "fc1/kernel": np.arange(8).reshape(4, 2) >= 2 * level,
        "fc2/kernel": np.arange(4).reshape(2, 2) >= (level == 2),
    }


RESULTS = [
    result(seed, branch, level, [0.1, 0.8 - level / 10 + seed / 100, 0.9], masks_of(level))
    for seed in (0, 1)
    for level, branch in [(0, "ticket"), (1, "ticket"), (1, "reinit"), (2, "ticket")]
]


def test_curves_are_means_over_the_seeds_level_by_level():
    axes, bar = curves_figure(RESULTS, "made up").axes
    drawn = means(axes)
    assert len(drawn) == 3
    x, y = line(axes, "dense network")
    np.testing.assert_allclose(x, [0, 10, 20])
    np.testing.assert_allclose(y, [10, 80.5, 90])
    np.testing.assert_allclose(drawn[2].get_ydata(), [10, 60.5, 90])
    assert len({str(one.get_color()) for one in drawn}) == 3
    np.testing.assert_allclose(thin(axes)[:2], [[10, 80, 90], [10, 81, 90]])
    assert bar.get_ylabel() == "density: ticket (rewound)"


def test_curves_of_a_control_and_a_loss():
    axes, _ = curves_figure(RESULTS, "made up", "reinit", "validation_loss").axes
    dense, control = means(axes)
    np.testing.assert_allclose(dense.get_ydata(), [0.9, 0.195, 0.1])
    np.testing.assert_allclose(control.get_ydata(), [0.9, 0.295, 0.1])
    assert axes.get_ylabel() == "validation loss"


def test_curves_leave_out_what_diverged():
    lost = result(2, "ticket", 1, [0.1], masks_of(1), diverged_at=3)
    axes, _ = curves_figure([*RESULTS, lost], "made up").axes
    np.testing.assert_allclose(means(axes)[1].get_ydata(), [10, 70.5, 90])
    # Nothing left is still a figure.
    assert curves_figure([lost], "made up").axes[0].get_lines()[:] == []


def test_what_is_not_there_is_told():
    with pytest.raises(InputError, match=r"`branch` must be one of ticket, reinit"):
        curves_figure(RESULTS, "made up", "snip")
    with pytest.raises(InputError, match=r"`value` must be one of .*test_accuracy"):
        curves_figure(RESULTS, "made up", value="loss")
    with pytest.raises(InputError, match=r"`branch` must be one of"):
        layers_figure(RESULTS, "made up", "snip")
    with pytest.raises(InputError, match=r"`seed` must be one of \[0, 1\], received 5"):
        masks_figure(RESULTS, "made up", (2, 2), seed=5)


def test_layers():
    (axes,) = layers_figure(RESULTS, "made up").axes
    assert labels(axes) == ["network", "fc1/kernel", "fc2/kernel"]
    x, y = line(axes, "fc1/kernel")
    np.testing.assert_allclose(x, [100, 100 * 10 / 12, 100 * 7 / 12])
    np.testing.assert_allclose(y, [100, 75, 50])
    np.testing.assert_allclose(line(axes, "fc2/kernel")[1], [100, 100, 75])
    assert len(thin(axes)) == 2 * 2


def test_a_layer_without_weights_is_a_gap():
    empty = {**masks_of(2), "fc2/kernel": np.zeros((2, 2), bool)}
    (axes,) = layers_figure([RESULTS[0], result(0, "ticket", 1, [0.1], empty)], "made up").axes
    np.testing.assert_allclose(line(axes, "fc2/kernel")[1], [100, np.nan])
    assert axes.get_ylim()[0] > 10


def test_networks_without_weights_are_in_no_figure_that_the_logarithm_draws(tmp_path):
    """A run of high fractions ends there, and its figures are drawn after all of its training."""
    none = {key: np.zeros_like(mask) for key, mask in masks_of(0).items()}
    results = [
        *(result(seed, "ticket", 0, [0.1, 0.9], masks_of(0)) for seed in (0, 1)),
        *(result(seed, "ticket", 1, [0.1, 0.8], masks_of(1)) for seed in (0, 1)),
        *(result(seed, "ticket", 2, [0.1, 0.1], none) for seed in (0, 1)),
    ]
    for given, levels, lowest in [(results, 2, 100 * 10 / 12), (results[:2] + results[4:], 1, 100)]:
        rows = summarize(given)
        curves = curves_figure(given, "made up")
        layers = layers_figure(given, "made up")
        tickets = lottery_figure(rows, "made up")
        assert len(means(curves.axes[0])) == levels
        np.testing.assert_allclose(line(layers.axes[0], "network"), [[100, lowest]] * 2)
        for figure in (curves, layers, tickets, initializations_figure({"he": rows}, "made up")):
            figure.savefig(tmp_path / "figure.png")
        for axes in (layers.axes[0], *tickets.axes):
            np.testing.assert_allclose(axes.get_xlim(), [110, lowest / 1.1])
            assert not np.isfinite(axes.xaxis.get_transform().transform([0.0]))
    masks_figure(results, "made up", (2, 2)).savefig(tmp_path / "figure.png")


def test_masks_show_weights_per_pixel():
    *panels, bar = masks_figure(RESULTS, "made up", (2, 2)).axes
    assert bar.get_ylabel() == "fc1/kernel\nweights left per input"
    assert [one.get_text() for one in bar.get_yticklabels()] == ["0", "1", "2"]
    assert {one.images[0].norm.vmax for one in panels} == {2}
    assert [one.get_title() for one in panels] == [
        "level 0: 100.0%",
        "level 1: 75.0%",
        "level 2: 50.0%",
    ]
    np.testing.assert_array_equal(panels[1].images[0].get_array(), [[0, 2], [2, 2]])
    np.testing.assert_array_equal(panels[2].images[0].get_array(), [[0, 0], [2, 2]])


def test_at_most_twelve_masks_with_the_first_and_the_last():
    results = [result(0, "ticket", level, [0.1], masks_of(1)) for level in range(20)]
    *panels, _ = masks_figure(results, "made up", (2, 2)).axes
    titles = [one.get_title() for one in panels]
    assert len(titles) == 12
    assert titles[0].startswith("level 0:")
    assert titles[-1].startswith("level 19:")


def test_image_of_a_dense_layer_adds_the_channels():
    mask = np.arange(12).reshape(12, 1) % 3 > 0  # (2, 2, 3): the first channel is pruned
    np.testing.assert_array_equal(first_layer_image(mask, (2, 2, 3)), [[2, 2], [2, 2]])


def test_image_of_features_is_a_row():
    np.testing.assert_array_equal(
        first_layer_image(masks_of(1)["fc1/kernel"], (4,)), [[0, 2, 2, 2]]
    )
    assert len(masks_figure(RESULTS, "made up", (4,)).axes) == 3 + 1


def test_image_of_a_convolution_is_a_grid_of_kernels():
    mask = np.ones((2, 2, 3, 3), bool)
    mask[0, 0, :, 1] = False
    mask[1, 1, 0, 2] = False
    n = np.nan
    np.testing.assert_array_equal(
        first_layer_image(mask, (8, 8, 3)),
        [
            [3, 3, n, 0, 3],
            [3, 3, n, 3, 3],
            [n, n, n, n, n],
            [3, 3, n, n, n],
            [3, 2, n, n, n],
        ],
    )


@pytest.mark.parametrize("shape", [(5, 2), (3,), (2, 2, 2)])
def test_no_image_of_anything_else(shape):
    with pytest.raises(InputError, match="received a mask of shape"):
        first_layer_image(np.ones(shape, bool), (2, 2))


def test_every_figure_can_be_saved(tmp_path):
    """Drawing runs the formatters and the layout."""
    rows = summarize(RESULTS)
    for figure in (
        lottery_figure(rows, "made up"),
        initializations_figure({"he": rows}, "made up"),
        curves_figure(RESULTS, "made up"),
        layers_figure(RESULTS, "made up"),
        masks_figure(RESULTS, "made up", (2, 2)),
    ):
        figure.savefig(tmp_path / "figure.png")
        assert figure.get_suptitle() == "made up"


def test_what_takes_the_place_of_results_is_told_how_to_get_them():
    """Rows and results are easily taken for each other."""
    results = [result(0, "ticket", 0, [0.5], masks_of(0))]
    for call, given, cure in [
        (lottery_figure, results, r"received LevelResult. .*report\.summarize\(results\)"),
        (initializations_figure, {"he": results}, r"report\.summarize\(results\)"),
        (curves_figure, ROWS, r"received LevelSummary\. tfinit\.lottery\.run returns them"),
        (layers_figure, ROWS, r"tfinit\.lottery\.run returns them"),
        (summarize, ROWS, r"tfinit\.lottery\.run returns them"),
    ]:
        with pytest.raises(InputError, match=cure):
            call(given) if call is summarize else call(given, "title")
