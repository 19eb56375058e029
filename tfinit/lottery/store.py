"""The run directory. This module owns every path in it.

::

    config.json               the experiment, and what it was made with: `tfinit.origin`
    network.json              what identifies its network: `tfinit.fingerprint`
    seed-0/ticket/initial.npz     the weights at initialization
    seed-0/ticket/rewind.npz      the weights at the rewind step, if that is not 0
    seed-0/ticket/level-03.npz    mask, final weights and metrics of level 3
    seed-0/ticket/partial-03.npz  level 3 in the middle of its training, until it is done
    seed-0/reinit/...             the same for each control
    seed-0/from-000100/line.npz   errors between two copies: see `tfinit.lottery.stability`
    results.csv, evaluations.csv, layers.csv, conclusion.txt, *.png: see `report_files`
    .lock                     held while a process works here

A file appears whole or not at all: see `tfinit.files`. ``.npz`` members carry a checksum, so a
damaged file is noticed when it is read; the member ``about/json`` says whose the file is, so that
of another training is noticed too.
"""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tfinit.arguments import function, number
from tfinit.errors import InputError, WorkError
from tfinit.files import barred, held, make_directory, remove, write_whole
from tfinit.fingerprint import Fingerprint
from tfinit.lottery.directory import (
    check_directory,
    check_fingerprint,
    check_same,
    config_file,
    described,
    network_file,
    told,
    unusable,
)
from tfinit.lottery.network_config import NetworkConfig
from tfinit.lottery.result import LevelResult, Weights
from tfinit.lottery.store_reader import ABOUT, Place, StoreReader
from tfinit.lottery.stored_arrays import Arrays, pack
from tfinit.lottery.subject import Subject
from tfinit.origin import Origin
from tfinit.progress import as_warning
from tfinit.training.metrics import Partial, at_most_every

__all__ = ["Place", "Store"]

# Seconds of training that an interruption may cost. Writing takes about a second at worst.
_CHECKPOINT_EVERY = 60.0


