"""Masks and weights beside the papers' formulas, for every kind of layer."""

import keras
import numpy as np
import one_shot_papers as papers
import pytest

from tfinit.pruning import prune_after_training

L = keras.layers
LAYERS = {
    "Dense": (lambda: L.Dense(7), (12,)),
    "Dense of sequences": (lambda: L.Dense(5, "relu"), (3, 9)),
    "more inputs than are chosen from at a time": (lambda: L.Dense(2), (140,)),
    "einsum, several outputs": (lambda: L.EinsumDense("abc,cde->abde", (None, 2, 3)), (4, 8)),
    "einsum, several inputs": (lambda: L.EinsumDense("abcd,cde->abe", (None, 5)), (4, 2, 6)),
    "einsum, a matrix for each": (lambda: L.EinsumDense("bex,exy->bey", (3, 4)), (3, 8)),
    "einsum, dots": (lambda: L.EinsumDense("...x,xy->...y", 5), (2, 3, 8)),
    "Conv1D, causal": (lambda: L.Conv1D(4, 3, dilation_rate=2, padding="causal"), (9, 4)),
    "Conv2D": (lambda: L.Conv2D(5, 3, strides=2, padding="same", activation="relu"), (6, 7, 4)),
    "Conv2D, dilated": (lambda: L.Conv2D(3, (2, 3), dilation_rate=2), (7, 8, 4)),
    "Conv2D, grouped": (lambda: L.Conv2D(6, 2, groups=2, padding="same"), (4, 5, 8)),
    "Conv3D": (lambda: L.Conv3D(3, 2), (3, 4, 3, 2)),
    "depthwise": (lambda: L.DepthwiseConv2D(3, 2, depth_multiplier=2), (7, 7, 3)),
}


def built(name, rows=16):
    make, shape = LAYERS[name]
    keras.utils.set_random_seed(1)
    layer = make()
    model = keras.Sequential([keras.Input(shape), layer])
    rng = np.random.default_rng(0)
    # Inputs that have to do with each other, and of different size.
    x = rng.normal(size=(rows, *shape)) @ rng.normal(size=(shape[-1],) * 2)
    return model, layer, (x * np.linspace(0.2, 2, shape[-1])).astype("f4")


def reference(layer, x, by, **options):
    activation, layer.activation = layer.activation, keras.activations.linear
    found = papers.pruned(layer, x, by, **options)
    layer.activation = activation
    return found


@pytest.mark.backends
@pytest.mark.parametrize("name", LAYERS)
def test_wanda_and_sparsegpt_are_those_of_the_papers(name):
    model, layer, x = built(name)
    before = model.get_weights()
    for score, by in (("wanda", papers.wanda), ("sparsegpt", papers.sparsegpt)):
        model.set_weights(before)
        wanted = reference(layer, x, by, sparsity=0.6)
        report = prune_after_training(model, x, 0.6, score=score, filters=layer.name)
        kernel = keras.ops.convert_to_numpy(layer.kernel)
        assert np.array_equal(kernel == 0, wanted == 0)
        assert np.allclose(kernel, wanted, rtol=0, atol=1e-6 if score == "wanda" else 1e-4)
        [told] = report.weights
        assert told.sparsity == np.mean(wanted == 0)
        output = [keras.ops.convert_to_numpy(_linear(layer, k, x)) for k in (before[0], wanted)]
        error = np.sum((output[1] - output[0]) ** 2) / np.sum(output[0] ** 2)
        assert told.error == pytest.approx(error, rel=1e-3)
        # Not for certain less: what makes up for one weight may go itself later.
        assert (told.error == told.error_before) == (score == "wanda")


def _linear(layer, kernel, x):
    """The output without bias and activation."""
    now, activation = keras.ops.convert_to_numpy(layer.kernel), layer.activation
    layer.kernel.assign(kernel)
    layer.activation = keras.activations.linear
    made = layer(x)  # biases are zero
    layer.activation = activation
    layer.kernel.assign(now)
    return made


@pytest.mark.parametrize(
    ("name", "structure"),
    [("Dense", "2:4"), ("einsum, dots", "4:8"), ("Conv2D, grouped", "2:4"), ("Conv2D", "2:4")],
)
def test_patterns_along_the_inputs_are_those_of_the_papers(name, structure):
    model, layer, x = built(name)
    before = model.get_weights()
    for score, by in (("wanda", papers.wanda), ("sparsegpt", papers.sparsegpt)):
        model.set_weights(before)
        n_m = {"2:4": (2, 4), "4:8": (4, 8)}[structure]
        wanted = reference(layer, x, by, sparsity=0.5, n_m=n_m)
        prune_after_training(model, x, structure=structure, score=score)
        kernel = keras.ops.convert_to_numpy(layer.kernel)
        assert np.array_equal(kernel == 0, wanted == 0)
        assert np.allclose(kernel, wanted, rtol=0, atol=1e-4)


@pytest.mark.parametrize("given", [(6, 7, 4), (9, 4)])
def test_a_convolution_that_has_its_channels_first_sees_the_same(given):
    """By the rows alone: not every CPU computes such a convolution."""
    from tfinit.graph.input_rows import rows
    from tfinit.graph.kernels import matrices_of

    conv = L.Conv2D if len(given) == 3 else L.Conv1D
    x = np.random.default_rng(0).normal(size=(3, *given)).astype("f4")
    found = []
    for order, values in (("channels_last", x), ("channels_first", np.moveaxis(x, -1, 1))):
        layer = conv(5, 3, strides=2, padding="same", data_format=order)
        layer.build(values.shape)
        matrices = matrices_of(layer, "kernel", tuple(layer.kernel.shape))
        found.append(np.concatenate(list(rows(layer, "kernel", matrices, values)), axis=1))
    assert np.array_equal(*found)
