import gc
import importlib.util
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
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


# Keras counts the layers that have no name, and two of one name are no network. Which of them meet
# must not hang on the tests that ran before: those of a file are counted from one, and those of
# tables, which are made before any test runs, have numbers that no file reaches.
FILE = pytest.StashKey()


def pytest_collectstart(collector):
    if FILE not in collector.session.stash:  # the first of all
        collector.session.stash[FILE] = None
        import keras  # here, since the process that hands out tests to others has none
        from keras.src.backend.common.global_state import get_global_attribute
        from keras.src.utils.naming import to_snake_case

        for kind in dir(keras.layers):
            keras.backend.get_uid(name := to_snake_case(kind))
            get_global_attribute("object_name_uids")[name] = 1000


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    import keras

    if item.session.stash[FILE] != item.path:
        item.session.stash[FILE] = item.path
        keras.utils.clear_session(free_memory=False)
    # Networks that a test draws without a seed are the same in every run and order.
    keras.utils.set_random_seed(item.config.getoption("--seed"))


# Networks are many objects that stay; to look through them so often takes a twentieth of the time.
gc.set_threshold(20_000, 20, 50)


@pytest.fixture(scope="module", autouse=True)
def _looked_through_once():
    """What a file of tests leaves (graphs that TensorFlow keeps) is no work for the collector."""
    yield
    gc.collect()
    gc.freeze()


@pytest.fixture
def rng(request):
    """Numbers of the test's own: the same whichever tests run beside it, and wherever it lies."""
    seed = request.config.getoption("--seed")
    return np.random.default_rng([seed, *request.node.name.encode()])


@pytest.fixture
def of_another():
    """A directory of user 4321, who is another one than this process, for the time being, too."""
    if os.geteuid():
        pytest.skip("only root can be another user")
    directory = Path(tempfile.mkdtemp())  # in one that anyone may see
    directory.chmod(0o755)
    os.chown(directory, 4321, 8765)
    os.setresuid(1234, 1234, 0)
    yield directory
    os.setresuid(0, 0, 0)
    shutil.rmtree(directory)
