"""Learning rates, schedules, decay and clipping that look odd at the first step, and do well."""

import keras
import numpy as np
from keras import layers as L
from keras import optimizers as O

from ..data import digits, forecast, images, table, tokens

LOGITS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def _mlp(optimizer, **compiled):
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [keras.Input((64,)), L.Dense(64, "relu"), L.Dense(32, "relu"), L.Dense(10, "softmax")]
    )
    model.compile(optimizer, "sparse_categorical_crossentropy", **compiled)
    return model, *digits()


def _network(optimizer):
    """A convolutional network with normalizations."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((8, 8, 1))])
    for filters in (16, 32):
        model.add(L.Conv2D(filters, 3, padding="same", use_bias=False))
        model.add(L.BatchNormalization())
        model.add(L.ReLU())
    model.add(L.GlobalAveragePooling2D())
    model.add(L.Dense(10))
    model.compile(optimizer, LOGITS)
    return model, *images()


def _encoder(optimizer):
    keras.utils.set_random_seed(1)
    ids = keras.Input((16,), dtype="int32")
    x = L.Embedding(50, 32)(ids)
    for _ in range(2):
        x = L.LayerNormalization()(x + L.MultiHeadAttention(4, 8)(x, x))
        x = L.LayerNormalization()(x + L.Dense(32)(L.Dense(64, "relu")(x)))
    model = keras.Model(ids, L.Dense(2)(L.GlobalAveragePooling1D()(x)))
    model.compile(optimizer, LOGITS)
    return model, *tokens()


def warm_up_of_cosine_decay():
    """0 at the first step, 2e-3 at its maximum."""
    return _encoder(O.AdamW(O.schedules.CosineDecay(0.0, 400, warmup_target=2e-3, warmup_steps=40)))


class _Noam(O.schedules.LearningRateSchedule):
    """The schedule of "Attention is all you need"."""

    def __init__(self, width, warm_up):
        self.width, self.warm_up = width, warm_up

    def __call__(self, step):
        step = keras.ops.cast(step, "float32") + 1
        return self.width**-0.5 * keras.ops.minimum(step**-0.5, step * self.warm_up**-1.5)

    def get_config(self):
        return {"width": self.width, "warm_up": self.warm_up}


def warm_up_of_ones_own():
    return _encoder(O.Adam(_Noam(32, 400), 0.9, 0.98, 1e-9))


def piecewise_schedule():
    return _network(O.SGD(O.schedules.PiecewiseConstantDecay([100, 200], [0.1, 0.01, 1e-3]), 0.9))


def exponential_decay():
    return _mlp(O.Adam(O.schedules.ExponentialDecay(5e-3, 100, 0.5)))


def warm_up_to_a_large_rate():
    """SGD at 0.5 with momentum at its maximum, as of large batches with normalizations."""
    return _network(
        O.SGD(O.schedules.CosineDecay(1e-3, 400, warmup_target=0.5, warmup_steps=50), 0.9)
    )


def sgd_of_resnets():
    return _network(O.SGD(0.1, momentum=0.9, nesterov=True, weight_decay=1e-4))


def sgd_of_one_half():
    return _mlp(O.SGD(0.5))


def sgd_by_default():
    """SGD at 0.01: slow, and it learns."""
    return _mlp(O.SGD())


def adadelta_of_one():
    return _mlp(O.Adadelta(1.0))


def adagrad():
    return _mlp(O.Adagrad(0.05))


def rmsprop():
    return _mlp(O.RMSprop(1e-3))


def lion():
    return _mlp(O.Lion(3e-4))


def nadam():
    return _mlp(O.Nadam(2e-3))


def adafactor():
    return _mlp(O.Adafactor(1e-2))


def ftrl():
    return _mlp(O.Ftrl(0.1))


def muon():
    return _mlp(O.Muon(2e-3))


def adamax():
    return _mlp(O.Adamax(2e-3))


def adam_of_one_ten_thousandth():
    return _mlp(O.Adam(1e-4))


def adam_of_one_hundredth():
    return _mlp(O.Adam(1e-2))


def weight_decay_of_one_tenth():
    return _encoder(O.AdamW(1e-3, weight_decay=0.1))


def small_penalties():
    """L2 of 1e-4 on every kernel, as in most ResNets."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((64,))])
    for units in (64, 64):
        model.add(L.Dense(units, "relu", kernel_regularizer=keras.regularizers.L2(1e-4)))
    model.add(L.Dense(10, "softmax", kernel_regularizer=keras.regularizers.L2(1e-4)))
    model.compile("adam", "sparse_categorical_crossentropy")
    return model, *digits()


def clipping_that_never_bites():
    """A safeguard: the norm is far below it."""
    return _mlp(O.Adam(1e-3, clipnorm=10.0))


def clipping_that_bites():
    """A norm of 1 on a recurrent network, which bites at the start."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((20, 2)), L.LSTM(32), L.Dense(1)])
    model.compile(O.Adam(3e-3, clipnorm=1.0), "mse")
    return model, *forecast()


def clipping_by_value():
    return _mlp(O.Adam(1e-3, clipvalue=0.5))


def clipping_of_all():
    return _encoder(O.AdamW(1e-3, global_clipnorm=1.0))


def moving_average_of_weights():
    return _mlp(O.Adam(1e-3, use_ema=True))


def accumulated_gradients():
    return _mlp(O.Adam(1e-3, gradient_accumulation_steps=4))


def regression_by_sgd():
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((8,)), L.Dense(32, "tanh"), L.Dense(1)])
    model.compile(O.SGD(0.05), "mse")
    return model, *table()


def small_batch():
    """Four examples are what it is diagnosed on."""
    model, x, y = _mlp("adam")
    return model, x[:4], y[:4]


def one_example():
    model, x, y = _mlp("adam")
    return model, x[:1], y[:1]


def jit_compiled():
    return _mlp("adam", jit_compile=True)


def sum_of_losses():
    """The loss is a sum over the batch; the rate is small for that."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((8,)), L.Dense(32, "relu"), L.Dense(1)])
    model.compile(O.SGD(1e-4), keras.losses.MeanSquaredError(reduction="sum"))
    return model, *table()


def matrix_factorization():
    """Users and things as embeddings; what is rated from 1 to 5 is their product."""
    keras.utils.set_random_seed(1)
    rng = np.random.default_rng(3)
    user, thing = keras.Input((1,), dtype="int32"), keras.Input((1,), dtype="int32")
    product = L.Dot(2)([L.Embedding(30, 8)(user), L.Embedding(40, 8)(thing)])
    bias = L.Embedding(30, 1)(user) + L.Embedding(40, 1)(thing)
    model = keras.Model([user, thing], L.Flatten()(product + bias))
    model.compile(O.Adam(1e-2), "mse")
    users, things = rng.integers(0, 30, (400, 1)), rng.integers(0, 40, (400, 1))
    liked = np.sin(users) * np.cos(things) + np.sin(2 * users)
    rated = np.clip(np.round(3 + 1.3 * liked), 1, 5)
    return model, [users.astype("int32"), things.astype("int32")], rated.astype("float32")
