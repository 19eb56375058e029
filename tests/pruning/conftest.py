import keras
import pytest


@pytest.fixture
def no_random_numbers(monkeypatch):
    """Start from ones: on JAX, random numbers take a compilation for every shape."""

    def start(self, shape, dtype=None, **kwargs):
        return keras.ops.ones(shape, dtype)

    for name in ("GlorotUniform", "OrthogonalInitializer", "RandomUniform"):
        monkeypatch.setattr(getattr(keras.initializers, name), "__call__", start)
