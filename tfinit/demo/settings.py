"""What a page may ask for: every choice, with its range. The one schema of the server and the page.

The page's menus are read off it, so that they cannot differ from it. Nothing here is code, a file
name or an object: names from closed lists, and numbers with bounds.
"""

from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import core_schema

import tfinit
from tfinit.demo import explaining, menu
from tfinit.demo.menu import CONSTANT, NORMAL


class _Among:
    """A name of those that there are when it is read; the page's schema lists them."""

    def __init__(self, names: Callable[[], Iterable[str]]):
        self.names = names

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        return core_schema.no_info_after_validator_function(self._checked, handler(source))

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> Any:
        return {**handler(schema), "enum": [*self.names()]}

    def _checked(self, name: str) -> str:
        if name not in self.names():
            raise ValueError(f"must be one of {', '.join(self.names())}, received {name!r}.")
        return name


Initialization = Annotated[str, _Among(menu.initializations)]
Dataset = Annotated[str, _Among(menu.datasets)]
Activation = Annotated[str, _Among(lambda: menu.ACTIVATIONS)]
Optimizer = Annotated[str, _Among(menu.optimizers)]
Action = Literal["start", "pause", "step", "reset"]
Rewind = Literal["rewind", "reinitialize"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Pane(_Strict):
    """One training beside the others: its initialization."""

    initialization: Initialization = Field(
        "he", description="A scheme or an initializer; normal and constant take a value."
    )
    value: float | None = Field(
        None,
        ge=-10,
        le=10,
        description="Standard deviation of normal, 0.0001 to 10, or the number of constant.",
    )

    @model_validator(mode="after")
    def _value_fits(self) -> "Pane":
        if self.initialization == NORMAL:
            if self.value is None or not 1e-4 <= self.value <= 10:
                raise ValueError(
                    f"`value` of normal is its standard deviation, 0.0001 to 10, "
                    f"received {self.value}."
                )
        elif self.initialization == CONSTANT:
            if self.value is None:
                raise ValueError("`value` of constant is the number, -10 to 10, received none.")
        elif self.value is not None:
            raise ValueError(
                f"`value` is for normal and constant, received {self.value} for "
                f"{self.initialization}. Leave it out."
            )
        return self


class Settings(_Strict):
    """A run: the network and the training that all panes share, and what differs."""

    dataset: Dataset = "circles"
    depth: Annotated[
        int, Field(ge=1, le=30, description="Dense layers, the output among them.")
    ] = 5
    width: Annotated[int, Field(ge=1, le=64, description="Units of each hidden layer.")] = 16
    activation: Activation = "relu"
    optimizer: Optimizer = "sgd"
    learning_rate: Annotated[float, Field(ge=1e-5, le=10)] = 0.1
    batch_size: Annotated[int, Field(ge=1, le=256)] = 32
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 1
    steps: Annotated[int, Field(ge=1, le=20_000, description="Training ends there.")] = 2000
    panes: Annotated[tuple[Pane, ...], Field(min_length=1, max_length=4)] = (Pane(),)


class Control(_Strict):
    """What a page says to its run. What is left out stays as it is."""

    action: Action | None = None
    speed: Annotated[int | None, Field(ge=1, le=500, description="Steps between updates.")] = None
    layer: Annotated[
        int | None, Field(ge=0, le=29, description="Whose weights are shown; 0 is the first.")
    ] = None


class LotterySettings(_Strict):
    """Prune what a pane has trained, level by level."""

    pane: Annotated[int, Field(ge=0, le=3)] = 0
    levels: Annotated[int, Field(ge=1, le=20)] = 8
    prune_fraction: Annotated[
        float, Field(ge=0.05, le=0.9, description="Of the weights left, pruned at each level.")
    ] = 0.3
    rewind: Rewind = Field(
        "rewind", description="Survivors go back to their initial values, or to new random ones."
    )


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
        "datasets": _entries(menu.datasets()),
        "activations": _entries(menu.ACTIVATIONS),
        "optimizers": _entries(menu.optimizers()),
        "initializations": [
            {
                **entry,
                "value": _VALUES.get(entry["name"]),
                "about": explaining.initialization(entry["name"]),
            }
            for entry in _entries(menu.initializations())
        ],
        "ranges": {name: _range(model, name) for model, names in _RANGES.items() for name in names},
        "defaults": Settings().model_dump(mode="json"),
        "version": tfinit.__version__,
    }


def _entries(labels: dict[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "label": label} for name, label in labels.items()]


def _range(model: type[BaseModel], name: str) -> list[float]:
    """The bounds of a field: of its value, or of how many it holds."""
    field = model.model_json_schema()["properties"][name]
    field = next(iter(field.get("anyOf", ())), field)  # a number, or nothing
    return [field[low] for low in field if low in _LOW] + [
        field[high] for high in field if high in _HIGH
    ]
