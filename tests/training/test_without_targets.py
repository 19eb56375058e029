"""Networks all of whose loss comes from their layers: there are no targets."""

import keras
import numpy as np
import pytest

from tfinit.datasets import from_arrays
from tfinit.errors import InputError
from tfinit.training import trainer
from tfinit.training.fit import FitLoop

pytestmark = [
    pytest.mark.backends,
    pytest.mark.filterwarnings("ignore:Training with fit:tfinit.errors.TfinitWarning"),
]
X = np.random.default_rng(0).normal(size=(40, 3)).astype("float32")
DATA = from_arrays((X, None), (X[:10], None))


class Squares(keras.layers.Layer):
    def call(self, x):
        self.add_loss(keras.ops.mean(keras.ops.square(x)))
        return x


def network(loss=None):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), Squares()])
    model.layers[0].kernel.assign(np.ones((3, 2), "float32"))
    model.compile(keras.optimizers.SGD(0.1), loss)
    return model


@pytest.mark.parametrize("make", [trainer, FitLoop])
def test_every_loop_minimizes_what_the_layers_add(make):
    model = network()
    metrics = make(model, DATA)(5, 8, 0, 5)
    kernel, x = np.ones((3, 2)), DATA.train[0]
    from tfinit.training import batch_indices

    for n, rows in enumerate(batch_indices(len(x), 8, 5, 0)):
        outputs = x[rows] @ kernel
        if n == 0:
            assert metrics.losses[0] == pytest.approx((outputs**2).mean(), rel=1e-4)
            bias = np.zeros(2)
        outputs = outputs + bias
        slope = 2 * outputs / outputs.size
        kernel, bias = kernel - 0.1 * x[rows].T @ slope, bias - 0.1 * slope.sum(axis=0)
    np.testing.assert_allclose(model.get_weights()[0], kernel, rtol=1e-4, atol=1e-5)
    expected = ((X[:10] @ kernel + bias) ** 2).mean()
    assert metrics.values["test_loss"][-1] == pytest.approx(expected, rel=1e-4)


def test_a_loss_that_needs_targets_is_told():
    with pytest.raises(InputError, match=r"`data.train` has None for targets, .* without a loss"):
        trainer(network("mse"), DATA)


def test_a_data_set_without_targets_is_like_any_other():
    again = from_arrays((X, None), (X[:10], None))
    assert DATA.digest() == again.digest()
    assert (DATA.rows, DATA.classes, DATA.validation[1]) == (36, None, None)
    assert DATA.subset(5).train[1] is None
