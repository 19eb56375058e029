import importlib.util

import pytest
from hypothesis import settings

HAS_TENSORFLOW = importlib.util.find_spec("tensorflow") is not None

# A loaded machine is no failure.
settings.register_profile("tfinit", deadline=None)
settings.load_profile("tfinit")


def pytest_collection_modifyitems(items):
    for item in items:
        if item.get_closest_marker("without_tensorflow") and HAS_TENSORFLOW:
            item.add_marker(pytest.mark.skip(reason="TensorFlow is installed here"))
