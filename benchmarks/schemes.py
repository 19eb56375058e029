"""Schemes against what a user would wait for anyway: ratios within one run, medians of turns.

    LSUV of ResNet50, batch 32 at 96×96      against a plain forward pass   at most 3
    "he" of ResNet50 and of GPT-2's size     against building the weights   at most 1.5
    all others without data, GPT-2's size    against building the weights   at most 2;
                                             orthogonal ones about 7
    report and scheme at depth 10, 100, 1000 against depth                  linear

Run: python benchmarks/schemes.py [--turns 5]
"""

import argparse
import statistics
import time

import keras
import numpy as np
from keras import layers as L

from tfinit.errors import InputError, reason
from tfinit.schemes import initialize
from tfinit.schemes.engine.registry import REGISTRY


def seconds(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def alternate(turns, **functions):
    """The median time of each function, their turns interleaved."""
    times = {name: [] for name in functions}
    for function in functions.values():
        function()  # warm up
    for _ in range(turns):
        for name, function in functions.items():
            times[name].append(seconds(function))
    return {name: statistics.median(values) for name, values in times.items()}


def gpt2():
    """The weights of GPT-2 (124 M): 12 blocks of width 768."""

    def block(x):
        y = L.LayerNormalization()(x)
        x = L.Add()([x, L.MultiHeadAttention(12, 64)(y, y, use_causal_mask=True)])
        y = L.Dense(3072, "gelu")(L.LayerNormalization()(x))
        return L.Add()([x, L.Dense(768)(y)])

    inputs = keras.Input((64,), dtype="int32")
    positions = keras.Input((64,), dtype="int32")
    x = L.Add()([L.Embedding(50257, 768)(inputs), L.Embedding(1024, 768)(positions)])
    for _ in range(12):
        x = block(x)
    return keras.Model([inputs, positions], L.LayerNormalization()(x))


def row(what, time_of, against, ratio, bound):
    print(f"{what:34}  {time_of:8.3f}  {against:8.3f}  {ratio:6.2f}  {bound}", flush=True)


def lsuv(turns):
    model = keras.applications.ResNet50(weights=None, input_shape=(96, 96, 3))
    x = np.random.default_rng(0).normal(size=(32, 96, 96, 3)).astype("float32")
    times = alternate(
        turns,
        forward=lambda: model(x, training=False),
        lsuv=lambda: initialize(model, "lsuv", x, seed=1),
        without=lambda: initialize(model, "lsuv", x, seed=1, start=None),
    )
    for name, what in (("lsuv", "lsuv, ResNet50"), ("without", "lsuv, ResNet50, start=None")):
        row(what, times[name], times["forward"], times[name] / times["forward"], "≤ 3 forward")


def he(turns):
    for what, make in (
        ("he, ResNet50", lambda: keras.applications.ResNet50(weights=None)),
        ("he, 12-layer GPT-2 size", gpt2),
    ):
        model = make()
        times = alternate(turns, build=make, he=lambda m=model: initialize(m, "he", seed=1))
        row(what, times["he"], times["build"], times["he"] / times["build"], "≤ 1.5 build")
        del model


def without_data(turns):
    model = gpt2()
    given = {
        "mup": {"base": model},
        "completep": {"depth": 4},
        "weight_selection": {"source": model},
    }
    given["pretrained"] = {"source": model}
    for name, known in REGISTRY.items():
        if known.needs_data or known.of_targets or name == "he":
            continue
        options = given.get(name, {})
        try:
            initialize(model, name, seed=1, **options)
        except InputError as error:
            print(f"{name}: {reason(error)[:80]}")  # is for other networks
            continue
        times = alternate(
            turns, build=gpt2, scheme=lambda n=name, o=options: initialize(model, n, seed=1, **o)
        )
        told(name, times)
    for layer in model._flatten_layers(include_self=False):
        if hasattr(layer, "enable_lora") and layer.trainable_variables:
            layer.enable_lora(8)
    told("pissa", alternate(turns, build=gpt2, scheme=lambda: initialize(model, "pissa", seed=1)))


def told(name, times):
    known = {"orthogonal": "≈ 7 build", "delta_orthogonal": "≈ 7 build"}
    bound = known.get(name, "≤ 2 build")
    ratio = times["scheme"] / times["build"]
    row(f"{name}, GPT-2 size", times["scheme"], times["build"], ratio, bound)


def mlp(layers):
    # In parts of at most 100 layers: Keras's own graph recurses, and a thousand are too many.
    parts = []
    for _ in range(max(1, layers // 100)):
        dense = [L.Dense(64, "relu") for _ in range(min(layers, 100))]
        parts.append(keras.Sequential([keras.Input((64,)), *dense]))
    return keras.Sequential([keras.Input((64,)), *parts])


def depth(turns):
    base = None
    for layers in (10, 100, 1000):
        model = mlp(layers)
        times = alternate(turns, he=lambda m=model: str(initialize(m, "he", seed=1)))
        per_layer = times["he"] / layers
        base = base or per_layer
        row(
            f"he and report, depth {layers}",
            times["he"],
            base * layers,
            per_layer / base,
            "≈ 1 or less",
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=5)
    turns = parser.parse_args().turns
    print(f"{'':34}  {'seconds':>8}  {'against':>8}  {'ratio':>6}  bound")
    depth(turns)
    lsuv(turns)
    he(turns)
    without_data(turns)


if __name__ == "__main__":
    main()
