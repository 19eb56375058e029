"""A marked model is pruned however it is trained, or somebody says that it was not."""

import gc

import keras
import numpy as np
import pytest
import wrapt
from keras import ops
from marked_networks import EAGERLY, HALF, X, compiled, fit, network, zeros

from tfinit.errors import InputError
from tfinit.pruning import (
    ConstantSparsity,
    PolynomialDecay,
    SparseOptimizer,
    get_masks,
    prune_low_magnitude,
    strip_pruning,
)
from tfinit.pruning.tfmot_api.marks import mark_of

pytestmark = pytest.mark.backends


# -- compile and fit -------------------------------------------------------------------------------


def test_a_layer_that_is_marked_after_its_model_was_compiled():
    """M#662."""
    model = compiled(network())
    prune_low_magnitude(model.layers[0], HALF)
    fit(model, 4)
    assert zeros(model) == zeros(strip_pruning(model)) == [24, 0]


def test_a_layer_that_is_marked_in_a_model_with_rules_of_its_own():
    model = network()
    compiled(model, SparseOptimizer("sgd", HALF, scope=[model.layers[1]]))
    prune_low_magnitude(model.layers[0], ConstantSparsity(0.75, 2, 4, 2))
    fit(model, 4)
    assert zeros(model) == [36, 8]


def test_compile_takes_over_from_any_sparse_optimizer():
    model = network()
    compiled(model, SparseOptimizer("adam", HALF, scope=model))
    fit(model, 4)
    masks = get_masks(model)
    fit(compiled(model), 4)
    assert isinstance(model.optimizer, SparseOptimizer)
    assert zeros(model) == [24, 8]
    for key, mask in get_masks(model).items():
        np.testing.assert_array_equal(mask, masks[key])


def test_compile_takes_over_from_a_loaded_one(tmp_path):
    model = network()
    compiled(model, SparseOptimizer("adam", HALF, scope=model, allocation={"a/kernel": 0.5}))
    fit(model, 4)
    assert zeros(model) == [24, 0]
    model.save(tmp_path / "m.keras")
    loaded = compiled(keras.saving.load_model(tmp_path / "m.keras"))
    fit(loaded, 4)
    assert (zeros(loaded), loaded.optimizer.steps_taken) == ([24, 0], 8)


@pytest.mark.parametrize("marked", [True, False])
def test_compiled_twice_before_it_is_fitted_again(marked, tmp_path):
    """The optimizer in between was never built; what it was to go on from is in a file too."""
    model = network()
    compiled(prune_low_magnitude(model, HALF) if marked else model, "sgd")
    if not marked:
        compiled(model, SparseOptimizer("sgd", HALF, scope=model))
    fit(model, 4)
    compiled(compiled(model, "adam"), "rmsprop").save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    for each in (model, loaded):
        fit(each, 1)
        assert (zeros(each), each.optimizer.steps_taken) == ([24, 8], 5)


def test_compiled_very_often_before_it_is_fitted():
    model = compiled(prune_low_magnitude(network(), HALF))
    fit(model, 4)
    for _ in range(350):  # more often than Python lets calls nest
        model.compile("sgd", "mse")
    fit(compiled(model), 1)
    assert (zeros(model), model.optimizer.steps_taken) == ([24, 8], 5)


def test_a_sparse_optimizer_without_schedule_keeps_the_masks_of_a_marked_model():
    model = compiled(prune_low_magnitude(network(), HALF))
    fit(model, 4)
    fit(compiled(model, SparseOptimizer("sgd", scope=model)), 2)
    assert zeros(model) == zeros(strip_pruning(model)) == [24, 8]


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5:UserWarning")
def test_compile_takes_over_from_one_that_was_loaded_from_h5(tmp_path):
    """Keras builds no optimizer there."""
    model = network()
    sparse = SparseOptimizer("sgd", HALF, scope=model)
    model.compile(sparse, keras.losses.MeanSquaredError(), run_eagerly=EAGERLY)
    fit(model, 4)
    model.save(tmp_path / "m.h5")
    loaded = compiled(keras.saving.load_model(tmp_path / "m.h5"), "adam")
    fit(loaded, 1)
    assert (zeros(loaded), loaded.optimizer.steps_taken) == ([24, 8], 5)


def test_layers_of_a_pruned_model_in_another_one():
    """What pruned them may be gone with its model."""
    model = compiled(prune_low_magnitude(network(), HALF))
    fit(model, 4)
    layer = model.layers[0]
    del model
    gc.collect()
    model = keras.Sequential([keras.Input((6,)), layer, keras.layers.Dense(2)])
    fit(compiled(model), 1)
    assert (zeros(model), model.optimizer.steps_taken) == ([24, 0], 5)


def test_a_marked_layer_in_two_models_that_train_in_turn():
    layer = prune_low_magnitude(keras.layers.Dense(8), HALF)
    models = [keras.Sequential([keras.Input((6,)), layer, keras.layers.Dense(2)]) for _ in range(2)]
    for model in models:
        compiled(model)
    for model in models * 2:
        fit(model, 2)
        assert [zeros(each) for each in models] == [[24, 0]] * 2


