"""Heads, losses and targets that look as if they did not fit."""

import keras
import numpy as np
from keras import layers as L
from keras import losses, ops

from ..data import (
    digits,
    forecast,
    images,
    masks,
    moons,
    one_hot,
    random,
    standard,
    table,
    tokens,
    two_classes,
    waves,
)


def _mlp(columns, units, activation, loss, optimizer=3e-3, **options):
    """Two hidden layers and a head; `options` are those of the head."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((columns,)),
            L.Dense(64, "relu"),
            L.Dense(32, "relu"),
            L.Dense(units, activation, **options),
        ]
    )
    rate = keras.optimizers.Adam(optimizer) if isinstance(optimizer, float) else optimizer
    model.compile(rate, loss)
    return model


# Of classes.


def classes_as_a_column():
    """Class numbers of shape (rows, 1)."""
    x, y = digits()
    return _mlp(64, 10, "softmax", "sparse_categorical_crossentropy"), x, y[:, None]


def classes_as_floats():
    """Class numbers that were read as floats."""
    x, y = digits()
    return _mlp(64, 10, "softmax", "sparse_categorical_crossentropy"), x, y.astype("float32")


def two_units_for_two_classes():
    x, y = two_classes()
    model = _mlp(8, 2, "softmax", "sparse_categorical_crossentropy")
    return model, x, y[:, 0].astype("int32")


def one_logit():
    x, y = two_classes()
    return _mlp(8, 1, None, losses.BinaryCrossentropy(from_logits=True)), x, y


def one_probability_of_flat_targets():
    x, y = two_classes()
    return _mlp(8, 1, "sigmoid", "binary_crossentropy"), x, y[:, 0]


def softmax_of_a_layer_of_its_own():
    """Dense, BatchNormalization, then Softmax as layers."""
    keras.utils.set_random_seed(1)
    x, y = digits()
    model = keras.Sequential([keras.Input((64,)), L.Dense(64, "relu"), L.Dense(10), L.Softmax()])
    model.compile(keras.optimizers.Adam(3e-3), "categorical_crossentropy")
    return model, x, one_hot(y, 10)


def more_units_than_classes_in_the_batch():
    """Ten units; the batch happens to hold seven classes."""
    x, y = digits()
    return _mlp(64, 10, "softmax", "sparse_categorical_crossentropy"), x[y < 7], y[y < 7]


def label_smoothing():
    x, y = digits()
    return (
        _mlp(64, 10, "softmax", losses.CategoricalCrossentropy(label_smoothing=0.1)),
        x,
        one_hot(y, 10),
    )


def label_smoothing_of_one_unit():
    x, y = two_classes()
    return _mlp(8, 1, "sigmoid", losses.BinaryCrossentropy(label_smoothing=0.1)), x, y


def soft_targets():
    """Shares, as of a teacher or of mixup."""
    x, y = digits()
    shares = one_hot(y, 10) * 0.7 + random(20).dirichlet(np.ones(10), len(y)) * 0.3
    return _mlp(64, 10, "softmax", "categorical_crossentropy"), x, shares.astype("float32")


def soft_targets_of_one_unit():
    x, y = two_classes()
    return _mlp(8, 1, "sigmoid", "binary_crossentropy"), x, 0.1 + 0.8 * y


def divergence_from_a_teacher():
    x, y = digits()
    shares = one_hot(y, 10) * 0.9 + 0.01
    return _mlp(64, 10, "softmax", "kl_divergence"), x, shares.astype("float32")


def focal_loss():
    x, y = two_classes(share=0.15)
    return _mlp(8, 1, "sigmoid", losses.BinaryFocalCrossentropy(apply_class_balancing=True)), x, y


def focal_loss_of_classes():
    x, y = digits()
    return _mlp(64, 10, "softmax", losses.CategoricalFocalCrossentropy()), x, one_hot(y, 10)


def squares_of_one_probability():
    """The Brier score: unusual, and it learns."""
    x, y = two_classes()
    return _mlp(8, 1, "sigmoid", "mse"), x, y


def hinge():
    x, y = two_classes()
    return _mlp(8, 1, "tanh", "hinge"), x, 2 * y - 1


def squared_hinge_of_a_linear_head():
    x, y = two_classes()
    return _mlp(8, 1, None, "squared_hinge"), x, 2 * y - 1


def categorical_hinge():
    x, y = digits()
    return _mlp(64, 10, None, "categorical_hinge"), x, one_hot(y, 10)


def several_labels():
    """Each of five sigmoids is a label of its own."""
    x, _ = table()
    y = (x[:, :5] + 0.5 * x[:, 3:8] > 0.4).astype("float32")
    return _mlp(8, 5, "sigmoid", "binary_crossentropy"), x, y


def several_labels_of_which_one_is_set():
    """The same, where by chance each example has one label."""
    x, y = digits()
    return _mlp(64, 10, "sigmoid", "binary_crossentropy"), x, one_hot(y, 10)


def several_logits():
    x, _ = table()
    y = (x[:, :5] > 0.8).astype("float32")
    return _mlp(8, 5, None, losses.BinaryCrossentropy(from_logits=True)), x, y


def rare_class():
    """One of twenty is 1: it is rare, and there are enough of them."""
    x, y = two_classes(rows=512, share=0.05)
    return _mlp(8, 1, "sigmoid", "binary_crossentropy"), x, y


def prior_bias():
    """The bias begins at the log-odds of a rare class."""
    x, y = two_classes(rows=512, share=0.03)
    start = keras.initializers.Constant(np.log(0.03 / 0.97))
    return _mlp(8, 1, "sigmoid", "binary_crossentropy", bias_initializer=start), x, y


def prior_bias_of_classes():
    x, y = digits()
    keep = (y == 0) | (random(21).uniform(size=len(y)) < 0.1)
    prior = np.log(np.bincount(y[keep], minlength=10) / keep.sum() + 1e-3)
    start = keras.initializers.Constant(prior)
    model = _mlp(64, 10, "softmax", "sparse_categorical_crossentropy", bias_initializer=start)
    return model, x[keep], y[keep]


def rare_pixels():
    """A mask of which one pixel in thirty is set."""
    x, y = masks(share=3)
    keras.utils.set_random_seed(1)
    parts = [L.Conv2D(8, 3, padding="same", activation="relu") for _ in range(2)]
    model = keras.Sequential(
        [keras.Input((16, 16, 1)), *parts, L.Conv2D(1, 1, activation="sigmoid")]
    )
    model.compile(keras.optimizers.Adam(1e-2), "binary_crossentropy")
    return model, x, y


def dice():
    x, y = masks()
    keras.utils.set_random_seed(1)
    parts = [L.Conv2D(8, 3, padding="same", activation="relu") for _ in range(2)]
    model = keras.Sequential(
        [keras.Input((16, 16, 1)), *parts, L.Conv2D(1, 1, activation="sigmoid")]
    )
    model.compile(keras.optimizers.Adam(1e-2), "dice")
    return model, x, y


def tags_that_are_mostly_padding():
    """Class 0 is nine of ten tags; the padding is masked."""
    x, _ = tokens()
    x[:, 6:] = 0
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((16,), dtype="int32"),
            L.Embedding(50, 16, mask_zero=True),
            L.Bidirectional(L.LSTM(16, return_sequences=True)),
            L.Dense(4, "softmax"),
        ]
    )
    model.compile(keras.optimizers.Adam(1e-2), "sparse_categorical_crossentropy")
    return model, x, np.where(x > 0, x % 4, 0).astype("int32")


# Of numbers.


def standardized_regression():
    x, y = table()
    return _mlp(8, 1, None, "mse"), x, y


def flat_regression():
    """Targets of shape (rows,) for one unit."""
    x, y = table()
    return _mlp(8, 1, None, "mae"), x, y[:, 0]


def regression_of_several_numbers():
    x, _ = table()
    return _mlp(8, 3, None, losses.Huber()), x, standard(x[:, :3] * x[:, 3:6])


def regression_of_single_digits():
    """Not standardized, and near enough: a grade from 1 to 6."""
    x, y = table()
    return _mlp(8, 1, None, "mse", 1e-2), x, np.clip(np.round(3.5 + 1.2 * y), 1, 6)


def regression_of_house_prices():
    """In thousands, around 22, as Boston's: many steps, but it learns."""
    x, y = table()
    return _mlp(8, 1, None, "mse", 1e-2), x, (22 + 9 * y).astype("float32")


