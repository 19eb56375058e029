"""TFMOT's guides with what people do in between, on Keras 3 and on TFMOT itself.

Each guide's way to prune is trained for some steps, goes through one thing that people do to a
model (save, load, clone, copy, freeze, compile anew …), and is trained on and stripped: by
tfinit.pruning on Keras 3, and by TFMOT on tf_keras. The zeros of each kernel must be the same
number. scripts/tfmot_matrix.py [--guide NAME ...]; exit code 1 if one differs.
"""

import argparse
import copy
import os
import sys
import tempfile
import warnings
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
import tf_keras
from _device import parsed

import tfinit.pruning as ours
from tfinit.cli.signals import heard
from tfinit.pruning.tfmot_api.tfmot import load_tfmot

X = np.random.default_rng(0).normal(size=(64, 12)).astype("float32")
IMAGES = np.random.default_rng(1).normal(size=(64, 8, 8, 4)).astype("float32")
Y = np.random.default_rng(2).normal(size=(64, 4)).astype("float32")
STEPS = 8  # before what is done in between, and after


def dense(k, prune=lambda layer, name: layer):
    """A network of three kernels; `prune` is given each layer and its name."""
    layers = [
        prune(k.layers.Dense(n, name=name), name) for n, name in ((16, "a"), (8, "b"), (4, "out"))
    ]
    return k.Sequential([k.layers.Input((12,)), *layers])


def whole_model(k, api):
    """pruning_with_keras: the whole model, by a decay that ends within the first half."""
    decay = api.PolynomialDecay(0.25, 0.75, begin_step=0, end_step=6, frequency=2)
    return api.prune_low_magnitude(dense(k), pruning_schedule=decay)


def default_schedule(k, api):
    """comprehensive_guide: the whole model, a constant sparsity."""
    return api.prune_low_magnitude(dense(k), api.ConstantSparsity(0.5, 2, frequency=2))


def some_layers(k, api):
    """comprehensive_guide: layers that `clone_model` chooses."""

    def chosen(layer):
        if layer.name == "b":
            return layer
        return api.prune_low_magnitude(layer, api.ConstantSparsity(0.5, 2, frequency=2))

    return k.models.clone_model(dense(k), clone_function=chosen)


def layer_by_layer(k, api):
    """comprehensive_guide: layers pruned as the model is put together, one to another sparsity."""

    def prune(layer, name):
        share = {"a": 0.5, "b": 0.75}.get(name)
        if share is None:
            return layer
        return api.prune_low_magnitude(layer, api.ConstantSparsity(share, 2, frequency=2))

    return dense(k, prune)


def two_by_four(k, api):
    """pruning_with_sparsity_2_by_4."""
    return dense(k, lambda layer, name: api.prune_low_magnitude(layer, sparsity_m_by_n=(2, 4)))


def on_device(k, api):
    """pruning_for_on_device_inference: what the policy for XNNPack allows."""
    layers = k.layers
    model = k.Sequential(
        [
            layers.Input((8, 8, 3)),
            layers.ZeroPadding2D(1),
            layers.Conv2D(8, 3, strides=2, padding="valid"),
            layers.ReLU(),
            layers.Conv2D(16, 1),
            layers.ReLU(),
            layers.Conv2D(8, 1),
            layers.GlobalAveragePooling2D(keepdims=True),
            layers.Flatten(),
            layers.Dense(4),
        ]
    )
    decay = api.PolynomialDecay(0.25, 0.75, begin_step=0, end_step=6, frequency=2)
    policy = api.PruneForLatencyOnXNNPack()
    return api.prune_low_magnitude(model, pruning_schedule=decay, pruning_policy=policy)


GUIDES = {
    "pruning_with_keras": whole_model,
    "comprehensive": default_schedule,
    "some layers": some_layers,
    "layer by layer": layer_by_layer,
    "2 by 4": two_by_four,
    "on device": on_device,
}


def compiled(model, k, rate=0.05):
    """Compile a model anew."""
    model.compile(k.optimizers.SGD(rate), k.losses.MeanSquaredError())
    return model


def fit(model, api, steps=STEPS):
    """Train for some steps, as the guides do."""
    x = IMAGES[..., :3] if len(model.input_shape) == 4 else X
    model.fit(
        x[: 4 * steps],
        Y[: 4 * steps],
        batch_size=4,
        shuffle=False,
        verbose=0,
        callbacks=[api.UpdatePruningStep()],
    )


