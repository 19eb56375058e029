"""Heads that do not suit the loss or the targets: found, cured, and what is right stays quiet."""

import keras
import numpy as np
import pytest
from diagnosed import losses_of

from tfinit.diagnostics import diagnose

L, LOSSES = keras.layers, keras.losses
SPARSE, CATEGORICAL = "sparse_categorical_crossentropy", "categorical_crossentropy"
BINARY, SQUARES = "binary_crossentropy", "mean_squared_error"
X = np.random.default_rng(0).normal(size=(96, 6)).astype("float32")
LABELS = (X[:, 0] > 0).astype("int32") + (X[:, 1] > 0)
ONE_HOT = np.eye(3, dtype="float32")[LABELS]
YES = (X[:, :1] > 0).astype("float32")
TAGS = (X[:, :3] > 0).astype("float32")
NUMBERS = 0.3 * (X[:, :1] + X[:, 1:2])

pytestmark = pytest.mark.filterwarnings("ignore:You are using a softmax", "ignore:In loss cate")


def network(*head, loss, metrics=None):
    keras.utils.set_random_seed(0)
    layers = [keras.Input((6,)), L.Dense(16, "relu"), *head]
    model = keras.Sequential(layers)
    model.compile(keras.optimizers.Adam(0.02), loss, metrics=metrics)
    return model


def found(model, y, rule):
    return [(f.severity, f.fault) for f in diagnose(model, X, y).findings if f.rule == rule]


def learns(model, y, steps=60):
    losses = losses_of(model, X, y, steps)
    return losses[-1] < 0.6 * losses[0]


# The head, the loss and the targets; the rule, the fault; and what was meant, where no line of
# code makes it of the network.
FAULTS = {
    "softmax of one unit": ([(1, "softmax")], BINARY, YES, "TFI020", "head", None),
    "of one unit, for classes": (
        *([(1, "softmax")], SPARSE, LABELS, "TFI020", "head"),
        ([(3, "softmax")], SPARSE),
    ),
    "of one unit, for numbers": ([(1, "softmax")], SQUARES, NUMBERS, "TFI020", "head", None),
    "logits that are not said to be": ([(3, None)], SPARSE, LABELS, "TFI021", "head", None),
    "ReLU under a categorical loss": ([(3, "relu")], SPARSE, LABELS, "TFI021", "head", None),
    "tanh as a layer": ([(3, None), "tanh"], CATEGORICAL, ONE_HOT, "TFI021", "head", None),
    "tags under a categorical loss": ([(3, "sigmoid")], CATEGORICAL, TAGS, "TFI021", "head", None),
    "one unit for two classes": ([(1, "sigmoid")], CATEGORICAL, YES, "TFI022", "head", None),
    "a class without a unit": (
        *([(2, "softmax")], SPARSE, LABELS, "TFI023", "head"),
        ([(3, "softmax")], SPARSE),
    ),
    "softmax for tags": ([(3, "softmax")], BINARY, TAGS, "TFI034", "head", None),
    "softmax for tags, categorical": ([(3, "softmax")], CATEGORICAL, TAGS, "TFI034", "head", None),
    "units that all get one number": (
        *([(5, None)], SQUARES, NUMBERS, "TFI035", "head"),
        ([(1, None)], SQUARES),
    ),
    "of class numbers": ([(3, None)], SQUARES, LABELS[:, None], "TFI035", "head", None),
}


def made(parts, loss):
    layers = [
        L.Activation(part) if isinstance(part, str) else L.Dense(part[0], part[1]) for part in parts
    ]
    return network(*layers, loss=loss)


@pytest.mark.parametrize("name", FAULTS)
def test_a_head_that_does_not_suit_is_found_and_cured(name):
    parts, loss, y, rule, fault, meant = FAULTS[name]
    model = made(parts, loss)
    diagnosis = diagnose(model, X, y)
    finding = diagnosis.severe[0]
    assert (finding.rule, finding.fault) == (rule, fault)
    if meant is None:
        exec(finding.code, {"model": model, "keras": keras})
    else:
        assert not finding.code
        model = made(*meant)
        assert finding.changes[0].value == meant[0][0][0]  # the units
    assert diagnose(model, X, y).healthy
    assert learns(model, y)