class Store(StoreReader):
    """Reads and writes the directory of one experiment.

    The experiment may grow: one that asks for more seeds, levels or controls than the directory
    was made for, and for all of those, goes on there.

    Args:
        config: The experiment. Its ``run_dir`` is made if it does not exist.
        warn: Called with a line about each file that is damaged, or of another training, and is
            made again; and about versions or a device that differ from those the directory was made
            with.
        checkpoint_every: Seconds between the checkpoints in the middle of a training.
        origin: The data, and the versions and the device that train now. None: nothing is trained;
            what the directory says of them stays.
        subject: What tables and figures say of it. What the directory says of that stays.
        network: What identifies its network. None: nothing is trained.

    Raises:
        InputError: the directory holds another experiment or a larger one, or one on other data,
            or of another network, is no directory, or cannot be written. Nothing was written.
    """

    def __init__(
        self,
        config: NetworkConfig,
        warn: Callable[[str], None] = as_warning,
        checkpoint_every: float = _CHECKPOINT_EVERY,
        origin: Origin | None = None,
        subject: Subject | None = None,
        network: Fingerprint | None = None,
    ):
        super().__init__(config, function("warn", warn, "a line"), origin)
        self.checkpoint_every = number("checkpoint_every", checkpoint_every, least=0)
        self._subject, self._network = subject, network
        check_directory(config, origin)
        if network is not None:
            check_fingerprint(config.run_dir, network)
        content = told(
            config, origin, subject
        )  # before the directory is made: it may not be possible
        try:
            make_directory(self.root)
            writable = os.access(self.root, os.W_OK | os.X_OK)
        except OSError as error:
            raise unusable(self.root, error) from error
        if not writable:
            raise InputError(
                f"`run_dir` {self.root} is read-only: {barred(self.root)}. "
                "Choose another with --run-dir."
            )
        if not config_file(self.root).exists():
            write_whole(config_file(self.root), content)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from working in the directory, until the end or that of the process.

        Raises:
            InputError: another process works there, or another experiment by now.
        """
        with held(self.root / ".lock", f"`run_dir` {self.root}", "--run-dir"):
            self._grow()
            self._clear_up()
            yield

    def _grow(self) -> None:
        """Remember the experiment as it is asked for now, and what it is made with from now on."""
        # Another process may have let it grow since this store was made.
        content, there = check_same(self._config, self._origin)
        now = self._origin
        if now is not None and there is not None and (others := there.other_versions(now)):
            self._warn(
                f"{self.root} was made with {others}: it goes on, but what is trained from here on "
                "may differ in its last bits."
            )
        if now is not None and there is None and any(self.root.glob("seed-*")):
            self._warn(
                f"{self.root} was made by an earlier tfinit, which did not note its data and "
                "versions. They are taken to be those of now, and noted."
            )
        # What was there first stays: of later versions each file tells.
        subject = described(content)
        if self._subject is not None:
            subject = self._subject.first(subject)
        whole = told(self._config, there or now, subject)
        if content != whole:
            write_whole(config_file(self.root), whole)
        # A directory of an earlier tfinit has none: it is taken to be that of now.
        if self._network is not None and not check_fingerprint(self.root, self._network):
            said = f"{json.dumps(self._network.to_dict(), indent=1)}\n"
            write_whole(network_file(self.root), said.encode())

    def _clear_up(self) -> None:
        """Remove what a process that was killed left behind: it takes room."""
        for aside in [*self.root.glob(".*.tmp"), *self.root.glob("seed-*/**/.*.tmp")]:
            remove(aside)
        for partial in self.root.glob("seed-*/**/partial-*.npz"):
            if partial.with_name(partial.name.replace("partial", "level")).exists():
                remove(partial)

    def initial(self, seed: int, branch: str, compute: Callable[[], Weights]) -> Weights:
        """The stored initial weights, or those of ``compute``, stored now."""
        stored = self.stored_initial(seed, branch)
        if stored is None:
            self._keep_weights(seed, branch, "initial", compute())
            stored = self._weights(seed, branch, "initial", "")
        if stored is None:
            path = self._branch(seed, branch) / "initial.npz"
            raise WorkError(f"{path} does not hold what was just written to it.")
        return stored

    def keep_rewind(self, seed: int, branch: str, weights: Weights) -> None:
        """Store the weights at the rewind step."""
        self._keep_weights(seed, branch, "rewind", weights)

    def keep_line(self, seed: int, branch: str, measured: Arrays) -> None:
        """Store what was measured along the line between two networks."""
        self._keep_weights(seed, branch, "line", measured)

    def _keep_weights(self, seed: int, branch: str, kind: str, arrays: Arrays) -> None:
        path = self._branch(seed, branch) / f"{kind}.npz"
        self._write(path, self._whose(kind, seed, branch), **{kind: arrays})

    def keep(self, result: LevelResult) -> LevelResult:
        """Store the result of a training, and return it as it is stored."""
        at = Place(result.seed, result.branch, result.level)
        metrics = {
            "step": result.metrics.step,
            **result.metrics.values,
            "training_loss": result.metrics.losses,
            "diverged_at": np.array(result.diverged_at or 0),
        }
        self._write(
            self._level(at),
            self._whose("level", at.seed, at.branch, at.level),
            mask=result.mask,
            final=result.final,
            metrics=metrics,
        )
        remove(self._level(at, "partial"))
        kept = self.level(at, result.initial, result.rewind)
        if kept is None:
            raise WorkError(f"{self._level(at)} does not hold what was just written to it.")
        return kept

    def checkpoint(self, at: Place) -> Callable[[Callable[[], Partial]], None]:
        """What a training calls now and then, to be kept every so many seconds."""
        return at_most_every(self.checkpoint_every, lambda now: self.keep_partial(at, now))

    def keep_partial(self, at: Place, now: Partial) -> None:
        """Store where a training stands."""
        told = {"step": np.array(now.step), "at": now.rows[0], "rows": now.rows[1]}
        told["losses"] = now.losses
        self._write(
            self._level(at, "partial"),
            self._whose("partial", at.seed, at.branch, at.level),
            partial=told,
            state=now.state,
        )

    def _write(self, path: Path, whose: dict[str, Any], **groups: Arrays) -> None:
        origin = {} if self._origin is None else self._origin.to_dict()
        told = np.frombuffer(json.dumps(whose | origin).encode(), np.uint8)
        write_whole(path, pack(**groups, **{ABOUT: {"json": told}}))
