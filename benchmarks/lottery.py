"""Training speed of lottery experiments beside what one would use instead.

    python benchmarks/lottery.py                 # all parts without MNIST, about 25 minutes
    python benchmarks/lottery.py lenet conv      # some
    python benchmarks/lottery.py experiment      # MNIST; TFINIT_DATA_DIR
    python benchmarks/lottery.py sparse          # trains on MNIST first; TFINIT_DATA_DIR

lenet   LeNet-300-100, batch 60, Adam, 55,000 examples of 784 numbers in memory, steps a second:
        tfinit with masks; Keras 3 `fit`, without masks; the same with jit_compile and
        steps_per_execution=100; TFMOT in tf_keras `fit`; PyTorch eager with fused Adam and masks.
        And the limit: the eight matrix products of a step alone, in XLA and in PyTorch.
jax     The same network: tfinit's loop on JAX, with masks; Keras `fit` on JAX; tfinit's loop on
        TensorFlow.
experiment  A training of an MNIST experiment with evaluate_every=20: which share of its time goes
        into evaluation, on the test split always, and where a result tells of it. TFINIT_DATA_DIR
conv    Conv-2 at batch 60 and ResNet-20 at batch 128, images of 32×32×3: tfinit against `fit`.
levels  A lottery experiment on digits: time of level 5 against level 1, and whether anything is
        traced anew; resident memory over 20 levels.
sparse  A step of the network that is left when pixels and units without a surviving weight are
        cut out of a 3 % ticket, against the masked step.

Each kind runs in a process of its own, all in turns; medians of the turns. Asked for are ratios.
"""

import multiprocessing
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
import tyro

ROWS, BATCH, STEPS = 55_000, 60, 916  # an epoch
WIDTHS = (784, 300, 100, 10)
Run = Callable[[], object]


def numbers() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.random((ROWS, 784), "float32"), rng.integers(0, 10, ROWS).astype("int32")


def dense(keras, widths=WIDTHS):
    hidden = [keras.layers.Dense(n, "relu") for n in widths[1:-1]]
    return keras.Sequential(
        [keras.layers.Input(widths[:1]), *hidden, keras.layers.Dense(widths[-1])]
    )


def loss_of(keras):
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def loop_of(model, x, y, optimizer, batch, steps, xla=None) -> Run:
    """tfinit's loop, by the call that an experiment makes, without evaluations."""
    import keras

    from tfinit.datasets import Dataset
    from tfinit.training import CompiledLoop

    model.compile(optimizer, loss_of(keras))
    loop = CompiledLoop(model, Dataset("numbers", (x, y), None, None, 10), xla=xla)
    return lambda: loop(steps, batch, seed=0, evaluate_every=steps)


def tfinit_lenet(widths=WIDTHS) -> Run:
    import keras

    from tfinit.pruning import SparseOptimizer, set_masks
    from tfinit.variables import prunable_weights

    x, y = numbers()
    model = dense(keras, widths)
    run = loop_of(
        model, x[:, : widths[0]], y, SparseOptimizer(keras.optimizers.Adam(1.2e-3)), BATCH, STEPS
    )
    rng = np.random.default_rng(1)
    shapes = {key: w.shape for key, w in prunable_weights(model).items()}
    set_masks(model, {key: rng.random(shape) < 0.5 for key, shape in shapes.items()})
    return run


def keras_fit(**compile_options) -> Run:
    import keras

    x, y = numbers()
    model = dense(keras)
    model.compile(keras.optimizers.Adam(1.2e-3), loss_of(keras), **compile_options)
    return lambda: model.fit(x, y, BATCH, verbose=0, steps_per_epoch=None)


def keras_fit_tuned() -> Run:
    return keras_fit(jit_compile=True, steps_per_execution=100)


def tfmot_fit() -> Run:
    import tf_keras

    from tfinit.pruning.tfmot_api.tfmot import load_tfmot

    api = load_tfmot().sparsity.keras
    x, y = numbers()
    schedule = api.ConstantSparsity(0.5, begin_step=0, frequency=10**8)
    model = api.prune_low_magnitude(dense(tf_keras), pruning_schedule=schedule)
    model.compile(tf_keras.optimizers.Adam(1.2e-3), loss_of(tf_keras))
    return lambda: model.fit(x, y, BATCH, verbose=0, callbacks=[api.UpdatePruningStep()])


