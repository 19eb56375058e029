"""Saxe et al. 2014, figure 6: the learning time of deep linear networks over their depth.

    python scripts/saxe2014.py              # prints the figures, writes docs/figures/saxe2014.png

A linear network W = W_L … W_1 learns scikit-learn's digits (whitened, one-hot targets) by
full-batch gradient descent. With whitened inputs the loss is ½‖Σ_yx − W‖² plus a constant, so a
step costs 3 L small products. The learning time is the number of steps until 95 % of what can be
learned is learned, at the best of a grid of learning rates for each depth.
"""

from pathlib import Path

import keras
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from tfinit.initializers import LeCun, Orthogonal

WIDTH = 32
DEPTHS = (2, 4, 8, 16, 32, 64)
RATES = 2.0 ** -np.arange(0, 8)  # times 1 / depth
MOST = 1000
SEEDS = (0, 1, 2)
TARGET = Path(__file__).parents[1] / "docs" / "figures" / "saxe2014.png"


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


def learning_time(start: list[np.ndarray], wanted: np.ndarray, rate: float) -> int:
    weights, goal = [w.copy() for w in start], 0.05 * (wanted**2).sum()
    for step in range(MOST):  # too large a rate overflows and counts as not learned
        below = [np.eye(WIDTH)]
        for w in weights:
            below.append(w @ below[-1])
        error = below[-1] - wanted
        loss = (error**2).sum()
        if loss < goal:
            return step
        if not loss < 1e6:
            return MOST
        back = error
        for i in reversed(range(len(weights))):
            gradient = back @ below[i].T
            back = weights[i].T @ back
            weights[i] -= rate * gradient
    return MOST


def main() -> None:
    wanted = correlations()
    figure, axes = plt.subplots(figsize=(5.5, 3.6), constrained_layout=True)
    for name, cls in (("orthogonal", Orthogonal), ("Gaussian, 1 / fan_in", LeCun)):
        times = []
        for depth in DEPTHS:
            starts = [network(cls(seed=seed), depth) for seed in SEEDS]
            times.append([min(learning_time(s, wanted, r / depth) for r in RATES) for s in starts])
            shown = [f"> {MOST}" if t == MOST else str(t) for t in times[-1]]
            print(f"{name}, depth {depth}: {', '.join(shown)} steps", flush=True)
        middle = np.median(times, axis=1)
        axes.plot(DEPTHS, middle, "o-", label=name)
        axes.fill_between(DEPTHS, np.min(times, axis=1), np.max(times, axis=1), alpha=0.2)
    axes.set(
        title=f"Deep linear networks ({len(SEEDS)} seeds; {MOST} = not within {MOST})",
        xlabel="depth",
        ylabel="steps to learn 95 %",
        xscale="log",
        yscale="log",
    )
    axes.set_xticks(DEPTHS, [str(d) for d in DEPTHS])
    axes.set_xticks([], minor=True)
    axes.legend()
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(TARGET, dpi=120)
    print(f"wrote {TARGET}")


if __name__ == "__main__":
    main()
