"""`compact` on random networks: dense, convolutional, with branches and BatchNormalization,
models inside them, layers called twice, reshapes, gates, normalizations, attention, recurrence."""

import keras
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tfinit.pruning import compact
from tfinit.variables import own_weights, walk_layers

L = keras.layers
ACTIVATIONS = ["relu", "relu", "linear", "sigmoid", "tanh", "leaky_relu", "gelu"]


class Network:
    """A random network in the making."""

    def __init__(self, random):
        self.random = random
        self.pick = random.choice

    def flip(self):
        return self.random.random() < 0.5

    def image_step(self, images):
        x = self.pick(images[-2:])
        units, activation = self.random.randint(3, 6), self.pick(ACTIVATIONS)
        padding, use_bias = self.pick(["same", "valid"]), self.flip()
        if min(x.shape[1:3]) < 3:
            padding = "same"
        kinds = "conv conv depthwise bn act pool add concat pad barrier nested reshape"
        kind = self.pick(f"{kinds} grouped separable transposed gate norm prelu".split())
        channels = x.shape[-1]
        if kind == "conv":
            return L.Conv2D(
                units,
                self.pick([1, 2, 3]),
                strides=self.pick([1, 1, 2]),
                padding=padding,
                activation=activation,
                use_bias=use_bias,
            )(x)
        if kind == "depthwise":
            return L.DepthwiseConv2D(
                2, padding=padding, depth_multiplier=self.pick([1, 2]), use_bias=use_bias
            )(x)
        if kind == "grouped":
            groups = self.pick([n for n in range(1, channels + 1) if channels % n == 0])
            return L.Conv2D(
                groups * self.pick([1, 2]), 2, groups=groups, padding="same", activation=activation
            )(x)
        if kind == "separable":
            multiplier = self.pick([1, 2])
            return L.SeparableConv2D(units, 2, padding="same", depth_multiplier=multiplier)(x)
        if kind == "transposed":
            return L.Conv2DTranspose(units, 2, activation=activation, use_bias=use_bias)(x)
        if kind == "gate":
            pooled = L.Dense(channels, activation)(L.GlobalAveragePooling2D(keepdims=True)(x))
            return self.pick([lambda a, b: L.Multiply()([a, b]), lambda a, b: a + b])(x, pooled)
        if kind == "norm":
            groups = self.pick([n for n in range(1, channels + 1) if channels % n == 0])
            return self.pick([L.GroupNormalization(groups), L.LayerNormalization()])(x)
        if kind == "prelu":
            return L.PReLU("ones", shared_axes=self.pick([None, [1, 2], [3]]))(x)
        if kind == "bn":
            return L.BatchNormalization(scale=self.pick([True, True, False]))(x)
        if kind == "act":
            return self.pick([L.ReLU(), L.Activation(activation), L.Dropout(0.5)])(x)
        if kind == "pool":
            return self.pick([L.MaxPooling2D, L.AveragePooling2D])(2, 1, padding="same")(x)
        if kind == "add":
            other = [t for t in images if t.shape == x.shape and t is not x]
            other = other[-1] if other else L.Conv2D(x.shape[-1], 3, padding="same")(x)
            return self.pick([L.Add(), L.Subtract(), L.Average(), L.Maximum()])([x, other])
        if kind == "concat":
            return L.Concatenate()([x, L.Conv2D(2, 1, activation=activation)(x)])
        if kind == "pad":
            return L.ZeroPadding2D(1)(x)
        if kind == "nested":
            return self.nested(x, [L.Conv2D(units, 1, activation=activation), L.ReLU()])
        if kind == "reshape":
            moved = L.Permute((3, 1, 2))(L.Conv2D(units, 1, activation=activation)(x))
            return L.Reshape((*x.shape[1:3], units))(
                L.Permute((2, 1))(L.Reshape((units, -1))(moved))
            )
        return L.Lambda(lambda x: x / 2)(x)

    def nested(self, x, layers):
        """A model inside the model, in some a model inside that, in some called twice."""
        inner = keras.Sequential(layers)
        if self.flip():
            given = keras.Input(x.shape[1:])
            inner = keras.Model(given, L.BatchNormalization()(inner(given)))
        made = inner(x)
        return made if self.flip() else L.Concatenate()([made, inner(L.ReLU()(x))])

    def vector_step(self, vectors):
        x = self.pick(vectors[-2:])
        activation = self.pick(ACTIVATIONS)
        kinds = "dense dense dense bn act add concat barrier nested shared split numbers"
        kind = self.pick(kinds.split())
        if kind == "dense":
            return L.Dense(self.random.randint(3, 6), activation, use_bias=self.flip())(x)
        if kind == "bn":
            return L.BatchNormalization()(x)
        if kind == "act":
            return L.Activation(activation)(x)
        if kind == "add":
            return x + L.Dense(x.shape[-1], activation)(x)
        if kind == "numbers":
            return self.pick([lambda x: x * 0.5, lambda x: 1 - x, L.Rescaling(2.0, -1.0)])(x)
        if kind == "concat":
            return L.Concatenate()([x, L.Dense(3, activation)(vectors[0])])
        if kind == "nested":
            return self.nested(x, [L.Dense(4, activation), L.Dense(3, "relu")])
        if kind == "shared":
            shared = L.Dense(x.shape[-1], activation, use_bias=self.flip())
            return L.Add()([shared(x), shared(L.Dense(x.shape[-1], activation)(x))])
        if kind == "split":
            parts = L.Reshape((2, 3))(L.Dense(6, activation)(x))
            return L.Flatten()(L.Dense(3, activation)(parts))
        return L.Softmax()(x)

    def sequence_step(self, sequences):
        x = self.pick(sequences[-2:])
        width, activation = x.shape[-1], self.pick(ACTIVATIONS)
        kinds = "dense conv attention shared_heads attend norm add einsum recurrent each"
        kind = self.pick(kinds.split())
        if kind == "dense":
            return L.Dense(self.random.randint(3, 6), activation)(x)
        if kind == "conv":
            return L.SeparableConv1D(4, 2, padding="same", activation=activation)(x)
        if kind == "attention":
            heads = L.MultiHeadAttention(2, 2, value_dim=3, use_bias=self.flip())
            return heads(x, self.pick(sequences))
        if kind == "shared_heads":
            memory = self.pick([L.Dense(width)(sequences[0]), x])
            return L.GroupQueryAttention(2, 4, 2, use_bias=self.flip())(x, memory)
        if kind == "attend":
            query = L.Dense(3)(x)
            return self.pick([L.Attention, L.AdditiveAttention])()([query, x, L.Dense(3)(x)])
        if kind == "norm":
            return self.pick([L.LayerNormalization(), L.RMSNormalization(), L.Softmax(axis=1)])(x)
        if kind == "add":
            return x + L.Dense(width, activation)(x)
        if kind == "einsum":
            heads = L.EinsumDense("abc,cde->abde", (4, 2, 3), activation=activation)(x)
            return L.EinsumDense("abde,dec->abc", (4, width), bias_axes="c")(heads)
        if kind == "recurrent":
            cell = self.pick([L.LSTM, L.GRU, L.SimpleRNN])(3, return_sequences=True)
            return self.pick([cell, L.Bidirectional(cell)])(x)
        return L.TimeDistributed(L.Dense(3, activation))(x)

    def model(self):
        if self.random.random() < 0.1:
            given = keras.Input((4, 3))
            sequences = [L.Dense(4, self.pick(ACTIVATIONS))(given)]
            for _ in range(self.random.randint(1, 3)):
                sequences.append(self.sequence_step(sequences))
            vectors = [self.pick([L.Flatten(), L.GlobalAveragePooling1D()])(sequences[-1])]
        elif self.flip():
            size = self.random.randint(3, 6)
            given = keras.Input((size, size, 2))
            images = [L.Conv2D(4, 2, activation=self.pick(ACTIVATIONS))(given)]
            for _ in range(self.random.randint(1, 4)):
                images.append(self.image_step(images))
            vectors = [self.pick([L.Flatten(), L.GlobalAveragePooling2D()])(images[-1])]
        else:
            given = keras.Input((4,))
            vectors = [L.Dense(6, self.pick(ACTIVATIONS))(given)]
        for _ in range(self.random.randint(1, 3)):
            vectors.append(self.vector_step(vectors))
        extra = vectors[1:2] if self.random.random() < 0.2 else []
        model = keras.Model(given, [L.Dense(2, name="out")(vectors[-1]), *extra])
        self.fill(model)
        return model

    def fill(self, model):
        """Random weights; of kernels some rows, columns and entries are zero."""
        rng = np.random.default_rng(self.random.randrange(2**32))
        rows, columns, entries = rng.uniform(0, 0.4, 3)
        for _, layer in walk_layers(model):
            for weight in own_weights(layer):
                value = rng.normal(size=weight.shape)
                if "kernel" in weight.name and layer.name != "out":
                    value[..., rng.random(value.shape[-2]) < rows, :] = 0
                    value[..., rng.random(value.shape[-1]) < columns] = 0
                    value[rng.random(value.shape) < entries] = 0
                elif weight.name == "gamma":
                    value[rng.random(value.shape) < columns / 2] = 0
                elif weight.name == "moving_variance":
                    value = rng.uniform(0.5, 2.0, value.shape)
                weight.assign(value)


