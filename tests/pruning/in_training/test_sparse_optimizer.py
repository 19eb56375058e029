"""SparseOptimizer on every backend: this file also runs with KERAS_BACKEND=jax and torch."""

import keras
import numpy as np
import pytest
from keras import ops

from tfinit.errors import InputError
from tfinit.pruning import ConstantSparsity, SparseOptimizer, get_masks, set_masks
from tfinit.variables import prunable_weights

pytestmark = pytest.mark.backends
BACKEND = keras.backend.backend()
O = keras.optimizers  # noqa: E741

INNER = {
    "sgd": lambda: O.SGD(0.1),
    "momentum": lambda: O.SGD(0.1, momentum=0.9, nesterov=True),
    "weight decay": lambda: O.SGD(0.1, momentum=0.9, weight_decay=0.01),
    "adam": lambda: O.Adam(0.01),
    "amsgrad": lambda: O.Adam(0.01, amsgrad=True),
    "adamw": lambda: O.AdamW(0.01, weight_decay=0.1),
    "lion": lambda: O.Lion(0.005, weight_decay=0.1),
    "muon": lambda: O.Muon(0.01),
    "rmsprop": lambda: O.RMSprop(0.01, momentum=0.9),
    "ema": lambda: O.Adam(0.01, use_ema=True, ema_momentum=0.8, ema_overwrite_frequency=3),
    "muon ema": lambda: O.Muon(0.01, use_ema=True, ema_momentum=0.8, ema_overwrite_frequency=2),
    "global_clipnorm": lambda: O.SGD(0.1, momentum=0.9, global_clipnorm=0.05),
    "clipvalue": lambda: O.Adam(0.01, clipvalue=0.01),
    "accumulation": lambda: O.Adam(0.01, gradient_accumulation_steps=3),
    "loss scale": lambda: O.LossScaleOptimizer(O.Adam(0.01), initial_scale=8.0),
}


def muon_works():
    """Keras 3.12, the last one for Python 3.10, has a Muon that fails on TensorFlow."""
    variable = keras.Variable(np.ones((2, 2), "float32"))
    muon = O.Muon()
    muon.build([variable])
    try:
        muon.apply([ops.ones((2, 2))], [variable])
    except AttributeError:
        return False
    return True


if not muon_works():
    INNER = {name: make for name, make in INNER.items() if "muon" not in name}
EMA = "muon ema" if "muon ema" in INNER else "ema"
X = np.random.default_rng(0).normal(size=(64, 8)).astype("float32")
Y = np.random.default_rng(1).integers(0, 3, 64).astype("int32")
MASKS = {
    "a/kernel": np.random.default_rng(2).random((8, 16)) < 0.4,
    "b/kernel": np.random.default_rng(3).random((16, 3)) < 0.4,
}


def build():
    layers = keras.layers
    glorot = keras.initializers.GlorotNormal
    return keras.Sequential(
        [
            layers.Input((8,)),
            layers.Dense(16, "relu", name="a", kernel_initializer=glorot(1)),
            layers.Dense(3, name="b", kernel_initializer=glorot(2)),
        ]
    )


def compiled(inner, masks=MASKS, **kwargs):
    model = build()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(SparseOptimizer(inner), loss, **kwargs)
    if masks is not None:
        set_masks(model, masks)
    return model


def values(model):
    return {k: np.array(ops.convert_to_numpy(v)) for k, v in prunable_weights(model).items()}


def assert_zeros(model, masks=MASKS):
    for key, value in values(model).items():
        assert np.all(value[~masks[key]] == 0), key
        assert np.any(value[masks[key]] != 0), key


class ZerosAfterEveryBatch(keras.callbacks.Callback):
    """Looks at the weights after every batch that Keras reports."""

    def __init__(self):
        super().__init__()
        self.looked = 0

    def on_train_batch_end(self, batch, logs=None):
        if BACKEND == "jax":
            self.model.jax_state_sync()
        assert_zeros(self.model)
        self.looked += 1


