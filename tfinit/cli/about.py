"""What ``tfinit --version`` and ``tfinit --completion`` print."""

import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

from tfinit import __version__
from tfinit.arguments import one_of

_BELOW = {"keras": "Keras", "tensorflow": "TensorFlow", "jax": "JAX", "torch": "PyTorch"}
_SHELLS = ("bash", "zsh", "fish")


def version() -> str:
    """The versions of tfinit and of what it computes with, as far as that is installed."""
    told = [f"tfinit {__version__}"]
    for package, name in _BELOW.items():
        try:
            told.append(f"{name} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            continue
    return ", ".join([*told, f"Python {platform.python_version()}"])


def print_completion(commands: Mapping[str, Any], shells: Sequence[str]) -> None:
    """Print a script that lets a shell complete commands and flags.

    Raises:
        InputError: it is for none of the shells that are known.
    """
    import contextlib

    import tyro

    shell = one_of("--completion", " ".join(shells) or None, _SHELLS)
    with contextlib.suppress(SystemExit):  # tyro ends the process when it has written
        tyro.extras.subcommand_cli_from_dict(
            dict(commands),
            prog="tfinit",
            args=["--tyro-write-completion", shell, "-"],
            config=(tyro.conf.PositionalRequiredArgs,),
        )
