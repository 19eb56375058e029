"""Training with `fit`: against arithmetic in NumPy on every backend, and the compiled loop."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from tfinit.datasets import Dataset
from tfinit.errors import InputError, WorkError
from tfinit.training import METRICS, Augment, Diverged, FitLoop, batch_indices

BACKENDS = pytest.mark.backends
BACKEND = keras.backend.backend()
# Where this file runs without TensorFlow there is no tf_keras either.
TF_KERAS = pytest.mark.skipif(not importlib.util.find_spec("tf_keras"), reason="needs tf_keras")
ON_TENSORFLOW = pytest.mark.skipif(BACKEND != "tensorflow", reason="needs TensorFlow")
L = keras.layers


def examples(rows, *more):
    rng = np.random.default_rng(rows)
    return rng.normal(size=(rows, 5)).astype("f4"), rng.integers(0, 3, rows).astype("i4"), *more


DATA = Dataset("made up", examples(50), examples(20), examples(30), classes=3)
START = np.random.default_rng(0).normal(size=(5, 3)).astype("f4")


def compiled(k=keras, optimizer=None, hidden=(), **kwargs):
    model = k.Sequential(
        [k.layers.Input((5,)), *hidden, k.layers.Dense(3, use_bias=False, name="fc")]
    )
    loss = k.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer or k.optimizers.SGD(0.5), loss, **kwargs)
    if not hidden:
        model.layers[-1].set_weights([START])
    return model


def kernel(model):
    return np.array(model.get_weights()[-1])


def softmax_regression(data, order, rate=0.5):
    """The weights before the first step and after each one."""
    x, y, sample_weight = (*data.train, np.ones(len(data.train[1])))[:3]
    w, path = START.astype("f8"), [START]
    for rows in order:
        z = x[rows] @ w
        p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
        error = (p - np.eye(3)[y[rows]]) * sample_weight[rows, None]
        w = w - rate * x[rows].T @ error / len(rows)
        path.append(w)
    return path


def mean_loss_and_accuracy(split, w):
    x, y = split
    z = x @ w
    return losses_of(z, y).mean(), (z.argmax(1) == y).mean()


def losses_of(z, y):
    log_p = z - np.log(np.exp(z).sum(1, keepdims=True))
    return -log_p[np.arange(len(y)), y]


def training_losses(data, order, path):
    """That of each step, before it is made."""
    x, y, weight = (*data.train, np.ones(len(data.train[1])))[:3]
    return [
        (losses_of(x[rows] @ w, y[rows]) * weight[rows]).mean()
        for rows, w in zip(order, path[:-1], strict=True)
    ]


@BACKENDS
@pytest.mark.parametrize("weighted", [False, True])
def test_it_does_the_arithmetic_of_softmax_regression(weighted):
    more = [np.linspace(0, 3, 50, dtype="f4")] if weighted else []
    data = Dataset("made up", (*DATA.train[:2], *more), DATA.validation, DATA.test, 3)
    order = batch_indices(50, 8, 25, seed=3)
    path = softmax_regression(data, order)
    model, seen, steps = compiled(), {}, []
    marks = {k: (lambda k=k: seen.update({k: kernel(model)})) for k in (0, 1, 13, 20, 25)}
    metrics = FitLoop(model, data)(
        25, 8, seed=3, evaluate_every=10, progress=steps.append, at=marks
    )
    np.testing.assert_allclose(kernel(model), path[25], rtol=1e-5, atol=1e-6)
    assert list(seen) == [0, 1, 13, 20, 25]
    for k, w in seen.items():
        np.testing.assert_allclose(w, path[k], rtol=1e-5, atol=1e-6)
    assert metrics.step.tolist() == [0, 10, 20, 25]
    assert sum(steps) == 25
    assert tuple(metrics.values) == METRICS
    for row, k in enumerate(metrics.step):
        for split in ("validation", "test"):
            loss, accuracy = mean_loss_and_accuracy(getattr(DATA, split), path[k])
            np.testing.assert_allclose(metrics.values[f"{split}_loss"][row], loss, rtol=1e-5)
            assert metrics.values[f"{split}_accuracy"][row] == accuracy
    assert metrics.losses.dtype == np.float32
    np.testing.assert_allclose(metrics.losses, training_losses(data, order, path), rtol=1e-4)


@BACKENDS
def test_from_a_later_step_the_data_goes_on():
    path = softmax_regression(DATA, batch_indices(50, 8, 25, seed=3))
    model = compiled()
    loop = FitLoop(model, DATA)
    loop(9, 8, seed=3, evaluate_every=5)
    metrics = loop(25, 8, seed=3, evaluate_every=5, start=9)
    assert metrics.step.tolist() == [9, 10, 15, 20, 25]
    np.testing.assert_allclose(kernel(model), path[25], rtol=1e-5, atol=1e-6)


@BACKENDS
def test_inputs_in_a_dictionary():
    inputs = {"left": L.Input((2,), name="left"), "right": L.Input((3,), name="right")}
    outputs = L.Dense(3, use_bias=False)(L.Concatenate()([inputs["left"], inputs["right"]]))
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.SGD(0.5), compiled().loss)
    model.set_weights([START])

    def split(x, y):
        return {"left": x[:, :2], "right": x[:, 2:]}, y

    data = Dataset("parts", split(*DATA.train), None, split(*DATA.test), 3)
    metrics = FitLoop(model, data)(12, 8, seed=3, evaluate_every=12)
    path = softmax_regression(DATA, batch_indices(50, 8, 12, seed=3))
    np.testing.assert_allclose(kernel(model), path[12], rtol=1e-5, atol=1e-6)
    assert tuple(metrics.values) == METRICS[2:]
    assert metrics.values["test_accuracy"][-1] == mean_loss_and_accuracy(DATA.test, path[12])[1]


@BACKENDS
def test_inputs_and_outputs_in_lists():
    inputs = [L.Input((2,)), L.Input((3,))]
    both = L.Concatenate()(inputs)
    outputs = [L.Dense(3, use_bias=False, name="fc")(both), L.Dense(1, name="by")(both)]
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.SGD(0.5), [compiled().loss, "mse"], loss_weights=[1.0, 0.0])
    model.get_layer("fc").set_weights([START])

    def split(x, y):
        return [x[:, :2], x[:, 2:]], [y, x[:, :1]]

    data = Dataset("parts", split(*DATA.train), None, split(*DATA.test), None)
    metrics = FitLoop(model, data)(12, 8, seed=3, evaluate_every=12)
    order = batch_indices(50, 8, 12, seed=3)
    path = softmax_regression(DATA, order)
    np.testing.assert_allclose(
        np.array(model.get_layer("fc").kernel), path[12], rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(metrics.losses, training_losses(DATA, order, path), rtol=1e-4)


@BACKENDS
def test_augmented_pictures_are_those_that_were_drawn():
    """The gradient of minus the sum of pictures times a weight is minus the mean picture."""
    rng = np.random.default_rng(1)
    pictures = rng.normal(size=(40, 4, 4, 1)).astype("f4"), np.zeros((40, 1), "f4")
    model = keras.Sequential([L.Input((4, 4, 1)), L.Flatten(), L.Dense(1, use_bias=False)])
    model.compile(keras.optimizers.SGD(1.0), lambda y, p: -p[:, 0])
    model.set_weights([np.zeros((16, 1))])
    augment = Augment(crop=1)
    data = Dataset("pictures", pictures, pictures, None, 0)
    FitLoop(model, data, augment)(7, 16, seed=5, evaluate_every=7)
    order, draws = batch_indices(40, 16, 7, seed=5), augment.draw(16, 0, 7, seed=5)
    seen = [augment.apply_numpy(pictures[0][r], d) for r, d in zip(order, draws, strict=True)]
    expected = np.sum([s.mean(0) for s in seen], axis=0).reshape(16, 1)
    np.testing.assert_allclose(kernel(model), expected, rtol=1e-5, atol=1e-6)


@BACKENDS
def test_noise_is_a_function_of_the_seed():
    model = compiled(optimizer=keras.optimizers.Adam(0.1), hidden=[L.Dropout(0.5)])
    loop, trained = FitLoop(model, DATA), []
    for seed in (1, 1, 2):
        model.set_weights([START])
        loop.reset()
        loop(10, 8, seed=seed, evaluate_every=10)
        trained.append(kernel(model).tobytes())
    assert trained[0] == trained[1] != trained[2]


@BACKENDS
def test_the_last_row_is_that_of_the_averaged_weights():
    optimizer = keras.optimizers.SGD(0.5, use_ema=True, ema_momentum=0.5)
    model, seen = compiled(optimizer=optimizer), {}
    metrics = FitLoop(model, DATA)(
        3, 8, seed=3, evaluate_every=3, at={3: lambda: seen.update(w=kernel(model))}
    )
    path = softmax_regression(DATA, batch_indices(50, 8, 3, seed=3))
    average = path[1] / 4 + path[2] / 4 + path[3] / 2
    np.testing.assert_allclose(kernel(model), average, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(seen["w"], kernel(model))
    loss, accuracy = mean_loss_and_accuracy(DATA.test, average)
    np.testing.assert_allclose(metrics.values["test_loss"][-1], loss, rtol=1e-5)
    assert metrics.values["test_accuracy"][-1] == accuracy


@BACKENDS
@pytest.mark.skipif(BACKEND == "torch", reason="Keras has no steps_per_execution there")
def test_steps_per_execution_hides_no_step():
    model, seen = compiled(steps_per_execution=4), {}
    at = {3: lambda: seen.update(w=kernel(model))}
    metrics = FitLoop(model, DATA)(10, 8, seed=3, evaluate_every=5, at=at)
    order = batch_indices(50, 8, 10, seed=3)
    path = softmax_regression(DATA, order)
    np.testing.assert_allclose(metrics.losses, training_losses(DATA, order, path), rtol=1e-4)
    assert metrics.step.tolist() == [0, 5, 10]
    np.testing.assert_allclose(seen["w"], path[3], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(kernel(model), path[10], rtol=1e-5, atol=1e-6)
    assert model.steps_per_execution == 4


TEN_TIMES = L.Rescaling(10.0)


def poisoned():
    """Not finite, ten times as large, only in a row that is reached at step 4 of seed 6."""
    x, y = DATA.train
    order = batch_indices(50, 8, 10, seed=6)
    late = next(r for r in order[3] if r not in order[:3])
    x = x.copy()
    x[late, 0] = 3e38
    return Dataset("poisoned", (x, y), DATA.validation, DATA.test, 3)


@BACKENDS
def test_the_first_step_whose_loss_is_not_finite_is_named():
    with pytest.raises(Diverged, match="step 4") as error:
        loop = FitLoop(compiled(hidden=[TEN_TIMES]), poisoned())
        loop(steps=10, batch_size=8, seed=6, evaluate_every=2)
    assert error.value.step == 4
    assert error.value.metrics.step.tolist() == [0, 2]
    assert error.value.metrics.losses.shape == (3,)


@BACKENDS
def test_weights_that_are_lost_are_found_where_no_loss_tells_of_them():
    """As with TensorFlow's ReLU on some processors: NaN becomes 0, and the loss is a number."""
    blind = L.Activation(lambda z: keras.ops.where(keras.ops.abs(z) < 1e30, z, 0.0))
    with pytest.raises(Diverged, match="weights are not finite after step 6") as error:
        FitLoop(compiled(hidden=[TEN_TIMES, L.Dense(8), blind]), poisoned())(
            10, 8, seed=6, evaluate_every=3
        )
    assert error.value.step == 6
    assert error.value.metrics.step.tolist() == [0, 3]
    model = compiled(hidden=[TEN_TIMES, L.Dense(8), blind])
    with pytest.raises(Diverged, match="weights are not finite after step 5"):
        FitLoop(model, poisoned())(10, 8, seed=6, evaluate_every=10, at={5: pytest.fail})


