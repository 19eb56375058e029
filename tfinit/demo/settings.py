"""What a page may ask for: every choice, with its range. The one schema of the server and the page.

Nothing here is code, a file name or an object: names from closed lists, and numbers with bounds.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from tfinit import points
from tfinit.datasets import at_hand
from tfinit.demo.menu import CONSTANT, NORMAL, labels
from tfinit.optimizers import OPTIMIZERS

# Those that need no download: points first, then images.
Dataset = Literal[tuple(sorted(at_hand(), key=lambda name: name not in points.NAMES))]
Activation = Literal[
    "relu", "tanh", "sigmoid", "leaky_relu", "elu", "selu", "gelu", "silu", "softplus", "linear"
]
Optimizer = Literal[tuple(OPTIMIZERS)]
Action = Literal["start", "pause", "step", "reset"]
Rewind = Literal["rewind", "reinitialize"]


def _known(name: str) -> str:
    """The name of an initialization, as the menu is now."""
    if name not in labels():
        raise ValueError(f"must be one of {', '.join(labels())}, received {name!r}.")
    return name


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Pane(_Strict):
    """One training beside the others: its initialization."""

    initialization: Annotated[str, AfterValidator(_known)] = Field(
        "he",
        description="A scheme or an initializer; normal and constant take a value.",
        json_schema_extra=lambda schema: schema.update(enum=[*labels()]),
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
