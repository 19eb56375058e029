"""What identifies a network: its weights, its layers, and what it is trained with.

A run that goes on must go on with the network it began with. The fingerprint of a network is the
same in every process, and after any other layers were made: names that Keras made up, which count
all layers of the process, are renumbered, and so are all references to them.
"""

import dataclasses
import hashlib
import importlib
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tfinit.graph.keras_internals import compiled_with
from tfinit.variables import (
    all_weights,
    automatic_stem,
    children,
    keras_of,
    unique_name,
    walk_layers,
)

__all__ = ["Fingerprint", "fingerprint"]

_SHOWN = 3  # differences that are told
# What does not change what a layer computes, is told elsewhere, or differs from seed to seed.
_LEFT_OUT = {
    *("build_config", "compile_config", "is_legacy_optimizer", "jit_compile", "module"),
    *("registered_name", "seed", "shared_object_id"),
}
_TRAINING = ("loss", "loss_weights", "metrics", "weighted_metrics", "optimizer")


@dataclasses.dataclass(frozen=True)
class Fingerprint:
    """What identifies a network, as JSON can have it.

    Attributes:
        keras: The Keras that made it, and its version: another one may describe layers otherwise.
        weights: Key of each weight → its type and shape, and whether it is frozen.
        layers: Key of each layer → its class and settings, without seeds.
        training: What the model was compiled with: losses, their weights, metrics, optimizer.
    """

    keras: str
    weights: dict[str, Any]
    layers: dict[str, Any]
    training: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """For a file."""
        return dataclasses.asdict(self)

    @classmethod
    def of(cls, values: Any) -> "Fingerprint":
        """What `to_dict` gave, and was read from a file.

        Raises:
            ValueError: it was something else.
        """
        names = {f.name: dict if f.name != "keras" else str for f in dataclasses.fields(cls)}
        if not isinstance(values, Mapping) or values.keys() != names.keys():
            raise ValueError(f"it is not the fingerprint of a network: {', '.join(names)}")
        if not all(isinstance(values[name], kind) for name, kind in names.items()):
            raise ValueError("it is not the fingerprint of a network")
        return cls(**values)

    def digest(self) -> str:
        """SHA-256, in hexadecimal, of all but the version of Keras."""
        told = {**self.to_dict(), "keras": ""}
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()

    def difference(
        self, now: "Fingerprint", there: str = "there", here: str = "now", drawn: bool = True
    ) -> str:
        """What another network has otherwise, in a phrase; empty where nothing is.

        Weights first: where they differ, that is told alone. Of another version of Keras only they
        are compared.

        Args:
            now: The other one.
            there: What this one is called in the phrase.
            here: What the other one is called.
            drawn: Whether the initializers of layers count: not where weights were drawn already.

        Example:
            >>> few = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, name="fc")])
            >>> more = keras.Sequential([keras.Input((2,)), keras.layers.Dense(4, name="fc")])
            >>> fingerprint(few).difference(fingerprint(more))[:55]
            'fc/kernel: float32 (2, 3) there, float32 (2, 4) now; fc'
        """
        parts = ("weights",) if self.keras != now.keras else ("weights", "layers", "training")
        for part in parts:
            mine, other = (_flat(getattr(one, part)) for one in (self, now))
            differing = [
                f"{path or 'the model'}: {mine.get(path, 'nothing')} {there}, "
                f"{other.get(path, 'nothing')} {here}"
                for path in dict.fromkeys((*mine, *other))
                if mine.get(path) != other.get(path)
                and (drawn or not re.search(r"_initializer\b", path))
            ]
            if differing:
                more = len(differing) - _SHOWN
                return "; ".join(differing[:_SHOWN]) + (f"; and {more} more" if more > 0 else "")
        return ""


