"""The league of initializations: which is worth it, where, and what `recommend` would have chosen.

    python scripts/league.py --quick                              # minutes: four networks, briefly
    KERAS_BACKEND=jax python scripts/league.py --workers 2        # all: docs/league.md
    python scripts/league.py --out runs/league/full --table       # the table of what is there

Every initialization trains every network that it fits, as long as any other: once with each of
some learning rates on a seed of its own, then with the best of these from five other seeds. Each
training is a file in ``--out``, written as soon as it is done, so that it can be stopped at any
moment, and goes on with the same command; any number of processes, on any machines that share the
directory, take what is left. ``--part 1/3`` is for machines that share none: copy the files
together.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from _league_settings import SETTINGS, Setting, initialization

from tfinit.cli.signals import heard
from tfinit.errors import InputError, one_line, reason

if TYPE_CHECKING:
    from tfinit.comparison.result import Run

TUNING_SEED = 1000
SEEDS = (0, 1, 2, 3, 4)  # with three the test of the ranks tells next to nothing apart
QUICK = ("relu-mlp-10", "tanh-mlp-30", "encoder-pre-norm", "sine-image")
_QUICK_STEPS = 5  # times fewer


@dataclass(frozen=True)
class League:
    """What is trained, and where it is kept.

    Attributes:
        directory: Where the results are.
        settings: Name of each network → what it is trained with.
        seeds: Those that are ranked.
    """

    directory: Path
    settings: dict[str, Setting]
    seeds: tuple[int, ...] = SEEDS

    @classmethod
    def of(cls, directory: Path, quick: bool, only: Sequence[str] = ()) -> "League":
        """The whole league, or what can be seen in minutes."""
        chosen = dict(SETTINGS)
        if quick:
            chosen = {
                name: replace(one, steps=one.steps // _QUICK_STEPS, rates=one.rates[1:4:2])
                for name, one in chosen.items()
                if name in QUICK
            }
        if unknown := sorted({*only} - {*chosen}):
            raise InputError(f"`--only` must be among {', '.join(chosen)}, received {unknown}.")
        chosen = {name: one for name, one in chosen.items() if name in only or not only}
        return cls(directory, chosen, SEEDS[:2] if quick else SEEDS)

    def entries(self) -> list[tuple[str, str]]:
        """(network, initialization) of each entry."""
        return [(name, one) for name, of in self.settings.items() for one in of.initializations]

    def path(self, network: str, name: str, rate: float, seed: int) -> Path:
        """Where one training is kept."""
        return self.directory / network / name / f"seed-{seed}-rate-{rate:g}.json"

    def kept(self, network: str, name: str, rate: float, seed: int) -> dict[str, Any] | None:
        """What came of a training; None if it is still to be done, or was of another length."""
        try:
            found = json.loads(self.path(network, name, rate, seed).read_text())
        except FileNotFoundError:
            return None
        of = self.settings[network]
        same = (found["steps"], found["batch_size"]) == (of.steps, of.batch_size)
        return found if same else None

    def tuned(self, network: str, name: str) -> dict[float, float] | None:
        """Learning rate → final loss on the seed for tuning; None until all are known."""
        rates = self.settings[network].rates
        found = {rate: self.kept(network, name, rate, TUNING_SEED) for rate in rates}
        return (
            {rate: final_loss(one) for rate, one in found.items() if one}
            if all(found.values())
            else None
        )

    def rate(self, network: str, name: str) -> float | None:
        """The best learning rate of an entry: the smallest where all diverged."""
        tuned = self.tuned(network, name)
        return min(tuned, key=lambda rate: (tuned[rate], rate)) if tuned else None

    def left(self, network: str, name: str) -> Iterator[tuple[float, int]]:
        """(rate, seed) of each training of an entry that is to be done, in this order."""
        for rate in self.settings[network].rates:
            if self.kept(network, name, rate, TUNING_SEED) is None:
                yield rate, TUNING_SEED
        best = self.rate(network, name)
        for seed in self.seeds if best is not None else ():
            if self.kept(network, name, best, seed) is None:
                yield best, seed

    def done(self, network: str, name: str) -> bool:
        """Whether nothing of an entry is left."""
        return next(self.left(network, name), None) is None


def run_of(kept: dict[str, Any], label: str) -> "Run":
    """A training as `tfinit.compare` has it."""
    from tfinit.comparison.result import Run
    from tfinit.training.metrics import Metrics

    measured = {name: np.array(v, float) for name, v in kept["measured"].items()}
    losses = np.array(kept["losses"], np.float32)
    metrics = Metrics(np.array(kept["measured_at"]), measured, losses)
    diverged = kept["diverged_at"]
    return Run(label, kept["seed"], kept["steps"], metrics, diverged, kept["seconds_per_step"])


def final_loss(kept: dict[str, Any]) -> float:
    """The mean training loss of the last 5% of the steps; infinite if it diverged."""
    return run_of(kept, "").final_loss


# -- training


class Trainer:
    """Trains the entries of the league, one network compiled at a time."""

    def __init__(self, league: League):
        self.league = league
        self._network = ""
        self._runner: Any = None

    def work(self, entries: list[tuple[str, str]], first: int) -> None:
        """Do all entries that nobody else does, beginning with the ``first``."""
        left = [*entries[first:], *entries[:first]]
        while left:
            # What is compiled goes first.
            network, name = min(left, key=lambda entry: entry[0] != self._network)
            left.remove((network, name))
            if self.league.done(network, name):
                continue
            with _claimed(self.league.directory / "locks" / f"{network}-{name}") as mine:
                if mine:
                    self._entry(network, name)

    def _entry(self, network: str, name: str) -> None:
        # What is known only at the end, the best rate, is asked for anew after each.
        while (task := next(self.league.left(network, name), None)) is not None:
            rate, seed = task
            began = time.process_time()
            try:
                found = self._train(network, name, rate, seed)
            except InputError as error:
                print(f"{network} {name}: {reason(error)}", file=sys.stderr, flush=True)
                return
            found["processor_seconds"] = round(time.process_time() - began, 2)
            _write(self.league.path(network, name, rate, seed), found)
            loss = f"{final_loss(found):.4g}"
            print(f"{network} {name} rate {rate:g} seed {seed}: final loss {loss}", flush=True)

    def _train(self, network: str, name: str, rate: float, seed: int) -> dict[str, Any]:
        from tfinit.comparison.initializations import Initialization, read_schemes
        from tfinit.comparison.runs import RunTask

        setting = self.league.settings[network]
        [one] = read_schemes({name: initialization(name)})

        def start(model: Any, x: Any, seed: int) -> None:
            # A variable of the optimizer, which is fresh by now: no other rate is compiled in.
            model.optimizer.learning_rate.assign(rate)
            one.initialize(model, x, seed)

        task = RunTask(
            Initialization(name, start),
            seed,
            setting.steps,
            setting.batch_size,
            setting.steps,
            diagnosed=False,
        )
        run = self._compiled(network)(task, lambda *told: None)
        return {
            "network": network,
            "initialization": name,
            "rate": rate,
            "seed": seed,
            "steps": run.steps,
            "batch_size": setting.batch_size,
            "diverged_at": run.diverged_at,
            "seconds_per_step": run.seconds_per_step,
            "measured_at": run.metrics.step.tolist(),
            "measured": {key: values.tolist() for key, values in run.metrics.values.items()},
            "losses": [float(f"{loss:.5g}") for loss in run.metrics.losses.tolist()],
            "chose": self._choice(network) if name == "recommend" else None,
            "versions": _versions(),
        }

    def _compiled(self, network: str) -> Any:
        if network != self._network:
            from tfinit.comparison.runs import Runner

            setting = self.league.settings[network]
            self._runner = Runner(lambda: compiled(setting), setting.data())
            self._network = network
        return self._runner

    def _choice(self, network: str) -> str:
        from tfinit.diagnostics import recommend

        model = self._runner.network(None, 0).model
        counts = Counter(advice.initializer for advice in recommend(model))
        return ", ".join(f"{name} ({n})" for name, n in counts.most_common())


def compiled(setting: Setting) -> Any:
    """The network of a setting, ready to train."""
    import keras

    model = setting.build()
    rate = setting.rates[0]
    optimizers = {
        "sgd": lambda: keras.optimizers.SGD(rate, momentum=0.9),
        "adam": lambda: keras.optimizers.Adam(rate),
    }
    losses = {
        "classes": lambda: keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        "squares": keras.losses.MeanSquaredError,
    }
    model.compile(optimizers[setting.optimizer](), losses[setting.loss]())
    return model


def _first(league: League, entries: list[tuple[str, str]], turn: int, workers: int) -> int:
    """Where a process begins: each has as much before the next one, of as few networks."""
    seconds = [league.settings[network].seconds for network, _ in entries]
    before = np.cumsum([0.0, *seconds])
    return int(np.searchsorted(before[:-1], turn / workers * before[-1]))


@contextlib.contextmanager
def _claimed(path: Path) -> Iterator[bool]:
    """Whether this process has an entry to itself. The system frees it at any death."""
    import filelock

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def _write(path: Path, found: dict[str, Any]) -> None:
    from tfinit.files import write_whole
    from tfinit.results import json_ready

    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, (json.dumps(json_ready(found)) + "\n").encode())


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    import keras

    backend = keras.backend.backend()
    return {name: version(name) for name in ("keras", backend)}


# -- processes


def main() -> None:
    """Train what is left, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    told = {
        "--out": "where results are kept; runs/league/full, or quick",
        "--only": "these networks alone",
        "--page": "put the tables into this page, and the figure into figures/ beside it, too",
        "--part": "only this part of the entries, as 1/3",
    }
    parser.add_argument("--quick", action="store_true", help="minutes on 2 cores")
    parser.add_argument("--out", type=Path, help=told["--out"])
    parser.add_argument("--workers", type=int, default=1, help="processes, of one thread each")
    parser.add_argument("--only", nargs="+", default=(), help=told["--only"])
    parser.add_argument("--part", default="1/1", help=told["--part"])
    parser.add_argument("--table", action="store_true", help="train nothing")
    parser.add_argument("--page", type=Path, help=told["--page"])
    parser.add_argument("--turn", default="0/1", help=argparse.SUPPRESS)
    typed = parser.parse_args()
    directory = typed.out or Path("runs/league") / ("quick" if typed.quick else "full")
    with one_line(""):
        league = League.of(directory, typed.quick, typed.only)
        entries = _part(league.entries(), typed.part)
        if not typed.table:
            if typed.workers > 1:
                _beside_each_other(typed.workers)
            else:
                turn, _, workers = typed.turn.partition("/")
                _alone(league, entries, _first(league, entries, int(turn), int(workers)))
        if typed.workers > 1 or typed.turn == "0/1":
            from _league_table import write

            write(league, typed.page)


