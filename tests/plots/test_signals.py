"""What a diagnosis draws, and that it loads nothing of what other figures draw."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
from drawn import labels, line

from tfinit.plots import signals_figure

DRAWN = """
import sys
from types import SimpleNamespace

import numpy as np

from tfinit.plots import signals_figure

def signal(std):
    return SimpleNamespace(std=std, finite=True, sample=std * np.linspace(-2, 2, 9))

def layer(depth):
    weights = [SimpleNamespace(gradient_std=0.1**depth)]
    kept = {"output": signal(1.0 / depth), "linear": signal(2.0), "output_gradient": signal(0.5)}
    return SimpleNamespace(key=f"fc{depth}", depth=depth, is_kernel=True, weights=weights, **kept)

layers = [layer(depth) for depth in (1, 2)]
"""


def test_a_diagnosis_is_drawn_without_the_lottery_and_without_keras():
    code = DRAWN + (
        "signals_figure(layers, 'made up')\n"
        "heavy = ('tfinit.lottery', 'tfinit.comparison', 'keras', 'tensorflow')\n"
        "print([name for name in heavy if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


def layer_of(name, sample, gradient, depth=1):
    """A layer of a few values."""

    def signal(values):
        values = np.array(values, np.float32)
        return SimpleNamespace(
            std=values.std(), finite=bool(np.isfinite(values).all()), sample=values
        )

    kept = {"output": signal(sample), "linear": signal(sample)}
    kept["output_gradient"] = None if gradient is None else signal(gradient)
    weights = [SimpleNamespace(gradient_std=1.0)]
    return SimpleNamespace(key=name, depth=depth, is_kernel=True, weights=weights, **kept)


def ridges(axes):
    """Each ridge by its name: where it begins and ends, and what is written beside it."""
    names = [one.get_text() for one in axes.get_yticklabels()]
    written = {base: [] for base in axes.get_yticks()}
    for one in axes.texts:
        written[round(one.get_position()[1])].append(one.get_text())
    stairs = [one.get_data() for one in axes.patches]
    shapes = {round(float(np.ravel(one.baseline)[0])): one for one in stairs}
    return {
        name: (shapes.get(base), written[base])
        for name, base in zip(names, axes.get_yticks(), strict=True)
    }


def test_each_ridge_is_as_wide_as_its_data_whatever_the_others_are():
    tiny, huge = 1e-9 * np.linspace(-3, 1, 200), 1e6 * np.linspace(-1, 4, 200)
    layers = [
        layer_of("tiny", tiny, huge),
        layer_of("huge", huge, tiny),
        layer_of("relu", [0, 0, 0, 2, 4], [1, np.nan]),
        layer_of("dead", [0, 0], None),
    ]
    figure = signals_figure(layers, "made up")
    activations, gradients = figure.axes[:2]
    found = ridges(activations)
    assert {name: texts for name, (_, texts) in found.items()} == {
        "tiny": ["−3e−9", "1e−9"],
        "huge": ["−1e6", "4e6"],
        "relu": ["0", "4   60% zeros"],
        "dead": ["all 0"],
    }
    for name in ("tiny", "huge"):  # nothing is cut off: evenly spread values fill all bins
        heights, edges, base = found[name][0]
        assert (edges[0], edges[-1]) == (0, 1) and (heights > base).all()
    assert [one.get_text() for one in gradients.texts][4:] == ["not finite", "none reach it"]
    assert all(0 <= edge <= 1 for edge in found["relu"][0].edges)


def test_names_are_whole_or_end_with_what_tells_them_apart():
    names = ["short", "encoder/block_3/attention/query"]
    figure = signals_figure([layer_of(name, [1, 2], [1, 2]) for name in names], "made up")
    assert [*ridges(figure.axes[0])] == ["short", "…ock_3/attention/query"]


def test_of_deep_networks_some_layers_are_shown_with_the_first_and_the_last():
    layers = [layer_of(f"fc{n}", [1, 2], [1, 2], n) for n in range(1, 41)]
    figure = signals_figure(layers, "made up")
    shown = [*ridges(figure.axes[0])]
    assert (len(shown), shown[0], shown[-1]) == (14, "fc1", "fc40")
    assert figure.axes[0].get_title() == "Activations (14 of 40 layers)"


def test_every_axis_says_what_it_shows_and_numbers_are_plain(tmp_path):
    layers = [layer_of(f"fc{n}", [10.0**-n, 0], [1, 2], n) for n in range(1, 5)]
    figure = signals_figure(layers, "made up")
    figure.savefig(tmp_path / "figure.png")
    assert all(axes.get_title() and axes.get_xlabel() for axes in figure.axes)
    ticks = [one.get_text() for one in figure.axes[2].get_yticklabels()]
    assert "0.001" in ticks and not any("$" in tick for tick in ticks)


def test_its_lines_are_the_standard_deviations_by_depth():
    drawn = {}
    exec(DRAWN + "figure = signals_figure(layers, 'made up')", drawn)
    *_, activations, gradients = drawn["figure"].axes
    np.testing.assert_allclose(line(activations, "activations"), [[1, 2], [1, 0.5]])
    np.testing.assert_allclose(line(activations, "before the activation"), [[1, 2], [2, 2]])
    assert labels(gradients) == [
        f"with respect to the {what}" for what in ("activations", "weights")
    ]
    np.testing.assert_allclose(
        line(gradients, "with respect to the weights"), [[1, 2], [0.1, 0.01]]
    )
