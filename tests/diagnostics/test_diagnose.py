"""What can be diagnosed, that nothing of it stays, and what comes out."""

import doctest
import importlib
import json
import random

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfinit
from tfinit.diagnostics import KINDS, diagnose
from tfinit.errors import InputError


def batch(n=32, size=8, classes=4):
    generator = np.random.default_rng(0)
    x = generator.normal(size=(n, size)).astype("float32")
    return x, generator.integers(0, classes, n)


def test_the_model_is_untouched_bit_for_bit():
    inputs = keras.Input((8,))
    h = keras.layers.Dense(16, "relu", kernel_initializer="he_normal")(inputs)
    h = keras.layers.Dropout(0.5, seed=1)(keras.layers.BatchNormalization()(h))
    h = keras.layers.GaussianNoise(0.1)(h)
    # It sets its layer's kernel when it is called.
    h = keras.layers.SpectralNormalization(keras.layers.Dense(8))(h)
    model = keras.Model(inputs, keras.layers.Dense(4)(h))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss, metrics=["accuracy"])
    x, y = batch()
    model.fit(x, y, batch_size=16, verbose=0)

    def state():
        variables = [*model.variables, *model.optimizer.variables, *model.metrics_variables]
        return [
            *(v.numpy().tobytes() for v in variables),
            random.getstate(),
            np.random.get_state()[1].tobytes(),
            [sorted(vars(layer)) for layer in model.layers],
        ]

    keras.utils.set_random_seed(3)
    before = state()
    first = diagnose(model, x, y)
    assert state() == before
    assert str(diagnose(model, x, y)) == str(first)  # and so it repeats
    assert "call" not in {name for layer in model.layers for name in vars(layer)}
    assert model.layers[1].activation is keras.activations.relu
    drawn = keras.random.normal((3,)).numpy()
    keras.utils.set_random_seed(3)
    np.testing.assert_array_equal(keras.random.normal((3,)).numpy(), drawn)


class Twice(keras.Model):
    """Subclassed: one layer called twice, another inside a layer of its own."""

    def __init__(self):
        super().__init__()
        self.shared = keras.layers.Dense(8, "tanh", name="shared")
        self.inner = keras.Sequential([keras.layers.Dense(8, "relu", name="hidden")], name="inner")
        self.last = keras.layers.Dense(4, name="last")

    def call(self, x):
        return self.last(keras.ops.relu(self.inner(self.shared(self.shared(x)))))


def test_subclassed_shared_and_nested_layers():
    x, y = batch()
    model = Twice()
    model(x)
    diagnosis = diagnose(model, x, y)
    assert [layer.key for layer in diagnosis.layers] == [
        "shared",
        "shared#2",
        "inner/hidden",
        "last",
    ]
    assert [layer.depth for layer in diagnosis.layers] == [1, 2, 3, 4]
    assert all(layer.linear_gradient.norm > 0 for layer in diagnosis.layers)


def test_several_inputs_and_outputs_embeddings_recurrence_attention_and_images():
    words = keras.Input((12,), dtype="int32", name="words")
    image = keras.Input((8, 8, 3), name="image")
    w = keras.layers.Embedding(50, 16, name="embed")(words)
    w = keras.layers.MultiHeadAttention(2, 8, name="attend")(w, w)
    w = keras.layers.Bidirectional(keras.layers.LSTM(6), name="both")(w)
    i = keras.layers.SeparableConv2D(8, 3, name="separable")(image)
    i = keras.layers.GlobalAveragePooling2D()(keras.layers.Activation("gelu")(i))
    joined = keras.layers.Concatenate()([w, i])
    outputs = [
        keras.layers.Dense(3, "softmax", name="kind")(joined),
        keras.layers.Dense(1, name="size")(joined),
    ]
    model = keras.Model({"words": words, "image": image}, outputs)
    diagnosis = diagnose(model)  # made-up inputs: words below 50
    assert any("N(0, 1)" in note for note in diagnosis.measurement.notes)
    frame = diagnosis.to_frame()
    kernels = list(frame["kernel"].dropna())
    assert len(kernels) == len(set(kernels)) == 13
    assert set(frame["layer"]) >= {"embed", "both/forward_lstm", "separable", "kind"}
    assert frame["weight_gradient_std"].notna().sum() == 13
    json.dumps(diagnosis.to_dict(), allow_nan=False)


def test_a_normalization_hides_the_scale_and_stops_nothing():
    layers = [keras.Input((8,))]
    for n in range(1, 5):
        std = 1000.0 if n == 3 else 0.35
        initializer = keras.initializers.RandomNormal(0, std, seed=n)
        layers += [
            keras.layers.Dense(8, use_bias=False, kernel_initializer=initializer, name=f"fc{n}"),
            keras.layers.LayerNormalization(),
            keras.layers.Activation("gelu"),
        ]
    model = keras.Sequential([*layers, keras.layers.Dense(4, name="output")])
    diagnosis = diagnose(model, *batch())
    assert diagnosis.healthy
    kinds = {finding.kind: finding for finding in diagnosis.findings}
    assert kinds["normalization hides it"].layer == "fc3"


