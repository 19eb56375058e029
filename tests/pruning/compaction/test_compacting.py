"""What is removed by hand-made tables; that outputs stay the same on random networks.

All of it also passes with KERAS_BACKEND=torch and jax, where the random networks take minutes.
"""

import doctest
import json

import keras
import numpy as np
import pytest

from tfinit.errors import InputError
from tfinit.pruning import SparseOptimizer, compact
from tfinit.pruning.compaction import Compaction, Kept, compacting

L = keras.layers
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:keras")


def outputs(model, *inputs):
    made = model(inputs[0] if len(inputs) == 1 else list(inputs), training=False)
    return [keras.ops.convert_to_numpy(tensor) for tensor in keras.tree.flatten(made)]


def weights(model):
    return [keras.ops.convert_to_numpy(v).copy() for v in model.variables]


def check_same(model, new, tolerance=1e-5):
    """Outputs of both, on random input, agree to `tolerance` of the largest. The given model's."""
    rng = np.random.default_rng(0)
    inputs = [rng.normal(size=(3, *t.shape[1:])).astype(t.dtype) for t in model.inputs]
    all_expected = outputs(model, *inputs)
    for expected, got in zip(all_expected, outputs(new, *inputs), strict=True):
        assert got.shape == expected.shape and np.isfinite(expected).all()
        assert np.abs(got - expected).max() <= tolerance * np.abs(expected).max()
    return all_expected


def fill(layer, *arrays):
    layer.set_weights([np.array(a, "float32") for a in arrays])


def removed(result):
    return {layer: tuple(counts) for layer, counts in result.removed.items()}


def reasons(result):
    return {(kept.layer, kept.units): kept.reason for kept in result.kept}


def mlp():
    model = keras.Sequential(
        [
            keras.Input((2,), name="x"),
            L.Dense(4, "relu", name="one"),
            L.Dense(3, "relu", name="two"),
            L.Dense(1, name="out"),
        ],
        name="mlp",
    )
    one, two, out = model.layers
    # Units of `one`: in use; constant relu(-1) = 0; constant relu(2) = 2; read by two's third only.
    fill(one, [[1, 0, 0, 5], [3, 0, 0, 6]], [1, -1, 2, 7])
    # Units of `two`: in use; in use; not read, so that the last of `one` is not needed either.
    fill(two, [[1, 2, 1], [9, 9, 9], [10, 20, 30], [0, 0, 5]], [0.5, -0.5, 4])
    fill(out, [[1], [-1], [0]], [3])
    return model


@pytest.mark.backends
def test_dead_units_of_a_network_made_by_hand():
    model = mlp()
    before = weights(model)
    result = compact(model)
    one, two, out = result.model.layers
    assert removed(result) == {"one": (3, 4), "two": (1, 3)}
    assert [w.tolist() for w in one.get_weights()] == [[[1], [3]], [1]]
    assert [w.tolist() for w in two.get_weights()] == [[[1, 2]], [20.5, 39.5]]
    assert [w.tolist() for w in out.get_weights()] == [[[1], [-1]], [3]]
    assert result.kept == () and result.notes == ()
    assert (result.parameters_before, result.parameters) == (12 + 15 + 4, 3 + 4 + 3)
    check_same(model, result.model)
    assert all(np.array_equal(a, b) for a, b in zip(before, weights(model), strict=True))


def test_the_new_model_is_like_the_given_one_and_prints_what_went():
    model = mlp()
    model.compile(keras.optimizers.SGD(0.125), loss="mse", metrics=["mae"])
    result = compact(model)
    new = result.model
    assert type(new) is keras.Sequential and new.name == "mlp"
    assert [layer.name for layer in new.layers] == ["one", "two", "out"]
    assert new.inputs[0].name == "x" and new.output_shape == (None, 1)
    assert new.loss == "mse" and float(new.optimizer.learning_rate) == 0.125
    assert new.evaluate(np.ones((2, 2)), np.ones((2, 1)), verbose=0)  # it is compiled
    assert str(result).splitlines() == [
        "mlp: 31 → 10 parameters",
        "  one  removed 3 of 4",
        "  two  removed 1 of 3",
    ]
    assert json.loads(json.dumps(result.to_dict()))["removed"]["two"] == {"units": 1, "of": 3}


