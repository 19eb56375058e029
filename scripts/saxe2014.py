"""Saxe et al. 2014, figure 6: the learning time of deep linear networks over their depth.

    python scripts/saxe2014.py --figure docs/figures/saxe2014.png

A linear network W = W_L … W_1 learns scikit-learn's digits (whitened, one-hot targets) by
full-batch gradient descent. With whitened inputs the loss is ½‖Σ_yx − W‖² plus a constant, so a
step costs 3 L small products. The learning time is the number of steps until 95 % of what can be
learned is learned, at the best of a grid of learning rates η for each depth, as in the paper.
Beside it stands the time as the paper's theory counts it, steps · η · L, at a rate so small that
rates no longer matter.

What to expect: a mode of strength s with target t moves by ds/dτ = s^(2 − 2/L) (t − s), so the
time has a limit for deep networks, and only the change of the exponent from 1 (L = 2) to 2 tells
depths apart. Orthogonal weights start at s = 1, where depth has no influence; but the targets here
are 0.2 to 0.3 or, in most directions, 0, and s must fall, for s ≪ 1 the slower the deeper. Hence
the rise from depth 2 on, which is over where 2 / L is small. With targets near 1 (the last line
printed) it is a factor below 2.
"""

import keras
import numpy as np
from _figure import parsed, save
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from tfinit.cli.signals import heard
from tfinit.initializers import LeCun, Orthogonal
from tfinit.plots.replicates import draw, entries
from tfinit.plots.style import panels, styles
from tfinit.spread import Spread

WIDTH = 32
DEPTHS = (2, 3, 4, 8, 16, 32, 64)  # the paper's begin at 3
RATES = 2.0 ** np.arange(4, -8.5, -0.5)  # times 1 / depth; the best is at neither end
SMALL = 2.0**-4  # times 1 / depth: within a few percent of gradient flow
MOST = 1000
FLOW_MOST = 3000
SEEDS = (0, 1, 2)


def correlations() -> np.ndarray:
    """Σ_yx of whitened digits and centered one-hot labels, (10, WIDTH)."""
    x, y = load_digits(return_X_y=True)
    x = PCA(WIDTH, whiten=True, random_state=0).fit_transform(x)
    targets = np.eye(10)[y]
    return (targets - targets.mean(0)).T @ x / len(x)


def network(initializer: keras.Initializer, depth: int) -> list[np.ndarray]:
    shapes = [(WIDTH, WIDTH)] * (depth - 1) + [(WIDTH, 10)]
    return [
        np.asarray(type(initializer)(seed=1000 * initializer.seed + i)(shape, dtype="float64")).T
        for i, shape in enumerate(shapes)
    ]


def learning_time(
    start: list[np.ndarray], wanted: np.ndarray, rate: float, most: int = MOST
) -> int:
    """The steps to learn 95 %, or ``most`` if they are not enough."""
    weights, goal = [w.copy() for w in start], 0.05 * (wanted**2).sum()
    for step in range(most):  # too large a rate overflows and counts as not learned
        below = [np.eye(WIDTH)]
        for w in weights:
            below.append(w @ below[-1])
        error = below[-1] - wanted
        loss = (error**2).sum()
        if loss < goal:
            return step
        if not loss < 1e6:
            return most
        back = error
        for i in reversed(range(len(weights))):
            gradient = back @ below[i].T
            back = weights[i].T @ back
            weights[i] -= rate * gradient
    return most


def best(start: list[np.ndarray], wanted: np.ndarray) -> tuple[int, float]:
    """The fewest steps over the rates, and that rate · depth."""
    found = (MOST, np.nan)
    for rate in RATES:
        # A run need not go on for longer than the best one before it.
        steps = learning_time(start, wanted, rate / len(start), found[0])
        if steps < found[0]:
            found = steps, float(rate)
    return found


def flow(start: list[np.ndarray], wanted: np.ndarray) -> float:
    """Steps · rate · depth at a small rate."""
    steps = learning_time(start, wanted, SMALL / len(start), FLOW_MOST)
    return SMALL * steps if steps < FLOW_MOST else np.inf


def main() -> None:
    target = parsed(__doc__, trains=False).figure  # NumPy does
    wanted = correlations()
    strengths = np.linalg.svd(wanted, compute_uv=False)[:9]  # centered targets: the tenth is 0
    print(f"strengths to learn: {strengths.min():.2f} to {strengths.max():.2f}")
    figure, (axes,) = panels("", 1, (6, 3.6))
    starts_from = {"orthogonal": Orthogonal, "Gaussian, 1 / fan_in": LeCun}
    for (name, cls), look in zip(starts_from.items(), styles(starts_from).values(), strict=True):
        times = []
        for depth in DEPTHS:
            starts = [network(cls(seed=seed), depth) for seed in SEEDS]
            with np.errstate(over="ignore", invalid="ignore"):
                steps, rates = zip(*(best(s, wanted) for s in starts), strict=True)
                flows = [flow(s, wanted) for s in starts]
            times.append(steps)
            shown = [f"> {MOST}" if t == MOST else str(t) for t in steps]
            print(
                f"{name}, depth {depth}: {', '.join(shown)} steps at rate · depth "
                f"{', '.join(f'{r:.2g}' for r in rates)}; steps · rate · depth at a small rate: "
                f"{', '.join(f'{t:.0f}' for t in flows)}",
                flush=True,
            )
        draw(axes, DEPTHS, [Spread.of(t) for t in np.log(times)], shown=np.exp, label=name, **look)
    near = wanted / strengths.mean()
    flows = [
        np.median([flow(network(Orthogonal(seed=s), depth), near) for s in SEEDS])
        for depth in DEPTHS
    ]
    print(
        "orthogonal, targets scaled to strengths near 1, steps · rate · depth at a small rate: "
        + ", ".join(f"{t:.1f} (depth {d})" for d, t in zip(DEPTHS, flows, strict=True))
    )
    axes.set(
        title=f"Deep linear networks ({len(SEEDS)} seeds; {MOST} = not within {MOST})",
        xlabel="depth",
        ylabel="steps to learn 95 %, best rate",
        xscale="log",
        yscale="log",
    )
    axes.set_xticks(DEPTHS, [str(d) for d in DEPTHS])
    axes.set_xticks([], minor=True)
    axes.legend(handles=entries(axes), frameon=False)
    axes.grid(alpha=0.3)
    save(figure, target)


if __name__ == "__main__":
    with heard():
        main()
