"""Architectures of the examples that make images, and of those with steps of their own."""

import keras
import numpy as np
from keras import layers as L
from keras import ops

from ..data import images, masks, random


class Sampling(L.Layer):
    """Draws from N(mean, e^log_variance)."""

    def __init__(self, **options):
        super().__init__(**options)
        self.noise = keras.random.SeedGenerator(5)

    def call(self, inputs):
        mean, log = inputs
        return mean + ops.exp(0.5 * log) * keras.random.normal(ops.shape(mean), seed=self.noise)


def _encoder():
    inputs = keras.Input((8, 8, 1))
    x = L.Conv2D(32, 3, activation="relu", strides=2, padding="same")(inputs)
    x = L.Conv2D(64, 3, activation="relu", strides=2, padding="same")(x)
    x = L.Dense(16, "relu")(L.Flatten()(x))
    mean, log = L.Dense(2, name="z_mean")(x), L.Dense(2, name="z_log_var")(x)
    return keras.Model(inputs, [mean, log, Sampling()([mean, log])])


def _decoder():
    inputs = keras.Input((2,))
    x = L.Reshape((2, 2, 64))(L.Dense(2 * 2 * 64, "relu")(inputs))
    x = L.Conv2DTranspose(64, 3, activation="relu", strides=2, padding="same")(x)
    x = L.Conv2DTranspose(32, 3, activation="relu", strides=2, padding="same")(x)
    return keras.Model(inputs, L.Conv2DTranspose(1, 3, activation="sigmoid", padding="same")(x))


class Variational(keras.Model):
    """Reconstruction and divergence, in a loss of its own."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = _encoder(), _decoder()

    def call(self, x):
        mean, log, z = self.encoder(x)
        return {"image": self.decoder(z), "mean": mean, "log": log}

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        off = keras.losses.binary_crossentropy(x, y_pred["image"])
        mean, log = y_pred["mean"], y_pred["log"]
        divergence = -0.5 * ops.sum(1 + log - ops.square(mean) - ops.exp(log), axis=1)
        return ops.mean(ops.sum(off, axis=(1, 2))) + ops.mean(divergence)


def variational_autoencoder():
    keras.utils.set_random_seed(5)
    model = Variational()
    model.build((None, 8, 8, 1))
    model.compile(keras.optimizers.Adam(1e-3))
    x, _ = images()
    return model, x, x


def encoder_alone():
    """Three outputs, no loss."""
    keras.utils.set_random_seed(5)
    return _encoder(), images()[0], None


def decoder_alone():
    keras.utils.set_random_seed(5)
    return _decoder(), None, None


def generator_of_a_gan():
    """Noise and a class; transposed convolutions, a sigmoid; no loss of its own."""
    keras.utils.set_random_seed(5)
    model = keras.Sequential(
        [
            keras.Input((42,)),
            L.Dense(2 * 2 * 42),
            L.LeakyReLU(negative_slope=0.2),
            L.Reshape((2, 2, 42)),
            L.Conv2DTranspose(32, 4, strides=2, padding="same"),
            L.LeakyReLU(negative_slope=0.2),
            L.Conv2DTranspose(32, 4, strides=2, padding="same"),
            L.LeakyReLU(negative_slope=0.2),
            L.Conv2D(1, 7, padding="same", activation="sigmoid"),
        ]
    )
    noise = random(90).normal(size=(64, 32))
    classes = np.eye(10)[random(91).integers(0, 10, 64)]
    return model, np.concatenate([noise, classes], 1).astype("float32"), None


def generator_of_a_wgan():
    """Without biases, normalized, tanh at its end."""
    keras.utils.set_random_seed(5)
    inputs = keras.Input((32,))
    x = L.LeakyReLU(0.2)(L.BatchNormalization()(L.Dense(2 * 2 * 64, use_bias=False)(inputs)))
    x = L.Reshape((2, 2, 64))(x)
    for filters in (32, 16):
        x = L.UpSampling2D((2, 2))(x)
        x = L.Conv2D(filters, 3, padding="same", use_bias=False)(x)
        x = L.LeakyReLU(0.2)(L.BatchNormalization()(x))
    x = L.BatchNormalization()(L.Conv2D(1, 3, padding="same", use_bias=False)(x))
    return keras.Model(inputs, L.Activation("tanh")(x)), random(92).normal(size=(64, 32)), None


def critic_of_a_wgan():
    """A linear number, no loss of its own."""
    keras.utils.set_random_seed(5)
    inputs = keras.Input((16, 16, 1))
    x = inputs
    for filters in (16, 32, 64):
        x = L.LeakyReLU(0.2)(L.Conv2D(filters, 5, strides=2, padding="same")(x))
        x = L.Dropout(0.3)(x)
    return keras.Model(inputs, L.Dense(1)(L.Dropout(0.2)(L.Flatten()(x)))), images(size=16)[0], None


def cycle_generator():
    """Residual blocks; kernels of N(0, 0.02), gammas too, as CycleGAN's."""
    keras.utils.set_random_seed(5)

    def small():
        return keras.initializers.RandomNormal(0.0, 0.02)

    def normal():
        return L.GroupNormalization(groups=-1, gamma_initializer=small())

    inputs = keras.Input((16, 16, 3))
    x = L.Conv2D(16, 7, padding="same", kernel_initializer=small(), use_bias=False)(inputs)
    x = L.Activation("relu")(normal()(x))
    for _ in range(3):
        h = L.Conv2D(16, 3, padding="same", kernel_initializer=small(), use_bias=False)(x)
        h = L.Activation("relu")(normal()(h))
        h = L.Conv2D(16, 3, padding="same", kernel_initializer=small(), use_bias=False)(h)
        x = L.add([normal()(h), x])
    outputs = L.Activation("tanh")(L.Conv2D(3, 7, padding="same")(x))
    return keras.Model(inputs, outputs), random(93).uniform(-1, 1, (16, 16, 16, 3)), None