@BACKENDS
def test_what_cannot_be_trained():
    model = keras.Sequential([L.Input((5,)), L.Dense(3)])
    with pytest.raises(InputError, match=r"must be compiled: call model\.compile"):
        FitLoop(model, DATA)
    with pytest.raises(InputError, match=r"`augment` needs images of shape"):
        FitLoop(compiled(), DATA, Augment())
    with pytest.raises(InputError, match=r"`batch_size` must be in 1\.\.50"):
        FitLoop(compiled(), DATA)(5, 51, seed=0, evaluate_every=5)


@ON_TENSORFLOW
def test_it_equals_the_compiled_loop_with_all_that_a_layer_brings():
    from tfinit.training import CompiledLoop

    def make():
        hidden = [
            L.Dense(8, activation="relu", kernel_regularizer="l2"),
            L.BatchNormalization(),
            L.Dropout(0.5),
        ]
        return compiled(optimizer=keras.optimizers.SGD(0.05, momentum=0.9), hidden=hidden)

    ours, theirs = make(), make()
    theirs.set_weights(ours.get_weights())
    one = CompiledLoop(ours, DATA, xla=False)(25, 8, seed=3, evaluate_every=10)
    theirs.jit_compile = False  # XLA draws other numbers for Dropout
    two = FitLoop(theirs, DATA)(25, 8, seed=3, evaluate_every=10)
    for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    assert one.step.tolist() == two.step.tolist()
    np.testing.assert_allclose(one.losses, two.losses, rtol=1e-4)
    for name, column in one.values.items():
        np.testing.assert_allclose(column, two.values[name], rtol=1e-5)