def loop(model, k, api, optimizer, steps=STEPS):
    """The same by the comprehensive guide's own training loop."""
    model.optimizer = optimizer
    callback = api.UpdatePruningStep()
    callback.set_model(model)
    callback.on_train_begin()
    x = IMAGES[..., :3] if len(model.input_shape) == 4 else X
    for i in range(steps):
        callback.on_train_batch_begin(batch=-1)
        with tf.GradientTape() as tape:
            error = model(x[4 * i : 4 * i + 4], training=True) - Y[4 * i : 4 * i + 4]
            loss = tf.reduce_mean(error**2)
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
    callback.on_epoch_end(batch=-1)


def in_file(ending, **load):
    """Save the model to a file and load it."""

    def way(model, k, api):
        with tempfile.TemporaryDirectory() as place, api.prune_scope():
            file = Path(place) / f"model.{ending}"
            model.save(file)
            return k.models.load_model(file, **load)

    return way


def clone_with_weights(model, k, api):
    """`clone_model` and `set_weights`."""
    with api.prune_scope():
        clone = k.models.clone_model(model)
    if k is keras:
        clone.build(model.input_shape)
    clone.set_weights(model.get_weights())
    return compiled(clone, k)


def fresh_clone(model, k, api):
    """`clone_model`: new weights, pruned from the start again."""
    with api.prune_scope():
        return compiled(k.models.clone_model(model), k)


def from_config(model, k, api):
    """`from_config` of `get_config`, and the weights."""
    with api.prune_scope():
        made = type(model).from_config(model.get_config())
    made.set_weights(model.get_weights())
    return compiled(made, k)


def deep_copy(model, k, api):
    """`copy.deepcopy`."""
    with api.prune_scope():
        return copy.deepcopy(model)


def weights_file(model, k, api):
    """`save_weights`, and `load_weights` into a model that was just made and compiled."""
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "m.weights.h5"
        model.save_weights(file)
        with api.prune_scope():
            fresh = compiled(k.models.clone_model(model), k)
        fresh.load_weights(file)
    return fresh


def frozen_and_back(model, k, api):
    """Freeze a layer, compile, train a little, unfreeze, compile."""
    first = next(layer for layer in model.layers if layer.weights)
    first.trainable = False
    compiled(model, k)
    fit(model, api, 2)
    first.trainable = True
    return compiled(model, k)


BETWEEN = {
    "nothing": lambda model, k, api: model,
    "compile": lambda model, k, api: compiled(model, k, 0.01),
    ".keras": in_file("keras"),
    ".keras, compile": lambda m, k, api: compiled(in_file("keras")(m, k, api), k),
    ".keras, compile=False, compile": lambda m, k, api: compiled(
        in_file("keras", compile=False)(m, k, api), k
    ),
    ".h5": in_file("h5"),
    ".weights.h5": weights_file,
    "clone_model": fresh_clone,
    "clone_model, set_weights": clone_with_weights,
    "from_config, set_weights": from_config,
    "deepcopy": deep_copy,
    "freeze, unfreeze": frozen_and_back,
}


def end(guide, between, k, api, by_loop):
    """Zeros of each kernel at the end, or the error."""
    k.utils.set_random_seed(0)
    try:
        model = guide(k, api)
        if by_loop:
            optimizer = k.optimizers.SGD(0.05)
            loop(model, k, api, optimizer)
            loop(between(model, k, api), k, api, k.optimizers.SGD(0.05))
        else:
            fit(compiled(model, k), api)
            model = between(model, k, api)
            fit(model, api)
        stripped = api.strip_pruning(model)
    except Exception as error:  # TFMOT's own limits are part of the table
        return f"{type(error).__name__}: {' '.join(str(error).split())[:80]}"
    kernels = [w.numpy() for w in stripped.weights if len(w.shape) > 1]
    return [int((kernel == 0).sum()) for kernel in kernels]


def main():
    """The table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--guide", nargs="*", default=list(GUIDES), choices=list(GUIDES))
    guides = parsed(parser).guide
    theirs = load_tfmot().sparsity.keras
    warnings.simplefilter("ignore")
    differ = 0
    print(f"{'guide':20} {'in between':32} {'':5} {'tfinit':26} TFMOT")
    for name in guides:
        for way, between in BETWEEN.items():
            # The loop goes on in the same model: what makes another one is compiled for `fit`.
            for by_loop in (False, True) if way in ("nothing", "freeze, unfreeze") else (False,):
                given = (GUIDES[name], between)
                mine = end(*given, keras, ours, by_loop)
                other = end(*given, tf_keras, theirs, by_loop)
                same = mine == other
                differ += not same and isinstance(other, list)
                mark = "" if same else "   <-- differs" if isinstance(other, list) else ""
                how = "loop" if by_loop else "fit"
                print(f"{name:20} {way:32} {how:5} {mine!s:26} {other}{mark}", flush=True)
    print(f"{differ} differ")
    return int(differ > 0)


if __name__ == "__main__":
    with heard():
        sys.exit(main())
