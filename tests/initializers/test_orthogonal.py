import math

import keras
import numpy as np
import pytest

from tfinit.errors import InputError
from tfinit.initializers import ConvolutionOrthogonal, DeltaOrthogonal, Orthogonal

# What rounding leaves of QᵀQ − I for matrices of this size.
BOUNDS = {"float64": 1e-13, "float32": 2e-6, "bfloat16": 2e-2, "float16": 3e-3}


def array(tensor):
    return keras.ops.convert_to_numpy(keras.ops.cast(tensor, "float64"))


@pytest.mark.parametrize("dtype", BOUNDS)
@pytest.mark.parametrize("shape", [(64, 64), (64, 40), (40, 64), (3, 3, 8, 32)])
def test_the_shorter_side_is_orthonormal(shape, dtype):
    tensor = Orthogonal(seed=0)(shape, dtype=dtype)
    assert keras.backend.standardize_dtype(tensor.dtype) == dtype
    q = array(tensor).reshape(-1, shape[-1])
    q = q if q.shape[0] >= q.shape[1] else q.T
    assert np.abs(q.T @ q - np.eye(q.shape[1])).max() < BOUNDS[dtype]


def test_gain_and_activation_scale_the_singular_values():
    for initializer, expected in (
        (Orthogonal(2.5, seed=0), 2.5),
        (Orthogonal(activation="relu", seed=0), math.sqrt(2)),
        (Orthogonal(activation="leaky_relu", negative_slope=0.5, seed=0), math.sqrt(2 / 1.25)),
    ):
        singular = np.linalg.svd(array(initializer((20, 30))), compute_uv=False)
        assert singular == pytest.approx(np.full(20, expected), rel=1e-5)


def test_the_distribution_is_haar():
    # Of a Haar matrix tr Q has mean 0 and variance 1, and the determinant either sign; a QR whose
    # signs are not corrected has a biased diagonal.
    count = 600
    matrices = [array(Orthogonal(seed=seed)((5, 5))) for seed in range(count)]
    traces = np.array([np.trace(q) for q in matrices])
    assert abs(traces.mean()) < 4.5 / math.sqrt(count)
    assert abs((traces**2).mean() - 1) < 4.5 * math.sqrt(2 / count)
    # E[q_ij] = 0 and E[q_ij²] = 1/n, entry by entry.
    stack = np.stack(matrices)
    assert np.abs(stack.mean(0)).max() < 4.5 * math.sqrt(1 / 5 / count)
    assert np.abs((stack**2).mean(0) - 0.2).max() < 4.5 * math.sqrt(3 / 35 / count)


@pytest.mark.parametrize(
    ("layer", "shape"), [("Conv1D", (6, 4)), ("Conv2D", (6, 5, 4)), ("Conv3D", (4, 4, 4, 4))]
)
@pytest.mark.parametrize("window", [3, 2])
def test_a_delta_orthogonal_convolution_is_a_rotation_of_every_position(layer, shape, window):
    layer = getattr(keras.layers, layer)(
        8, window, padding="same", kernel_initializer=DeltaOrthogonal(seed=0)
    )
    x = np.random.default_rng(0).standard_normal((2, *shape)).astype("float32")
    y = np.asarray(layer(x))
    assert np.linalg.norm(y, axis=-1) == pytest.approx(np.linalg.norm(x, axis=-1), rel=1e-5)


def frequency_responses(kernel, period=8):
    """The matrix of the circular convolution at every frequency of a torus."""
    *window, rows, columns = kernel.shape
    axes = tuple(range(len(window)))
    response = np.fft.fftn(kernel, s=(period,) * len(window), axes=axes)
    return response.reshape(-1, rows, columns)


@pytest.mark.parametrize("shape", [(5, 6, 6), (4, 5, 8), (3, 8, 5), (3, 3, 4, 6), (3, 2, 3, 4, 4)])
def test_a_convolution_orthogonal_kernel_keeps_every_frequency(shape):
    kernel = array(ConvolutionOrthogonal(seed=0)(shape, dtype="float64"))
    for matrix in frequency_responses(kernel):
        singular = np.linalg.svd(matrix, compute_uv=False)
        assert singular == pytest.approx(np.ones(len(singular)), abs=1e-12)


def test_a_convolution_orthogonal_kernel_uses_its_whole_window():
    kernel = array(ConvolutionOrthogonal(3.0, seed=0)((3, 3, 8, 8)))
    assert (np.linalg.norm(kernel, axis=(2, 3)) > 0.1).all()
    # The squared norm of an operator's taps is that of one orthogonal matrix times the gain.
    assert (kernel**2).sum() == pytest.approx(9 * 8, rel=1e-5)


@pytest.mark.parametrize("initializer", [DeltaOrthogonal, ConvolutionOrthogonal])
@pytest.mark.parametrize("shape", [(4, 4), (2, 2, 2, 2, 4, 4)])
def test_kernels_of_no_convolution_are_refused(initializer, shape):
    with pytest.raises(InputError, match="1-D to 3-D convolutions"):
        initializer()(shape)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"gain": 2.0, "activation": "relu"}, "not both"),
        ({"gain": -1.0}, "`gain` must be a positive number, or None, received -1.0"),
        ({"gain": 0}, "`gain` must be a positive number, or None, received 0"),
        ({"activation": "rleu"}, "'rleu' is unknown"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        Orthogonal(**arguments)


def test_a_vector_cannot_be_orthogonal():
    with pytest.raises(InputError, match=r"two or more axes, received \(4,\)"):
        Orthogonal()((4,))