def pytorch() -> Run:
    import torch

    x, y = (torch.from_numpy(a) for a in numbers())
    y = y.long()
    parts = []
    for n, m in pairwise(WIDTHS):
        parts += [torch.nn.Linear(n, m), torch.nn.ReLU()]
    model = torch.nn.Sequential(*parts[:-1])
    optimizer = torch.optim.Adam(model.parameters(), 1.2e-3, fused=True)
    loss = torch.nn.CrossEntropyLoss()
    kernels = [p for p in model.parameters() if p.ndim == 2]
    masks = [(torch.rand_like(p) < 0.5).float() for p in kernels]

    def epoch() -> None:
        order = torch.randperm(ROWS)
        for i in range(STEPS):
            rows = order[i * BATCH : (i + 1) * BATCH]
            optimizer.zero_grad(set_to_none=True)
            loss(model(x[rows]), y[rows]).backward()
            optimizer.step()
            with torch.no_grad():
                for kernel, mask in zip(kernels, masks, strict=True):
                    kernel.mul_(mask)

    return epoch


def experiment(evaluate_test: str, evaluate_every: int) -> Run:
    """A training of LeNet-300-100 on MNIST as the lottery makes it."""
    import keras

    from tfinit import datasets, models
    from tfinit.pruning import SparseOptimizer
    from tfinit.training import CompiledLoop

    data = datasets.load("mnist")
    model = models.build("lenet-300-100", keras, data.train[0].shape[1:], 10, seed=0)
    model.compile(SparseOptimizer(keras.optimizers.Adam(1.2e-3), scope=model), loss_of(keras))
    loop = CompiledLoop(model, data, evaluate_test=evaluate_test)
    return lambda: loop(STEPS, BATCH, seed=0, evaluate_every=evaluate_every)


def products_xla() -> Run:
    import tensorflow as tf

    rng = np.random.default_rng(0)
    x = tf.constant(rng.random((BATCH, 784), "float32"))
    shapes = pairwise(WIDTHS)
    kernels = [tf.constant(rng.random(s, "float32") * 0.01) for s in shapes]

    @tf.function(jit_compile=True)
    def run(x, kernels, count):
        # Each turn's products take those of the turn before, so that none can be left out.
        def turn(i, w1, w2, w3):
            h1 = tf.matmul(x, w1)
            h2 = tf.matmul(h1, w2)
            out = tf.matmul(h2, w3)
            g3 = tf.matmul(h2, out, transpose_a=True)
            d2 = tf.matmul(out, w3, transpose_b=True)
            g2 = tf.matmul(h1, d2, transpose_a=True)
            d1 = tf.matmul(d2, w2, transpose_b=True)
            return i + 1, tf.matmul(x, d1, transpose_a=True), g2, g3

        return tf.while_loop(lambda i, *_: i < count, turn, (0, *kernels))[1:]

    return lambda: run(x, kernels, tf.constant(STEPS))[0].numpy()


def products_torch() -> Run:
    import torch

    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.random((BATCH, 784), "float32"))
    shapes = pairwise(WIDTHS)
    w1, w2, w3 = (torch.from_numpy(rng.random(s, "float32")) for s in shapes)

    def run() -> None:
        for _ in range(STEPS):
            h1 = x @ w1
            h2 = h1 @ w2
            out = h2 @ w3
            d2 = out @ w3.T
            d1 = d2 @ w2.T
            _ = h2.T @ out, h1.T @ d2, x.T @ d1

    return run


def images(rows):
    rng = np.random.default_rng(0)
    return rng.random((rows, 32, 32, 3), "float32"), rng.integers(0, 10, rows).astype("int32")


def conv(name: str, batch: int, steps: int, how: str) -> Run:
    import keras

    from tfinit import models

    x, y = images(batch * steps)
    model = models.build(name, keras, x.shape[1:], 10, seed=0)
    if how == "tfinit":
        from tfinit.pruning import SparseOptimizer

        optimizer = SparseOptimizer(keras.optimizers.Adam(2e-4), scope=model)
        return loop_of(model, x, y, optimizer, batch, steps)
    model.compile(keras.optimizers.Adam(2e-4), loss_of(keras))
    return lambda: model.fit(x, y, batch, verbose=0)


def _serve(kind: str, arguments: tuple, backend: str, pipe) -> None:
    os.environ["KERAS_BACKEND"] = backend
    run = globals()[kind](*arguments)
    run()
    run()  # the loop learns how many steps to make a call
    while pipe.recv():
        start = time.perf_counter()
        run()
        pipe.send(time.perf_counter() - start)


