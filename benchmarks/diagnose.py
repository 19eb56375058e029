"""What `tfinit.diagnose` costs beside one training step of the same model and batch.

    python benchmarks/diagnose.py              # ResNet50, a transformer, depth: minutes
    python benchmarks/diagnose.py resnet50     # parts: resnet50 transformer depth
    python benchmarks/diagnose.py monitor      # SignalMonitor in `fit`: 5 minutes and more

Seconds are medians, taken in turns with the step (`train_on_batch`, after its compilation).
Memory is what the peak of a process of its own lies above that of the built model.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import keras
import numpy as np

from tfinit.callbacks import SignalMonitor
from tfinit.diagnostics import diagnose
from tfinit.models import build

REPEATS = 5
DEPTHS = (10, 20, 40, 80)
MONITORED, MONITOR_TURNS = 62.0, 3  # seconds of a fit, and turns


def resnet50() -> tuple[Any, np.ndarray, np.ndarray]:
    model = keras.applications.ResNet50(
        weights=None, input_shape=(96, 96, 3), classes=100, classifier_activation=None
    )
    random = np.random.default_rng(0)
    return model, random.normal(size=(32, 96, 96, 3)).astype("float32"), random.integers(0, 100, 32)


def transformer(blocks: int = 12, width: int = 256) -> tuple[Any, np.ndarray, np.ndarray]:
    words = keras.Input((128,), dtype="int32")
    h = keras.layers.Embedding(8000, width)(words)
    for _ in range(blocks):
        normal = keras.layers.LayerNormalization()(h)
        h = keras.layers.Add()([h, keras.layers.MultiHeadAttention(4, width // 4)(normal, normal)])
        normal = keras.layers.LayerNormalization()(h)
        hidden = keras.layers.Dense(4 * width, "gelu")(normal)
        h = keras.layers.Add()([h, keras.layers.Dense(width)(hidden)])
    h = keras.layers.GlobalAveragePooling1D()(keras.layers.LayerNormalization()(h))
    model = keras.Model(words, keras.layers.Dense(10)(h))
    random = np.random.default_rng(0)
    x = random.integers(0, 8000, (16, 128)).astype("int32")
    return model, x, random.integers(0, 10, 16)


MODELS: dict[str, Callable[[], tuple[Any, np.ndarray, np.ndarray]]] = {
    "resnet50": resnet50,
    "transformer": transformer,
}


def compiled(name: str) -> tuple[Any, np.ndarray, np.ndarray]:
    model, x, y = MODELS[name]()
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model, x, y


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def peak() -> float:
    """MiB that this process has used at most since it started or `forget_peak` was called."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


def forget_peak() -> None:
    """Begin the peak anew from what is used now. Linux only."""
    Path("/proc/self/clear_refs").write_text("5")


def memory(name: str, what: str) -> None:
    """In a process of its own: print how far one call raises the peak, in MiB."""
    model, x, y = compiled(name)
    forget_peak()
    before = peak()
    if what == "step":
        model.train_on_batch(x, y)
        model.train_on_batch(x, y)
    else:
        diagnose(model, x, y)
    print(json.dumps(peak() - before))


def measured_memory(name: str, what: str) -> float:
    command = [sys.executable, __file__, name, "--memory", what]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def against_a_step(name: str) -> None:
    model, x, y = compiled(name)
    model.train_on_batch(x, y)
    diagnose(model, x, y)
    pairs = [
        (seconds(lambda: diagnose(model, x, y)), seconds(lambda: model.train_on_batch(x, y)))
        for _ in range(REPEATS)
    ]
    ours, step = (median(times) for times in zip(*pairs, strict=True))
    print(f"{name}: diagnose {ours:.2f} s, a training step {step:.2f} s, ratio {ours / step:.2f}")
    ours, step = measured_memory(name, "diagnose"), measured_memory(name, "step")
    print(f"  memory {ours:.0f} MiB, step {step:.0f} MiB, ratio {ours / step:.2f}", flush=True)


def by_depth() -> None:
    x = np.random.default_rng(0).normal(size=(128, 64)).astype("float32")
    times = {}
    for depth in DEPTHS:
        model = build(f"mlp-{depth}-relu", keras, (64,), 10, seed=0)
        diagnose(model, x)
        times[depth] = median(seconds(lambda m=model: diagnose(m, x)) for _ in range(REPEATS))
        print(f"mlp of depth {depth}: {1000 * times[depth]:.0f} ms", flush=True)
    first, last = DEPTHS[0], DEPTHS[-1]
    print(
        f"{last // first} times the depth takes {times[last] / times[first]:.1f} times the seconds"
    )


def monitor() -> None:
    """`fit` of LeNet-300-100 for about a minute, with SignalMonitor's defaults and without."""
    random = np.random.default_rng(0)
    x = random.normal(size=(6000, 784)).astype("float32")
    y = random.integers(0, 10, len(x))
    model = build("lenet-300-100", keras, (784,), 10, seed=0)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))

    def fit(epochs: int, *callbacks: Any) -> float:
        return seconds(lambda: model.fit(x, y, 60, epochs, verbose=0, callbacks=[*callbacks]))

    fit(1)
    epochs = max(1, round(MONITORED / (fit(4) / 4)))
    ratios = []
    with TemporaryDirectory() as directory:
        for turn in range(MONITOR_TURNS):
            watching = SignalMonitor(
                x[:256], y[:256], csv=f"{directory}/{turn}.csv", log_dir=f"{directory}/{turn}"
            )
            # Each comes first in every other turn.
            order = [(watching,), ()] if turn % 2 else [(), (watching,)]
            took = {bool(callbacks): fit(epochs, *callbacks) for callbacks in order}
            ratios.append(took[True] / took[False])
            print(
                f"fit {took[False]:.1f} s, with the monitor {took[True]:.1f} s, ratio "
                f"{ratios[-1]:.3f}; {len(watching.readings)} readings, {watching.cost:.1%} by its "
                "own count",
                flush=True,
            )
    print(f"SignalMonitor: median ratio {median(ratios):.3f} (asked ≤ 1.05)", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", default=[*MODELS, "depth"])
    parser.add_argument("--memory", choices=["diagnose", "step"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory:
        memory(arguments.parts[0], arguments.memory)
        return
    for part in arguments.parts:
        if part == "depth":
            by_depth()
        elif part == "monitor":
            monitor()
        else:
            against_a_step(part)


if __name__ == "__main__":
    main()
