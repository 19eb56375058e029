"""SparseOptimizer under `keras.distribution` on JAX: four devices do what one does.

What is asked of the trainings here was written by one run of `on_four_devices.py` beside this file.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SIZES = {
    "conv/kernel": 3 * 3 * 4 * 8,
    "first/kernel": 72 * 16,
    "n_of_m/kernel": 16 * 16,
    "blocks/kernel": 16 * 16,
    "rigl/kernel": 16 * 16,
    "set/kernel": 16 * 16,
    "movement/kernel": 16 * 16,
    "last/kernel": 80 * 4,
}
WAYS = ["one", "data", "model"]
RESUMED = ["one to model", "model to one"]


class Trained:
    def __init__(self, directory):
        self.directory = directory
        self.report = json.loads((directory / "report.json").read_text())

    def __getitem__(self, name):
        """Masks by key, and weights by path."""
        with np.load(self.directory / f"{name}.npz") as file:
            arrays = {key: file[key] for key in file.files}
        masks, weights = (
            {key.removeprefix(f"{kind} "): a for key, a in arrays.items() if key.startswith(kind)}
            for kind in ("mask", "weight")
        )
        return masks, weights


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    pytest.importorskip("jax")
    directory = tmp_path_factory.mktemp("four_devices")
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=4"
    once = {  # a loaded model runs the program of the one that was saved
        "JAX_COMPILATION_CACHE_DIR": str(directory / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    fixed = {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
    program = Path(__file__).with_name("on_four_devices.py")
    # TensorFlow takes longer to load than to go without.
    run = (
        "import runpy, sys; sys.modules['tensorflow'] = None; "
        "del sys.argv[0]; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", run, program, directory],
        env={**once, **os.environ, **fixed},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return Trained(directory)


def assert_equal(found, expected):
    (masks, weights), (right, close) = found, expected
    assert masks.keys() == right.keys() == SIZES.keys()
    for key, mask in right.items():
        np.testing.assert_array_equal(masks[key], mask, err_msg=key)
    assert weights.keys() == close.keys()
    for path, weight in close.items():  # sums over the batch are added in another order
        np.testing.assert_allclose(weights[path], weight, atol=1e-5, err_msg=path)


@pytest.mark.parametrize("way", ["data", "model"])
def test_masks_and_weights_are_those_of_one_device(way, trained):
    assert_equal(trained[f"{way} saved"], trained["one saved"])
    assert_equal(trained[way], trained["one"])


@pytest.mark.parametrize("way", WAYS + RESUMED)
def test_counts_and_patterns_hold_over_all_parts(way, trained):
    masks, weights = trained[way]
    for key, mask in masks.items():
        assert not np.any(weights[key][~mask]), key
    pruned = {key: int((~mask).sum()) for key, mask in masks.items()}
    together = "conv/kernel", "first/kernel"  # ranked with each other, three quarters of them
    assert sum(pruned[key] for key in together) == 0.75 * sum(SIZES[key] for key in together)
    assert pruned["conv/kernel"] != 0.75 * SIZES["conv/kernel"]
    others = SIZES.keys() - {*together, "n_of_m/kernel"}
    assert {key: pruned[key] for key in others} == {key: 0.75 * SIZES[key] for key in others}
    assert np.all(masks["n_of_m/kernel"].reshape(4, 4, 16).sum(axis=1) == 2)
    blocks = masks["blocks/kernel"].reshape(4, 4, 4, 4).sum(axis=(1, 3))
    assert sorted(blocks.ravel()) == [0] * 12 + [16] * 4


@pytest.mark.parametrize("way", WAYS)
def test_all_devices_prune_at_the_same_steps(way, trained):
    report = trained.report[way]
    assert report["pruned"] == trained.report["one"]["pruned"]
    assert report["steps"] == len(report["pruned"]) == 24
    counts = [0] + [step["last/kernel"] for step in report["pruned"]]
    # The masks of steps 1, 4 … 19: those of step s are there after s - 1 steps, those of 1 at once.
    changed = [s for s in range(1, 25) if counts[s] != counts[s - 1]]
    assert changed == [1, 3, 6, 9, 12, 15, 18]
    assert report["agree"]  # all copies of every weight, mask and slot, after each step


SHARDED = {"conv", "first", "n_of_m", "blocks", "rigl", "set", "movement"}


@pytest.mark.parametrize(
    ("way", "sharded"),
    [("data", set()), ("model", SHARDED), ("one to model", SHARDED), ("model to one", set())],
)
def test_masks_and_slots_lie_as_their_weight(way, sharded, trained):
    variables = trained.report[way]["variables"]
    in_parts = {path for path, v in variables.items() if v["sharded"]}
    assert in_parts == {f"{layer}/kernel" for layer in sharded}
    for path, v in variables.items():
        # Two moments of Adam, its average, accumulated gradients; a mask; what movement adds up.
        beside = 4 + (path in SIZES) + (path == "movement/kernel")
        assert v["as the weight"] == [True] * beside, path


def test_nothing_but_counts_goes_between_devices(trained):
    """Of no weight, score or mask any device gets more than its part."""
    found = trained.report["collectives"]
    assert {kind for kind, _ in found} == {"all-reduce"}
    # A count of each tensor that is ranked by itself.
    assert max(entries for _, entries in found) <= 2


@pytest.mark.parametrize("way", RESUMED)
def test_a_file_goes_on_where_it_was_on_other_devices(way, trained):
    saved = way.split()[0]
    assert_equal(trained[f"{way} loaded"], trained[f"{saved} saved"])
    assert_equal(trained[way], trained["one"])
    assert trained.report[way]["pruned"] == trained.report["one"]["pruned"][8:]
    assert trained.report[way]["steps"] == 24
