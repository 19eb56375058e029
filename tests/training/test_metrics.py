"""What a training leaves behind."""

import numpy as np
import pytest

from tfinit.datasets import Dataset
from tfinit.errors import WorkError
from tfinit.training import METRICS, Diverged, Metrics
from tfinit.training.metrics import MetricsRecorder, metric_names

pytestmark = pytest.mark.backends

NAN, INF = np.nan, np.inf
X = np.zeros((4, 2), "f4")
CLASSES, NUMBERS = np.zeros(4, "i4"), np.zeros((4, 1), "f4")


@pytest.mark.parametrize(
    ("losses", "row"),
    [
        ([3, 1, 2], 1),
        ([3, 1, 1], 1),
        ([NAN, 2, 1, NAN], 2),
        ([1, NAN], 0),
        ([NAN, NAN], 0),
        ([INF, 5], 1),
    ],
)
def test_early_stop_is_the_first_smallest_loss_and_never_nan(losses, row):
    metrics = Metrics(np.arange(len(losses)), {"validation_loss": np.array(losses, float)})
    assert metrics.early_stop == row


@pytest.mark.parametrize(
    ("validation", "test", "names"),
    [
        ((X, CLASSES), (X, CLASSES), METRICS),
        ((X, CLASSES), None, METRICS[:2]),
        (None, (X, NUMBERS), ("test_loss",)),
        ((X, CLASSES[:, None]), (X, CLASSES, X[:, 0]), ("validation_loss", *METRICS[2:])),
        (None, None, ()),
    ],
)
def test_accuracies_are_for_class_numbers_only(validation, test, names):
    assert metric_names(Dataset("made up", (X, CLASSES), validation, test, 2)) == names


def test_a_record_taken_up_again_goes_on_where_it_was():
    record = MetricsRecorder(("test_loss",))
    record.row(0, [3.0])
    record.add_losses(np.float32([1, 2]))
    partial = record.partial(2, {"0": np.ones(1)})
    again = MetricsRecorder(("test_loss",), partial)
    for r in (record, again):
        r.add_losses(np.float32([4]))
        r.row(3, [5.0])
        assert r.metrics().step.tolist() == [0, 3]
        assert r.metrics().values["test_loss"].tolist() == [3.0, 5.0]
        assert r.metrics().losses.tolist() == [1.0, 2.0, 4.0]
        assert r.metrics().losses.dtype == np.float32
    assert (partial.step, partial.losses.tolist()) == (2, [1.0, 2.0])


def test_a_divergence_says_where_and_what_to_do():
    metrics = MetricsRecorder(()).metrics()
    error = Diverged(7, metrics)
    assert isinstance(error, WorkError)
    assert (error.step, error.metrics) == (7, metrics)
    assert str(error) == (
        "the loss is not finite at step 7. Lower the learning rate, or look at the data."
    )
