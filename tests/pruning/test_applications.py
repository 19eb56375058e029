"""Models of keras.applications, one of each kind of layers, pruned to 80%: exact counts.

Which kernels are pruned of every family is in tests/schemes/test_applications.py, where they are
built; all classes are pruned by scripts/prune_applications.py.
"""

import zipfile
from math import prod

import keras
import numpy as np
import pytest

from tfinit.pruning import ConstantSparsity, SparseOptimizer, prune_low_magnitude, strip_pruning
from tfinit.variables import prunable_weights

# Image, number of all kernels less the depthwise ones, which are left alone.
FAMILIES = {
    "ConvNeXtTiny": (32, 59),  # LayerScale, nested Sequentials, grouped convolutions
    "EfficientNetB0": (32, 66),  # squeeze and excitation; preprocessing inside
    "MobileNetV2": (32, 36),
    "ResNet50": (32, 54),
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
    optimizer = SparseOptimizer(keras.optimizers.SGD(), schedule, scope=model)
    optimizer.build(model.trainable_variables)
    assert_exact(model, family)
    gradients = [UNIFORM(v.shape) for v in model.trainable_variables]
    before = {key: np.array(v) for key, v in prunable_weights(model).items()}
    optimizer.apply(gradients, model.trainable_variables)
    assert_exact(model, family)
    for key, v in prunable_weights(model).items():
        assert not np.array_equal(before[key], np.asarray(v)), key


def test_acceptance_24_fit_strip_and_save_without_tfinit(tmp_path):
    """In a process without tfinit, test_schedule_tensorflow.py loads such a file."""
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
    with zipfile.ZipFile(tmp_path / "model.keras") as file:
        assert not any(b"tfinit" in file.read(name) for name in file.namelist())
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert_exact(loaded, "MobileNetV2")
    assert np.isfinite(here).all()
    np.testing.assert_array_equal(np.asarray(loaded(x)), here)