def gradients_at(weights, step):
    """Made-up gradients: they depend on the weights and the step, and are nowhere zero."""
    rng = np.random.default_rng(step)
    return [rng.normal(size=w.shape).astype("float32") + 0.1 * w for w in weights]


@pytest.mark.parametrize("name", INNER)
def test_equals_masking_gradient_and_weight_by_hand(name, rng):
    """Acceptance 15: zeros exactly, and survivors as if the gradient itself had been masked."""
    if name == "loss scale" and BACKEND == "jax":
        pytest.skip("Keras's LossScaleOptimizer.apply cannot run eagerly on JAX; `fit` is tested")
    shapes = [(6, 4), (4,), (3, 3, 2, 4)]
    start = [rng.normal(size=s).astype("float32") for s in shapes]
    masks = [rng.random(s) < 0.5 if len(s) > 1 else np.ones(s, bool) for s in shapes]
    start = [w * m for w, m in zip(start, masks, strict=True)]

    ours = [keras.Variable(w, name=f"w{i}") for i, w in enumerate(start)]
    sparse = SparseOptimizer(INNER[name]())
    sparse.build(ours)
    sparse.assign_masks([(v, m) for v, m in zip(ours, masks, strict=True) if m.ndim > 1])

    theirs = [keras.Variable(w, name=f"r{i}") for i, w in enumerate(start)]
    plain = INNER[name]()
    plain.build(theirs)

    for step in range(7):
        at = [ops.convert_to_numpy(v) for v in ours]
        sparse.apply([ops.convert_to_tensor(g) for g in gradients_at(at, step)], ours)
        at = [ops.convert_to_numpy(v) for v in theirs]
        by_hand = [g * m for g, m in zip(gradients_at(at, step), masks, strict=True)]
        plain.apply([ops.convert_to_tensor(g) for g in by_hand], theirs)
        for v, m in zip(theirs, masks, strict=True):
            v.assign(ops.convert_to_numpy(v) * m)
        for a, b, m in zip(ours, theirs, masks, strict=True):
            a, b = ops.convert_to_numpy(a), ops.convert_to_numpy(b)
            assert np.all(a[~m] == 0), step
            np.testing.assert_array_equal(a, b, err_msg=f"step {step}")

    sparse.finalize_variable_values(ours)
    plain.finalize_variable_values(theirs)
    for a, b, m in zip(ours, theirs, masks, strict=True):
        a, b = ops.convert_to_numpy(a), ops.convert_to_numpy(b) * m
        assert np.all(a[~m] == 0)
        np.testing.assert_array_equal(a, b)
    assert any(
        not np.array_equal(ops.convert_to_numpy(v), w) for v, w in zip(ours, start, strict=True)
    )


FIT = {
    "plain": {"jit_compile": False},
    "jit": {"jit_compile": True},
    "spe": {"steps_per_execution": 8},
}
if BACKEND == "jax":  # where nothing else is of use than to compile
    FIT = {"plain": {}, "spe": FIT["spe"]}
if BACKEND == "torch":  # Keras refuses steps_per_execution there, and compiles with a C++ compiler
    FIT = {"plain": {}}


@pytest.mark.parametrize(
    ("name", "mode"),
    [(name, "plain") for name in ("momentum", EMA, "accumulation", "loss scale")]
    + [(name, mode) for mode in FIT if mode != "plain" for name in (EMA, "loss scale")],
)
def test_zeros_after_every_batch_of_fit(name, mode):
    """Acceptance 14 and 21."""
    model = compiled(INNER[name](), **FIT[mode])
    watch = ZerosAfterEveryBatch()
    before = values(model)
    model.fit(X, Y, batch_size=4, epochs=1, verbose=0, callbacks=[watch])
    assert watch.looked == (2 if mode == "spe" else 16)
    assert_zeros(model)
    assert all(not np.array_equal(before[k], v) for k, v in values(model).items())