def test_the_table_groups_what_is_kept_for_the_same_reason():
    kept = [Kept(f"conv{i}", 2, "because") for i in range(5)] + [Kept("lambda", 0, "unknown")]
    result = Compaction(keras.Sequential(name="net"), {}, tuple(kept), 7, 7)
    assert str(result).splitlines()[2:] == [
        "  conv0, conv1, conv2 and 2 more  10 dead kept: because",
        "  lambda  not touched: unknown",
    ]


def test_of_a_sparse_optimizer_the_inner_one_goes_on():
    model = mlp()
    model.compile(SparseOptimizer(keras.optimizers.SGD(0.125)), loss="mse")
    optimizer = compact(model).model.optimizer
    assert type(optimizer).__name__ == "SGD" and float(optimizer.learning_rate) == 0.125


def test_nothing_to_remove_is_a_result_that_says_so():
    model = keras.Sequential([keras.Input((2,)), L.Dense(3), L.Dense(1)])
    result = compact(model)
    assert result.removed == {} and "nothing to remove" in str(result)
    assert all(
        np.array_equal(a, b) for a, b in zip(weights(model), weights(result.model), strict=True)
    )
    assert result.model is not model


def test_one_unit_stays_where_all_are_dead():
    model = keras.Sequential(
        [keras.Input((2,)), L.Dense(3, name="one"), L.Dense(4, name="two"), L.Dense(2, name="out")]
    )
    fill(model.layers[2], np.zeros((4, 2)), [5, 6])
    result = compact(model)
    assert removed(result) == {"one": (2, 3), "two": (3, 4)}
    assert reasons(result)["two", 1] == "one is kept of channels that are all dead"
    check_same(model, result.model)


@pytest.mark.backends
def test_batch_normalization_carries_constants_on_and_makes_them():
    model = keras.Sequential(
        [
            keras.Input((2,)),
            L.Dense(3, use_bias=False, name="one"),
            L.BatchNormalization(epsilon=0.0, name="bn"),
            L.ReLU(),
            L.Dense(1, use_bias=False, name="out"),
        ]
    )
    one, bn, _, out = model.layers
    fill(one, [[1, 0, 1], [1, 0, 1]])
    # The second is (0 - 1) · 3 / √4 + 5 = 3.5; of the third γ = 0, so that it is 7.
    fill(bn, [2, 3, 0], [0, 5, 7], [1, 1, 1], [4, 4, 4])
    fill(out, [[1], [10], [100]])
    result = compact(model)
    assert removed(result) == {"one": (2, 3)}
    assert result.model.layers[1].gamma.shape == (1,)
    assert result.model.layers[3].bias.numpy().tolist() == [735]
    assert result.notes == ("out was given a bias, to take in constants",)
    check_same(model, result.model)


@pytest.mark.parametrize("padding, gone", [("valid", 2), ("same", 1)])
def test_a_constant_goes_into_a_padding_convolution_only_if_it_is_zero(padding, gone):
    model = keras.Sequential(
        [
            keras.Input((5, 5, 1)),
            L.Conv2D(3, 1, activation="relu", name="one"),
            L.Conv2D(2, 3, padding=padding, name="two"),
        ]
    )
    one, two = model.layers
    fill(one, np.array([1, 0, 0]).reshape(1, 1, 1, 3), [0, -1, 2])
    fill(two, np.ones((3, 3, 3, 2)), [0, 1])
    result = compact(model)
    assert removed(result) == {"one": (gone, 3)}
    if padding == "valid":
        assert result.model.layers[1].bias.numpy().tolist() == [9 * 2, 9 * 2 + 1]
        assert result.kept == ()
    else:
        assert reasons(result) == {
            ("one", 1): "two pads its input with zeros, which their constants are not"
        }
    check_same(model, result.model)


def test_a_causal_convolution_pads_and_one_of_a_single_tap_does_not():
    model = keras.Sequential(
        [
            keras.Input((5, 1)),
            L.Conv1D(2, 1, name="one"),
            L.Conv1D(2, 1, padding="same", name="two"),
            L.Conv1D(1, 2, padding="causal", name="three"),
        ]
    )
    for layer in model.layers:
        fill(layer, np.ones(layer.kernel.shape), np.ones(layer.filters))
    fill(model.layers[0], [[[1, 0]]], [0, 2])  # a constant for two, which pads nothing
    fill(model.layers[1], [[[1, 0], [1, 0]]], [1, 1])  # a constant for three, which pads
    result = compact(model)
    assert removed(result) == {"one": (1, 2)} and list(reasons(result)) == [("two", 1)]
    check_same(model, result.model)


