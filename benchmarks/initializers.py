"""What a per-tensor initializer costs beside Keras's own. Ratios of medians, taken in turns.

    python benchmarks/initializers.py               # all of it: a few minutes on 2 cores
    python benchmarks/initializers.py --size 1024   # a smaller orthogonal matrix

The schemes, which fill whole models, are measured in benchmarks/schemes.py.
"""

import argparse
import time
from collections.abc import Callable
from statistics import median

import keras
import numpy as np

from tfinit.initializers import He, LeCun, Orthogonal, Xavier

REPEATS = 5


def seconds(make: Callable[[], object]) -> float:
    start = time.perf_counter()
    # To NumPy, so that the values exist whatever the backend does later.
    keras.ops.convert_to_numpy(make())
    return time.perf_counter() - start


def compare(name: str, ours: Callable[[], object], theirs: Callable[[], object]) -> float:
    """Print and return median(ours) / median(theirs); the two take turns, after one warm-up."""
    for make in (ours, theirs):
        seconds(make)
    pairs = [(seconds(ours), seconds(theirs)) for _ in range(REPEATS)]
    mine, keras_s = (median(times) for times in zip(*pairs, strict=True))
    print(f"{name}: {mine:.3f} s, Keras {keras_s:.3f} s, ratio {mine / keras_s:.2f}", flush=True)
    return mine / keras_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=4096, help="side of the orthogonal matrix")
    size = parser.parse_args().size
    own = keras.initializers

    compare(
        f"Orthogonal {size}×{size}",
        lambda: Orthogonal(seed=1)((size, size)),
        lambda: own.Orthogonal(seed=1)((size, size)),
    )
    q = np.asarray(Orthogonal(seed=1)((size, size)))
    print(f"  max |QᵀQ − I| = {np.abs(q.T @ q - np.eye(size, dtype='float32')).max():.1e}")

    large, small = (3, 3, 512, 512), (3, 3, 16, 16)
    for shape in (large, small):
        pairs = {
            "He normal": (He(seed=1), own.VarianceScaling(2, "fan_in", "untruncated_normal", 1)),
            "LeCun truncated normal": (
                LeCun(distribution="truncated_normal", seed=1),
                own.LecunNormal(seed=1),
            ),
            "Xavier uniform": (Xavier(seed=1), own.GlorotUniform(seed=1)),
        }
        for name, (ours, theirs) in pairs.items():
            compare(
                f"{name} {shape}",
                lambda ours=ours, shape=shape: ours(shape),
                lambda theirs=theirs, shape=shape: theirs(shape),
            )


if __name__ == "__main__":
    main()
