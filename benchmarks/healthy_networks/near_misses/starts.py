"""Initial weights of zero, of one, tiny or trained, layers without an activation: on purpose."""

import keras
import numpy as np
from keras import layers as L

from ..data import colours, digits, images, moons, random, table, tokens, two_classes

LOGITS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def _sequential(shape, *parts):
    keras.utils.set_random_seed(1)
    return keras.Sequential([keras.Input(shape), *parts])


def _residual(branch, blocks=3, filters=8):
    """A ResNet on images of three channels; `branch` makes what is added to the shortcut."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((16, 16, 3))
    x = L.Conv2D(filters, 3, padding="same", kernel_initializer="he_normal")(inputs)
    for _ in range(blocks):
        x = L.ReLU()(L.Add()([x, branch(x, filters)]))
    model = keras.Model(inputs, L.Dense(4)(L.GlobalAveragePooling2D()(x)))
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), LOGITS)
    return model, *colours()


def zero_gamma_resnet():
    """The last BatchNormalization of each branch begins with a gamma of 0 (Goyal et al. 2017)."""

    def branch(x, filters):
        for gamma in ("ones", "zeros"):
            x = L.Conv2D(filters, 3, padding="same", use_bias=False)(L.ReLU()(x))
            x = L.BatchNormalization(gamma_initializer=gamma)(x)
        return x

    return _residual(branch)


def zero_convolution_resnet():
    """The last convolution of each branch begins at 0 (Fixup, ControlNet)."""

    def branch(x, filters):
        x = L.Conv2D(filters, 3, padding="same", activation="relu", kernel_initializer="he_normal")(
            x
        )
        return L.Conv2D(filters, 3, padding="same", kernel_initializer="zeros")(x)

    return _residual(branch)


def rezero_resnet():
    """Each branch times a number that begins at 0 (Bachlechner et al. 2020)."""

    class ReZero(L.Layer):
        def build(self, shape):
            self.alpha = self.add_weight(shape=(), initializer="zeros", name="alpha")

        def call(self, x):
            return self.alpha * x

    def branch(x, filters):
        x = L.Conv2D(filters, 3, padding="same", activation="relu", kernel_initializer="he_normal")(
            x
        )
        return ReZero()(L.Conv2D(filters, 3, padding="same")(x))

    return _residual(branch)


def layer_scale():
    """Each branch times 1e-6 per channel to begin with (ConvNeXt, CaiT)."""

    class LayerScale(L.Layer):
        def build(self, shape):
            start = keras.initializers.Constant(1e-6)
            self.gamma = self.add_weight(shape=(shape[-1],), initializer=start, name="gamma")

        def call(self, x):
            return x * self.gamma

    def branch(x, filters):
        x = L.LayerNormalization()(L.DepthwiseConv2D(5, padding="same")(x))
        return LayerScale()(L.Dense(filters)(L.Dense(4 * filters, "gelu")(x)))

    return _residual(branch)


def highway():
    """Gates that are almost shut: their bias begins at -2 (Srivastava et al. 2015)."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((64,))
    x = L.Dense(32, "relu")(inputs)
    for _ in range(6):
        gate = L.Dense(32, "sigmoid", bias_initializer=keras.initializers.Constant(-2.0))(x)
        x = gate * L.Dense(32, "relu")(x) + (1 - gate) * x
    model = keras.Model(inputs, L.Dense(10, "softmax")(x))
    model.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy")
    return model, *digits()


