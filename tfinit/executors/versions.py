"""What workers must have in the versions of their driver: the bits of a training depend on them."""

import sys
from importlib import metadata

from tfinit import __version__
from tfinit.errors import InputError

_PACKAGES = ("keras", "tensorflow", "tf-keras", "jax", "torch", "numpy")


def versions() -> dict[str, str]:
    """What is installed here: package → version. Nothing is imported for it."""
    found = {"tfinit": __version__, "python": ".".join(map(str, sys.version_info[:2]))}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def check_same_versions(wanted: dict[str, str]) -> None:
    """See that a worker has the versions of the process that it works for.

    Raises:
        InputError: one is another; it names both.
    """
    here = versions()
    differing = [
        f"{name} {here.get(name, 'is not installed')} there, {wanted.get(name, 'none')} here"
        for name in dict.fromkeys([*wanted, *here])
        if here.get(name) != wanted.get(name)
    ]
    if differing:
        raise InputError(
            f"a worker has other versions than this process: {'; '.join(differing)}. Install the "
            "same on all machines: the bits of a training depend on them."
        )
