"""Rules about inputs: the fault, what looks like it and is none, and the cure, which trains."""

import keras
import numpy as np
import pytest
from diagnosed import LAYERS, cured, data, found, net, trains

from tfinit.diagnostics import diagnose


@pytest.mark.backends
def test_inputs_that_are_nan_are_replaced():
    x, y = data()
    x[::9, 3] = np.nan
    model = net()
    finding = diagnose(model, x, y).severe[0]
    assert (finding.kind, finding.rule, finding.fault) == ("missing inputs", "TFI060", "inputs")
    assert "11 of 576 numbers in the inputs are NaN or infinite, in 11 of 96" in finding.evidence
    x, y = cured(finding, x, y)
    assert diagnose(model, x, y).healthy
    assert trains(model, x, y)


class Unknown(LAYERS.Layer):
    """Puts 0 for NaN."""

    def call(self, x):
        return keras.ops.where(keras.ops.isfinite(x), x, 0.0)


def test_a_network_that_replaces_nan_itself_is_left_alone():
    x, y = data()
    x[::9, 3] = np.nan
    model = keras.Sequential([keras.Input((6,)), Unknown(), LAYERS.Dense(3, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    assert diagnose(model, x, y).healthy


def embedded(rows, length=5):
    keras.utils.set_random_seed(1)
    layers = [LAYERS.Embedding(rows, 8, name="words"), LAYERS.Flatten(), LAYERS.Dense(3, "softmax")]
    model = keras.Sequential([keras.Input((length,)), *layers])
    model.compile(keras.optimizers.Adam(0.02), "sparse_categorical_crossentropy")
    return model


@pytest.mark.backends
def test_ids_that_an_embedding_has_no_row_for():
    ids = np.random.default_rng(0).integers(0, 30, (96, 5))
    y = ids[:, 0] % 3
    finding = diagnose(embedded(20), ids, y).severe[0]
    assert (finding.kind, finding.layer, finding.fault) == ("ids out of range", "words", "inputs")
    assert "table of 20 rows: they go from 0 to 29" in finding.evidence
    assert "input_dim of 30 or more" in finding.cure
    model = embedded(30)
    assert diagnose(model, ids, y).healthy
    assert trains(model, ids, y)
    assert "Number the ids from 0" in diagnose(model, ids - 1, y).severe[0].cure


def test_each_embedding_is_asked_of_the_column_that_it_reads():
    inputs = keras.Input((2,))
    user, film = inputs[:, 0], inputs[:, 1]
    h = LAYERS.Embedding(5, 4, name="user")(user) * LAYERS.Embedding(50, 4, name="film")(film)
    model = keras.Model(inputs, LAYERS.Dense(1)(h))
    model.compile("adam", "mse")
    ids = np.stack([np.arange(40) % 5, np.arange(40)], 1)
    y = np.arange(40)[:, None] / 40
    assert found(diagnose(model, ids, y), "ids out of range") == []
    (finding,) = diagnose(model, ids[:, ::-1], y).severe
    assert finding.layer == "user"
    assert "39" in finding.evidence


def test_examples_that_are_all_the_same():
    x, y = data()
    same = np.repeat(x[:1], 96, 0)
    (finding,) = (f for f in diagnose(net(), same, y).severe if f.kind == "examples alike")
    assert (finding.rule, finding.fault) == ("TFI065", "inputs")
    assert "All 96 examples are the same, and their targets differ" in finding.evidence
    assert found(diagnose(net(), same), "examples alike") == ["note"]
    same[40, 2] += 1.0
    assert found(diagnose(net(), same, y), "examples alike") == []
    assert found(diagnose(net(), x[:1], y[:1]), "examples alike") == []
    assert found(diagnose(net()), "examples alike") == []


def test_columns_that_say_nothing_are_a_note():
    x, y = data()
    idle = np.concatenate([x[:, :3], np.full((96, 1), 0.7), x[:, 1:2], x[:, 3:4]], 1)
    diagnosis = diagnose(net(), idle, y)
    (finding,) = (f for f in diagnosis.findings if f.kind == "idle columns")
    assert (finding.severity, finding.rule) == ("note", "TFI066")
    assert "column 3 is 0.7 for all and columns 1 and 4 are the same" in finding.evidence
    idle[:, 3:5] = 0.0  # words that no example has
    assert found(diagnose(net(), idle, y), "idle columns") == []
    assert found(diagnose(net(), x, y), "idle columns") == []


def convolution(shape, order="channels_last"):
    first = LAYERS.Conv2D(4, 3, data_format=order, name="conv")
    return keras.Sequential([keras.Input(shape), first, LAYERS.Flatten(), LAYERS.Dense(3)])


def test_colours_on_the_wrong_axis():
    images = np.random.default_rng(0).random((8, 3, 16, 16)).astype("float32")
    (finding,) = (
        f for f in diagnose(convolution((3, 16, 16)), images).findings if f.kind == "channel order"
    )
    assert (finding.severity, finding.layer, finding.fault) == ("warning", "conv", "inputs")
    assert "x.transpose(0, 2, 3, 1)" in finding.cure
    right = images.transpose(0, 2, 3, 1)
    assert found(diagnose(convolution((16, 16, 3)), right), "channel order") == []
    narrow = images[:, :, :5]  # such as sensors by time
    assert found(diagnose(convolution((3, 5, 16)), narrow), "channel order") == []


def on_backbone(name, *before, frozen=True):
    """A head on a small network that is called as one of keras.applications."""
    keras.utils.set_random_seed(1)
    convs = [LAYERS.Conv2D(8, 3, 2, activation="relu"), LAYERS.GlobalAveragePooling2D()]
    base = keras.Sequential([keras.Input((16, 16, 3)), *convs], name=name)
    base.trainable = not frozen
    model = keras.Sequential([keras.Input((16, 16, 3)), *before, base, LAYERS.Dense(2)])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def test_a_backbone_that_gets_another_range_than_its_own():
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 16, 3)).astype("float32")
    y = np.arange(16) % 2

    def told(model, x):
        return [f for f in diagnose(model, x, y).findings if f.kind == "wrong preprocessing"]

    (finding,) = told(on_backbone("efficientnetb0"), pixels / 255)
    assert (finding.severity, finding.rule, finding.fault) == ("severe", "TFI068", "inputs")
    assert "goes from 0 to 1; its weights are for pixels from 0 to 255" in finding.evidence
    assert told(on_backbone("efficientnetb0", LAYERS.Rescaling(1 / 255)), pixels) != []
    assert told(on_backbone("efficientnetb0"), pixels) == []
    (finding,) = told(on_backbone("mobilenetv2_1.00_96"), pixels)
    assert "keras.applications.mobilenet_v2.preprocess_input" in finding.cure
    scaled = on_backbone("mobilenetv2_1.00_96", LAYERS.Rescaling(1 / 127.5, -1))
    assert told(scaled, pixels) == []
    (finding,) = told(on_backbone("vgg16"), pixels / 255)
    assert "keras.applications.vgg16.preprocess_input" in finding.cure
    centred = diagnose(on_backbone("vgg16"), pixels - 118, y)  # as its own preprocess_input does
    assert found(centred, "wrong preprocessing") == found(centred, "scale jump") == []
    # What is drawn anew takes any range, and so does a network of another name.
    assert told(on_backbone("vgg16", frozen=False), pixels / 255) == []
    assert told(on_backbone("eyes"), pixels / 255) == []
