"""A convolutional network on MNIST with half and a quarter of its multiply-adds: accuracies.

It is trained, pruned by each score, and trained on for one epoch, as is the dense one. What was
asked: half within 0.3 points of the dense network as it was pruned, a quarter within 0.8, mean of
the seeds; l2 and taylor better than random channels by more than their spread.

TFINIT_DATA_DIR=../shared/data python scripts/prune_channels_mnist.py [--seeds 0 1 2] [--epochs 3]
"""

import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tyro
from _device import on_device

from tfinit import datasets
from tfinit.cli.signals import heard
from tfinit.pruning import prune_channels

SCORES, TARGETS = ("l2", "taylor", "random"), (0.5, 0.25)
ASKED = {0.5: 0.3, 0.25: 0.8}  # target → points below the dense network, at most
EXAMPLES = 1024  # for the gradients of taylor


def network(seed: int) -> keras.Model:
    keras.utils.set_random_seed(seed)
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(32, 3, strides=2, padding="same", activation="relu"),
            layers.Conv2D(64, 3, strides=2, padding="same", activation="relu"),
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
            layers.Dense(10),
        ]
    )


def train(model: keras.Model, x: np.ndarray, y: np.ndarray, rate: float, epochs: int) -> None:
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(rate), loss, metrics=["accuracy"])
    model.fit(x, y, batch_size=128, epochs=epochs, verbose=0)


def main(seeds: tuple[int, ...] = (0, 1, 2), epochs: int = 3, device: str = "auto") -> None:
    """Print the table.

    Args:
        seeds: Of weights, order of examples and random channels.
        epochs: Of the dense network.
        device: cpu, gpu (an error where there is none) or auto.
    """
    on_device(device)
    mnist = datasets.load("mnist")
    x, y = (np.concatenate(pair) for pair in zip(mnist.train, mnist.validation, strict=True))
    x, x_test = (np.reshape(a, (-1, 28, 28, 1)) for a in (x, mnist.test[0]))
    y_test = mnist.test[1]

    def accuracy(model: keras.Model) -> float:
        return 100 * float((model.predict(x_test, 1000, 0).argmax(-1) == y_test).mean())

    found: dict[tuple[str, float], list[tuple[float, float]]] = {}  # at once, after an epoch
    for seed in seeds:
        start = time.perf_counter()
        dense = network(seed)
        train(dense, x, y, 1e-3, epochs)
        for target in TARGETS:
            for score in SCORES:
                small = prune_channels(
                    dense,
                    x[:EXAMPLES],
                    y[:EXAMPLES],
                    target={"macs": target},
                    score=score,
                    seed=seed,
                ).model
                at_once = accuracy(small)
                train(small, x, y, 5e-4, 1)
                found.setdefault((score, target), []).append((at_once, accuracy(small)))
        on = keras.models.clone_model(dense)
        on.set_weights(dense.get_weights())
        train(on, x, y, 5e-4, 1)
        found.setdefault(("dense", 1), []).append((accuracy(dense), accuracy(on)))
        print(f"seed {seed}: {time.perf_counter() - start:.0f} s", flush=True)

    means = {key: np.mean(rows, axis=0) for key, rows in found.items()}
    dense = means["dense", 1][0]
    print(
        "\n| score | multiply-adds | at once | after an epoch | of dense |",
        "| --- " * 5 + "|",
        sep="\n",
    )
    for (score, target), rows in found.items():
        spread = np.std(rows, axis=0, ddof=1) if len(rows) > 1 else (0.0, 0.0)
        cells = [f"{m:.2f} ± {s:.2f}" for m, s in zip(means[score, target], spread, strict=True)]
        told = f"{means[score, target][1] - dense:+.2f}"
        print(f"| {score} | {target:g} |", *(f"{cell} |" for cell in [*cells, told]))
    for target, most in ASKED.items():
        for score in SCORES[:2]:
            below = dense - means[score, target][1]
            wins = np.array(found[score, target]) - np.array(found["random", target])
            print(
                f"{score} at {target:g}: {below:.2f} points below dense (asked at most {most:g}); "
                "better than random by "
                + " and ".join(f"{a:.2f} ({b:+.2f} to {c:+.2f})" for a, b, c in zip(
                    wins.mean(axis=0), wins.min(axis=0), wins.max(axis=0), strict=True))
                + " points, at once and after an epoch"
            )  # fmt: skip


if __name__ == "__main__":
    with heard():
        tyro.cli(main)
