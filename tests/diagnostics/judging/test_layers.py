"""Layers that stand where they do not belong, are missing, or let nothing through.

For each rule: the fault, what is like it and must stay quiet, and its cure, after which it trains.
"""

import keras
import numpy as np
import pytest
from diagnosed import losses_of

from tfinit.diagnostics import diagnose

L = keras.layers
X = np.random.default_rng(7).normal(size=(96, 4)).astype("float32")
HALVES = (X[:, 0] > 0).astype("int32")
QUARTERS = (X[:, 0] * X[:, 1] > 0).astype("int32")  # XOR: no line parts them
IMAGES = np.random.default_rng(8).normal(size=(32, 6, 6, 2)).astype("float32")
BRIGHT = (IMAGES.mean((1, 2, 3)) > 0).astype("int32")


def relu(units=32, **settings):
    return L.Dense(units, "relu", kernel_initializer=keras.initializers.HeNormal(1), **settings)


def dense(units=32, activation=None, **settings):
    kernel = keras.initializers.GlorotUniform(2)
    return L.Dense(units, activation, kernel_initializer=kernel, **settings)


def network(*layers, shape=(4,), loss="sparse_categorical_crossentropy", head="softmax", units=2):
    last = [dense(units, head, name="head")] if units else []
    model = keras.Sequential([keras.Input(shape), *layers, *last])
    return compiled(model, loss)


def compiled(model, loss="sparse_categorical_crossentropy"):
    model.compile(keras.optimizers.Adam(0.02), loss, jit_compile=False)
    return model


def found(model, x=X, y=HALVES):
    """(kind, severity, layer) of what the rules of these files find."""
    codes = [f"TFI{n}" for n in range(120, 140)]
    return [
        (f.kind, f.severity, f.layer) for f in diagnose(model, x, y).findings if f.rule in codes
    ]


def trains(model, x=X, y=HALVES, steps=40):
    losses = losses_of(model, x, y, steps)
    return losses[-1] < 0.6 * losses[0]


def test_layers_without_activations_are_one_linear_layer():
    straight = network(dense(name="a"), dense(name="b"))
    assert found(straight, y=QUARTERS) == [("linear network", "severe", "a")]
    assert not trains(straight, y=QUARTERS)
    # A line parts these, so that it learns; it is no better for its layers.
    assert found(network(dense(name="a"))) == [("linear network", "warning", "a")]
    narrow = network(dense(2, name="a"), head=None, units=4, loss="mse")
    assert found(narrow, y=X) == [("linear network", "note", "a")]
    assert found(network()) == []
    bent = network(relu(), relu())
    assert found(bent, y=QUARTERS) == []
    assert trains(bent, y=QUARTERS, steps=60)


def test_one_missing_activation_is_told_from_a_bottleneck():
    assert found(network(relu(), dense(name="a"))) == [("missing activation", "warning", "a")]
    assert found(network(relu(), dense(name="a"), L.Dropout(0.1)))[0][2] == "a"
    assert found(network(relu(), dense(1, name="narrow"), relu())) == []
    assert found(network(relu(), dense(), L.BatchNormalization(), L.ReLU())) == []
    assert found(network(relu(), dense(), L.LayerNormalization())) == []
    inputs = keras.Input((4,))
    straight = dense(16)(relu(16)(inputs))
    product = dense(16)(straight) * dense(16, "sigmoid")(straight)  # a gated linear unit
    assert found(compiled(keras.Model(inputs, dense(2, "softmax")(product)))) == []
    separable = [L.DepthwiseConv2D(3), L.Conv2D(8, 1), L.ReLU(), L.Flatten()]
    assert found(network(*separable, shape=(6, 6, 2)), IMAGES, BRIGHT) == []
    pooled = [L.Conv2D(8, 3), L.MaxPooling2D(), L.Flatten()]
    assert found(network(*pooled, shape=(6, 6, 2)), IMAGES, BRIGHT) == []


def test_softmax_is_no_hidden_activation():
    assert found(network(dense(32, "softmax", name="a"))) == [("hidden softmax", "warning", "a")]
    assert found(network(dense(), L.Softmax(), relu()))[0][0] == "hidden softmax"
    inputs = keras.Input((4,))
    gate = dense(32, "softmax")(inputs)  # of experts, or attention
    gated = compiled(keras.Model(inputs, dense(2, "softmax")(gate * relu()(inputs))))
    assert found(gated) == []
    assert found(network(relu())) == []


