"""What importing tfinit does and does not do, each in a fresh process."""

import ast
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

# The quickest backend to import that is installed.
QUICK = "jax" if importlib.util.find_spec("jax") else "tensorflow"
# What Keras imports of others, if it is installed. Most of its time goes there.
IMPORTED_BY_KERAS = ["numpy", "pandas", "matplotlib.pyplot", "scipy.stats", "sklearn.base"]
HEAVY = ["tf_keras", "tensorflow_model_optimization", "matplotlib", "ray", "fastapi", "pandas"]
FORK = """
import importlib, json, os, sys, traceback
for name in sys.argv[1].split():
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        pass
for code in sys.argv[2:]:
    child = os.fork()
    if not child:
        names = {}
        try:
            exec(code, names)
            print("SEEN " + json.dumps(names["seen"]), flush=True)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    os.waitpid(child, 0)
"""


def in_fresh_processes(*codes, loaded=(), **environment):
    """What each code leaves in `seen`. Each has a fork of a process that imported ``loaded``."""
    env = {k: v for k, v in os.environ.items() if k not in ("TF_USE_LEGACY_KERAS",)}
    done = subprocess.run(
        [sys.executable, "-c", FORK, " ".join(loaded), *codes],
        capture_output=True,
        text=True,
        timeout=300,
        env={**env, "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
    )
    seen = [line[5:] for line in done.stdout.splitlines() if line.startswith("SEEN ")]
    assert len(seen) == len(codes), done.stderr
    return list(map(json.loads, seen))


NOTHING_HEAVY = """
import logging, os, random, sys
import keras, numpy as np
modules, environment = set(sys.modules), dict(os.environ)
states = random.getstate(), np.random.get_state()[1].tolist(), logging.root.level
import tfinit
seen = {
    "new": sorted(set(sys.modules) - modules),
    "same_environment": environment == dict(os.environ),
    "same_seeds": states == (random.getstate(), np.random.get_state()[1].tolist(),
                             logging.root.level),
    "registered": sorted(k for k in keras.saving.get_custom_objects() if "tfinit" in k),
}
"""
WITH_TFMOT = """
import os
import tensorflow as tf
if {touched_before}:
    tf.keras.Model
import tf_keras
from tfinit.pruning import TfmotPruner
model = tf_keras.Sequential([tf_keras.layers.Dense(3, name="fc")])
model.build((None, 4))
masks = TfmotPruner(model).prune({{"fc/kernel": 6}})
seen = [os.environ.get("TF_USE_LEGACY_KERAS"), tf.keras.Model.__module__.split(".")[0],
        int(masks["fc/kernel"].sum())]
"""


@pytest.fixture(scope="module")
def on_tensorflow():
    codes = [NOTHING_HEAVY, *(WITH_TFMOT.format(touched_before=t) for t in (False, True))]
    names = ["nothing heavy", False, True]
    seen = in_fresh_processes(*codes, loaded=["tensorflow", "keras"], KERAS_BACKEND="tensorflow")
    return dict(zip(names, seen, strict=True))


def test_import_adds_nothing_heavy_and_changes_nothing(on_tensorflow):
    seen = on_tensorflow["nothing heavy"]
    assert seen["same_environment"]
    assert seen["same_seeds"]
    packages = {name.split(".")[0] for name in seen["new"]}
    assert not packages & set(HEAVY)
    assert "tfinit>SparseOptimizer" in seen["registered"]


def test_what_registration_imports_has_keras_at_its_top_only_below_a_package_that_has(
    on_tensorflow,
):
    """It may run in the middle of any of them: only a whole package may be in the middle then."""
    modules = [name for name in on_tensorflow["nothing heavy"]["new"] if name.startswith("tfinit.")]
    assert len(modules) > 20
    first = [name for name in modules if importlib.util.find_spec(name).submodule_search_locations]
    first = [name for name in first if _imports_keras(name)]
    assert "tfinit.initializers" in first
    others = [name for name in modules if not name.startswith(tuple(f"{n}." for n in first))]
    assert [name for name in others if _imports_keras(name) and name not in first] == []


def _imports_keras(module):
    body = ast.parse(Path(importlib.util.find_spec(module).origin).read_text()).body
    names = [a.name for node in body if isinstance(node, ast.Import) for a in node.names]
    names += [node.module for node in body if isinstance(node, ast.ImportFrom)]
    return any(name.split(".")[0] == "keras" for name in names)


def test_import_configurations_and_lists_of_names_do_not_import_keras_in_any_order():
    (seen,) = in_fresh_processes(
        """
import sys
import tfinit
alone = [name for name in ("keras", "numpy", "tensorflow") if name in sys.modules]
dir(tfinit.pruning), tfinit.lottery.LotteryConfig, tfinit.comparison.CompareConfig
tfinit.fine_tuning.PruneConfig, tfinit.exporting.ExportConfig, tfinit.lottery.BRANCHES
from tfinit.cli import compare, demo, diagnose, export, lottery, prune
import tyro
alone += [name for name in ("keras", "numpy", "tensorflow") if name in sys.modules]
import tfinit.demo.menu, tfinit.exporting.formats, tfinit.schemes.initialize
alone += [name for name in ("keras", "tensorflow") if name in sys.modules]
listed = ["lsuv" in tfinit.demo.menu.initializations(), "onnx" in tfinit.exporting.formats.FORMATS]
import keras
seen = [alone, *listed, "tfinit>SparseOptimizer" in keras.saving.get_custom_objects()]
""",
        KERAS_BACKEND=QUICK,
    )
    assert seen == [[], True, True, True]


FIRST = [
    "tfinit.initializers",
    "tfinit.pruning",
    "tfinit.pruning.in_training.sparse_optimizer",
    "tfinit.pruning.scoring.masks",
    "tfinit.variables",
    "tfinit.fans",
    "tfinit.gains",
]
REGISTERED = """
import sys
assert not {{"tfinit", "keras"}} & sys.modules.keys()
import {module}
import keras
seen = "tfinit>SparseOptimizer" in keras.saving.get_custom_objects()
"""


@pytest.fixture(scope="module")
def registered():
    codes = [REGISTERED.format(module=module) for module in FIRST]
    loaded = IMPORTED_BY_KERAS + (["jax"] if QUICK == "jax" else [])
    seen = in_fresh_processes(*codes, loaded=loaded, KERAS_BACKEND=QUICK)
    return dict(zip(FIRST, seen, strict=True))


@pytest.mark.parametrize("module", FIRST)
def test_each_module_that_registration_needs_can_be_imported_first(module, registered):
    """Registration runs inside the first `import keras`, maybe in the middle of such a module."""
    assert registered[module] is True


@pytest.mark.parametrize("touched_before", [True, False])
def test_tfmot_leaves_the_environment_and_tf_keras_as_they_were(touched_before, on_tensorflow):
    assert on_tensorflow[touched_before] == [None, "keras", 6]


def test_tfmot_leaves_a_legacy_tf_keras_as_it_was():
    (seen,) = in_fresh_processes(
        """
import os
import tensorflow as tf
from tfinit.pruning.tfmot_api.tfmot import load_tfmot
load_tfmot()
seen = [os.environ.get("TF_USE_LEGACY_KERAS"), tf.keras.Model.__module__.split(".")[0]]
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
def test_what_needs_tensorflow_says_so_where_it_is_not_installed(tmp_path):
    import tfinit

    assert tfinit.training.CompiledLoop.__name__ == "CompiledLoop"  # which JAX has, too
    legacy = tfinit.lottery.LotteryConfig(keras="tf_keras", run_dir=tmp_path / "run")
    with pytest.raises(ImportError, match="the module tf_keras: pip install tensorflow"):
        tfinit.lottery.run(legacy)
    with pytest.raises(ImportError, match=r"needs TensorFlow: pip install tensorflow"):
        _ = tfinit.pruning.TfmotPruner
