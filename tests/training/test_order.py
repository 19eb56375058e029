"""Which examples a step sees: needs no Keras, so it runs on every backend."""

import numpy as np
import pytest

from tfinit.errors import InputError
from tfinit.training import batch_indices, evaluation_steps

pytestmark = pytest.mark.backends


def test_each_epoch_is_a_permutation_cut_into_batches():
    order = batch_indices(rows=10, batch_size=3, steps=7, seed=4)
    assert order.shape == (7, 3)
    assert order.dtype == np.int32
    for epoch in (order[:3], order[3:6]):
        assert len(set(epoch.ravel())) == 9
    assert not np.array_equal(order[:3], order[3:6])


def test_the_order_is_a_function_of_seed_and_epoch_alone():
    long = batch_indices(10, 3, 30, seed=4)
    np.testing.assert_array_equal(batch_indices(10, 3, 7, seed=4), long[:7])
    assert not np.array_equal(batch_indices(10, 3, 7, seed=5), long[:7])


@pytest.mark.parametrize("start", [0, 1, 2, 3, 4, 29, 30, 31])
def test_what_starts_late_sees_what_it_would_have_seen(start):
    """Also in the middle of an epoch, which has 3 steps here."""
    rest = batch_indices(10, 3, 30, seed=4, start=start)
    np.testing.assert_array_equal(rest, batch_indices(10, 3, 30, seed=4)[start:])
    assert rest.shape == (max(30 - start, 0), 3)
    assert rest.dtype == np.int32


@pytest.mark.parametrize("batch_size", [0, -1, 11])
def test_a_batch_that_does_not_fit(batch_size):
    with pytest.raises(InputError, match=rf"`batch_size` must be in 1\.\.10.*{batch_size}"):
        batch_indices(10, batch_size, 1, seed=0)


@pytest.mark.parametrize(
    ("steps", "every", "start", "expected"),
    [
        (30, 20, 0, [0, 20, 30]),
        (40, 20, 0, [0, 20, 40]),
        (1, 100, 0, [0, 1]),
        (3, 1, 0, [0, 1, 2, 3]),
        (30, 20, 7, [7, 20, 30]),
        (30, 10, 10, [10, 20, 30]),
        (30, 10, 29, [29, 30]),
        (5, 10, 4, [4, 5]),
    ],
)
def test_evaluation_steps(steps, every, start, expected):
    np.testing.assert_array_equal(evaluation_steps(steps, every, start), expected)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"steps": 0}, r"`steps` must be a whole number of at least 1, received 0"),
        ({"steps": "9"}, r"`steps` .* received '9'"),
        ({"seed": -1}, r"`seed` must be a whole number of at least 0, received -1"),
        ({"seed": 0.5}, r"`seed` .* received 0\.5"),
        ({"start": -2}, r"`start` .* received -2"),
        ({"batch_size": 2.0}, r"`batch_size` must be in 1\.\.10, .* received 2\.0"),
        ({"batch_size": True}, r"`batch_size` .* received True"),
    ],
)
def test_numbers_that_are_no_numbers_of_steps(changed, message):
    with pytest.raises(InputError, match=message):
        batch_indices(**{"rows": 10, "batch_size": 2, "steps": 3, "seed": 0, **changed})


@pytest.mark.parametrize("every", [0, -3, 2.5])
def test_evaluations_that_never_come(every):
    with pytest.raises(InputError, match=rf"`evaluate_every` must be .* received {every}"):
        evaluation_steps(10, every)
