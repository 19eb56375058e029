"""Which loop trains a model, and that it says why."""

import importlib.util
import warnings

import keras
import numpy as np
import pytest

import tfinit
from tfinit.datasets import Dataset
from tfinit.errors import InputError
from tfinit.training import trainer

BACKENDS = pytest.mark.backends
BACKEND = keras.backend.backend()
ON_TENSORFLOW = pytest.mark.skipif(BACKEND != "tensorflow", reason="needs TensorFlow")
TF_KERAS = pytest.mark.skipif(not importlib.util.find_spec("tf_keras"), reason="needs tf_keras")
L = keras.layers
X = np.random.default_rng(0).normal(size=(40, 5)).astype("f4")
Y = (X[:, 0] > 0).astype("i4") + (X[:, 1] > 0)
DATA = Dataset("made up", (X, Y), (X, Y), (X, Y), 3)


def compiled(k=keras, kind=None, **kwargs):
    kind = kind or k.Sequential
    model = kind([k.layers.Input((5,)), k.layers.Dense(3)])
    loss = k.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(k.optimizers.SGD(1.0), loss, **kwargs)
    return model


class Own(keras.Sequential):
    def train_step(self, *args):
        return super().train_step(*args)


class OwnLoss(keras.Sequential):
    def compute_loss(self, *args, **kwargs):
        return 2 * super().compute_loss(*args, **kwargs)


def learns(loop):
    metrics = loop(30, 20, seed=0, evaluate_every=30)
    assert metrics.step.tolist() == [0, 30]
    assert metrics.values["test_loss"][1] < 0.7 * metrics.values["test_loss"][0]
    assert metrics.values["test_accuracy"][1] > 0.8


@BACKENDS
def test_the_name_is_the_function_however_often_it_is_asked_for():
    for _ in range(2):
        assert callable(tfinit.training.trainer)
        assert set(tfinit.training.__all__) >= {"trainer", "CompiledLoop", "FitLoop", "Augment"}
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = tfinit.training.nonsense


@BACKENDS
@pytest.mark.skipif(BACKEND == "torch", reason="PyTorch trains with fit")
@pytest.mark.parametrize("kind", [keras.Sequential, OwnLoss])
def test_the_compiled_loop_where_it_can_and_without_a_word(kind):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        loop = trainer(compiled(kind=kind), DATA)
    assert loop.engine == "xla"
    if kind is keras.Sequential:
        learns(loop)


@BACKENDS
@pytest.mark.skipif(BACKEND != "torch", reason="needs PyTorch")
def test_fit_on_pytorch():
    with pytest.warns(UserWarning, match=f"Training with fit, .*: the {BACKEND} backend") as seen:
        loop = trainer(compiled(), DATA)
    assert (loop.engine, loop.why) == ("fit", f"the {BACKEND} backend")
    assert seen[0].filename == __file__
    learns(loop)


@BACKENDS
@pytest.mark.skipif(BACKEND == "torch", reason="PyTorch trains with fit")
@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: compiled(kind=Own), "Own has a train_step of its own"),
        (lambda: compiled(run_eagerly=True), "the model was compiled with run_eagerly"),
    ],
)
def test_fit_for_a_model_that_wants_it(make, why):
    with pytest.warns(UserWarning, match=f"Training with fit, .*: {why}") as seen:
        loop = trainer(make(), DATA)
    assert (loop.engine, loop.why) == ("fit", why)
    assert seen[0].filename == __file__
    learns(loop)


@ON_TENSORFLOW
def test_fit_for_tf_data():
    import tensorflow as tf

    stream = tf.data.Dataset.from_tensor_slices((X, Y)).batch(16)
    with pytest.warns(UserWarning, match="the training data is a tf.data.Dataset, not arrays"):
        loop = trainer(compiled(), Dataset("stream", stream, (X, Y), (X, Y), 3))
    learns(loop)


@ON_TENSORFLOW
def test_fit_for_a_distributed_model():
    import tensorflow as tf

    with tf.distribute.MirroredStrategy(["/cpu:0"]).scope():
        model = compiled()
    with pytest.warns(UserWarning, match=r"distributed by a tf\.distribute strategy"):
        loop = trainer(model, DATA)
    learns(loop)


@TF_KERAS
@ON_TENSORFLOW
def test_fit_for_tf_keras():
    import tf_keras

    with pytest.warns(UserWarning, match="a tf_keras model"):
        loop = trainer(compiled(tf_keras), DATA)
    assert loop.engine == "fit"
    learns(loop)


@BACKENDS
@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: 3, "`model` must be a Keras model, received 3"),
        (
            lambda: keras.Sequential([L.Input((5,)), L.Dense(3)]),
            r"must be compiled: call model\.compile\(optimizer, loss\)",
        ),
    ],
)
def test_what_cannot_be_trained(model, message):
    with pytest.raises(InputError, match=message):
        trainer(model(), DATA)
