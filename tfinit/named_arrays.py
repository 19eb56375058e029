"""Arrays of a file by name, in the structure in which a model takes its inputs or its targets."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from tfinit.array_trees import Arrays
from tfinit.errors import InputError


@dataclass(frozen=True)
class Ends:
    """The inputs or the outputs of a model.

    Attributes:
        what: ``"inputs"`` or ``"outputs"``.
        names: By which a file tells several apart; empty where the model does not know them.
        structure: A tensor, or a list or dictionary of tensors, or None if it is not known.
    """

    what: str
    names: tuple[str, ...]
    structure: Any

    def pack(self, values: Mapping[str, Any]) -> Any:
        """Values by name in the structure; alone where there is one."""
        if isinstance(self.structure, dict):
            return {name: values[name] for name in self.names}
        if isinstance(self.structure, list | tuple):
            return [values[name] for name in self.names]
        return values[self.names[0]]


def ends(model: Any, what: str) -> Ends:
    """The inputs or outputs of a model.

    Raises:
        InputError: they are nested deeper than a list or a dictionary.
    """
    tensors = getattr(model, what, None) or []
    try:
        structure = getattr(model, what[:-1])
    except (AttributeError, ValueError):  # never called, or not a graph of layers
        structure = tensors[0] if len(tensors) == 1 else None
    if not tensors or structure is None:
        return Ends(what, (), None)
    several = structure if isinstance(structure, dict | list | tuple) else [structure]
    parts = several.values() if isinstance(several, dict) else several
    if any(isinstance(part, dict | list | tuple) for part in parts):
        raise InputError(
            f"`model` has nested {what}, which arrays by name cannot say. Train it with "
            "SparseOptimizer in Python."
        )
    if isinstance(structure, dict):
        return Ends(what, tuple(structure), structure)
    # Keras calls outputs by their layers, as in the names of metrics.
    called = getattr(model, "output_names", None) if what == "outputs" else None
    return Ends(what, tuple(called or [tensor.name for tensor in tensors]), structure)


def arranged(given: Arrays, of: Ends, key: str, data: str, optional: tuple[str, ...] = ()) -> Any:
    """Arrays of a file as the model takes them.

    Args:
        given: An array, or several by name or in the order of the model.
        of: Which inputs or outputs they are for.
        key: What the file calls them, such as ``"y_train"``.
        data: The file, for errors.
        optional: Names that may be missing; None stands there then.

    Raises:
        InputError: the names are others than the model's.
    """
    if not of.names:
        return given
    if isinstance(given, list | tuple) and len(given) == len(of.names):
        given = dict(zip(of.names, given, strict=True))
    if not isinstance(given, Mapping):
        if len(of.names) > 1:
            raise InputError(
                f"`data` {data!r} has one array {key}, and `model` has the {of.what} "
                f"{', '.join(of.names)}. Give one for each: "
                f"{', '.join(f'{key}_{name}' for name in of.names)}."
            )
        given = {of.names[0]: given}
    missing = [name for name in of.names if name not in given and name not in optional]
    if missing or not set(given) <= set(of.names):
        raise InputError(
            f"`data` {data!r} has {', '.join(f'{key}_{name}' for name in given)}, and `model` has "
            f"the {of.what} {', '.join(of.names)}. Give "
            f"{', '.join(f'{key}_{name}' for name in of.names)}."
        )
    return of.pack({name: given.get(name) for name in of.names})


def check_shapes(inputs: Ends, x: Any, data: str) -> None:
    """Raise InputError unless the examples have the shapes that the model takes."""
    if not inputs.names:
        return
    for spec, array in zip(
        keras.tree.flatten(inputs.structure), keras.tree.flatten(x), strict=True
    ):
        if not fits(spec, array):
            wanted = tuple(spec.shape[1:])
            where = f" for {spec.name!r}" if len(inputs.names) > 1 else ""
            raise InputError(
                f"`data` {data!r} has examples of shape {array.shape[1:]}{where}, the model takes "
                f"{wanted}."
            )


def fits(spec: Any, array: np.ndarray) -> bool:
    """Whether examples have the shape of an input, of which some lengths may be free."""
    wanted = tuple(spec.shape)[1:]
    return len(wanted) == array.ndim - 1 and all(
        n is None or n == m for n, m in zip(wanted, array.shape[1:], strict=True)
    )
