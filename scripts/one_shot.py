"""Pruned after training, without training: magnitude, Wanda and SparseGPT, and what repair adds.

    python scripts/one_shot.py                                  # four networks, three seeds
    python scripts/one_shot.py --networks lenet --seeds 0

Trains a convolutional network and LeNet-300-100 on MNIST, ResNet-20 on scikit-learn's digits, and a
transformer that predicts the next character of Python's own help texts. Each is pruned at once, by
calibration examples without targets; what is measured is loss (in nats) and accuracy on test data,
as the mean ± standard deviation over seeds. "repaired" is after `tfinit.pruning.repair`.

At the end it says where the loss is not in the order of the papers, SparseGPT ≤ Wanda ≤ magnitude,
and where repair does not gain at 80 % and above. What is measured goes to a file for each network
and seed in --results, and is not measured again: several processes can share the work, and one that
is started after them prints the table. MNIST is that of TFINIT_DATA_DIR, or downloaded by Keras.
"""

import argparse
import itertools
import json
import pydoc_data.topics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
from _device import parsed
from pruning_methods import conv_net

from tfinit.cli.signals import heard
from tfinit.datasets import load
from tfinit.files import write_whole
from tfinit.networks import lenet_300_100, resnet_20
from tfinit.pruning import prune_after_training, repair
from tfinit.spread import Spread
from tfinit.text_table import aligned

L = keras.layers
CONTEXT, WIDTH, HEADS, BLOCKS = 64, 96, 4, 3  # of the transformer
SPARSITIES = ("50 %", "70 %", "80 %", "90 %", "2:4")


def wanda_of_kernels(weights: np.ndarray, input_norms: np.ndarray) -> np.ndarray:
    """Wanda's score, ranked in the whole kernel and not in each output."""
    return abs(weights) * input_norms


SCORES = {
    "magnitude": "magnitude",
    "wanda": "wanda",
    "wanda, of kernels": wanda_of_kernels,
    "sparsegpt": "sparsegpt",
}


class Task(NamedTuple):
    """A network and its data: (inputs, targets)."""

    build: Callable[[], keras.Model]
    train: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]
    epochs: int
    batch: int
    rate: float
    calibration: int = 256
    decay: float = 0.0  # of weights; the initial ones of ResNet-20 would stay, which no score knows


@keras.saving.register_keras_serializable("one_shot")
class Positions(L.Layer):
    """Adds a trained vector to each place of a sequence."""

    def build(self, shape: tuple) -> None:
        self.vectors = self.add_weight(shape=shape[1:], initializer="random_normal")

    def call(self, x: object) -> object:
        return x + self.vectors


