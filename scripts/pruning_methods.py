"""Pruning before, during and after training, on MNIST: what each method keeps at one sparsity.

    python scripts/pruning_methods.py                       # three seeds, all three tables
    python scripts/pruning_methods.py --only methods --seeds 1 --sparsity 0.95

1. A conv net pruned to 90 % while it trains, on PolynomialDecay, against the same net dense.
   The last quarter of the training is at 90 %.
2. The same net at 98 %: masks at initialization (SNIP, GraSP, SynFlow, magnitude, and random
   ones) and masks that move during training (RigL).
3. A VGG-like net at 99.9 %, without training: which methods leave a layer without any weight.

The data is tfinit.datasets' MNIST: from TFINIT_DATA_DIR, or downloaded by Keras.
"""

import argparse
import time
import warnings

import keras
import numpy as np
from _device import parsed

from tfinit.cli.signals import heard
from tfinit.datasets import Dataset, load
from tfinit.pruning import ConstantSparsity, PolynomialDecay, SparseOptimizer
from tfinit.pruning.scoring.at_initialization import prune_at_initialization

L = keras.layers
RATE = 2e-3
BATCH = 128
# Method and allocation. The papers' random masks are uniform; those of ERK are the harder test.
AT_INITIALIZATION = [
    ("random", "uniform"),
    ("random", "erk"),
    ("magnitude", "global"),
    ("snip", "global"),
    ("grasp", "global"),
    ("synflow", "global"),
]
DURING_TRAINING = [("rigl", "uniform"), ("rigl", "erk")]


def conv_net() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            L.Conv2D(16, 5, strides=2, padding="same", activation="relu", name="conv1"),
            L.Conv2D(32, 3, strides=2, padding="same", activation="relu", name="conv2"),
            L.Conv2D(64, 3, strides=2, padding="same", activation="relu", name="conv3"),
            L.Flatten(),
            L.Dense(128, activation="relu", name="fc"),
            L.Dense(10, name="output"),
        ]
    )


def vgg_like() -> keras.Model:
    """Eight convolutions of growing width, with Keras's own initialization."""
    layers = [keras.Input((28, 28, 1))]
    for width in (32, 64, 128, 256):
        layers += [L.Conv2D(width, 3, padding="same", activation="relu") for _ in range(2)]
        layers += [L.MaxPooling2D(2)]
    return keras.Sequential([*layers, L.Flatten(), L.Dense(10)])


def compiled(model: keras.Model, optimizer: keras.optimizers.Optimizer) -> keras.Model:
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    # jit_compile: one XLA program a step, which is what makes this quick on a processor.
    model.compile(optimizer, loss, metrics=["accuracy"], jit_compile=True, steps_per_execution=20)
    return model


def accuracy(model: keras.Model, data: Dataset, epochs: int) -> float:
    """Test accuracy in percent after training, without a look at it before."""
    x, y = data.train
    rows = len(x) - len(x) % BATCH  # batches of one size: one compilation
    model.fit(x[:rows], y[:rows], BATCH, epochs, verbose=0)
    return 100 * model.evaluate(*data.test, batch_size=1000, verbose=0)[1]