def test_sigmoids_in_a_row_leave_little_of_the_gradient():
    model = network(dense(16, "sigmoid", name="a"), dense(16, "sigmoid"))
    [finding] = [f for f in diagnose(model, X, HALVES).findings if f.rule == "TFI132"]
    assert (finding.kind, finding.severity, finding.layer) == ("hidden sigmoids", "warning", "a")
    assert [change.value for change in finding.changes] == ["relu", "relu"]
    assert found(network(relu(), relu())) == []
    assert found(network(dense(16, "sigmoid"))) == []


def test_dropout_near_one_lets_nothing_through():
    model = network(relu(), L.Dropout(0.99, seed=1, name="drop"))
    finding = diagnose(model, X, HALVES).severe[0]
    assert (finding.kind, finding.layer) == ("dropout", "drop")
    exec(finding.code, {"model": model})
    assert found(model) == []
    assert trains(model)
    assert found(network(relu(), L.Dropout(0.9, name="d"))) == [("dropout", "warning", "d")]
    assert found(network(relu(), dense(1, "tanh"), L.Dropout(0.5))) == []
    assert found(network(L.GaussianNoise(0.9), relu())) == []
    twice = [relu(), L.Dropout(0.7), L.Dropout(0.5, name="second")]
    assert found(network(*twice)) == [("dropout", "warning", "second")]
    assert found(network(relu(), L.Dropout(0.5), relu(), L.Dropout(0.7))) == []
    # With a way beside it the signal comes through.
    inputs = keras.Input((4,))
    hidden = relu()(inputs)
    both = L.Concatenate()([hidden, L.Dropout(0.99)(hidden)])
    assert [f[1] for f in found(compiled(keras.Model(inputs, dense(2, "softmax")(both))))] == [
        "warning"
    ]


def of_narrow_layers():
    """Each in front of dropout, and weights that any backend has."""
    parts = [(relu(n), L.Dropout(0.6, seed=n)) for n in (16, 16, 8, 8, 8)]
    model = network(*(part for pair in parts for part in pair))
    random = np.random.default_rng(0)
    for layer in model.layers[::2]:
        he = (2 / layer.kernel.shape[0]) ** 0.5
        layer.kernel.assign(random.normal(scale=he, size=layer.kernel.shape))
    model.layers[-1].kernel.assign(model.layers[-1].kernel / 4)
    model.optimizer.learning_rate = 0.005
    return model


@pytest.mark.backends
def test_dropout_behind_each_of_several_narrow_layers_leaves_little_to_learn():
    model = of_narrow_layers()
    diagnosis = diagnose(model, X, HALVES)
    tried = diagnosis.measurement.undropped
    assert [(f.kind, f.fault) for f in diagnosis.severe] == [("dropout", "activation")]
    assert tried.without < 0.6 * tried.before
    assert tried.dropped > 0.85 * tried.before
    (cure,) = (finding.code for finding in diagnosis.severe)
    exec(cure, {"model": model})
    assert [layer.rate for layer in model.layers[1::2]] == [0.1] * 5


def test_with_a_tenth_of_that_dropout_it_trains():
    model = of_narrow_layers()
    for layer in model.layers[1::2]:
        layer.rate = 0.1
    assert found(model) == []
    assert trains(model)
    # Half of one such layer is no matter.
    usual = diagnose(network(relu(16), L.Dropout(0.5)), X, HALVES)
    assert usual.healthy
    assert usual.measurement.undropped.left > 0.5


def test_frozen_weights_are_told_by_what_is_left():
    model = network(relu(name="a"))
    model.trainable = False
    finding = diagnose(model, X, HALVES).severe[0]
    assert (finding.kind, finding.fault) == ("frozen", "activation")
    exec(finding.code, {"model": model})
    assert found(model) == []
    assert trains(compiled(model))
    unused = keras.Sequential([keras.Input((4,)), relu(trainable=False)])
    assert diagnose(unused).healthy  # nobody said that it is to be trained
    scales = network(relu(trainable=False), L.BatchNormalization())
    scales.get_layer("head").trainable = False
    assert ("frozen", "warning", "") in found(scales)


def test_a_frozen_head_but_not_a_frozen_discriminator():
    model = network(relu(), relu())
    model.get_layer("head").trainable = False
    [finding] = [f for f in diagnose(model, X, HALVES).findings if f.kind == "frozen head"]
    assert finding.layer == "head"
    exec(finding.code, {"model": model})
    assert found(model) == []
    assert trains(compiled(model))
    judge = keras.Sequential([keras.Input((4,)), relu(), dense(2, "softmax")])
    judge.trainable = False
    making = [keras.Input((4,)), relu(), dense(4, "tanh"), judge]
    assert found(compiled(keras.Sequential(making))) == []


