"""Ten networks with their data, written as users write them: nothing of tfinit in here.

Each is a function that returns a built, compiled model, and one named after it, with ``_data`` at
the end, that returns ``((x, y), (x_test, y_test))``. A command takes them by their place:
``--model own_networks.py:transformer --dataset own_networks.py:transformer_data``.
"""

import keras
import numpy as np
from keras import layers, ops

ROWS, TEST = 96, 32


def _random(salt):
    return np.random.default_rng([2026, salt])


def _halves(x, y):
    """The first rows to train on, the last to test."""
    first = keras.tree.map_structure(lambda a: a[:ROWS], (x, y))
    last = keras.tree.map_structure(lambda a: a[ROWS : ROWS + TEST], (x, y))
    return first, last


# 1. A transformer that classifies sequences of token ids.


class Positions(layers.Layer):
    """Adds to each place of a sequence a vector of its own."""

    def build(self, shape):
        self.vectors = self.add_weight(shape=shape[1:], initializer="random_normal")

    def call(self, x):
        return x + self.vectors


def transformer():
    tokens = keras.Input((12,), dtype="int32")
    x = Positions()(layers.Embedding(20, 16)(tokens))
    attended = layers.MultiHeadAttention(2, 8)(x, x)
    x = layers.LayerNormalization()(x + attended)
    wide = layers.Dropout(0.1)(layers.Dense(16)(layers.Dense(32, activation="gelu")(x)))
    x = layers.LayerNormalization()(x + wide)
    model = keras.Model(tokens, layers.Dense(3)(layers.GlobalAveragePooling1D()(x)))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.AdamW(3e-3, weight_decay=1e-3), loss, metrics=["accuracy"])
    return model