def test_a_marked_base_that_is_frozen_under_a_new_head(tmp_path):
    """Transfer learning: the head trains, and the base is pruned once it is unfrozen."""
    base = prune_low_magnitude(network(), HALF)
    model = keras.Sequential([base, keras.layers.Dense(2)])
    for frozen, expected in ((True, [0, 0]), (False, [24, 8]), (True, [24, 8]), (False, [24, 8])):
        base.trainable = not frozen
        fit(compiled(model), 3)
        assert zeros(base) == expected
    assert model.optimizer.steps_taken == 6


def test_a_marked_model_may_be_compiled_without_an_optimizer():
    model = prune_low_magnitude(network(), HALF)
    model.compile(loss="mse")  # by default "rmsprop"
    assert isinstance(model.optimizer, SparseOptimizer)
    model.compile(optimizer=None, loss="mse")
    assert model.optimizer is None
    model.evaluate(X, X[:, :2], verbose=0)


@pytest.mark.parametrize("marked", ["before", "after"])
def test_a_loss_scale_optimizer_stays_outside(marked):
    """It hands no step on where gradients overflow, and Keras puts no second one around it."""
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = network()
        scaled = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(), initial_scale=8.0)
        if marked == "before":
            prune_low_magnitude(model, HALF)
        compiled(model, scaled)
        if marked == "after":
            fit(model, 1)
            prune_low_magnitude(model, HALF)
        fit(model, 4)
    finally:
        keras.config.set_dtype_policy(policy)
    assert model.optimizer is scaled
    assert type(scaled.inner_optimizer) is SparseOptimizer
    assert scaled.inner_optimizer.steps_taken == 4
    assert zeros(model) == zeros(strip_pruning(model)) == [24, 8]


def test_somebody_elses_wrapper_is_around_compile(monkeypatch):
    original, calls = keras.Model.compile, []

    def other(wrapped, instance, args, kwargs):
        calls.append(instance)
        return wrapped(*args, **kwargs)

    monkeypatch.setattr(keras.Model, "compile", original)  # put it back afterwards
    wrapt.wrap_function_wrapper(keras.Model, "compile", other)
    model = compiled(prune_low_magnitude(network(), HALF))
    fit(model, 4)
    assert (zeros(model), calls) == ([24, 8], [model])


def test_somebody_replaced_compile(monkeypatch):
    """Then `fit` has the model pruned."""
    model = prune_low_magnitude(network(), HALF)
    trainer = next(c for c in keras.Model.__mro__ if c.__name__ == "Trainer")
    monkeypatch.setattr(
        keras.Model, "compile", lambda self, *a, **k: trainer.compile(self, *a, **k)
    )
    fit(compiled(model), 4)
    assert zeros(strip_pruning(model)) == [24, 8]


@pytest.mark.parametrize("whose", ["marked", "SparseOptimizer"])
def test_a_base_that_is_unfrozen_when_the_schedule_is_over(whose):
    """K#9477, K#16234: the head was pruned; the base is, from the first step on that trains it."""
    model = network()
    model.layers[0].trainable = False
    if whose == "marked":
        fit(compiled(prune_low_magnitude(model, HALF)), 4)
    else:
        fit(compiled(model, SparseOptimizer("sgd", HALF, scope=model)), 4)
    assert zeros(model) == [0, 8]
    head = ops.convert_to_numpy(model.layers[1].kernel) == 0
    base = np.abs(ops.convert_to_numpy(model.layers[0].kernel))
    model.layers[0].trainable = True
    fit(compiled(model), 4)
    assert zeros(model) == [24, 8]
    np.testing.assert_array_equal(ops.convert_to_numpy(model.layers[1].kernel) == 0, head)
    pruned = ops.convert_to_numpy(model.layers[0].kernel) == 0
    assert base[pruned].max() < base[~pruned].min()  # by the weights before that step


def test_a_layer_that_is_frozen_for_a_while():
    parts = {"a": keras.layers.Dense(8, name="a"), "out": keras.layers.Dense(2, name="out")}
    for layer in parts.values():
        prune_low_magnitude(layer, HALF if layer.name == "a" else ConstantSparsity(0.75, 2, 4, 2))
    model = compiled(network(**parts))
    fit(model, 4)
    for frozen in (True, False):
        model.layers[1].trainable = not frozen
        fit(compiled(model), 2)
        assert zeros(model) == [24, 12]


def test_continue_from_another_schedule_that_is_over():
    model = network()
    half = SparseOptimizer("sgd", HALF, scope=model)
    fit(compiled(model, half), 4)
    more = SparseOptimizer("sgd", ConstantSparsity(0.75, 2, 4, 2), scope=model)
    more.continue_from(half)
    fit(compiled(model, more), 1)
    assert zeros(model) == [36, 12]


