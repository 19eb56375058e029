"""A marked or pruned model, copied in every way that Keras has, is pruned on as TFMOT's is."""

import copy
import pickle

import keras
import numpy as np
import pytest
from keras import ops

from tfinit.pruning import (
    ConstantSparsity,
    SparseOptimizer,
    prune_low_magnitude,
    strip_pruning,
)
from tfinit.pruning.tfmot_api.marks import mark_of, marked_rules, unmark
from tfinit.variables import prunable_weights

pytestmark = pytest.mark.backends
X = np.random.default_rng(0).normal(size=(16, 6)).astype("float32")
SIZES = {"a/kernel": 48, "b/kernel": 64, "out/kernel": 16}
HALF = ConstantSparsity(0.5, begin_step=2, end_step=4, frequency=2)


def sequential():
    layers = [keras.layers.Dense(8, name="a"), keras.layers.Dense(8, name="b")]
    return keras.Sequential([keras.Input((6,)), *layers, keras.layers.Dense(2, name="out")])


def functional():
    inputs = keras.Input((6,))
    inner = keras.Sequential([keras.Input((6,)), keras.layers.Dense(8, name="a")], name="inner")
    x = keras.layers.Dense(8, name="b")(inner(inputs))
    return keras.Model(inputs, keras.layers.Dense(2, name="out")(x))


