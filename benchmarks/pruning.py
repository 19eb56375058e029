"""What pruning costs beside what a user would pick instead. Ratios of medians, taken in turns.

    python benchmarks/pruning.py                     # all of it: a few minutes on 2 cores
    python benchmarks/pruning.py --part masks --sparsity 0.5

masks  an update of the masks of ResNet50's 25 million weights: in each tensor beside TFMOT's
       `Pruning.conditional_mask_update`, over all tensors beside PyTorch's `global_unstructured`
       (where torch is installed); and the memory that it needs
step   a training step between two updates, beside the unpruned one: benchmarks/pruning_step.py
sparse an embedding's step with a sparse gradient: the same file
first  the first step of `fit`, which compiles: the same file
growth the cost of a step against the number of parameters: the same file
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from pruning_step import factors, first_step, growth, sparse_gradients

from tfinit.pruning.in_training.schedules import ConstantSparsity
from tfinit.pruning.in_training.selection import keep_count, top_masks
from tfinit.pruning.tfmot_api.tfmot import load_tfmot

REPEATS = 5


def seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def compare(
    name: str,
    ours: Callable[[], object],
    theirs: Callable[[], object],
    other: str,
    asked: float,
) -> float:
    """Print and return median(theirs) / median(ours); the two take turns, after one warm-up."""
    first = seconds(ours), seconds(theirs)
    pairs = [(seconds(ours), seconds(theirs)) for _ in range(REPEATS)]
    mine, other_s = (median(times) for times in zip(*pairs, strict=True))
    print(
        f"{name}: {mine:.3f} s, {other} {other_s:.3f} s: {other_s / mine:.1f} times as fast, "
        f"asked {asked:g} (first calls {first[0]:.1f} s, {first[1]:.1f} s)",
        flush=True,
    )
    return other_s / mine


# -- masks -------------------------------------------------------------------------------------


def resnet50_shapes() -> list[tuple[int, ...]]:
    weights = keras.applications.ResNet50(weights=None).trainable_weights
    return [tuple(w.shape) for w in weights if len(w.shape) > 1]


def random_weights(shapes: list[tuple[int, ...]]) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(0, np.prod(s[:-1]) ** -0.5, s).astype("float32") for s in shapes]


class LayerWise:
    """Masks of every tensor at one sparsity, assigned to variables in one `tf.function`."""

    def __init__(self, arrays: list[np.ndarray], sparsity: float):
        self.weights = [tf.Variable(a) for a in arrays]
        self.masks = [tf.Variable(tf.ones(a.shape, tf.bool)) for a in arrays]
        self.sparsity = tf.Variable(sparsity)

    @tf.function
    def update(self) -> None:
        for weight, mask in zip(self.weights, self.masks, strict=True):
            keep = keep_count(int(np.prod(weight.shape)), self.sparsity)
            mask.assign(top_masks([weight], keep, absolute=True)[0])


class GlobalMasks(LayerWise):
    """Masks of all tensors together at one sparsity."""

    @tf.function
    def update(self) -> None:
        keep = keep_count(sum(int(np.prod(w.shape)) for w in self.weights), self.sparsity)
        masks = top_masks(self.weights, keep, absolute=True)
        for mask, new in zip(self.masks, masks, strict=True):
            mask.assign(new)


class Tfmot:
    """The same with TFMOT's object: magnitude pruning with a schedule that always updates."""

    def __init__(self, arrays: list[np.ndarray], sparsity: float):
        load_tfmot()
        from tensorflow_model_optimization.python.core.sparsity.keras import pruning_impl

        self.masks = [tf.Variable(np.ones_like(a)) for a in arrays]
        triples = [
            (tf.Variable(a), mask, tf.Variable(0.0))
            for a, mask in zip(arrays, self.masks, strict=True)
        ]
        schedule = ConstantSparsity(sparsity, begin_step=0, frequency=1)
        self.pruning = pruning_impl.Pruning(
            lambda: tf.constant(1), triples, schedule, (1, 1), "AVG"
        )

    @tf.function
    def update(self) -> None:
        self.pruning.conditional_mask_update()