def test_a_base_that_was_never_trained():
    model = network(relu(name="a", trainable=False), relu(trainable=False))
    assert found(model) == [("untrained base", "warning", "a")]
    # Trained: its biases are not zero any more.
    for layer in model.layers[:2]:
        layer.bias.assign(np.random.default_rng(8).normal(size=32) / 100)
    assert found(model) == []
    # Recurrences are drawn orthogonal, and forget gates begin at 1.
    lstm = L.LSTM(16, trainable=False, name="lstm")
    model = compiled(keras.Sequential([keras.Input((6, 6)), lstm, dense(2, "softmax")]))
    assert found(model, IMAGES.mean(-1), BRIGHT) == [
        ("untrained base", "warning", "lstm/lstm_cell")
    ]


def test_batch_normalization_of_a_frozen_base():
    convs = [L.Conv2D(4, 3, padding="same", trainable=False, use_bias=False) for _ in range(3)]
    norms = [L.BatchNormalization(name=f"norm{n}") for n in range(3)]
    pairs = [layer for pair in zip(convs, norms, strict=True) for layer in (*pair, L.ReLU())]
    base = keras.Sequential([keras.Input((6, 6, 2)), *pairs, L.GlobalAveragePooling2D()])
    for conv in convs:
        conv.kernel.assign(np.random.default_rng(8).normal(size=conv.kernel.shape))

    def on_top(**how):
        inputs = keras.Input((6, 6, 2))
        return compiled(keras.Model(inputs, dense(2, "softmax")(base(inputs, **how))))

    kinds = [kind for kind, *_ in found(on_top(), IMAGES, BRIGHT)]
    assert kinds == ["base in training mode"]
    base.trainable = False
    assert found(on_top(), IMAGES, BRIGHT) == []


def test_answers_for_each_row_where_one_is_asked_for():
    rows, y = IMAGES.mean(-1), BRIGHT[:, None].astype("float32")
    model = network(relu(), shape=(6, 6), head=None, units=1, loss="mse")
    assert found(model, rows, y) == [("missing flatten", "severe", "head")]
    flat = network(L.Flatten(), relu(), shape=(6, 6), head=None, units=1, loss="mse")
    assert found(flat, rows, y) == []
    assert trains(flat, rows, y)
    # Right ones: a target for each step.
    assert found(model, rows, np.repeat(y[:, None], 6, 1)) == []
    tagged = network(relu(), shape=(6, 6))
    assert found(tagged, rows, np.repeat(BRIGHT[:, None], 6, 1)) == []


def test_a_normalization_of_one_number_leaves_a_constant():
    model = network(dense(1), L.LayerNormalization(name="norm"), relu())
    assert ("normalized away", "severe", "norm") in found(model)
    assert not trains(model)
    assert trains(network(dense(8), L.LayerNormalization(), relu()))
    assert found(network(dense(8), L.LayerNormalization(), relu())) == []
    alone = network(relu(), L.BatchNormalization(name="norm"))
    assert found(alone, X[:1], HALVES[:1]) == [("normalized away", "warning", "norm")]
    assert found(alone) == []
    assert (
        found(
            network(L.Conv2D(4, 3), L.BatchNormalization(), L.ReLU(), L.Flatten(), shape=(6, 6, 2)),
            IMAGES[:1],
            BRIGHT[:1],
        )
        == []
    )


@pytest.mark.parametrize("kind", ["BatchNormalization", "LayerNormalization"])
def test_a_normalization_along_the_wrong_axis(kind):
    def convolution(**axis):
        norm = getattr(L, kind)(name="norm", **axis)
        return network(L.Conv2D(8, 3), norm, L.ReLU(), L.Flatten(), shape=(6, 6, 2))

    assert found(convolution(axis=1), IMAGES, BRIGHT) == [("wrong axis", "warning", "norm")]
    assert found(convolution(), IMAGES, BRIGHT) == []
    flat = network(L.Flatten(), getattr(L, kind)(axis=1), relu(), shape=(6, 6, 2))
    assert found(flat, IMAGES, BRIGHT) == []


def test_batch_normalization_behind_the_last_layer():
    model = network(relu(), dense(2), L.BatchNormalization(name="norm"), L.Softmax(), units=0)
    assert found(model) == [("normalized output", "warning", "norm")]
    assert found(network(relu(), L.BatchNormalization())) == []
    # Without targets it is an embedding, of which contrastive losses want it.
    assert [f for f in diagnose(model, X).findings if f.kind == "normalized output"] == []
