"""The table of layer kinds: every public class has its row, and no file asks by name beside it."""

import ast
import inspect
from pathlib import Path

import keras
import pytest
import tf_keras
from keras import layers
from keras.src.ops import nn, numpy

import tfinit
from tfinit.graph import channel_rules, multiply_adds
from tfinit.graph.layer_kinds import (
    _HOMES,
    _OPERATIONS,
    DEFAULT,
    axes_of,
    kind_of,
    kind_of_class,
    letters_of,
)
from tfinit.schemes.engine import moments

# Of these nothing is known: they run a model or code of another library, or anything at all.
ON_PURPOSE = {
    "keras": {"Layer", "JaxLayer", "FlaxLayer", "TFSMLayer", "TorchModuleWrapper"}
    | {"StackedRNNCells"},
    "tf_keras": {"Layer", "StackedRNNCells", "AbstractRNNCell", "DenseFeatures"}
    | {"LocallyConnected1D", "LocallyConnected2D", "ThresholdedReLU"}
    | {f"Random{name}" for name in ("Brightness", "Contrast", "Crop", "Flip", "Height")}
    | {f"Random{name}" for name in ("Rotation", "Translation", "Width", "Zoom")}
    | {"CenterCrop", "Resizing"},
}


@pytest.mark.parametrize("library", [keras, tf_keras], ids=["keras", "tf_keras"])
def test_every_public_layer_has_a_row_or_is_left_out_on_purpose(library):
    public = {
        cls
        for cls in vars(library.layers).values()
        if inspect.isclass(cls) and issubclass(cls, library.layers.Layer)
    }
    without = {cls.__name__ for cls in public if kind_of_class(cls) == DEFAULT}
    assert without == ON_PURPOSE[library.__name__] & {cls.__name__ for cls in public}


# Words that are no classes of layers there: titles, initializers, ONNX's operators, Keras's files.
OTHER_WORDS = {
    "demo/menu.py": {"ReLU", "ELU", "Identity"},
    "exporting/onnx_graph.py": {"Add", "Identity"},
    "graph/activations.py": {"Activation"},
    "saved_model.py": {"TFSMLayer"},
}
# Bases of other things than layers: optimizers, schedules, data, parts of a user's, and where a
# method is looked up.
OTHER_BASES = {
    "cli/flags.py",
    "fine_tuning/measured.py",
    "graph/overlay.py",
    "lottery/own_parts.py",
    "pruning/in_training/schedule_checks.py",
    "pruning/scoring/loss_gradients.py",
    "pruning/scoring/scores.py",
    "pruning/tfmot_api/adoption.py",
}


def test_no_other_file_asks_for_a_layer_by_the_name_of_its_class():
    known = {
        base.__name__
        for library in (keras, tf_keras)
        for cls in vars(library.layers).values()
        if inspect.isclass(cls)
        for base in cls.__mro__
        if base.__module__.split(".")[0] in ("keras", "tf_keras")
    } | {"Functional", "Sequential", "TFOpLambda", "PruneLowMagnitude"}
    root = Path(tfinit.__file__).parent
    found = []
    for path in sorted(root.rglob("*.py")):
        file = path.relative_to(root).as_posix()
        if file == "graph/layer_kinds.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            value = node.value if isinstance(node, ast.Constant) else None
            if isinstance(value, str) and value in known - OTHER_WORDS.get(file, set()):
                found.append(f"{file}:{node.lineno} {value}")
            if isinstance(node, ast.Attribute) and node.attr == "__mro__":
                found.extend([f"{file}:{node.lineno} bases"] * (file not in OTHER_BASES))
    assert found == []


@pytest.mark.parametrize(
    ("field", "rules"),
    [
        ("multiply_adds", multiply_adds.RULES),
        ("channels", channel_rules.RULES),
        ("moments", moments.FORMULAS),
    ],
)
def test_every_rule_that_a_row_names_is_there_and_used(field, rules):
    rows = [row for rows in (*_HOMES.values(), _OPERATIONS) for row in rows.values()]
    assert {getattr(row, field) for row in rows} - {""} == set(rules)


def test_the_table_imports_no_keras():
    source = Path(tfinit.__file__).parent / "graph" / "layer_kinds.py"
    imported = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(source.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module] if isinstance(node, ast.ImportFrom) else [node.names[0].name])
    }
    assert imported <= {
        "re",
        "collections",
        "dataclasses",
        "functools",
        "types",
        "typing",
        "tfinit",
    }


class OwnDense(layers.Dense):
    pass


