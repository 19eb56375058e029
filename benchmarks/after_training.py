"""What `prune_after_training` takes: seconds of processor and memory beside the forward pass.

    python benchmarks/after_training.py                    # both parts
    python benchmarks/after_training.py --part depth

depth     4, 8 and 16 convolutions of 64 channels one after another
resnet50  128 images of 160×160 to 70 %, with SparseGPT

Each row is a process of its own, and so is the forward pass that it is held against: with the same
model and data, called as often as the pruning calls it. Weights and images are random.
"""

import argparse
import os
import resource
import subprocess
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

PARTS = {"depth": ("4", "8", "16"), "resnet50": ("resnet50",)}
PASSES = 2  # one that counts the calls of each layer, one that prunes


def measure(name: str, prune: bool) -> None:
    """Print seconds of this process and of the clock, and its largest memory in MiB."""
    import keras
    import numpy as np

    from tfinit.pruning import prune_after_training

    keras.utils.set_random_seed(0)
    if name == "resnet50":
        model = keras.applications.ResNet50(weights=None, input_shape=(160, 160, 3))
        x = np.random.default_rng(0).normal(size=(128, 160, 160, 3)).astype("f4")
    else:
        layers = [keras.layers.Conv2D(64, 3, padding="same") for _ in range(int(name))]
        model = keras.Sequential([keras.Input((16, 16, 64)), *layers])
        x = np.random.default_rng(0).normal(size=(64, 16, 16, 64)).astype("f4")
    processor, clock = time.process_time(), time.monotonic()
    if prune:
        prune_after_training(model, x, 0.7)
    else:
        for _ in range(PASSES):
            model(x, training=False)
    found = time.process_time() - processor, time.monotonic() - clock
    print(*found, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def of_process(name: str, *flags: str) -> list[float]:
    command = [sys.executable, __file__, "--one", name, *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [float(part) for part in done.stdout.split()]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", choices=PARTS, help="one of them")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--forward", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        measure(options.one, not options.forward)
        return
    print("network    processor s   clock s   forward: processor s   memory over forward MiB")
    for part in [options.part] if options.part else PARTS:
        for name in PARTS[part]:
            processor, clock, memory = of_process(name)
            forward, _, without = of_process(name, "--forward")
            label = name if part == "resnet50" else f"{name} layers"
            told = f"{label:10} {processor:11.1f} {clock:9.1f} {forward:22.1f}"
            print(f"{told} {memory - without:25.0f}", flush=True)


if __name__ == "__main__":
    main()
