"""A small network that is pruned while it trains, and what is counted of it."""

import keras
import numpy as np
from keras import ops

from tfinit.pruning import SparseOptimizer
from tfinit.pruning.in_training.model_masks import sparse_optimizer_of
from tfinit.variables import prunable_weights

BACKEND = keras.backend.backend()
O = keras.optimizers  # noqa: E741
X = np.random.default_rng(5).normal(size=(64, 8)).astype("float32")
Y = np.random.default_rng(6).integers(0, 3, 64)
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def network(widths=(20, 10)):
    layers = [keras.Input((8,))]
    for i, width in enumerate(widths):
        init = keras.initializers.GlorotNormal(i + 1)
        layers.append(keras.layers.Dense(width, "relu", name=f"d{i}", kernel_initializer=init))
    head = keras.initializers.GlorotNormal(9)
    return keras.Sequential([*layers, keras.layers.Dense(3, name="head", kernel_initializer=head)])


def kernels(model):
    return {k: np.array(ops.convert_to_numpy(v)) for k, v in prunable_weights(model).items()}


def zeros(model):
    return {key: int((w == 0).sum()) for key, w in kernels(model).items()}


def fit(model, steps, callbacks=(), **kwargs):
    """Train for ``steps`` batches of 8, eight to an epoch."""
    assert steps % 8 == 0
    return model.fit(
        X,
        Y,
        batch_size=8,
        epochs=steps // 8,
        shuffle=False,
        verbose=0,
        callbacks=list(callbacks),
        **kwargs,
    )


def compiled(schedule, inner="sgd", compile_args=None, build=True, **settings):
    """Built here, since Keras traces every step twice of an optimizer that `fit` has to build."""
    model = network()
    optimizer = SparseOptimizer(inner, schedule, scope=model, **settings)
    model.compile(optimizer, LOSS, **(compile_args or {}))
    if build:
        optimizer.build(model.trainable_variables)
    return model


class ExactZeros(keras.callbacks.Callback):
    """After every batch, weights are zero exactly where their mask says so."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        optimizer = sparse_optimizer_of(self.model)
        for variable in prunable_weights(self.model).values():
            mask = optimizer.get_mask(variable)
            assert not np.any(ops.convert_to_numpy(variable)[~mask])
        self.seen.append(sum(zeros(self.model).values()))