def _part(entries: list[tuple[str, str]], asked: str) -> list[tuple[str, str]]:
    part, _, parts = asked.partition("/")
    if not (part.isdigit() and parts.isdigit() and 1 <= int(part) <= int(parts)):
        raise InputError(f"`--part` must be as 1/3, received {asked!r}.")
    return entries[int(part) - 1 :: int(parts)]


def _alone(league: League, entries: list[tuple[str, str]], first: int) -> None:
    """Train in this process. Compiled programs are kept beside the results, for all processes."""
    programs = (league.directory / "programs").absolute()
    for name, value in (
        ("TF_CPP_MIN_LOG_LEVEL", "3"),
        ("OMP_NUM_THREADS", "1"),
        ("JAX_PLATFORMS", "cpu"),
        ("JAX_COMPILATION_CACHE_DIR", str(programs)),
        ("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0"),
    ):
        os.environ.setdefault(name, value)
    from tfinit.threads import use_threads

    use_threads(1)
    Trainer(league).work(entries, first)


def _beside_each_other(workers: int) -> None:
    """So many processes of the same command, until all is done; none outlives this one."""
    command = [sys.executable, *sys.argv, "--workers", "1"]
    turns = [f"{turn}/{workers}" for turn in range(workers)]
    begun = [subprocess.Popen([*command, "--turn", turn]) for turn in turns]
    try:
        codes = [one.wait() for one in begun]
    finally:
        for one in begun:
            one.terminate()
    if any(codes):
        raise InputError(f"{sum(map(bool, codes))} of {workers} processes failed: see above.")


if __name__ == "__main__":
    with heard("Start the same command again to go on where it was."):
        main()
