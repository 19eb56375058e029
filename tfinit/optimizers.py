"""Keras's optimizers by the names that configurations and the page give them, each named once."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class NamedOptimizer:
    """An optimizer under a name.

    Attributes:
        label: What menus call it.
        kind: The class in ``keras.optimizers``, of either Keras.
        arguments: Its arguments beside the learning rate.
    """

    label: str
    kind: str
    arguments: dict[str, float] = field(default_factory=dict)

    def make(self, keras: Any, rate: Any) -> Any:
        """The optimizer.

        Args:
            keras: The module ``keras`` or ``tf_keras``.
            rate: The learning rate, a number or a schedule.
        """
        return getattr(keras.optimizers, self.kind)(rate, **self.arguments)


OPTIMIZERS = {
    "sgd": NamedOptimizer("SGD", "SGD"),
    "adam": NamedOptimizer("Adam", "Adam"),
    "momentum": NamedOptimizer("SGD, momentum 0.9", "SGD", {"momentum": 0.9}),
    "rmsprop": NamedOptimizer("RMSprop", "RMSprop"),
}


def optimizers_help() -> str:
    """The optimizers, in a sentence for ``--help``."""
    told = [
        name if made.label.lower() == name else f"{name} ({made.label})"
        for name, made in OPTIMIZERS.items()
    ]
    return f"Optimizer: {', '.join(told)}."
