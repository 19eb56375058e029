"""What all tests of exporting share."""

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", autouse=True)
def _libraries_are_no_garbage() -> Iterator[None]:
    """TensorFlow's converter collects garbage at each file, which is slow with all it loaded."""
    gc.freeze()
    yield
    gc.unfreeze()