def outputs(model, inputs):
    made = keras.tree.flatten(model(inputs, training=False))
    return [keras.ops.convert_to_numpy(tensor) for tensor in made]


def weights(model):
    return [keras.ops.convert_to_numpy(v).copy() for v in model.variables]


TALLY = []  # of each network: units removed, dead units kept, do outputs depend on the input


@settings(max_examples=60)
@given(st.randoms(use_true_random=True))  # Hypothesis's own choices make too simple networks
def check_random_networks(random):
    keras.utils.clear_session(free_memory=False)
    model = Network(random).model()
    before = weights(model)
    result = compact(model)
    shape = (3, *model.inputs[0].shape[1:])
    x = np.random.default_rng(0).normal(size=shape).astype("float32")
    expected = outputs(model, x)
    for wanted, after in zip(expected, outputs(result.model, x), strict=True):
        assert after.shape == wanted.shape and np.isfinite(wanted).all()
        assert np.abs(after - wanted).max() <= 1e-5 * np.abs(wanted).max()
    assert all(np.array_equal(a, b) for a, b in zip(before, weights(model), strict=True))
    gone = sum(removed.units for removed in result.removed.values())
    kept = sum(kept.units for kept in result.kept)
    TALLY.append((gone, kept, np.ptp(expected[0], axis=0).max()))


def test_random_networks_compute_the_same():
    TALLY.clear()
    check_random_networks()
    gone, kept, varied = (np.array(TALLY) > 0).T
    # Half of them or more have something to remove and something to compute.
    assert len(TALLY) >= 60 and (gone & varied).sum() >= 30 and kept.sum() >= 12
