"""The run directory. This module owns every path in it.

::

    config.json               the experiment
    seed-0/ticket/initial.npz     the weights at initialization
    seed-0/ticket/rewind.npz      the weights at the rewind step, if that is not 0
    seed-0/ticket/level-03.npz    mask, final weights and metrics of level 3
    seed-0/ticket/partial-03.npz  level 3 in the middle of its training, until it is done
    seed-0/reinit/...             the same for each control
    seed-0/from-000100/line.npz   errors between two copies: see `tfinit.lottery.stability`
    results.csv, evaluations.csv, layers.csv, conclusion.txt, *.png
    .lock                     held while a process works here

A file appears whole or not at all: it is written aside and renamed. ``.npz`` members carry a
checksum, so a damaged file is noticed when it is read.
"""

import io
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfinit.arguments import function, number
from tfinit.errors import InputError, WorkError
from tfinit.lottery.network_config import NetworkConfig
from tfinit.lottery.result import LevelResult, Weights
from tfinit.training.metrics import Metrics, Partial

# Reading an altered .npz may raise anything: BadZipFile, zlib.error, NotImplementedError for a
# compression that does not exist, MemoryError for a size that never was.
_DAMAGED = Exception
# Seconds of training that an interruption may cost. Writing takes about a second at worst.
_CHECKPOINT_EVERY = 60.0
Arrays = Mapping[str, np.ndarray]


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it appears whole or not at all.

    Raises:
        WorkError: it cannot be written. What was there before is still there.
    """
    aside = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with aside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except OSError as error:
        if aside.is_file():  # on a full disk it would take the place of what is written next
            aside.unlink()
        raise WorkError(
            f"cannot write {path}: {error.strerror}. What was done before is kept; "
            "mend that and start the same command again to go on."
        ) from error


def _pack(**groups: Arrays) -> bytes:
    buffer = io.BytesIO()
    members = {f"{group}/{k}": v for group, arrays in groups.items() for k, v in arrays.items()}
    np.savez_compressed(buffer, **members)
    return buffer.getvalue()


def _unpack(path: Path) -> dict[str, dict[str, np.ndarray]]:
    groups: dict[str, dict[str, np.ndarray]] = {}
    with np.load(path) as members:
        for name in members.files:
            group, key = name.split("/", 1)
            groups.setdefault(group, {})[key] = members[name]
    return groups


class StoredArrays(Mapping[str, np.ndarray]):
    """A group of arrays in a file, each read when it is asked for: results take no memory."""

    def __init__(self, path: Path, group: str, keys: list[str]):
        self._path, self._group, self._keys = path, group, keys

    def __getitem__(self, key: str) -> np.ndarray:
        if key not in self._keys:
            raise KeyError(key)
        with np.load(self._path) as members:
            return members[f"{self._group}/{key}"]

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)


@dataclass(frozen=True)
class Place:
    """Which training of an experiment."""

    seed: int
    branch: str
    level: int


class Store:
    """Reads and writes the directory of one experiment.

    The experiment may grow: one that asks for more seeds, levels or controls than the directory
    was made for, and for all of those, goes on there.

    Args:
        config: The experiment. Its ``run_dir`` is made if it does not exist.
        warn: Called with a line about each damaged file that is made again.
        checkpoint_every: Seconds between the checkpoints in the middle of a training.

    Raises:
        InputError: the directory holds another experiment or a larger one, is no directory, or
            cannot be written. Nothing was written.
    """

    def __init__(
        self,
        config: NetworkConfig,
        warn: Callable[[str], None] = lambda line: None,
        checkpoint_every: float = _CHECKPOINT_EVERY,
    ):
        function("warn", warn, "a line")
        self.root = config.run_dir
        self._config = config
        self._warn = warn
        self._checkpoint_every = number("checkpoint_every", checkpoint_every, least=0)
        path = self.root / "config.json"
        try:
            if path.exists():
                self._check_same(config, path)
            elif self.root.exists() and any(
                p.name not in (".lock", ".config.json.tmp") for p in self.root.iterdir()
            ):
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
            write_whole(path, config.to_json().encode())

    @staticmethod
    def _check_same(config: NetworkConfig, path: Path) -> None:
        try:
            there = type(config).from_json(path.read_text(encoding="utf-8"), path.parent)
        except InputError as error:
            raise InputError(
                f"{path} cannot be read: {error}. Choose another directory with --run-dir."
            ) from error
        differing = there.obstacles(config)
        if differing:
            fields = ", ".join(
                f"{name} (there {old!r}, asked {new!r})" for name, (old, new) in differing.items()
            )
            raise InputError(
                f"`run_dir` {path.parent} holds another experiment; differing: {fields}. "
                "Choose another directory with --run-dir, or ask for the same; of "
                f"{', '.join(config.grows)} also for more."
            )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from working in the directory. Freed by the system at any death.

        Raises:
            InputError: another process works there, or another experiment by now.
        """
        import filelock

        lock = filelock.FileLock(self.root / ".lock")
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout as error:
            raise InputError(
                f"`run_dir` {self.root} is in use by another process. Wait until it is done, "
                "or choose another directory with --run-dir."
            ) from error
        try:
            self._grow()
            self._clear_up()
            yield
        finally:
            lock.release()

    def _grow(self) -> None:
        """Remember the experiment as it is asked for now."""
        path, content = self.root / "config.json", self._config.to_json().encode()
        if path.read_bytes() != content:
            # Another process may have let it grow since this store was made.
            self._check_same(self._config, path)
            write_whole(path, content)

    def _clear_up(self) -> None:
        """Remove what a process that was killed left behind: it takes room."""
        for aside in self.root.glob("seed-*/**/.*.npz.tmp"):
            if aside.is_file():
                aside.unlink()
        for partial in self.root.glob("seed-*/**/partial-*.npz"):
            if partial.with_name(partial.name.replace("partial", "level")).exists():
                partial.unlink()

    def _branch(self, seed: int, branch: str) -> Path:
        return self.root / f"seed-{seed}" / branch

    def _level(self, at: Place, kind: str = "level") -> Path:
        return self._branch(at.seed, at.branch) / f"{kind}-{at.level:02d}.npz"

    def initial(self, seed: int, branch: str, compute: Callable[[], Weights]) -> Weights:
        """The stored initial weights, or those of ``compute``, stored now."""
        path = self._branch(seed, branch) / "initial.npz"
        stored = self._weights(path, "initial", "initializing again")
        if stored is None:
            write_whole(path, _pack(initial=compute()))
            stored = self._weights(path, "initial", "")
        return stored

    def rewind(self, seed: int, branch: str) -> Weights | None:
        """The weights that were kept at the rewind step; None if there are none."""
        path = self._branch(seed, branch) / "rewind.npz"
        return self._weights(path, "rewind", "training level 0 again")

    def keep_rewind(self, seed: int, branch: str, weights: Weights) -> None:
        """Store the weights at the rewind step."""
        write_whole(self._branch(seed, branch) / "rewind.npz", _pack(rewind=weights))

    def line(self, seed: int, branch: str) -> Arrays | None:
        """What was measured along the line between two networks; None if nothing was."""
        return self._weights(self._branch(seed, branch) / "line.npz", "line", "measuring again")

    def keep_line(self, seed: int, branch: str, measured: Arrays) -> None:
        """Store what was measured along the line between two networks."""
        write_whole(self._branch(seed, branch) / "line.npz", _pack(line=measured))

    def _weights(self, path: Path, group: str, cure: str) -> Weights | None:
        if not path.exists():
            return None
        try:
            return StoredArrays(path, group, list(_unpack(path)[group]))
        except _DAMAGED:
            self._warn(f"{path} is damaged: {cure}.")
            return None

    def level(self, at: Place, initial: Weights, rewind: Weights) -> LevelResult | None:
        """The stored result of a training; None if there is none, or it is damaged."""
        path = self._level(at)
        if not path.exists():
            return None
        try:
            stored = _unpack(path)
            values = stored["metrics"]
            step, losses = values.pop("step"), values.pop("training_loss")
            diverged = int(values.pop("diverged_at"))
            return LevelResult(
                at.seed,
                at.branch,
                at.level,
                initial,
                rewind,
                StoredArrays(path, "mask", list(stored["mask"])),
                StoredArrays(path, "final", list(stored["final"])),
                Metrics(step, values, losses),
                diverged if diverged > 0 else None,
            )
        except _DAMAGED:
            self._warn(f"{path} is damaged: training level {at.level} again.")
            return None

    def keep(self, result: LevelResult) -> LevelResult:
        """Store the result of a training, and return it as it is stored."""
        at = Place(result.seed, result.branch, result.level)
        metrics = {
            "step": result.metrics.step,
            **result.metrics.values,
            "training_loss": result.metrics.losses,
            "diverged_at": np.array(result.diverged_at or 0),
        }
        write_whole(
            self._level(at),
            _pack(mask=result.mask, final=result.final, metrics=metrics),
        )
        self._level(at, "partial").unlink(missing_ok=True)
        kept = self.level(at, result.initial, result.rewind)
        if kept is None:
            raise WorkError(f"{self._level(at)} does not hold what was just written to it.")
        return kept

    def partial(self, at: Place) -> Partial | None:
        """Where a training stood when it was left; None if it is not known."""
        path = self._level(at, "partial")
        if not path.exists():
            return None
        try:
            stored = _unpack(path)
            told = stored["partial"]
            return Partial(
                int(told["step"]), (told["at"], told["rows"]), told["losses"], stored["state"]
            )
        except _DAMAGED:
            self._warn(f"{path} is damaged: training level {at.level} from its start.")
            return None

    def checkpoint(self, at: Place) -> Callable[[Callable[[], Partial]], None]:
        """What a training calls now and then, to be kept every so many seconds."""
        last = time.monotonic()

        def keep(partial: Callable[[], Partial]) -> None:
            nonlocal last
            if time.monotonic() - last < self._checkpoint_every:
                return
            now = partial()
            told = {"step": np.array(now.step), "at": now.rows[0], "rows": now.rows[1]}
            told["losses"] = now.losses
            write_whole(self._level(at, "partial"), _pack(partial=told, state=now.state))
            last = time.monotonic()

        return keep

    def write_report(self, name: str, content: bytes) -> Path:
        """Write a file of the report into the run directory."""
        path = self.root / name
        write_whole(path, content)
        return path
