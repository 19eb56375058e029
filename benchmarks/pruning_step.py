"""What a training step under SparseOptimizer costs between updates, beside the unpruned step.

    python benchmarks/pruning_step.py                # LeNet-300-100 and MobileNetV2: at most 1.10
    python benchmarks/pruning_step.py --sparse       # an embedding's sparse gradient: at most 1.30
    python benchmarks/pruning_step.py --first        # MobileNetV2's first step of fit: at most 1.30
    python benchmarks/pruning_step.py --growth       # 1e5 to 1e8 parameters: linear

A step is a call of Keras's own train function (`model.make_train_function`) on an iterator that
repeats one batch: what `fit` does, less its callbacks and progress bar. Beside it TFMOT's factor,
in tf_keras: its wrapper layers and its callback, which its steps need. Medians of turns in one run,
after a warm-up in which the masks are taken; the optimizer is Adam, the sparsity 80%.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from tfinit import models
from tfinit.pruning import ConstantSparsity, PolynomialDecay, SparseOptimizer
from tfinit.pruning.tfmot_api.tfmot import load_tfmot

BOUND = 1.10
NEVER_AGAIN = 10**8  # the first update is the only one
Step = Callable[[], object]


def lenet(k):
    model = models.build("lenet-300-100", k, (28, 28, 1), 10, seed=0)
    return model, np.random.default_rng(0).random((60, 28, 28, 1), "float32")


def mobilenet(k):
    model = k.applications.MobileNetV2(
        weights=None, input_shape=(96, 96, 3), classes=10, classifier_activation=None
    )
    return model, np.random.default_rng(0).random((16, 96, 96, 3), "float32")


def embedding(k):
    """100,000 rows, of which a step sees 640."""
    layers = [
        k.layers.Input((20,)),
        k.layers.Embedding(100_000, 64),
        k.layers.GlobalAveragePooling1D(),
        k.layers.Dense(10),
    ]
    return k.Sequential(layers), np.random.default_rng(0).integers(0, 100_000, (32, 20))


# What makes them, and how many steps are timed together.
CASES = {"LeNet-300-100, batch 60": (lenet, 300), "MobileNetV2, batch 16 at 96×96": (mobilenet, 4)}


def stepper(k, model, x, optimizer, jit) -> Step:
    loss = k.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, jit_compile=jit)
    if hasattr(optimizer, "inner_optimizer"):
        optimizer.build(model.trainable_variables)
    y = np.zeros(len(x), "int32")
    iterator = iter(tf.data.Dataset.from_tensors((x, y)).repeat())
    model.make_train_function()
    return lambda: model.train_function(iterator)


def unpruned(make, jit) -> Step:
    model, x = make(keras)
    return stepper(keras, model, x, keras.optimizers.Adam(), jit)


def sparse(make, jit, frequency=NEVER_AGAIN) -> Step:
    model, x = make(keras)
    schedule = ConstantSparsity(0.8, begin_step=1, frequency=frequency)
    optimizer = SparseOptimizer(keras.optimizers.Adam(), schedule, scope=model)
    return stepper(keras, model, x, optimizer, jit)


def legacy(make, pruned) -> Step:
    import tf_keras

    model, x = make(tf_keras)
    if not pruned:
        return stepper(tf_keras, model, x, tf_keras.optimizers.Adam(), None)
    api = load_tfmot().sparsity.keras
    schedule = api.ConstantSparsity(0.8, begin_step=0, frequency=NEVER_AGAIN)
    model = api.prune_low_magnitude(model, pruning_schedule=schedule)
    step = stepper(tf_keras, model, x, tf_keras.optimizers.Adam(), None)
    callback = api.UpdatePruningStep()
    callback.set_model(model)
    callback.on_train_begin()

    def with_callback() -> object:
        callback.on_train_batch_begin(0)
        return step()

    return with_callback


def seconds(step: Step, steps: int) -> float:
    start = time.perf_counter()
    for _ in range(steps):
        logs = step()
    # The values of the last step exist once all steps have been made.
    tf.nest.map_structure(np.asarray, logs)
    return (time.perf_counter() - start) / steps


def medians(kinds: dict[str, Step], steps: int, turns: int) -> dict[str, float]:
    """The median seconds of a step of each kind, their turns interleaved."""
    for step in kinds.values():
        seconds(step, max(2, steps // 10))
    times = {kind: [] for kind in kinds}
    for _ in range(turns):
        for kind, step in kinds.items():
            times[kind].append(seconds(step, steps))
    return {kind: statistics.median(values) for kind, values in times.items()}


def sparse_gradients(turns: int) -> None:
    """The embedding's step under plain SGD, after the end of a schedule."""
    print("| a step with a sparse gradient | unpruned ms | pruned ms | factor | asked |")
    print("| --- | ---: | ---: | ---: | --- |", flush=True)
    for jit in (True, False):

        def pruned(jit=jit) -> Step:
            model, x = embedding(keras)
            schedule = PolynomialDecay(0, 0.8, 0, 2, frequency=1)
            optimizer = SparseOptimizer(keras.optimizers.SGD(), schedule, scope=model)
            return stepper(keras, model, x, optimizer, jit)

        model, x = embedding(keras)
        kinds = {"plain": stepper(keras, model, x, keras.optimizers.SGD(), jit), "ours": pruned()}
        for step in kinds.values():  # beyond the schedule's end
            seconds(step, 4)
        plain, ours = medians(kinds, 20, turns).values()
        name = "Keras 3, XLA" if jit else "Keras 3, no XLA"
        print(f"| {name} | {plain * 1e3:.2f} | {ours * 1e3:.2f} | {ours / plain:.2f} | ≤ 1.30 |")


