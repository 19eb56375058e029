"""A race of anyone's network, on any backend: tasks, metrics, places, a step of one's own."""

import keras
import numpy as np
import pytest

from tfinit.comparison import compare
from tfinit.comparison.config import CompareConfig
from tfinit.comparison.from_config import compare_named
from tfinit.errors import InputError, TfinitWarning

pytestmark = [
    pytest.mark.backends,
    pytest.mark.filterwarnings("ignore:Training with fit:tfinit.errors.TfinitWarning"),
]
L = keras.layers
SHORT = {"steps": 6, "batch_size": 8, "seeds": (0, 1), "diagnose": False, "progress": None}


def regression(seed=None):
    model = keras.Sequential([keras.Input((3,)), L.Dense(6, activation="tanh"), L.Dense(1)])
    model.compile(keras.optimizers.SGD(0.1), "mse", metrics=["mae"])
    return model


def data():
    x = np.random.default_rng(0).normal(size=(40, 3)).astype("float32")
    y = x.sum(axis=1, keepdims=True)
    return (x, y), (x[:10], y[:10])


def test_a_regression_is_ranked_and_told_by_the_metric_that_is_asked_for():
    found = compare(regression, data(), ["zeros", "xavier"], metric="mae", **SHORT)
    assert found.best == "xavier"
    assert found.classes is None
    for label, values in found.values.items():
        assert values == [run.metrics.values["validation_mae"][-1] for run in found.of(label)]
    text = str(found)
    assert "validation mae" in text and "test mae" in text
    assert "xavier wins with validation mae of" in text or "share the first rank" in text
    assert found.to_dict()["metric"] == "mae"


def test_by_default_it_is_the_training_loss_and_the_table_tells_of_the_test_loss():
    found = compare(regression, data(), ["xavier"], **SHORT)
    assert found.values == found.final_losses
    assert "test loss" in str(found) and "acc." not in str(found)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"metric": "auc"}, "`metric` must be one of auto, loss, mae, received 'auc'"),
        ({"metric_direction": "up"}, "`metric_direction` must be one of auto, max, min"),
        ({"metric": 3}, "`metric` must be"),
    ],
)
def test_a_metric_that_is_not_measured_is_told_before_anything_is_trained(arguments, told):
    trained = []
    with pytest.raises(InputError, match=told):
        compare(regression, data(), ["he"], **{**SHORT, "progress": trained.append}, **arguments)
    assert not trained


def test_a_race_of_places_is_that_of_the_functions(tmp_path):
    (tmp_path / "raced.py").write_text(
        "import keras\nimport numpy as np\n\n"
        "def build():\n"
        "    layers = [keras.Input((3,)), keras.layers.Dense(1)]\n"
        "    model = keras.Sequential(layers)\n"
        "    model.compile('sgd', 'mse')\n"
        "    return model\n\n"
        "def load():\n"
        "    x = np.linspace(0, 1, 60, dtype='float32').reshape(20, 3)\n"
        "    return (x, x[:, :1]), (x, x[:, :1])\n"
    )
    build, load = f"{tmp_path}/raced.py:build", f"{tmp_path}/raced.py:load"
    config = CompareConfig(load, build, ("he", "ones"), steps=3, seeds=(0,), batch_size=4)
    named = compare_named(config, progress=None)
    other = compare(build, load, ["he", "ones"], **{**SHORT, "steps": 3, "batch_size": 4})
    for label in ("he", "ones"):
        losses = [found.of(label)[0].metrics.losses for found in (named, other)]
        assert losses[0].tolist() == losses[1].tolist()
    with pytest.raises(InputError, match="`optimizer` 'adam' is for tfinit's networks"):
        CompareConfig(model=build, optimizer="adam")


def test_a_step_of_ones_own_races_through_fit():
    class Stepping(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = L.Dense(1)

        def call(self, x):
            return self.dense(x)

        def train_step(self, *data):
            return super().train_step(*data)

    def build():
        model = Stepping()
        model(np.zeros((1, 3), "float32"))
        model.compile(keras.optimizers.SGD(0.1), "mse")
        return model

    with pytest.warns(TfinitWarning, match="Training with fit"):
        found = compare(build, data(), ["he", "zeros"], **SHORT)
    assert [len(run.metrics.losses) for run in found.runs] == [6] * 4