RIGHT = {
    "softmax": ([(3, "softmax")], CATEGORICAL, ONE_HOT),
    "softmax as a layer": ([(3, None), "softmax"], SPARSE, LABELS),
    "logits": ([(3, None)], LOSSES.SparseCategoricalCrossentropy(from_logits=True), LABELS),
    "smoothed labels": (
        [(3, "softmax")],
        LOSSES.CategoricalCrossentropy(label_smoothing=0.1),
        ONE_HOT,
    ),
    "shares": ([(3, "softmax")], CATEGORICAL, 0.9 * ONE_HOT + 0.1 / 3),
    "focal loss": ([(3, "softmax")], LOSSES.CategoricalFocalCrossentropy(), ONE_HOT),
    "sigmoid": ([(1, "sigmoid")], BINARY, YES),
    "binary logits": ([(1, None)], LOSSES.BinaryCrossentropy(from_logits=True), YES),
    "tags": ([(3, "sigmoid")], BINARY, TAGS),
    "numbers": ([(1, None)], SQUARES, NUMBERS),
    "own loss": ([(3, None)], lambda y, z: keras.ops.mean(z * z), ONE_HOT),
    "more units than labels": ([(9, "softmax")], SPARSE, LABELS),
}


@pytest.mark.parametrize("name", RIGHT)
def test_a_head_that_suits_is_no_finding(name):
    assert diagnose(made(*RIGHT[name][:2]), X, RIGHT[name][2]).findings == []


def test_softmax_over_several_classes_may_rank_them():
    ranked = network(
        L.Dense(3, "softmax"), loss=CATEGORICAL, metrics=["top_k_categorical_accuracy"]
    )
    assert found(ranked, TAGS, "TFI034") == [("warning", "head")]
    few = ONE_HOT.copy()
    few[:12, :2] = 1  # an eighth has two
    assert found(made([(3, "softmax")], CATEGORICAL), few, "TFI034") == [("warning", "head")]
    items = np.tile(TAGS, 40)
    assert found(made([(120, "softmax")], CATEGORICAL), items, "TFI034") == [("warning", "head")]


def test_positive_outputs_under_a_categorical_loss_learn_the_order_all_the_same():
    model = made([(3, "sigmoid")], CATEGORICAL)
    (finding,) = diagnose(model, X, ONE_HOT).findings
    assert (finding.rule, finding.severity, finding.fault) == ("TFI021", "warning", "head")
    assert learns(model, ONE_HOT)
    exec(finding.code, {"model": model, "keras": keras})
    assert diagnose(model, X, ONE_HOT).findings == []
    assert learns(model, ONE_HOT)
    # Not so at their ends, where they have no slope.
    model = made([(3, "sigmoid")], CATEGORICAL)
    model.layers[-1].kernel.assign(100 * model.layers[-1].kernel)
    assert found(model, ONE_HOT, "TFI021") == [("severe", "head")]


def binary(activation, kernel, bias):
    """A head under the binary loss whose outputs lie around a number."""
    model = made([(1, activation)], BINARY)
    head = model.layers[-1]
    head.kernel.assign(kernel * head.kernel)
    head.bias.assign([bias])
    return model


@pytest.mark.parametrize("activation", [None, "relu", "tanh"])
def test_outputs_that_a_binary_loss_cuts_off(activation):
    model = binary(activation, 1.0, -2.0)
    finding = next(f for f in diagnose(model, X, YES).severe if f.rule == "TFI024")
    assert finding.fault == "head"
    exec(finding.code, {"model": model, "keras": keras})
    assert diagnose(model, X, YES).healthy
    assert learns(model, YES)
    # What lies between 0 and 1 pulls the others along.
    model = binary(activation, 0.3, 0.5)
    assert found(model, YES, "TFI024") == [("warning", "head")]
    assert learns(model, YES)


def test_labels_that_count_from_one_are_a_fault_of_the_labels():
    model = made([(3, "softmax")], SPARSE)
    (finding,) = diagnose(model, X, LABELS + 1).severe
    assert (finding.rule, finding.fault, finding.code) == ("TFI023", "labels", "y = y - 1")
    ignored = LOSSES.SparseCategoricalCrossentropy(ignore_class=255)
    assert not found(made([(3, "softmax")], ignored), np.where(LABELS == 2, 255, LABELS), "TFI023")