def noise_of_a_diffusion():
    """What noise was added, told the share of it; the last convolution begins at 0."""
    keras.utils.set_random_seed(5)
    image, share = keras.Input((16, 16, 1)), keras.Input((1, 1, 1))
    waves = ops.sin(share * ops.exp(ops.linspace(0.0, 6.0, 8)))
    x = L.Concatenate()(
        [L.Conv2D(16, 1)(image), L.UpSampling2D(16, interpolation="nearest")(waves)]
    )

    def block(x, filters):
        shortcut = x if x.shape[-1] == filters else L.Conv2D(filters, 1)(x)
        x = L.BatchNormalization(center=False, scale=False)(x)
        x = L.Conv2D(filters, 3, padding="same", activation="swish")(x)
        return L.Add()([L.Conv2D(filters, 3, padding="same")(x), shortcut])

    wide = block(x, 16)
    x = block(L.AveragePooling2D(2)(wide), 32)
    x = L.UpSampling2D(interpolation="bilinear")(x)
    x = block(L.Concatenate()([x, wide]), 16)
    model = keras.Model([image, share], L.Conv2D(1, 1, kernel_initializer="zeros")(x))
    model.compile(keras.optimizers.AdamW(1e-3, weight_decay=1e-4), "mae")
    _, y = masks(rows=48)
    rng = random(94)
    part, noise = rng.uniform(0.1, 0.9, (48, 1, 1, 1)), rng.normal(size=y.shape)
    mixed = np.sqrt(1 - part) * (2 * y - 1) + np.sqrt(part) * noise
    return model, [mixed.astype("float32"), part.astype("float32")], noise.astype("float32")


def radiance():
    """NeRF: places as sines and cosines, eight layers, the places again after the fourth."""
    keras.utils.set_random_seed(5)
    inputs = keras.Input((18,))
    x = inputs
    for n in range(8):
        x = L.Dense(64, "relu")(x)
        if n % 4 == 0 and n > 0:
            x = L.concatenate([x, inputs], axis=-1)
    model = keras.Model(inputs, L.Dense(4)(x))
    model.compile("adam", "mse")
    places = random(95).uniform(-1, 1, (256, 3))
    waves = [f(2**k * places) for k in range(3) for f in (np.sin, np.cos)]
    told = np.stack([*(np.cos(2 * places).T), np.sin(places.sum(1))], 1)
    return model, np.concatenate(waves, 1).astype("float32"), told.astype("float32")


def pixel_cnn():
    """Masked convolutions in residual blocks, a sigmoid for each pixel."""

    class Masked(L.Layer):
        def __init__(self, **options):
            super().__init__()
            self.convolution = L.Conv2D(**options)

        def build(self, shape):
            self.convolution.build(shape)
            mask = np.zeros(self.convolution.kernel.shape, "float32")
            mask[: mask.shape[0] // 2] = 1
            mask[mask.shape[0] // 2, : mask.shape[1] // 2] = 1
            self.mask = mask

        def call(self, x):
            kernel = self.convolution.kernel * self.mask
            return ops.conv(x, kernel, padding="same") + self.convolution.bias

    keras.utils.set_random_seed(5)
    inputs = keras.Input((8, 8, 1))
    x = ops.relu(Masked(filters=32, kernel_size=7, padding="same")(inputs))
    for _ in range(2):
        h = L.Conv2D(16, 1, activation="relu")(x)
        h = ops.relu(Masked(filters=16, kernel_size=3, padding="same")(h))
        x = x + L.Conv2D(32, 1, activation="relu")(h)
    model = keras.Model(inputs, L.Conv2D(1, 1, activation="sigmoid")(x))
    model.compile(keras.optimizers.Adam(5e-4), "binary_crossentropy")
    x = (images()[0] > 0.4).astype("float32")
    return model, x, x
