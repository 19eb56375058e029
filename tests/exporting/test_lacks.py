"""What exporters lack, out of what they say; the texts are theirs."""

import keras
import pytest

from tfinit.exporting.lacks import (
    Lack,
    cure_of,
    lacking_in_onnx,
    layers_of,
    said_by_converter,
    told,
)

L = keras.layers
# TensorFlow 2.21, with an int8 layer of Keras.
MLIR = (
    '<unknown>:0: error: loc(callsite(fused["BatchMatMulV3:", '
    '"sequential_1/dense_1/MatMul@__inference_function_30082"] at callsite('
    'fused["StatefulPartitionedCall:", "StatefulPartitionedCall@__inference_signature_wrapper_3"] '
    'at fused["StatefulPartitionedCall:", "StatefulPartitionedCall_1"]))): '
    "'tfl.fully_connected' op operand #0 must be tensor of 32-bit float or QI8 type\n"
    '<unknown>:0: note: loc(fused["StatefulPartitionedCall:", "Call_1"]): called from\n'
)
NO_OP = (
    "Could not translate MLIR to FlatBuffer.<unknown>:0: error: loc(callsite("
    'fused["Erfinv:", "functional_1/erfinv/Erfinv@__inference_function_7"] at fused["Call:", '
    "\"Call_1\"])): 'tf.Erfinv' op is neither a custom op nor a flex op\n"
    "<unknown>:0: error: failed while converting: 'main':"
)


@pytest.mark.parametrize(
    ("text", "lacks", "said"),
    [
        (
            MLIR,
            [Lack("BatchMatMulV3", "sequential_1/dense_1/MatMul")],
            "'tfl.fully_connected' op operand #0 must be tensor of 32-bit float or QI8 type",
        ),
        (
            NO_OP,
            [Lack("Erfinv", "functional_1/erfinv/Erfinv")],
            "'tf.Erfinv' op is neither a custom op nor a flex op",
        ),
        ("No such thing", [], ""),
    ],
)
def test_the_key_line_of_mlir(text, lacks, said):
    assert said_by_converter(text) == (lacks, said)


def test_what_tf2onnx_logs():
    logged = [
        "Tensorflow op [functional_1/dense_1/Gelu/Erfc: Erfc] is not supported",
        "Unsupported ops: Counter({'Erfc': 1})",
        "Failed to convert node 'functional_1/rfft' (fct=<bound method RFFTOp.version_1 of ...>)",
    ]
    assert lacking_in_onnx(logged) == [
        Lack("Erfc", "functional_1/dense_1/Gelu/Erfc"),
        Lack("RFFTOp", "functional_1/rfft"),
    ]


def test_layers_are_found_under_the_names_of_tensorflow():
    """It numbers the scopes, as Keras does its layers."""
    inputs = keras.Input((4,))
    block = keras.Sequential([keras.Input((4,)), L.Dense(4, name="dense_1")], name="block")
    model = keras.Model(inputs, L.Dense(2, name="dense")(block(inputs)), name="whole")
    nodes = ["whole_1/dense_1/MatMul", "whole_1/block_1/dense_1_1/MatMul;x/y", "elsewhere"]
    found = [[layer.name for layer in layers_of(model, [Lack("MatMul", n)])] for n in nodes]
    assert found == [["dense"], ["dense_1"], []]
    line = told(model, "onnx", [Lack(op, nodes[0]) for op in "ABCABDE"])
    assert line == (
        "the model 'whole' cannot become a file of onnx: ONNX Runtime has no A, B, C and 2 more as "
        "layer 'dense' (Dense) computes it"
    )
    assert "another format, such as saved_model" in cure_of(model, "onnx")


def test_lookups_are_left_outside_and_other_inputs_kept():
    words, more = keras.Input((2,), dtype="string", name="words"), keras.Input((3,), name="more")
    x = L.Flatten()(L.Embedding(5, 2)(L.StringLookup(vocabulary=["a"], name="look")(words)))
    model = keras.Model([words, more], L.Dense(2)(L.Concatenate()([x, more])))
    cure = cure_of(model, "litert")
    code = "keras.Model([model.get_layer('look').output, model.get_layer('more').output], "
    assert (
        f"Leave 'look' outside, and give the file what it makes of the inputs: export {code}"
        in (cure)
    )
    made = eval(cure.split("export ")[1].rstrip("."), {"keras": keras, "model": model})
    assert [tuple(t.shape) for t in made.inputs] == [(None, 2), (None, 3)]


@pytest.mark.parametrize(
    ("dtype", "words"),
    [("bfloat16", "of type float32 in place of bfloat16"), ("uint64", "of type int64 in place of")],
)
def test_types_of_inputs_that_litert_has_no_kernels_for(dtype, words):
    inputs = keras.Input((2,), dtype=dtype, name="x")
    model = keras.Model(inputs, L.Dense(2)(keras.ops.cast(inputs, "float32")))
    assert f"Make the input 'x' {words}" in cure_of(model, "litert")
