"""Architectures of the examples about images."""

import keras
import numpy as np
from keras import layers as L
from keras import ops

from ..data import colours, images, masks, one_hot, random

SPARSE = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def _compiled(model, optimizer, loss=SPARSE):
    model.compile(optimizer, loss)
    return model


def _patches(size=16, patch=4, width=32):
    """An image as a sequence of vectors, with a vector of its own added at each place."""
    inputs = keras.Input((size, size, 3))
    x = L.Conv2D(width, patch, patch)(inputs)
    places = (size // patch) ** 2
    x = L.Reshape((places, width))(x)
    return inputs, x + L.Embedding(places, width)(ops.arange(places)), places


def simple_convnet():
    keras.utils.set_random_seed(2)
    model = keras.Sequential(
        [
            keras.Input((16, 16, 1)),
            L.Conv2D(32, 3, activation="relu"),
            L.MaxPooling2D(2),
            L.Conv2D(64, 3, activation="relu"),
            L.MaxPooling2D(2),
            L.Flatten(),
            L.Dropout(0.5),
            L.Dense(10, activation="softmax"),
        ]
    )
    x, y = images(size=16)
    return _compiled(model, "adam", "categorical_crossentropy"), x, one_hot(y, 10)


def classification_from_scratch():
    """A small Xception, on bytes behind a Rescaling, one logit."""
    keras.utils.set_random_seed(2)
    inputs = keras.Input((32, 32, 3))
    x = L.Rescaling(1 / 255)(inputs)
    x = L.Activation("relu")(L.BatchNormalization()(L.Conv2D(16, 3, 2, padding="same")(x)))
    before = x
    for filters in (32, 48):
        for _ in range(2):
            x = L.SeparableConv2D(filters, 3, padding="same")(L.Activation("relu")(x))
            x = L.BatchNormalization()(x)
        x = L.MaxPooling2D(3, 2, padding="same")(x)
        before = x = L.add([x, L.Conv2D(filters, 1, 2, padding="same")(before)])
    x = L.Activation("relu")(L.BatchNormalization()(L.SeparableConv2D(64, 3, padding="same")(x)))
    x = L.Dropout(0.25)(L.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, L.Dense(1)(x))
    x, y = colours(size=32, classes=2, scale=255)
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    return _compiled(model, keras.optimizers.Adam(3e-4), loss), x, y[:, None].astype("float32")


def vision_transformer():
    keras.utils.set_random_seed(2)
    inputs, x, _ = _patches()
    for _ in range(4):
        h = L.LayerNormalization(epsilon=1e-6)(x)
        x = L.Add()([L.MultiHeadAttention(4, 32, dropout=0.1)(h, h), x])
        h = L.LayerNormalization(epsilon=1e-6)(x)
        for units in (64, 32):
            h = L.Dropout(0.1)(L.Dense(units, keras.activations.gelu)(h))
        x = L.Add()([h, x])
    x = L.Dropout(0.5)(L.Flatten()(L.LayerNormalization(epsilon=1e-6)(x)))
    for units in (128, 64):
        x = L.Dropout(0.5)(L.Dense(units, keras.activations.gelu)(x))
    model = keras.Model(inputs, L.Dense(4)(x))
    return _compiled(model, keras.optimizers.AdamW(1e-3, weight_decay=1e-4)), *colours()


def mlp_mixer():
    keras.utils.set_random_seed(2)
    inputs, x, places = _patches()
    for _ in range(4):
        h = L.Permute((2, 1))(L.LayerNormalization()(x))
        h = L.Dense(places)(L.Dense(places, "gelu")(h))
        x = x + L.Permute((2, 1))(h)
        x = x + L.Dense(32)(L.Dense(32, "gelu")(L.LayerNormalization()(x)))
    model = keras.Model(inputs, L.Dense(4)(L.Dropout(0.2)(L.GlobalAveragePooling1D()(x))))
    return _compiled(model, keras.optimizers.AdamW(5e-3, weight_decay=1e-4)), *colours()


def gated_mlp():
    """gMLP: half of the channels times a mixture of the other half over places, near 1 at first."""
    keras.utils.set_random_seed(2)
    inputs, x, places = _patches()
    for _ in range(3):
        h = L.Dense(64, "gelu")(L.LayerNormalization()(x))
        u, v = h[..., :32], L.LayerNormalization()(h[..., 32:])
        v = L.Permute((2, 1))(L.Dense(places, bias_initializer="ones")(L.Permute((2, 1))(v)))
        x = x + L.Dense(32)(u * v)
    model = keras.Model(inputs, L.Dense(4)(L.GlobalAveragePooling1D()(x)))
    return _compiled(model, keras.optimizers.AdamW(3e-3, weight_decay=1e-4)), *colours()


def fourier_mixing():
    """FNet: a Fourier transform in place of attention."""
    keras.utils.set_random_seed(2)
    inputs, x, _ = _patches()
    for _ in range(3):
        mixed, _ = ops.fft2((x, ops.zeros_like(x)))
        x = L.LayerNormalization()(x + mixed)
        x = L.LayerNormalization()(x + L.Dense(32)(L.Dense(64, "gelu")(x)))
    model = keras.Model(inputs, L.Dense(4)(L.GlobalAveragePooling1D()(x)))
    return _compiled(model, keras.optimizers.AdamW(1e-3, weight_decay=1e-4)), *colours()


def conv_mixer():
    keras.utils.set_random_seed(2)
    inputs = keras.Input((16, 16, 3))
    x = L.BatchNormalization()(L.Activation("gelu")(L.Conv2D(32, 2, 2)(inputs)))
    for _ in range(4):
        h = L.DepthwiseConv2D(5, padding="same")(x)
        x = L.Add()([L.BatchNormalization()(L.Activation("gelu")(h)), x])
        x = L.BatchNormalization()(L.Activation("gelu")(L.Conv2D(32, 1)(x)))
    model = keras.Model(inputs, L.Dense(4, "softmax")(L.GlobalAveragePooling2D()(x)))
    optimizer = keras.optimizers.AdamW(1e-3, weight_decay=1e-4)
    return _compiled(model, optimizer, "sparse_categorical_crossentropy"), *colours()


def compact_transformer():
    """CCT: convolutions make the sequence, stochastic depth, pooling by attention."""
    keras.utils.set_random_seed(2)
    inputs = keras.Input((16, 16, 3))
    x = inputs
    for filters in (16, 32):
        x = L.Conv2D(filters, 3, padding="same", activation="relu", use_bias=False)(x)
        x = L.MaxPooling2D(3, 2, padding="same")(x)
    x = L.Reshape((16, 32))(x)
    for _ in range(2):
        h = L.LayerNormalization(epsilon=1e-5)(x)
        x = L.Add()([L.MultiHeadAttention(2, 32, dropout=0.1)(h, h), x])
        h = L.LayerNormalization(epsilon=1e-5)(x)
        x = L.Add()([L.Dense(32, "gelu")(L.Dense(32, "gelu")(h)), x])
    x = L.LayerNormalization(epsilon=1e-5)(x)
    share = L.Softmax(axis=1)(L.Dense(1)(x))
    pooled = ops.squeeze(ops.matmul(ops.transpose(share, (0, 2, 1)), x), 1)
    model = keras.Model(inputs, L.Dense(4)(pooled))
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)
    x, y = colours()
    return _compiled(model, keras.optimizers.AdamW(1e-3), loss), x, one_hot(y, 4)


