"""Weights from a trained network: matched by name, then by shape."""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tfinit.arguments import flag
from tfinit.array_files import Stored, is_number, open_arrays
from tfinit.errors import InputError, reason
from tfinit.hdf5_files import open_hdf5
from tfinit.saved_model import load_model
from tfinit.schemes.engine.registry import scheme
from tfinit.schemes.engine.report import Record, Report
from tfinit.schemes.engine.task import Task
from tfinit.variables import all_weights, keras_of, own_weights, walk_layers

_SUFFIXES = (".keras", ".h5", ".npz")
# Groups of HDF5 files that hold no weights of the model.
_NOT_WEIGHTS = ("optimizer", "optimizer_weights", "metrics", "compile_metrics", "seed_generator")


@scheme("Pretrained")
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
    weights = all_weights(task.model)
    aliases = _aliases(task.model, weights)
    layers = {id(w): layer for _, layer in walk_layers(task.model) for w in own_weights(layer)}
    with _opened(source) as given:
        notes, chosen = _match(weights, aliases, given, layers)
        if not chosen:
            raise InputError(
                f"`source` has no weight that matches the model by name or shape: it has "
                f"{list(given)[:5]} …, the model {list(weights)[:5]} …"
            )
        # All of them before the first is written: a later one may be damaged.
        values = {key: given[name].read() for key, name in chosen.items()}
    for key, value in values.items():
        task.write(weights[key], value)
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
    unused = sorted(set(given) - set(chosen.values()))
    more = [f"not used of the source: {', '.join(unused)}"] if unused else []
    return task.report("pretrained", records, *more)


def _match(
    weights: dict[str, Any], aliases: dict[str, str], given: Mapping[str, Stored], layers: dict
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
        elif not is_number(given[name].dtype):
            notes[key] = f"the source's holds {given[name].dtype}, no numbers"
        else:
            chosen[key], notes[key] = name, f"{name} by name"
    taken = set(chosen.values())
    left = [name for name in given if name not in taken and is_number(given[name].dtype)]
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


@contextmanager
def _opened(source: Any) -> Iterator[Mapping[str, Stored]]:
    """The arrays of a source under stable keys, or under the names that a weight file has."""
    if keras_of(source) is not None:
        yield _weights_of(source)
        return
    if not isinstance(source, str | os.PathLike) or Path(source).suffix not in _SUFFIXES:
        raise InputError(f"`source` must be a built model or a {_SUFFIXES} file, got {source!r}.")
    path = Path(source)
    if not path.is_file():
        raise InputError(f"`source` {str(path)!r} does not exist.")
    try:
        if path.suffix == ".npz":
            with open_arrays(path) as arrays:
                yield {name: arrays[name] for name in arrays}
        elif path.suffix == ".keras" or _is_whole_model(path):
            yield _weights_of(load_model(path, "source", compile=False))
        else:
            with open_hdf5(path) as file:
                yield _named(file.tensors())
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"`source` {str(path)!r} cannot be read: {reason(error)}") from error


def _weights_of(model: Any) -> dict[str, Stored]:
    import keras

    return {
        key: Stored(
            tuple(variable.shape),
            np.dtype(keras.backend.standardize_dtype(variable.dtype)),
            variable.numpy,
        )
        for key, variable in all_weights(model).items()
    }


def _is_whole_model(path: Path) -> bool:
    with open_hdf5(path) as file:
        return "model_config" in file.attributes


def _named(tensors: dict[str, Stored]) -> dict[str, Stored]:
    """The arrays of an HDF5 file of weights alone, in the order of the layers' numbers."""
    found: dict[str, Stored] = {}
    for path, tensor in tensors.items():
        parts = path.split("/")
        if any(part in _NOT_WEIGHTS for part in parts):
            continue
        # Keras 3 writes "layers/fc1/vars/0", tf_keras "fc1/fc1/kernel:0".
        parts = [part for part in parts if part not in ("layers", "vars")]
        parts[-1] = parts[-1].split(":")[0]
        if len(parts) > 2 and parts[0] == parts[1]:
            del parts[0]
        found["/".join(parts)] = tensor

    def numbered(name: str) -> list[Any]:
        return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]

    return {name: found[name] for name in sorted(found, key=numbered)}


def _freeze(model: Any, matched: set[int]) -> None:
    for _, layer in walk_layers(model):
        own = own_weights(layer)
        if own and all(id(w) in matched for w in own):
            layer.trainable = False