def test_spectral_normalization_is_a_layer_with_a_kernel_and_no_normalization():
    dense = keras.layers.Dense(8, "relu", name="inside")
    wrapped = keras.layers.SpectralNormalization(dense, name="wrapped")
    model = keras.Sequential([keras.Input((8,)), wrapped, keras.layers.Dense(4, name="output")])
    layers = diagnose(model, *batch()).layers
    assert [(layer.key, layer.is_kernel) for layer in layers] == [
        ("wrapped", True),
        ("output", True),
    ]


def test_wrong_fans_of_a_depthwise_kernel():
    model = keras.Sequential(
        [
            keras.Input((8, 8, 256)),
            keras.layers.DepthwiseConv2D(3, name="depthwise"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(4, name="output"),
        ]
    )
    finding = next(f for f in diagnose(model).findings if f.kind == "wrong fans")
    # By the shape 9 · 256 in and 9 out; each output sums 9 products, each input enters 9.
    assert finding.layer == "depthwise"
    assert f"{np.sqrt((9 * 256 + 9) / 2 / 9):.2g} times too small" in finding.evidence
    assert "sums 9 products" in finding.evidence


def test_an_untrained_network_that_is_sure():
    x, y = batch()
    initializer = keras.initializers.RandomNormal(0, 10, seed=0)
    layers = [keras.Input((8,)), keras.layers.Dense(4, kernel_initializer=initializer, name="fc")]
    model = keras.Sequential(layers)
    diagnosis = diagnose(model, x, y)
    logits = x @ model.layers[0].kernel.numpy()
    loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits))
    assert diagnosis.measurement.start == (pytest.approx(float(loss), rel=1e-5), 4, "fc")
    assert [f.kind for f in diagnosis.severe] == ["confident start"]


def test_a_kernel_that_no_gradient_reaches():
    inputs = keras.Input((8,))
    h = keras.layers.Dense(8, name="cut")(inputs)
    h = keras.layers.Dense(4, name="output")(keras.ops.stop_gradient(h))
    finding = next(f for f in diagnose(keras.Model(inputs, h), *batch()).findings)
    assert (finding.kind, finding.layer) == ("vanishing", "cut")
    assert "'cut/kernel'" in finding.evidence


def test_zeros_at_the_end_of_branches_are_no_twins():
    """As Fixup starts: the first update makes these units different."""
    inputs = h = keras.Input((8,))
    for n in range(3):
        branch = keras.layers.Dense(8, "relu", kernel_initializer="he_normal")(h)
        branch = keras.layers.Dense(8, kernel_initializer="zeros", name=f"end{n}")(branch)
        h = keras.layers.Add()([h, branch])
    model = keras.Model(inputs, keras.layers.Dense(4, kernel_initializer="zeros")(h))
    diagnosis = diagnose(model, *batch())
    assert diagnosis.healthy
    assert all(w.twins.tied == 0 for layer in diagnosis.layers for w in layer.weights if w.twins)


@pytest.mark.parametrize(
    ("y", "loss", "message"),
    [
        (None, "mse", "`loss` was given without `y`"),
        (np.zeros(5), None, "`x` has 32 examples and `y` has"),
        (np.zeros((32, 7)), None, "`loss` is needed"),
        (np.zeros((32, 4)), "nonsense", "`loss` must be .* received 'nonsense'"),
    ],
)
def test_bad_input_is_refused(y, loss, message):
    x, _ = batch()
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
    with pytest.raises(InputError, match=message):
        diagnose(model, x, y, loss)
    assert "call" not in vars(model.layers[0])


def test_bad_models_are_refused():
    import tf_keras

    with pytest.raises(InputError, match="is not built"):
        diagnose(keras.Sequential([keras.layers.Dense(3)]))
    with pytest.raises(InputError, match="has no weights"):
        diagnose(keras.Sequential([keras.Input((3,)), keras.layers.ReLU()]))
    with pytest.raises(InputError, match="tf_keras"):
        diagnose(tf_keras.Sequential([tf_keras.layers.Dense(3, input_shape=(2,))]))
    with pytest.raises(InputError, match="takes"):
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3)])
        diagnose(model, np.zeros((4, 5), "float32"))


def test_kinds_and_figure():
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4, "relu", name="fc")])
    diagnosis = diagnose(model, *batch())
    assert set(KINDS) >= {finding.kind for finding in diagnosis.findings}
    figure = diagnosis.plot()
    assert len(figure.axes) == 4


def test_a_step_that_changes_nothing_is_no_minus_zero():
    layers = [keras.layers.Dense(4, "tanh", name="fc")]
    head = keras.layers.Dense(4, kernel_initializer="zeros", name="head")
    model = keras.Sequential([keras.Input((8,)), *layers, head])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    text = str(diagnose(model, *batch()))
    assert " 0" in text and " -0 " not in f"{text} ".replace("\n", " ")


@pytest.mark.parametrize("module", ["tfinit.diagnostics.diagnosis", "tfinit.probes"])
def test_examples_of_the_docstrings(module):
    names = {"keras": keras, "initialize": tfinit.initialize}
    module = importlib.import_module(module)
    assert doctest.testmod(module, extraglobs=names).attempted > 2
    assert doctest.testmod(module, extraglobs=names).failed == 0
