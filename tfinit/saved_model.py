"""Loading a model that a user names on the command line, from a file that is not trusted."""

from pathlib import Path
from typing import Any

from tfinit import arguments
from tfinit.arguments import flag, text
from tfinit.errors import InputError


def load_model(
    path: Path,
    name: str = "model",
    allow_lambda: bool = False,
    cure: str = "If you trust the file, load it in Python with safe_mode=False.",
) -> Any:
    """A saved model of Keras 3, with its loss and optimizer if it has them.

    A file can hold Python code (in a Lambda layer). It is refused unless ``allow_lambda``, which
    means: I know who made this file.

    Args:
        path: The file.
        name: Of the argument, for errors.
        allow_lambda: Whether code in the file may run.
        cure: What to do where it may not.

    Raises:
        InputError: there is no such file, it is not a model of Keras 3, or it holds code.
    """
    import keras

    text("name", name)
    path = arguments.path(name, path)
    allow_lambda = flag("allow_lambda", allow_lambda)
    text("cure", cure)
    if not path.exists():
        raise InputError(f"`{name}` {str(path)!r} does not exist. Pass a .keras file.")
    try:
        return keras.saving.load_model(path, safe_mode=not allow_lambda)
    except Exception as error:
        # Keras raises whatever a layer's own code does.
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = lines[0] if lines else type(error).__name__
        if "safe_mode" in str(error) or "lambda" in str(error).lower():
            raise InputError(
                f"`{name}` {str(path)!r} holds Python code (a Lambda layer), which is not run. "
                f"{cure}"
            ) from error
        raise InputError(f"`{name}` {str(path)!r} cannot be loaded by Keras 3: {reason}") from error
