"""What a loop is given: said at once, by the argument's name, and nothing is touched."""

import importlib.util

import keras
import numpy as np
import pytest

from tfinit.datasets import Dataset
from tfinit.errors import InputError
from tfinit.training.checks import checked

BACKENDS = pytest.mark.backends
TF_KERAS = pytest.mark.skipif(not importlib.util.find_spec("tf_keras"), reason="needs tf_keras")
L = keras.layers
X = np.random.default_rng(0).normal(size=(12, 4)).astype("f4")
Y = np.arange(12, dtype="i4") % 3
SPARSE = keras.losses.SparseCategoricalCrossentropy


def compiled(*layers, loss="sparse_categorical_crossentropy", k=keras):
    model = k.Sequential([k.layers.Input((4,)), *(layers or [k.layers.Dense(3)])])
    model.compile("sgd", loss)
    return model


def of(train, validation=None, test=None):
    return Dataset("made up", train, validation, test, 3)


@BACKENDS
@pytest.mark.parametrize(
    ("data", "message"),
    [
        ((X, Y), r"`data` must be a tfinit\.datasets\.Dataset, received tuple\. Make one with"),
        (of(None), r"`data\.train` must be \(x, y\) or .* received NoneType"),
        (of((X,)), r"`data\.train` must be \(x, y\) or .* received \(ndarray\)"),
        (of((X, None)), r"has None for targets, and the model was compiled with a loss"),
        (of((X, Y), validation=[X, Y]), r"`data\.validation` must be .* received list"),
        (of((X.tolist(), Y)), r"`data\.train` must hold arrays .* received float\. Convert lists"),
        (of((X, np.int32(3))), r"`data\.train` must hold arrays .* received int32"),
        (of((X, Y[:7])), r"`data\.train` must hold arrays of one length, .* received 7, 12"),
        (of((X[:0], Y[:0])), r"of one length, at least 1, received 0"),
        (of((X, Y, np.ones(3))), r"of one length, at least 1, received 3, 12"),
        (of((X, np.array(["a", "b"] * 6))), r"`data\.train` has labels of <U1\. Number the"),
        (of((X, Y), test=(X, Y + 1)), r"`data\.test` has labels from 1 to 3, .* for 0 to 2"),
        (of((X, Y - 1)), r"`data\.train` has labels from -1 to 1, .* give the last layer"),
        (of((X[:, :3], Y)), r"`data` does not fit `model`: .*Pass inputs of the shapes"),
    ],
)
def test_data_that_does_not_fit(data, message):
    with pytest.raises(InputError, match=message):
        checked(compiled(), data)


def of_two(x, y, *weights):
    return of((x, y, *weights), test=(x, y, *weights))


NAN = np.where(X.max() == X, np.nan, X)
ONE_HOT = np.eye(3, dtype="f4")[Y]
NAN_TARGETS = np.where(ONE_HOT > 0, np.nan, ONE_HOT)


@BACKENDS
@pytest.mark.parametrize(
    ("loss", "data", "message"),
    [
        ("mse", (NAN, ONE_HOT), r"`data\.train` has inputs that are NaN or infinite\. Remove"),
        (
            "mse",
            (X, NAN_TARGETS),
            r"`data\.train` has targets that are NaN or infinite\. ",
        ),
        ("mse", (X, ONE_HOT, NAN_TARGETS[:, 0]), r"has sample weights that are NaN or infinite"),
        ("mse", (X, ONE_HOT, ONE_HOT[:, 0] - 1), r"have sample weights of at least 0, received -1"),
        (
            "mse",
            (X, Y),
            r"loss of `model`, 'mse': targets of shape \(n\), outputs of shape \(n, 3\)",
        ),
        (
            "mse",
            (X, ONE_HOT[:, :1]),
            r"targets of shape \(n, 1\), .* \(n, 3\)\. The loss would repeat",
        ),
        (
            "mse",
            (X, X),
            r"targets of shape \(n, 4\), outputs of shape \(n, 3\)\. .*Give targets of the",
        ),
        (
            SPARSE(),
            (X, ONE_HOT),
            r", sparse_categorical_crossentropy: targets of shape \(n, 3\), out",
        ),
        (
            "categorical_crossentropy",
            (X, Y),
            r"class numbers go with sparse_categorical_crossentropy",
        ),
        (
            "mse",
            (X, {"a": ONE_HOT}),
            r"targets of shape \['a'\] \(n, 3\), outputs of shape \(n, 3\)\.",
        ),
        (
            "mse",
            ({"no": X, "b": X}, ONE_HOT),
            r"`data` does not fit `model`: .*Pass inputs of the shapes",
        ),
    ],
)
def test_what_the_loss_would_not_take(loss, data, message):
    with pytest.raises(InputError, match=message) as error:
        checked(compiled(loss=loss), of_two(*data))
    assert "\n" not in str(error.value)


