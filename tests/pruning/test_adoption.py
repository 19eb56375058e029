"""A marked model is pruned however it is trained, or somebody says that it was not."""

import gc
import warnings

import keras
import numpy as np
import pytest
import wrapt
from keras import ops

from tfinit.errors import InputError
from tfinit.pruning import (
    ConstantSparsity,
    PolynomialDecay,
    SparseOptimizer,
    UpdatePruningStep,
    compact,
    get_masks,
    hold_zeros,
    prune_low_magnitude,
    sparsity_report,
    strip_pruning,
)
from tfinit.pruning.marks import mark_of

pytestmark = pytest.mark.backends
X = np.random.default_rng(0).normal(size=(16, 6)).astype("float32")
HALF = ConstantSparsity(0.5, begin_step=2, end_step=4, frequency=2)
EAGERLY = keras.backend.backend() != "jax"  # where that is cheaper than to compile


def network(**layers):
    parts = {"a": keras.layers.Dense(8, name="a"), "out": keras.layers.Dense(2, name="out")}
    return keras.Sequential([keras.Input((6,)), *(parts | layers).values()])


def compiled(model, optimizer="sgd"):
    model.compile(keras.optimizers.get(optimizer), "mse", run_eagerly=EAGERLY)
    return model


def fit(model, steps, **settings):
    model.fit(X[: 4 * steps], X[: 4 * steps, :2], batch_size=4, verbose=0, **settings)


def zeros(model):
    """Zeros in each kernel, of 48 and 16."""
    found = [ops.convert_to_numpy(w) for w in model.weights if len(w.shape) == 2]
    return [int((kernel == 0).sum()) for kernel in found]


def step_by(optimizer, model, steps=5):
    """Steps of a loop that is somebody's own: any gradient will do."""
    for _ in range(steps):
        gradients = [ops.ones(w.shape) for w in model.trainable_variables]
        optimizer.apply(gradients, model.trainable_variables)


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


# -- loops of somebody's own -----------------------------------------------------------------------


class Adversary(keras.Model):
    """Trains another model, with an optimizer of its own."""

    def __init__(self, generator, optimizer):
        super().__init__()
        self.generator, self.by = generator, optimizer

    def call(self, x):
        return self.generator(x)

    def train_step(self, data):
        step_by(self.by, self.generator, 1)
        return {"loss": ops.zeros(())}


not_jax = pytest.mark.skipif(
    keras.backend.backend() == "jax", reason="train_step is another one on JAX"
)


@not_jax
def test_a_generator_that_another_models_optimizer_trains():
    """Torch-Pruning#94, M#271."""
    generator = prune_low_magnitude(network(), HALF)
    with pytest.warns(UserWarning, match="fit: .*trained by an optimizer that prunes nothing"):
        fit(compiled(Adversary(generator, keras.optimizers.SGD())), 4)
    before = generator.get_weights()
    with pytest.raises(InputError, match=r"they are dense.*SparseOptimizer\(optimizer"):
        strip_pruning(generator)
    assert all(np.array_equal(a, b) for a, b in zip(generator.get_weights(), before, strict=True))


@not_jax
@pytest.mark.parametrize("marked", [True, False])
def test_a_generator_whose_zeros_another_models_optimizer_keeps(marked):
    generator = network()
    if marked:
        prune_low_magnitude(generator, HALF)
    optimizer = SparseOptimizer("sgd", HALF, scope=generator)
    fit(compiled(Adversary(generator, optimizer)), 4)
    assert {key: int((~m).sum()) for key, m in get_masks(generator).items()} == {
        "a/kernel": 24,
        "out/kernel": 8,
    }
    assert zeros(strip_pruning(generator)) == [24, 8]


def test_a_loop_with_a_plain_optimizer_is_found_when_saved_reported_or_stripped(tmp_path):
    model = prune_low_magnitude(network(), HALF)
    step_by(keras.optimizers.SGD(), model)  # the optimizer itself is gone then
    with pytest.warns(UserWarning, match="being saved or copied.*they are dense"):
        model.save(tmp_path / "m.keras")
    with pytest.warns(UserWarning, match="trained by an optimizer that prunes nothing"):
        sparsity_report(model)
    with pytest.raises(InputError, match="trained by an optimizer that prunes nothing"):
        strip_pruning(model)