def seconds(
    kinds: dict[str, tuple], turns: int, backends: dict[str, str] | None = None
) -> dict[str, list[float]]:
    """Name → the seconds of each turn; the kinds take turns, each in its own process."""
    backends = backends or {}
    context = multiprocessing.get_context("spawn")
    pipes, taken = {}, {name: [] for name in kinds}
    for name, (kind, *arguments) in kinds.items():
        pipes[name], theirs = context.Pipe()
        given = (kind, tuple(arguments), backends.get(name, "tensorflow"), theirs)
        context.Process(target=_serve, args=given, daemon=True).start()
        theirs.close()  # so that the other side's death is the end of the file, not a wait
        pipes[name].send(True)  # after its warm-up it takes a turn that does not count
        pipes[name].recv()
    for _ in range(turns):
        for name, pipe in pipes.items():
            pipe.send(True)
            taken[name].append(pipe.recv())
    for pipe in pipes.values():
        pipe.send(False)
    return taken


def lenet(turns: int) -> None:
    kinds = {
        "tfinit, masked": ("tfinit_lenet",),
        "Keras 3 fit": ("keras_fit",),
        "Keras 3 fit, jit_compile, steps_per_execution=100": ("keras_fit_tuned",),
        "TFMOT in tf_keras fit": ("tfmot_fit",),
        "PyTorch eager, fused Adam, masked": ("pytorch",),
        "matrix products alone, XLA": ("products_xla",),
        "matrix products alone, PyTorch": ("products_torch",),
    }
    asked = {"Keras 3 fit": "≥ 4", "TFMOT in tf_keras fit": "≥ 4.5"}
    asked |= {"PyTorch eager, fused Adam, masked": "≥ 1.8"}
    try:
        import torch  # noqa: F401
    except ModuleNotFoundError:
        print("PyTorch is left out: pip install torch", file=sys.stderr)
        kinds = {name: kind for name, kind in kinds.items() if "PyTorch" not in name}
    taken = seconds(kinds, turns)
    ours = taken["tfinit, masked"]
    print("| LeNet-300-100, batch 60 | steps/s | tfinit is × as fast | asked |")
    print("| --- | ---: | ---: | --- |")
    for name, times in taken.items():
        ratio = statistics.median(t / o for t, o in zip(times, ours, strict=True))
        rate = STEPS / statistics.median(times)
        print(f"| {name} | {rate:.0f} | {ratio:.2f} | {asked.get(name, '')} |", flush=True)
    # As all the ratios above: turn by turn, since the machine's speed wanders.
    share = min(
        statistics.median(t / o for t, o in zip(times, ours, strict=True))
        for name, times in taken.items()
        if "alone" in name
    )
    print(f"\nShare of the faster limit: {share:.0%} (goal 75%)\n", flush=True)


def on_jax(turns: int) -> None:
    kinds = {
        "tfinit on JAX, masked": ("tfinit_lenet",),
        "Keras 3 fit on JAX": ("keras_fit",),
        "tfinit on TensorFlow, masked": ("tfinit_lenet",),
    }
    taken = seconds(kinds, turns, {name: "jax" for name in kinds if "JAX" in name})
    ours = taken["tfinit on JAX, masked"]
    asked = {"Keras 3 fit on JAX": "≥ 1.5", "tfinit on TensorFlow, masked": "≥ 0.9"}
    print("| LeNet-300-100, batch 60 | steps/s | tfinit on JAX is × as fast | asked |")
    print("| --- | ---: | ---: | --- |")
    for name, times in taken.items():
        ratio = statistics.median(t / o for t, o in zip(times, ours, strict=True))
        rate = STEPS / statistics.median(times)
        print(f"| {name} | {rate:.0f} | {ratio:.2f} | {asked.get(name, '')} |", flush=True)
    print()


def evaluations(turns: int) -> None:
    kinds = {
        (backend, test, every): ("experiment", test, every)
        for backend in ("tensorflow", "jax")
        for test, every in (("always", STEPS), ("always", 20), ("needed", 20))
    }
    taken = seconds(kinds, turns, {kind: kind[0] for kind in kinds})
    print("| MNIST, evaluate_every 20 | test split | steps/s | share of evaluation | asked |")
    print("| --- | --- | ---: | ---: | --- |")
    for (backend, test, every), times in taken.items():
        if every == 20:
            alone = taken[backend, "always", STEPS]
            share = statistics.median(1 - a / t for a, t in zip(alone, times, strict=True))
            rate = STEPS / statistics.median(times)
            print(f"| {backend} | {test} | {rate:.0f} | {share:.0%} | ≤ 25% |", flush=True)
    print()


