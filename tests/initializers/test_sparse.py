import math

import numpy as np
import pytest

from tfinit.errors import InputError
from tfinit.initializers import Sparse, SparseOrthogonal, SparseScaling


def test_every_unit_has_its_connections():
    w = np.asarray(Sparse(15, seed=0)((400, 300)))
    assert (np.count_nonzero(w, axis=0) == 15).all()
    # Each input is picked with probability 15/400.
    picked = np.count_nonzero(w, axis=1)
    assert abs(picked.mean() - 300 * 15 / 400) < 1e-9
    assert picked.std() == pytest.approx(math.sqrt(300 * 15 / 400 * (1 - 15 / 400)), rel=0.2)
    values = w[w != 0]
    assert values.var() == pytest.approx(1, abs=4.5 * math.sqrt(2 / values.size))


def test_a_narrow_unit_has_all_its_inputs():
    assert np.count_nonzero(np.asarray(Sparse(15, seed=0)((2, 3, 5)))) == 30


def test_sparse_without_std_keeps_the_second_moment():
    w = np.asarray(Sparse(10, std=None, seed=0)((400, 3000)))
    assert (w**2).sum(0).mean() == pytest.approx(1, abs=4.5 * math.sqrt(2 / (10 * 3000)))


@pytest.mark.parametrize("density", [0.003, 0.1, 0.5, 1.0])
def test_a_sparse_start_has_its_count_and_the_variance_of_a_dense_one(density):
    w = np.asarray(SparseScaling(density, seed=0)((200, 501)))
    count = round(density * 200 * 501)
    assert np.count_nonzero(w) == count
    # Var[w²]/E[w²]² = 3/density − 1 over all entries, given the count 2/count of the sum.
    assert (w**2).mean() == pytest.approx(2 / 200, rel=4.5 * math.sqrt(2 / count))


def test_a_sparse_start_keeps_at_least_one_weight():
    assert np.count_nonzero(np.asarray(SparseScaling(1e-6, seed=0)((5, 5)))) == 1


@pytest.mark.parametrize("density", [1 / 60, 0.05, 0.3, 0.9])
@pytest.mark.parametrize("shape", [(60, 60), (60, 25), (25, 60), (3, 4, 5, 30)])
def test_a_sparse_orthogonal_matrix_is_orthogonal_and_sparse(shape, density):
    w = np.asarray(SparseOrthogonal(density, gain=2.0, seed=0)(shape, dtype="float64"))
    w = w.reshape(-1, shape[-1])
    tall = w if w.shape[0] >= w.shape[1] else w.T
    assert np.abs(tall.T @ tall - 4 * np.eye(tall.shape[1])).max() < 1e-12
    count = np.count_nonzero(w)
    assert math.ceil(density * w.size) <= count < density * w.size + 2 * tall.shape[1]


def test_numpy_numbers_are_numbers():
    config = SparseOrthogonal(np.float32(0.5), gain=np.float64(2), seed=np.int64(3)).get_config()
    assert {name: type(value) for name, value in config.items() if value is not None} == {
        "density": float,
        "gain": float,
        "seed": int,
    }


@pytest.mark.parametrize("density", [0, -0.1, 1.01, float("nan"), "0.5"])
@pytest.mark.parametrize("initializer", [SparseScaling, SparseOrthogonal])
def test_a_density_outside_is_refused(initializer, density):
    with pytest.raises(InputError, match=r"`density` must be a number above 0 and at most 1"):
        initializer(density)


def test_other_bad_arguments_are_refused():
    with pytest.raises(InputError, match="below 1/60"):
        SparseOrthogonal(0.01)((60, 20))
    with pytest.raises(
        InputError, match="`connections` must be a whole number of at least 1, received 0"
    ):
        Sparse(0)
    with pytest.raises(InputError, match="`std` must be a positive number, or None, received -1"):
        Sparse(std=-1)
