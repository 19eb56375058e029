"""What a diagnosis draws, and that it loads nothing of what other figures draw."""

import subprocess
import sys

import numpy as np
from drawn import labels, line

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