@pytest.mark.skipif(BACKEND != "tensorflow", reason="the reference loop is TensorFlow's tape")
@pytest.mark.parametrize(
    ("name", "mode"),
    # What more of an optimizer's arguments do to its step is compared eagerly, above.
    [(name, "plain") for name in ("momentum", "adamw", "global_clipnorm", "accumulation")]
    + [("loss scale", "plain"), ("adam", "jit"), (EMA, "jit"), (EMA, "spe")],
)
def test_fit_equals_a_loop_that_masks_gradient_and_weight_by_hand(name, mode):
    """Acceptance 15 and 21, compiled: a plain optimizer under a tape, step by step, in NumPy."""
    import tensorflow as tf

    ours, theirs, plain = compiled(INNER[name](), **FIT[mode]), build(), INNER[name]()
    loss_of = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    weights = theirs.trainable_variables
    masks = [MASKS.get(f"{v.path.split('/', 1)[1]}", np.True_) for v in weights]
    plain.build(weights)
    for v, mask in zip(weights, masks, strict=True):
        v.assign(v.numpy() * mask)

    ours.fit(X[:32], Y[:32], batch_size=4, shuffle=False, verbose=0)
    for start in range(0, 32, 4):
        with tf.GradientTape() as tape:
            loss = loss_of(Y[start : start + 4], theirs(X[start : start + 4], training=True))
            loss = plain.scale_loss(loss)
        gradients = tape.gradient(loss, [v.value for v in weights])
        masked = [tf.constant(g.numpy() * m) for g, m in zip(gradients, masks, strict=True)]
        plain.apply(masked, weights)
        for v, mask in zip(weights, masks, strict=True):
            v.assign(v.numpy() * mask)
    plain.finalize_variable_values(weights)
    for v, mask in zip(weights, masks, strict=True):
        v.assign(v.numpy() * mask)

    assert_zeros(ours)
    for a, b in zip(ours.trainable_variables, weights, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-4, atol=2e-6)


def test_steps_per_execution_and_jit_train_to_the_same_weights():
    """Acceptance 21."""
    trained = []
    for kwargs in FIT.values():
        model = compiled(O.Adam(0.01), **kwargs)
        model.fit(X, Y, batch_size=4, epochs=2, shuffle=False, verbose=0)
        trained.append(values(model))
    for other in trained[1:]:
        for key, value in trained[0].items():
            np.testing.assert_allclose(value, other[key], rtol=1e-4, atol=1e-6)


def test_masks_of_ones_change_nothing():
    plain = build()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    plain.compile(O.Adam(0.01), loss)
    sparse = compiled(O.Adam(0.01), masks=None)
    for model in (plain, sparse):
        model.optimizer.build(model.trainable_variables)  # else Keras traces the step twice
        model.fit(X, Y, batch_size=8, epochs=2, shuffle=False, verbose=0)
    for key, value in values(plain).items():
        np.testing.assert_array_equal(value, values(sparse)[key])


def test_pruning_everything_leaves_zeros():
    model = compiled(O.Adam(0.01), {k: np.zeros_like(m) for k, m in MASKS.items()})
    model.fit(X, Y, verbose=0)
    assert all(np.all(v == 0) for v in values(model).values())


def test_a_nan_gradient_of_a_pruned_weight_reaches_nothing():
    v = keras.Variable(np.ones((2, 2), "float32"))
    sparse = SparseOptimizer(O.SGD(0.1, global_clipnorm=100.0))
    sparse.build([v])
    sparse.assign_masks([(v, [[1, 0], [1, 1]])])
    gradient = np.array([[1.0, np.nan], [1.0, 1.0]], "float32")
    sparse.apply([ops.convert_to_tensor(gradient)], [v])
    np.testing.assert_allclose(ops.convert_to_numpy(v), [[0.9, 0.0], [0.9, 0.9]], rtol=1e-6)


