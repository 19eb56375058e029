"""The textbook on initialization, raced: too small, good, too large, zeros; Xavier against He.

    python scripts/textbook.py --figure docs/figures/textbook.png
    python scripts/textbook.py --quick      # one seed, fewer steps

A tanh network of 10 dense layers and a ReLU network of 30, plain SGD, scikit-learn's digits. Before
each training `tfinit.diagnose` looks at the first batch. It foretold the outcome if it found
something severe and the loss stayed above LEVEL, or nothing severe and the loss fell below.
"""

import argparse
import math

import keras
import numpy as np
from _figure import parsed, save
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import tfinit
from tfinit import datasets, models
from tfinit.cli.signals import heard
from tfinit.comparison import Comparison, Run
from tfinit.plots.style import blank, styles

CLASSES = 10
# Half of what guessing costs, ln 10 = 2.30.
LEVEL = math.log(CLASSES) / 2
RATE = 0.01
# Network → the starts, with what the textbook says of them: "small" is N(0, 0.01²), "large" is
# N(0, 1).
STARTS = {
    "mlp-10-tanh": {
        "small": "too small",
        "xavier": "good",
        "large": "too large",
        "zeros": "no symmetry broken",
    },
    "mlp-30-relu": {
        "small": "too small",
        "he": "good",
        "xavier": "loses half of the variance a layer",
        "large": "too large",
        "zeros": "no symmetry broken",
    },
}
SHOWN = (1e-4, 30.0)  # losses in the figure; beyond are those of the starts that explode


def race(network: str, steps: int, seeds: tuple[int, ...]) -> Comparison:
    def build_model() -> keras.Model:
        model = models.build(network, keras, (8, 8, 1), CLASSES, seed=0)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(RATE), loss)
        return model

    data = datasets.load("digits")
    return tfinit.compare(
        build_model, data, list(STARTS[network]), steps=steps, seeds=seeds, title=network
    )


def learned(run: Run) -> bool:
    """A training that diverged has an infinite loss."""
    return run.final_loss < LEVEL


def foretold(run: Run) -> bool:
    return run.diagnosis.healthy == learned(run)


def told(comparison: Comparison) -> str:
    """For each start the verdict, then what the race showed."""
    lines = [f"{comparison.title}, {comparison.steps} steps"]
    for label in comparison.labels:
        runs = comparison.of(label)
        # Seeds may differ: one of the majority.
        typical = sorted((r.diagnosis for r in runs), key=lambda d: d.healthy)[len(runs) // 2]
        losses = ", ".join("diverged" if r.diverged_at else f"{r.final_loss:.3g}" for r in runs)
        severe = sum(not run.diagnosis.healthy for run in runs)
        lines += [
            f"  {label} ({STARTS[comparison.title][label]})",
            f"    diagnosis: severe in {severe} of {len(runs)}: {typical.verdict}",
            f"    race: {sum(map(learned, runs))} of {len(runs)} below {LEVEL:.2f}; "
            f"loss at the end {losses}",
        ]
    return "\n".join(lines)


def drawn(comparisons: list[Comparison]) -> Figure:
    figure = blank("", (10, 7))
    look = styles(label for starts in STARTS.values() for label in starts)
    columns = zip(comparisons, figure.subplots(2, len(comparisons), squeeze=False).T, strict=True)
    for comparison, (above, below) in columns:
        for place, label in enumerate(comparison.labels):
            curves(above, comparison.of(label), place / len(comparison.labels), **look[label])
            gradients(below, comparison.of(label)[0], **look[label])
        above.axhline(LEVEL, color="0.5", linewidth=1)
        above.set(title=comparison.title, xlabel="step", ylabel="training loss", yscale="log")
        above.set(xlim=(0, comparison.steps), ylim=SHOWN)
        below.set(xlabel="layer", ylabel="std of gradients before step 1", yscale="log")
        below.legend(frameon=False, fontsize=8)
        for axes in (above, below):
            axes.grid(alpha=0.3)
    return figure


def curves(axes: Axes, runs: list[Run], shift: float, **look: str) -> None:
    """One line for each seed; a cross at the top is where it diverged.

    Lines that lie on one another are told apart by their markers, shifted by a share of their
    distance.
    """
    for run in runs:
        steps = np.arange(len(run.trailing)) + run.window
        every = max(1, run.steps // 8)
        axes.plot(steps, run.trailing, markersize=4, markevery=(int(shift * every), every), **look)
        if run.diverged_at is not None:
            place = axes.get_xaxis_transform()
            axes.plot(
                run.diverged_at, 0.96, "x", color=look["color"], transform=place, clip_on=False
            )


def gradients(axes: Axes, run: Run, **look: str) -> None:
    layers = [layer for layer in run.diagnosis.layers if layer.is_kernel]
    seen = {layer.depth: layer.output_gradient.std for layer in layers if layer.output_gradient}
    # A logarithmic axis has no place for zero.
    shown = {depth: std for depth, std in seen.items() if std > 0}
    label = run.label if len(shown) == len(layers) else f"{run.label} (elsewhere 0)"
    axes.plot(list(shown), list(shown.values()), markersize=4, label=label, **look)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="one seed, fewer steps")
    options = parsed(__doc__, parser)
    steps, seeds = (1200, (0,)) if options.quick else (2000, (0, 1, 2))
    comparisons = []
    for network in STARTS:
        comparisons.append(race(network, steps, seeds))
        print(told(comparisons[-1]))
    save(drawn(comparisons), options.figure)
    groups = [c.of(label) for c in comparisons for label in c.labels]
    right = sum(all(map(foretold, runs)) for runs in groups)
    trainings = [run for runs in groups for run in runs]
    print(
        f"The diagnosis foretold {right} of {len(groups)} starts: "
        f"{sum(map(foretold, trainings))} of {len(trainings)} trainings."
    )


if __name__ == "__main__":
    with heard():
        main()
