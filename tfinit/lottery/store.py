"""The run directory. This module owns every path in it.

::

    config.json               the experiment
    seed-0/ticket/initial.npz     the weights at initialization, and those to rewind to
    seed-0/ticket/level-03.npz    mask, final weights and metrics of level 3
    seed-0/reinit/...             the same for the control
    results.csv, evaluations.csv, conclusion.txt, tickets.png

A file appears whole or not at all: it is written aside and renamed. ``.npz`` members carry a
checksum, so a damaged file is noticed when it is read.
"""

import io
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tfinit.errors import InputError, WorkError
from tfinit.lottery.config import LotteryConfig
from tfinit.lottery.result import LevelResult, Weights
from tfinit.training import Metrics

# Reading an altered .npz may raise anything: BadZipFile, zlib.error, NotImplementedError for a
# compression that does not exist, MemoryError for a size that never was.
_DAMAGED = Exception
Arrays = dict[str, np.ndarray]


def _write(path: Path, content: bytes) -> None:
    aside = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with aside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except OSError as error:
        raise WorkError(
            f"cannot write {path}: {error.strerror}. What was done before is kept; "
            "mend that and start the same command again to go on."
        ) from error


def _pack(**groups: Arrays) -> bytes:
    buffer = io.BytesIO()
    members = {f"{group}/{k}": v for group, arrays in groups.items() for k, v in arrays.items()}
    np.savez_compressed(buffer, **members)
    return buffer.getvalue()


def _unpack(path: Path) -> dict[str, Arrays]:
    groups: dict[str, Arrays] = {}
    with np.load(path) as members:
        for name in members.files:
            group, key = name.split("/", 1)
            groups.setdefault(group, {})[key] = members[name]
    return groups


class Store:
    """Reads and writes the directory of one experiment.

    Args:
        config: The experiment. Its ``run_dir`` is made if it does not exist.
        warn: Called with a line about each damaged file that is made again.

    Raises:
        InputError: the directory holds another experiment, is no directory, or cannot be written.
            Nothing was written.
    """

    def __init__(self, config: LotteryConfig, warn: Callable[[str], None] = lambda line: None):
        self.root = config.run_dir
        self._warn = warn
        path = self.root / "config.json"
        try:
            if path.exists():
                self._check_same(config, path)
            elif self.root.exists() and any(self.root.iterdir()):
                raise InputError(
                    f"`run_dir` {self.root} is not empty and holds no experiment. "
                    "Choose another with --run-dir."
                )
            self.root.mkdir(parents=True, exist_ok=True)
            writable = os.access(self.root, os.W_OK | os.X_OK)
        except OSError as error:
            raise InputError(
                f"`run_dir` {self.root} cannot be used: {error.strerror}. "
                "Choose another with --run-dir."
            ) from error
        if not writable:
            raise InputError(f"`run_dir` {self.root} is read-only. Choose another with --run-dir.")
        if not path.exists():
            _write(path, config.to_json().encode())

    @staticmethod
    def _check_same(config: LotteryConfig, path: Path) -> None:
        try:
            there = LotteryConfig.from_json(path.read_text(encoding="utf-8"), path.parent)
        except InputError as error:
            raise InputError(
                f"{path} cannot be read: {error}. Choose another directory with --run-dir."
            ) from error
        differing = there.differences(config)
        if differing:
            fields = ", ".join(
                f"{name} (there {old!r}, asked {new!r})" for name, (old, new) in differing.items()
            )
            raise InputError(
                f"`run_dir` {path.parent} holds another experiment; differing: {fields}. "
                "Choose another directory with --run-dir, or ask for the same."
            )

    def _branch(self, seed: int, branch: str) -> Path:
        return self.root / f"seed-{seed}" / branch

    def _level(self, seed: int, branch: str, level: int) -> Path:
        return self._branch(seed, branch) / f"level-{level:02d}.npz"

    def initial(self, seed: int, branch: str, compute: Callable[[], Weights]) -> Weights:
        """The stored initial weights, or those of ``compute``, stored now."""
        path = self._branch(seed, branch) / "initial.npz"
        if path.exists():
            try:
                return _unpack(path)["initial"]
            except _DAMAGED:
                self._warn(f"{path} is damaged: initializing again.")
        weights = compute()
        _write(path, _pack(initial=weights))
        return weights

    def level(self, seed: int, branch: str, level: int, initial: Weights) -> LevelResult | None:
        """The stored result of a level; None if there is none, or it is damaged."""
        path = self._level(seed, branch, level)
        if not path.exists():
            return None
        try:
            stored = _unpack(path)
            metrics = Metrics(stored["metrics"].pop("step"), stored["metrics"])
            return LevelResult(
                seed, branch, level, initial, initial, stored["mask"], stored["final"], metrics
            )
        except _DAMAGED:
            self._warn(f"{path} is damaged: training level {level} again.")
            return None

    def keep(self, result: LevelResult) -> LevelResult:
        """Store the result of a level, and return it."""
        metrics = {"step": result.metrics.step, **result.metrics.values}
        _write(
            self._level(result.seed, result.branch, result.level),
            _pack(mask=result.mask, final=result.final, metrics=metrics),
        )
        return result

    def write_report(self, name: str, content: bytes) -> Path:
        """Write a file of the report into the run directory."""
        path = self.root / name
        _write(path, content)
        return path
