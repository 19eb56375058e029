"""Several outputs, losses of one's own, networks that another one trains."""

import keras
import numpy as np
from keras import layers as L
from keras import losses, ops

from ..data import digits, forecast, images, moons, random, standard, table
from .networks import mlp


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
    return mlp(8, 4, None, chosen, 2.5e-3), x, wanted


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
    return mlp(2, 1, None, losses.BinaryCrossentropy(from_logits=True), 1e-2), x, y