@pytest.mark.parametrize("regrow", ["set", "rigl"])
def test_a_weight_that_grows_again_begins_at_zero(regrow, rng):
    """Though the inner optimizer moved it in that very step, by the momentum that it had."""
    variable = keras.Variable(rng.normal(size=(10, 8)).astype("float32"), name="kernel")
    # Weight decay moves survivors alone; momentum, those too that were dropped lately.
    inner = O.SGD(0.1, momentum=0.9)
    each = ConstantSparsity(0.5, 1, frequency=1)
    sparse = SparseOptimizer(inner, each, regrow=regrow, start="random", drop_fraction=0.5)
    sparse.build([variable])
    grown = 0
    for step in range(12):
        before = sparse.get_mask(variable)
        g = gradients_at([ops.convert_to_numpy(variable)], step)
        sparse.apply([ops.convert_to_tensor(x) for x in g], [variable])
        new = sparse.get_mask(variable) & ~before
        grown += new.sum()
        assert np.all(ops.convert_to_numpy(variable)[new] == 0)
        assert np.all(ops.convert_to_numpy(variable)[~sparse.get_mask(variable)] == 0)
    assert grown > 12


def test_a_variable_without_gradient_keeps_its_zeros_under_ema():
    a, b = (keras.Variable(np.ones((2, 2), "float32"), name=n) for n in "ab")
    sparse = SparseOptimizer(O.SGD(0.1, use_ema=True, ema_overwrite_frequency=1))
    sparse.build([a, b])
    sparse.assign_masks([(b, [[0, 1], [1, 1]])])
    with pytest.warns(UserWarning, match="Gradients do not exist"):
        sparse.apply([ops.convert_to_tensor(np.ones((2, 2), "float32")), None], [a, b])
    assert ops.convert_to_numpy(b)[0, 0] == 0


def test_one_mask_for_a_layer_that_is_used_twice():
    """Acceptance 10."""
    shared = keras.layers.Dense(8, name="shared")
    x = keras.Input((8,))
    model = keras.Model(x, shared(keras.layers.ReLU()(shared(x))))
    model.compile(SparseOptimizer(O.Adam(0.01)), "mse")
    mask = np.eye(8, dtype=bool)
    set_masks(model, {"shared/kernel": mask})
    model.fit(X, X, verbose=0)
    assert np.all(ops.convert_to_numpy(shared.kernel)[~mask] == 0)
    assert len(get_masks(model)) == 1


@pytest.mark.parametrize("name", ["adam", EMA, "accumulation", "loss scale"])
def test_saved_and_loaded_goes_on_bit_for_bit(name, tmp_path):
    """Acceptance 24 and 25: no custom_objects, and the masks are in the file."""
    whole = compiled(INNER[name]())
    whole.fit(X, Y, batch_size=8, shuffle=False, verbose=0)
    whole.save(tmp_path / "half.keras")
    loaded = keras.saving.load_model(tmp_path / "half.keras")
    assert isinstance(loaded.optimizer, SparseOptimizer)
    for key, mask in get_masks(loaded).items():
        np.testing.assert_array_equal(mask, MASKS[key])
    for model in (whole, loaded):
        model.fit(X, Y, batch_size=8, shuffle=False, verbose=0)

    for key, value in values(whole).items():
        np.testing.assert_array_equal(value, values(loaded)[key])
    for a, b in zip(whole.optimizer.variables, loaded.optimizer.variables, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(a), ops.convert_to_numpy(b))


def test_config_round_trip():
    sparse = SparseOptimizer(O.AdamW(0.02, weight_decay=0.3), scope=["a/kernel"], name="mine")
    copy = SparseOptimizer.from_config(sparse.get_config())
    assert (copy.name, [rule.scope for rule in copy.rules]) == ("mine", [["a/kernel"]])
    assert isinstance(copy.inner_optimizer, O.AdamW)
    assert copy.inner_optimizer.weight_decay == 0.3
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(sparse))
    assert again.get_config() == sparse.get_config()


