"""Reports on GitHub and elsewhere that nobody who wrote the rules had looked at.

The id is repository#number. Faults: what the thread found, mended as it was there.
Left out, as they learn in small: cifar-vgg#1, keras#6914, ProteomicsML#203, gordo#268.
"""

from functools import partial

import keras
import numpy as np
from keras import layers

from fault_programs.data import colour_images, digits, images, iris, one_hot, standard
from fault_programs.program import (
    adam,
    conv,
    dropout,
    flatten,
    norm,
    pool,
    program,
    sgd,
    stack,
    uniform,
)


@program("tensorflow#21738", "initial", epochs=4)
def digits_by_weights_of_0_to_1(mended):
    """What tf.keras made of "uniform" then."""
    x, y = digits()
    x = x.reshape(-1, 8, 8).repeat(3, 1).repeat(3, 2).reshape(-1, 576)
    start = "glorot_uniform" if mended else (lambda: keras.initializers.RandomUniform(0.0, 1.0))
    parts = [(512, "relu"), dropout(0.2), (10, "softmax")]
    return stack((576,), parts, "sparse_categorical_crossentropy", "adam", start), x, y


@program("TensorFlow-Tutorials#83", "initial", epochs=20)
def a_discriminator_whose_deviation_is_a_whole_number(mended):
    """1/784 was 0 in Python 2; of the two networks there, the one that judges images."""
    keras.utils.set_random_seed(1)
    real, _ = digits(examples=256)
    x = np.concatenate([real, np.random.default_rng(0).uniform(0.3, 0.7, (256, 64))])
    y = np.repeat([1.0, 0.0], 256)[:, None].astype("float32")
    order = np.random.default_rng(1).permutation(512)
    drawn = [keras.initializers.RandomNormal(stddev=1 / n if mended else 0.0) for n in (64, 100)]
    model = keras.Sequential(
        [
            keras.Input((64,)),
            layers.Dense(100, "tanh", kernel_initializer=drawn[0]),
            layers.Dense(1, kernel_initializer=drawn[1]),
        ]
    )
    model.compile(adam(), keras.losses.BinaryCrossentropy(from_logits=True))
    return model, x[order].astype("float32"), y[order]


@program("tensorflow#2374", "initial", epochs=20)
def a_second_convolution_of_small_weights(mended):
    x, y = colour_images()
    draw = lambda std: keras.initializers.RandomNormal(stddev=std)  # noqa: E731
    parts = [
        conv(32, 5, kernel_initializer=draw(1e-4)),
        pool,
        conv(32, 5, kernel_initializer=draw(0.01 if mended else 1e-4)),
        pool,
        conv(32, 3, kernel_initializer=draw(0.04)),
        conv(16, 3, kernel_initializer=draw(0.04)),
        flatten,
        (10, "softmax"),
    ]
    model = stack((16, 16, 3), parts, "sparse_categorical_crossentropy", sgd(0.1))
    return model, standard(x), y


@program("language-modeling#3", "rate", epochs=15, batch=20)
def the_next_word_by_adam_of_one(mended):
    random = np.random.default_rng(0)
    follows = random.integers(0, 30, (30, 2))
    words = [0]
    for other in random.random(1000) < 0.15:
        words.append(follows[words[-1], int(other)] if random.random() > 0.05 else words[-1] // 2)
    windows = np.lib.stride_tricks.sliding_window_view(np.array(words), 4)
    recurrent = partial(layers.LSTM, 32, return_sequences=True)
    parts = [partial(layers.Embedding, 30, 32), recurrent, recurrent, dropout(0.5), (30, "softmax")]
    optimizer = adam(0.001 if mended else 1.0)
    model = stack((3,), parts, "categorical_crossentropy", optimizer)
    return model, windows[:, :3].astype("int32"), one_hot(windows[:, 1:], 30)


@program("UNET-TGS#8", "labels", epochs=40, batch=8)
def masks_of_0_and_255(mended):
    random = np.random.default_rng(0)
    centres, sizes = random.uniform(4, 12, (128, 2)), random.uniform(2, 5, 128)
    grid = np.moveaxis(np.mgrid[:16, :16], 0, -1)
    inside = np.linalg.norm(grid - centres[:, None, None], axis=-1) < sizes[:, None, None]
    x = 0.35 + 0.3 * inside + 0.15 * random.normal(size=inside.shape)
    keras.utils.set_random_seed(1)
    block = lambda n, of: layers.Activation("relu")(  # noqa: E731
        norm()(layers.Conv2D(n, 3, padding="same", kernel_initializer="he_normal")(of))
    )
    inputs = keras.Input((16, 16, 1))
    first = block(8, inputs)
    second = block(16, layers.Dropout(0.1)(pool()(first)))
    up = layers.Conv2DTranspose(8, 3, strides=2, padding="same")(second)
    last = block(8, layers.concatenate([up, first]))
    model = keras.Model(inputs, layers.Conv2D(1, 1, activation="sigmoid")(last))
    model.compile(adam(), "binary_crossentropy")
    y = inside * (1.0 if mended else 255.0)
    return model, x[..., None].astype("float32"), y[..., None].astype("float32")


@program("keras#508", "inputs")
def flowers_in_cm_by_small_tanhs(mended):
    x, y = iris()
    parts = [(10, "tanh"), dropout(0.5), (10, "tanh"), dropout(0.5), (3, "softmax")]
    model = stack((4,), parts, "categorical_crossentropy", sgd(0.1, 0.9), uniform())
    return model, standard(x) if mended else x, one_hot(y, 3)


@program("keras#741", "head", "loss", epochs=40)
def several_labels_at_once_by_softmax(mended):
    random = np.random.default_rng(0)
    y = (random.random((400, 7)) < 0.3).astype("float32")
    x = y @ random.normal(size=(7, 20)) + 0.3 * random.normal(size=(400, 20))
    hidden = [(64, "relu"), (64, "relu")]
    if mended:
        model = stack((20,), [*hidden, (7, "sigmoid")], "binary_crossentropy")
    else:
        model = stack((20,), [*hidden, (7, "softmax")], "categorical_crossentropy")
    return model, standard(x), y


@program("reinforcement-learning#104", "head", epochs=20)
def values_of_actions_by_a_relu(mended):
    """As if all were replayed at once; in Pong most values are negative."""
    x, y = images()
    values = np.random.default_rng(0).uniform(-1, 0.3, (10, 4)).astype("float32")
    parts = [conv(16), conv(32), flatten, (128, "relu"), (4, None if mended else "relu")]
    optimizer = keras.optimizers.RMSprop(0.00025, rho=0.99)
    return stack((8, 8, 1), parts, "mse", optimizer), x, values[y]
