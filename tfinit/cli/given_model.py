"""The model that a command is given: a file, or the place of a function that builds one."""

from pathlib import Path
from typing import Any

from tfinit.named_functions import is_named


def given_model(name: str, seed: int, allow_lambda: bool) -> tuple[Any, Any, Any]:
    """The model of a name; and the inputs and targets that a function returns beside it, or None.

    Args:
        name: A .keras file, or ``file.py:build``.
        seed: With which the function is called, if it takes one.
        allow_lambda: Whether code in the file may run.

    Raises:
        InputError: there is none, or it cannot be loaded or built.
    """
    from tfinit.model_builders import builder_of
    from tfinit.saved_model import load_model

    if is_named(name):
        return builder_of(name, "model").program(seed)
    cure = "If you trust the file, add --allow-lambda."
    return load_model(Path(name), allow_lambda=allow_lambda, cure=cure), None, None