@ON_TENSORFLOW
def test_a_tf_data_set_decides_the_batches():
    import tensorflow as tf

    rows = batch_indices(50, 8, 6, seed=1)
    batches = tf.data.Dataset.from_tensor_slices((DATA.train[0][rows], DATA.train[1][rows]))
    model = compiled()
    data = Dataset("stream", batches, DATA.validation, DATA.test, 3)
    # It has 6 batches; 10 steps begin it again.
    metrics = FitLoop(model, data)(10, 99, seed=5, evaluate_every=5)
    path = softmax_regression(DATA, np.concatenate([rows, rows])[:10])
    np.testing.assert_allclose(kernel(model), path[10], rtol=1e-5, atol=1e-6)
    assert metrics.step.tolist() == [0, 5, 10]
    with pytest.raises(InputError, match=r"`augment` needs.*Augment in your pipeline"):
        FitLoop(model, data, Augment())


@ON_TENSORFLOW
def test_a_strategy_of_tensorflow_sees_every_batch_of_a_generator():
    import tensorflow as tf

    order = batch_indices(50, 8, 6, seed=1)

    def batches():
        for rows in order:
            yield DATA.train[0][rows], DATA.train[1][rows]

    with tf.distribute.MirroredStrategy(["/cpu:0"]).scope():
        model = compiled()
    data = Dataset("stream", batches, DATA.validation, DATA.test, 3)
    metrics = FitLoop(model, data)(10, 8, seed=5, evaluate_every=5, start=3)
    seen = np.concatenate([order, order])[3:10]
    path = softmax_regression(DATA, seen)
    np.testing.assert_allclose(metrics.losses, training_losses(DATA, seen, path), rtol=1e-4)