def shares_by_a_sigmoid():
    x, y = table()
    return _mlp(8, 1, "sigmoid", "mse", 1e-2), x, 1 / (1 + np.exp(-2 * y))


def bounded_by_a_tanh():
    x, y = table()
    return _mlp(8, 1, "tanh", "mse"), x, np.tanh(y)


def amounts_by_a_softplus():
    x, y = table()
    return _mlp(8, 1, "softplus", "mae"), x, np.log1p(np.exp(y))


def amounts_by_a_relu():
    """Targets of 0 and more, and a ReLU head whose bias begins above 0."""
    x, y = table()
    start = keras.initializers.Constant(1.0)
    return _mlp(8, 1, "relu", "mse", bias_initializer=start), x, np.maximum(y + 1, 0)


def counts_by_an_exponential():
    x, y = table()
    return _mlp(8, 1, "exponential", "poisson"), x, random(22).poisson(np.exp(y)).astype("float32")


def quantile():
    """A pinball loss of the user's own."""

    def pinball(y, output):
        return ops.mean(ops.maximum(0.9 * (y - output), -0.1 * (y - output)), axis=-1)

    x, y = table()
    return _mlp(8, 1, None, pinball), x, y


def mean_and_deviation():
    """The negative log-likelihood of a normal distribution: it may well be negative."""

    def likelihood(y, output):
        mean, log = output[:, :1], output[:, 1:]
        return ops.mean(log + ops.square(y - mean) * ops.exp(-2 * log) / 2, axis=-1)

    x, y = table()
    return _mlp(8, 2, None, likelihood), x, y


