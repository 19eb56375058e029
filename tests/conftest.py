import importlib.util

import keras
import pytest
from hypothesis import settings

HAS_TENSORFLOW = importlib.util.find_spec("tensorflow") is not None

# A loaded machine is no failure, and a suite that passed passes again: other examples than those of
# every run are for whoever looks for faults, with --hypothesis-profile=explore.
settings.register_profile("tfinit", deadline=None, derandomize=True, database=None)
settings.register_profile("explore", deadline=None, max_examples=1000)
settings.load_profile("tfinit")


def pytest_collection_modifyitems(items):
    for item in items:
        if item.get_closest_marker("without_tensorflow") and HAS_TENSORFLOW:
            item.add_marker(pytest.mark.skip(reason="TensorFlow is installed here"))


def pytest_addoption(parser):
    parser.addoption("--seed", type=int, default=0, help="of what tests draw without one")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    # Networks that a test draws without a seed are the same in every run and order.
    keras.utils.set_random_seed(item.config.getoption("--seed"))
