"""Intervals by the printed table of Student's t."""

import numpy as np
import pytest

from tfinit.spread import Spread


def test_mean_and_sample_standard_deviation():
    assert Spread.of([1.0, 3.0]) == Spread(2.0, pytest.approx(2**0.5), 2)
    assert Spread.of([5.0]) == Spread(5.0, 0.0, 1)
    nothing = Spread.of([])
    assert nothing.n == 0
    assert np.isnan([nothing.mean, nothing.std]).all()
    assert nothing.interval == (-np.inf, np.inf)


def test_confidence_interval_by_the_table_of_student():
    # t(0.975) is 4.303 for two degrees of freedom, 12.706 for one.
    low, high = Spread.of([1.0, 2.0, 3.0]).interval
    assert (low, high) == (
        pytest.approx(2 - 4.303 / 3**0.5, abs=1e-3),
        pytest.approx(4.484, abs=1e-3),
    )
    low, high = Spread.of([1.0, 3.0]).interval
    assert high == pytest.approx(2 + 12.706, abs=1e-3)
    assert Spread.of([1.0]).interval == (-np.inf, np.inf)