def convolutions(turns: int) -> None:
    print("| convolutions | tfinit steps/s | fit steps/s | ratio | asked |")
    print("| --- | ---: | ---: | ---: | --- |", flush=True)
    for name, batch, steps in (("conv-2", 60, 20), ("resnet-20", 128, 8)):
        kinds = {how: ("conv", name, batch, steps, how) for how in ("tfinit", "fit")}
        taken = seconds(kinds, turns)
        ratio = statistics.median(f / o for f, o in zip(taken["fit"], taken["tfinit"], strict=True))
        ours, theirs = (steps / statistics.median(taken[how]) for how in kinds)
        print(
            f"| {name}, batch {batch} | {ours:.1f} | {theirs:.1f} | {ratio:.2f} | ≥ 1.0 |",
            flush=True,
        )


def levels(turns: int) -> None:
    """One experiment, so that the levels see each other's traces and garbage."""
    from tfinit.lottery import LotteryConfig, run
    from tfinit.training import warm_up

    warm_up()
    ends, memory = {}, {}

    def finished(result) -> None:
        ends[result.seed, result.level] = time.perf_counter()
        memory[result.seed, result.level] = _resident()

    with TemporaryDirectory() as directory:
        config = LotteryConfig(
            levels=20,
            steps=3000,
            evaluate_every=1000,
            controls=(),
            seeds=tuple(range(turns)),
            run_dir=Path(directory) / "run",
        )
        run(config, finished=finished, reports=False)
    took = {
        level: [ends[s, level] - ends[s, level - 1] for s in config.seeds] for level in range(1, 21)
    }
    ratio = statistics.median(f / o for f, o in zip(took[5], took[1], strict=True))
    print(f"level 5 / level 1: {ratio:.3f} (asked ≤ 1.05); level 20 / level 1: ", end="")
    print(f"{statistics.median(f / o for f, o in zip(took[20], took[1], strict=True)):.3f}")
    first = config.seeds[0]
    steps = " ".join(f"{memory[first, n] / 2**20:.0f}" for n in (0, 1, 5, 10, 15, 20))
    print(f"resident MiB after levels 0, 1, 5, 10, 15, 20: {steps}", flush=True)
    last = memory[config.seeds[-1], 20] / 2**20
    print(f"and after {turns * 21} trainings: {last:.0f}\n", flush=True)


def _resident() -> int:
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def sparse(turns: int) -> None:
    """Trains a ticket of about 3 % density on MNIST in a few minutes, and cuts it."""
    from tfinit.lottery import LotteryConfig, run

    with TemporaryDirectory() as directory:
        config = LotteryConfig(
            dataset="mnist",
            levels=16,
            steps=3000,
            evaluate_every=3000,
            controls=(),
            seeds=(0,),
            run_dir=Path(directory) / "run",
        )
        ticket = run(config, reports=False)[-1]
        masks = [np.asarray(mask) for mask in ticket.mask.values()]
        density = ticket.density
    # A pixel without a surviving weight counts for nothing; neither does a unit that nothing reads.
    left = [int(mask.any(axis=1).sum()) for mask in masks]
    widths = (*left, WIDTHS[-1])
    print(f"ticket of {density:.1%}: {WIDTHS} → {widths}")
    kinds = {"masked": ("tfinit_lenet", WIDTHS), "cut": ("tfinit_lenet", widths)}
    taken = seconds(kinds, turns)
    ratio = statistics.median(m / c for m, c in zip(taken["masked"], taken["cut"], strict=True))
    print(f"cut is {ratio:.2f} times as fast (worth doing from 1.5)\n", flush=True)


PARTS = {
    "lenet": lenet,
    "jax": on_jax,
    "experiment": evaluations,
    "conv": convolutions,
    "levels": levels,
    "sparse": sparse,
}


def main(
    parts: tyro.conf.Positional[
        tuple[Literal["lenet", "jax", "experiment", "conv", "levels", "sparse"], ...]
    ] = (
        "lenet",
        "jax",
        "conv",
        "levels",
    ),
    turns: int = 5,
) -> None:
    """Print the ratios.

    Args:
        parts: Which parts.
        turns: Turns of each kind; medians are taken over them.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}\n")
    for part in parts:
        PARTS[part](turns)


if __name__ == "__main__":
    tyro.cli(main)
