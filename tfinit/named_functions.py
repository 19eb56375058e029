"""A function of the user's by its place: ``path/to/file.py:build`` or ``package.module:build``."""

import importlib
import importlib.util
import re
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from tfinit.errors import InputError, reason

__all__ = ["call_named", "is_named", "is_own_model", "load_named"]

_MODELS = (".keras", ".h5", ".hdf5")

_PLACE = re.compile(r"(?P<file>.+\.py):(?P<of_file>\w+)|(?P<module>\w+(\.\w+)*):(?P<of_module>\w+)")


def is_named(name: str) -> bool:
    """Whether a name is the place of a function, and no other name with a colon (``tfds:…``).

    Example:
        >>> [is_named(n) for n in ("mine.py:build", "my.nets:build", "digits", "tfds:mnist")]
        [True, True, False, False]
    """
    return _PLACE.fullmatch(name) is not None and not name.startswith("tfds:")


def is_own_model(name: str) -> bool:
    """Whether a name is that of a user's own network, and not of one of tfinit's.

    Example:
        >>> [is_own_model(n) for n in ("nets.py:build", "my.nets:build", "net.keras", "resnet-20")]
        [True, True, True, False]
    """
    return is_named(name) or Path(name).suffix in _MODELS


def load_named(name: str, argument: str) -> Callable[..., Any]:
    """The function at a place. Its file is run as Python runs a script, its folder on the path.

    Args:
        name: ``"path/to/file.py:build"``, or ``"package.module:build"`` where the module is found
            from the working directory or among what is installed.
        argument: The argument that names it, for errors.

    Raises:
        InputError: there is no such file, module or function, or importing it raises.
    """
    found = _PLACE.fullmatch(name)
    if found is None:
        raise InputError(
            f"`{argument}` must be path/to/file.py:function or package.module:function, received "
            f"{name!r}."
        )
    where, wanted = found["file"] or found["module"], found["of_file"] or found["of_module"]
    try:
        module = _of_file(Path(where)) if found["file"] else _of_module(where)
    except FileNotFoundError as error:
        if error.filename != where:
            raise _cannot(argument, name, error) from error
        raise InputError(
            f"`{argument}` {name!r}: there is no file {where}. Name one that exists, from the "
            "working directory."
        ) from error
    except Exception as error:  # it is the user's code
        raise _cannot(argument, name, error) from error
    function = getattr(module, wanted, None)
    if not callable(function):
        known = sorted(n for n, v in vars(module).items() if callable(v) and n[0] != "_")
        raise InputError(
            f"`{argument}` {name!r}: {where} has no function {wanted}. It has "
            f"{', '.join(known) or 'none'}."
        )
    return function


def call_named(name: str, argument: str) -> Any:
    """What the function at a place returns, called without arguments.

    Args:
        name: As for `load_named`.
        argument: The argument that names it, for errors.

    Raises:
        InputError: as `load_named` says, or the function raises.
    """
    function = load_named(name, argument)
    try:
        return function()
    except InputError as error:  # of tfinit, called by it: says what is wrong already
        raise InputError(f"`{argument}` {name!r}: {error}") from error
    except Exception as error:  # it is the user's code
        raise _cannot(argument, name, error, "failed") from error


def _of_file(path: Path) -> ModuleType:
    path = path.expanduser()
    if not path.is_file():
        raise FileNotFoundError(2, "No such file", str(path))
    # As `python file.py` has it: what lies beside the file can be imported.
    _first(str(path.resolve().parent))
    known = sys.modules.get(path.stem)
    if known is not None and _same(known, path):
        return known
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None  # of any name that ends in .py
    module = importlib.util.module_from_spec(spec)
    if known is None:  # so that its classes can be found where they are pickled or registered
        sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        if known is None:
            del sys.modules[path.stem]
        raise
    return module


def _of_module(name: str) -> ModuleType:
    _first("")
    return importlib.import_module(name)


def _first(directory: str) -> None:
    if directory not in sys.path:
        sys.path.insert(0, directory)


def _same(module: ModuleType, path: Path) -> bool:
    file = getattr(module, "__file__", None)
    return file is not None and Path(file).resolve() == path.resolve()


def _cannot(
    argument: str, name: str, error: Exception, what: str = "cannot be imported"
) -> InputError:
    """The error, with the last line of the user's that it came from."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if Path(f.filename).suffix == ".py" and "importlib" not in f.filename]
    last = own[-1] if own and own[-1].filename != __file__ else None
    if isinstance(error, SyntaxError):
        line = f" ({error.filename}, line {error.lineno})" if error.filename else ""
    else:
        line = f" ({last.filename}, line {last.lineno})" if last else ""
    return InputError(
        f"`{argument}` {name!r} {what}: {type(error).__name__}: {reason(error)}{line}. "
        "Mend the file, or name another."
    )
