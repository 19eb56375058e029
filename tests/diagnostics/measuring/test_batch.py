"""The batch that a model is diagnosed on: what is taken, what is made up, what is refused."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfinit.diagnostics import diagnose
from tfinit.errors import InputError

X = np.random.default_rng(0).normal(size=(16, 6)).astype("float32")
LABELS = np.arange(16) % 3


def dense(units=3, activation=None, **inputs):
    layers = [keras.Input((6,), **inputs), keras.layers.Dense(units, activation, name="fc")]
    return keras.Sequential(layers)


@pytest.mark.parametrize(
    ("units", "y"),
    [
        (3, LABELS),
        (3, LABELS.tolist()),
        (3, tuple(LABELS.tolist())),
        (3, LABELS[:, None]),
        (3, np.eye(3)[LABELS]),
        (3, tf.constant(LABELS)),
    ],
)
def test_classes_in_any_form_give_the_same_cross_entropy(units, y):
    model = dense(units)
    logits = X @ model.layers[0].kernel.numpy()
    loss = tf.nn.sparse_softmax_cross_entropy_with_logits(LABELS, logits)
    assert diagnose(model, X, y).measurement.loss == pytest.approx(float(np.mean(loss)), rel=1e-5)


@pytest.mark.parametrize("shape", [(16,), (16, 1)])
def test_numbers_need_no_second_axis(shape):
    model = dense(1)
    y = X[:, 0]
    errors = (X @ model.layers[0].kernel.numpy())[:, 0] - y
    found = diagnose(model, X, y.reshape(shape)).measurement.loss
    assert found == pytest.approx(np.mean(errors**2), rel=1e-4)


def test_made_up_inputs_are_normal_behind_the_models_own_preprocessing():
    """Plain N(0, 1) would be the same image for all examples behind mean 100 and deviation 5."""
    known = keras.layers.Normalization(mean=100.0, variance=25.0)
    scaled = keras.layers.Rescaling(1 / 255, offset=-0.5)
    for before in (known, scaled):
        layers = [keras.Input((6, 6, 3)), before, keras.layers.Conv2D(4, 3, name="conv")]
        diagnosis = diagnose(keras.Sequential([*layers, keras.layers.Flatten()]))
        assert diagnosis.measurement.inputs[0].rms == pytest.approx(1, rel=0.1)
        assert not [f for f in diagnosis.findings if f.kind == "scale jump"]


def test_made_up_inputs_have_a_fixed_batch_size_and_bytes_are_pixels():
    state = keras.Input(batch_shape=(4, 5, 2))
    model = keras.Model(state, keras.layers.LSTM(3, stateful=True)(state))
    assert diagnose(model).measurement.examples == 4
    pixels = keras.Input((6, 6, 1), dtype="uint8")
    h = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(pixels))
    model = keras.Model(pixels, keras.layers.Dense(2)(h))
    # Uniform over 256 values: 1/√3.
    assert diagnose(model).measurement.inputs[0].rms == pytest.approx(3**-0.5, rel=0.1)


class Late(keras.Model):
    """Fails in the middle of its call once it is told to."""

    def __init__(self):
        super().__init__()
        self.first = keras.layers.Dense(4, "relu")
        self.normalize = keras.layers.BatchNormalization()
        self.fails = False

    def call(self, x, training=False):
        h = self.normalize(self.first(x), training=training)
        if self.fails:
            raise RuntimeError("in the middle")
        return h


def test_an_error_in_the_middle_leaves_the_model_as_it_was():
    model = Late()
    model(X)
    before = [v.numpy().tobytes() for v in model.variables]
    model.fails = True
    with pytest.raises(InputError, match=r"cannot be called on `x` \(\(16, 6\)\): in the middle$"):
        diagnose(model, X)
    assert [v.numpy().tobytes() for v in model.variables] == before
    assert "call" not in vars(model.first)


@pytest.mark.parametrize(
    ("x", "y", "loss", "message"),
    [
        (X[:0], LABELS[:0], None, "`x` must have one example or more"),
        (X[:, :5], None, None, r"`x` has shape \(16, 5\)"),
        (X.astype(object), None, None, "`x` must be arrays of numbers"),
        (X, 3, None, "`x` has 16 examples and `y` has a single value"),
        (X, LABELS / 2, None, "Classes are whole numbers from 0"),
        (X, LABELS, keras.losses.MeanSquaredError, "Pass its name"),
        (X, LABELS, ["mse"], "compile the model with their losses"),
        (X, np.zeros((16, 5)), "mse", r"`y` \(\(16, 5\)\) and the outputs \(\(16, 3\)\)"),
    ],
)
def test_errors_name_what_was_given(x, y, loss, message):
    with pytest.raises(InputError, match=message) as error:
        diagnose(dense(), x, y, loss)
    assert "\x1b" not in str(error.value)
    assert "`data`" not in str(error.value)


def test_several_inputs_have_the_same_examples():
    inputs = [keras.Input((6,)), keras.Input((6,))]
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Concatenate()(inputs)))
    with pytest.raises(InputError, match=r"as many in each of its arrays.*\[16, 15\]"):
        diagnose(model, [X, X[1:]])


def test_what_has_no_gradient_is_refused():
    inputs = keras.Input((6,))
    classes = keras.ops.argmax(keras.layers.Dense(3)(inputs), axis=-1)
    with pytest.raises(InputError, match="no floating-point numbers"):
        diagnose(keras.Model(inputs, classes), X)


@pytest.mark.parametrize(
    ("loss", "y", "units", "said"),
    [
        ("categorical_crossentropy", np.arange(8) % 3, 3, 'loss="sparse_categorical_crossentropy"'),
        ("categorical_crossentropy", np.eye(4)[np.arange(8) % 4], 3, r"write Dense\(4\) last"),
        ("sparse_categorical_crossentropy", np.eye(3)[np.arange(8) % 3], 3, "one-hot rows compile"),
        ("mse", np.ones((8, 2)), 3, r"write Dense\(2\) last, or pass the targets of its 3"),
        ("mean_sqared_error", np.ones((8, 3)), 3, "Keras has none of that name"),
    ],
)
def test_targets_in_another_form_than_the_loss_takes(loss, y, units, said):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(units, "softmax")])
    model.compile("sgd", loss)
    with pytest.raises(InputError, match=said):
        diagnose(model, np.ones((8, 4), "float32"), y)


def two_outputs():
    inputs = keras.Input((6,))
    kinds = keras.layers.Dense(3, name="kind")(inputs), keras.layers.Dense(1, name="price")(inputs)
    return keras.Model(inputs, list(kinds))


KIND = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
BOTH = {"kind": KIND, "price": "mse"}
TARGETS = {"kind": LABELS, "price": X[:, :1]}


@pytest.mark.parametrize(
    ("compiled", "y", "said"),
    [
        ({"loss": {"kind": KIND, "prize": "mse"}}, TARGETS, r"`loss` has 'prize', .*'kind', 'pri"),
        ({"loss": {"kind": KIND}}, TARGETS, "`loss` has 'kind' and nothing for 'price'.* None"),
        (
            {"loss": BOTH, "loss_weights": {"kind": 1.0, "prize": 0.1}},
            TARGETS,
            "`loss_weights` has 'prize', ",
        ),
        (
            {"loss": BOTH, "loss_weights": {"kind": 1.0}},
            TARGETS,
            "`loss_weights` has 'kind' and nothing for 'price'",
        ),
        ({"loss": BOTH, "metrics": {"sort": "accuracy"}}, TARGETS, "`metrics` has 'sort', "),
        ({"loss": BOTH}, {"kind": LABELS, "prize": X[:, :1]}, "`y` has 'prize', "),
        ({"loss": BOTH}, {"kind": LABELS}, "`y` has 'kind' and nothing for 'price'"),
    ],
)
def test_names_that_no_output_has_are_told_with_those_that_there_are(compiled, y, said):
    model = two_outputs()
    model.compile("sgd", **compiled)
    with pytest.raises(InputError, match=said):
        diagnose(model, X, y)


def test_an_output_by_name_without_a_loss_needs_no_targets():
    inputs = keras.Input((6,))
    made = {"kind": keras.layers.Dense(3)(inputs), "price": keras.layers.Dense(1)(inputs)}
    model = keras.Model(inputs, made)
    model.compile("sgd", {"kind": KIND})
    model.train_on_batch(X, {"kind": LABELS})
    assert diagnose(model, X, {"kind": LABELS}).measurement.outputs[1].targets is None


def test_the_name_of_a_single_output_is_that_of_its_layer_and_a_sequential_has_none():
    inputs = keras.Input((6,))
    model = keras.Model(inputs, keras.layers.Dense(3, name="fc")(inputs))
    model.compile("sgd", {"fc": KIND}, metrics={"any": "accuracy"})
    model.train_on_batch(X, LABELS)
    assert diagnose(model, X, LABELS).measurement.loss > 0
    model.compile("sgd", {"any": KIND})
    with pytest.raises(InputError, match=r"`loss` has 'any', .*'fc'"):
        diagnose(model, X, LABELS)
    model = dense()
    model.compile("sgd", {"fc": KIND})
    with pytest.raises(InputError, match=r"has no name: compile with the loss alone"):
        diagnose(model, X, LABELS)
