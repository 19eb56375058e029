import keras
import numpy as np
import pytest
import tf_keras

from tfinit.errors import InputError
from tfinit.variables import (
    all_weights,
    keras_of,
    prunable_weights,
    put_back,
    read_weights,
    walk_layers,
    write_weights,
)

BOTH = pytest.mark.parametrize("k", [keras, tf_keras], ids=["keras", "tf_keras"])


def every_kind(k):
    """A network with what prunes, what does not, a nested model and a shared layer."""
    layers = k.layers
    image = layers.Input((8, 8, 3))
    x = layers.Conv2D(4, 3)(image)
    x = layers.DepthwiseConv2D(3)(x)
    x = layers.SeparableConv2D(4, 1)(x)
    x = layers.BatchNormalization()(x)
    backbone = k.Model(image, x, name="backbone")
    image = layers.Input((8, 8, 3))
    x = layers.Flatten()(backbone(image))
    shared = layers.Dense(64)
    x = layers.Dense(6, name="head")(shared(shared(x)))
    x = layers.Bidirectional(layers.LSTM(3))(layers.Reshape((1, 6))(x))
    x = layers.Reshape((1, 6))(x)
    x = layers.MultiHeadAttention(2, 3)(x, x)
    x = layers.Dense(2)(layers.Flatten()(x))
    return k.Model(image, x)


PRUNABLE = [
    "backbone/conv2d/kernel",
    "backbone/separable_conv2d/pointwise_kernel",
    "dense/kernel",
    "head/kernel",
    "bidirectional/forward_lstm/lstm_cell/kernel",
    "bidirectional/forward_lstm/lstm_cell/recurrent_kernel",
    "bidirectional/backward_lstm/lstm_cell/kernel",
    "bidirectional/backward_lstm/lstm_cell/recurrent_kernel",
    "multi_head_attention/query/kernel",
    "multi_head_attention/key/kernel",
    "multi_head_attention/value/kernel",
    "multi_head_attention/attention_output/kernel",
    "dense_1/kernel",
]


@BOTH
def test_keys_are_the_same_in_both_kerases_and_however_many_models_came_before(k):
    """Acceptance 6, 7, 9, 10: nested, unknown, wrapped and shared layers."""
    for _ in range(2):
        assert list(prunable_weights(every_kind(k))) == PRUNABLE


@BOTH
def test_every_weight_has_a_key_of_its_own(k):
    model = every_kind(k)
    assert [id(v) for v in all_weights(model).values()] != []
    assert {id(v) for v in all_weights(model).values()} == {id(v) for v in model.weights}
    assert len(all_weights(model)) == len(model.weights)


@BOTH
def test_a_nested_model_without_a_name_has_a_stable_key(k):
    def build():
        inner = k.Sequential([k.layers.Input((4,)), k.layers.Dense(4)])
        x = k.layers.Input((4,))
        functional = k.Model(x, k.layers.Dense(4)(x))
        y = k.layers.Input((4,))
        return k.Model(y, functional(inner(y)))

    expected = ["sequential/dense/kernel", "functional/dense/kernel"]
    assert [list(prunable_weights(build())) for _ in range(2)] == [expected] * 2


@BOTH
def test_subclassed_models_and_single_layers(k):
    """Acceptance 1 and 5."""

    class Block(k.layers.Layer):
        def __init__(self):
            super().__init__()
            self.one = k.layers.Dense(3)
            self.two = k.layers.Dense(3)

        def call(self, x):
            return self.two(self.one(x))

    class Net(k.Model):
        def __init__(self):
            super().__init__()
            self.block = Block()
            self.out = k.layers.Dense(1, name="out")

        def call(self, x):
            return self.out(self.block(x))

    model = Net()
    model(np.ones((2, 3), "float32"))
    expected = ["block/dense/kernel", "block/dense_1/kernel", "out/kernel"]
    assert list(prunable_weights(model)) == expected
    layer = k.layers.Dense(3)
    layer.build((None, 2))
    assert list(prunable_weights(layer)) == ["kernel"]


@BOTH
def test_acceptance_8_custom_layers_say_what_can_be_pruned(k):
    class Custom(k.layers.Layer):
        def build(self, shape):
            self.left = self.add_weight(shape=(3, 3), name="left")
            self.offset = self.add_weight(shape=(3,), name="offset")
            super().build(shape)

        def get_prunable_weights(self):
            return [self.left, self.offset]

        def call(self, x):
            return x @ self.left + self.offset

    model = k.Sequential([k.layers.Input((3,)), Custom(name="mine"), k.layers.Dense(2, name="d")])
    assert list(prunable_weights(model)) == ["mine/left", "mine/offset", "d/kernel"]