@BACKENDS
def test_each_output_has_its_own_targets():
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    outputs = {"c": L.Dense(1)(a), "d": L.Dense(3)(b)}
    model = keras.Model({"a": a, "b": b}, outputs)
    model.compile("sgd", {"c": "mse", "d": SPARSE(from_logits=True)})
    x = {"a": X, "b": X}
    checked(model, of_two(x, {"c": X[:, :1], "d": Y}))
    with pytest.raises(
        InputError, match=r"labels from 1 to 3, and the model has outputs for 0 to 2"
    ):
        checked(model, of_two(x, {"c": X[:, :1], "d": Y + 1}))
    with pytest.raises(
        InputError, match=r"\['c'\] \(n, 4\) and \['d'\] \(n\), outputs of shape \['c'"
    ):
        checked(model, of_two(x, {"c": X, "d": Y}))
    with pytest.raises(InputError, match=r"labels of <U1 in y\['d'\]\. Number"):
        checked(model, of_two(x, {"c": X, "d": Y.astype("U1")}))
    with pytest.raises(InputError, match=r"'b'.*Pass inputs of the shapes"):
        checked(model, of_two({"a": X, "no": X}, {"c": X[:, :1], "d": Y}))


@BACKENDS
def test_a_loss_of_ones_own_may_repeat_targets():
    def quantiles(y, output):
        return keras.ops.mean(keras.ops.abs(y - output), axis=-1)

    checked(compiled(loss=quantiles), of_two(X, X[:, :1]))


@BACKENDS
def test_what_is_looked_at_of_a_pipeline():
    def batches():
        yield X, Y + 1

    with pytest.raises(InputError, match=r"`data\.train` has labels from 1 to 3"):
        checked(compiled(), of(batches, test=(X, Y)))


@BACKENDS
def test_classes_that_the_loss_leaves_out_may_have_any_number():
    model = compiled(loss=SPARSE(ignore_class=-1))
    assert checked(model, of((X, Y - 1))).train[1].min() == -1


@TF_KERAS
def test_labels_of_a_tf_keras_model():
    import tf_keras

    model = compiled(k=tf_keras, loss=tf_keras.losses.SparseCategoricalCrossentropy())
    with pytest.raises(InputError, match=r"has labels from 1 to 3"):
        checked(model, of((X, Y + 1)))


@BACKENDS
def test_numbers_to_predict_are_no_labels():
    checked(compiled(L.Dense(1), loss="mse"), of((X, Y + 7)))


@BACKENDS
def test_tensors_become_arrays_and_arrays_stay_the_same_ones():
    tensor = keras.ops.convert_to_tensor(Y)
    data = checked(compiled(), of((X, tensor), test=(X, Y)))
    assert data.test[0] is X
    assert isinstance(data.train[1], np.ndarray)
    np.testing.assert_array_equal(data.train[1], Y)


@BACKENDS
def test_a_model_that_is_not_built_is_built():
    model = keras.Sequential([L.Dense(3)])
    model.compile("sgd", "sparse_categorical_crossentropy")
    checked(model, of((X, Y)))
    assert [tuple(w.shape) for w in model.weights] == [(4, 3), (3,)]


@BACKENDS
def test_looking_changes_nothing():
    model = compiled(L.BatchNormalization(), L.Dropout(0.5, seed=1), L.Dense(3))
    before = [np.array(keras.ops.convert_to_numpy(v)) for v in model.variables]
    checked(model, of((X, Y)))
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(variable), value)
