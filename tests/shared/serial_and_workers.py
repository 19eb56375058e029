"""In a process of its own: experiments here and by workers, and whether all files are the same.

python serial_and_workers.py DIR                     # those of the suite
python serial_and_workers.py DIR mnist conv tfmot    # minutes; MNIST: TFINIT_DATA_DIR
"""

import json
import os
import sys
from pathlib import Path

import ray

from tfinit import compare
from tfinit.lottery import LotteryConfig, StabilityConfig, compare_initializations, run, stability

NETWORK = """
import keras


def build(seed):
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(4, 3, activation="relu")(inputs)
    x = keras.layers.Dropout(0.2)(keras.layers.Flatten()(x))
    model = keras.Model(inputs, keras.layers.Dense(10)(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), loss, metrics=["accuracy"])
    return model
"""
COMMON = {"steps": 24, "evaluate_every": 12, "seeds": (0, 1), "train_examples": 300, "threads": 1}
TICKETS = {**COMMON, "levels": 2, "model": "mlp-2-relu"}
SLOW = ("mnist", "conv", "tfmot")
EVERYTHING = ("reinit", "shuffle", "one-shot", "snip", "lr-rewind", "fine-tune")


def content(directory):
    """Every file by its name, but for the lock."""
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def both(directory, work):
    """What differs between the directories that ``work`` makes here and by workers."""
    here, there = work(directory / "here"), work(directory / "there", workers=2)
    one, two = content(directory / "here"), content(directory / "there")
    differing = sorted(name for name in {*one, *two} if one.get(name) != two.get(name))
    return {"files": len(one), "differing": differing, "same results": here == there}


def lottery(**changes):
    def work(path, **more):
        config = LotteryConfig(run_dir=path, **{**TICKETS, **changes})
        return list(map(str, run(config, progress=False, **more)))

    return work


def parting(path, **more):
    config = StabilityConfig(
        run_dir=path, **COMMON, spawn_steps=(0, 8), points=3, model="mlp-2-relu"
    )
    return list(map(str, stability(config, progress=False, **more)))


def starts(path, **more):
    config = LotteryConfig(run_dir=path, **{**TICKETS, "seeds": (0,), "levels": 1})
    found = compare_initializations(config, ("he", "lsuv"), progress=False, **more)
    return {name: list(map(str, results)) for name, results in found.items()}


def race(path, **more):
    """What is measured; seconds differ."""
    found = compare(
        str(path.parent / "nets.py:build"),
        "digits",
        ["he", ("lsuv", "tanh")],
        steps=10,
        seeds=(0, 1),
        diagnose=False,
        progress=False,
        **more,
    )
    path.mkdir(parents=True)
    for one in found.runs:
        (path / f"{one.label} {one.seed}").write_bytes(one.metrics.losses.tobytes())
    return [(one.label, one.seed, one.diverged_at) for one in found.runs]


def everything(directory):
    """Name → work, and where its directories are."""
    own = lottery(model=str(directory / "nets.py:build"))
    slow = {"evaluate_every": 50, "controls": ("reinit", "one-shot")}
    mnist = {**slow, "dataset": "mnist", "model": "lenet-300-100", "train_examples": 0}
    conv = {**slow, "steps": 60, "model": "conv-2"}
    tfmot = {**slow, "steps": 60, "keras": "tf_keras"}
    return {
        "all controls, rewound late": (lottery(rewind_step=5, controls=EVERYTHING), "controls"),
        "own": (own, "own"),
        "stability": (parting, "stability"),
        "initializations": (starts, "initializations"),
        "race": (race, "."),
        "mnist": (lottery(**mnist, steps=300), "mnist"),
        "conv": (lottery(**conv), "conv"),
        "tfmot": (lottery(**tfmot), "tfmot"),
    }


def is_there(name):
    """Whether the data of an experiment is; that of most is in the package of scikit-learn."""
    return name != "mnist" or Path(os.environ.get("TFINIT_DATA_DIR", "."), "mnist.npz").exists()


if __name__ == "__main__":
    directory, asked = Path(sys.argv[1]), sys.argv[2:]
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "nets.py").write_text(NETWORK)
    # One for all: its processes load TensorFlow once.
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    works = everything(directory)
    print(
        json.dumps(
            {
                name: both(directory / works[name][1], works[name][0])
                for name in asked or [name for name in works if name not in SLOW]
                if is_there(name) or print(f"{name} is left out: no data", file=sys.stderr)
            }
        )
    )