@pytest.mark.backends
def test_depthwise_channels_go_with_their_input():
    model = keras.Sequential(
        [
            keras.Input((4, 4, 2)),
            L.Conv2D(3, 1, name="one"),
            L.DepthwiseConv2D(2, depth_multiplier=2, name="depthwise"),
            L.GlobalAveragePooling2D(),
            L.Dense(2, name="out"),
        ]
    )
    _, depthwise, _, out = model.layers
    kernel = np.ones((2, 2, 3, 2))
    kernel[:, :, 1] = 0  # both channels of the second input are constant: 7 and 8
    fill(depthwise, kernel, [1, 2, 7, 8, 3, 4])
    table = np.ones((6, 2))
    table[4] = 0  # half of the third input is not read: the other half keeps it
    fill(out, table, [0, 0])
    result = compact(model)
    assert removed(result) == {"one": (1, 3), "depthwise": (2, 6)}
    assert result.model.layers[3].bias.numpy().tolist() == [15, 15]
    check_same(model, result.model)


def residual(dead_branch, dead_stem):
    """x = stem(i), x + branch(x), read by out; both have zero weights and bias 1 in some units."""
    given = keras.Input((2,))
    stem = L.Dense(3, name="stem")
    branch = L.Dense(3, name="branch")
    x = stem(given)
    model = keras.Model(given, L.Dense(1, name="out")(x + branch(x)))
    for layer, dead in (branch, dead_branch), (stem, dead_stem):
        kernel, bias = np.ones(layer.kernel.shape), np.ones(3)
        kernel[:, dead] = 0
        fill(layer, kernel, bias)
    fill(model.get_layer("out"), [[1], [2], [4]], [0])
    return model


def test_added_channels_go_only_together():
    model = residual(dead_branch=[0, 1], dead_stem=[1])
    result = compact(model)
    # The second is 1 + 1 in out, with weight 2, and 1 in what is left of branch.
    assert removed(result) == {"stem": (1, 3), "branch": (1, 3)}
    assert result.model.get_layer("out").bias.numpy().tolist() == [4]
    assert result.model.get_layer("branch").bias.numpy().tolist() == [1, 2]
    assert list(reasons(result)) == [("branch", 1)] and "in use" in result.kept[0].reason
    check_same(model, result.model)


@pytest.mark.parametrize(
    "merge, constant",
    [
        *((L.Add, 8), (L.Subtract, -4), (L.Average, 4), (L.Maximum, 6), (L.Minimum, 2)),
        (lambda: lambda both: keras.ops.relu(both[0] - both[1] + both[1]), 2),
        (lambda: lambda both: keras.ops.maximum(both[0], keras.ops.sigmoid(both[1])), 2),
    ],
)
def test_constants_of_branches_are_merged(merge, constant):
    given = keras.Input((2,))
    left, right, out = L.Dense(2), L.Dense(2), L.Dense(1)
    model = keras.Model(given, out(merge()([left(given), right(given)])))
    fill(left, [[1, 0], [1, 0]], [0, 2])
    fill(right, [[1, 0], [2, 0]], [0, 6])
    fill(out, [[1], [1]], [0])
    result = compact(model)
    assert removed(result) == {left.name: (1, 2), right.name: (1, 2)}
    assert result.model.layers[-1].bias.numpy().tolist() == [constant]


def test_channels_that_only_read_each_other_in_a_circle_go():
    model = residual(dead_branch=[], dead_stem=[])
    kernel = np.ones((3, 3))
    kernel[0, 1:] = 0  # the first channel is read by the branch for the first channel only,
    fill(model.get_layer("branch"), kernel, np.ones(3))
    fill(model.get_layer("out"), [[0], [2], [4]], [0])  # and that sum by no one
    result = compact(model)
    assert removed(result) == {"stem": (1, 3), "branch": (1, 3)}
    check_same(model, result.model)


@keras.saving.register_keras_serializable("tfinit-tests")
class Doubling(L.Layer):
    def call(self, x):
        return 2 * x


@keras.saving.register_keras_serializable("tfinit-tests")
class Subclassed(keras.Model):
    def call(self, x):
        return 2 * x


BARRIERS = {
    "lambda": (lambda: L.Lambda(lambda x: keras.ops.flip(x, -1), name="barrier"), "Lambda"),
    "custom": (lambda: Doubling(name="barrier"), "Doubling"),
    "masking": (lambda: L.Masking(name="barrier"), "Masking"),
    "subclass": (lambda: type("Mine", (L.Dense,), {})(3, name="barrier"), "Mine"),
    "model": (lambda: Subclassed(name="barrier"), "a model inside the model"),
}


