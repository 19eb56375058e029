"""What a run directory has of each training, read and checked. Nothing here writes."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfinit.errors import InputError
from tfinit.files import read_regular
from tfinit.lottery.network_config import NetworkConfig
from tfinit.lottery.result import LevelResult, Weights
from tfinit.lottery.stored_arrays import (
    Arrays,
    LostArrays,
    MadeArrays,
    StoredArrays,
    forms_of,
    unpack,
)
from tfinit.origin import Origin
from tfinit.progress import as_warning
from tfinit.training.judged import AUTO, JudgedMetric, judged, measured
from tfinit.training.metrics import Metrics, Partial

# Reading an altered .npz may raise anything: BadZipFile, zlib.error, NotImplementedError for a
# compression that does not exist, MemoryError for a size that never was.
_DAMAGED = Exception
ABOUT = "about"  # the group of arrays that says whose a file is


@dataclass(frozen=True)
class Place:
    """Which training of an experiment."""

    seed: int
    branch: str
    level: int


class StoreReader:
    """Reads the directory of one experiment.

    Args:
        config: The experiment; its ``run_dir`` is read.
        warn: Called with a line about each file that is damaged, or of another training.
        origin: What is made now, or was: files on other data are not used. None: of any.
        cure: What is done where a file cannot be used; empty: it is trained or made again.
    """

    def __init__(
        self,
        config: NetworkConfig,
        warn: Callable[[str], None] = as_warning,
        origin: Origin | None = None,
        cure: str = "",
    ):
        self.root = config.run_dir
        self._config, self._warn, self._origin, self._cure = config, warn, origin, cure
        self._unsigned_said = False

    def _branch(self, seed: int, branch: str) -> Path:
        return self.root / f"seed-{seed}" / branch

    def _level(self, at: Place, kind: str = "level") -> Path:
        return self._branch(at.seed, at.branch) / f"{kind}-{at.level:02d}.npz"

    def stored_initial(self, seed: int, branch: str) -> Weights | None:
        """The initial weights of a branch; None if there are none, or they cannot be used."""
        return self._weights(seed, branch, "initial", "initializing again")

    def rewind(self, seed: int, branch: str) -> Weights | None:
        """The weights that were kept at the rewind step; None if there are none."""
        return self._weights(seed, branch, "rewind", "training level 0 again")

    def line(self, seed: int, branch: str) -> Arrays | None:
        """What was measured along the line between two networks; None if nothing was."""
        return self._weights(seed, branch, "line", "measuring again")

    def _weights(self, seed: int, branch: str, kind: str, cure: str) -> Weights | None:
        path = self._branch(seed, branch) / f"{kind}.npz"
        stored = self._read(path, self._whose(kind, seed, branch), (kind,), cure)
        return None if stored is None else StoredArrays(path, kind, stored[kind])

    def level(self, at: Place, initial: Weights, rewind: Weights) -> LevelResult | None:
        """The stored result of a training; None if there is none, or it cannot be used.

        Raises:
            InputError: what the experiment is judged by was not measured in that training.
        """
        path, cure = self._level(at), f"training level {at.level} again"
        whose = self._whose("level", at.seed, at.branch, at.level)
        stored = self._read(path, whose, ("mask", "final", "metrics"), cure)
        if stored is None:
            return None
        try:
            forms = forms_of(stored["final"])
            # Of lost weights nothing is known, of those that are made only when they are asked for.
            known = not isinstance(rewind, LostArrays | MadeArrays)
            wanted = forms_of(rewind) if known else forms
            if forms != wanted:
                raise ValueError("its weights are those of another network")
            for key, mask in stored["mask"].items():
                if mask.dtype != bool or mask.shape != wanted[key][0]:
                    raise ValueError("its masks are those of another network")
            values = stored["metrics"]
            step, losses = values.pop("step"), values.pop("training_loss")
            diverged = int(values.pop("diverged_at"))
        except _DAMAGED:
            self._warn(f"{path} is damaged: {self._cure or cure}.")
            return None
        return LevelResult(
            at.seed,
            at.branch,
            at.level,
            initial,
            rewind,
            StoredArrays(path, "mask", stored["mask"]),
            StoredArrays(path, "final", stored["final"]),
            Metrics(step, values, losses),
            diverged if diverged > 0 else None,
            self._judged(path, values),
        )

    def _judged(self, path: Path, values: Arrays) -> JudgedMetric:
        """What the experiment is judged by; of the metrics that a training measured."""
        names = measured(values)
        if self._config.metric not in (AUTO, *names):
            raise InputError(
                f"`metric` {self._config.metric!r} was not measured in {path}; there are "
                f"{', '.join(names)}. Judge by one of these, or train in another --run-dir."
            )
        return judged(names, self._config.metric, self._config.metric_direction)

    def partial(
        self, at: Place, fits: Callable[[Partial], bool] = lambda partial: True
    ) -> Partial | None:
        """Where a training stood when it was left; None if it is not known, or cannot be used."""
        path, cure = self._level(at, "partial"), f"training level {at.level} from its start"
        whose = self._whose("partial", at.seed, at.branch, at.level)
        stored = self._read(path, whose, ("partial", "state"), cure, signed=True)
        if stored is None:
            return None
        try:
            told = stored["partial"]
            partial = Partial(
                int(told["step"]), (told["at"], told["rows"]), told["losses"], stored["state"]
            )
        except _DAMAGED:
            self._warn(f"{path} is damaged: {self._cure or cure}.")
            return None
        if not fits(partial):
            self._warn(f"{path} names other variables than this network's: {self._cure or cure}.")
            return None
        return partial

    def step_of(self, at: Place) -> int | None:
        """How many steps of a training that is not finished were kept; None: none were."""
        there = os.path.lexists(self._level(at, "partial"))
        partial = self.partial(at) if there else None
        return None if partial is None else partial.step

    def _whose(self, kind: str, seed: int, branch: str, level: int | None = None) -> dict[str, Any]:
        """What tells the file of one training from that of any other."""
        whose = {"kind": kind, "seed": seed, "branch": branch, "level": level}
        return whose | {"experiment": self._config.identity()}

    def _read(
        self,
        path: Path,
        whose: dict[str, Any],
        groups: tuple[str, ...],
        cure: str,
        signed: bool = False,
    ) -> dict[str, dict[str, np.ndarray]] | None:
        """The arrays of a file by group; None if there is none, or it is not what it should be.

        An earlier tfinit did not write whose a file is. It is believed, unless ``signed``.
        """
        if not os.path.lexists(path):
            return None
        try:
            stored = unpack(read_regular(path))
            about = stored.pop(ABOUT, None)
            if set(stored) != set(groups):
                raise ValueError("it holds something else")
            told = None if about is None else dict(json.loads(about["json"].tobytes()))
        except _DAMAGED:
            self._warn(f"{path} is damaged: {self._cure or cure}.")
            return None
        if told is None and signed:
            self._warn(
                f"{path} was written by an earlier tfinit, which named variables by their place: "
                f"{self._cure or cure}."
            )
            return None
        if told is None and not self._unsigned_said:
            self._unsigned_said = True
            self._warn(
                f"{path} was written by an earlier tfinit and does not say whose it is. It is "
                "believed, and so are other files that do not."
            )
        if told is not None:
            wanted = whose | ({} if self._origin is None else {"data": self._origin.data})
            other = [
                f"{name} {told.get(name)!r}, not {value!r}"
                for name, value in wanted.items()
                if told.get(name, value if name == "data" else None) != value
            ]
            if other:
                self._warn(
                    f"{path} is of another training ({', '.join(other)}): {self._cure or cure}."
                )
                return None
        return stored