def transformer_data():
    x = _random(1).integers(0, 20, (ROWS + TEST, 12))
    return _halves(x.astype("int32"), (x < 7).sum(1) // 3 % 3)


# 2. An LSTM that tags every token; padding does not count.


def tagger(seed=0):
    keras.utils.set_random_seed(seed)
    tokens = keras.Input((10,), dtype="int32")
    x = layers.Embedding(16, 12, mask_zero=True)(tokens)
    x = layers.Bidirectional(layers.LSTM(8, return_sequences=True))(x)
    tags = layers.TimeDistributed(layers.Dense(4, activation="softmax"))(x)
    model = keras.Model(tokens, tags)
    rate = keras.optimizers.schedules.CosineDecay(1e-2, 100)
    model.compile(
        keras.optimizers.Adam(rate, clipnorm=1.0),
        "sparse_categorical_crossentropy",
        metrics=["sparse_categorical_accuracy"],
    )
    return model


def tagger_data():
    x = _random(2).integers(1, 16, (ROWS + TEST, 10)).astype("int32")
    x[::4, 7:] = 0
    return _halves(x, x % 4)


# 3. A U-Net that says of each pixel whether it belongs to a thing.


def unet():
    def block(x, filters):
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
        return layers.ReLU()(layers.BatchNormalization()(x))

    image = keras.Input((16, 16, 1))
    wide = block(image, 4)
    narrow = block(layers.MaxPooling2D()(wide), 8)
    again = layers.Conv2DTranspose(4, 2, strides=2, padding="same")(narrow)
    x = block(layers.Concatenate()([again, wide]), 4)
    model = keras.Model(image, layers.Conv2D(1, 1, activation="sigmoid")(x))
    metrics = [keras.metrics.BinaryIoU(target_class_ids=[1], name="iou")]
    model.compile(keras.optimizers.Adam(1e-2), "binary_crossentropy", metrics=metrics)
    return model


def unet_data():
    random = _random(3)
    image = random.normal(0, 0.3, (ROWS + TEST, 16, 16, 1)).astype("float32")
    mask = np.zeros_like(image)
    for n, (row, column) in enumerate(random.integers(0, 10, (len(image), 2))):
        mask[n, row : row + 6, column : column + 6] = 1
    return _halves(image + mask, mask)


# 4. Two inputs by name, a number of them categories.


def by_name():
    numbers = keras.Input((5,), name="numbers")
    category = keras.Input((1,), dtype="int32", name="category")
    embedded = layers.Flatten()(layers.Embedding(6, 4)(category))
    x = layers.Dense(24, activation="relu")(layers.Concatenate()([numbers, embedded]))
    x = layers.Dropout(0.2)(x)
    model = keras.Model(
        {"numbers": numbers, "category": category}, layers.Dense(1, activation="sigmoid")(x)
    )
    model.compile("rmsprop", "binary_crossentropy", metrics=[keras.metrics.AUC(name="auc")])
    return model


def by_name_data():
    random = _random(4)
    numbers = random.normal(size=(ROWS + TEST, 5)).astype("float32")
    category = random.integers(0, 6, (ROWS + TEST, 1)).astype("int32")
    y = (numbers[:, :1] + (category - 2.5) / 2 > 0).astype("float32")
    return _halves({"numbers": numbers, "category": category}, y)


# 5. Two outputs, one a class and one a size, with weights of their losses.


def two_outputs():
    x = keras.Input((8,))
    shared = layers.Dense(24, activation="tanh")(x)
    outputs = {
        "kind": layers.Dense(3, name="kind")(shared),
        "size": layers.Dense(1, name="size")(layers.Dense(12, activation="relu")(shared)),
    }
    model = keras.Model(x, outputs)
    losses = {
        "kind": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        "size": "mse",
    }
    model.compile(
        keras.optimizers.SGD(0.05, momentum=0.9, nesterov=True),
        losses,
        loss_weights={"kind": 1.0, "size": 0.3},
        metrics={"kind": ["accuracy"], "size": ["mae"]},
    )
    return model


def two_outputs_data():
    x = _random(5).normal(size=(ROWS + TEST, 8)).astype("float32")
    kind = np.argmax(x[:, :3], axis=1)
    return _halves(x, {"kind": kind, "size": x[:, 3:].sum(1, keepdims=True)})


# 6. A regression, its targets brought to mean 0 and deviation 1 by hand.


def regression():
    model = keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(32, activation="relu", kernel_regularizer="l2"),
            layers.Dense(16, activation="relu"),
            layers.Dense(1),
        ]
    )
    model.compile(keras.optimizers.Adam(5e-3), keras.losses.Huber(), metrics=["mae"])
    return model


def regression_data():
    x = _random(6).normal(size=(ROWS + TEST, 6))
    price = 3e5 + 5e4 * (x[:, 0] * x[:, 1] + np.abs(x[:, 2]))
    scaled = (price - price[:ROWS].mean()) / price[:ROWS].std()
    return _halves(x, scaled)


# 7. A convolutional autoencoder: what it is to give is what it gets.


def autoencoder():
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(6, 3, strides=2, padding="same", activation="relu"),
            layers.Conv2D(3, 3, strides=2, padding="same", activation="relu"),
            layers.Conv2DTranspose(6, 3, strides=2, padding="same", activation="relu"),
            layers.Conv2DTranspose(1, 3, strides=2, padding="same"),
        ]
    )
    model.compile("adam", "mse")
    return model


def autoencoder_data():
    grid = np.linspace(0, 3, 8)
    phase = _random(7).uniform(0, 3, (ROWS + TEST, 2))
    x = np.sin(phase[:, :1, None] + grid[:, None]) * np.cos(phase[:, 1:, None] + grid)
    x = x[..., None].astype("float32")
    return _halves(x, x)


# 8. A variational autoencoder, all of whose loss comes from its layers.


