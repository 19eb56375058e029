"""Rows 1 to 5 and 10 to 12 of what users of Keras pruning tripped over: which models, and errors.

The number in a test's name is that of the row; others are in `test_which_weights_are_pruned.py`,
and what needs TensorFlow is in `test_what_can_be_pruned_tensorflow.py`. Which weights are chosen is
plain Python, so that on the other backends, where JAX takes seconds to compile each model, one test
of each kind is enough.
"""

import keras
import numpy as np
import pytest
from keras import layers, ops
from pruned_in_one_step import (
    EAGERLY,
    HALF,
    Subclassed,
    functional,
    not_built,
    outputs,
    sequential,
    subclassed_and_called,
    train,
    values,
    zeros,
)

from tfinit.errors import InputError
from tfinit.pruning import (
    ConstantSparsity,
    SparseOptimizer,
    UpdatePruningStep,
    get_masks,
    prune_low_magnitude,
    strip_pruning,
)

backends = pytest.mark.backends
KINDS = [sequential, functional, not_built, Subclassed, subclassed_and_called]
kinds = pytest.mark.parametrize("make", KINDS)


# -- 1: Keras 3 models refused ---------------------------------------------------------------------


@backends
@kinds
def test_acceptance_01_every_kind_of_model(make):
    model = make()
    assert prune_low_magnitude(model, HALF) is model
    train(model)
    assert zeros(model) == {"a/kernel": (10, 20), "b/kernel": (5, 10)}


@kinds
def test_acceptance_01_every_kind_of_model_with_the_optimizer(make):
    model = make()
    model.compile(SparseOptimizer(keras.optimizers.Adam(), HALF), "mse", run_eagerly=EAGERLY)
    train(model)
    assert zeros(model) == {"a/kernel": (10, 20), "b/kernel": (5, 10)}


@backends
def test_acceptance_01_compiled():
    model = prune_low_magnitude(Subclassed(), HALF)
    model.compile("adam", "mse")
    train(model, epochs=2)
    assert zeros(model) == {"a/kernel": (10, 20), "b/kernel": (5, 10)}


@backends
@kinds
def test_acceptance_01_a_single_layer(make):
    model = make()
    layer = model.layers[-1]
    assert prune_low_magnitude(layer, HALF) is layer
    train(model)
    assert zeros(model) == {"a/kernel": (0, 20), "b/kernel": (5, 10)}


@pytest.mark.parametrize("make", [functional, Subclassed])
def test_acceptance_01_a_list_of_layers(make):
    model = make()
    model_layers = [layer for layer in model.layers if layer.name in "ab"]
    assert prune_low_magnitude(model_layers, HALF) is model_layers
    train(model)
    assert zeros(model) == {"a/kernel": (10, 20), "b/kernel": (5, 10)}


@pytest.mark.parametrize("make", [functional, Subclassed])
def test_acceptance_01_layers_with_schedules_of_their_own(make):
    model = make()
    prune_low_magnitude(model.layers[-1], ConstantSparsity(0.8, 1, frequency=1))
    prune_low_magnitude(model, HALF)  # the rest
    train(model)
    assert zeros(model) == {"a/kernel": (10, 20), "b/kernel": (8, 10)}


# -- 2, 3, 4: errors -------------------------------------------------------------------------------


@backends
@pytest.mark.parametrize(
    ("received", "named"),
    [
        (None, "builtins.NoneType"),
        ("model", "builtins.str"),
        ([], "builtins.list"),
        ([layers.Dense(2), 3], "builtins.int"),
        (layers.Dense, "builtins.type"),
        (keras.optimizers.Adam(), "Adam"),
    ],
)
def test_acceptance_02_no_model(received, named):
    with pytest.raises(InputError, match="must be a model, a layer or a list of layers") as error:
        prune_low_magnitude(received, HALF)
    assert "Keras 3 (`import keras`) or of tf_keras" in str(error.value)
    assert str(error.value).endswith(f"{named}.")


def tensors():
    inputs = layers.Input((4,))
    return [inputs, layers.Dense(2)(inputs), ops.ones((2, 2)), np.ones((2, 2))]


@backends
@pytest.mark.parametrize("i", range(4))
def test_acceptance_03_a_tensor_is_no_layer(i):
    with pytest.raises(
        InputError, match=r"is a tensor .*: pass the layer or model, not its output"
    ):
        prune_low_magnitude(tensors()[i], HALF)


@backends
def test_acceptance_03_a_tensor_is_no_scope():
    with pytest.raises(InputError, match="pass the layer itself, not its output"):
        SparseOptimizer(keras.optimizers.SGD(), HALF, scope=tensors()[1])


