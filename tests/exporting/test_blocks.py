"""Which encoding a Dense kernel gets, and that steering the converter leaves the function alone."""

import doctest
import sys

import keras
import numpy as np
import pytest

from tfinit.errors import InputError
from tfinit.exporting import accuracy, blocks, config, isolated_runs, layers, result
from tfinit.exporting.blocks import encoding_of, steered, steered_layers
from tfinit.pruning import ConstantSparsity, PruningRule, SparseOptimizer, prune_low_magnitude


def blocky(inputs, units, every, within=4):
    """Every n-th 1×4 block holds numbers, in its first `within` rows."""
    count = -(-inputs // 4) * units
    full = (np.arange(count) % every == 0).reshape(-1, units)
    kernel = np.repeat(full, 4, axis=0)[:inputs] * 1.0
    kernel[np.arange(inputs) % 4 >= within] = 0
    return kernel


# The converter's own rule, from its source: blocks where their sparsity is > 0.9 of the zeros'.
def converter_takes_blocks(kernel):
    empty = ~(kernel != 0).reshape(-1, 4, kernel.shape[1]).any(axis=1)
    return empty.mean() > 0.9 * (kernel == 0).mean() and (kernel == 0).mean() >= 0.3


@pytest.mark.parametrize(
    ("kernel", "how"),
    [
        (np.ones((8, 10)), "dense"),
        (blocky(8, 10, every=10), "blocks"),  # 90% of the blocks are empty
        (blocky(8, 10, every=2), "unpacked"),  # 50%: the sparse kernel would be slower
        (blocky(80, 10, every=3, within=1), "unpacked"),  # 92% zeros in 67% of the blocks
        (blocky(80, 10, every=6, within=1), "blocks"),  # 96% zeros, scattered, 83% empty
        (np.tile([[1.0], [1.0], [0.0], [0.0]], (2, 10)), "unpacked"),  # 2:4
        (np.zeros((8, 10)), "blocks"),
    ],
)
def test_the_encoding_that_pays_and_what_the_converter_is_led_to(kernel, how):
    encoding = encoding_of("fc", kernel)
    assert encoding.how == how
    led = steered(kernel, encoding)
    assert converter_takes_blocks(led) == (how == "blocks")
    assert np.abs(led - kernel).max() < 1e-30
    assert np.array_equal(led != 0, kernel != 0) or how != "dense"


def test_inputs_are_padded_to_a_multiple_of_4():
    kernel = blocky(30, 10, every=10)
    encoding = encoding_of("fc", kernel)
    assert (encoding.how, encoding.padding) == ("blocks", 2)
    led = steered(kernel, encoding)
    assert led.shape == (32, 10)
    assert np.abs(led[30:]).max() < 1e-30
    assert converter_takes_blocks(led)
    unpacked = encoding_of("fc", kernel, blocks=False)
    assert (unpacked.how, unpacked.padding) == ("unpacked", 2)
    assert not converter_takes_blocks(steered(kernel, unpacked))
    assert encoding_of("fc", np.ones((30, 10))).padding == 0


def test_steered_layers_compute_the_same_and_are_put_back():
    inputs = keras.Input((5, 30))
    dense = keras.layers.Dense(30, "relu", use_bias=False, name="a")
    last = keras.layers.Dense(7, name="b")
    model = keras.Model(inputs, last(dense(dense(inputs))))
    dense.kernel.assign(blocky(30, 30, every=10) * np.random.default_rng(0).normal(size=(30, 30)))
    last.bias.assign(np.arange(7.0))
    x = np.random.default_rng(1).normal(size=(3, 5, 30)).astype("f4")
    before = model(x).numpy()
    with pytest.raises(ZeroDivisionError), steered_layers(model) as encodings:
        assert [(e.key, e.how, e.padding) for e in encodings] == [
            ("a", "blocks", 2),
            ("b", "dense", 0),
        ]
        assert dense.call.__module__ == "tfinit.exporting.blocks"
        np.testing.assert_allclose(model(x), before, rtol=1e-5, atol=1e-6)
        raise ZeroDivisionError
    assert dense.call.__module__ != "tfinit.exporting.blocks"
    np.testing.assert_array_equal(model(x), before)


def test_the_preset_prunes_blocks_of_four_inputs():
    model = keras.Sequential([keras.Input((16,)), keras.layers.Dense(5, name="fc")])
    rule = PruningRule(ConstantSparsity(0.75, 1), model, block_size="litert")
    assert rule.block_size == (4, 1)
    model.compile(SparseOptimizer("sgd", rules=[rule]), "mse")
    model.fit(np.ones((8, 16)), np.ones((8, 5)), epochs=2, verbose=0)
    alive = (model.layers[0].kernel.numpy() != 0).reshape(4, 4, 5)
    assert alive.sum() == 20
    assert np.array_equal(alive.any(axis=1), alive.all(axis=1))  # a block lives or dies whole
    assert PruningRule.from_config(rule.get_config()).block_size == (4, 1)
    with pytest.raises(InputError, match=r"one of \['litert'\], received 'tflite'"):
        prune_low_magnitude(model, block_size="tflite")


@pytest.mark.parametrize("module", [accuracy, blocks, config, isolated_runs, layers, result])
def test_examples(module):
    from pathlib import Path

    failed, tried = doctest.testmod(module, extraglobs={"np": np, "Path": Path})
    assert (failed, tried > 0) == (0, True)
    assert module.__name__ in sys.modules
