"""The smallest model of each family of keras.applications, pruned to 80%: exact counts.

All classes are in scripts/prune_applications.py.
"""

import json
import subprocess
import sys
from math import prod

import keras
import numpy as np
import pytest

from tfinit.pruning import ConstantSparsity, SparseOptimizer, prune_low_magnitude, strip_pruning
from tfinit.variables import prunable_weights

# Image, number of all kernels less the depthwise ones, which are left alone.
FAMILIES = {
    "ConvNeXtTiny": (32, 59),  # LayerScale, nested Sequentials, grouped convolutions
    "DenseNet121": (32, 121),
    "EfficientNetB0": (32, 66),
    "EfficientNetV2B0": (32, 76),
    "InceptionResNetV2": (75, 245),
    "InceptionV3": (75, 95),
    "MobileNet": (32, 15),
    "MobileNetV2": (32, 36),
    "MobileNetV3Small": (32, 43),
    "NASNetMobile": (32, 197),
    "ResNet50": (32, 54),
    "ResNet50V2": (32, 54),
    "VGG16": (32, 16),
    "Xception": (71, 41),  # separable convolutions
}
UNIFORM = keras.initializers.RandomUniform(-1.0, 1.0, seed=0)


def build(family):
    size, _ = FAMILIES[family]
    make = getattr(keras.applications, family)
    return make(weights=None, input_shape=(size, size, 3), classes=10, classifier_activation=None)


def zeros_asked(size, sparsity):
    kept = np.rint(np.float32(size) * (np.float32(1) - np.float32(sparsity)))
    return size - max(1, int(kept))


def assert_exact(model, family, sparsity=0.8):
    weights = prunable_weights(model)
    assert len(weights) == FAMILIES[family][1]
    for key, v in weights.items():
        zeros = np.count_nonzero(np.asarray(v) == 0)
        assert zeros == zeros_asked(prod(v.shape), sparsity), key


@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "MobileNetV2"])
def test_every_kernel_is_pruned_to_the_count(family):
    model = build(family)
    schedule = ConstantSparsity(0.8, begin_step=1)
    optimizer = SparseOptimizer(keras.optimizers.Adam(), schedule, scope=model)
    optimizer.build(model.trainable_variables)
    assert_exact(model, family)
    gradients = [UNIFORM(v.shape) for v in model.trainable_variables]
    before = {key: np.array(v) for key, v in prunable_weights(model).items()}
    optimizer.apply(gradients, model.trainable_variables)
    assert_exact(model, family)
    for key, v in prunable_weights(model).items():
        assert not np.array_equal(before[key], np.asarray(v)), key


LOAD = """
import sys, json, keras, numpy as np
model = keras.saving.load_model(sys.argv[1] + "/model.keras")
np.save(sys.argv[1] + "/there.npy", np.asarray(model(np.load(sys.argv[1] + "/x.npy"))))
zeros = {v.path: int(np.count_nonzero(np.asarray(v) == 0)) for v in model.trainable_variables}
print(json.dumps({"zeros": zeros, "tfinit": "tfinit" in sys.modules}))
"""


def test_acceptance_24_fit_strip_and_load_without_tfinit(tmp_path):
    model = build("MobileNetV2")
    model = prune_low_magnitude(model, ConstantSparsity(0.8, begin_step=1))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, run_eagerly=True)
    x = np.random.default_rng(0).random((8, 32, 32, 3), "float32")
    model.fit(x, np.arange(8), batch_size=8, verbose=0)
    here = np.asarray(model(x))
    stripped = strip_pruning(model)
    assert_exact(stripped, "MobileNetV2")
    stripped.save(tmp_path / "model.keras")
    np.save(tmp_path / "x.npy", x)
    command = [sys.executable, "-c", LOAD, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    report = json.loads(done.stdout.splitlines()[-1])
    assert not report["tfinit"]
    assert np.isfinite(here).all()
    np.testing.assert_array_equal(np.load(tmp_path / "there.npy"), here)
    for v in prunable_weights(stripped).values():
        assert report["zeros"][v.path] == zeros_asked(prod(v.shape), 0.8)
