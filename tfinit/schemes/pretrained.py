"""Weights from a trained network: matched by name, then by shape."""

import difflib
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tfinit.arguments import flag, mapping
from tfinit.array_files import Stored, is_number, open_arrays
from tfinit.errors import InputError, MissingPackage, reason
from tfinit.graph.keras_internals import inputs_of
from tfinit.graph.layer_kinds import kind_of
from tfinit.hdf5_files import open_hdf5
from tfinit.pytorch_files import open_safetensors, open_state_dictionary
from tfinit.saved_model import load_model
from tfinit.schemes.engine.pytorch_layout import in_kerass_order, names_of
from tfinit.schemes.engine.registry import scheme
from tfinit.schemes.engine.report import Record, Report
from tfinit.schemes.engine.task import Task
from tfinit.variables import all_weights, keras_of, own_weights, walk_layers, weight_name

_SUFFIXES = (".keras", ".h5", ".npz")
_OF_PYTORCH = {
    ".safetensors": open_safetensors,
    **dict.fromkeys((".pt", ".pth", ".bin"), open_state_dictionary),
}
# Groups of HDF5 files that hold no weights of the model.
_NOT_WEIGHTS = ("optimizer", "optimizer_weights", "metrics", "compile_metrics", "seed_generator")


@scheme("Pretrained")
def pretrained(
    task: Task, *, source: Any, freeze: bool = False, names: Mapping[str, str] | None = None
) -> Report:
    """w ← the source's weight of the same name and shape, else of the same kind, shape and order.

    All weights take part, also biases and normalization, but those of frozen layers. Names are
    stable keys (``"fc1/kernel"``, see `tfinit.variables`). What no name matches is matched by
    shape: in the order of both models, kernels to kernels, biases to biases. The rest, often a new
    head, is left as it is.

    Of PyTorch's files, ``.safetensors`` and state dictionaries, weights are matched by name alone:
    ``"fc1/kernel"`` is ``"fc1.weight"``, ``"norm/moving_mean"`` is ``"norm.running_mean"``, and so
    on (`tfinit.schemes.engine.pytorch_layout`). Their axes are put in Keras's order: kernels of
    Dense layers, convolutions (depthwise and transposed too), EinsumDense and recurrent layers, the
    gates of a GRU, and the rows of a Dense layer behind Flatten, which in PyTorch has the channels
    first. A name that is also a stable key is an array of Keras and stays as it is.

    It helps wherever there is a trained network of this architecture; that one was trained with
    other preprocessing, or another ε in its normalizations, is not seen here: compare outputs.

    Args:
        task: The model.
        source: A built model, or a file that holds one: ``.keras``, ``.h5``, ``.weights.h5``, or
            ``.npz`` with a stable key for each array; ``.safetensors``; or ``.pt``, ``.pth`` or
            ``.bin`` with a state dictionary of PyTorch, which must be installed. Only tensors are
            read of these: no code in them runs.
        freeze: Set ``trainable = False`` on the layers whose weights all matched. Compile the
            model afterwards.
        names: Where names differ: layer or weight of the model, by its key → what the source calls
            it, ``{"block1": "encoder.layer.0", "head/kernel": "classifier.weight"}``. What is in a
            layer goes along.

    Returns:
        A record for each weight: from which weight of the source, or why it was left.

    Raises:
        InputError: no such file, another kind of source, nothing that matches, or a name that is
            not in the model or in the source.
        MissingPackage: a file of PyTorch, which is not installed.

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
    told = {} if names is None else names
    names = mapping("names", told, "keys of the model to names of the source")
    with _opened(source) as given:
        of_pytorch = not keras_of(source) and Path(source).suffix in _OF_PYTORCH
        _check_names(names, weights, given, "." if of_pytorch else "/")
        # All of them are read before the first is written: a later one may be damaged.
        if of_pytorch:
            notes, chosen, values = _from_pytorch(task, weights, given, layers, names)
        else:
            notes, matched = _match(weights, aliases, given, layers, names)
            values = {key: given[name].read() for key, name in matched.items()}
            chosen = {key: (name,) for key, name in matched.items()}
    if not chosen:
        by = "name" if of_pytorch else "name or shape"
        raise InputError(
            f"`source` has no weight that matches the model by {by}: it has {list(given)[:5]} …, "
            f"the model {list(weights)[:5]} …. Say which is which: "
            'names={"layer of the model": "its name in the source"}.'
        )
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
    unused = sorted(set(given).difference(*chosen.values()))
    more = [f"not used of the source: {', '.join(unused)}"] if unused else []
    return task.report("pretrained", records, *more)


def _match(
    weights: dict[str, Any],
    aliases: dict[str, str],
    given: Mapping[str, Stored],
    layers: dict,
    names: Mapping[str, str],
) -> tuple[dict[str, str], dict[str, str]]:
    """Why, for each key; and the name in the source of each key that is matched."""
    notes: dict[str, str] = {}
    chosen: dict[str, str] = {}
    for key, variable in weights.items():
        asked, rest = _asked(names, key)
        told = "/".join(filter(None, (asked, *rest)))
        name = next((n for n in (told, key, aliases[key]) if n in given), None)
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


def _asked(names: Mapping[str, str], key: str) -> tuple[str | None, list[str]]:
    """What the longest part of a key is to be called, and what is left of the key behind it."""
    parts = key.split("/")
    for n in reversed(range(1, len(parts) + 1)):
        if "/".join(parts[:n]) in names:
            return names["/".join(parts[:n])], parts[n:]
    return None, parts


def _check_names(
    names: Mapping[str, Any], weights: Mapping[str, Any], given: Mapping[str, Any], joint: str
) -> None:
    """Refuse names that the model or the source has not."""
    for name, part, known, sign in (
        *(("names", key, weights, "/") for key in names),
        *((f"names[{key!r}]", value, given, joint) for key, value in names.items()),
    ):
        begins = isinstance(part, str) and any(
            found == part or found.startswith(part + sign) for found in known
        )
        if not begins:
            paths = {sign.join(p[:n]) for p in (k.split(sign) for k in known) for n in range(1, 9)}
            near = difflib.get_close_matches(str(part), sorted(paths), 3) or sorted(known)[:5]
            whose = "the model" if known is weights else "the source"
            raise InputError(
                f"`{name}`: {whose} has nothing called {part!r}. Near it is {', '.join(near)}."
            )


def _from_pytorch(
    task: Task,
    weights: dict[str, Any],
    given: Mapping[str, Stored],
    layers: dict,
    names: Mapping[str, str],
) -> tuple[dict[str, str], dict[str, tuple[str, ...]], dict[str, np.ndarray]]:
    """As `_match`, with the names of all that a weight is made of; and the values."""
    notes: dict[str, str] = {}
    chosen: dict[str, tuple[str, ...]] = {}
    values: dict[str, np.ndarray] = {}
    rows = _flattened(task)
    for key, variable in weights.items():
        layer, name, shape = layers[id(variable)], weight_name(variable), tuple(variable.shape)
        asked, rest = _asked(names, key)
        path = rest[: -2 if kind_of(layer).gates else -1]
        module = ".".join(filter(None, (asked, *path)))
        whole = (asked,) if asked is not None and not rest else ()
        told = whole or tuple(f"{module}.{own}".lstrip(".") for own in names_of(layer, name))
        if key in given and not asked:
            told = (key,)
        missing = [one for one in told if one not in given]
        if not layer.trainable:
            notes[key] = "frozen"
        elif missing or not told:
            notes[key] = f"no {missing[0]} in the source" if told else "PyTorch has no such weight"
        else:
            arrays = [_plain(given[one].read()) for one in told]
            found: np.ndarray | str = arrays[0]
            if told != (key,):
                found = in_kerass_order(layer, name, shape, arrays, rows.get(id(variable)))
            elif arrays[0].shape != shape:
                found = f"the source's has shape {arrays[0].shape}"
            if isinstance(found, str):
                notes[key] = found
            else:
                chosen[key], values[key] = told, found
                notes[key] = f"{' + '.join(told)} by name"
    return notes, chosen, values


def _plain(array: np.ndarray) -> np.ndarray:
    """A type that every backend takes."""
    return array.astype(np.float32) if array.dtype.type.__module__ == "ml_dtypes" else array


def _flattened(task: Task) -> dict[int, tuple[int, ...]]:
    """Id of a Dense layer's kernel → the shape that Flatten makes its rows of, channels last."""
    graph, found = task.graph, {}
    producers = graph.producers()
    for kernel in task.kernels:
        at = kernel.step if kernel.name == "kernel" and len(kernel.shape) == 2 else None
        while at is not None and len(graph.steps[at].inputs) == 1:
            at = producers.get(graph.steps[at].inputs[0])
            if at is None or at >= len(graph.nodes) or graph.nodes[at] is None:
                break
            op = graph.steps[at].op
            if kind_of(op).channels == "flatten":
                shape = tuple(inputs_of(graph.nodes[at])[0].shape)[1:]
                if len(shape) > 1 and getattr(op, "data_format", "") != "channels_first":
                    found[id(kernel.variable)] = shape
            if kind_of(op).channels not in ("activation", "same"):
                break
    return found


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
    suffixes = (*_SUFFIXES, *_OF_PYTORCH)
    if not isinstance(source, str | os.PathLike) or Path(source).suffix not in suffixes:
        raise InputError(f"`source` must be a built model or a {suffixes} file, got {source!r}.")
    path = Path(source)
    if not path.is_file():
        raise InputError(f"`source` {str(path)!r} does not exist.")
    try:
        if path.suffix in _OF_PYTORCH:
            with _OF_PYTORCH[path.suffix](path) as arrays:
                yield arrays
        elif path.suffix == ".npz":
            with open_arrays(path) as arrays:
                yield {name: arrays[name] for name in arrays}
        elif path.suffix == ".keras" or _is_whole_model(path):
            yield _weights_of(load_model(path, "source", compile=False))
        else:
            with open_hdf5(path) as file:
                yield _named(file.tensors())
    except (InputError, MissingPackage):
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