@BOTH
def test_siblings_of_one_name_in_a_subclassed_model_have_different_keys(k):
    class Net(k.Model):
        def __init__(self):
            super().__init__()
            self.a, self.b = k.layers.Dense(2, name="twin"), k.layers.Dense(2, name="twin")

        def call(self, x):
            return self.b(self.a(x))

    model = Net()
    model(np.ones((1, 2), "float32"))
    assert list(prunable_weights(model)) == ["twin/kernel", "twin_1/kernel"]


@BOTH
def test_frozen_layers_are_left_alone(k):
    model = k.Sequential(
        [k.layers.Input((3,)), k.layers.Dense(3, name="a"), k.layers.Dense(2, name="b")]
    )
    model.layers[0].trainable = False
    assert list(prunable_weights(model)) == ["b/kernel"]
    model.layers[1].trainable = False
    with pytest.raises(InputError, match="nothing to prune"):
        prunable_weights(model)


@BOTH
def test_acceptance_11_nothing_to_prune_raises(k):
    model = k.Sequential([k.layers.Input((3,)), k.layers.BatchNormalization()])
    with pytest.raises(InputError, match="nothing to prune: no trainable kernel or embedding"):
        prunable_weights(model)


@BOTH
def test_a_model_without_weights_yet(k):
    with pytest.raises(InputError, match="not built"):
        prunable_weights(k.Sequential([k.layers.Dense(3)]))


@pytest.mark.parametrize("thing", [None, 3, "model", np.ones(3), {"a": 1}])
def test_acceptance_3_what_is_no_model(thing):
    with pytest.raises(InputError, match="Pass the layer or model itself, not its output"):
        all_weights(thing)


def test_acceptance_3_a_tensor_in_place_of_a_layer():
    with pytest.raises(InputError, match="not its output"):
        prunable_weights(keras.layers.Dense(3)(np.ones((1, 2))))


def test_keras_of():
    assert keras_of(keras.layers.Dense(1)) == "keras"
    assert keras_of(tf_keras.layers.Dense(1)) == "tf_keras"
    assert keras_of(object()) is None


@BOTH
def test_walk_layers_starts_with_the_model_and_meets_each_layer_once(k):
    model = every_kind(k)
    walked = list(walk_layers(model))
    assert walked[0] == ("", model)
    assert len({id(layer) for _, layer in walked}) == len(walked)
    assert len({key for key, _ in walked}) == len(walked)


@BOTH
def test_read_and_write(k):
    model = k.Sequential([k.layers.Input((3,)), k.layers.Dense(2, name="d")])
    weights = all_weights(model)
    values = {key: v + 1 for key, v in read_weights(weights).items()}
    write_weights(weights, values)
    for key, value in read_weights(weights).items():
        np.testing.assert_array_equal(value, values[key])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.pop("d/bias"), r"missing \['d/bias'\]"),
        (lambda v: v.update(other=1), r"unknown \['other'\]"),
        (
            lambda v: v.update({"d/bias": np.ones(3)}),
            r"shape \(3,\), the model's weight has \(2,\)",
        ),
    ],
)
def test_writing_what_does_not_fit_writes_nothing(change, message):
    model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(2, name="d")])
    weights = all_weights(model)
    before = read_weights(weights)
    values = {key: v + 1 for key, v in before.items()}
    change(values)
    with pytest.raises(InputError, match=message):
        write_weights(weights, values)
    for key, value in read_weights(weights).items():
        np.testing.assert_array_equal(value, before[key])


def test_variables_are_put_back_however_the_block_ends():
    variables = [keras.Variable(np.float32([1, 2])), keras.Variable(3, dtype="int32")]
    with pytest.raises(ZeroDivisionError), put_back(iter(variables)):
        for variable in variables:
            variable.assign(variable * 0)
        1 / 0  # noqa: B018
    assert [keras.ops.convert_to_numpy(v).tolist() for v in variables] == [[1, 2], 3]


def test_a_weight_without_a_name_has_the_same_key_however_many_there_were_before():
    class Shifted(keras.layers.Layer):
        def build(self, shape):
            self.one, self.two = self.add_weight(shape=shape[1:]), self.add_weight(shape=(1,))

        def call(self, x):
            return x + self.one * self.two

    for _ in range(2):
        model = keras.Sequential([keras.Input((3,)), Shifted(name="shift")])
        assert list(all_weights(model)) == ["shift/variable", "shift/variable_1"]