@pytest.mark.parametrize("barrier", BARRIERS)
def test_what_is_not_known_stays_whole_and_is_listed(barrier):
    make, why = BARRIERS[barrier]
    given = keras.Input((2,))
    before, after = L.Dense(3, name="before"), L.Dense(3, name="after")
    model = keras.Model(given, L.Dense(2)(after(make()(before(given)))))
    fill(before, [[1, 0, 0], [1, 0, 0]], [1, 2, 3])
    fill(after, [[0, 0, 1]] * 3, [1, 2, 3])
    result = compact(model)
    assert removed(result) == {"after": (2, 3)}
    found = reasons(result)
    assert why in found["barrier", 0] and "barrier reads them" in found["before", 2]
    check_same(model, result.model)


def test_training_true_is_not_inference():
    given = keras.Input((3,))
    x = L.BatchNormalization(name="bn")(L.Dense(3, name="before")(given), training=True)
    model = keras.Model(given, L.Dense(1, name="out")(x))
    found = reasons(compact(model))
    assert found["bn", 0] == "it is called with training=True"


def shared(biases, kernel=((1, 0, 0), (1, 0, 0))):
    """Two branches of Dense(3) into one shared Dense(1); their last two units are constant."""
    given = keras.Input((2,))
    one, two = L.Dense(3, "relu", name="one"), L.Dense(3, "relu", name="two")
    both = L.Dense(1, name="both")
    model = keras.Model(given, L.Concatenate()([both(one(given)), both(two(given))]))
    for layer, bias in zip((one, two), biases, strict=True):
        fill(layer, kernel, bias)
    fill(both, [[1], [10], [100]], [7])
    return model


def test_constants_go_into_the_bias_of_a_shared_layer_where_they_are_the_same_in_each_call():
    model = shared([[1, 2, 3], [4, 2, 5]])
    result = compact(model)
    assert removed(result) == {"one": (1, 3), "two": (1, 3)}
    assert result.model.get_layer("both").bias.numpy().tolist() == [27]
    why = "both is called several times, and they are not the same constant in each"
    assert reasons(result) == {("one", 1): why, ("two", 1): why}
    check_same(model, result.model)


def test_what_a_dead_unit_of_a_shared_layer_is_made_of_stays_where_it_differs():
    """The difference of two calls is a constant, but one unit is kept, and its value is read."""
    given = keras.Input((2,))
    one, two = L.Dense(2, name="one"), L.Dense(2, name="two")
    both, out = L.Dense(2, name="both"), L.Dense(1, name="out")
    model = keras.Model(given, out(both(one(given)) - both(two(given))))
    fill(one, np.zeros((2, 2)), [1, 2])
    fill(two, np.zeros((2, 2)), [5, 2])
    fill(both, [[1, 2], [3, 4]], [0, 0])
    fill(out, [[1], [10]], [0])
    result = compact(model)
    assert removed(result) == {"one": (1, 2), "two": (1, 2), "both": (1, 2)}
    check_same(model, result.model)


def test_units_that_one_call_reads_stay_for_all():
    model = shared([[1, 2, 3], [4, 2, 3]])
    fill(model.get_layer("two"), [[1, 1, 0], [1, 1, 0]], [4, 2, 3])
    result = compact(model)
    assert removed(result) == {"one": (1, 3), "two": (1, 3)}
    assert list(reasons(result)) == [("one", 1)] and "in use" in result.kept[0].reason
    check_same(model, result.model)


def test_a_shared_layer_of_which_one_call_cannot_be_followed_stays_whole():
    given = keras.Input((2,))
    bn = L.BatchNormalization(name="bn")
    one, two = L.Dense(3, name="one"), L.Dense(3, name="two")
    model = keras.Model(given, L.Dense(1)(bn(one(given)) + bn(two(given), training=True)))
    for layer in one, two:
        fill(layer, [[1, 0, 0], [1, 0, 0]], [0, 1, 2])
    found = reasons(compact(model))
    assert found["bn", 0] == "it is called with training=True"
    assert "bn reads them" in found["one", 2] and "bn reads them" in found["two", 2]
    check_same(model, compact(model).model)