def fingerprint(model: Any) -> Fingerprint:
    """The fingerprint of a built model, of either Keras.

    Args:
        model: The model; compiled, or nothing is said of its training.

    Raises:
        InputError: it is no Keras model, or is not built.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
        >>> model.compile("sgd", "mse")
        >>> found = fingerprint(model)
        >>> found.weights["dense/kernel"], found.layers["dense"]["units"], found.training["loss"]
        ('float32 (2, 3)', 3, 'mse')
    """
    weights = all_weights(model)
    trained = {id(weight) for weight in model.trainable_weights}
    keras = importlib.import_module(keras_of(model) or "keras")
    compiled = compiled_with(model)
    return Fingerprint(
        f"{keras.__name__} {keras.__version__}",
        {
            key: f"{_type_of(weight)} {tuple(weight.shape)}"
            + ("" if id(weight) in trained else ", frozen")
            for key, weight in weights.items()
        },
        {key: _layer(layer) for key, layer in walk_layers(model)},
        {name: _plain(compiled[name]) for name in _TRAINING if compiled.get(name) is not None},
    )


def _type_of(weight: Any) -> str:
    return getattr(weight.dtype, "name", str(weight.dtype))


def _layer(layer: Any) -> dict[str, Any]:
    """A layer's class and settings. Of layers inside it only which, and how they are connected."""
    config = _config(layer)
    if isinstance(config, dict) and children(layer):
        config = _connections(config)
    if isinstance(config, dict):  # its name is in its key
        config = {name: value for name, value in config.items() if name != "name"}
    return _object(type(layer).__name__, config)


def _config(thing: Any) -> Any:
    try:
        return thing.get_config()
    except Exception:  # of the user's own: it need not tell
        return "not told"


def _connections(config: dict[str, Any]) -> dict[str, Any]:
    """The settings of a model without those of its layers, which are told by themselves."""
    inside = config.get("layers")
    if not isinstance(inside, list) or not all(isinstance(part, Mapping) for part in inside):
        return config
    names: dict[str, str] = {}
    taken: set[str] = set()
    calls = []
    for part in inside:
        name = part.get("name") or (part.get("config") or {}).get("name") or ""
        kind = str(part.get("class_name")).split(">")[-1]
        names[name] = unique_name(automatic_stem(name, kind) or name, taken)
        calls.append({"layer": name, "class": kind, "calls": part.get("inbound_nodes", [])})
    for name in names:  # tf_keras's name for the input of a Sequential, after its first layer
        if name.endswith("_input") and name[: -len("_input")] in names:
            names[name] = f"{names[name[: -len('_input')]]}_input"
    others = {key: value for key, value in config.items() if key != "layers"}
    return _renamed({**others, "layers": calls}, names)


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    """A configuration with other names for its layers."""
    if isinstance(value, Mapping):
        return {key: _renamed(part, names) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_renamed(part, names) for part in value]
    return names.get(value, value) if isinstance(value, str) else value


def _plain(value: Any) -> Any:
    """A setting as JSON can have it, the same in every process."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        if value.get("class_name") == "__lambda__":  # its bytes tell where in a file it stands
            return "lambda"
        if set(value) >= {"class_name", "config"}:
            return _object(str(value["class_name"]), value["config"])
        return {str(k): _plain(v) for k, v in value.items() if k not in _LEFT_OUT}
    if isinstance(value, set | frozenset):
        value = sorted(value, key=str)
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, np.generic):
        return value.item()
    if hasattr(value, "get_config") and not isinstance(value, type):
        return _object(type(value).__name__, _config(value))
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        array = _array(value)
        if array is not None:
            return f"{array.dtype} {array.shape} {hashlib.sha256(array.tobytes()).hexdigest()[:16]}"
    if callable(value):
        return _name(value)
    return type(value).__name__


def _object(kind: str, config: Any) -> dict[str, Any]:
    """The class and the settings of something; its name, unless Keras made it up."""
    kind = kind.split(">")[-1]
    told = _plain(config)
    if not isinstance(told, dict):
        return {"class": kind, "settings": told}
    if automatic_stem(str(told.get("name", "")), kind) is not None:
        del told["name"]
    return {"class": kind, **told}


def _array(value: Any) -> np.ndarray | None:
    try:
        keras = importlib.import_module("keras")
        return np.ascontiguousarray(keras.ops.convert_to_numpy(value))
    except Exception:  # a symbolic one
        return None


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", type(function).__name__)


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    """Path → value of all that is inside nested dictionaries and lists."""
    if isinstance(value, Mapping):
        parts = value.items()
    elif isinstance(value, list):
        parts = ((str(n), part) for n, part in enumerate(value))
    else:
        return {path: value}
    found: dict[str, Any] = {}
    for name, part in parts:
        found |= _flat(part, f"{path} {name}".strip())
    return found