def segmentation_by_a_unet():
    """The U-Net of the pets: separable convolutions and residuals, three classes for each pixel."""
    keras.utils.set_random_seed(2)
    inputs = keras.Input((32, 32, 3))
    x = L.Conv2D(16, 3, 2, padding="same")(inputs)
    x = L.Activation("relu")(L.BatchNormalization()(x))
    before = x
    for filters in (32, 64):
        for _ in range(2):
            x = L.SeparableConv2D(filters, 3, padding="same")(L.Activation("relu")(x))
            x = L.BatchNormalization()(x)
        x = L.MaxPooling2D(3, 2, padding="same")(x)
        before = x = L.add([x, L.Conv2D(filters, 1, 2, padding="same")(before)])
    for filters in (64, 32, 16):
        for _ in range(2):
            x = L.Conv2DTranspose(filters, 3, padding="same")(L.Activation("relu")(x))
            x = L.BatchNormalization()(x)
        x = L.UpSampling2D(2)(x)
        before = x = L.add([x, L.Conv2D(filters, 1, padding="same")(L.UpSampling2D(2)(before))])
    model = keras.Model(inputs, L.Conv2D(3, 3, activation="softmax", padding="same")(x))
    rng = random(60)
    y = np.zeros((48, 32, 32, 1), "uint8")
    for n, (row, column) in enumerate(rng.integers(0, 16, (48, 2))):
        y[n, row : row + 16, column : column + 16] = 2
        y[n, row + 3 : row + 13, column + 3 : column + 13] = 1
    x = (80.0 * y + rng.normal(40, 20, (48, 32, 32, 3))).clip(0, 255) / 255
    loss = "sparse_categorical_crossentropy"
    return _compiled(model, keras.optimizers.Adam(1e-3), loss), x.astype("float32"), y


def atrous_pyramid():
    """DeepLabV3+: dilated convolutions beside each other, He, logits for each pixel."""

    def block(x, filters, size=3, dilation=1):
        x = L.Conv2D(
            filters,
            size,
            dilation_rate=dilation,
            padding="same",
            use_bias=False,
            kernel_initializer=keras.initializers.HeNormal(),
        )(x)
        return ops.nn.relu(L.BatchNormalization()(x))

    keras.utils.set_random_seed(2)
    inputs = keras.Input((16, 16, 1))
    low = block(inputs, 16)
    x = block(L.MaxPooling2D()(low), 32)
    pooled = L.UpSampling2D(8)(block(L.AveragePooling2D(8)(x), 16, 1))
    x = L.Concatenate()([pooled, *(block(x, 16, 3 if d > 1 else 1, d) for d in (1, 2, 3))])
    x = L.Concatenate()([L.UpSampling2D(2)(block(x, 16, 1)), block(low, 8, 1)])
    model = keras.Model(inputs, L.Conv2D(2, 1, padding="same")(block(x, 16)))
    x, y = masks()
    return _compiled(model, keras.optimizers.Adam(1e-3)), x, y.astype("int32")