def cosine_similarity():
    """It runs from 1 down to -1."""
    x, _ = table(columns=12)
    wanted = x[:, :4] + x[:, 4:8]
    return _mlp(12, 4, None, "cosine_similarity"), x, wanted


def angle_as_sine_and_cosine():
    x, _ = table()
    angle = np.arctan2(x[:, 0], x[:, 1])
    return _mlp(8, 2, "tanh", "mse"), x, np.stack([np.sin(angle), np.cos(angle)], 1)


# Of what is rebuilt.


def _autoencoder(head, loss, x):
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((64,)),
            L.Dense(32, "relu"),
            L.Dense(16, "relu"),
            L.Dense(32, "relu"),
            L.Dense(64, head),
        ]
    )
    model.compile(keras.optimizers.Adam(3e-3), loss)
    return model, x, x


def sigmoid_autoencoder():
    """Pixels of [0, 1], and binary cross-entropy, which ends well above 0."""
    return _autoencoder("sigmoid", "binary_crossentropy", digits()[0])


def sigmoid_autoencoder_of_squares():
    return _autoencoder("sigmoid", "mse", digits()[0])


def tanh_autoencoder():
    return _autoencoder("tanh", "mse", 2 * digits()[0] - 1)


def denoising_autoencoder():
    model, x, y = _autoencoder("sigmoid", "binary_crossentropy", digits()[0])
    return model, (x + random(23).normal(0, 0.3, x.shape)).astype("float32"), y


def autoencoder_of_series():
    x, _ = waves()
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((32, 1)),
            L.LSTM(32),
            L.RepeatVector(32),
            L.LSTM(32, return_sequences=True),
            L.Dense(1),
        ]
    )
    model.compile(keras.optimizers.Adam(1e-2), "mse")
    return model, x, x


# Of several outputs and of losses of one's own.


def several_outputs():
    """A class, a number and a share, each with its own loss and weight."""
    x, y = table()
    keras.utils.set_random_seed(1)
    inputs = keras.Input((8,))
    shared = L.Dense(64, "relu")(inputs)
    outputs = {
        "kind": L.Dense(3, "softmax", name="kind")(shared),
        "size": L.Dense(1, name="size")(shared),
        "share": L.Dense(1, "sigmoid", name="share")(shared),
    }
    model = keras.Model(inputs, outputs)
    told = {
        "kind": "sparse_categorical_crossentropy",
        "size": "mse",
        "share": "binary_crossentropy",
    }
    model.compile(
        keras.optimizers.Adam(3e-3), told, loss_weights={"kind": 1.0, "size": 0.5, "share": 1.0}
    )
    targets = {
        "kind": np.argmax(x[:, :3], 1),
        "size": y,
        "share": (x[:, 4:5] > 0).astype("float32"),
    }
    return model, x, targets