class OwnLayerNorm(layers.Layer):
    pass


class OwnPooling(layers.Layer):
    pass


class Add(layers.Layer):
    """Named as one of Keras's, and none of them."""


@pytest.mark.parametrize(
    "layer, known",
    [
        (layers.Dense(1), {"linear": True, "multiply_adds": "dense", "channels": "mixing"}),
        (OwnDense(1), {"linear": True, "multiply_adds": "dense"}),
        (layers.Conv2D(1, 1), {"convolution": True, "channels": "mixing"}),
        # In tf_keras it derives from Conv2D.
        (tf_keras.layers.Conv2DTranspose(1, 1), {"multiply_adds": "conv_transpose"}),
        (layers.Bidirectional(layers.LSTM(1)), {"wrapper": False, "opaque": False}),
        (tf_keras.layers.Bidirectional(tf_keras.layers.LSTM(1)), {"wrapper": True}),
        (layers.LSTM(1), {"recurrent": True, "opaque": True}),
        (layers.ConvLSTM1D(1, 1), {"recurrent": True, "multiply_adds": "recurrent"}),
        (layers.GRUCell(1), {"gates": "zrc"}),
        (layers.ReLU(), {"activation": "relu"}),
        (layers.BatchNormalization(), {"normalization": "batch"}),
        (layers.Normalization(), {"normalization": "", "preprocessing": "normalization"}),
        (layers.SpectralNormalization(layers.Dense(1)), {"normalization": "", "wrapper": True}),
        (OwnLayerNorm(), {"normalization": "own"}),
        (OwnPooling(), {"keeps_mean": True}),
        (layers.Add(), {"merge": "add", "channels": "add"}),
        (numpy.Add(), {"merge": "add", "channels": "add"}),
        (nn.Relu(), {"activation": "relu"}),
        # A mean over an axis; the layer of that name is one of several signals.
        (numpy.Average(), {"merge": ""}),
        (Add(), {"merge": ""}),
        (keras.Sequential(), {"model": "sequential"}),
        (object(), {"linear": False}),
    ],
)
def test_rows_along_the_bases(layer, known):
    kind = kind_of(layer)
    assert {name: getattr(kind, name) for name in known} == known


def test_exactly_leaves_subclasses_out():
    assert kind_of(layers.Dense(1), exactly=True).linear
    assert kind_of(OwnDense(1), exactly=True) is DEFAULT


def test_a_function_of_tensorflow_in_a_graph_of_tf_keras():
    x = tf_keras.Input((3,))
    model = tf_keras.Model(x, tf_keras.activations.relu(x) + 1.0)
    kinds = [kind_of(layer) for layer in model.layers]
    assert [kind.activation for kind in kinds] == ["", "relu", ""]
    assert kinds[-1].merge == "add"


@pytest.mark.parametrize(
    "layer, weight, letters",
    [
        (layers.Conv2D(1, 1), "kernel", "*io"),
        (layers.Conv2DTranspose(1, 1), "kernel", "*oi"),
        (layers.DepthwiseConv2D(1), "kernel", "*cm"),
        (layers.Embedding(1, 1), "embeddings", "vo"),
        (OwnLayerNorm(), "kernel", "*io"),
        (OwnLayerNorm(), "gamma", None),
    ],
)
def test_axes_of_kernels(layer, weight, letters):
    axes = axes_of(layer, weight)
    assert (axes and axes.letters) == letters


def test_depthwise_kernels_are_not_pruned():
    assert not axes_of(layers.DepthwiseConv1D(1), "kernel").prunable
    assert not axes_of(layers.SeparableConv1D(1, 1), "depthwise_kernel").prunable
    assert axes_of(layers.SeparableConv1D(1, 1), "pointwise_kernel").prunable


@pytest.mark.parametrize(
    "layer, rank, letters",
    [
        (layers.Conv1D(1, 1), 3, "*io"),
        (layers.Conv3DTranspose(1, 1), 5, "***oi"),
        (layers.Conv1D(1, 1), 1, ""),
        (layers.Dense(1), 3, ""),
        # One matrix for each of the experts.
        (layers.EinsumDense("bec,ecd->bed", 1), 3, "eio"),
        (layers.EinsumDense("abde,dec->abc", 1), 3, "iio"),
        (layers.EinsumDense("abde,dec->abc", 1), 2, ""),
    ],
)
def test_a_letter_for_each_axis(layer, rank, letters):
    assert letters_of(layer, "kernel", rank) == letters