def same(ours: list[tf.Tensor], theirs: list[np.ndarray]) -> str:
    differ = sum(np.count_nonzero(a.numpy() != b) for a, b in zip(ours, theirs, strict=True))
    return f"  {differ} of {sum(b.size for b in theirs)} mask entries differ"


def torch_global(arrays: list[np.ndarray], sparsity: float) -> Callable[[], list[np.ndarray]]:
    import torch
    from torch.nn.utils import prune

    modules = [torch.nn.ParameterDict({"w": torch.nn.Parameter(torch.tensor(a))}) for a in arrays]

    def run() -> list[np.ndarray]:
        prune.global_unstructured(
            [(m, "w") for m in modules], pruning_method=prune.L1Unstructured, amount=sparsity
        )
        masks = [m.w_mask.numpy() != 0 for m in modules]
        for module in modules:  # or the next call would prune what is left
            weight = module.w_orig.data
            prune.remove(module, "w")
            module.w.data = weight
        return masks

    return run


def masks_part(args: argparse.Namespace) -> None:
    arrays = random_weights(resnet50_shapes())
    total = sum(a.size for a in arrays)
    print(f"ResNet50: {len(arrays)} tensors, {total} weights, sparsity {args.sparsity}")
    ours, theirs = LayerWise(arrays, args.sparsity), Tfmot(arrays, args.sparsity)
    compare("layer-wise masks", ours.update, theirs.update, "TFMOT", asked=10)
    print(same(ours.masks, [m.numpy() != 0 for m in theirs.masks]))
    del theirs
    pooled = GlobalMasks(arrays, args.sparsity)
    try:
        pruned = torch_global(arrays, args.sparsity)
    except ModuleNotFoundError:
        print("global masks: torch is not installed, nothing to compare with")
    else:
        compare("global masks", pooled.update, pruned, "PyTorch", asked=3)
        print(same(pooled.masks, pruned()))
    for engine in ENGINES:
        memory(engine, args.sparsity)


# -- memory ------------------------------------------------------------------------------------

ENGINES = {"layer-wise": LayerWise, "global": GlobalMasks}
WIDER = 16


def resident(field: str) -> int:
    """Bytes of this process, from Linux: VmRSS now, VmHWM at the peak since the last reset."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise KeyError(field)


def first_update(engine: str, sparsity: float) -> None:
    """Print the peak of this process in its first update, less what it held before, in bytes."""
    shapes = [(*s[:-1], WIDER * s[-1]) for s in resnet50_shapes()]
    masks = ENGINES[engine](random_weights(shapes), sparsity)
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    masks.update()
    print(resident("VmHWM") - before)


def memory(engine: str, sparsity: float) -> None:
    """The peak memory of an update beyond weights and masks, in copies of the largest tensor.

    TensorFlow keeps what it has freed, so only the first update of a process shows its peak; and
    that one also traces and compiles, some 200 MB. So every tensor is made WIDER times as large,
    which makes that little beside a copy, and the figure is an upper bound.
    """
    command = [sys.executable, __file__, "--memory-of", engine, "--sparsity", str(sparsity)]
    run = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    peak = int(run.stdout.split()[-1])
    sizes = [4 * WIDER * int(np.prod(s)) for s in resnet50_shapes()]
    print(
        f"peak extra memory of {engine} masks, at most: {peak / 1e6:.0f} MB, "
        f"{peak / max(sizes):.2f} copies of the largest tensor (asked of layer-wise: 2), "
        f"{peak / sum(sizes):.2f} of all",
        flush=True,
    )


PARTS = {
    "masks": masks_part,
    "step": lambda args: factors(turns=7, only=""),
    "sparse": lambda args: sparse_gradients(turns=9),
    "first": lambda args: first_step(turns=3),
    "growth": lambda args: growth(turns=5, largest=1e8),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", choices=PARTS, action="append", help="all by default")
    parser.add_argument("--sparsity", type=float, default=0.9, help="of the masks")
    parser.add_argument("--memory-of", choices=ENGINES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.memory_of:
        first_update(args.memory_of, args.sparsity)
        return
    for part in args.part or PARTS:
        PARTS[part](args)


if __name__ == "__main__":
    main()
