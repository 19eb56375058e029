"""Pruning on a schedule, as only TensorFlow can: strategies, loss scaling, tf.function, resuming.

Rows 16, 19, 20, 24, 25 and 26 of the acceptance list.
"""

import json
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfinit.pruning as sparsity
from tfinit.pruning import ConstantSparsity, PolynomialDecay, SparseOptimizer
from tfinit.variables import prunable_weights

X = np.random.default_rng(1).normal(size=(64, 8)).astype("float32")
Y = np.random.default_rng(2).integers(0, 3, 64)
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
DECAY = PolynomialDecay(0.1, 0.8, 1, 20, frequency=3)


def network():
    glorot = keras.initializers.GlorotNormal
    return keras.Sequential(
        [
            keras.Input((8,)),
            keras.layers.Dense(20, "relu", name="a", kernel_initializer=glorot(1)),
            keras.layers.Dense(3, name="b", kernel_initializer=glorot(2)),
        ]
    )


def fit(model, epochs, callbacks=()):
    return model.fit(
        X, Y, batch_size=8, epochs=epochs, shuffle=False, verbose=0, callbacks=list(callbacks)
    )


def zeros(model):
    return [int(np.sum(v.numpy() == 0)) for v in prunable_weights(model).values()]


@pytest.fixture
def policy():
    yield keras.config.set_dtype_policy
    keras.config.set_dtype_policy("float32")


@pytest.mark.parametrize(
    ("name", "jit_compile"),
    [("mixed_float16", False), ("mixed_float16", True), ("mixed_bfloat16", True)],
)
def test_acceptance_16_mixed_precision_on_a_schedule(policy, name, jit_compile):
    policy(name)
    model = network()
    model.compile(SparseOptimizer("adam", DECAY, scope=model), LOSS, jit_compile=jit_compile)
    fit(model, 3)
    assert zeros(model) == [128, 48]
    for v, mask in zip(
        prunable_weights(model).values(), sparsity.get_masks(model).values(), strict=True
    ):
        np.testing.assert_array_equal(v.numpy() != 0, mask)


@pytest.fixture(scope="module")
def by_fit():
    model = network()
    model.compile(SparseOptimizer(keras.optimizers.SGD(0.1), DECAY, scope=model), LOSS)
    fit(model, 3)
    return model


@pytest.mark.parametrize("jit_compile", [False, True])
def test_acceptance_19_a_custom_loop_under_tf_function(jit_compile, by_fit):
    """`optimizer.apply` is enough; the loop ends where `fit` does."""
    by_hand = network()
    optimizer = SparseOptimizer(keras.optimizers.SGD(0.1), DECAY, scope=by_hand)

    @tf.function(jit_compile=jit_compile)
    def step(x, y):
        with tf.GradientTape() as tape:
            loss = LOSS(y, by_hand(x, training=True))
        weights = by_hand.trainable_variables
        optimizer.apply(tape.gradient(loss, weights), weights)

    for _ in range(3):
        for i in range(0, 64, 8):
            step(X[i : i + 8], Y[i : i + 8])
    assert zeros(by_hand) == [128, 48]
    for a, b in zip(by_fit.get_weights(), by_hand.get_weights(), strict=True):
        np.testing.assert_array_equal(a != 0, b != 0)
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


