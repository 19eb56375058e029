"""Which metric a network is judged by, and which way it is better."""

import math

import keras
import numpy as np
import pytest

from tfinit.datasets import Dataset
from tfinit.errors import InputError
from tfinit.graph.keras_internals import compiled_metrics
from tfinit.training.evaluation import Evaluator
from tfinit.training.judged import ACCURACY, LOSS, JudgedMetric, judged, measured

MAE = JudgedMetric("mae", "min")
AUC = JudgedMetric("auc", "max")


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["loss", "accuracy"], "accuracy"),
        (["loss", "accuracy", "top_k_categorical_accuracy", "kind_accuracy"], "accuracy"),
        (["loss", "acc"], "acc"),
        (["loss", "mae", "binary_accuracy"], "binary_accuracy"),
        (["loss", "sparse_categorical_accuracy", "top_k_accuracy"], "sparse_categorical_accuracy"),
        (["loss", "a_accuracy", "b_accuracy"], "loss"),
        (["loss", "mae"], "loss"),
    ],
)
def test_without_a_word_it_is_the_accuracy_or_else_the_loss(names, chosen):
    assert judged(names).name == chosen


@pytest.mark.parametrize(
    ("name", "direction"),
    [
        *[(n, "min") for n in ("loss", "size_loss", "mae", "size_mae", "mean_squared_error")],
        *[(n, "min") for n in ("RMSE", "kl_divergence", "binary_crossentropy", "mse_2")],
        *[(n, "max") for n in ("accuracy", "auc_1", "precision", "recall_at_precision", "F1")],
        *[
            (n, "max")
            for n in ("f1_score", "mean_io_u", "BinaryIoU", "r2_score", "ndcg@10", "iou[1]")
        ],
    ],
)
def test_a_name_says_which_way_is_better(name, direction):
    assert judged([name], name).direction == direction


def test_a_name_that_says_nothing_needs_a_direction():
    with pytest.raises(InputError, match=r"`metric` 'wealth' .* Pass `metric_direction` 'max' or"):
        judged(["loss", "wealth"], "wealth")
    assert judged(["loss", "wealth"], "wealth", "max").direction == "max"
    assert judged(["loss", "auc"], "auc", "min").direction == "min"
    with pytest.raises(InputError, match=r"`metric_direction` of 'loss' must be auto or min"):
        judged(["loss", "auc"], "loss", "max")


def test_a_metric_that_is_not_measured_is_refused_with_those_that_are():
    with pytest.raises(
        InputError, match=r"`metric` must be one of auto, loss, mae, received 'mse'"
    ):
        judged(["loss", "mae"], "mse")


@pytest.mark.backends
def test_a_metric_of_keras_says_it_itself_under_any_name():
    inputs = keras.Input((3,))
    size = keras.layers.Dense(1, name="size")(inputs)
    kind = keras.layers.Dense(2, name="kind")(inputs)

    def wealth(true, predicted):
        return keras.ops.mean(predicted, -1)

    model = keras.Model(inputs, [size, kind])
    metrics = {
        "size": [keras.metrics.MeanAbsoluteError(name="off"), wealth],
        "kind": [keras.metrics.SparseCategoricalAccuracy(name="right")],
    }
    model.compile("sgd", ["mse", "sparse_categorical_crossentropy"], metrics=metrics)
    assert compiled_metrics(model) == {}
    x, y = np.zeros((4, 3), "f4"), [np.zeros((4, 1), "f4"), np.zeros((4, 1), "i4")]
    logs = model.evaluate(x, y, verbose=0, return_dict=True)
    assert set(compiled_metrics(model)) == {name for name in logs if not name.endswith("loss")}
    assert judged(list(logs), "size_off", model=model) == JudgedMetric("size_off", "min")
    assert judged(list(logs), "kind_right", model=model) == JudgedMetric("kind_right", "max")
    with pytest.raises(InputError, match="size_wealth"):
        judged(list(logs), "size_wealth", model=model)


@pytest.mark.backends
def test_a_network_that_is_made_again_has_metrics_of_the_same_names():
    def names():
        inputs = keras.Input((3,))
        outputs = [keras.layers.Dense(1, "sigmoid")(inputs) for _ in range(2)]
        model = keras.Model(inputs, outputs)
        metrics = [[keras.metrics.AUC(), keras.metrics.Precision()], [keras.metrics.AUC()]]
        model.compile("sgd", ["binary_crossentropy"] * 2, metrics=metrics)
        y = np.array([[0.0], [1.0]], "f4")
        data = Dataset("made up", *[(np.eye(2, 3, dtype="f4"), (y, y))] * 3, None)
        found = Evaluator(model, data, jit_compile=False).names
        assert judged(measured(found), "dense_auc", model=model).direction == "max"
        return found

    assert names() == names()
    assert {"test_dense_auc", "test_dense_precision", "test_dense_1_auc"} <= set(names())


def test_nan_is_never_the_best():
    values = [math.nan, 3.0, 1.0, 3.0, 1.0]
    assert (MAE.best(values), AUC.best(values)) == (2, 1)
    assert MAE.better(1, math.nan) and not MAE.better(math.nan, 1) and not MAE.better(1, 1)
    assert not AUC.as_good(math.nan, 0.5)
    with pytest.raises(InputError, match="a number to be the best"):
        MAE.best([math.nan])


def test_as_good_is_half_a_point_or_one_percent():
    assert ACCURACY.as_good(0.9651, 0.97) and not ACCURACY.as_good(0.9649, 0.97)
    assert MAE.as_good(2.019, 2) and not MAE.as_good(2.021, 2) and MAE.as_good(0, 2)
    assert LOSS.as_good(-1.995, -2) and not LOSS.as_good(-1.9, -2)
    assert AUC.as_good(0.9, 0.5) and not AUC.as_good(0.494, 0.5)


def test_values_are_shown_with_their_unit():
    assert [ACCURACY.text(0.9713), ACCURACY.text(0.9713, 0.002)] == ["97.1%", "97.1 ± 0.2%"]
    assert [MAE.text(0.123456), MAE.text(0.123456, 0.0234)] == ["0.1235", "0.1235 ± 0.023"]
    assert [ACCURACY.axis("accuracy"), AUC.axis("auc")] == ["accuracy, %", "auc (higher is better)"]


def test_errors_rise_where_a_network_is_worse():
    assert [AUC.error(0.9), MAE.error(0.9)] == [pytest.approx(0.1), 0.9]


def test_names_are_read_from_columns():
    columns = ["validation_loss", "validation_size_mae", "test_loss", "test_size_mae"]
    assert measured(columns) == ["loss", "size_mae"]
