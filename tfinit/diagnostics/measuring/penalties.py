"""What regularizers add to the loss and to the gradient, apart from what the data do."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tfinit.diagnostics.measuring.parameters import norm


@dataclass(frozen=True)
class Penalty:
    """What the regularizer of one weight, an L1 or an L2 of Keras's, adds.

    Attributes:
        key: The weight's stable key.
        setting: The regularizer, ``"L2(0.01)"``.
        value: Of the loss.
        pull: The norm of its gradient.
        rest: The norm of the gradient of the loss without it.
    """

    key: str
    setting: str
    value: float
    pull: float
    rest: float


def penalties_of(
    variables: dict[str, Any],
    values: dict[str, np.ndarray],
    gradients: dict[str, np.ndarray],
    included: bool,
) -> tuple[Penalty, ...]:
    """The penalties of those weights that have a gradient.

    Args:
        variables: Key → a weight that training moves.
        values: Key → what it holds.
        gradients: Key → the gradient by it.
        included: Whether the loss that this is of has the penalties in it.
    """
    found = []
    for key, variable in variables.items():
        regularizer = getattr(variable, "regularizer", None)
        l1, l2 = (float(getattr(regularizer, name, 0.0)) for name in ("l1", "l2"))
        if regularizer is None or key not in gradients or not (l1 or l2):
            continue
        w = values[key]
        pull = l1 * np.sign(w) + 2 * l2 * w
        rest = gradients[key] - pull if included else gradients[key]
        value = l1 * float(np.abs(w).sum()) + l2 * norm(w) ** 2
        told = [f"L{n}({c:.4g})" for n, c in ((1, l1), (2, l2)) if c]
        found.append(Penalty(key, " + ".join(told), value, norm(pull), norm(rest)))
    return tuple(found)
