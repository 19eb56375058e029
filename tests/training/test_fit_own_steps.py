"""Models with a `train_step` of their own, as Keras's guides write them for each backend."""

import doctest

import keras
import numpy as np
import pytest
from small_networks import DATA, LOSS, L, bits

from tfinit.datasets import Dataset
from tfinit.errors import InputError
from tfinit.training import FitLoop, checks, fit_steps

pytestmark = pytest.mark.backends
BACKEND = keras.backend.backend()


def gradients(model, loss_of, weights):
    """Loss and gradients, in the way of the backend: TensorFlow's or PyTorch's."""
    if BACKEND == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            loss = loss_of()
        return loss, tape.gradient(loss, weights)
    model.zero_grad()
    loss = loss_of()
    loss.backward()
    return loss, [w.value.grad for w in weights]


def apply(optimizer, found, weights):
    if BACKEND == "torch":
        import torch

        with torch.no_grad():
            optimizer.apply(found, weights)
    else:
        optimizer.apply(found, weights)


class Own(keras.Sequential):
    """Twice the loss, told by a running mean of its own, under ``told_as``."""

    told_as = "loss"

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.mean = keras.metrics.Mean(name="mine")

    @property
    def metrics(self):
        return [self.mean]

    if BACKEND == "jax":

        def train_step(self, state, data):
            import jax

            weights, others, of_optimizer, of_metrics = state
            x, y = data

            def loss_of(weights, others):
                z, others = self.stateless_call(weights, others, x, training=True)
                return 2 * self.compute_loss(x, y, z), others

            (loss, others), found = jax.value_and_grad(loss_of, has_aux=True)(weights, others)
            weights, of_optimizer = self.optimizer.stateless_apply(of_optimizer, found, weights)
            pairs = list(zip(self.metrics_variables, of_metrics, strict=True))
            with keras.StatelessScope(pairs) as scope:
                self.mean.update_state(loss)
                logs = {self.told_as: self.mean.result()}
            new = [scope.get_current_value(v) for v in self.metrics_variables]
            return logs, (weights, others, of_optimizer, new)

    else:

        def train_step(self, data):
            x, y = data
            weights = self.trainable_variables

            def loss_of():
                return 2 * self.compute_loss(x, y, self(x, training=True))

            loss, found = gradients(self, loss_of, weights)
            apply(self.optimizer, found, weights)
            self.mean.update_state(loss)
            return {self.told_as: self.mean.result()}


class Judged(Own):
    """With a ``test_step`` of its own, that counts in a mean of its own."""

    if BACKEND == "jax":

        def test_step(self, state, data):
            weights, others, of_metrics = state
            x, y = data
            z, others = self.stateless_call(weights, others, x, training=False)
            pairs = list(zip(self.metrics_variables, of_metrics, strict=True))
            with keras.StatelessScope(pairs) as scope:
                self.mean.update_state(3 * self.compute_loss(x, y, z), x.shape[0])
                logs = {"loss": self.mean.result()}
            new = [scope.get_current_value(v) for v in self.metrics_variables]
            return logs, (weights, others, new)

    else:

        def test_step(self, data):
            x, y = data
            loss = 3 * self.compute_loss(x, y, self(x, training=False))
            self.mean.update_state(loss, keras.ops.shape(x)[0])
            return {"loss": self.mean.result()}


class Silent(Own):
    told_as = "accuracy"


def made(kind, **kwargs):
    model = kind([L.Input((5,)), L.Dense(3, use_bias=False, name="fc")])
    model.compile(keras.optimizers.SGD(0.25), LOSS, **kwargs)
    return model