@backends
def test_acceptance_04_a_dict_is_no_schedule():
    model = sequential()
    params = {"pruning_schedule": HALF}
    with pytest.raises(InputError, match=r"received a dict .*'pruning_schedule'.*\*\*pruning_par"):
        prune_low_magnitude(model, params)
    with pytest.raises(InputError, match="received a dict"):
        SparseOptimizer(keras.optimizers.SGD(), params)
    # The model is as it was: nothing prunes it.
    train(model)
    assert zeros(model) == {"a/kernel": (0, 20), "b/kernel": (0, 10)}
    prune_low_magnitude(model, **params)


@backends
@pytest.mark.parametrize("schedule", [0.5, "constant", ConstantSparsity, lambda step: True])
def test_acceptance_04_other_things_that_are_no_schedule(schedule):
    with pytest.raises(InputError, match="must be a PruningSchedule, received"):
        prune_low_magnitude(sequential(), schedule)


@backends
def test_acceptance_04_a_misspelt_argument():
    with pytest.raises(InputError, match=r"does not take .'frequency'.; give the layer its own"):
        prune_low_magnitude(sequential(), HALF, frequency=3)


# -- 5: subclassed models --------------------------------------------------------------------------


@backends
@pytest.mark.parametrize("make", [Subclassed, subclassed_and_called])
def test_acceptance_05_subclassed_models_are_pruned_and_stripped(make):
    model = train(prune_low_magnitude(make(), HALF), epochs=3)
    before, weights = outputs(model), len(model.weights)
    stripped = strip_pruning(model)
    assert zeros(stripped) == {"a/kernel": (10, 20), "b/kernel": (5, 10)}
    assert len(stripped.weights) == weights == 4
    np.testing.assert_array_equal(outputs(stripped), before)
    # A plain model again: compiled anew, it is trained as any other.
    train(stripped, optimizer=keras.optimizers.SGD(0.1))
    assert sum(n for n, _ in zeros(stripped).values()) < 15


# -- 10: shared layers -----------------------------------------------------------------------------


@backends
def test_acceptance_10_one_mask_for_a_shared_variable():
    shared = layers.Dense(4, name="shared")
    inner = keras.Sequential([layers.Input((4,)), shared], name="inner")
    inputs = layers.Input((4,))
    x = layers.Add()([shared(shared(inputs)), inner(inputs)])
    model = keras.Model(inputs, layers.Dense(2, name="out")(x))
    train(prune_low_magnitude(model, HALF))
    assert list(get_masks(model)) == ["shared/kernel", "out/kernel"]
    masks = [v for v in model.optimizer.variables if v.dtype == "bool"]
    assert [tuple(m.shape) for m in masks] == [(4, 4), (4, 2)]
    assert zeros(model) == {"shared/kernel": (8, 16), "out/kernel": (4, 8)}


# -- 11: nothing to prune --------------------------------------------------------------------------


def without_kernels():
    return [layers.BatchNormalization(), layers.ReLU()]


@backends
def test_acceptance_11_a_built_model_without_kernels():
    model = keras.Sequential([layers.Input((4,)), *without_kernels()])
    with pytest.raises(InputError, match="has nothing to prune"):
        prune_low_magnitude(model, HALF)
    model.compile("sgd", "mse")
    assert not isinstance(model.optimizer, SparseOptimizer)


@backends
def test_acceptance_11_a_frozen_model():
    model = sequential()
    model.trainable = False
    with pytest.raises(InputError, match="Unfreeze a layer"):
        prune_low_magnitude(model, HALF)


@backends
def test_acceptance_11_a_policy_that_allows_nothing():
    class Nothing:
        def allow_pruning(self, layer):
            return False

        def ensure_model_supports_pruning(self, model):
            pass

    with pytest.raises(InputError, match="in a layer that is allowed"):
        prune_low_magnitude(sequential(), HALF, pruning_policy=Nothing())


@backends
def test_acceptance_11_a_model_without_kernels_that_is_not_built():
    model = prune_low_magnitude(keras.Sequential(without_kernels()), HALF)
    with pytest.raises(InputError, match="nothing to prune"):
        train(model)


@backends
@pytest.mark.parametrize("call", [lambda x: x, lambda x: [x]])
def test_acceptance_11_a_layer_without_kernels(call):
    model = keras.Sequential([layers.Input((4,)), layers.Dense(2), *without_kernels()])
    prune_low_magnitude(call(model.layers[-1]), HALF)
    with pytest.raises(InputError, match="nothing to prune"):
        train(model)