def test_a_loop_with_a_plain_optimizer_after_the_pruning(tmp_path):
    """The file would be of a dense model, and a copy go on from there: `strip_pruning` mends it."""
    model = compiled(prune_low_magnitude(network(), HALF))
    fit(model, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        model.save(tmp_path / "m.keras")
    step_by(keras.optimizers.SGD(), model)
    with pytest.warns(UserWarning, match="being saved or copied .* pruned are not zero"):
        model.save(tmp_path / "m.keras")
    with pytest.warns(UserWarning, match="reported on .* pruned are not zero"):
        sparsity_report(model)
    with pytest.warns(UserWarning, match="32 weights that are pruned were not zero"):
        assert zeros(strip_pruning(model)) == [24, 8]


def test_what_a_plain_optimizer_did_before_the_model_was_marked_does_not_count():
    model = network()
    optimizer = keras.optimizers.SGD()
    prune_low_magnitude(network(), HALF)
    step_by(optimizer, model)
    prune_low_magnitude(model, HALF)
    with pytest.warns(UserWarning, match="is dense: it took 0 training steps"):
        assert zeros(strip_pruning(model)) == [0, 0]


@pytest.mark.parametrize("given", ["compiled", "before", "after"])
def test_the_callback_counts_the_steps_of_any_optimizer(given):
    """M#271: TFMOT's loop; `model.optimizer` is another one than steps, or is set later."""
    model, optimizer = prune_low_magnitude(network(), HALF), keras.optimizers.SGD()
    if given == "compiled":
        compiled(model, "adam")
    if given == "before":
        model.optimizer = optimizer
    callback = UpdatePruningStep()
    callback.set_model(model)
    if given == "after":
        model.optimizer = optimizer
    callback.on_train_begin()
    seen = []
    for _ in range(6):
        callback.on_train_batch_begin(batch=-1)
        seen.append(zeros(model))
        step_by(optimizer, model, 1)
    callback.on_epoch_end(batch=-1)
    assert seen == [[0, 0], *[[24, 8]] * 5]
    assert zeros(model) == zeros(strip_pruning(model)) == [24, 8]


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


# -- zeros that are there already ------------------------------------------------------------------


def pruned_and_stripped():
    model = compiled(prune_low_magnitude(network(), HALF))
    fit(model, 4)
    return strip_pruning(model)


def test_zeros_train_until_the_first_update_and_the_warning_gives_both_numbers():
    """sparseml#145. TFMOT does so without a word."""
    model = pruned_and_stripped()
    late = ConstantSparsity(0.25, 3, frequency=1)
    with pytest.warns(UserWarning, match=r"50\.0% of .* until step 3, which prunes 25\.0%"):
        fit(compiled(model, SparseOptimizer("sgd", late, scope=model)), 1)
    assert sum(zeros(model)) < 8


@pytest.mark.parametrize(("target", "expected"), [(0.25, [24, 8]), (0.75, [36, 12])])
def test_keep_zeros(target, expected):
    model = pruned_and_stripped()
    before = ops.convert_to_numpy(model.layers[0].kernel) == 0
    late = ConstantSparsity(target, 3, frequency=1)
    compiled(model, SparseOptimizer("sgd", late, scope=model, keep_zeros=True))
    fit(model, 1)
    assert zeros(model) == [24, 8]
    fit(model, 4)
    assert zeros(model) == expected
    assert np.all(ops.convert_to_numpy(model.layers[0].kernel)[before] == 0)


def test_hold_zeros_of_a_stripped_and_of_a_compacted_model():
    stripped = pruned_and_stripped()
    for model in (stripped, compact(stripped).model):
        before = zeros(model)
        fit(compiled(model, hold_zeros(model, "adam")), 4)
        assert zeros(model) == before
        assert min(before) > 0
    with pytest.raises(InputError, match="no zeros to hold"):
        hold_zeros(network())


@pytest.mark.parametrize("by", ["hold_zeros", "keep_zeros"])
def test_zeros_of_a_layer_that_is_frozen_while_its_head_trains(by):
    model = pruned_and_stripped()
    model.layers[0].trainable = False
    if by == "hold_zeros":
        optimizer = hold_zeros(model, "sgd")
    else:
        late = ConstantSparsity(0.25, 3, frequency=1)  # less than the zeros that are there
        optimizer = SparseOptimizer("sgd", late, scope=model, keep_zeros=True)
    fit(compiled(model, optimizer), 4)
    model.layers[0].trainable = True
    fit(compiled(model), 2)
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
