"""Batches from pipelines of the user's own: in their order, again and again, trained by fit."""

import doctest
import importlib.util

import keras
import numpy as np
import pytest

from tfinit import batch_streams
from tfinit.batch_streams import stream_of
from tfinit.comparison import compare
from tfinit.datasets import Dataset, from_arrays
from tfinit.errors import InputError, TfinitWarning
from tfinit.lottery import LotteryConfig, StabilityConfig, run, stability
from tfinit.training.fit import FitLoop

BACKENDS = pytest.mark.backends
X = np.arange(24, dtype="f4").reshape(8, 3) / 24
Y = np.arange(8) % 3
PAIR = (X, Y)


def of_tensorflow():
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices(PAIR).batch(3)


def of_torch():
    from torch.utils.data import DataLoader, TensorDataset

    torch = importlib.import_module("torch")
    return DataLoader(TensorDataset(torch.tensor(X), torch.tensor(Y)), batch_size=3)


class Batches(keras.utils.PyDataset):
    def __init__(self, **options):
        super().__init__(**options)
        self.epochs = 0

    def __len__(self):
        return 3

    def __getitem__(self, n):
        return X[3 * n : 3 * n + 3], Y[3 * n : 3 * n + 3]

    def on_epoch_end(self):
        self.epochs += 1


def batches():
    for n in range(0, 8, 3):
        yield X[n : n + 3], Y[n : n + 3]


class Again:
    def __iter__(self):
        return batches()


def needs(package):
    missing = importlib.util.find_spec(package) is None
    return pytest.mark.skipif(missing, reason=f"needs {package}")


EVERY = pytest.mark.parametrize(
    ("make", "kind"),
    [
        pytest.param(of_tensorflow, "tf.data.Dataset", marks=needs("tensorflow")),
        pytest.param(of_torch, "DataLoader", marks=needs("torch")),
        (Batches, "PyDataset"),
        (lambda: Batches(workers=2, max_queue_size=2), "PyDataset"),
        (lambda: batches, "generator function"),
        (Again, "iterable"),
    ],
)


@BACKENDS
@EVERY
def test_batches_come_in_the_order_of_the_pipeline_and_begin_again(make, kind):
    stream = stream_of(make())
    assert stream.kind == kind in stream.notice
    for start in (0, 2, 5):
        for n, (x, y) in enumerate(stream.batches(8, start), start):
            first = 3 * (n % 3)
            np.testing.assert_array_equal(x, X[first : first + 3])
            np.testing.assert_array_equal(y, Y[first : first + 3])
        assert n == 7
    for few in (1, 5, 99):
        np.testing.assert_array_equal(stream.first(few)[0], X[:few])
    x, y = stream.collected()
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(y, Y)


@BACKENDS
@EVERY
def test_a_data_set_of_batches_trains_by_fit_as_its_arrays(make, kind):
    layers = [keras.Input((3,)), keras.layers.Dense(3, kernel_initializer="ones")]
    model = keras.Sequential(layers)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.5), loss)
    data = from_arrays(make(), PAIR, make(), classes=3, name="mine")
    assert (data.rows, data.classes) == (None, 3)
    np.testing.assert_array_equal(data.validation[0], X)
    metrics = FitLoop(model, data)(7, 99, seed=0, evaluate_every=7)
    weights, bias = np.ones((3, 3)), np.zeros(3)
    for n in range(7):
        x, y = X[3 * (n % 3) :][:3], Y[3 * (n % 3) :][:3]
        output = x @ weights + bias
        share = np.exp(output) / np.exp(output).sum(1, keepdims=True)
        np.testing.assert_allclose(
            metrics.losses[n], -np.log(share[np.arange(len(y)), y]).mean(), rtol=1e-5
        )
        error = (share - np.eye(3)[y]) / len(y)
        weights, bias = weights - 0.5 * x.T @ error, bias - 0.5 * error.sum(0)


def test_epochs_that_end_are_told_to_the_data_set():
    data = Batches()
    list(stream_of(data).batches(7, start=4))
    assert data.epochs == 2


def test_structures_and_weights_and_doubles():
    def several():
        yield {"a": X, "b": [X.tolist()]}, (Y, X), np.ones(8, np.float64)

    x, y, weights = next(stream_of(several).batches(1))
    assert isinstance(x["b"][0][0][0], np.ndarray) or x["b"][0][0].shape == (3,)
    assert (y[1].shape, weights.dtype) == ((8, 3), np.float32)