@keras.saving.register_keras_serializable("test_marks")
class Subclassed(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.parts = [
            keras.layers.Dense(n, name=name) for n, name in ((8, "a"), (8, "b"), (2, "out"))
        ]

    def build(self, shape):
        for part in self.parts:
            part.build(shape)
            shape = part.compute_output_shape(shape)
        self.built = True

    def call(self, x):
        for part in self.parts:
            x = part(x)
        return x


def subclassed():
    model = Subclassed()
    model.build((None, 6))
    return model


def saved(ending, **load):
    def make(model, directory):
        model.save(directory / f"m.{ending}")
        return keras.saving.load_model(directory / f"m.{ending}", **load)

    return make


COPIES = {
    "itself": lambda model, directory: model,
    "keras": saved("keras"),
    "keras, compile=False": saved("keras", compile=False),
    "h5": saved("h5"),
    "clone_model": lambda model, directory: keras.models.clone_model(model),
    "deepcopy": lambda model, directory: copy.deepcopy(model),
    "from_config": lambda model, directory: type(model).from_config(model.get_config()),
    "json": lambda model, directory: keras.models.model_from_json(model.to_json()),
}
KEEP_WEIGHTS = ("itself", "keras", "keras, compile=False", "h5", "deepcopy")


def zeros(model):
    weights = prunable_weights(model)
    return {
        key: int((ops.convert_to_numpy(v) == 0).sum())
        for key, v in zip(SIZES, weights.values(), strict=True)
    }


def fit(model, steps, optimizer=None):
    if optimizer is not None:
        # Not "mse": Keras cannot load that from an .h5 file.
        eagerly = keras.backend.backend() != "jax"
        model.compile(optimizer, keras.losses.MeanSquaredError(), run_eagerly=eagerly)
    model.fit(X[: 4 * steps], X[: 4 * steps, :2], batch_size=4, verbose=0)


HALVES = {key: size // 2 for key, size in SIZES.items()}


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5:UserWarning")
@pytest.mark.parametrize(
    ("make", "way"),
    # Of a subclassed model Keras makes no other copy, or none that is built.
    [(make, way) for make in (sequential, functional) for way in COPIES]
    + [(subclassed, way) for way in KEEP_WEIGHTS if way != "h5"],
)
def test_a_copy_of_a_marked_model_is_marked(make, way, tmp_path):
    model = COPIES[way](prune_low_magnitude(make(), HALF), tmp_path)
    fit(model, 4, keras.optimizers.SGD(0.1))
    assert zeros(model) == HALVES
    assert zeros(strip_pruning(model)) == HALVES


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5:UserWarning")
@pytest.mark.parametrize("way", KEEP_WEIGHTS)
def test_a_copy_of_a_pruned_model_goes_on_when_compiled_anew(way, tmp_path):
    """Its schedule has ended: what is not taken over would never be pruned again."""
    model = prune_low_magnitude(sequential(), HALF)
    fit(model, 4, keras.optimizers.SGD(0.1))
    model = COPIES[way](model, tmp_path)
    places = [ops.convert_to_numpy(v) == 0 for v in prunable_weights(model).values()]
    fit(model, 3, keras.optimizers.Adam())
    assert zeros(model) == HALVES
    for before, v in zip(places, prunable_weights(model).values(), strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(v) == 0, before)
    assert model.optimizer.steps_taken == 7


def test_a_clone_with_the_weights_goes_on_and_one_without_begins_anew():
    model = prune_low_magnitude(sequential(), HALF)
    fit(model, 4, keras.optimizers.SGD(0.1))
    fresh, same = keras.models.clone_model(model), keras.models.clone_model(model)
    same.set_weights(model.get_weights())
    for clone, steps in ((fresh, 1), (same, 5)):
        fit(clone, 1, keras.optimizers.SGD(0.1))
        assert clone.optimizer.steps_taken == steps
    assert zeros(same) == HALVES
    assert zeros(fresh) == HALVES  # the update of step 2 is made as step 1 ends
    same = keras.models.clone_model(model)  # compiled by Keras as the model is
    same.set_weights(model.get_weights())
    fit(same, 1)
    assert (zeros(same), same.optimizer.steps_taken) == (HALVES, 5)


def test_saved_between_compile_and_fit(tmp_path):
    model = sequential()
    optimizer = SparseOptimizer("sgd", HALF, scope=model)
    for built in (prune_low_magnitude(sequential(), HALF), model):
        built.compile(optimizer if built is model else "sgd", "mse")
        built.save(tmp_path / "m.keras")
        loaded = keras.saving.load_model(tmp_path / "m.keras")
        fit(loaded, 4)
        assert zeros(loaded) == HALVES


def test_saved_in_the_middle_of_a_schedule_and_loaded_without_the_optimizer(tmp_path):
    """The step is in the file too: the update of step 4 comes after one step more."""
    schedule = ConstantSparsity(0.5, begin_step=4, end_step=4, frequency=1)
    model = prune_low_magnitude(sequential(), schedule)
    fit(model, 2, keras.optimizers.SGD(0.1))
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras", compile=False)
    assert zeros(loaded) == dict.fromkeys(SIZES, 0)
    fit(loaded, 1, keras.optimizers.SGD(0.1))
    assert zeros(loaded) == HALVES


def test_a_single_layer_and_its_copies():
    layer = prune_low_magnitude(keras.layers.Dense(8, name="a"), HALF)
    for made in (layer, copy.deepcopy(layer), keras.layers.Dense.from_config(layer.get_config())):
        model = keras.Sequential([keras.Input((6,)), made, keras.layers.Dense(2)])
        fit(model, 4, keras.optimizers.SGD(0.1))
        assert [int((v == 0).sum()) for v in model.get_weights()][::2] == [24, 0]


@pytest.mark.filterwarnings("ignore:Nothing is left of")
def test_the_marks_of_a_model_become_one_rule_again():
    """So `allocation="global"` means all layers together in a copy too."""
    skewed = prune_low_magnitude(functional(), HALF, allocation="global")
    for model in (skewed, keras.models.clone_model(skewed)):
        assert len(marked_rules(model)) == 1
        weights = prunable_weights(model)
        weights[next(iter(weights))].assign(np.full((6, 8), 1e-3) + 1e-4 * X.T[:, :8])
        fit(model, 3, keras.optimizers.SGD(0.0))
        assert sum(zeros(model).values()) == 64  # half of 128
        assert zeros(model)["a/kernel"] == 48


def test_a_model_inside_keeps_a_mark_of_its_own():
    model = functional()
    prune_low_magnitude(model.get_layer("inner"), ConstantSparsity(0.75, 2, 4, 2))
    prune_low_magnitude(model, HALF)  # the rest
    for copied in (model, keras.models.clone_model(model)):
        fit(copied, 4, keras.optimizers.SGD(0.1))
        assert zeros(copied) == {"a/kernel": 36, "b/kernel": 32, "out/kernel": 8}


class OnlyB:
    """A policy: that layers called b are pruned."""

    def allow_pruning(self, layer):
        return layer.name == "b"

    def ensure_model_supports_pruning(self, model):
        pass


def test_a_copy_keeps_to_the_layers_that_a_policy_chose():
    model = prune_low_magnitude(functional(), HALF, pruning_policy=OnlyB())
    for copied in (model, keras.models.clone_model(model)):
        fit(copied, 4, keras.optimizers.SGD(0.1))
        assert zeros(copied) == {"a/kernel": 0, "b/kernel": 32, "out/kernel": 0}


def test_a_copy_of_a_subclassed_model_keeps_to_them_too(tmp_path):
    """Its layers are not made from the file, but by its own code: no marks are on them."""
    model = prune_low_magnitude(subclassed(), HALF, pruning_policy=OnlyB())
    for _ in range(2):
        model.save(tmp_path / "m.keras")
        model = keras.saving.load_model(tmp_path / "m.keras")
    fit(model, 4, keras.optimizers.SGD(0.1))
    assert zeros(model) == {"a/kernel": 0, "b/kernel": 32, "out/kernel": 0}


def test_layers_of_two_marked_models_that_are_called_alike():
    """As two are that were loaded from files. Both are pruned, each by its own rule."""
    models = []
    for name, sparsity in (("a", 0.5), ("b", 0.75)):
        layers = [keras.Input((6,)), keras.layers.Dense(6, name=name)]
        whole = keras.Sequential(layers, name="same")
        models.append(prune_low_magnitude(whole, ConstantSparsity(sparsity, 2, 4, 2)))
    model = keras.Sequential([keras.Input((6,)), models[0], models[1].layers[0]])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    model.fit(X, X, batch_size=4, verbose=0)
    assert [int((w == 0).sum()) for w in model.get_weights()][::2] == [18, 27]


def test_a_mark_leaves_the_dtype_as_it_is():
    policy = keras.dtype_policies.DTypePolicy("mixed_bfloat16")
    layer = keras.layers.Dense(4, dtype=policy)
    plain = keras.layers.Dense(4, dtype=policy)
    prune_low_magnitude(layer, HALF)
    for made in (layer, keras.layers.Dense.from_config(layer.get_config())):
        made.build((None, 3))
        assert mark_of(made) is not None
        assert made.dtype_policy.name == plain.dtype_policy.name
        assert (made.compute_dtype, made.variable_dtype) == ("bfloat16", "float32")
        assert made.kernel.dtype == "float32"
        assert made.quantization_mode is None
    layer.dtype_policy = "float32"
    assert (mark_of(layer) is not None, layer.compute_dtype) == (True, "float32")


def test_a_layer_with_a_map_of_policies():
    policies = keras.dtype_policies.DTypePolicyMap("float32")
    policies["chosen"] = keras.dtype_policies.DTypePolicy("bfloat16")
    for name, dtype in (("chosen", "bfloat16"), ("other", "float32")):
        layer = prune_low_magnitude(keras.layers.Dense(4, dtype=policies, name=name), HALF)
        for made in (layer, keras.layers.Dense.from_config(layer.get_config())):
            made.build((None, 3))
            assert (mark_of(made) is not None, made.kernel.dtype) == (True, dtype)
        unmark(layer)
        assert layer.dtype_policy is policies


def test_a_mark_is_pickled():
    policy = prune_low_magnitude(keras.layers.Dense(4, dtype="bfloat16"), HALF).dtype_policy
    for made in (pickle.loads(pickle.dumps(policy)), copy.deepcopy(policy)):
        assert (made.name, made.rule.schedule) == ("bfloat16", HALF)


def test_stripped_layers_have_their_own_dtype_policy_again(tmp_path):
    model = prune_low_magnitude(functional(), HALF)
    fit(model, 4, keras.optimizers.SGD(0.1))
    stripped = strip_pruning(model)
    stripped.save(tmp_path / "m.keras")
    assert "tfinit" not in stripped.to_json()
    assert type(stripped.get_layer("b").dtype_policy) is keras.dtype_policies.DTypePolicy


def test_quantized_while_it_is_marked(tmp_path):
    """A file of a pruned model that was quantized and not stripped loads, with a warning."""
    model = prune_low_magnitude(sequential(), HALF)
    fit(model, 4, keras.optimizers.SGD(0.1))
    model.quantize("int8")
    expected = model.predict(X, verbose=0)
    model.save(tmp_path / "m.keras")
    with pytest.warns(UserWarning, match="quantized or changed after it was pruned"):
        loaded = keras.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(loaded.predict(X, verbose=0), expected)
