"""What each seed gave on the commit before the packages were rebuilt, and gives since."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

import tfinit
from tfinit import datasets, initializers, models
from tfinit.lottery import controls
from tfinit.training import batch_indices

KEPT = Path(__file__).with_name("seeded_values.json")
L = keras.layers

_INITIALIZERS = {
    "Xavier": [{}, {"distribution": "uniform"}],
    "He": [{"activation": "relu"}, {"activation": "leaky_relu", "negative_slope": 0.2}],
    "LeCun": [{}],
    "Orthogonal": [{}],
    "Sparse": [{}],
    "SparseScaling": [{"density": 0.5}],
    "SparseOrthogonal": [{"density": 0.5}],
    "EdgeOfChaos": [{}],
    "ZerO": [{}],
    "Identity": [{}],
}
_OF_KERNELS = {"Dirac": {}, "DeltaOrthogonal": {}, "ConvolutionOrthogonal": {}}
_WITHOUT_DATA = (
    *("xavier", "he", "lecun", "orthogonal", "delta_orthogonal", "alexnet"),
    *("autoinit", "depth_scaled", "fixup", "reinitialize"),
)
_WITH_DATA = ("lsuv", "krahenbuhl", "weightnorm_data", "metainit")
_CRITERIA = (
    *("magnitude", "small-final", "large-init", "small-init", "large-init-large-final"),
    *("small-init-small-final", "magnitude-increase", "movement", "large-final-same-sign"),
    *("magnitude-increase-same-sign", "random"),
)
RENAMED = {"movement": "distance"}


def network() -> Any:
    """Convolutions with a residual branch, a normalization and a head; its names are its own."""
    keras.utils.clear_session()
    x = inputs = keras.Input((8, 8, 3), name="in")
    x = L.Conv2D(6, 3, padding="same", activation="relu", name="stem")(x)
    y = L.Conv2D(6, 3, padding="same", activation="relu", name="branch_a")(x)
    y = L.Conv2D(6, 3, padding="same", name="branch_b")(y)
    x = L.ReLU(name="relu")(L.Add(name="add")([x, y]))
    x = L.GlobalAveragePooling2D(name="mean")(x)
    x = L.Dense(7, activation="tanh", name="fc")(x)
    return keras.Model(inputs, L.Dense(4, name="head")(x), name="net")


def values(score: Any, renamed: bool) -> Iterator[tuple[str, np.ndarray]]:
    """Name → array, for each initializer, scheme, score, control, network and order of training.

    Args:
        score: The function of (name, initial, final, mask, seed) that scores trained weights.
        renamed: Whether scores have their names of today.
    """
    for name, settings in _INITIALIZERS.items():
        for setting in settings:
            made = getattr(initializers, name)(**setting, **_seed(name))
            layer = L.Dense(5, kernel_initializer=made, name="fc")
            layer.build((None, 12))
            yield f"initializer {name} {setting}", np.array(layer.kernel)
    for name, setting in _OF_KERNELS.items():
        made = getattr(initializers, name)(**setting, **_seed(name))
        layer = L.Conv2D(8, 3, kernel_initializer=made, name="conv")
        layer.build((None, 8, 8, 4))
        yield f"initializer {name} of a convolution", np.array(layer.kernel)
    data = np.random.default_rng(0).normal(size=(32, 8, 8, 3)).astype("float32")
    for name in (*_WITHOUT_DATA, *_WITH_DATA):
        model = network()
        tfinit.initialize(model, "xavier", seed=5)
        tfinit.initialize(model, name, *([data] if name in _WITH_DATA else []), seed=3)
        for variable in model.trainable_variables:
            if "kernel" in variable.path:
                yield f"scheme {name} {variable.path}", np.array(variable)
    draw = np.random.default_rng(1)
    initial = {k: draw.normal(size=(9, 4)).astype("float32") for k in ("a/kernel", "b/kernel")}
    final = {k: w + draw.normal(size=w.shape).astype("float32") for k, w in initial.items()}
    mask = {k: draw.random(w.shape) < 0.7 for k, w in initial.items()}
    for name in _CRITERIA:
        asked = RENAMED.get(name, name) if renamed else name
        for key, found in score(asked, initial, final, mask, 2).items():
            yield f"ticket {name} {key} order", np.argsort(np.ravel(found), kind="stable")
    for key, found in controls.shuffled(mask, 4).items():
        yield f"control shuffled {key}", found
    digits = datasets.load("digits")
    model = models.build("lenet-300-100", keras, digits.train[0].shape[1:], digits.classes, 6)
    for variable in model.trainable_variables:
        yield f"network lenet-300-100 {variable.path}", np.array(variable)
    yield "training order", batch_indices(rows=50, batch_size=8, steps=20, seed=7, start=3)
    yield "split of digits", digits.train[1]


def _seed(name: str) -> dict[str, int]:
    return {} if name in ("Identity", "Dirac", "ZerO") else {"seed": 11}


def kept_of(array: np.ndarray) -> list[Any]:
    """What is kept of an array: numbers, and what they come to; of integers and masks a digest."""
    array = np.asarray(array)
    if array.dtype.kind in "iub":
        canonical = np.ascontiguousarray(array.astype("int64"))
        return [list(array.shape), hashlib.sha256(canonical.tobytes()).hexdigest()]
    flat = array.astype("float64").ravel()
    weights = np.cos(np.arange(flat.size))  # each entry counts, and its place
    return [list(array.shape), float(flat @ weights), *map(float, flat[:3])]


def write(score: Any, renamed: bool, path: Path = KEPT) -> None:
    """Keep what the seeds give now."""
    kept = {name: kept_of(array) for name, array in values(score, renamed)}
    path.write_text(json.dumps(kept, indent=0) + "\n", encoding="utf-8")