def key_points():
    """Four places of [0, 1] by a sigmoid, squares."""
    keras.utils.set_random_seed(2)
    model = keras.Sequential(
        [
            keras.Input((16, 16, 1)),
            L.Conv2D(16, 3, 2, activation="relu"),
            L.Conv2D(32, 3, 2, activation="relu"),
            L.Dropout(0.3),
            L.SeparableConv2D(16, 3, activation="relu"),
            L.SeparableConv2D(4, 1, activation="sigmoid"),
            L.Flatten(),
        ]
    )
    x, y = masks(rows=128)
    rows, columns = y.any((2, 3)).argmax(1) / 16, y.any((1, 3)).argmax(1) / 16
    places = np.stack([rows, columns, rows + 6 / 16, columns + 6 / 16], 1)
    return _compiled(model, keras.optimizers.Adam(1e-3), "mse"), x, places.astype("float32")


def super_resolution():
    """ESPCN: from small images to twice the size, all of [0, 1]."""
    keras.utils.set_random_seed(2)
    options = {"activation": "relu", "kernel_initializer": "orthogonal", "padding": "same"}
    inputs = keras.Input((8, 8, 1))
    x = L.Conv2D(64, 5, **options)(inputs)
    x = L.Conv2D(64, 3, **options)(x)
    x = L.Conv2D(32, 3, **options)(x)
    x = L.Conv2D(4, 3, **options)(x)
    x = ops.reshape(x, (-1, 8, 8, 2, 2))
    x = ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4)), (-1, 16, 16, 1))
    small, _ = images()
    large = images(size=16)[0]
    large = (large + np.roll(large, 1, 1) + np.roll(large, 1, 2)) / 3
    return _compiled(keras.Model(inputs, x), keras.optimizers.Adam(1e-3), "mse"), small, large


def three_dimensional_scans():
    keras.utils.set_random_seed(2)
    model = keras.Sequential([keras.Input((16, 16, 8, 1))])
    for filters in (16, 32):
        model.add(L.Conv3D(filters, 3, padding="same", activation="relu"))
        model.add(L.MaxPool3D(2))
        model.add(L.BatchNormalization())
    for layer in (L.GlobalAveragePooling3D(), L.Dense(64, "relu"), L.Dropout(0.3)):
        model.add(layer)
    model.add(L.Dense(1, "sigmoid"))
    rng = random(61)
    y = rng.integers(0, 2, 32)
    x = rng.uniform(0, 0.6, (32, 16, 16, 8, 1))
    x[y == 1, 4:9, 4:9, 2:6] += 0.4
    rate = keras.optimizers.schedules.ExponentialDecay(1e-3, 100000, 0.96, staircase=True)
    model.compile(keras.optimizers.Adam(rate), "binary_crossentropy")
    return model, x.astype("float32"), y[:, None].astype("float32")


def involution():
    """Each pixel makes the kernel that is laid over it."""

    class Involution(L.Layer):
        def __init__(self):
            super().__init__()
            self.reduce = keras.Sequential([L.Conv2D(4, 1), L.BatchNormalization(), L.ReLU()])
            self.span = L.Conv2D(9, 1)

        def build(self, shape):
            self.reduce.build(shape)
            self.span.build((*shape[:-1], 4))

        def call(self, x):
            kernel = ops.expand_dims(self.span(self.reduce(x)), -1)
            padded = ops.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]])
            size = x.shape[1]
            near = [padded[:, i : i + size, j : j + size] for i in range(3) for j in range(3)]
            return ops.sum(kernel * ops.stack(near, 3), 3)

    keras.utils.set_random_seed(2)
    model = keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            Involution(),
            L.ReLU(),
            L.MaxPooling2D(),
            Involution(),
            L.ReLU(),
            L.Flatten(),
            L.Dense(64, activation="relu"),
            L.Dense(4),
        ]
    )
    return _compiled(model, "adam"), *colours()


def shared_patches():
    """Multiple-instance learning: which of five pictures counts is said by gated attention."""
    keras.utils.set_random_seed(2)
    bag = keras.Input((5, 64))
    shared = L.Dense(32, "relu")
    h = L.Dense(64, "relu")(bag)
    h = shared(h)
    gate = L.Dense(16, "tanh")(h) * L.Dense(16, "sigmoid")(h)
    share = L.Softmax(axis=1)(L.Dense(1)(gate))
    model = keras.Model(bag, L.Dense(2, "softmax")(ops.sum(share * h, 1)))
    x, y = images()
    rng = random(62)
    at = rng.integers(0, len(x), (128, 5))
    told = (y[at] == 3).any(1).astype("int32")
    loss = "sparse_categorical_crossentropy"
    return _compiled(model, keras.optimizers.Adam(3e-3), loss), x[at].reshape(128, 5, 64), told