def first_step(turns: int) -> None:
    """The first step of `fit`, which traces and compiles, in seconds of the clock and of CPUs."""
    print("| first step of fit | unpruned s | pruned s | factor | of CPU time | asked |")
    print("| --- | ---: | ---: | ---: | ---: | --- |", flush=True)
    taken: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
    for _ in range(turns):
        for pruned, times in taken.items():
            keras.backend.clear_session()
            model, x = mobilenet(keras)
            optimizer = keras.optimizers.Adam()
            if pruned:
                schedule = PolynomialDecay(0, 0.8, 0, 100, frequency=10)
                optimizer = SparseOptimizer(optimizer, schedule, scope=model)
            model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
            start = time.perf_counter(), time.process_time()
            model.fit(x, np.zeros(len(x)), batch_size=len(x), verbose=0)
            times.append((time.perf_counter() - start[0], time.process_time() - start[1]))
    plain, ours = (
        [statistics.median(column) for column in zip(*taken[pruned], strict=True)]
        for pruned in (False, True)
    )
    print(
        f"| MobileNetV2 | {plain[0]:.1f} | {ours[0]:.1f} | {ours[0] / plain[0]:.2f} | "
        f"{ours[1] / plain[1]:.2f} | ≤ 1.30 |"
    )


def factors(turns: int, only: str) -> None:
    print("| model | step of | unpruned ms | pruned ms | factor | asked |")
    print("| --- | --- | ---: | ---: | ---: | --- |", flush=True)
    for name, (make, steps) in CASES.items():
        if only not in name:
            continue
        kinds = {
            "Keras 3, XLA": (unpruned(make, True), sparse(make, True)),
            "Keras 3, no XLA": (unpruned(make, False), sparse(make, False)),
            "tf_keras, TFMOT": (legacy(make, False), legacy(make, True)),
        }
        flat = {(kind, i): step for kind, pair in kinds.items() for i, step in enumerate(pair)}
        taken = medians(flat, steps, turns)
        for kind in kinds:
            plain, pruned = taken[kind, 0], taken[kind, 1]
            asked = f"≤ {BOUND:.2f}" if "Keras 3" in kind else ""
            cells = f"{plain * 1e3:.2f} | {pruned * 1e3:.2f} | {pruned / plain:.2f} | {asked}"
            print(f"| {name} | {kind} | {cells} |", flush=True)


def growth(turns: int, largest: float) -> None:
    """Four dense layers without biases, so that the weights are nearly all there is."""
    print("| parameters | unpruned ms | between updates ms | ns a parameter | update ms | ns |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: |", flush=True)
    for parameters in (1e5, 1e6, 1e7, 1e8):
        if parameters > largest:
            continue
        width = round((parameters / 4) ** 0.5)

        def make(k, width=width):
            layers = [k.layers.Dense(width, "relu", use_bias=False) for _ in range(4)]
            model = k.Sequential([k.layers.Input((width,)), *layers])
            return model, np.ones((4, width), "float32")

        steps = max(2, int(3e6 / parameters))
        n = 4 * width**2
        # One after the other: of 1e8 parameters, three together would not fit a small machine.
        cells = []
        for step in (
            lambda: unpruned(make, True),
            lambda: sparse(make, True),
            lambda: sparse(make, True, frequency=1),
        ):
            cells.append(medians({"": step()}, steps, turns)[""])
            keras.backend.clear_session()
        plain, between, update = cells
        print(
            f"| {n:.3g} | {plain * 1e3:.2f} | {between * 1e3:.2f} | {between / n * 1e9:.1f} | "
            f"{(update - between) * 1e3:.2f} | {(update - between) / n * 1e9:.1f} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--growth", action="store_true", help="cost against parameters instead")
    parser.add_argument("--sparse", action="store_true", help="an embedding's step instead")
    parser.add_argument("--first", action="store_true", help="the first step of fit instead")
    parser.add_argument("--turns", type=int, default=7, help="5 or more")
    parser.add_argument("--only", default="", help="part of a model's name")
    parser.add_argument("--largest", type=float, default=1e8, help="parameters, with --growth")
    arguments = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    if arguments.growth:
        growth(arguments.turns, arguments.largest)
    elif arguments.sparse:
        sparse_gradients(arguments.turns)
    elif arguments.first:
        first_step(min(arguments.turns, 5))
    else:
        factors(arguments.turns, arguments.only)


if __name__ == "__main__":
    main()
