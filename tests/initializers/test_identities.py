import keras
import numpy as np
import pytest
import scipy.linalg

from tfinit.errors import InputError
from tfinit.initializers import Dirac, Identity, ZerO


def test_identity_is_cut_where_it_is_not_square():
    assert np.array_equal(Identity(2.0)((2, 3)), [[2, 0, 0], [0, 2, 0]])
    assert np.array_equal(Identity()((3, 2)), [[1, 0], [0, 1], [0, 0]])


@pytest.mark.parametrize(
    ("layer", "shape", "groups"),
    [
        ("Conv1D", (5, 4), 1),
        ("Conv1D", (5, 4), 2),
        ("Conv2D", (5, 6, 4), 1),
        ("Conv2D", (5, 6, 4), 2),
        ("Conv3D", (3, 4, 3, 4), 1),
    ],
)
@pytest.mark.parametrize("window", [3, 4])
def test_a_dirac_convolution_copies_its_input(layer, shape, groups, window):
    layer = getattr(keras.layers, layer)(
        4, window, padding="same", groups=groups, kernel_initializer=Dirac(groups)
    )
    x = np.random.default_rng(0).standard_normal((2, *shape)).astype("float32")
    assert np.array_equal(layer(x), x)


def test_dirac_with_more_outputs_leaves_the_rest_at_zero():
    kernel = np.asarray(Dirac(groups=2)((3, 1, 4)))
    assert np.array_equal(kernel[1], [[1, 0, 1, 0]])
    assert np.count_nonzero(kernel) == 2


@pytest.mark.parametrize(("rows", "columns"), [(3, 5), (5, 8), (1, 2), (6, 6), (7, 3)])
def test_zero_follows_the_authors_algorithm(rows, columns):
    if columns <= rows:
        expected = np.eye(rows, columns)
    else:
        size = 2 ** int(np.ceil(np.log2(columns)))
        expected = (scipy.linalg.hadamard(size) / np.sqrt(size))[:rows, :columns]
    assert np.asarray(ZerO()((rows, columns))) == pytest.approx(expected)
    kernel = np.asarray(ZerO()((3, 3, rows, columns)))
    assert kernel[1, 1] == pytest.approx(expected)
    assert np.count_nonzero(kernel) == np.count_nonzero(expected)


def test_a_widening_zero_layer_has_as_many_kinds_of_units_as_its_docstring_says():
    assert len(np.unique(np.asarray(ZerO()((9, 16))), axis=1).T) == 16
    assert len(np.unique(np.asarray(ZerO()((5, 16))), axis=1).T) == 8
    assert np.linalg.norm(ZerO()((5, 16)), axis=1) == pytest.approx(np.ones(5), rel=1e-6)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="use Dirac"):
        Identity()((3, 2, 2))
    with pytest.raises(InputError, match="multiple of 2"):
        Dirac(groups=2)((3, 2, 5))
    with pytest.raises(
        InputError, match="`groups` must be a whole number of at least 1, received 0"
    ):
        Dirac(groups=0)
    with pytest.raises(InputError, match="two or more axes"):
        ZerO()((3,))
