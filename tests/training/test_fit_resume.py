"""A training with `fit` that was left goes on to the same bits, on every backend."""

import dataclasses
import importlib.util

import keras
import numpy as np
import pytest
from small_networks import DATA, L, bits, compiled

from tfinit.datasets import Dataset
from tfinit.errors import InputError
from tfinit.training import Augment, FitLoop

BACKENDS = pytest.mark.backends
BACKEND = keras.backend.backend()
ON_TENSORFLOW = pytest.mark.skipif(BACKEND != "tensorflow", reason="needs TensorFlow")
TF_KERAS = pytest.mark.skipif(not importlib.util.find_spec("tf_keras"), reason="needs tf_keras")


def noisy():
    optimizer = keras.optimizers.AdamW(0.02, use_ema=True, ema_momentum=0.8)
    hidden = [L.BatchNormalization(), L.Dropout(0.4), L.GaussianNoise(0.1)]
    return compiled(optimizer, hidden), DATA, None


def pictured():
    rng = np.random.default_rng(1)
    pictures = rng.normal(size=(40, 4, 4, 1)).astype("f4"), rng.normal(size=(40, 1)).astype("f4")
    model = keras.Sequential([L.Input((4, 4, 1)), L.Flatten(), L.Dropout(0.5), L.Dense(1)])
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    return model, Dataset("pictures", pictures, pictures, None, 0), Augment(crop=1)


class Batches(keras.utils.PyDataset):
    """Five batches of eight rows, in the order of the rows."""

    def __len__(self):
        return 5

    def __getitem__(self, n):
        return tuple(part[8 * n : 8 * n + 8] for part in DATA.train)


def streamed():
    model, data, _ = noisy()
    return model, dataclasses.replace(data, train=Batches()), None


def leave_and_go_on(make, steps):
    """Metrics and all bits of a training, then those of each that was left on its way."""

    def train(loop, **kwargs):
        return loop(steps, 8, seed=3, evaluate_every=5, start=2, **kwargs)

    model, data, augment = make()
    left = []
    whole = train(FitLoop(model, data, augment), checkpoint=lambda now: left.append(now()))
    yield whole, bits(model)
    for partial in left[::2]:
        assert 2 < partial.step < steps
        model, data, augment = make()
        loop, done, marks = FitLoop(model, data, augment), [], []
        assert loop.fits(partial)
        at = {n: (lambda n=n, m=marks: m.append(n)) for n in range(2, steps + 1)}
        metrics = train(loop, resume=partial, progress=done.append, at=at)
        assert marks == list(range(partial.step + 1, steps + 1))
        assert (done[0], sum(done)) == (partial.step - 2, steps - 2)
        yield metrics, bits(model)


@BACKENDS
@pytest.mark.parametrize("make", [noisy, pictured, streamed])
def test_it_goes_on_to_the_same_bits(make):
    (whole, expected), *others = leave_and_go_on(make, 18)
    assert len(others) >= 2
    for metrics, found in others:
        assert found == expected
        np.testing.assert_array_equal(metrics.step, whole.step)
        np.testing.assert_array_equal(metrics.losses, whole.losses)
        assert metrics.losses.shape == (16,)
        for name, column in whole.values.items():
            np.testing.assert_array_equal(metrics.values[name], column)


@BACKENDS
def test_another_network_does_not_fit():
    model, data, _ = noisy()
    left = []
    FitLoop(model, data)(6, 8, 3, evaluate_every=3, checkpoint=lambda now: left.append(now()))
    loop = FitLoop(compiled(), data)
    before = bits(loop.model)
    assert not loop.fits(left[0])
    with pytest.raises(InputError, match="`resume` is of another network"):
        loop(6, 8, 3, evaluate_every=3, resume=left[0])
    assert bits(loop.model) == before


@BACKENDS
def test_reset_puts_back_masks_and_moments():
    from tfinit.pruning import SparseOptimizer

    model = compiled()
    model.compile(SparseOptimizer(keras.optimizers.Adam(0.1), scope=model), model.loss)
    loop = FitLoop(model, DATA)
    weights, fresh = model.get_weights(), [np.array(v) for v in model.optimizer.variables]
    ended = []
    for _ in range(2):
        model.set_weights(weights)
        loop.reset()
        for variable, value in zip(model.optimizer.variables, fresh, strict=True):
            np.testing.assert_array_equal(np.array(variable), value)
        loop(5, 8, seed=3, evaluate_every=5)
        ended.append(bits(model))
    assert ended[0] == ended[1]


@TF_KERAS
@ON_TENSORFLOW
def test_tf_keras_with_masks_of_tfmot():
    import tf_keras

    from tfinit.pruning import TfmotPruner

    layers = tf_keras.layers

    def make():
        plain = tf_keras.Sequential(
            [
                layers.Input((5,)),
                layers.Dense(8, "relu", kernel_initializer=tf_keras.initializers.GlorotNormal(1)),
                layers.BatchNormalization(),
                layers.Dense(3, kernel_initializer=tf_keras.initializers.GlorotNormal(2)),
            ]
        )
        pruner = TfmotPruner(plain)
        pruner.prune({"dense/kernel": 20, "dense_1/kernel": 10})
        loss = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        pruner.model.compile(tf_keras.optimizers.Adam(0.05), loss)
        loop = FitLoop(
            pruner.model,
            DATA,
            callbacks=lambda: [pruner.callback()],
            before_evaluation=pruner.apply_masks,
        )
        return pruner, loop

    def ended(pruner):
        optimizer = pruner.model.optimizer
        return [np.array(v).tobytes() for v in [*pruner.model.weights, *optimizer.variables]]

    pruner, loop = make()
    left = []
    whole = loop(12, 8, 3, evaluate_every=5, checkpoint=lambda now: left.append(now()))
    expected = ended(pruner)
    assert {int(m.sum()) for m in pruner.get_masks().values()} == {20, 10}
    for partial in left[1:3]:
        pruner, loop = make()
        assert loop.fits(partial)
        metrics = loop(12, 8, 3, evaluate_every=5, resume=partial)
        assert ended(pruner) == expected
        np.testing.assert_array_equal(metrics.losses, whole.losses)
        np.testing.assert_array_equal(metrics.values["test_loss"], whole.values["test_loss"])


@TF_KERAS
@ON_TENSORFLOW
def test_tf_keras_with_noise_begins_anew():
    import tf_keras

    layers = tf_keras.layers
    left = []
    model = tf_keras.Sequential([layers.Input((5,)), layers.Dropout(0.5), layers.Dense(3)])
    model.compile("sgd", tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    loop = FitLoop(model, DATA)
    loop(6, 8, 3, evaluate_every=3, checkpoint=lambda now: left.append(now()))
    assert not loop.fits(left[0])