def test_only_the_variables_named_in_scope_carry_a_mask(tmp_path):
    model = build()
    paths = {v.path for v in model.trainable_variables}
    path = next(p for p in paths if p.endswith("b/kernel"))
    model.compile(SparseOptimizer(O.SGD(0.1), scope=[path]), "mse")
    model.optimizer.build(model.trainable_variables)
    has = {v.path for v in model.trainable_variables if model.optimizer.get_mask(v) is not None}
    assert has == {path}
    with pytest.raises(InputError, match="carries no mask"):
        model.optimizer.assign_masks([(model.layers[0].kernel, np.ones((8, 16)))])


def test_the_inner_optimizer_is_steered_through_the_outer_one():
    sparse = SparseOptimizer(O.SGD(0.1))
    v = keras.Variable(np.ones((2, 2), "float32"))
    sparse.build([v])
    sparse.learning_rate = 0.5
    assert float(ops.convert_to_numpy(sparse.inner_optimizer.learning_rate)) == 0.5
    sparse.apply([ops.ones((2, 2))], [v])
    assert int(ops.convert_to_numpy(sparse.iterations)) == 1
    np.testing.assert_allclose(ops.convert_to_numpy(v), 0.5)


def test_learning_rate_callbacks_reach_the_inner_optimizer():
    model = compiled(O.SGD(0.1))
    schedule = keras.callbacks.LearningRateScheduler(lambda epoch: 0.25)
    model.fit(X, Y, verbose=0, callbacks=[schedule])
    assert float(ops.convert_to_numpy(model.optimizer.inner_optimizer.learning_rate)) == 0.25


def test_an_optimizer_by_name():
    assert isinstance(SparseOptimizer("adam").inner_optimizer, O.Adam)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SparseOptimizer(None), "must be a keras.optimizers.Optimizer of Keras 3"),
        (lambda: SparseOptimizer(0.1), "must be a keras.optimizers.Optimizer of Keras 3"),
        (lambda: SparseOptimizer(O.SGD(), use_ema=True), "Set them on `inner_optimizer`"),
        (lambda: SparseOptimizer(O.SGD(), speed=3), r"arguments \['speed'\]"),
        (lambda: SparseOptimizer(O.SGD(), scope="a/kernel"), "Put it in a list"),
        (lambda: SparseOptimizer(O.SGD()).get_mask(keras.Variable([[1.0]])), "build"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_scope_that_names_no_variable():
    v = keras.Variable(np.ones((2, 2), "float32"), name="v")
    with pytest.raises(InputError, match="nowhere"):
        SparseOptimizer(O.SGD(), scope=["nowhere"]).build([v])


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        ({"a/kernel": MASKS["a/kernel"]}, r"missing \['b/kernel'\]"),
        ({**MASKS, "c/kernel": MASKS["a/kernel"]}, r"unknown \['c/kernel'\]"),
        ({**MASKS, "b/kernel": np.ones((3, 16))}, r"shape \(3, 16\)"),
        ({**MASKS, "b/kernel": np.full((16, 3), 0.5)}, "other than 0 and 1"),
    ],
)
def test_masks_that_do_not_fit_change_nothing(masks, message):
    model = compiled(O.SGD(0.1), masks=None)
    before = values(model)
    with pytest.raises(InputError, match=message):
        set_masks(model, masks)
    for key, value in values(model).items():
        np.testing.assert_array_equal(value, before[key])
    assert all(mask.all() for mask in get_masks(model).values())


def test_masks_need_a_sparse_optimizer():
    model = build()
    model.compile("adam", "mse")
    with pytest.raises(InputError, match="must be compiled with a SparseOptimizer"):
        set_masks(model, MASKS)