def test_a_categorical_loss_of_numbers_is_a_fault_of_the_loss():
    model = made([(1, None)], CATEGORICAL)
    (finding,) = diagnose(model, X, NUMBERS).severe
    assert (finding.rule, finding.fault) == ("TFI022", "loss")
    exec(finding.code, {"model": model, "keras": keras})
    assert diagnose(model, X, NUMBERS).healthy
    assert learns(model, NUMBERS)


def overlap(y, z):
    """A loss of the user's own: 1 minus the overlap of masks."""
    return 1 - 2 * keras.ops.sum(y * z) / (keras.ops.sum(y) + keras.ops.sum(z) + 1)


def test_a_relu_for_zeros_and_ones_under_a_loss_of_ones_own():
    model = made([(1, "relu")], overlap)
    (finding,) = diagnose(model, X, YES).severe
    assert (finding.rule, finding.fault) == ("TFI024", "head")
    exec(finding.code, {"model": model, "keras": keras})
    assert diagnose(model, X, YES).findings == []
    assert learns(model, YES)
    assert not found(made([(1, "relu")], lambda y, z: (y - z) ** 2), abs(NUMBERS), "TFI024")


@pytest.mark.backends
def test_heads_on_every_backend():
    assert found(made([(1, "softmax")], BINARY), YES, "TFI020") == [("severe", "head")]
    assert found(made([(3, None)], SPARSE), LABELS, "TFI021") == [("severe", "head")]
    assert found(binary("relu", 1.0, -2.0), YES, "TFI024") == [("severe", "head")]
    assert diagnose(made([(3, "softmax")], SPARSE), X, LABELS).healthy


class Own(keras.Model):
    """A model whose calls Keras does not record."""

    def __init__(self, units, activation):
        super().__init__()
        self.hidden, self.out = L.Dense(16, "relu"), L.Dense(units, activation, name="out")

    def call(self, x):
        return self.out(self.hidden(x))


def test_models_of_the_users_own_class_are_judged_too():
    for units, activation, loss, y, rules in (
        (1, "softmax", BINARY, YES, ["TFI020"]),
        (3, "sigmoid", CATEGORICAL, ONE_HOT, ["TFI021"]),
        (1, "tanh", BINARY, YES, ["TFI024"]),
        (3, "softmax", CATEGORICAL, ONE_HOT, []),
    ):
        keras.utils.set_random_seed(0)
        model = Own(units, activation)
        model(X)
        model.compile("adam", loss)
        kinds = ("head against loss", "one-unit softmax")
        assert [f.rule for f in diagnose(model, X, y).findings if f.kind in kinds] == rules


class WithOwnLoss(Own):
    """A model that computes its loss itself."""

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return 7.0 + 0 * keras.ops.mean(y_pred)


@pytest.mark.parametrize("compiled", [True, False])
def test_a_loss_that_the_model_computes_itself_is_taken(compiled):
    """Not replaced by a guessed one, nor judged as the one that it was compiled with."""
    model = WithOwnLoss(3, None)
    model(X)
    if compiled:
        model.compile("adam", CATEGORICAL)
    diagnosis = diagnose(model, X, ONE_HOT)
    assert diagnosis.measurement.loss == 7
    assert not [f for f in diagnosis.findings if f.rule == "TFI021"]
    assert diagnosis.measurement.start is None


def test_the_gradient_is_that_of_fit():
    """Keras takes the logits before a sigmoid: at its end there is a gradient all the same."""
    model = network(L.Dense(1, "sigmoid", name="out"), loss=BINARY)
    out = model.get_layer("out")
    out.kernel.assign(200 * out.kernel)
    measured = diagnose(model, X, YES).measurement
    assert measured.loss == pytest.approx(model.evaluate(X, YES, verbose=0), rel=1e-4)
    before = out.bias.numpy()
    model.compile(keras.optimizers.SGD(1.0), BINARY)
    model.train_on_batch(X, YES)
    bias = next(p for p in measured.parameters if p.key == "out/bias")
    assert bias.gradient == pytest.approx(abs(out.bias.numpy() - before)[0], rel=1e-3)