def test_the_part_of_a_schedule_that_is_in_force():
    schedule = PolynomialDecay(0.0, 0.8, 10, 20, power=1, frequency=5)
    assert [schedule.in_force(step) for step in (9, 10, 14, 19, 25, 100_000)] == pytest.approx(
        [None, 0.0, 0.0, 0.4, 0.8, 0.8]
    )


def test_marked_anew_while_it_is_pruned():
    """The new schedule counts from its own first step, and the zeros stay."""
    model = compiled(prune_low_magnitude(network(), HALF))
    fit(model, 4)
    prune_low_magnitude(model, ConstantSparsity(0.75, 3, 3, 1))
    assert zeros(model) == [24, 8]
    fit(model, 1)
    assert zeros(model) == [24, 8]
    fit(model, 1)  # the update of step 3 is made as step 2 ends
    assert zeros(model) == [36, 12]


# -- strip_pruning, get_masks ----------------------------------------------------------------------


def test_strip_what_was_never_marked():
    model = network()
    with pytest.warns(UserWarning, match="is not being pruned"):
        assert strip_pruning(model) is model


def test_strip_before_any_training():
    """K#16889, and TFMOT's comprehensive guide."""
    for model in (network(), compiled(network())):
        with pytest.warns(UserWarning, match="is dense: it took 0 training steps"):
            assert zeros(strip_pruning(prune_low_magnitude(model, HALF))) == [0, 0]


def test_frozen_before_it_is_stripped():
    model = compiled(prune_low_magnitude(network(), HALF))
    fit(model, 4)
    model.set_weights([np.ones_like(w) for w in model.get_weights()])
    model.trainable = False
    assert {k: int(m.sum()) for k, m in get_masks(model).items()} == {
        "a/kernel": 24,
        "out/kernel": 8,
    }
    with pytest.warns(UserWarning, match="32 weights that are pruned were not zero"):
        assert zeros(strip_pruning(model)) == [24, 8]


def test_weights_that_the_optimizer_does_not_know():
    """K#9940, wanda#83, K#23244: unfrozen and not compiled anew, or with LoRA."""
    model = network()
    model.layers[0].trainable = False
    fit(compiled(prune_low_magnitude(model, HALF)), 4)
    model.layers[0].trainable = True
    model.layers[1].enable_lora(2)
    assert list(get_masks(model)) == ["out/kernel"]
    assert zeros(strip_pruning(model))[:2] == [0, 8]


# -- files of weights ------------------------------------------------------------------------------


def test_weights_loaded_into_a_model_that_was_just_compiled(tmp_path, recwarn):
    model = compiled(prune_low_magnitude(network(), HALF))
    fit(model, 4)
    model.save_weights(tmp_path / "m.weights.h5")
    other = compiled(prune_low_magnitude(network(), HALF))
    other.load_weights(tmp_path / "m.weights.h5")
    fit(other, 2)
    assert (zeros(other), other.optimizer.steps_taken) == ([24, 8], 6)
    assert not [w for w in recwarn if "variable" in str(w.message)]  # nothing was skipped


def test_weights_of_a_model_without_pruning_say_that_there_are_no_masks(tmp_path):
    plain = compiled(network(), "adam")
    fit(plain, 2)
    plain.save_weights(tmp_path / "m.weights.h5")
    model = compiled(prune_low_magnitude(network(), HALF))
    model.load_weights(tmp_path / "m.weights.h5")
    with pytest.warns(UserWarning, match="Masks and step were not loaded"):
        fit(model, 4)
    assert zeros(model) == [24, 8]


# -- TFMOT's arguments of the wrapper --------------------------------------------------------------


def test_arguments_of_tfmots_wrapper():
    layer = prune_low_magnitude(keras.layers.Dense(8), HALF, input_shape=(6,), name="first")
    model = keras.Sequential([layer, keras.layers.Dense(2)])
    assert model.get_layer("first") is layer
    assert model.built
    assert not prune_low_magnitude(keras.layers.Dense(2), HALF, trainable=False).trainable
    for shape in ({"input_dim": 6}, {"batch_input_shape": (None, 6)}):
        layer = prune_low_magnitude(keras.layers.Dense(8), HALF, dtype="bfloat16", **shape)
        assert keras.Sequential([layer]).input_shape == (None, 6)
        assert (layer.kernel.dtype, mark_of(layer) is not None) == ("bfloat16", True)
    wrongs = ({"name": 3}, {"input_shape": 6}, {"trainable": "no"}, {"input_dim": "6"})
    for wrong in (*wrongs, {"batch_input_shape": 6}, {"dtype": "float31"}):
        layer = keras.layers.Dense(2)
        with pytest.raises(InputError, match=f"`{next(iter(wrong))}`"):
            prune_low_magnitude(layer, HALF, **wrong)
        assert mark_of(layer) is None
    with pytest.raises(InputError, match=r"'name'.*go with a single layer"):
        prune_low_magnitude(network(), HALF, name="first")
