"""Scoring a model leaves it as it was; models of which it asks more than of others."""

import keras
import numpy as np
import pytest
from scored_networks import conv_net, normal

from tfinit.errors import InputError
from tfinit.pruning.scoring import before_training as scores
from tfinit.variables import prunable_weights

L = keras.layers
X, Y = normal(10, 4, seed=2), normal(10, 2, seed=3)
METHODS = {
    "magnitude": lambda model, x, y: scores.magnitude(model),
    "random": lambda model, x, y: scores.random(model),
    "snip": lambda model, x, y: scores.snip(model, x, y),
    "grasp": lambda model, x, y: scores.grasp(model, x, y),
    "synflow": lambda model, x, y: scores.synflow(model, x),
}


@keras.saving.register_keras_serializable("tests")
class Subclassed(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.inner = keras.Sequential([L.Dense(6, "relu"), L.Dropout(0.5), L.BatchNormalization()])
        self.head = L.Dense(3, activation=L.ReLU())

    def call(self, x, training=None):
        return self.head(self.inner(x, training=training))


def subclassed():
    model = Subclassed()
    model(X)
    model.compile("sgd", "mse", metrics=["mae"])
    return model, X, normal(10, 3, seed=4)


def shared_and_nested():
    """Two inputs in a dict through one backbone."""
    backbone = keras.Sequential(
        [keras.Input((4,)), L.Dense(5, "tanh"), L.BatchNormalization(), L.GaussianDropout(0.3)]
    )
    left, right = keras.Input((4,), name="left"), keras.Input((4,), name="right")
    joined = L.Concatenate()([backbone(left), backbone(right)])
    out = {"p": L.Dense(2, name="p")(joined), "q": L.Dense(1, name="q")(joined)}
    model = keras.Model({"left": left, "right": right}, out)
    model.compile("adam", {"p": "mse", "q": "mae"})
    return model, {"left": X, "right": normal(10, 4, seed=4)}, {"p": Y, "q": Y[:, :1]}


def convolutional():
    model = conv_net()
    model.fit(normal(8, 8, 8, 3), np.arange(8) % 5, verbose=0)
    return model, normal(6, 8, 8, 3, seed=1), np.arange(6) % 5


MODELS = {f.__name__: f for f in (subclassed, shared_and_nested, convolutional)}
ON_BACKENDS = pytest.param("shared_and_nested", marks=pytest.mark.backends)


def state(model):
    return [np.array(v) for v in [*model.variables, *model.optimizer.variables]]


@pytest.mark.parametrize("name", ["subclassed", ON_BACKENDS, "convolutional"])
def test_scores_fit_and_leave_the_model_bit_for_bit(name):
    model, x, y = MODELS[name]()
    before, outputs = state(model), keras.tree.flatten(model(x))
    activations = [vars(layer).get("activation") for layer in model._flatten_layers()]
    for score in METHODS.values():
        found = score(model, x, y)
        assert {k: s.shape for k, s in found.items()} == {
            k: tuple(w.shape) for k, w in prunable_weights(model).items()
        }
        assert all(np.isfinite(s).all() and s.any() for s in found.values())
    for then, now in zip(before, state(model), strict=True):
        np.testing.assert_array_equal(then, now)
    for then, now in zip(outputs, keras.tree.flatten(model(x)), strict=True):
        np.testing.assert_array_equal(*map(keras.ops.convert_to_numpy, (then, now)))
    assert activations == [vars(layer).get("activation") for layer in model._flatten_layers()]
    assert not any("call" in vars(layer) for layer in model._flatten_layers())
    model.fit(x, y, verbose=0)  # it trains as before


@pytest.mark.backends
@pytest.mark.parametrize("method", ["snip", "grasp"])
def test_an_error_in_the_middle_leaves_the_model(method):
    model, x, y = convolutional()
    before = state(model)
    masks = {key: np.zeros(tuple(w.shape)) for key, w in prunable_weights(model).items()}

    def loss(y, z):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        getattr(scores, method)(model, x, y, masks=masks, loss=loss)
    for then, now in zip(before, state(model), strict=True):
        np.testing.assert_array_equal(then, now)


@pytest.mark.backends
def test_an_error_in_synflow_leaves_the_model():
    class Breaks(L.Layer):
        broken = False

        def call(self, x):
            if self.broken:
                raise RuntimeError("broken")
            return x

    model = keras.Sequential([keras.Input((4,)), L.Dense(3, "relu"), Breaks()])
    model.layers[-1].broken = True
    before = [np.array(v) for v in model.variables]
    with pytest.raises(InputError, match="broken"):
        scores.synflow(model)
    for then, now in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(then, now)
    assert model.layers[0].activation is keras.activations.relu


def test_dropout_is_off_and_batch_normalization_is_as_it_predicts():
    model, x, y = convolutional()
    for function in (scores.snip, scores.grasp):
        first, second = function(model, x, y), function(model, x, y)
        for key in first:
            np.testing.assert_array_equal(first[key], second[key])


@pytest.mark.backends
def test_mixed_precision_and_embeddings():
    model = keras.Sequential(
        [
            keras.Input((5,), dtype="int32"),
            L.Embedding(7, 4, dtype="mixed_bfloat16"),
            L.GlobalAveragePooling1D(),
            L.Dense(3, dtype="mixed_bfloat16"),
        ]
    )
    model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    tokens = np.arange(15).reshape(3, 5) % 5
    found = scores.snip(model, tokens, np.arange(3))
    assert found["embedding/embeddings"].shape == (7, 4)
    assert found["embedding/embeddings"][:5].all()
    assert not found["embedding/embeddings"][5:].any()  # tokens that do not occur
    with pytest.raises(InputError, match=r"of int32. Use 'snip'"):
        scores.synflow(model)


@pytest.mark.parametrize("method", METHODS)
def test_models_of_tf_keras(method):
    import tf_keras

    model = tf_keras.Sequential([tf_keras.layers.Dense(2)])
    model.build((None, 4))
    with pytest.raises(InputError, match="is of tf_keras"):
        METHODS[method](model, X, Y)