def a_few(data: Dataset, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Ten training examples of each class, as SNIP and GraSP take them."""
    x, y = data.train
    order = np.random.default_rng(seed).permutation(len(x))
    rows = np.concatenate([order[y[order] == c][:10] for c in range(data.classes)])
    return x[rows], y[rows]


def steps_of(data: Dataset, epochs: int) -> int:
    return epochs * (len(data.train[0]) // BATCH)


def row(name: str, values: list[float], more: str = "") -> None:
    each = " ".join(f"{v:6.2f}" for v in values)
    print(f"{name:24} {np.mean(values):6.2f} ± {np.std(values):4.2f}   {each}  {more}", flush=True)


def dense_and_gradual(data: Dataset, seeds: int, epochs: int) -> None:
    steps = steps_of(data, epochs)
    print(f"\nConv net, {epochs} epochs: test accuracy in %, mean ± deviation, each seed")
    dense, gradual, zeros = [], [], []
    for seed in range(seeds):
        keras.utils.set_random_seed(seed)
        dense.append(accuracy(compiled(conv_net(), keras.optimizers.Adam(RATE)), data, epochs))
        keras.utils.set_random_seed(seed)
        model = conv_net()
        schedule = PolynomialDecay(0, 0.9, steps // 10, 3 * steps // 4, frequency=20)
        optimizer = SparseOptimizer(keras.optimizers.Adam(RATE), schedule, scope=model)
        gradual.append(accuracy(compiled(model, optimizer), data, epochs))
        zeros.append(sparsity_of(model))
    row("dense", dense)
    row("90 % by PolynomialDecay", gradual, f"sparsity {np.mean(zeros):.2%}")
    print(f"difference: {np.mean(gradual) - np.mean(dense):+.2f} points")


def sparsity_of(model: keras.Model) -> float:
    kernels = [w.numpy() for w in model.trainable_weights if len(w.shape) >= 2]
    return 1 - sum(np.count_nonzero(k) for k in kernels) / sum(k.size for k in kernels)


def methods(data: Dataset, seeds: int, epochs: int, sparsity: float) -> None:
    steps = steps_of(data, epochs)
    print(f"\nConv net at {sparsity:.1%} sparsity, {epochs} epochs: test accuracy in %")
    for method, allocation in AT_INITIALIZATION + DURING_TRAINING:
        values, collapsed = [], 0
        for seed in range(seeds):
            keras.utils.set_random_seed(seed)
            model = conv_net()
            if method == "rigl":
                schedule = ConstantSparsity(sparsity, 0, 3 * steps // 4, frequency=20)
                optimizer = SparseOptimizer(
                    keras.optimizers.Adam(RATE),
                    schedule,
                    scope=model,
                    allocation=allocation,
                    regrow="rigl",
                    seed=seed,
                )
                compiled(model, optimizer)
            else:
                compiled(model, keras.optimizers.Adam(RATE))
                x, y = a_few(data, seed)
                report = prune_at_initialization(
                    model, sparsity, method, x, y, allocation=allocation, seed=seed
                )
                collapsed += len(report.collapsed)
            values.append(accuracy(model, data, epochs))
        more = f"{collapsed} collapsed layers" if collapsed else ""
        row(f"{method} ({allocation})", values, more)


def collapse(data: Dataset, seeds: int, sparsity: float) -> None:
    print(f"\nVGG-like net at {sparsity:.2%}, no training: layers of 9 that keep no weight")
    for method, allocation in AT_INITIALIZATION:
        empty, smallest, kept = [], [], 0
        for seed in range(seeds):
            keras.utils.set_random_seed(seed)
            model = compiled(vgg_like(), keras.optimizers.Adam(RATE))
            x, y = a_few(data, seed)
            report = prune_at_initialization(
                model, sparsity, method, x, y, allocation=allocation, seed=seed
            )
            counts = [int(mask.sum()) for mask in report.masks.values()]
            empty.append(len(report.collapsed))
            smallest.append(min(counts))
            kept = sum(counts)
        print(
            f"{method + f' ({allocation})':24} collapsed {empty}, fewest weights in a layer "
            f"{smallest}, of {kept} kept",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds, 3")
    parser.add_argument("--epochs", type=int, default=2, help="of a training at one sparsity, 2")
    parser.add_argument("--gradual", type=int, default=4, help="epochs of gradual pruning, 4")
    parser.add_argument("--sparsity", type=float, default=0.98, help="of the methods, 0.98")
    parser.add_argument("--extreme", type=float, default=0.999, help="of the collapse, 0.999")
    parser.add_argument("--only", choices=["gradual", "methods", "collapse"], help="one table")
    options = parsed(parser)
    # That the first pruning comes late is meant here.
    warnings.filterwarnings("ignore", "The first pruning comes before")
    start, data = time.monotonic(), load("mnist")
    if options.only in (None, "gradual"):
        dense_and_gradual(data, options.seeds, options.gradual)
    if options.only in (None, "methods"):
        methods(data, options.seeds, options.epochs, options.sparsity)
    if options.only in (None, "collapse"):
        collapse(data, options.seeds, options.extreme)
    print(f"\n{time.monotonic() - start:.0f} seconds")


if __name__ == "__main__":
    with heard():
        main()
