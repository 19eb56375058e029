"""Architectures of the examples about tables, graphs, recommendation and reinforcement."""

import keras
import numpy as np
from keras import layers as L
from keras import ops

from ..data import digits, moons, random, standard, table, two_classes

SPARSE = "sparse_categorical_crossentropy"


def fraud():
    """One row of fifty is a fraud; wide layers, a low rate, weights of classes in `fit`."""
    keras.utils.set_random_seed(6)
    layers = [L.Dense(256, "relu"), L.Dense(256, "relu"), L.Dropout(0.3), L.Dense(256, "relu")]
    model = keras.Sequential(
        [keras.Input((8,)), *layers, L.Dropout(0.3), L.Dense(1, activation="sigmoid")]
    )
    model.compile(keras.optimizers.Adam(1e-2), "binary_crossentropy")
    return model, *two_classes(rows=1024, share=0.02)


def structured_data():
    """Numbers through a Normalization, categories one-hot."""
    keras.utils.set_random_seed(6)
    rng = random(100)
    numbers, kind = rng.normal(50, 12, (256, 4)), rng.integers(0, 5, (256, 1))
    known = L.Normalization()
    known.adapt(numbers)
    a, b = keras.Input((4,)), keras.Input((1,), dtype="int32")
    x = L.Concatenate()([known(a), L.CategoryEncoding(5, "one_hot")(b)])
    x = L.Dropout(0.5)(L.Dense(32, "relu")(x))
    model = keras.Model([a, b], L.Dense(1, "sigmoid")(x))
    model.compile("adam", "binary_crossentropy")
    y = (numbers[:, :1] > 50) ^ (kind > 2)
    return model, [numbers.astype("float32"), kind.astype("int32")], y.astype("float32")


def wide_deep_and_cross():
    """Embedded categories; crosses x₀·(Wx + b) + x beside dense layers."""
    keras.utils.set_random_seed(6)
    numbers, kind = keras.Input((6,)), keras.Input((2,), dtype="int32")
    start = L.Concatenate()([numbers, L.Flatten()(L.Embedding(8, 4)(kind))])
    start = L.BatchNormalization()(start)
    x = start
    for _ in range(3):
        x = start * L.Dense(14)(x) + x
    deep = start
    for _ in range(2):
        deep = L.Dropout(0.1)(L.ReLU()(L.BatchNormalization()(L.Dense(32)(deep))))
    merged = L.Concatenate()([L.BatchNormalization()(x), deep])
    model = keras.Model([numbers, kind], L.Dense(3, "softmax")(merged))
    model.compile(keras.optimizers.Adam(1e-3), SPARSE)
    x, _ = table(columns=6)
    kinds = random(101).integers(0, 8, (len(x), 2))
    y = np.argmax(np.stack([x[:, 0], x[:, 1], kinds[:, 0] / 4 - 1]), 0)
    return model, [x, kinds.astype("int32")], y


def gated_residuals():
    """Dense, ELU, Dropout, a gated linear unit, LayerNormalization: three times."""
    keras.utils.set_random_seed(6)
    inputs = keras.Input((8,))
    x = L.Dense(32)(inputs)
    for _ in range(3):
        h = L.Dropout(0.1)(L.Dense(32)(L.Dense(32, "elu")(x)))
        x = L.LayerNormalization()(x + L.Dense(32)(h) * L.Dense(32, "sigmoid")(h))
    model = keras.Model(inputs, L.Dense(1, "sigmoid")(x))
    model.compile(keras.optimizers.Adam(1e-3), "binary_crossentropy")
    return model, *two_classes()


