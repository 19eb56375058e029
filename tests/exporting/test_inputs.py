"""What a model is fed, whatever the types and sizes of its inputs are."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfinit.errors import InputError
from tfinit.exporting.inputs import (
    batch_of,
    each,
    from_rest,
    in_order,
    outputs_of,
    random_inputs,
    whole_batches,
)

L = keras.layers
NUMBERS = ("bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64")
FLOATS = ("float16", "bfloat16", "float32", "float64")


def taking(dtype, shape=(2,), batch=None):
    inputs = keras.Input(shape, batch, dtype=dtype)
    return keras.Model(inputs, L.Identity(autocast=False)(inputs))


@pytest.mark.parametrize(
    "words",
    [
        ["é b", ""],
        ("é b", ""),
        np.array(["é b", ""]),
        np.array(["é b", ""], object),
        np.array(["é b".encode(), b""], object),
        np.array(["é b".encode(), b""]),
        tf.constant(["é b", ""]),
    ],
    ids=["list", "tuple", "text", "objects", "objects of bytes", "bytes", "tensor"],
)
def test_text_in_every_form(words):
    (found,) = in_order(taking("string", ()), [words], "x")
    assert found.dtype.kind == "U" and found.tolist() == ["é b", ""]


@pytest.mark.parametrize(
    ("dtype", "given", "message"),
    [
        ("string", np.zeros((3, 2)), "`x` holds numbers of type float64 for an input of type stri"),
        ("float32", np.array([["a", "b"]]), "`x` holds text for an input of type float32"),
        ("uint8", np.array([[0, 256]]), "type uint8 cannot hold, between 0 and 256"),
        ("uint8", np.array([[-1, 1]]), "type uint8 cannot hold, between -1 and 1"),
        ("int32", np.array([[0.5, 1]]), "type int32 cannot hold"),
        ("bool", np.array([[2, 1]]), "type bool cannot hold"),
        ("float32", np.array([["a", 1]], object), "must be an array of numbers"),
    ],
)
def test_what_an_input_cannot_hold(dtype, given, message):
    with pytest.raises(InputError, match=message):
        in_order(taking(dtype), given, "x")


@pytest.mark.parametrize("dtype", NUMBERS + FLOATS)
def test_random_inputs_are_of_the_type_of_the_input(dtype):
    model = taking(dtype, (None, 3))
    (found,) = random_inputs(model, 8)
    assert found.shape == (8, 32, 3) and found.dtype.name == dtype
    assert len(np.unique(found.astype("f4"))) > 1 + (dtype in FLOATS) * 100
    # It is what is given, and what the model makes of it.
    np.testing.assert_array_equal(in_order(model, found, "x")[0], found)
    np.testing.assert_array_equal(outputs_of(model, [found])[0], found)


def test_random_text_is_of_words_that_the_model_knows():
    vectorize = L.TextVectorization(vocabulary=["cat", "dog"], output_sequence_length=4)
    model = keras.Sequential([keras.Input((), dtype="string"), vectorize])
    (found,) = random_inputs(model, 8)
    assert {word for text in found for word in text.split()} == {"cat", "dog"}
    assert outputs_of(model, [found])[0].shape == (8, 4)
    lookup = keras.Sequential(
        [keras.Input((3,), dtype="string"), L.StringLookup(vocabulary=["cat", "dog"])]
    )
    (found,) = random_inputs(lookup, 8)
    assert found.shape == (8, 3) and set(found.flat) == {"cat", "dog"}
    assert random_inputs(taking("string"), 8)[0].shape == (8, 2)


def test_batches_are_filled_with_the_first_examples():
    assert batch_of(taking("int32", batch=4)) == 4 and batch_of(taking("int32")) is None
    x = np.arange(6)
    (found,) = whole_batches([x], 4)
    assert found.tolist() == [0, 1, 2, 3, 4, 5, 0, 1]
    assert whole_batches([x], None)[0] is x and len(whole_batches([x[:1]], 3)[0]) == 3
    assert [a.tolist() for (a,) in each([x], 5, 2)()] == [[0, 1], [2, 3], [4, 0]]
    assert [a.tolist() for (a,) in each([x], 2)()] == [[0], [1]]


def test_what_is_kept_between_batches_goes_on_and_is_left_as_it_was():
    rnn = L.SimpleRNN(1, stateful=True, activation="linear", use_bias=False)
    model = keras.Sequential([keras.Input((1, 1), batch_size=2), rnn])
    model.set_weights([np.ones((1, 1)), np.full((1, 1), 10.0)])  # h ← x + 10 h
    rnn.states[0].assign([[1.0], [2.0]])
    x = np.array([1, 2, 3, 4], "f4").reshape(4, 1, 1)
    assert outputs_of(model, [x])[0].ravel().tolist() == [11, 22, 113, 224]
    with from_rest(model):
        assert outputs_of(model, [x])[0].ravel().tolist() == [1, 2, 13, 24]
    assert rnn.states[0].numpy().ravel().tolist() == [1, 2]
