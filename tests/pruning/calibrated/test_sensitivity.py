"""By how much the loss rises, beside masks of one's own, and what is made of it."""

import doctest
import json

import keras
import numpy as np
import pytest

from tfinit.errors import InputError
from tfinit.pruning import Sensitivity, prune_after_training, sensitivity
from tfinit.pruning.calibrated import sensitivity as module
from tfinit.pruning.calibrated.sensitivity import SensitiveWeight

L = keras.layers
X = np.random.default_rng(0).normal(size=(40, 6)).astype("f4")
Y = np.random.default_rng(1).normal(size=(40, 2)).astype("f4")


def array(tensor):
    return keras.ops.convert_to_numpy(tensor)


def network():
    keras.utils.set_random_seed(0)
    layers = [L.Dense(8, "relu", name="one"), L.Dropout(0.5), L.Dense(2, name="two")]
    model = keras.Sequential([keras.Input((6,)), *layers], name="network")
    model.compile("adam", "mse")
    return model


@pytest.mark.backends
def test_the_rise_is_that_of_the_loss_with_one_kernel_pruned():
    model = network()
    before = [array(w) for w in model.variables]
    found = sensitivity(model, X, Y, score="magnitude", sparsities=(0.25, 0.5), batch_size=16)
    assert all(np.array_equal(a, array(b)) for a, b in zip(before, model.variables, strict=True))
    dense = np.mean((array(model(X)) - Y) ** 2)
    assert found.loss == pytest.approx(dense, rel=1e-5)
    for one, layer in zip(found.weights, ("one", "two"), strict=True):
        kernel = model.get_layer(layer).kernel
        value = array(kernel)
        for sparsity, rise in zip((0.25, 0.5), one.rises, strict=True):
            least = np.sort(np.abs(value).ravel())[int(sparsity * value.size)]
            kernel.assign(np.where(np.abs(value) < least, 0, value))
            wanted = np.mean((array(model(X)) - Y) ** 2) - dense
            assert rise == pytest.approx(wanted, rel=1e-3, abs=1e-5)
        kernel.assign(value)
    # By the inputs, too: what SparseGPT makes of the others is part of it.
    other = sensitivity(model, X, Y, sparsities=[0.5], filters="two", loss="mse")
    [one] = other.weights
    prune_after_training(model, X, 0.5, filters="two")
    assert one.rises[0] == pytest.approx(np.mean((array(model(X)) - Y) ** 2) - dense, rel=1e-3)
    assert [(w.key, w.reason) for w in other.skipped] == [("one/kernel", "left out by `filters`")]


def test_its_allocation_prunes_most_where_the_loss_rises_least():
    weights = [
        SensitiveWeight("one/kernel", (6, 8), (0.5, 2.0)),
        SensitiveWeight("two/kernel", (8, 2), (0.0, float("inf"))),
    ]
    found = Sensitivity("magnitude", 1.0, (0.5, 0.9), tuple(weights), ())
    assert found.allocation(0.2) == {"one/kernel": pytest.approx(0.1), "two/kernel": 0.5}
    assert found.allocation(0.8)["two/kernel"] == 0.5  # not where the loss is infinite
    model = network()
    report = prune_after_training(
        model, X, 0.2, score="magnitude", allocation=found.allocation(0.2)
    )
    assert [round(one.sparsity, 1) for one in report.weights] == [0.1, 0.5]
    with pytest.raises(InputError, match=r"`sparsity` 0\.95 is more than 0\.9, up to which"):
        found.allocation(0.95)
    assert (
        json.loads(json.dumps(found.to_dict(), allow_nan=False))["weights"][1]["rises"][1] is None
    )
    assert str(found).splitlines()[2].split() == ["one/kernel", "6×8", "+0.5", "+2"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"sparsities": [0.5, 0.5]}, "`sparsities` must be fractions of zeros, rising"),
        ({"sparsities": []}, "`sparsities` must be fractions of zeros, rising"),
        ({"sparsities": "all"}, "`sparsities` must be fractions of zeros, rising"),
        ({"y": Y[:3]}, "must have the same number of examples"),
        ({"y": Y * np.nan}, "`y` has NaN or infinite values"),
        ({"x": X[:, :3]}, "`x` has shape"),
        ({"score": "snip"}, "`score` must be one of sparsegpt"),
        ({"loss": lambda y, output: output[:, 0] / 0.0}, "The loss is (inf|nan) on the data"),
        ({"model": keras.Sequential([keras.Input((6,)), L.Flatten()])}, "nothing to prune"),
    ],
)
def test_what_cannot_be_is_refused(given, message):
    model = network()
    before = model.get_weights()
    with pytest.raises(InputError, match=message):
        sensitivity(**{"model": model, "x": X, "y": Y, "loss": "mse", **given})
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


def test_examples():
    result = doctest.testmod(module, extraglobs={"keras": keras, "np": np})
    assert result.attempted and not result.failed