def test_acceptance_20_a_strategy_of_two_devices(tmp_path):
    """Equal masks on both, equal to those of one device; weights within float error."""
    script = textwrap.dedent(
        """
        import json, sys, warnings
        import numpy as np, tensorflow as tf, keras
        cpu = tf.config.list_physical_devices("CPU")[0]
        device = tf.config.LogicalDeviceConfiguration()
        tf.config.set_logical_device_configuration(cpu, [device, device])
        import tfinit.pruning as sparsity
        rng = np.random.default_rng(1)
        x, y = rng.normal(size=(64, 8)).astype("float32"), rng.integers(0, 3, 64)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        glorot = keras.initializers.GlorotNormal

        def train(scope, build, **settings):
            with scope:
                model = keras.Sequential([
                    keras.Input((8,)),
                    keras.layers.Dense(20, "relu", name="a", kernel_initializer=glorot(1)),
                    keras.layers.Dense(3, name="b", kernel_initializer=glorot(2)),
                ])
                optimizer = sparsity.SparseOptimizer(
                    keras.optimizers.Adam(0.01), scope=model, **settings)
                model.compile(optimizer, loss)
                if build:  # else `fit` does, which costs a second trace of the step
                    optimizer.build(model.trainable_variables)
            model.fit(x, y, batch_size=8, epochs=3, shuffle=False, verbose=0)
            copies = []
            for variable in model.trainable_variables:
                mask = model.optimizer._pruner.mask_of(variable)
                if mask is not None:
                    values = [np.array(v) for v in getattr(mask.value, "values", [mask.value])]
                    weights = [np.array(v) for v in getattr(variable.value, "values", [])]
                    assert all(np.array_equal(w != 0, m) for w, m in zip(weights, values))
                    copies.append(values)
            return copies, [w.tolist() for w in model.get_weights()]

        import contextlib
        decay = sparsity.PolynomialDecay(0.1, 0.8, 1, 20, frequency=3)
        late = sparsity.ConstantSparsity(0.8, 2, 20, frequency=3)
        for name, settings in {
            "global": {"schedule": decay, "allocation": "global"},
            "rigl": {"schedule": late, "regrow": "rigl"},
            "movement": {"schedule": late, "score": "movement"},
        }.items():
            strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
            assert strategy.num_replicas_in_sync == 2
            two, weights = train(strategy.scope(), name != "global", **settings)
            one, alone = train(contextlib.nullcontext(), True, **settings)
            assert [len(m) for m in two] == [2, 2] and [len(m) for m in one] == [1, 1]
            equal = [np.array_equal(a, b) for a, b in two]
            same = [np.array_equal(a[0], b[0]) for a, b in zip(two, one)]
            close = max(np.abs(np.subtract(a, b)).max() for a, b in zip(weights, alone))
            zeros = [int((~m[0]).sum()) for m in two]
            print("RESULT", json.dumps([name, equal, same, float(close), zeros]))
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=300, check=False
    )
    results = [
        json.loads(line[7:]) for line in done.stdout.splitlines() if line.startswith("RESULT")
    ]
    assert [r[0] for r in results] == ["global", "rigl", "movement"], done.stderr[-3000:]
    for _, equal, same, close, zeros in results:
        assert equal == same == [True, True]
        assert close < 1e-4
        assert sum(zeros) == 128 + 48


def test_acceptance_24_a_keras_file_loads_without_custom_objects_and_stripped_without_tfinit(
    tmp_path,
):
    model = network()
    model.compile(SparseOptimizer("adam", DECAY, scope=model), LOSS)
    fit(model, 3)
    model.save(tmp_path / "pruning.keras")
    sparsity.strip_pruning(model).save(tmp_path / "stripped.keras")
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "y.npy", model(X))
    script = textwrap.dedent(
        f"""
        import sys, numpy as np, keras
        x, y = np.load(r"{tmp_path}/x.npy"), np.load(r"{tmp_path}/y.npy")
        model = keras.saving.load_model(r"{tmp_path}/stripped.keras")
        assert not any(m.split(".")[0] == "tfinit" for m in sys.modules)
        np.testing.assert_array_equal(model(x), y)
        assert [int((v.numpy() == 0).sum()) for v in model.trainable_variables[::2]] == [128, 48]
        import tfinit
        model = keras.saving.load_model(r"{tmp_path}/pruning.keras")
        assert type(model.optimizer).__name__ == "SparseOptimizer"
        np.testing.assert_array_equal(model(x), y)
        print("WELL")
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=200, check=False
    )
    assert done.stdout.strip().endswith("WELL"), done.stderr[-3000:]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"allocation": {"a/kernel": 0.8, "b/kernel": 0.4}},
        {"regrow": "set", "allocation": "erk"},
        {"score": "movement", "schedule": PolynomialDecay(0.1, 0.8, 2, 20, frequency=3)},
    ],
    ids=["magnitude", "by key", "set", "movement"],
)
def test_acceptance_25_resumed_from_a_file_equals_uninterrupted_bit_for_bit(settings, tmp_path):
    whole = network()
    arguments = {"schedule": DECAY, **settings}
    whole.compile(SparseOptimizer(keras.optimizers.Adam(0.01), scope=whole, **arguments), LOSS)
    whole.optimizer.build(whole.trainable_variables)
    fit(whole, 1)
    whole.save(tmp_path / "half.keras")
    resumed = keras.saving.load_model(tmp_path / "half.keras")
    for model in (whole, resumed):
        fit(model, 3)
    assert len(whole.optimizer.variables) == len(resumed.optimizer.variables)
    for a, b in zip(whole.weights, resumed.weights, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    for a, b in zip(whole.optimizer.variables, resumed.optimizer.variables, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy(), err_msg=a.path)
    assert int(resumed.optimizer.iterations) == 32


def test_acceptance_25_backup_and_restore_equals_uninterrupted(tmp_path):
    class Power(Exception):
        pass

    class Cut(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise Power

    def start():
        model = network()
        model.compile(SparseOptimizer(keras.optimizers.Adam(0.01), DECAY, scope=model), LOSS)
        return model

    whole = start()
    fit(whole, 4)
    with pytest.raises(Power):
        fit(start(), 4, [keras.callbacks.BackupAndRestore(tmp_path / "backup"), Cut()])
    resumed = start()
    fit(resumed, 4, [keras.callbacks.BackupAndRestore(tmp_path / "backup")])
    for a, b in zip(whole.weights, resumed.weights, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    for a, b in zip(whole.optimizer.variables, resumed.optimizer.variables, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy(), err_msg=a.path)


def subclassed():
    class Mine(keras.Model):
        def __init__(self):
            super().__init__()
            self.first = keras.layers.Dense(20, "relu")
            self.second = keras.layers.Dense(3)

        def call(self, x):
            return self.second(self.first(x))

    return Mine()


def functional():
    inputs = {"x": keras.Input((8,), name="x")}
    hidden = keras.layers.Dense(20, "relu", name="a")(inputs["x"])
    return keras.Model(inputs, {"y": keras.layers.Dense(3, name="b")(hidden)})


@pytest.mark.parametrize("make", [network, functional, subclassed])
def test_acceptance_26_strip_leaves_no_variable_and_the_same_predictions(make):
    model = make()
    data = {"x": X} if make is functional else X
    before = model(data)  # builds the subclassed one
    assert before is not None
    names = [v.path for v in model.variables]
    sparsity.prune_low_magnitude(model, ConstantSparsity(0.5, 1))
    model.compile("adam", {"y": LOSS} if make is functional else LOSS)
    model.fit(data, {"y": Y} if make is functional else Y, batch_size=8, verbose=0)
    trained = keras.tree.map_structure(np.array, model(data))
    stripped = sparsity.strip_pruning(model)
    assert [v.path for v in stripped.variables] == names
    assert not stripped.compiled and getattr(stripped, "optimizer", None) is None
    assert zeros(stripped) == [80, 30]
    for a, b in zip(keras.tree.flatten(trained), keras.tree.flatten(stripped(data)), strict=True):
        np.testing.assert_array_equal(a, b)
    # What comes next is training as usual.
    stripped.compile("sgd", {"y": LOSS} if make is functional else LOSS)
    assert isinstance(stripped.optimizer, keras.optimizers.SGD)


def test_strip_of_single_layers_takes_their_marks():
    layer = sparsity.prune_low_magnitude(keras.layers.Dense(3), ConstantSparsity(0.5, 1))
    model = keras.Sequential([keras.Input((8,)), layer])
    model.compile("adam", LOSS)
    fit(model, 1)
    stripped = sparsity.strip_pruning(model)
    stripped.compile("adam", LOSS)
    assert isinstance(stripped.optimizer, keras.optimizers.Adam)
    fit(model, 1)  # the pruned one goes on
    assert zeros(model) == [12]


@pytest.mark.parametrize("score", ["magnitude", "movement"])
def test_a_program_of_xla_on_a_gpu_reaches_every_variable(score):
    """TensorFlow keeps int32 on the CPU, and XLA refuses it there ("on a different device")."""
    model = network()
    schedule = ConstantSparsity(0.5, 2, frequency=1)
    model.compile(SparseOptimizer("sgd", schedule, scope=model, score=score), LOSS)
    model.optimizer.build(model.trainable_variables)
    kinds = {variable.path: variable.value.dtype for variable in model.optimizer.variables}
    assert any(path.endswith("pruning_step") for path in kinds)
    assert tf.int32 not in kinds.values(), kinds