@BACKENDS
def test_a_training_that_is_stopped_is_no_result():
    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = batch == 3

    loop = FitLoop(compiled(), DATA, callbacks=lambda: [Stop()])
    with pytest.raises(WorkError, match="fit stopped after 4 of 10 steps"):
        loop(10, 8, seed=3, evaluate_every=5)


@TF_KERAS
@ON_TENSORFLOW
@pytest.mark.parametrize("steps_per_execution", [1, 4])
def test_tf_keras_does_the_same_arithmetic(steps_per_execution):
    import tf_keras

    model, seen, steps = compiled(tf_keras, steps_per_execution=steps_per_execution), {}, []
    at = {13: lambda: seen.update(w=kernel(model))}
    metrics = FitLoop(model, DATA)(25, 8, seed=3, evaluate_every=10, progress=steps.append, at=at)
    order = batch_indices(50, 8, 25, seed=3)
    path = softmax_regression(DATA, order)
    np.testing.assert_allclose(metrics.losses, training_losses(DATA, order, path), rtol=1e-4)
    np.testing.assert_allclose(kernel(model), path[25], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(seen["w"], path[13], rtol=1e-5, atol=1e-6)
    assert metrics.step.tolist() == [0, 10, 20, 25]
    assert sum(steps) == 25
    for row, k in enumerate(metrics.step):
        loss, accuracy = mean_loss_and_accuracy(DATA.test, path[k])
        np.testing.assert_allclose(metrics.values["test_loss"][row], loss, rtol=1e-5)
        assert metrics.values["test_accuracy"][row] == accuracy


@TF_KERAS
@ON_TENSORFLOW
def test_tf_keras_names_the_step_that_diverges():
    import tf_keras

    with pytest.raises(Diverged) as error:
        loop = FitLoop(compiled(tf_keras, hidden=[tf_keras.layers.Rescaling(10.0)]), poisoned())
        loop(10, 8, seed=6, evaluate_every=2)
    assert error.value.step == 4
    assert error.value.metrics.step.tolist() == [0, 2]


@TF_KERAS
@ON_TENSORFLOW
@pytest.mark.parametrize("form", [str, "function", "object"])
def test_a_loss_of_tf_keras_by_its_name_as_a_function_or_as_an_object(form):
    import tf_keras

    name, losses = "sparse_categorical_crossentropy", tf_keras.losses
    loss = {str: name, "function": getattr(losses, name)}.get(
        form, losses.SparseCategoricalCrossentropy()
    )
    layers = tf_keras.layers
    model = tf_keras.Sequential([layers.Input((5,)), layers.Dense(3, activation="softmax")])
    model.compile("sgd", loss)
    metrics = FitLoop(model, DATA)(1, 8, seed=3, evaluate_every=1)
    x, y = DATA.test
    w, b = model.get_weights()
    logits = x @ w + b
    expected = np.mean(np.log(np.exp(logits).sum(1)) - logits[np.arange(len(y)), y])
    assert metrics.values["test_loss"][-1] == pytest.approx(expected, rel=1e-4)


@TF_KERAS
@ON_TENSORFLOW
def test_two_outputs_of_tf_keras():
    import tf_keras

    layers = tf_keras.layers
    inputs = layers.Input((5,))
    outputs = [layers.Dense(1, name="a")(inputs), layers.Dense(1, name="b")(inputs)]
    model = tf_keras.Model(inputs, outputs)
    model.compile("sgd", ["mse", "mae"], loss_weights=[1.0, 0.5])
    x = DATA.train[0]
    split = x, [x[:, :1], x[:, 1:2]]
    metrics = FitLoop(model, Dataset("two", split, None, split, None))(30, 8, 3, evaluate_every=30)
    a, b = model.predict(x, verbose=0)
    expected = ((a - x[:, :1]) ** 2).mean() + 0.5 * np.abs(b - x[:, 1:2]).mean()
    assert metrics.values["test_loss"][-1] == pytest.approx(expected, rel=1e-4)
    assert metrics.losses[-5:].mean() < 0.7 * metrics.losses[:5].mean()


ON_TWO_DEVICES = """
import importlib, keras, numpy as np, tensorflow as tf
[cpu, *_] = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from tfinit.training import FitLoop, batch_indices
from small_networks import DATA

def loss_of(model, x, y):
    kernel, bias = model.get_weights()
    z = x @ kernel + bias
    return (np.log(np.exp(z).sum(1)) - z[np.arange(len(y)), y]).mean()

for name in ("keras", "tf_keras"):
    keras = importlib.import_module(name)
    with tf.distribute.MirroredStrategy(["/cpu:0", "/cpu:1"]).scope():
        model = keras.Sequential([keras.layers.Input((5,)), keras.layers.Dense(3)])
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(0.5), loss, metrics=["accuracy"])
    rows = batch_indices(50, 8, 4, seed=3)[0]
    first = loss_of(model, *(part[rows] for part in DATA.train))
    metrics = FitLoop(model, DATA)(4, 8, 3, evaluate_every=4)
    np.testing.assert_allclose(metrics.losses[0], first, rtol=1e-4)
    np.testing.assert_allclose(
        metrics.values["test_loss"][-1], loss_of(model, *DATA.test), rtol=1e-4
    )
    assert "test_accuracy" in metrics.values
"""


@TF_KERAS
@ON_TENSORFLOW
def test_on_two_devices_losses_and_metrics_are_of_the_whole_batch():
    shared = Path(__file__).parents[1] / "shared"
    paths = os.pathsep.join([str(shared), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", ON_TWO_DEVICES],
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
