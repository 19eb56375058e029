"""Sixty MLPs that are initialized as they should be: by depth, width, activation, data, loss."""

import itertools

import keras

from . import Case
from .data import digits, one_hot, standard, table

# He for what cuts half of the signal off, Glorot for what is about linear at 0.
START = {
    **dict.fromkeys(("relu", "leaky_relu", "elu", "gelu", "swish"), "he_normal"),
    "selu": "lecun_normal",
    "tanh": "glorot_uniform",
}
DEPTHS = (1, 2, 3, 5, 8)
WIDTHS = (16, 64, 256)
# What is on the outside: data, head, loss, optimizer.
ENDS = ("classes", "logits", "numbers", "categories")


def mlp(depth, width, activation, end, seed):
    keras.utils.set_random_seed(seed)
    x, y = digits()
    if end == "numbers":
        x, y = table()
    elif end == "categories":
        x, y = standard(x), one_hot(y, 10)
    head, loss, optimizer = {
        "classes": ("softmax", "sparse_categorical_crossentropy", "adam"),
        "logits": (
            None,
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            keras.optimizers.SGD(0.05 / depth, momentum=0.9),
        ),
        "numbers": (None, "mse", keras.optimizers.Adam(3e-3)),
        "categories": ("softmax", "categorical_crossentropy", "rmsprop"),
    }[end]
    model = keras.Sequential([keras.Input(x.shape[1:])])
    for _ in range(depth):
        model.add(keras.layers.Dense(width, activation, kernel_initializer=START[activation]))
    model.add(keras.layers.Dense(1 if end == "numbers" else 10, head))
    model.compile(optimizer, loss)
    return model, x, y


def cases():
    """Sixty of all combinations, each value of each column in many of them."""
    rows = itertools.product(DEPTHS, WIDTHS, ENDS)
    found = []
    for n, (depth, width, end) in enumerate(rows):
        activation = list(START)[(n + n // 7) % len(START)]
        name = f"{depth} × {width} {activation}, {end}"
        found.append(Case(name, lambda a=(depth, width, activation, end, n): mlp(*a)))
    return found
