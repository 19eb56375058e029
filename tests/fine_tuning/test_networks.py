"""`tfinit prune` of networks that a function builds, with data that a function loads."""

from pathlib import Path

import keras
import numpy as np
import own_networks
import pytest

from tests.fine_tuning.test_run import Stop, after, weights
from tfinit.errors import InputError
from tfinit.fine_tuning import PruneConfig, fine_tune
from tfinit.variables import prunable_weights

PLACE = own_networks.__file__
OWN = '''
import keras
import numpy as np

X = np.random.default_rng(0).normal(size=(40, 4)).astype("float32")

class Own(keras.Sequential):
    """Its compile takes what it likes, and its step measures what it likes."""

    def compile(self, optimizer, factor):
        super().compile(optimizer, run_eagerly=True)
        self.factor = factor

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return self.factor * keras.ops.mean((y - y_pred) ** 2)

def build():
    model = Own([keras.Input((4,)), keras.layers.Dense(6, "tanh"), keras.layers.Dense(2)])
    model.compile(keras.optimizers.SGD(), factor=3.0)
    return model

def load():
    return (X[:30], X[:30, :2]), (X[30:], X[30:, :2])

def none():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    model.compile("sgd")
    return model

class Given(keras.Model):
    def __init__(self, function):
        super().__init__()
        self.function, self.head = function, keras.layers.Dense(2)

    def call(self, x):
        return self.head(self.function(x))

def unsaved():
    model = Given(lambda x: 2 * x)
    model(X)
    model.compile("sgd", "mse")
    return model
'''


def config(folder, name, of=PLACE, data=None, **changes):
    values = {"epochs": 2, "batch_size": 32, "sparsity": 0.6, "out": folder / "pruned.keras"}
    place = f"{of}:{data or f'{name}_data'}"
    return PruneConfig(Path(f"{of}:{name}"), data=place, **(values | changes))


# A dictionary of inputs; no compiled loss.
@pytest.mark.parametrize("name", [pytest.param("by_name", marks=pytest.mark.backends), "vae"])
def test_an_interrupted_run_of_a_built_network_ends_as_one_that_was_not(tmp_path, name):
    whole = fine_tune(config(tmp_path / "whole", name))
    begun, other = [], config(tmp_path / "other", name)
    with pytest.raises(Stop):
        fine_tune(other, stepped=after(5))
    resumed = fine_tune(other, started=lambda done, steps: begun.append((done, steps)))
    assert begun == [(3, 6)]
    assert weights(whole) == weights(resumed)
    assert whole.after == resumed.after and "loss" in whole.after
    for key, weight in prunable_weights(whole.model).items():
        assert np.mean(weight.numpy() == 0) == pytest.approx(0.6, abs=0.5 / weight.numpy().size), (
            key
        )


@pytest.mark.backends
def test_a_model_with_a_compile_and_a_loss_of_its_own(tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    result = fine_tune(config(tmp_path, "build", tmp_path / "own.py", "load"))
    x = np.random.default_rng(0).normal(size=(40, 4)).astype("float32")[30:]
    found = keras.ops.convert_to_numpy(result.model(x))
    assert result.after["loss"] == pytest.approx(3 * np.mean((found - x[:, :2]) ** 2), rel=1e-4)
    assert result.report.total.prunable_zeros == 21  # of 24 and 12


@pytest.mark.parametrize(
    ("name", "words"),
    [("none", "comes without a loss. Name one: --loss"), ("unsaved", "cannot be saved")],
)
def test_what_cannot_be_pruned_is_told_before_anything_is_written(tmp_path, name, words):
    (tmp_path / "own.py").write_text(OWN)
    with pytest.raises(InputError, match=words):
        fine_tune(config(tmp_path, name, tmp_path / "own.py", "load"))
    assert not list(tmp_path.glob("*.json")) and not list(tmp_path.glob("*.keras"))
