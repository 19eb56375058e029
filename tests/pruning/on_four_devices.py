"""A program on JAX with four devices: one network trained on one of them, and on all, two ways.

`python on_four_devices.py DIRECTORY` leaves there, for each training, ``NAME.npz`` with weights and
masks by key, and ``report.json`` with what else was seen. Each way the network goes through all
kinds of pruning at once, a rule for each, beside averages and accumulated gradients.
"""

import contextlib
import json
import re
import sys
from pathlib import Path

import jax
import keras
import numpy as np
from keras import distribution

from tfinit.pruning import (
    ConstantSparsity,
    PolynomialDecay,
    PruningRule,
    SparseOptimizer,
    get_masks,
)

EPOCHS, STEPS = 3, 8  # in each epoch
GROWING = PolynomialDecay(0.1, 0.75, 1, 19, frequency=3)
LATE = PolynomialDecay(0.1, 0.75, 2, 20, frequency=3)  # for scores that need a step
SAME = ConstantSparsity(0.75, 1, 19, frequency=3)
X = np.random.default_rng(0).normal(size=(8 * STEPS, 8, 8, 4)).astype("float32")
Y = np.random.default_rng(1).integers(0, 4, 8 * STEPS)


def network():
    def dense(units, name, seed, activation="relu"):
        drawn = keras.initializers.GlorotNormal(seed)
        return keras.layers.Dense(units, activation, kernel_initializer=drawn, name=name)

    drawn = keras.initializers.GlorotNormal(1)
    x = keras.Input((8, 8, 4))
    conv = keras.layers.Conv2D(8, 3, strides=2, kernel_initializer=drawn, name="conv")
    h = dense(16, "first", 2)(keras.layers.Flatten()(conv(x)))
    names = ["n_of_m", "blocks", "rigl", "set", "movement"]
    beside = [dense(16, name, seed)(h) for seed, name in enumerate(names, 3)]
    y = dense(4, "last", 9, None)(keras.layers.Concatenate()(beside))
    return keras.Model(x, y)


def rules_for(model):
    layer = model.get_layer
    return [
        PruningRule(GROWING, [layer("conv"), layer("first")], allocation="global"),
        PruningRule(GROWING, layer("n_of_m"), sparsity_m_by_n=(2, 4)),
        PruningRule(GROWING, layer("blocks"), block_size=(4, 4)),
        PruningRule(SAME, layer("rigl"), regrow="rigl", start="magnitude"),
        PruningRule(SAME, layer("set"), regrow="set", start="random"),
        PruningRule(LATE, layer("movement"), score="movement"),
        PruningRule(GROWING, layer("last"), monotone=True),
    ]


def ways():
    """Name → what the network is trained under."""
    mesh = distribution.DeviceMesh((2, 2), ("batch", "model"), distribution.list_devices())
    layouts = distribution.LayoutMap(mesh)
    layouts[".*conv/kernel"] = (None, None, None, "model")
    layouts[".*(first|blocks|set)/kernel"] = (None, "model")
    layouts[".*(n_of_m|rigl|movement)/kernel"] = ("model", None)
    return {
        "one": contextlib.nullcontext(),
        "data": distribution.DataParallel().scope(),
        "model": distribution.ModelParallel(layout_map=layouts, batch_dim_name="batch").scope(),
    }


class Seen(keras.callbacks.Callback):
    """After each step: how many weights each mask prunes, and whether all copies of it agree."""

    def __init__(self):
        super().__init__()
        self.pruned, self.agree = [], True  # a row for each step

    def on_train_batch_end(self, batch, logs=None):
        self.model.jax_state_sync()
        self.pruned.append({key: int((~m).sum()) for key, m in get_masks(self.model).items()})
        optimizer = self.model.optimizer
        for variable in [*optimizer.variables, *self.model.trainable_variables]:
            self.agree &= copies_agree(variable.value)


def copies_agree(array):
    parts = {}
    for part in array.addressable_shards:
        parts.setdefault(str(part.index), []).append(np.asarray(part.data))
    return all(np.array_equal(copies[0], copy) for copies in parts.values() for copy in copies)


def fit(model, seen, **arguments):
    model.fit(X, Y, batch_size=8, shuffle=False, verbose=0, callbacks=[seen], **arguments)


def state(model, seen):
    """What is told of a training: how its variables lie, and what was seen in it."""
    optimizer = model.optimizer
    kept = {}
    for weight in model.trainable_variables:
        name = weight.path.replace("/", "_")
        beside = [v for v in optimizer.variables if re.search(rf"(^|/){name}_\w+$", v.path)]
        lies = weight.value.sharding
        kept[weight.path] = {
            "sharded": not lies.is_fully_replicated,
            "kept": len(beside),
            "as the weight": [v.value.sharding.is_equivalent_to(lies, v.ndim) for v in beside],
        }
    return {
        "variables": kept,
        "pruned": seen.pruned,
        "agree": seen.agree,
        "steps": optimizer.steps_taken,
    }


def leave(directory, name, model):
    values = {f"weight {v.path}": np.asarray(v.value) for v in model.trainable_variables}
    np.savez(directory / name, **values, **{f"mask {k}": m for k, m in get_masks(model).items()})


def collectives(model):
    """What goes between devices in a step of an optimizer: (kind, entries of the largest)."""
    conv_and_first, _, blocks, rigl, *_ = rules_for(model)
    optimizer = SparseOptimizer(keras.optimizers.SGD(), rules=[conv_and_first, blocks, rigl])
    optimizer.build(model.trainable_variables)
    weights = [v.value for v in model.trainable_variables]
    given = [v.value for v in optimizer.variables], weights, weights
    program = jax.jit(optimizer.stateless_apply).lower(*given).compile().as_text()
    kinds = "all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter"
    return [
        (kind, max(int(np.prod([int(n) for n in s.split(",") if n])) for s in shapes))
        for shape, kind in re.findall(rf"= (.*?) ({kinds})(?:-start)?\(", program)
        if (shapes := re.findall(r"\[([\d,]*)\]", shape))
    ]


def main(directory):
    report = {}
    for name, scope in ways().items():
        with scope:
            model = network()
            inner = keras.optimizers.Adam(
                0.02, use_ema=True, ema_momentum=0.9, gradient_accumulation_steps=2
            )
            model.compile(
                SparseOptimizer(inner, rules=rules_for(model)),
                keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            )
            seen = Seen()
            fit(model, seen, epochs=1)
            model.save(directory / f"{name}.keras")
            leave(directory, f"{name} saved", model)
            fit(model, seen, initial_epoch=1, epochs=EPOCHS)
            report[name] = state(model, seen)
            leave(directory, name, model)
            if name == "model":
                report["collectives"] = collectives(model)
    for file, name in [("one", "model"), ("model", "one")]:
        with ways()[name]:
            model = keras.saving.load_model(directory / f"{file}.keras")
            went, seen = f"{file} to {name}", Seen()
            leave(directory, f"{went} loaded", model)
            fit(model, seen, initial_epoch=1, epochs=EPOCHS)
            report[went] = state(model, seen)
            leave(directory, went, model)
    (directory / "report.json").write_text(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