@pytest.mark.parametrize("dead, gone", [([1], 0), ([1, 2], 2)])
def test_channels_first_never_become_as_many_as_the_output_is_wide(dead, gone):
    """Keras on TensorFlow would add the bias along the width then."""
    given = keras.Input((2, 3, 3))
    conv = L.Conv2D(4, 1, data_format="channels_first", activation="relu", name="conv")
    pooled = L.GlobalAveragePooling2D(data_format="channels_first")(conv(given))
    model = keras.Model(given, L.Dense(2, name="out")(pooled))
    kernel = np.ones((1, 1, 2, 4))
    kernel[..., dead] = 0
    fill(conv, kernel, [1, 2, 3, 4])
    result = compact(model)
    assert removed(result) == ({"conv": (gone, 4)} if gone else {})
    assert ("conv", 1) in reasons(result) or gone
    check_same(model, result.model)


@pytest.mark.parametrize("use_bias", [True, False])
def test_channels_first_that_are_as_many_as_the_output_is_wide_stay(use_bias):
    given = keras.Input((2, 3, 3))
    first = L.Conv2D(4, 1, data_format="channels_first", name="first")
    conv = L.Conv2D(3, 1, data_format="channels_first", use_bias=use_bias, name="conv")
    model = keras.Model(given, L.Flatten()(conv(first(given))))
    fill(first, [[[[1, 0, 1, 1], [1, 0, 1, 1]]]], [1, 2, 3, 4])  # a constant, for its bias
    result = compact(model)
    assert "Keras adds its bias along the last axis" in reasons(result)["conv", 0]
    check_same(model, result.model)


def test_branches_are_put_together_where_they_were():
    one, two = keras.Input((4, 4, 1), name="one"), keras.Input((4, 4, 1), name="two")
    left, right = L.Conv2D(2, 3, name="left"), L.Conv2D(3, 3, name="right")
    x = L.Flatten()(L.Concatenate()([right(two), left(one)]))
    model = keras.Model({"a": one, "b": two}, {"y": L.Dense(2, name="out")(x)})
    kernel = np.random.default_rng(0).normal(size=(4, 5, 2))  # positions, channels
    kernel[:, 1] = 0  # right's second
    kernel[1, 4] = 0  # left's second at one position of four: read at the others
    fill(model.get_layer("out"), kernel.reshape(20, 2), [0, 0])
    result = compact(model)
    assert removed(result) == {"right": (1, 3)}
    image = np.random.default_rng(1).normal(size=(2, 3, 4, 4, 1)).astype("float32")
    given = {"a": image[0], "b": image[1]}
    np.testing.assert_allclose(
        *(keras.ops.convert_to_numpy(m(given)["y"]) for m in (model, result.model)), rtol=1e-5
    )


@pytest.mark.parametrize(
    "model, message",
    [
        (lambda: Subclassed(), "a class of its own"),
        (lambda: keras.Sequential([L.Dense(2)]), "not built"),
        (lambda: L.Dense(2), "received .*Dense"),
        (lambda: 3, "received builtins.int"),
    ],
)
def test_what_cannot_be_touched_at_all_is_an_error(model, message):
    with pytest.raises(InputError, match=message):
        compact(model())


def test_the_example_of_the_docstring():
    failed, tried = doctest.testmod(compacting, extraglobs={"keras": keras, "np": np})
    assert failed == 0 and tried > 0


def test_an_activation_of_the_user_s_own_is_kept_where_units_go():
    """Neither a lambda nor a function that is not registered is found again by its name."""

    def own(z):
        return keras.ops.sin(z) + z

    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(5, activation=lambda z: z * keras.ops.tanh(z), name="a"),
            keras.layers.Dense(3, activation=own, name="b"),
            keras.layers.Activation(own),
            keras.layers.Dense(5, "relu", name="c"),
            keras.layers.Dense(2),
        ]
    )
    kernel, bias = model.get_layer("c").get_weights()
    kernel[:, 1] = 0
    model.get_layer("c").set_weights([kernel, bias])
    result = compact(model)
    assert {name: tuple(units) for name, units in result.removed.items()} == {"c": (1, 5)}
    x = np.random.default_rng(0).normal(size=(6, 4)).astype("float32")
    np.testing.assert_allclose(result.model(x), model(x), rtol=1e-5, atol=1e-6)


def test_a_layer_that_cannot_be_made_again_is_an_input_error():
    class Without(keras.layers.Layer):  # neither a get_config, nor a name to be given
        def __init__(self):
            super().__init__()

        def call(self, x):
            return 2 * x

    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(2)(Without()(inputs)))
    with pytest.raises(InputError, match=r"layer 'without\w*' \(Without\) cannot be made again"):
        compact(model)