@pytest.mark.parametrize("eagerly", [False, True])
def test_each_step_has_its_own_loss_and_the_training_is_that_of_the_step(eagerly):
    """Twice the loss at half the rate: the weights of a plain training, and twice its losses."""
    plain = made(keras.Sequential)
    plain.optimizer.learning_rate = 0.5
    own = made(Own, run_eagerly=eagerly)
    own.set_weights(plain.get_weights())
    begun = bits(own)
    loop = FitLoop(own, DATA)
    assert bits(own) == begun  # the step that it was tried with left nothing
    one = FitLoop(plain, DATA)(12, 8, seed=3, evaluate_every=5)
    two = loop(12, 8, seed=3, evaluate_every=5)
    np.testing.assert_allclose(two.losses, 2 * one.losses, rtol=1e-4)
    np.testing.assert_allclose(own.get_weights()[0], plain.get_weights()[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(two.values["test_loss"], one.values["test_loss"], rtol=1e-4)


def test_a_test_step_of_its_own_is_what_it_is_measured_by():
    """In the middle of a training, whose own mean it uses: its losses are what they were."""
    own, judged = made(Own), made(Judged)
    judged.set_weights(own.get_weights())
    one = FitLoop(own, DATA)(12, 8, seed=3, evaluate_every=5)
    two = FitLoop(judged, DATA)(12, 8, seed=3, evaluate_every=5)
    np.testing.assert_allclose(two.losses, one.losses, rtol=1e-5)
    assert list(two.values) == ["validation_loss", "test_loss"]
    for name, column in two.values.items():
        np.testing.assert_allclose(column, 3 * one.values[name], rtol=1e-4)


def test_a_step_that_tells_no_loss_is_refused_and_undone():
    model = made(Silent)
    before = bits(model)
    with pytest.raises(InputError, match=r"tells of \['accuracy'\]: none of it is a loss"):
        FitLoop(model, DATA)
    assert bits(model)[:1] == before[:1]


def test_a_step_that_fails_is_told_of():
    class Broken(Own):
        def train_step(self, *args):
            raise ValueError("no such thing")

    with pytest.raises(InputError, match="a train_step of its own, which fails: no such thing"):
        FitLoop(made(Broken), DATA)


def numbers(rows):
    x = np.random.default_rng(rows).normal(size=(rows, 5)).astype("f4")
    return x, x[:, :3] * 2


class Two(keras.Model):
    """Two parts, each with an optimizer of its own, that tell a loss each."""

    def __init__(self):
        super().__init__()
        self.one, self.two = L.Dense(3, name="one"), L.Dense(3, name="two")
        self.drop = L.Dropout(0.3)

    def call(self, x, training=False):
        return self.one(self.drop(x, training=training)) + self.two(x)

    def compile(self, **kwargs):
        super().compile(**kwargs)
        self.second = keras.optimizers.Adagrad(0.1)

    def train_step(self, data):
        x, y = data
        told = {}
        parts = {"one": (self.one, self.optimizer), "two": (self.two, self.second)}
        for name, (part, optimizer) in parts.items():
            weights = part.trainable_variables

            def loss_of():
                return keras.ops.mean((self(x, training=True) - y) ** 2)

            loss, found = gradients(self, loss_of, weights)
            apply(optimizer, found, weights)
            told[f"{name}_loss"] = loss
        return told


@pytest.mark.skipif(BACKEND == "jax", reason="Keras's fit on JAX holds one optimizer")
def test_optimizers_besides_the_model_s_own_are_reset_and_go_on():
    def make():
        keras.utils.set_random_seed(4)
        model = Two()
        model(np.zeros((1, 5), "f4"))
        model.compile(optimizer=keras.optimizers.Adam(0.01), loss="mse")
        return model, FitLoop(model, Dataset("numbers", numbers(40), numbers(16), None, 0))

    def all_bits(model):
        return [*bits(model), *(np.array(v).tobytes() for v in model.second.variables)]

    model, loop = make()
    np.testing.assert_allclose(np.array(model.second.variables[2]), 0.1)  # as Adagrad begins
    weights, left = model.get_weights(), []
    first = loop(12, 8, 1, evaluate_every=4, checkpoint=lambda now: left.append(now()))
    expected = all_bits(model)
    model.set_weights(weights)
    loop.reset()
    again = loop(12, 8, 1, evaluate_every=4)
    assert all_bits(model) == expected
    np.testing.assert_array_equal(again.losses, first.losses)
    model, loop = make()
    assert loop.fits(left[1])
    loop(12, 8, 1, evaluate_every=4, resume=left[1])
    assert all_bits(model) == expected


@pytest.mark.parametrize("module", [checks, fit_steps])
def test_examples(module):
    failed, tried = doctest.testmod(module, extraglobs={"keras": keras})
    assert (failed, tried > 0) == (0, True)
