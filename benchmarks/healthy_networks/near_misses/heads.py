"""Heads, losses and targets of classes that look as if they did not fit."""

import keras
import numpy as np
from keras import layers as L
from keras import losses

from ..data import digits, masks, one_hot, random, table, tokens, two_classes
from .networks import mlp


def classes_as_a_column():
    """Class numbers of shape (rows, 1)."""
    x, y = digits()
    return mlp(64, 10, "softmax", "sparse_categorical_crossentropy"), x, y[:, None]


def classes_as_floats():
    """Class numbers that were read as floats."""
    x, y = digits()
    return mlp(64, 10, "softmax", "sparse_categorical_crossentropy"), x, y.astype("float32")


def two_units_for_two_classes():
    x, y = two_classes()
    model = mlp(8, 2, "softmax", "sparse_categorical_crossentropy")
    return model, x, y[:, 0].astype("int32")


def one_logit():
    x, y = two_classes()
    return mlp(8, 1, None, losses.BinaryCrossentropy(from_logits=True)), x, y


def one_probability_of_flat_targets():
    x, y = two_classes()
    return mlp(8, 1, "sigmoid", "binary_crossentropy"), x, y[:, 0]


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
    return mlp(64, 10, "softmax", "sparse_categorical_crossentropy"), x[y < 7], y[y < 7]


def label_smoothing():
    x, y = digits()
    return (
        mlp(64, 10, "softmax", losses.CategoricalCrossentropy(label_smoothing=0.1)),
        x,
        one_hot(y, 10),
    )


def label_smoothing_of_one_unit():
    x, y = two_classes()
    return mlp(8, 1, "sigmoid", losses.BinaryCrossentropy(label_smoothing=0.1)), x, y


def soft_targets():
    """Shares, as of a teacher or of mixup."""
    x, y = digits()
    shares = one_hot(y, 10) * 0.7 + random(20).dirichlet(np.ones(10), len(y)) * 0.3
    return mlp(64, 10, "softmax", "categorical_crossentropy"), x, shares.astype("float32")


def soft_targets_of_one_unit():
    x, y = two_classes()
    return mlp(8, 1, "sigmoid", "binary_crossentropy"), x, 0.1 + 0.8 * y


def divergence_from_a_teacher():
    x, y = digits()
    shares = one_hot(y, 10) * 0.9 + 0.01
    return mlp(64, 10, "softmax", "kl_divergence"), x, shares.astype("float32")


def focal_loss():
    x, y = two_classes(share=0.15)
    return mlp(8, 1, "sigmoid", losses.BinaryFocalCrossentropy(apply_class_balancing=True)), x, y


def focal_loss_of_classes():
    x, y = digits()
    return mlp(64, 10, "softmax", losses.CategoricalFocalCrossentropy()), x, one_hot(y, 10)


def squares_of_one_probability():
    """The Brier score: unusual, and it learns."""
    x, y = two_classes()
    return mlp(8, 1, "sigmoid", "mse"), x, y


def hinge():
    x, y = two_classes()
    return mlp(8, 1, "tanh", "hinge"), x, 2 * y - 1


def squared_hinge_of_a_linear_head():
    x, y = two_classes()
    return mlp(8, 1, None, "squared_hinge"), x, 2 * y - 1


def categorical_hinge():
    x, y = digits()
    return mlp(64, 10, None, "categorical_hinge"), x, one_hot(y, 10)


def several_labels():
    """Each of five sigmoids is a label of its own."""
    x, _ = table()
    y = (x[:, :5] + 0.5 * x[:, 3:8] > 0.4).astype("float32")
    return mlp(8, 5, "sigmoid", "binary_crossentropy"), x, y


def several_labels_of_which_one_is_set():
    """The same, where by chance each example has one label."""
    x, y = digits()
    return mlp(64, 10, "sigmoid", "binary_crossentropy"), x, one_hot(y, 10)


def several_logits():
    x, _ = table()
    y = (x[:, :5] > 0.8).astype("float32")
    return mlp(8, 5, None, losses.BinaryCrossentropy(from_logits=True)), x, y


def rare_class():
    """One of twenty is 1: it is rare, and there are enough of them."""
    x, y = two_classes(rows=512, share=0.05)
    return mlp(8, 1, "sigmoid", "binary_crossentropy"), x, y


def prior_bias():
    """The bias begins at the log-odds of a rare class."""
    x, y = two_classes(rows=512, share=0.03)
    start = keras.initializers.Constant(np.log(0.03 / 0.97))
    return mlp(8, 1, "sigmoid", "binary_crossentropy", bias_initializer=start), x, y


def prior_bias_of_classes():
    x, y = digits()
    keep = (y == 0) | (random(21).uniform(size=len(y)) < 0.1)
    prior = np.log(np.bincount(y[keep], minlength=10) / keep.sum() + 1e-3)
    start = keras.initializers.Constant(prior)
    model = mlp(64, 10, "softmax", "sparse_categorical_crossentropy", bias_initializer=start)
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
