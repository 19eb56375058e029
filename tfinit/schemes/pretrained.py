"""Weights from a trained network: matched by name, then by shape."""

import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from tfinit.arguments import flag
from tfinit.errors import InputError
from tfinit.schemes.report import Record, Report
from tfinit.schemes.task import Task
from tfinit.variables import all_weights, keras_of, own_weights, walk_layers

_SUFFIXES = (".keras", ".h5", ".npz")
# Groups of HDF5 files that hold no weights of the model.
_NOT_WEIGHTS = ("optimizer", "optimizer_weights", "metrics", "compile_metrics", "seed_generator")


def pretrained(task: Task, *, source: Any, freeze: bool = False) -> Report:
    """w ← the source's weight of the same name and shape, else of the same kind, shape and order.

    All weights take part, also biases and normalization, but those of frozen layers. Names are
    stable keys (``"fc1/kernel"``, see `tfinit.variables`). What no name matches is matched by
    shape: in the order of both models, kernels to kernels, biases to biases. The rest, often a new
    head, is left as it is.

    Args:
        task: The model.
        source: A built model, or a file that holds one: ``.keras``, ``.h5``, ``.weights.h5``, or
            ``.npz`` with a stable key for each array.
        freeze: Set ``trainable = False`` on the layers whose weights all matched. Compile the
            model afterwards.

    Returns:
        A record for each weight: from which weight of the source, or why it was left.

    Raises:
        InputError: no such file, another kind of source, or nothing that matches.

    Example:
        >>> base = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="fc")])
        >>> copy = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="fc")])
        >>> print(initialize(copy, "pretrained", seed=1, source=base)["fc/kernel"].note)
        fc/kernel by name
    """
    freeze = flag("freeze", freeze)
    given = _read(source)
    weights = all_weights(task.model)
    aliases = _aliases(task.model, weights)
    layers = {id(w): layer for _, layer in walk_layers(task.model) for w in own_weights(layer)}
    notes, chosen = _match(weights, aliases, given, layers)
    if not chosen:
        raise InputError(
            f"`source` has no weight that matches the model by name or shape: it has "
            f"{list(given)[:5]} …, the model {list(weights)[:5]} …"
        )
    for key, name in chosen.items():
        task.write(weights[key], given[name])
    if freeze:
        _freeze(task.model, {id(weights[key]) for key in chosen})
    records = [
        Record(
            key,
            type(layers[id(variable)]).__name__,
            tuple(variable.shape),
            "set" if key in chosen else "kept",
            note=notes[key],
        )
        for key, variable in weights.items()
    ]
    unused = sorted(given.keys() - set(chosen.values()))
    more = [f"not used of the source: {', '.join(unused)}"] if unused else []
    return task.report("pretrained", records, *more)


def _match(
    weights: dict[str, Any], aliases: dict[str, str], given: dict[str, np.ndarray], layers: dict
) -> tuple[dict[str, str], dict[str, str]]:
    """Why, for each key; and the name in the source of each key that is matched."""
    notes: dict[str, str] = {}
    chosen: dict[str, str] = {}
    for key, variable in weights.items():
        name = next((n for n in (key, aliases[key]) if n in given), None)
        if not layers[id(variable)].trainable:
            notes[key] = "frozen"
        elif name is None:
            notes[key] = "no weight of this name or shape in the source"
        elif given[name].shape != tuple(variable.shape):
            notes[key] = f"the source's has shape {given[name].shape}"
        else:
            chosen[key], notes[key] = name, f"{name} by name"
    taken = set(chosen.values())
    left = [name for name in given if name not in taken]
    for key, variable in weights.items():
        if key in chosen or notes[key] == "frozen":
            continue
        for place, name in enumerate(left):
            kind, shape = name.split("/")[-1], given[name].shape
            # Keras's own weight files number the weights of a layer and do not name them.
            if shape == tuple(variable.shape) and (kind.isdigit() or kind == key.split("/")[-1]):
                chosen[key], notes[key] = name, f"{name} by shape"
                del left[place]
                break
    return notes, chosen


def _aliases(model: Any, weights: dict[str, Any]) -> dict[str, str]:
    """Each key as Keras's weight files have it: the layer's path and the weight's number there."""
    numbers = {
        id(w): f"{key}/{number}" if key else str(number)
        for key, layer in walk_layers(model)
        for number, w in enumerate(own_weights(layer))
    }
    return {key: numbers[id(variable)] for key, variable in weights.items()}


def _read(source: Any) -> dict[str, np.ndarray]:
    """The arrays of a source under stable keys, or under the names that a weight file has."""
    if keras_of(source) is not None:
        return {key: variable.numpy() for key, variable in all_weights(source).items()}
    if not isinstance(source, str | os.PathLike) or Path(source).suffix not in _SUFFIXES:
        raise InputError(f"`source` must be a built model or a {_SUFFIXES} file, got {source!r}.")
    path = Path(source)
    if not path.is_file():
        raise InputError(f"`source` {str(path)!r} does not exist.")
    try:
        if path.suffix == ".npz":
            with np.load(path) as arrays:
                return dict(arrays)
        if path.suffix == ".keras" or _is_whole_model(path):
            import keras

            return _read(keras.models.load_model(path, compile=False))
        return _read_weight_file(path)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"`source` {str(path)!r} cannot be read: {error}") from error


def _is_whole_model(path: Path) -> bool:
    import h5py

    with h5py.File(path) as file:
        return "model_config" in file.attrs


def _read_weight_file(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an HDF5 file of weights alone, in the order of the layers' numbers."""
    import h5py

    found: dict[str, np.ndarray] = {}

    def visit(name: str, item: Any) -> None:
        parts = name.split("/")
        if not isinstance(item, h5py.Dataset) or any(part in _NOT_WEIGHTS for part in parts):
            return
        # Keras 3 writes "layers/fc1/vars/0", tf_keras "fc1/fc1/kernel:0".
        parts = [part for part in parts if part not in ("layers", "vars")]
        parts[-1] = parts[-1].split(":")[0]
        if len(parts) > 2 and parts[0] == parts[1]:
            del parts[0]
        found["/".join(parts)] = np.array(item)

    with h5py.File(path) as file:
        file.visititems(visit)

    def numbered(name: str) -> list[Any]:
        return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]

    return {name: found[name] for name in sorted(found, key=numbered)}


def _freeze(model: Any, matched: set[int]) -> None:
    for _, layer in walk_layers(model):
        own = own_weights(layer)
        if own and all(id(w) in matched for w in own):
            layer.trainable = False
