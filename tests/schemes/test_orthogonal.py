"""Kernels that are orthogonal as the linear maps that their layers apply."""

import keras
import numpy as np
import pytest
from keras import layers as L

from tfinit.haar import _orthogonalized, haar_matrices
from tfinit.schemes import initialize


def built(layer, shape):
    model = keras.Sequential([keras.Input(shape), layer])
    return model


def off(matrix):
    """How far a matrix is from the identity."""
    return float(np.abs(matrix - np.eye(len(matrix))).max())


@pytest.mark.parametrize("shape", [(64, 64), (96, 64), (400, 64), (64, 400)])
def test_haar_is_orthonormal_on_its_shorter_side(shape):
    (q,) = haar_matrices(np.random.default_rng(0), 1, *shape)
    assert q.shape == shape
    assert off(q @ q.T if shape[0] < shape[1] else q.T @ q) < 5e-6


@pytest.mark.parametrize("rows", [2, 6])
def test_haar_is_uniform_over_signs_and_directions(rows):
    # E[q₁₁] = 0 and E[q₁₁²] = 1/rows for the uniform distribution; QR without its signs taken out
    # has q₁₁ of one sign. 4000 draws: standard errors are below 0.012.
    q = haar_matrices(np.random.default_rng(0), 4000, rows, 2)[:, 0, 0]
    assert abs(q.mean()) < 0.05
    assert abs((q**2).mean() - 1 / rows) < 0.05


def test_gain_is_that_of_the_activation():
    model = built(L.Dense(32, activation="relu"), (32,))
    initialize(model, "orthogonal", seed=1)
    kernel = model.layers[0].kernel.numpy()
    assert off(kernel.T @ kernel / 2) < 5e-6


def test_convolution_is_orthogonal_from_window_to_channels():
    model = built(L.Conv2D(16, 3), (8, 8, 4))
    initialize(model, "orthogonal", seed=1)
    matrix = model.layers[0].kernel.numpy().reshape(-1, 16)
    assert off(matrix.T @ matrix) < 5e-6


def test_groups_channels_gates_and_transposed_windows_are_maps_of_their_own():
    grouped = built(L.Conv2D(8, 3, groups=2), (8, 8, 8))
    initialize(grouped, "orthogonal", seed=1)
    for part in np.split(grouped.layers[0].kernel.numpy().reshape(36, 8), 2, axis=1):
        assert off(part.T @ part) < 5e-6
    depthwise = built(L.DepthwiseConv2D(3, depth_multiplier=2), (8, 8, 4))
    initialize(depthwise, "orthogonal", seed=1)
    for channel in range(4):
        map_ = depthwise.layers[0].kernel.numpy()[:, :, channel].reshape(9, 2)
        assert off(map_.T @ map_) < 5e-6
    transposed = built(L.Conv2DTranspose(8, 2), (8, 8, 4))
    initialize(transposed, "orthogonal", seed=1)
    map_ = transposed.layers[0].kernel.numpy().reshape(-1, 4)
    assert off(map_.T @ map_) < 5e-6
    lstm = built(L.LSTM(8), (3, 8))
    initialize(lstm, "orthogonal", seed=1)
    for gate in np.split(lstm.layers[0].cell.recurrent_kernel.numpy(), 4, axis=1):
        assert off(gate.T @ gate) < 5e-6


def test_einsum_kernel_is_orthogonal_from_summed_to_new_axes():
    model = built(L.EinsumDense("abc,dec->abde", (5, 2, 6)), (5, 12))
    initialize(model, "orthogonal", seed=1)
    matrix = model.layers[0].kernel.numpy().reshape(12, 12)
    assert off(matrix @ matrix.T) < 5e-6


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (L.Conv1D(12, 5, padding="same"), (20, 8)),
        (L.Conv2D(12, 3, padding="same"), (9, 9, 8)),
        (L.Conv2D(12, 4, padding="same"), (9, 9, 12)),
        (L.Conv3D(6, 3, padding="same"), (5, 5, 5, 6)),
    ],
)
def test_delta_orthogonal_convolution_keeps_every_norm(layer, shape):
    model = built(layer, shape)
    initialize(model, "delta_orthogonal", seed=1)
    x = np.random.default_rng(0).normal(size=(4, *shape)).astype("float32")
    y = model(x).numpy()
    assert np.allclose(np.linalg.norm(y, axis=-1), np.linalg.norm(x, axis=-1), rtol=1e-5)


def test_embedding_entries_have_unit_variance():
    model = built(L.Embedding(40, 10), (3,))
    initialize(model, "orthogonal", seed=1)
    table = model.layers[0].embeddings.numpy()
    assert off(table.T @ table / 40) < 5e-6


def test_singular_matrices_have_an_orthogonal_factor_too():
    # Two equal columns: no Cholesky factor in any precision.
    matrix = np.random.default_rng(0).normal(size=(20, 20)).astype("float32")
    matrix[:, 3] = matrix[:, 7]
    (q,) = _orthogonalized(matrix[None])
    assert off(q.T @ q) < 1e-6