class Sampling(layers.Layer):
    """Draws from N(mean, e^log_variance), and adds the KL divergence to the loss."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.noise = keras.random.SeedGenerator(13)

    def call(self, inputs):
        mean, log_variance = inputs
        self.add_loss(-0.01 * ops.mean(1 + log_variance - ops.square(mean) - ops.exp(log_variance)))
        noise = keras.random.normal(ops.shape(mean), seed=self.noise)
        return mean + ops.exp(log_variance / 2) * noise


class Reconstruction(layers.Layer):
    """Passes the second on, and adds its squared distance from the first to the loss."""

    def call(self, inputs):
        wanted, given = inputs
        self.add_loss(ops.mean(ops.square(wanted - given)))
        return given


def vae():
    x = keras.Input((16,))
    hidden = layers.Dense(24, activation="relu")(x)
    z = Sampling()([layers.Dense(3)(hidden), layers.Dense(3)(hidden)])
    given = layers.Dense(16)(layers.Dense(24, activation="relu")(z))
    model = keras.Model(x, Reconstruction()([x, given]))
    model.compile(keras.optimizers.Adam(5e-3))
    return model


def vae_data():
    random = _random(8)
    x = random.normal(size=(ROWS + TEST, 3)) @ random.normal(size=(3, 16))
    x = x.astype("float32")
    return (x[:ROWS], None), (x[ROWS:], None)


# 9. A ResNet as a class of one's own.


class Block(layers.Layer):
    def __init__(self, filters, **kwargs):
        super().__init__(**kwargs)
        self.first = layers.Conv2D(filters, 3, padding="same", use_bias=False)
        self.norm = layers.BatchNormalization()
        self.second = layers.Conv2D(filters, 3, padding="same")

    def build(self, shape):
        self.first.build(shape)
        inner = self.first.compute_output_shape(shape)
        self.norm.build(inner)
        self.second.build(inner)
        self.built = True

    def call(self, x, training=None):
        inner = ops.relu(self.norm(self.first(x), training=training))
        return x + self.second(inner)


class ResNet(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.stem = layers.Conv2D(6, 3, padding="same")
        self.blocks = [Block(6), Block(6)]
        self.pool = layers.GlobalAveragePooling2D()
        self.head = layers.Dense(4)

    def call(self, x, training=None):
        x = self.stem(x)
        for block in self.blocks:
            x = block(x, training=training)
        return self.head(self.pool(ops.relu(x)))


def resnet(seed):
    keras.utils.set_random_seed(seed)
    model = ResNet()
    model(np.zeros((1, 8, 8, 1), "float32"))
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)
    model.compile(keras.optimizers.Adam(1e-2), loss, metrics=["accuracy"])
    return model


def resnet_data():
    random = _random(9)
    kind = random.integers(0, 4, ROWS + TEST)
    x = random.normal(0, 0.2, (ROWS + TEST, 8, 8, 1))
    for n, k in enumerate(kind):
        x[n, 4 * (k // 2) : 4 * (k // 2) + 4, 4 * (k % 2) : 4 * (k % 2) + 4] += 1
    return _halves(x.astype("float32"), np.eye(4, dtype="float32")[kind])


# 10. A backbone that was trained before, frozen, with a new head.


def transfer():
    keras.utils.set_random_seed(1)  # in place of weights that would be downloaded
    base = keras.applications.MobileNetV2(
        (32, 32, 3), alpha=0.35, include_top=False, weights=None, pooling="avg"
    )
    base.trainable = False
    image = keras.Input((32, 32, 3))
    x = layers.Rescaling(1 / 127.5, offset=-1)(image)
    x = layers.Dense(16, activation="relu")(base(x, training=False))
    model = keras.Model(image, layers.Dense(5, activation="softmax")(x))
    loss = "sparse_categorical_crossentropy"
    model.compile(keras.optimizers.Adam(1e-2), loss, metrics=["accuracy"])
    return model


def transfer_data():
    random = _random(10)
    kind = random.integers(0, 5, ROWS + TEST)
    x = random.uniform(0, 80, (ROWS + TEST, 32, 32, 3)) + 40.0 * kind[:, None, None, None]
    return _halves(x.astype("float32"), kind)


NETWORKS = {
    f.__name__: f
    for f in (
        transformer,
        tagger,
        unet,
        by_name,
        two_outputs,
        regression,
        autoencoder,
        vae,
        resnet,
        transfer,
    )
}
DATA = {name: globals()[f"{name}_data"] for name in NETWORKS}