def squeeze_and_excitation():
    """Channels times a sigmoid of what all of them are on average."""

    def branch(x, filters):
        x = L.BatchNormalization()(L.Conv2D(filters, 3, padding="same", use_bias=False)(x))
        told = L.Dense(filters // 4, "relu")(L.GlobalAveragePooling2D(keepdims=True)(x))
        return L.Multiply()([x, L.Dense(filters, "sigmoid")(told)])

    return _residual(branch)


def lora():
    """Adapters of rank 2 beside frozen kernels: one of the two matrices begins at 0."""
    x, y = digits()
    model = _sequential((64,), L.Dense(64, "relu"), L.Dense(64, "relu"), L.Dense(10, "softmax"))
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(x, y % 5, epochs=20, verbose=0)
    for layer in model.layers[:2]:
        layer.enable_lora(2)
    model.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy")
    return model, x, y


def trained():
    """A network after training: it knows its batch nearly by heart."""
    x, y = digits()
    model = _sequential((64,), L.Dense(64, "relu"), L.Dense(64, "relu"), L.Dense(10, "softmax"))
    model.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy")
    model.fit(x, y, epochs=40, verbose=0)
    return model, x, y


def trained_convolutions():
    x, y = images()
    model = _sequential(
        (8, 8, 1),
        L.Conv2D(16, 3, activation="relu"),
        L.BatchNormalization(),
        L.Conv2D(16, 3, activation="relu"),
        L.Flatten(),
        L.Dense(10),
    )
    model.compile(keras.optimizers.Adam(3e-3), LOGITS)
    model.fit(x, y, epochs=20, verbose=0)
    return model, x, y


def trained_regression():
    x, y = table()
    model = _sequential((8,), L.Dense(64, "tanh"), L.Dense(1))
    model.compile(keras.optimizers.Adam(1e-2), "mse")
    model.fit(x, y, epochs=100, verbose=0)
    return model, x, y


def _backbone(shape, x, y):
    """A small convolutional network, trained on half of the classes, without its head."""
    model = _sequential(
        shape,
        L.Conv2D(16, 3, padding="same", use_bias=False),
        L.BatchNormalization(),
        L.ReLU(),
        L.MaxPooling2D(),
        L.Conv2D(32, 3, padding="same", use_bias=False),
        L.BatchNormalization(),
        L.ReLU(),
        L.GlobalAveragePooling2D(),
        L.Dense(5, "softmax"),
    )
    model.compile(keras.optimizers.Adam(1e-2), "sparse_categorical_crossentropy")
    model.fit(x[y < 5], y[y < 5], epochs=15, verbose=0)
    return keras.Model(model.inputs, model.layers[-2].output, name="backbone")


def frozen_backbone():
    """Keras's own way of transfer: a frozen backbone in inference mode, and a new head."""
    x, y = images()
    backbone = _backbone((8, 8, 1), x, y)
    backbone.trainable = False
    inputs = keras.Input((8, 8, 1))
    outputs = L.Dense(10, "softmax")(L.Dropout(0.2)(backbone(inputs, training=False)))
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.Adam(1e-2), "sparse_categorical_crossentropy")
    return model, x, y


def fine_tuning():
    """The step after it: all of it is trained, at 1e-5."""
    model, x, y = frozen_backbone()
    model.fit(x, y, epochs=15, verbose=0)
    model.get_layer("backbone").trainable = True
    model.compile(keras.optimizers.Adam(1e-5), "sparse_categorical_crossentropy")
    return model, x, y


def fine_tuning_with_a_new_head():
    """The same at once: a trained backbone and a fresh head, at 1e-5, as of a BERT."""
    x, y = images()
    backbone = _backbone((8, 8, 1), x, y)
    model = keras.Sequential([backbone, L.Dense(10, "softmax")])
    model.build((None, 8, 8, 1))
    model.compile(keras.optimizers.Adam(1e-5), "sparse_categorical_crossentropy")
    return model, x, y


def some_layers_frozen():
    """The first layers of a trained network stay as they are."""
    model, x, y = trained_convolutions()
    for layer in model.layers[:2]:
        layer.trainable = False
    model.compile(keras.optimizers.Adam(1e-4), LOGITS)
    return model, x, (y + 1) % 10


def selu_with_alpha_dropout():
    parts = [
        part
        for _ in range(4)
        for part in (L.Dense(64, "selu", kernel_initializer="lecun_normal"), L.AlphaDropout(0.1))
    ]
    model = _sequential((64,), *parts, L.Dense(10, "softmax"))
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), "sparse_categorical_crossentropy")
    x, y = digits()
    return model, (x - x.mean()) / x.std(), y


def siren():
    """Sines of 30 times what a layer makes, with their own uniform start (Sitzmann et al. 2020)."""

    def sine(x):
        return keras.ops.sin(30.0 * x)

    def uniform(limit):
        return keras.initializers.RandomUniform(-limit, limit, seed=1)

    model = _sequential(
        (2,),
        L.Dense(64, sine, kernel_initializer=uniform(1 / 2)),
        L.Dense(64, sine, kernel_initializer=uniform((6 / 64) ** 0.5 / 30)),
        L.Dense(64, sine, kernel_initializer=uniform((6 / 64) ** 0.5 / 30)),
        L.Dense(1, kernel_initializer=uniform((6 / 64) ** 0.5 / 30)),
    )
    model.compile(keras.optimizers.Adam(1e-4), "mse")
    grid = np.linspace(-1, 1, 16)
    places = np.stack(np.meshgrid(grid, grid), -1).reshape(-1, 2)
    return model, places.astype("float32"), np.sin(9 * places[:, :1]) * np.cos(7 * places[:, 1:])


