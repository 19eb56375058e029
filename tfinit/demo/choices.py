"""What the page's menus offer, read off the schema, so that they cannot differ from it."""

from typing import Any, get_args

from pydantic import BaseModel

import tfinit
from tfinit.datasets import DATASETS
from tfinit.demo.menu import CONSTANT, NORMAL, labels
from tfinit.demo.settings import (
    Activation,
    Control,
    Dataset,
    LotterySettings,
    Optimizer,
    Settings,
)
from tfinit.optimizers import OPTIMIZERS

_ACTIVATIONS = {
    "relu": "ReLU",
    "leaky_relu": "Leaky ReLU",
    "elu": "ELU",
    "selu": "SELU",
    "gelu": "GELU",
    "silu": "SiLU (Swish)",
    "softplus": "Softplus",
}
_VALUES: dict[str, dict[str, Any]] = {
    NORMAL: {"label": "Standard deviation", "min": 1e-4, "max": 10, "default": 0.01, "log": True},
    CONSTANT: {"label": "Constant", "min": -10, "max": 10, "default": 0.1, "log": False},
}
_LOW, _HIGH = ("minimum", "minItems"), ("maximum", "maxItems")
_RANGES = {
    Settings: ("depth", "width", "learning_rate", "batch_size", "seed", "steps", "panes"),
    Control: ("speed",),
    LotterySettings: ("levels", "prune_fraction"),
}


def choices() -> dict[str, Any]:
    """The menus: names with their labels, ranges of numbers, defaults."""
    return {
        "datasets": _named(
            get_args(Dataset), {name: known.label for name, known in DATASETS.items()}
        ),
        "activations": _named(get_args(Activation), _ACTIVATIONS),
        "optimizers": _named(
            get_args(Optimizer), {name: known.label for name, known in OPTIMIZERS.items()}
        ),
        "initializations": [
            {"name": name, "label": label, "value": _VALUES.get(name)}
            for name, label in labels().items()
        ],
        "ranges": {name: _range(model, name) for model, names in _RANGES.items() for name in names},
        "defaults": Settings().model_dump(mode="json"),
        "version": tfinit.__version__,
    }


def _named(names: tuple[str, ...], labels: dict[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "label": labels.get(name, name.capitalize())} for name in names]


def _range(model: type[BaseModel], name: str) -> list[float]:
    """The bounds of a field: of its value, or of how many it holds."""
    field = model.model_json_schema()["properties"][name]
    field = next(iter(field.get("anyOf", ())), field)  # a number, or nothing
    return [field[low] for low in field if low in _LOW] + [
        field[high] for high in field if high in _HIGH
    ]