def transformer_of_a_table():
    """Categories attend to each other; numbers are normalized and stand beside them."""
    keras.utils.set_random_seed(6)
    numbers, kinds = keras.Input((4,)), keras.Input((3,), dtype="int32")
    x = L.Embedding(24, 16)(kinds) + L.Embedding(3, 16)(ops.arange(3))
    for _ in range(2):
        x = L.LayerNormalization(epsilon=1e-6)(L.MultiHeadAttention(4, 16, dropout=0.2)(x, x) + x)
        x = L.LayerNormalization(epsilon=1e-6)(L.Dense(16)(L.Dense(16, "gelu")(x)) + x)
    x = L.concatenate([L.Flatten()(x), L.LayerNormalization(epsilon=1e-6)(numbers)])
    for units in (104, 52):
        x = L.Dropout(0.2)(L.Dense(units, "selu")(L.BatchNormalization()(x)))
    model = keras.Model([numbers, kinds], L.Dense(1, "sigmoid")(x))
    model.compile(keras.optimizers.AdamW(1e-3, weight_decay=1e-4), "binary_crossentropy")
    x, _ = table(columns=4)
    ids = random(102).integers(0, 8, (len(x), 3)) + np.array([0, 8, 16])
    y = (x[:, :1] + (ids[:, :1] > 3) > 0.5).astype("float32")
    return model, [x, ids.astype("int32")], y


def decision_tree():
    """A neural tree: sigmoids decide, leaves of N(0, 1) hold shares of classes."""

    class Tree(L.Layer):
        def build(self, shape):
            normal = keras.initializers.RandomNormal(stddev=1.0)
            self.leaves = self.add_weight(shape=(8, 2), initializer=normal, name="leaves")
            self.decide = L.Dense(8, "sigmoid")
            self.decide.build(shape)

        def call(self, x):
            decisions = ops.expand_dims(self.decide(x), 2)
            both = ops.concatenate([decisions, 1 - decisions], 2)
            reached, begin, end = ops.ones((ops.shape(x)[0], 1, 1)), 1, 2
            for level in range(3):
                reached = ops.tile(ops.reshape(reached, (-1, 2**level, 1)), (1, 1, 2))
                reached = reached * both[:, begin:end]
                begin, end = end, end + 2 ** (level + 1)
            return ops.matmul(ops.reshape(reached, (-1, 8)), ops.softmax(self.leaves))

    keras.utils.set_random_seed(6)
    inputs = keras.Input((8,))
    model = keras.Model(inputs, Tree()(L.BatchNormalization()(inputs)))
    model.compile(keras.optimizers.Adam(1e-2), SPARSE)
    x, y = two_classes()
    return model, x, y[:, 0].astype("int32")


def recommendation():
    """Users and films as embeddings; ratings of [0, 1] by a sigmoid of their product."""
    keras.utils.set_random_seed(6)

    def embedding(count, width):
        return L.Embedding(
            count,
            width,
            embeddings_initializer="he_normal",
            embeddings_regularizer=keras.regularizers.l2(1e-6),
        )

    pair = keras.Input((2,), dtype="int32")
    user, film = pair[:, 0], pair[:, 1]
    product = ops.sum(embedding(40, 16)(user) * embedding(60, 16)(film), -1, keepdims=True)
    total = product + embedding(40, 1)(user) + embedding(60, 1)(film)
    model = keras.Model(pair, ops.sigmoid(total))
    model.compile(keras.optimizers.Adam(1e-2), "binary_crossentropy")
    rng = random(103)
    pairs = np.stack([rng.integers(0, 40, 512), rng.integers(0, 60, 512)], 1).astype("int32")
    liked = 0.5 + 0.4 * np.sin(pairs[:, 0]) * np.cos(pairs[:, 1] / 3)
    return model, pairs, np.round(4 * liked)[:, None].astype("float32") / 4


def two_towers():
    """Queries and things in one space; each query's own thing among all of the batch."""

    class Towers(keras.Model):
        def __init__(self):
            super().__init__()
            self.query = keras.Sequential([L.Embedding(40, 16), L.Dense(16)])
            self.thing = keras.Sequential([L.Embedding(60, 16), L.Dense(16)])

        def build(self, shape):
            self.query.build((None,))
            self.thing.build((None,))

        def call(self, x):
            return {"query": self.query(x[:, 0]), "thing": self.thing(x[:, 1])}

        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            scores = ops.matmul(y_pred["query"], ops.transpose(y_pred["thing"]))
            own = ops.arange(ops.shape(scores)[0])
            loss = keras.losses.sparse_categorical_crossentropy(own, scores, from_logits=True)
            return ops.mean(loss)

    keras.utils.set_random_seed(6)
    model = Towers()
    model.build((None, 2))
    model.compile(keras.optimizers.Adagrad(0.1))
    users = random(104).permutation(40)
    return model, np.stack([users, users + 10], 1).astype("int32"), users


