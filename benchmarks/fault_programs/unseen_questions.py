"""Questions on Stack Exchange that nobody who wrote the rules had seen.

The id is site and number. Faults: what the answer, or the asker in the end, found; written down
before the program was run. Left out: questions of which no answer was found, and one whose program
trains here as its twin does (stats.SE 367057).
"""

import numpy as np

from fault_programs.data import digits, one_hot, standard
from fault_programs.program import adam, conv, flatten, program, sgd, stack


@program("SO 58887284", "head", epochs=150)
def a_falling_curve_below_zero_by_a_sigmoid(mended):
    x = np.linspace(-1, 1, 111, dtype="float32")[:, None]
    curve = 1 / (np.exp(10 * x) + 1)
    return stack((1,), [(1, "sigmoid")], "mse", adam(0.01)), x, curve if mended else -curve


@program("stats.SE 284189", "inputs", "targets", batch=1, epochs=20)
def years_of_life_by_people_per_television(mended):
    random = np.random.default_rng(0)
    x = random.uniform(1, 600, (40, 1)).astype("float32")
    y = (78 - 0.04 * x + 2 * random.normal(size=x.shape)).astype("float32")
    if mended:
        x, y = standard(x), standard(y)
    return stack((1,), [(1,)], "mse", sgd(0.01)), x, y


@program("stats.SE 481881", "head", epochs=10)
def an_image_that_holds_the_answer(mended):
    random = np.random.default_rng(0)
    x = random.normal(size=(256, 14, 8, 2)).astype("float32")
    y = random.integers(0, 2, 256)
    x[..., 1] = y[:, None, None]
    head = (2 if mended else 1, "softmax")
    parts = [conv(30, padding="valid"), conv(64, padding="valid"), flatten, head]
    model = stack((14, 8, 2), parts, "categorical_crossentropy")
    return model, x, one_hot(y, 2) if mended else y[:, None].astype("float32")


@program("SO 63909566", "head", epochs=30)
def probabilities_by_softmax(mended):
    random = np.random.default_rng(0)
    x = random.integers(-3, 4, (400, 10)).astype("int8")
    y = 1 / (1 + np.exp(-x @ random.normal(size=10) / 3))
    parts = [(32, "relu"), (1, "sigmoid" if mended else "softmax")]
    return stack((10,), parts, "mse"), x, y


@program("SO 77588498", "head", epochs=40)
def ten_times_a_number_by_tanh(mended):
    x = np.linspace(-20, 20, 500, dtype="float32")[:, None]
    if mended:
        return stack((2,), [(1,)], "mse", adam(0.1)), np.hstack([x**0, x]), 10 * x
    return stack((1,), [(16, "tanh"), (8, "tanh"), (4, "tanh"), (1, "tanh")], "mse"), x, 10 * x


@program("stats.SE revision 2bda6552", "head", batch=19, epochs=100)
def most_of_three_by_softmax(mended):
    x = np.random.default_rng(0).uniform(size=(100, 3)) < [0.8, 0.4, 0.4]
    x = x.astype("float32")
    y = x.sum(1) > 1
    parts = [(10, "relu"), (1, "sigmoid" if mended else "softmax")]
    return stack((3,), parts, "binary_crossentropy", "rmsprop"), x, y


@program("stats.SE 433365", "head", "loss", epochs=30)
def exclusive_or_by_relu_and_squares(mended):
    x = np.random.default_rng(0).permutation(np.tile([[0, 0], [0, 1], [1, 0], [1, 1]], (500, 1)))
    x, y = x.astype("float32"), (x[:, :1] ^ x[:, 1:]).astype("float32")
    if mended:
        parts = [(2, "relu"), (2, "relu"), (1, "sigmoid")]
        return stack((2,), parts, "binary_crossentropy", "sgd"), x, y
    return stack((2,), [(2,), (2, "relu"), (1, "relu")], "mse", "sgd"), x, y


@program("SO 52441877", "head", "inputs", "labels", epochs=40)
def an_autoencoder_of_0_to_255_by_softmax(mended):
    x, _ = digits(1 if mended else 255)
    hidden = [(units, "relu") for units in (32, 16, 8, 16, 32)]
    parts = [*hidden, (64, "sigmoid" if mended else "softmax")]
    return stack((64,), parts, "binary_crossentropy"), x, x
