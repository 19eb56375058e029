"""Architectures of the examples about series, sound and films."""

import keras
import numpy as np
from keras import layers as L
from keras import ops

from ..data import forecast, images, random, waves

SPARSE = "sparse_categorical_crossentropy"


def convolutional_classification():
    """Three blocks of Conv1D, BatchNormalization, ReLU; then the mean over time."""
    keras.utils.set_random_seed(4)
    model = keras.Sequential([keras.Input((32, 1))])
    for _ in range(3):
        model.add(L.Conv1D(32, 3, padding="same"))
        model.add(L.BatchNormalization())
        model.add(L.ReLU())
    model.add(L.GlobalAveragePooling1D())
    model.add(L.Dense(3, activation="softmax"))
    model.compile("adam", SPARSE, metrics=["sparse_categorical_accuracy"])
    return model, *waves()


def classification_by_a_transformer():
    """Attention over places of one channel; the residual is as narrow as the input."""
    keras.utils.set_random_seed(4)
    inputs = keras.Input((32, 1))
    x = inputs
    for _ in range(4):
        h = L.Dropout(0.1)(L.MultiHeadAttention(4, 32, dropout=0.1)(x, x))
        x = L.LayerNormalization(epsilon=1e-6)(h) + x
        h = L.Dropout(0.1)(L.Conv1D(4, 1, activation="relu")(x))
        x = L.LayerNormalization(epsilon=1e-6)(L.Conv1D(1, 1)(h)) + x
    x = L.GlobalAveragePooling1D(data_format="channels_last")(x + inputs)
    x = L.Flatten()(inputs + ops.expand_dims(x, 1))
    model = keras.Model(inputs, L.Dense(3, "softmax")(L.Dropout(0.2)(L.Dense(64, "relu")(x))))
    model.compile(keras.optimizers.Adam(1e-3), SPARSE)
    return model, *waves()


def weather():
    """An LSTM and one number, squares."""
    keras.utils.set_random_seed(4)
    inputs = keras.Input((20, 2))
    model = keras.Model(inputs, L.Dense(1)(L.LSTM(32)(inputs)))
    model.compile(keras.optimizers.Adam(1e-3), "mse")
    return model, *forecast()


def anomalies():
    """An autoencoder of strided convolutions over time."""
    keras.utils.set_random_seed(4)
    options = {"padding": "same", "strides": 2, "activation": "relu"}
    model = keras.Sequential(
        [
            keras.Input((32, 1)),
            L.Conv1D(32, 7, **options),
            L.Dropout(0.2),
            L.Conv1D(16, 7, **options),
            L.Conv1DTranspose(16, 7, **options),
            L.Dropout(0.2),
            L.Conv1DTranspose(32, 7, **options),
            L.Conv1DTranspose(1, 7, padding="same"),
        ]
    )
    model.compile(keras.optimizers.Adam(1e-3), "mse")
    x, _ = waves()
    return model, x, x


