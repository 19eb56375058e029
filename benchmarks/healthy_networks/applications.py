"""Every model of keras.applications, fresh: without data, and on images as it wants them.

Small images with labels; the inputs have gone through the model's own `preprocess_input`.
"""

import functools
import importlib
import inspect

import keras
import numpy as np

from . import Case

SIZE, LARGER, BATCH, CLASSES = 64, 96, 8, 10
# These refuse smaller images.
NEED_LARGER = ("Inception", "Xception", "NASNet")
GIANTS = (
    *("ConvNeXtBase", "ConvNeXtLarge", "ConvNeXtXLarge", "EfficientNetB6", "EfficientNetB7"),
    *("EfficientNetV2L", "NASNetLarge"),
)


def names():
    return [name for name, _ in inspect.getmembers(keras.applications, inspect.isfunction)]


@functools.lru_cache(1)  # its two cases come one after the other
def built(name):
    keras.utils.set_random_seed(0)
    function = getattr(keras.applications, name)
    size = LARGER if name.startswith(NEED_LARGER) else SIZE
    model = function(weights=None, input_shape=(size, size, 3), classes=CLASSES)
    module = importlib.import_module(function.__module__)
    return model, getattr(module, "preprocess_input", None)


def images(size):
    """Bytes: a bright square on noise, whose place tells the class."""
    rng = np.random.default_rng(0)
    y = rng.permutation(BATCH) % CLASSES
    x = rng.normal(100, 40, (BATCH, size, size, 3))
    for n, label in enumerate(y):
        at = label * size // (2 * CLASSES)
        x[n, at : at + size // 2, at : at + size // 2] += 60
    return np.clip(x, 0, 255).astype("float32"), y.astype("int32")


def with_data(name):
    model, preprocess = built(name)
    x, y = images(model.input_shape[1])
    model.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy")
    return model, x if preprocess is None else preprocess(x), y


def without(name):
    return built(name)[0], None, None


def cases():
    found = []
    for name in names():
        giant = name in GIANTS
        found.append(Case(f"{name}, no data", lambda n=name: without(n), giant))
        found.append(Case(name, lambda n=name: with_data(n), giant))
    return found
