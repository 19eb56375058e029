"""Equations of einsum layers: what the axes of the kernel are, and where letters stand."""

import doctest

import keras
import numpy as np
import pytest

from tfinit.graph import einsum, layer_kinds
from tfinit.graph.einsum import kernel_letters, made_shape, places
from tfinit.graph.kernels import find_kernels
from tfinit.graph.output_channels import against_kernel, against_output, channel_axes
from tfinit.graph.tracing import trace

# Equation, input, output without the batch → letters of the kernel, axes of the output's channels.
EQUATIONS = [
    ("abc,cd->abd", (3, 4), (None, 5), "io", (2,)),
    ("...x,xy->...y", (3, 4), 5, "io", (2,)),
    # Dots behind: the channels are counted from the front.
    ("ab...,bc->ac...", (4, 3, 2), (5, 3, 2), "io", (1,)),
    ("abc,cde->abed", (3, 4), (None, 2, 5), "ioo", (2, 3)),
    # One matrix for each of the experts e.
    ("bec,ecd->bed", (3, 4), (3, 5), "eio", (1, 2)),
]


@pytest.mark.parametrize(("equation", "shape", "output", "letters", "channels"), EQUATIONS)
def test_each_channel_is_scaled_by_its_own_factor(equation, shape, output, letters, channels):
    random = np.random.default_rng(0)
    layer = keras.layers.EinsumDense(equation, output)
    model = keras.Sequential([keras.Input(shape), layer])
    (kernel,) = find_kernels(model, trace(model))
    assert kernel_letters(equation) == letters
    x = random.normal(size=(2, *shape))
    before = np.asarray(model(x))
    assert channel_axes(kernel, before.ndim) == channels
    factors = random.normal(size=[before.shape[axis] for axis in channels])
    layer.kernel.assign(layer.kernel.numpy() * against_kernel(kernel, factors))
    expected = before * against_output(kernel, factors, before.ndim)
    np.testing.assert_allclose(model(x), expected, rtol=1e-4, atol=1e-5)


def test_dots_stand_for_the_axes_that_are_left():
    assert places("ab...c", 6) == {"a": 0, "b": 1, "c": 5}
    assert places("abc", 3) == {"a": 0, "b": 1, "c": 2}


@pytest.mark.parametrize("module", [einsum, layer_kinds])
def test_the_examples_run(module):
    failed, tried = doctest.testmod(module, extraglobs={"keras": keras})
    assert tried
    assert not failed


def test_the_shape_of_an_einsum():
    for equation, given, told, made in (
        ("abc,cde->abde", (32, 8, 6), (None, None, 2, 3), (32, 8, 2, 3)),
        ("...x,xy->...y", (32, 8, 5, 6), (None, None, None, 4), (32, 8, 5, 4)),
        ("a...x,xy->ya...", (32, 8, 5, 6), (4, None, None, None), (4, 32, 8, 5)),
        ("bex,exy->bey", (None, 3, 6), (None, 3, 5), (None, 3, 5)),
    ):
        assert made_shape(equation, given, told) == made