def auxiliary_head():
    """The same targets twice; the head on the way counts 0.3, as Inception's."""
    x, y = digits()
    keras.utils.set_random_seed(1)
    inputs = keras.Input((64,))
    first = L.Dense(64, "relu")(inputs)
    second = L.Dense(64, "relu")(first)
    outputs = [L.Dense(10, "softmax")(second), L.Dense(10, "softmax")(first)]
    model = keras.Model(inputs, outputs)
    loss = "sparse_categorical_crossentropy"
    model.compile(keras.optimizers.Adam(3e-3), [loss, loss], loss_weights=[1.0, 0.3])
    return model, x, [y, y]


def value_and_policy():
    """An actor whose last kernel begins at 0.01 times orthogonal, and a critic (PPO)."""

    def surrogate(chosen, logits):
        """Targets: the action's number and its advantage."""
        actions, advantage = ops.cast(chosen[:, 0], "int32"), chosen[:, 1]
        old = -np.log(4.0)
        new = ops.sum(ops.log_softmax(logits) * ops.one_hot(actions, 4), -1)
        ratio = ops.exp(new - old)
        return -ops.minimum(ratio * advantage, ops.clip(ratio, 0.8, 1.2) * advantage)

    keras.utils.set_random_seed(1)
    x, y = table()

    def orthogonal(gain):
        return keras.initializers.Orthogonal(gain, seed=1)

    inputs = keras.Input((8,))

    def tower():
        h = L.Dense(64, "tanh", kernel_initializer=keras.initializers.Orthogonal(2**0.5, seed=2))(
            inputs
        )
        return L.Dense(
            64, "tanh", kernel_initializer=keras.initializers.Orthogonal(2**0.5, seed=3)
        )(h)

    policy = L.Dense(4, kernel_initializer=orthogonal(0.01), name="policy")(tower())
    value = L.Dense(1, kernel_initializer=orthogonal(1.0), name="value")(tower())
    model = keras.Model(inputs, {"policy": policy, "value": value})
    losses_ = {"policy": surrogate, "value": "mse"}
    model.compile(
        keras.optimizers.Adam(3e-4, clipnorm=0.5),
        losses_,
        loss_weights={"policy": 1.0, "value": 0.5},
    )
    actions = random(24).integers(0, 4, len(x))
    advantage = standard(np.where(actions == np.argmax(x[:, :4], 1), 1.0, -0.3)[:, None])[:, 0]
    return model, x, {"policy": np.stack([actions, advantage], 1).astype("float32"), "value": y}


def actor_of_ddpg():
    """A tanh head that begins within ±0.003, without a loss and without targets."""
    keras.utils.set_random_seed(1)
    small = keras.initializers.RandomUniform(-0.003, 0.003, seed=1)
    model = keras.Sequential(
        [
            keras.Input((8,)),
            L.Dense(256, "relu"),
            L.Dense(256, "relu"),
            L.Dense(2, "tanh", kernel_initializer=small),
        ]
    )
    return model, table()[0], None


def critic_of_ddpg():
    """What an action is worth, of a state and an action."""
    keras.utils.set_random_seed(1)
    state, action = keras.Input((8,)), keras.Input((2,))
    h = L.Concatenate()(
        [L.Dense(32, "relu")(L.Dense(16, "relu")(state)), L.Dense(32, "relu")(action)]
    )
    model = keras.Model([state, action], L.Dense(1)(L.Dense(256, "relu")(L.Dense(256, "relu")(h))))
    model.compile(keras.optimizers.Adam(2e-3), "mse")
    x, y = table()
    return model, [x, random(25).uniform(-1, 1, (len(x), 2)).astype("float32")], y


def deep_q_network():
    """The loss is of the chosen action alone."""

    def chosen(wanted, values):
        action = ops.one_hot(ops.cast(wanted[:, 0], "int32"), 4)
        return losses.huber(wanted[:, 1:], ops.sum(values * action, -1, keepdims=True))

    x, y = table()
    actions = random(26).integers(0, 4, (len(x), 1))
    wanted = np.concatenate([actions, y + actions], 1).astype("float32")
    return _mlp(8, 4, None, chosen, 2.5e-3), x, wanted


