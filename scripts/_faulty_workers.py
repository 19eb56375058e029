"""One training of `tfinit lottery --workers 2` raises, hangs or eats all memory in its worker."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil

# A training of seed 1 is told by a weight: workers are given those.
NETWORK = """
import os
import sys
import time

import keras

FAULT = os.environ.get("TFINIT_FAULT") if "default_worker" in sys.argv[0] else None
EATEN = []


class Marked(keras.layers.Layer):
    def build(self, shape):
        self.number = self.add_weight(shape=(), initializer="zeros", trainable=False)

    def call(self, x):
        return x


class Faulty(keras.Model):
    def train_step(self, *args):
        if FAULT and int(self.get_layer("marked").number) == 1:
            if FAULT == "raise":
                raise ValueError("no luck")
            if FAULT == "hang":
                time.sleep(3600)
            EATEN.append(bytearray(os.urandom(1 << 20) * 300))
            time.sleep(0.02)
        return super().train_step(*args)


def build(seed):
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((8, 8, 1))
    x = Marked(name="marked")(keras.layers.Flatten()(inputs))
    model = Faulty(inputs, keras.layers.Dense(10)(x))
    model.get_layer("marked").number.assign(seed)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1), loss, metrics=["accuracy"], run_eagerly=True)
    return model
"""
FLAGS = (
    *("--levels", "1", "--steps", "60", "--evaluate-every", "30", "--train-examples", "300"),
    *("--seeds", "0", "1", "--threads", "1"),
)
ROOM = 4 * 2**30  # bytes until Ray kills, beside those that are used now


def check_fault(fault: str, root: Path) -> str:
    """What was seen: the faulty training is named, all else trained, and it can go on after it."""
    (root / "nets.py").write_text(NETWORK)
    more = ["--time-limit", "60"] if fault == "hang" else []
    environment = {"TFINIT_FAULT": fault}
    if fault == "memory":
        memory = psutil.virtual_memory()
        limit = (memory.total - memory.available + ROOM) / memory.total
        environment["RAY_memory_usage_threshold"] = f"{limit:.3f}"
        environment["RAY_memory_monitor_refresh_ms"] = "50"
    began = time.monotonic()
    done = _lottery(root, "faulty", ["--workers", "2", *more], environment)
    took = time.monotonic() - began
    [said] = [line for line in done.stderr.splitlines() if "seed 1 level 0 ticket: " in line][-1:]
    assert done.returncode == 1, (done.returncode, done.stderr[-2000:])
    there = {path.parent.parent.name for path in (root / "faulty").glob("seed-*/*/level-*.npz")}
    assert there == {"seed-0"}, there
    again = _lottery(root, "faulty", ["--workers", "2"], {})
    assert again.returncode == 0, again.stderr[-2000:]
    whole = _lottery(root, "whole", [], {})
    assert whole.returncode == 0, whole.stderr[-2000:]
    assert _contents(root / "faulty") == _contents(root / "whole")
    return f"exit code 1 after {took:.0f} s, {said.strip()!r}; started again, the same bytes"


def _lottery(root: Path, name: str, flags: list, environment: dict):
    words = [Path(sys.executable).with_name("tfinit"), "lottery", *FLAGS, *flags]
    words += ["--model", root / "nets.py:build", "--run-dir", root / name]
    return subprocess.run(
        words,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def _contents(home: Path) -> dict:
    return {
        str(path.relative_to(home)): path.read_bytes()
        for path in home.rglob("*")
        if path.is_file() and not path.name.endswith(".lock")
    }