def test_acceptance_11_the_optimizer_with_a_scope_without_kernels():
    model = keras.Sequential([layers.Input((4,)), layers.Dense(2), *without_kernels()])
    for scope in (model.layers[1], lambda variable: False, None):
        inner = (
            model
            if scope is not None
            else keras.Sequential([layers.Input((4,)), *without_kernels()])
        )
        with pytest.raises(InputError, match="nothing to prune"):
            train(inner, optimizer=SparseOptimizer(keras.optimizers.SGD(), HALF, scope=scope))


# -- 12: pretrained weights ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    model = train(functional())
    path = tmp_path_factory.mktemp("weights") / "pretrained.weights.h5"
    model.save_weights(path)
    return path, model


@backends
@pytest.mark.parametrize("make", [functional, subclassed_and_called])
def test_acceptance_12_outputs_stay(make):
    model = make()
    before, weights = outputs(model), values(model)
    prune_low_magnitude(model, HALF)
    model.compile("sgd", "mse", run_eagerly=EAGERLY)
    np.testing.assert_array_equal(outputs(model), before)
    for key, value in values(model).items():
        np.testing.assert_array_equal(value, weights[key])


@pytest.mark.filterwarnings("ignore:What was saved of an optimizer does not fit")
@backends
def test_acceptance_12_load_and_mark_in_any_order(pretrained):
    path, source = pretrained

    def load_mark_compile(model):
        model.load_weights(path)
        prune_low_magnitude(model, HALF)
        model.compile(keras.optimizers.SGD(0.1), "mse", run_eagerly=EAGERLY)

    def mark_load_compile(model):
        prune_low_magnitude(model, HALF)
        model.load_weights(path)
        model.compile(keras.optimizers.SGD(0.1), "mse", run_eagerly=EAGERLY)

    def mark_compile_load(model):
        prune_low_magnitude(model, HALF)
        model.compile(keras.optimizers.SGD(0.1), "mse", run_eagerly=EAGERLY)
        model.load_weights(path)

    def compile_load_mark(model):
        model.compile(keras.optimizers.SGD(0.1), "mse", run_eagerly=EAGERLY)
        model.load_weights(path)
        prune_low_magnitude(model, HALF)

    results = []
    for order in (load_mark_compile, mark_load_compile, mark_compile_load, compile_load_mark):
        model = functional()
        order(model)
        np.testing.assert_array_equal(outputs(model), outputs(source))
        train(model)
        assert zeros(model) == {"a/kernel": (10, 20), "b/kernel": (5, 10)}
        results.append(values(model))
    for result in results[1:]:
        for key, value in result.items():
            first = results[0][key]
            np.testing.assert_array_equal(value != 0, first != 0)
            # Two matrix products of the same numbers may differ in the last bit.
            np.testing.assert_allclose(value, first, rtol=1e-5, atol=1e-7)


@pytest.mark.filterwarnings("ignore:What was saved of an optimizer does not fit")
def test_acceptance_12_weights_loaded_in_the_middle_are_masked_at_the_next_step(pretrained):
    once = ConstantSparsity(0.5, begin_step=1, frequency=1000)
    model = train(prune_low_magnitude(functional(), once))
    masks = get_masks(model)
    model.load_weights(pretrained[0])
    assert zeros(model) == {"a/kernel": (0, 20), "b/kernel": (0, 10)}
    train(model)
    for key, mask in masks.items():
        np.testing.assert_array_equal(values(model)[key] != 0, mask)


def test_acceptance_12_the_original_is_the_pruned_model():
    original = functional()
    returned = prune_low_magnitude(original, HALF)
    assert returned is original
    train(original)
    assert zeros(returned) == {"a/kernel": (10, 20), "b/kernel": (5, 10)}


def test_acceptance_12_a_model_that_was_compiled_before_keeps_its_optimizer_and_is_pruned():
    model = train(functional(), optimizer=keras.optimizers.Adam(0.01))
    optimizer = model.optimizer
    prune_low_magnitude(model, HALF)
    train(model)
    assert model.optimizer.inner_optimizer is optimizer
    assert int(model.optimizer.iterations) == 2
    assert zeros(model) == {"a/kernel": (10, 20), "b/kernel": (5, 10)}


@backends
def test_acceptance_12_the_mark_goes_with_a_copy():
    original = prune_low_magnitude(functional(), HALF)
    copy = keras.models.clone_model(original)
    train(copy, callbacks=[UpdatePruningStep()])
    assert zeros(strip_pruning(copy)) == {"a/kernel": (10, 20), "b/kernel": (5, 10)}