def transformer(characters: int) -> keras.Model:
    """A decoder of three blocks, layer normalization before each part."""
    given = keras.Input((CONTEXT,), dtype="int32")
    x = Positions()(L.Embedding(characters, WIDTH)(given))
    for _ in range(BLOCKS):
        y = L.LayerNormalization()(x)
        attention = L.MultiHeadAttention(HEADS, WIDTH // HEADS)
        x = L.Add()([x, attention(y, y, use_causal_mask=True)])
        y = L.Dense(4 * WIDTH, "gelu")(L.LayerNormalization()(x))
        x = L.Add()([x, L.Dense(WIDTH)(y)])
    return keras.Model(given, L.Dense(characters)(L.LayerNormalization()(x)))


def language() -> Task:
    """The help texts of Python, the last tenth of them as test data."""
    topics = pydoc_data.topics.topics
    text = "\n".join(topics[name] for name in sorted(topics))
    characters = sorted(set(text))
    codes = np.array([characters.index(c) for c in text], "int32")
    rows = (len(codes) - 1) // CONTEXT
    x, y = (codes[i : i + rows * CONTEXT].reshape(rows, CONTEXT) for i in (0, 1))
    split = rows * 9 // 10
    parts = (x[:split], y[:split]), (x[split:][:256], y[split:][:256])
    sizes = {"epochs": 3, "batch": 32, "calibration": 64}
    return Task(lambda: transformer(len(characters)), *parts, **sizes, rate=3e-3)


def of_images(
    name: str, build: Callable[..., keras.Model], examples: int, **options: float
) -> Task:
    data = load(name)
    (x, y), shape = data.train, data.train[0].shape[1:]
    return Task(
        lambda: build(shape, data.classes), (x[:examples], y[:examples]), data.test, **options
    )


NETWORKS: dict[str, Callable[[], Task]] = {
    "conv": lambda: of_images(
        "mnist", lambda *_: conv_net(), 20_000, epochs=2, batch=128, rate=2e-3
    ),
    "lenet": lambda: of_images(
        "mnist", lambda *a: lenet_300_100(keras, *a), 20_000, epochs=3, batch=128, rate=1e-3
    ),
    "resnet-20": lambda: of_images(
        "digits", lambda *a: resnet_20(keras, *a), 1097, epochs=40, batch=64, rate=3e-3, decay=1.0
    ),
    "transformer": language,
}


def compiled(task: Task) -> keras.Model:
    model, steps = task.build(), task.epochs * -(-len(task.train[0]) // task.batch)
    rate = keras.optimizers.schedules.CosineDecay(task.rate, steps)
    optimizer = keras.optimizers.AdamW(rate, weight_decay=task.decay)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, metrics=["accuracy"])
    return model


def measured(name: str, task: Task, seed: int) -> list[dict]:
    """All rows of one trained network."""
    keras.utils.set_random_seed(seed)
    dense, pruned = (compiled(task) for _ in range(2))
    dense.fit(*task.train, task.batch, task.epochs, verbose=0)
    weights = dense.get_weights()
    draw = np.random.default_rng(seed).permutation(len(task.train[0]))
    x, found = task.train[0][draw[: task.calibration]], []

    def row(sparsity: str, score: str, repaired: bool) -> None:
        loss, accuracy = pruned.evaluate(*task.test, batch_size=500, verbose=0)
        told = {"sparsity": sparsity, "score": score, "repaired": repaired}
        found.append({"network": name, "seed": seed, **told, "loss": loss, "accuracy": accuracy})
        shown = f"{name} seed {seed}: {sparsity} {score}{' repaired' * repaired}"
        print(f"{shown}  loss {loss:.3f}, accuracy {accuracy:.2%}", file=sys.stderr, flush=True)

    pruned.set_weights(weights)
    row("dense", "", False)
    for sparsity in SPARSITIES:
        structured = not sparsity.endswith("%")
        given = {"structure": sparsity} if structured else {"sparsity": float(sparsity[:-1]) / 100}
        for label, score in SCORES.items():
            if structured and label == "wanda, of kernels":  # in groups both are the same
                continue
            pruned.set_weights(weights)
            prune_after_training(pruned, x, score=score, **given)
            row(sparsity, label, False)
            repair(pruned, x, like=dense)
            row(sparsity, label, True)
    return found


class Table:
    """The rows of some networks."""

    def __init__(self, rows: list[dict]) -> None:
        self._of: dict[tuple, dict[int, dict]] = {}
        for row in rows:
            key = (row["network"], row["sparsity"], row["score"], row["repaired"])
            self._of.setdefault(key, {})[row["seed"]] = row

    def values(self, what: str, *key: str | bool) -> np.ndarray:
        """Of each seed."""
        return np.array([row[what] for _, row in sorted(self._of[key].items())])

    def text(self, network: str) -> str:
        head = ("sparsity", "score", "loss", "repaired", "accuracy %", "repaired")
        keys = dict.fromkeys(key[1:3] for key in self._of if key[0] == network)
        rows = [self._line(network, *key) for key in keys]
        return "\n".join(aligned([head, *rows], right=(2, 3, 4, 5)))

    def _line(self, network: str, sparsity: str, score: str) -> tuple[str, ...]:
        def cell(what: str, repaired: bool, scale: float, digits: int) -> str:
            if (network, sparsity, score, repaired) not in self._of:
                return ""
            of = Spread.of(scale * self.values(what, network, sparsity, score, repaired))
            return f"{of.mean:.{digits}f} ± {of.std:.{digits}f}"

        losses = (cell("loss", repaired, 1, 3) for repaired in (False, True))
        hits = (cell("accuracy", repaired, 100, 2) for repaired in (False, True))
        return (sparsity, score, *losses, *hits)

    def judged(self, network: str) -> list[str]:
        """Where the mean losses are not in the papers' order, and where repair does not gain."""
        told = []
        for sparsity in SPARSITIES:
            for less, more in (("sparsegpt", "wanda"), ("wanda", "magnitude")):
                losses = [self.values("loss", network, sparsity, s, False) for s in (less, more)]
                difference = losses[0] - losses[1]
                if difference.mean() > 0:
                    told.append(
                        f"{network}, {sparsity}: {less} is not better than {more}, loss higher by "
                        f"{difference.mean():.3f}, in {np.sum(difference > 0)} of "
                        f"{len(difference)} seeds"
                    )
        for sparsity, score in itertools.product(("80 %", "90 %"), SCORES):
            key = (network, sparsity, score)
            gains = {
                what: (self.values(what, *key, True) - self.values(what, *key, False)).mean()
                for what in ("loss", "accuracy")
            }
            if gains["loss"] > 0 or gains["accuracy"] < 0:
                told.append(
                    f"{network}, {sparsity}, {score}: by repair the loss changes by "
                    f"{gains['loss']:+.3f}, the accuracy by {100 * gains['accuracy']:+.1f} points"
                )
        return told


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="0 1 2")
    parser.add_argument("--results", type=Path, default=Path("runs/one_shot"), help="a folder")
    options = parsed(parser)
    start, rows = time.monotonic(), []
    for seed, name in itertools.product(options.seeds, options.networks):
        file = options.results / f"{name}-{seed}.json"
        if file.exists():
            rows += json.loads(file.read_text())
            continue
        rows += (found := measured(name, NETWORKS[name](), seed))
        write_whole(file, json.dumps(found, indent=1).encode())
    table = Table(rows)
    for name in options.networks:
        print("", name, table.text(name), *table.judged(name), sep="\n", flush=True)
    print(f"\n{time.monotonic() - start:.0f} seconds")


if __name__ == "__main__":
    with heard():
        main()