def graph_convolutions():
    """Nodes of one graph, those near them added; classes of nodes."""
    keras.utils.set_random_seed(6)
    rng = random(105)
    y = rng.integers(0, 3, 120)
    near = (rng.uniform(size=(120, 120)) < np.where(y[:, None] == y, 0.2, 0.02)).astype("float32")
    near = near / np.maximum(near.sum(1, keepdims=True), 1)
    words = (rng.uniform(size=(120, 40)) < 0.05 + 0.2 * (np.arange(40) % 3 == y[:, None])).astype(
        "float32"
    )
    place = keras.Input((1,), dtype="int32")
    nodes = ops.convert_to_tensor(words)

    def hidden(x):
        for units in (32, 32):
            x = L.Dense(units, "gelu")(L.Dropout(0.5)(L.BatchNormalization()(x)))
        return x

    class Graph(L.Layer):
        """Mixes what a Dense made of all nodes, and gives those asked for."""

        def __init__(self):
            super().__init__()
            self.first, self.second = L.Dense(32, "gelu"), L.Dense(32, "gelu")

        def build(self, shape):
            self.first.build((None, 40))
            self.second.build((None, 32))

        def call(self, place):
            x = ops.matmul(near, self.first(nodes))
            x = x + ops.matmul(near, self.second(x))
            return ops.take(x, place[:, 0], axis=0)

    model = keras.Model(place, L.Dense(3)(hidden(Graph()(place))))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-2), loss)
    return model, np.arange(120, dtype="int32")[:, None], y


def point_clouds():
    """PointNet: dense layers on each point, the maximum over all, transforms from the identity."""
    keras.utils.set_random_seed(6)

    def block(x, units):
        return L.ReLU()(L.BatchNormalization(momentum=0.0)(L.Dense(units)(x)))

    def transform(x, size):
        h = L.GlobalMaxPooling1D()(block(block(x, 16), 32))
        h = block(h, 16)
        start = keras.initializers.Constant(np.eye(size).flatten())
        told = L.Dense(size * size, kernel_initializer="zeros", bias_initializer=start)(h)
        return L.Dot(axes=(2, 1))([x, L.Reshape((size, size))(told)])

    inputs = keras.Input((32, 3))
    x = block(block(transform(inputs, 3), 16), 16)
    x = block(block(transform(x, 16), 16), 64)
    x = L.Dropout(0.3)(block(L.GlobalMaxPooling1D()(x), 32))
    model = keras.Model(inputs, L.Dense(2, "softmax")(x))
    model.compile(keras.optimizers.Adam(1e-3), SPARSE)
    rng = random(106)
    y = rng.integers(0, 2, 128)
    x = rng.normal(size=(128, 32, 3))
    round_ = x / np.linalg.norm(x, axis=2, keepdims=True)
    flat = rng.uniform(-1, 1, (128, 32, 3)) * [1, 1, 0.1]
    return model, np.where(y[:, None, None] == 1, round_, flat).astype("float32"), y


def actor_and_critic():
    """Two heads on one layer, steps of one's own: no loss is compiled."""
    keras.utils.set_random_seed(6)
    inputs = keras.Input((4,))
    common = L.Dense(128, "relu")(inputs)
    outputs = [L.Dense(2, "softmax")(common), L.Dense(1)(common)]
    return keras.Model(inputs, outputs), random(107).normal(0, 0.5, (64, 4)).astype("float32"), None


def q_values_of_frames():
    keras.utils.set_random_seed(6)
    model = keras.Sequential(
        [
            keras.Input((36, 36, 4)),
            L.Conv2D(16, 8, strides=4, activation="relu"),
            L.Conv2D(32, 4, strides=2, activation="relu"),
            L.Flatten(),
            L.Dense(64, activation="relu"),
            L.Dense(4, activation="linear"),
        ]
    )
    return model, random(108).uniform(0, 1, (32, 36, 36, 4)).astype("float32"), None


