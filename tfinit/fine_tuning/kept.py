"""The file beside ``out`` in which `tfinit prune` keeps an unfinished run, epoch by epoch.

Its name begins with a dot and ends with a digest of all that decides the run: another run begins
another file. It is Keras's archive with one member more, which says what it was made with.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path
from typing import Any

from tfinit.errors import WorkError, of_system
from tfinit.files import (
    held,
    make_directory,
    open_regular,
    short_name,
    why_not,
    write_whole,
)
from tfinit.fine_tuning.config import PruneConfig
from tfinit.origin import Origin
from tfinit.pruning.in_training.sparse_optimizer import SparseOptimizer
from tfinit.saved_model import _read_weights, load_model

_MEMBER = "tfinit.json"
_DIGITS = 12  # of the digest in the name


def as_json(config: PruneConfig) -> dict[str, Any]:
    """The values of a configuration, paths as text."""
    return {
        name: str(value) if isinstance(value, Path) else value
        for name, value in dataclasses.asdict(config).items()
    }


def kept_file(config: PruneConfig, data: str, network: bytes) -> Path:
    """Where an unfinished run is kept: another file for other settings, model or data.

    Args:
        config: The run.
        data: The `tfinit.datasets.digest` of its data.
        network: The `tfinit.fine_tuning.network.Network.identity` of its network.
    """
    values = as_json(config)
    del values["out"], values["model"]
    digest = hashlib.sha256(json.dumps([values, data]).encode() + network).hexdigest()
    return config.out.with_name(f".{short_name(config.out.stem)}-{digest[:_DIGITS]}.keras")


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """Keep other processes from working on the same file.

    Raises:
        InputError: one does.
        WorkError: the directory cannot be made.
    """
    lock = out.with_name(f".{short_name(out.name)}.lock")
    try:
        make_directory(out.parent)
    except OSError as error:
        raise WorkError(f"cannot write {out}: {why_not(error, out)}.") from error
    with held(lock, f"`out` {str(out)!r}", "--out"):
        try:
            yield
        finally:
            # Who waits for it finds that it is gone, and makes another.
            with contextlib.suppress(OSError):
                lock.unlink()


def read_kept(
    path: Path,
    origin: Origin,
    warn: Callable[[str], None],
    fresh: Callable[[], Any] | None = None,
) -> Any:
    """The model that was kept, with its optimizer; None if there is none or it cannot be used.

    Args:
        path: The file.
        origin: What the run is made with now.
        warn: Called with a line about what cannot be used.
        fresh: Makes the model with its optimizer, to read what both hold into. None:
            the file has all of it.
    """
    others = path.parent.glob(f"{escape(path.name[: -_DIGITS - len('.keras')])}*.keras")
    for other in sorted(others):
        if other != path and len(other.name) == len(path.name):
            warn(
                f"{other} is of an interrupted run with other settings, model or data, and is not "
                "used. Start that run again to go on with it, or remove the file."
            )
    if not os.path.lexists(path):
        return None
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            if archive.testzip() is not None:  # Keras does not read all, and checks no sum
                raise ValueError("a checksum differs")
            told = archive.read(_MEMBER) if _MEMBER in archive.namelist() else None
        there = None if told is None else Origin.of(json.loads(told))
        if fresh is None:
            model = load_model(path)
        else:
            model = fresh()
            _read_weights(model, path)
        if not isinstance(model.optimizer, SparseOptimizer):
            raise ValueError("it is not being pruned")
    except Exception:  # as in the run directories of the lottery: what is altered raises anything
        warn(f"{path} is damaged: beginning again.")
        return None
    if there is None or there.data != origin.data:
        warn(f"{path} does not say that it was trained on these data: beginning again.")
        return None
    if versions := there.other_versions(origin):
        warn(
            f"{path} was made with {versions}: the run goes on, but may differ in its last bits "
            "from one that was not interrupted."
        )
    return model


def save(model: Any, path: Path, origin: Origin | None = None) -> None:
    """Save a model, with what it was made with if that is given.

    Raises:
        WorkError: it cannot be written. What was there before is still there.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="tfinit-prune-") as folder:
            file = Path(folder) / "model.keras"
            model.save(file)
            if origin is not None:
                with zipfile.ZipFile(file, "a") as archive:
                    archive.writestr(_MEMBER, json.dumps(origin.to_dict()))
            write_whole(path, file)
    except OSError as error:
        raise WorkError(f"cannot write {path}: {of_system(error)}.") from error