@pytest.mark.parametrize("given", [X, X.tolist(), [X, Y], {"a": X}, "text", 3, None, Dataset, {1}])
def test_what_is_no_stream(given):
    assert stream_of(given) is None


def nothing():
    yield from ()


def single():
    yield X


def endless():
    while True:
        yield X[:1], Y[:1]


def of_nan():
    yield X * np.nan, Y


def of_two_lengths():
    yield X, Y
    yield X[:, :2], Y


def failing():
    yield {}["no"]


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"train": batches()}, "`train` is a generator, which .* once only.*batches and not batch"),
        ({"test": iter([PAIR])}, "`test` is a list_iterator, which can be gone through once only"),
        ({"train": nothing}, "`train` of data set 'arrays': A generator function gives no batch"),
        ({"train": single}, r"must give batches \(x, y\) or .*, received ndarray\. What learns"),
        ({"train": lambda: 3}, "must return an iterator of them, received int. Let it yield"),
        ({"train": lambda n: n}, "must take no arguments: .*'n'. Wrap it: lambda"),
        ({"train": of_nan}, "`train` of data set 'arrays' has inputs that are NaN or infinite"),
        ({"train": failing}, "`train` .* fails where a batch is asked for: KeyError: 'no'.* Go"),
        ({"train": batches, "validation": None}, "nothing can be held out. Pass `validation`"),
        ({"test": endless}, "`test` .* A generator function that is to evaluate on must end"),
        ({"test": of_two_lengths}, "gives batches of different forms, .*pad_sequences"),
    ],
)
def test_pipelines_that_are_refused(splits, message, monkeypatch):
    monkeypatch.setattr(batch_streams, "_MOST_BATCHES", 50)
    with pytest.raises(InputError, match=message) as error:
        from_arrays(**{"train": PAIR, "test": PAIR, "validation": PAIR} | splits)
    assert "\n" not in str(error.value)


@needs("tensorflow")
def test_an_endless_tf_data_set_is_no_test_split():
    with pytest.raises(InputError, match="must end, received one that does not"):
        from_arrays(PAIR, of_tensorflow().repeat())


def test_what_a_data_set_of_batches_says():
    data = from_arrays(batches, PAIR, PAIR)
    assert data.classes is None
    assert data.digest() == from_arrays(batches, PAIR, PAIR).digest()
    assert data.digest() != from_arrays(Batches(), PAIR, PAIR).digest()
    np.testing.assert_array_equal(data.first(5)[0], X[:5])
    with pytest.raises(InputError, match=r"`model` needs .* generator function, for which"):
        data.class_count("`model`")
    with pytest.raises(InputError, match="is a generator function, of which nothing can be drawn"):
        data.subset(2)
    # Beside a pipeline, nothing is scaled: it would not be there.
    pixels = np.zeros((8, 4, 4), np.uint8)
    data = from_arrays(Again(), (pixels, Y), (pixels, Y))
    assert data.test[0].dtype == np.uint8


@pytest.mark.filterwarnings("ignore:Training with fit")
def test_experiments_and_races_train_on_a_pipeline(tmp_path):
    def build_model():
        layers = [keras.Input((3,)), keras.layers.Dense(4), keras.layers.Dense(3)]
        model = keras.Sequential(layers)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(0.5), loss)
        return model

    data, said = from_arrays(batches, PAIR, PAIR, classes=3), []
    settings = {"steps": 6, "seeds": (0,), "evaluate_every": 6, "batch_size": 3}
    config = LotteryConfig(
        levels=1, controls=("reinit", "snip"), run_dir=tmp_path / "run", **settings
    )
    first = run(config, None, warn=said.append, data=data, build_model=build_model)
    assert [line for line in said if "generator function: its pipeline decides" in line]
    again = run(config, None, warn=said.append, data=(batches, PAIR, PAIR), build_model=build_model)
    for one, two in zip(first, again, strict=True):
        for key, weights in one.final.items():
            np.testing.assert_array_equal(weights, two.final[key])
    config = StabilityConfig(spawn_steps=(3,), points=3, run_dir=tmp_path / "line", **settings)
    (result,) = stability(config, None, warn=said.append, data=data, build_model=build_model)
    assert result.barrier("test") >= 0
    with pytest.warns(TfinitWarning, match="generator function: its pipeline decides"):
        raced = compare(build_model, (batches, PAIR, PAIR), ["he"], steps=3, progress=None)
    assert len(raced.runs) == 3


def test_examples():
    failed, tried = doctest.testmod(batch_streams)
    assert (failed, tried > 0) == (0, True)
