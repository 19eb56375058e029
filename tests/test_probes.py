"""What a probe sees, and that nothing of it stays."""

import keras
import numpy as np
import pytest

from tfinit.errors import InputError
from tfinit.probes import probing, seen_layers


def small():
    inputs = keras.Input((3,))
    h = keras.layers.Dense(4, keras.layers.LeakyReLU(0.2), name="fc")(inputs)
    h = keras.ops.relu(keras.layers.Dense(4, "tanh", name="bounded")(h))
    return keras.Model(inputs, keras.layers.Dense(2, name="out")(h))


def points_of(model, x, **kwargs):
    seen = []
    with probing(model, lambda point, tensor: seen.append((point, tensor)), **kwargs):
        outputs = model(x)
    return seen, outputs


def numbers(tensor):
    return keras.ops.convert_to_numpy(tensor)


@pytest.mark.backends
def test_values_are_those_of_the_layers_and_the_output_is_unchanged():
    model = small()
    x = np.random.default_rng(0).normal(size=(5, 3)).astype("float32")
    plain = numbers(model(x))
    seen, outputs = points_of(model, x)
    np.testing.assert_array_equal(numbers(outputs), plain)
    of = {(point.key.split("/")[-1], point.what): numbers(tensor) for point, tensor in seen}
    kernel, bias = (v.numpy() for v in model.get_layer("fc").weights)
    z = x @ kernel + bias
    h = np.where(z > 0, z, 0.2 * z)
    np.testing.assert_allclose(of["fc", "output"], h, rtol=1e-5, atol=1e-6)
    kernel, bias = (v.numpy() for v in model.get_layer("bounded").weights)
    z = h @ kernel + bias
    np.testing.assert_allclose(of["bounded", "preactivation"], z, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(of["bounded", "output"], np.tanh(z), rtol=1e-5, atol=1e-6)
    # The operation of the functional graph is seen, too.
    relu = next(tensor for (name, _), tensor in of.items() if name.startswith("relu"))
    np.testing.assert_allclose(relu, np.maximum(np.tanh(z), 0), rtol=1e-5, atol=1e-6)


def backpropagate(model, x):
    """The gradient of the sum of squared outputs, as a user takes it eagerly."""
    backend, squares = keras.backend.backend(), lambda y: keras.ops.sum(keras.ops.square(y))
    if backend == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            loss = squares(model(x))
        tape.gradient(loss, [v.value for v in model.trainable_variables])
    elif backend == "jax":
        import jax

        others = [v.value for v in model.non_trainable_variables]
        values = [v.value for v in model.trainable_variables]
        jax.grad(lambda values: squares(model.stateless_call(values, others, x)[0]))(values)
    else:
        squares(model(x)).backward()


@pytest.mark.backends
def test_gradients_are_those_by_hand():
    model = small()
    x = np.random.default_rng(0).normal(size=(5, 3)).astype("float32")
    seen = {}
    values = {}

    def gradient(point, tensor):
        seen[point.key, point.what] = numbers(tensor)

    def value(point, tensor):
        values[point.key, point.what] = numbers(tensor)

    with probing(model, value, gradient):
        backpropagate(model, x)
    np.testing.assert_allclose(seen["out", "output"], 2 * values["out", "output"], rtol=1e-6)
    kernel = model.get_layer("out").kernel.numpy()
    tanh = values["bounded", "output"]
    back = (seen["out", "output"] @ kernel.T) * (tanh > 0)
    np.testing.assert_allclose(seen["bounded", "output"], back, rtol=1e-5)
    back = back * (1 - tanh**2)
    np.testing.assert_allclose(seen["bounded", "preactivation"], back, rtol=1e-4, atol=1e-7)


def graphs():
    """Ways to trace a program on this backend."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit
    return pytest.skip("PyTorch runs as it is written")


@pytest.mark.backends
def test_programs_that_outlive_the_probe_have_nothing_of_it():
    model, x = small(), np.ones((5, 3), "float32")
    traced = graphs()(lambda x: model(x))
    seen = []
    with probing(model, lambda *what: seen.append(what), lambda *what: seen.append(what)):
        traced(x)
    assert seen == []
    np.testing.assert_allclose(traced(x), numbers(model(x)), rtol=1e-5)


@pytest.mark.backends
def test_nothing_stays_not_even_after_an_error_and_somebody_elses_patch_does():
    model = small()
    layer = model.get_layer("out")
    calls = []
    plain = layer.call
    layer.call = theirs = lambda *a, **k: calls.append(1) or plain(*a, **k)
    before = {key: dict(vars(part)) for key, part in seen_layers(model)}
    with pytest.raises(ZeroDivisionError), probing(model, lambda point, tensor: 1 / 0):
        model(np.zeros((2, 3), "float32"))
    for key, part in seen_layers(model):
        assert vars(part).keys() == before[key].keys()
        for name in ("call", "activation"):
            assert vars(part).get(name) is before[key].get(name)
    assert layer.call is theirs
    model(np.zeros((2, 3), "float32"))
    assert calls


@pytest.mark.backends
def test_what_a_wrapper_or_a_recurrent_layer_holds_is_not_seen():
    inputs = keras.Input((6, 3))
    h = keras.layers.LSTM(4, return_sequences=True, name="lstm")(inputs)
    h = keras.layers.TimeDistributed(keras.layers.Dense(2), name="each")(h)
    model = keras.Model(inputs, h)
    seen, _ = points_of(model, np.ones((2, 6, 3), "float32"))
    assert [(point.key, tensor.shape) for point, tensor in seen if point.layer.weights] == [
        ("lstm", (2, 6, 4)),
        ("each", (2, 6, 2)),
    ]


def test_only_models_of_keras_3():
    with (
        pytest.raises(InputError, match="Keras 3, received Sequential"),
        probing(__import__("tf_keras").Sequential(), print),
    ):
        pass