def next_frame():
    """ConvLSTM2D with normalizations; pixels by a sigmoid, binary cross-entropy."""
    keras.utils.set_random_seed(4)
    inputs = keras.Input((None, 16, 16, 1))
    x = inputs
    for size in (5, 3, 1):
        x = L.ConvLSTM2D(8, size, padding="same", return_sequences=True, activation="relu")(x)
        x = L.BatchNormalization()(x) if size > 1 else x
    model = keras.Model(inputs, L.Conv3D(1, 3, activation="sigmoid", padding="same")(x))
    model.compile(keras.optimizers.Adam(1e-3), "binary_crossentropy")
    frames = np.zeros((16, 7, 16, 16, 1), "float32")
    for n, (row, column) in enumerate(random(80).integers(0, 8, (16, 2))):
        for t in range(7):
            frames[n, t, row : row + 4, column + t // 2 : column + t // 2 + 4] = 1
    return model, frames[:, :-1], frames[:, 1:]


def speakers():
    """Spectra through residual blocks of Conv1D, ending in a wide Dense."""
    keras.utils.set_random_seed(4)
    inputs = keras.Input((64, 1))
    x = inputs
    for filters, convolutions in ((8, 2), (16, 2), (32, 3)):
        shortcut = L.Conv1D(filters, 1, padding="same")(x)
        for _ in range(convolutions - 1):
            x = L.Activation("relu")(L.Conv1D(filters, 3, padding="same")(x))
        x = L.Add()([L.Conv1D(filters, 3, padding="same")(x), shortcut])
        x = L.MaxPool1D(2, 2)(L.Activation("relu")(x))
    x = L.Flatten()(L.AveragePooling1D(3, 3)(x))
    x = L.Dense(64, "relu")(L.Dense(128, "relu")(x))
    model = keras.Model(inputs, L.Dense(3, "softmax")(x))
    model.compile("adam", SPARSE)
    x, y = waves(length=128)
    spectra = np.abs(np.fft.fft(x[..., 0], axis=1))[:, :64, None] / 16
    return model, spectra.astype("float32"), y


def wave_net():
    """Dilated causal convolutions, gates of tanh and sigmoid, a sum over all of them."""
    keras.utils.set_random_seed(4)
    inputs = keras.Input((32, 1))
    x = L.Conv1D(16, 1)(inputs)
    kept = []
    for n in range(4):
        options = {"dilation_rate": 2**n, "padding": "causal"}
        gate = L.Conv1D(16, 2, activation="sigmoid", **options)(x)
        made = L.Conv1D(16, 2, activation="tanh", **options)(x) * gate
        made = L.Conv1D(16, 1)(made)
        kept.append(made)
        x = x + made
    x = L.ReLU()(L.Add()(kept))
    model = keras.Model(inputs, L.Dense(3, "softmax")(L.GlobalAveragePooling1D()(x)))
    model.compile(keras.optimizers.Adam(5e-3), SPARSE)
    return model, *waves()


def captcha():
    """Convolutions, two bidirectional LSTMs, and the CTC loss."""
    keras.utils.set_random_seed(4)
    options = {"activation": "relu", "kernel_initializer": "he_normal", "padding": "same"}
    inputs = keras.Input((32, 16, 1))
    x = L.MaxPooling2D((2, 2))(L.Conv2D(16, 3, **options)(inputs))
    x = L.MaxPooling2D((1, 2))(L.Conv2D(32, 3, **options)(x))
    x = L.Dropout(0.2)(L.Dense(32, "relu")(L.Reshape((16, 128))(x)))
    for _ in range(2):
        x = L.Bidirectional(L.LSTM(16, return_sequences=True, dropout=0.25))(x)
    model = keras.Model(inputs, L.Dense(11, "softmax")(x))

    def ctc(y, output):
        rows = ops.shape(output)[0]
        logits = ops.log(ops.clip(output, 1e-7, 1.0))
        lengths = ops.full((rows,), 16, "int32"), ops.full((rows,), 2, "int32")
        return ops.ctc_loss(ops.cast(y, "int32"), logits, lengths[1], lengths[0], mask_index=10)

    model.compile(keras.optimizers.Adam(3e-3), ctc)
    x, y = images(size=16)
    rows = np.concatenate([x[:128], x[128:]], 1)
    return model, rows, np.stack([y[:128], y[128:]], 1)


def film_frames():
    """Vectors of frames, masked, through two GRUs."""
    keras.utils.set_random_seed(4)
    frames, mask = keras.Input((12, 32)), keras.Input((12,), dtype="bool")
    x = L.GRU(16, return_sequences=True)(frames, mask=mask)
    x = L.Dense(8, "relu")(L.Dropout(0.4)(L.GRU(8)(x)))
    model = keras.Model([frames, mask], L.Dense(3, "softmax")(x))
    model.compile("adam", SPARSE)
    rng = random(81)
    y = rng.integers(0, 3, 128)
    x = rng.normal(size=(128, 12, 32)) + rng.normal(size=(3, 32))[y][:, None]
    return model, [x.astype("float32"), np.arange(12) < rng.integers(6, 13, (128, 1))], y


def traffic():
    """A graph convolution over stations, an LSTM over time, numbers for each station."""
    keras.utils.set_random_seed(4)
    near = np.eye(6) + np.roll(np.eye(6), 1, 0) + np.roll(np.eye(6), -1, 0)
    near = ops.convert_to_tensor(near / 3, "float32")
    inputs = keras.Input((8, 6, 1))
    h = ops.einsum("btnc,nm->btmc", L.Dense(8)(inputs), near)
    x = ops.relu(ops.concatenate([L.Dense(8)(inputs), h], -1))
    x = ops.reshape(ops.transpose(x, (0, 2, 1, 3)), (-1, 8, 16))
    x = L.Dense(3)(L.LSTM(16, activation="relu")(x))
    model = keras.Model(inputs, ops.transpose(ops.reshape(x, (-1, 6, 3)), (0, 2, 1)))
    model.compile(keras.optimizers.RMSprop(2e-3), "mse")
    steps = np.arange(128)[:, None, None] + np.arange(11)[None, :, None]
    series = np.sin(steps / 3 + np.arange(6)).astype("float32")
    return model, series[:, :8, :, None], series[:, 8:]
