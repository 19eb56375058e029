"""What pruning buys on a device: sizes, latencies and accuracies of exported files, side by side.

    TFINIT_DATA_DIR=../shared/data python benchmarks/export.py                  # all: 15 minutes
    python benchmarks/export.py --part lenet --steps 2000
    python benchmarks/export.py --part wide --steps 100
    python benchmarks/export.py --part applications

lenet         LeNet-300-100 on MNIST: dense, 90% unstructured, 90% in 1×4 blocks, int8, int8 of the
              unstructured, and a 3.6% ticket as it is and compacted; and the ticket's file
wide          the same on an MLP with hidden layers of 1024, 4096 and 4096 units
applications  MobileNetV2 and ResNet50 with random weights, 80% of each kernel pruned

Latencies are of one run at batch 1, warm, on one thread; all files take turns in one process, and a
ratio is of their medians. Pruned networks are trained as long again while they are pruned.
"""

import argparse
import gzip
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

from tfinit import datasets
from tfinit.exporting import ExportReport, Variant, side_by_side
from tfinit.lottery import Ticket
from tfinit.pruning import ConstantSparsity, PolynomialDecay, SparseOptimizer, top_mask
from tfinit.pruning.compaction import compact
from tfinit.pruning.tfmot_api.low_magnitude import strip_pruning
from tfinit.variables import all_weights, prunable_weights, read_weights

BATCH = 128
TICKET = 0.036  # density


def network(hidden: tuple[int, ...]) -> keras.Model:
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(units, "relu", name=f"fc{n}") for n, units in enumerate(hidden, 1)]
    return keras.Sequential([keras.Input((784,)), *layers, keras.layers.Dense(10, name="output")])


def train(model: keras.Model, optimizer: keras.optimizers.Optimizer, steps: int) -> None:
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss)
    x, y = DATA["train"]
    rows = np.random.default_rng(0).permutation(len(x) * (steps * BATCH // len(x) + 1))
    rows = rows[: steps * BATCH] % len(x)
    started = time.perf_counter()
    model.fit(x[rows], y[rows], batch_size=BATCH, shuffle=False, verbose=0)
    print(f"  {steps} steps in {time.perf_counter() - started:.0f} s", flush=True)


def pruned(dense: keras.Model, steps: int, sparsity: float, **rule: object) -> keras.Model:
    """A copy, its hidden layers pruned while it is trained on."""
    model = keras.models.clone_model(dense)
    model.set_weights(dense.get_weights())
    schedule = ConstantSparsity(sparsity, begin_step=1, frequency=10**6)
    if sparsity > 0.95:  # not all at once
        schedule = PolynomialDecay(0.5, sparsity, 1, steps // 2, frequency=max(1, steps // 40))
    scope = [layer for layer in model.layers if layer.name != "output"]
    optimizer = SparseOptimizer(keras.optimizers.Adam(1e-3), schedule, scope=scope, **rule)
    train(model, optimizer, steps)
    return strip_pruning(model)


DATA: dict[str, tuple[np.ndarray, np.ndarray]] = {}


def load() -> None:
    mnist = datasets.load("mnist")
    for name in ("train", "test"):
        x, y = getattr(mnist, name)
        DATA[name] = (x.reshape(len(x), 784), y)


def networks(
    name: str, hidden: tuple[int, ...], steps: int, examples: int, keep: Path | None
) -> ExportReport:
    print(f"\n{name}: training", flush=True)
    load()
    dense = network(hidden)
    first = read_weights(all_weights(dense))
    train(dense, keras.optimizers.Adam(1e-3), steps)
    scattered = pruned(dense, steps, 0.9)
    blocks = pruned(dense, steps, 0.9, block_size="litert")
    variants = [
        Variant("dense", dense),
        Variant("unstructured 90%", scattered, sparse=True),
        Variant("1x4 90%", blocks, sparse=True),
        Variant("int8", dense, quantize="int8"),
        Variant("int8 + unstructured", scattered, quantize="int8"),
    ]
    sparse = pruned(dense, steps, 1 - TICKET)
    variants += [Variant("ticket", sparse, sparse=True), *compacted(sparse)]
    ticket_file(sparse, first)
    x, y = DATA["test"]
    report = side_by_side(
        variants,
        DATA["train"][0][:200],
        x=x[:examples],
        y=y[:examples],
        folder=keep and keep / name,
        seconds=2,
    )
    print(report, flush=True)
    asked = {"lenet": 2.5, "wide": 4.5}[name]
    print(f"1x4 90%: {report.speedup('1x4 90%'):.2f} times as fast as dense, asked {asked:g}")
    return report


def compacted(model: keras.Model) -> list[Variant]:
    small = compact(model)
    print(small)
    return [
        Variant("compacted ticket", small.model),
        Variant("compacted, sparse", small.model, sparse=True),
    ]


def ticket_file(model: keras.Model, first: dict[str, np.ndarray]) -> None:
    """The file of the ticket: the masks, and the survivors' first weights."""
    masks = {key: np.asarray(w) != 0 for key, w in prunable_weights(model).items()}
    masks["output/kernel"] = top_mask(
        np.abs(first["output/kernel"]), round(TICKET * first["output/kernel"].size)
    )
    ticket = Ticket(masks, first)
    with tempfile.TemporaryDirectory() as folder:
        ticket.save(Path(folder) / "ticket.npz")
        content = (Path(folder) / "ticket.npz").read_bytes()
    print(
        f"ticket file at density {ticket.density:.1%}: {len(content):,} bytes, gzipped "
        f"{len(gzip.compress(content)):,}; of LeNet asked 50,000",
        flush=True,
    )


def applications(sparsity: float = 0.8) -> None:
    for name, size in (("MobileNetV2", 224), ("ResNet50", 224)):
        keras.utils.set_random_seed(0)
        # Logits: of random weights softmax makes a constant, with which anything would agree.
        model = getattr(keras.applications, name)(
            weights=None, input_shape=(size, size, 3), classifier_activation=None
        )
        for variable in prunable_weights(model).values():
            array = np.asarray(variable)
            keep = round((1 - sparsity) * array.size)
            variable.assign(array * top_mask(np.abs(array), keep))
        started = time.perf_counter()
        variants = [Variant("plain", model), Variant(f"pruned {sparsity:.0%}", model, sparse=True)]
        report = side_by_side(variants, seconds=5)
        print(f"\n{name}: {time.perf_counter() - started:.0f} s\n{report}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--part", choices=["lenet", "wide", "applications"], action="append", help="default: all"
    )
    parser.add_argument("--steps", type=int, help="of each training; lenet 2000, wide 100")
    parser.add_argument("--keep", type=Path, help="a directory for the files of the networks")
    args = parser.parse_args()
    parts = args.part or ["lenet", "wide", "applications"]
    if "lenet" in parts:
        networks("lenet", (300, 100), args.steps or 2000, 10_000, args.keep)
    if "wide" in parts:
        networks("wide", (1024, 4096, 4096), args.steps or 100, 1000, args.keep)
    if "applications" in parts:
        applications()


if __name__ == "__main__":
    main()