def kernel_machine():
    """Random Fourier features, frozen, and a linear layer under the hinge."""
    keras.utils.set_random_seed(6)

    class Fourier(L.Layer):
        def build(self, shape):
            normal = keras.initializers.RandomNormal(stddev=1 / 3.0)
            turn = keras.initializers.RandomUniform(0, 2 * np.pi)
            self.kernel = self.add_weight(
                shape=(shape[-1], 512), initializer=normal, trainable=False, name="kernel"
            )
            self.bias = self.add_weight(
                shape=(512,), initializer=turn, trainable=False, name="bias"
            )

        def call(self, x):
            return ops.cos(ops.matmul(x, self.kernel) + self.bias)

    model = keras.Sequential([keras.Input((64,)), Fourier(), L.Dense(10)])
    model.compile(keras.optimizers.Adam(1e-3), keras.losses.hinge)
    x, y = digits()
    return model, x, 2 * np.eye(10, dtype="float32")[y] - 1


def memory_of_a_layer():
    """A layer that adds what its inputs are to the loss, beside a compiled one."""

    class Rate(L.Layer):
        def call(self, x):
            self.add_loss(1e-2 * ops.mean(ops.square(x)))
            return x

    keras.utils.set_random_seed(6)
    inputs = keras.Input((2,))
    model = keras.Model(inputs, L.Dense(1, "sigmoid")(Rate()(L.Dense(32, "relu")(inputs))))
    model.compile(keras.optimizers.Adam(1e-2), "binary_crossentropy")
    return model, *moons()


def distribution_of_wines():
    """A number with its deviation: the likelihood is the loss."""

    def likelihood(y, output):
        mean, spread = output[:, :1], ops.softplus(output[:, 1:]) + 1e-3
        return ops.log(spread) + ops.square((y - mean) / spread) / 2

    keras.utils.set_random_seed(6)
    inputs = keras.Input((8,))
    x = L.BatchNormalization()(inputs)
    for _ in range(2):
        x = L.Dense(8, "sigmoid")(x)
    model = keras.Model(inputs, L.Dense(2)(x))
    model.compile(keras.optimizers.RMSprop(1e-2), likelihood)
    return model, *table()


def distilled():
    """A student told by a teacher's shares at a temperature, and by the classes."""
    keras.utils.set_random_seed(6)
    x, y = digits()
    shares = np.eye(10)[y] * 6 + random(109).normal(0, 1, (len(y), 10))
    shares = np.exp(shares / 3) / np.exp(shares / 3).sum(1, keepdims=True)

    def both(told, logits):
        soft = keras.losses.categorical_crossentropy(told[:, :10], ops.softmax(logits / 3))
        hard = keras.losses.categorical_crossentropy(told[:, 10:], logits, from_logits=True)
        return 9 * 0.5 * soft + 0.5 * hard

    model = keras.Sequential([keras.Input((64,)), L.Dense(32, "relu"), L.Dense(10)])
    model.compile(keras.optimizers.Adam(3e-3), both)
    return model, x, np.concatenate([shares, np.eye(10)[y]], 1).astype("float32")


def house_prices_by_columns():
    """k-fold regression of the book: two layers, RMSprop, prices in thousands, mse."""
    keras.utils.set_random_seed(6)
    layers = [L.Dense(64, "relu"), L.Dense(64, "relu"), L.Dense(1)]
    model = keras.Sequential([keras.Input((8,)), *layers])
    model.compile("rmsprop", "mse", metrics=["mae"])
    x, y = table()
    return model, x, (22.5 + 9 * y).astype("float32")


def mileage():
    """Fuel consumption around 23: Normalization, two layers, mae, Adam."""
    keras.utils.set_random_seed(6)
    x, y = table()
    known = L.Normalization()
    known.adapt(100 * x + 1000)
    layers = [L.Dense(64, "relu"), L.Dense(64, "relu"), L.Dense(1)]
    model = keras.Sequential([keras.Input((8,)), known, *layers])
    model.compile(keras.optimizers.Adam(1e-3), "mean_absolute_error")
    return model, (100 * x + 1000).astype("float32"), standard(y) * 7 + 23