def generator():
    """Noise to images of [-1, 1]; its loss is of another network."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((32,)),
            L.Dense(4 * 4 * 32),
            L.LeakyReLU(0.2),
            L.Reshape((4, 4, 32)),
            L.Conv2DTranspose(32, 4, 2, padding="same"),
            L.LeakyReLU(0.2),
            L.Conv2D(1, 5, padding="same", activation="tanh"),
        ]
    )
    return model, random(27).normal(size=(64, 32)).astype("float32"), None


def discriminator():
    keras.utils.set_random_seed(1)
    x, _ = images()
    fake = random(28).uniform(0, 1, x.shape)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            L.Conv2D(16, 3, 2, padding="same"),
            L.LeakyReLU(0.2),
            L.Conv2D(32, 3, 2, padding="same"),
            L.LeakyReLU(0.2),
            L.Flatten(),
            L.Dropout(0.2),
            L.Dense(1, "sigmoid"),
        ]
    )
    model.compile(keras.optimizers.Adam(3e-4), "binary_crossentropy")
    order = random(29).permutation(2 * len(x))
    both = np.concatenate([x, fake]).astype("float32")[order]
    return model, both, np.repeat([1.0, 0.0], len(x))[order, None].astype("float32")


def critic_of_wasserstein():
    """A linear head, targets of ±1, the loss their product: it is negative when it does well."""

    def wasserstein(y, output):
        return ops.mean(y * output, axis=-1)

    model, x, y = discriminator()
    head = L.Dense(1)(model.layers[-2].output)
    model = keras.Model(model.inputs, head)
    model.compile(keras.optimizers.RMSprop(5e-5), wasserstein)
    return model, x, 1 - 2 * y


def contrastive():
    """Two views of each example, and which of the others is its own; the loss needs no targets."""

    class Contrastive(keras.Model):
        def __init__(self):
            super().__init__()
            self.encoder = keras.Sequential([L.Dense(64, "relu"), L.Dense(16)])
            self.encoder.build((None, 64))
            self.noise = keras.random.SeedGenerator(1)

        def call(self, x):
            return self.encoder(x)

        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            seen = self.encoder(x + 0.1 * keras.random.normal(ops.shape(x), seed=self.noise))
            seen, made = ops.normalize(seen, axis=-1), ops.normalize(y_pred, axis=-1)
            alike = ops.matmul(seen, ops.transpose(made)) / 0.1
            return ops.mean(
                losses.sparse_categorical_crossentropy(
                    ops.arange(ops.shape(x)[0]), alike, from_logits=True
                )
            )

    keras.utils.set_random_seed(1)
    x, y = digits()
    model = Contrastive()
    model.build((None, 64))
    model.compile(keras.optimizers.Adam(1e-3))
    return model, x, y


def siamese():
    """Two images through one network; are they of one class?"""
    keras.utils.set_random_seed(1)
    x, y = digits()
    order = random(30).permutation(len(x))
    other = np.where(np.arange(len(x)) % 2, order, [np.flatnonzero(y == c)[0] for c in y])
    tower = keras.Sequential([keras.Input((64,)), L.Dense(64, "relu"), L.Dense(16)])
    a, b = keras.Input((64,)), keras.Input((64,))
    far = ops.sqrt(ops.sum(ops.square(tower(a) - tower(b)), -1, keepdims=True) + 1e-6)
    model = keras.Model([a, b], L.Dense(1, "sigmoid")(L.BatchNormalization()(far)))
    model.compile(keras.optimizers.Adam(3e-3), "binary_crossentropy")
    same = (y == y[other]).astype("float32")[:, None]
    return model, [x, x[other]], same


def next_word():
    """A language model: a class for every place, logits."""
    keras.utils.set_random_seed(1)
    x, _ = forecast(rows=128, length=17, channels=1)
    ids = np.clip((x[..., 0] + 2) * 7, 0, 29).astype("int32")
    inputs = keras.Input((16,), dtype="int32")
    h = L.GRU(32, return_sequences=True)(L.Embedding(30, 16)(inputs))
    model = keras.Model(inputs, L.Dense(30)(h))
    model.compile(
        keras.optimizers.Adam(1e-2), losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    return model, ids[:, :-1], ids[:, 1:]


def points_by_a_logit():
    x, y = moons()
    return _mlp(2, 1, None, losses.BinaryCrossentropy(from_logits=True), 1e-2), x, y