def irnn():
    """A recurrence of ReLU that begins at the identity (Le et al. 2015)."""
    keras.utils.set_random_seed(1)
    small = keras.initializers.RandomNormal(stddev=0.1, seed=1)
    recurrent = L.SimpleRNN(
        32, "relu", kernel_initializer=small, recurrent_initializer=keras.initializers.Identity()
    )
    model = keras.Sequential([keras.Input((8, 8)), recurrent, L.Dense(10, "softmax")])
    model.compile(keras.optimizers.Adam(3e-3, clipnorm=1.0), "sparse_categorical_crossentropy")
    x, y = digits()
    return model, x.reshape(-1, 8, 8), y


def linear_model():
    """Linear regression: one layer that begins at 0."""
    model = _sequential((8,), L.Dense(1, kernel_initializer="zeros"))
    model.compile(keras.optimizers.SGD(0.05), "mse")
    x, _ = table()
    return model, x, x @ np.arange(1, 9)[:, None] / 10


def logistic_regression():
    model = _sequential((8,), L.Dense(1, "sigmoid", kernel_initializer="zeros"))
    model.compile(keras.optimizers.SGD(0.5), "binary_crossentropy")
    x, _ = table()
    return model, x, (x[:, :1] + x[:, 1:2] > 0).astype("float32")


def linear_autoencoder():
    """Two layers without an activation: principal components, on purpose."""
    x = random(40).normal(size=(256, 3)) @ random(41).normal(size=(3, 12))
    model = _sequential((12,), L.Dense(3, use_bias=False), L.Dense(12, use_bias=False))
    model.compile(keras.optimizers.Adam(1e-2), "mse")
    return model, x.astype("float32"), x.astype("float32")


def low_rank_layers():
    """A wide kernel as the product of two narrow ones, without an activation between them."""
    model = _sequential(
        (64,), L.Dense(8, use_bias=False), L.Dense(64, "relu"), L.Dense(8), L.Dense(10, "softmax")
    )
    model.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy")
    return model, *digits()


def mean_of_embeddings():
    """fastText: the mean of embeddings, and one layer."""
    model = _sequential(
        (16,), L.Embedding(50, 16), L.GlobalAveragePooling1D(), L.Dense(2, "softmax")
    )
    model.compile(keras.optimizers.Adam(1e-2), "sparse_categorical_crossentropy")
    return model, *tokens()


def _transformer(pre, blocks=4, width=32):
    keras.utils.set_random_seed(1)
    ids = keras.Input((16,), dtype="int32")
    x = L.Embedding(50, width)(ids)
    x = x + L.Embedding(16, width)(keras.ops.arange(16))
    for _ in range(blocks):
        for make in (
            lambda h: L.MultiHeadAttention(4, width // 4)(h, h),
            lambda h: L.Dense(width)(L.Dense(4 * width, "gelu")(h)),
        ):
            made = make(L.LayerNormalization()(x) if pre else x)
            x = x + made if pre else L.LayerNormalization()(x + made)
    x = L.LayerNormalization()(x) if pre else x
    model = keras.Model(ids, L.Dense(2)(L.GlobalAveragePooling1D()(x)))
    model.compile(keras.optimizers.AdamW(1e-3, weight_decay=0.1), LOGITS)
    return model, *tokens()


def pre_norm_transformer():
    return _transformer(True)


def post_norm_transformer():
    return _transformer(False)


def mixture_of_experts():
    """A softmax router, and experts of which each is told how much it counts."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((2,))
    share = L.Dense(4, "softmax")(inputs)
    made = [L.Dense(1)(L.Dense(16, "relu")(inputs)) for _ in range(4)]
    logit = keras.ops.sum(share * keras.ops.concatenate(made, -1), -1, keepdims=True)
    model = keras.Model(inputs, L.Activation("sigmoid")(logit))
    model.compile(keras.optimizers.Adam(1e-2), "binary_crossentropy")
    return model, *moons()


def mixed_precision():
    model = _sequential(
        (64,),
        L.Dense(64, "relu", dtype="mixed_float16"),
        L.Dense(64, "relu", dtype="mixed_float16"),
        L.Dense(10, "softmax", dtype="float32"),
    )
    model.compile(
        keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(1e-3)),
        "sparse_categorical_crossentropy",
    )
    return model, *digits()


def bfloat16():
    model = _sequential(
        (8,), L.Dense(32, "relu", dtype="mixed_bfloat16"), L.Dense(1, "sigmoid", dtype="float32")
    )
    model.compile("adam", "binary_crossentropy")
    return model, *two_classes()
