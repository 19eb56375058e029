"""What importing tfinit does and does not do, each in a fresh process."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest

# The quickest backend to import that is installed.
QUICK = "jax" if importlib.util.find_spec("jax") else "tensorflow"
HEAVY = ["tf_keras", "tensorflow_model_optimization", "matplotlib", "ray", "fastapi", "pandas"]


def in_a_fresh_process(code, **environment):
    env = {k: v for k, v in os.environ.items() if k not in ("TF_USE_LEGACY_KERAS",)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**env, "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_import_adds_nothing_heavy_and_changes_nothing():
    seen = in_a_fresh_process(
        """
import json, logging, os, random, sys
import keras, numpy as np
modules, environment = set(sys.modules), dict(os.environ)
states = random.getstate(), np.random.get_state()[1].tolist(), logging.root.level
import tfinit
print(json.dumps({
    "new": sorted(set(sys.modules) - modules),
    "same_environment": environment == dict(os.environ),
    "same_seeds": states == (random.getstate(), np.random.get_state()[1].tolist(),
                             logging.root.level),
    "registered": sorted(k for k in keras.saving.get_custom_objects() if "tfinit" in k),
}))
"""
    )
    assert seen["same_environment"]
    assert seen["same_seeds"]
    packages = {name.split(".")[0] for name in seen["new"]}
    assert not packages & set(HEAVY)
    assert "tensorflow" not in packages  # Keras had loaded it, or had not
    assert "tfinit>SparseOptimizer" in seen["registered"]


def test_import_alone_does_not_import_keras_and_the_order_does_not_matter():
    seen = in_a_fresh_process(
        """
import json, sys
import tfinit
alone = "keras" in sys.modules or "numpy" in sys.modules
import keras
print(json.dumps([alone, "tfinit>SparseOptimizer" in keras.saving.get_custom_objects()]))
""",
        KERAS_BACKEND=QUICK,
    )
    assert seen == [False, True]


@pytest.mark.parametrize(
    "module",
    [
        "tfinit.initializers",
        "tfinit.pruning",
        "tfinit.pruning.sparse_optimizer",
        "tfinit.pruning.masks",
        "tfinit.variables",
        "tfinit.fans",
        "tfinit.gains",
    ],
)
def test_each_module_that_registration_needs_can_be_imported_first(module):
    """Registration runs inside the first `import keras`, maybe in the middle of such a module."""
    seen = in_a_fresh_process(
        f"""
import json
import {module}
import keras
print(json.dumps("tfinit>SparseOptimizer" in keras.saving.get_custom_objects()))
""",
        KERAS_BACKEND=QUICK,
    )
    assert seen is True


@pytest.mark.parametrize("touched_before", [True, False])
def test_tfmot_leaves_the_environment_and_tf_keras_as_they_were(touched_before):
    seen = in_a_fresh_process(
        f"""
import json, os
import tensorflow as tf
if {touched_before}:
    tf.keras.Model
import tf_keras
from tfinit.pruning import TfmotPruner
model = tf_keras.Sequential([tf_keras.layers.Dense(3, name="fc")])
model.build((None, 4))
masks = TfmotPruner(model).prune({{"fc/kernel": 6}})
print(json.dumps([os.environ.get("TF_USE_LEGACY_KERAS"), tf.keras.Model.__module__.split(".")[0],
                  int(masks["fc/kernel"].sum())]))
"""
    )
    assert seen == [None, "keras", 6]


def test_tfmot_leaves_a_legacy_tf_keras_as_it_was():
    seen = in_a_fresh_process(
        """
import json, os
import tensorflow as tf
from tfinit.pruning.tfmot import load_tfmot
load_tfmot()
print(json.dumps([os.environ.get("TF_USE_LEGACY_KERAS"), tf.keras.Model.__module__.split(".")[0]]))
""",
        TF_USE_LEGACY_KERAS="1",
    )
    assert seen == ["1", "tf_keras"]


def test_an_unknown_name_is_an_attribute_error():
    import tfinit

    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = tfinit.nonsense
    assert {"initializers", "lottery", "pruning"} <= set(dir(tfinit))


@pytest.mark.without_tensorflow
def test_what_needs_tensorflow_says_so_where_it_is_not_installed():
    import tfinit

    with pytest.raises(ImportError, match=r"needs TensorFlow: pip install tensorflow"):
        _ = tfinit.training.CompiledLoop
    with pytest.raises(ImportError, match=r"needs TensorFlow: pip install tensorflow"):
        tfinit.lottery.run(tfinit.lottery.LotteryConfig())
    with pytest.raises(ImportError, match=r"needs TensorFlow: pip install tensorflow"):
        _ = tfinit.pruning.TfmotPruner
