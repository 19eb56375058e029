"""Kills of every command that writes, and flipped bits of what a run directory says of itself.

A command is started, killed or asked to end at a random moment or in the middle of writing a file,
and started again, until it is left to end. At no time is there half a file under a final name, and
in the end there are the files of a run that nobody disturbed, byte for byte, and nothing else. One
that was asked leaves nothing else at any time.

Each run is a process of its own, forked from one that has imported TensorFlow and done nothing:
what is killed is work, not imports.
"""

import atexit
import contextlib
import dataclasses
import io
import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
import traceback
import zipfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from tfinit.cli.signals import heard
from tfinit.errors import InputError

_NETWORK = {"seeds": (0,), "model": "mlp-2-relu", "train_examples": 400, "evaluate_every": 50}
# How a run is ended, in turns; every second time in the middle of writing a file.
_KILLS = (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL, signal.SIGINT, signal.SIGTERM)
_ASKED = {signal.SIGINT, signal.SIGTERM}
_FLAGS = ("--model", "mlp-2-relu", "--steps", "60", "--seeds", "0")


def _lottery(home: Path, given: Path) -> None:
    from tfinit.lottery import LotteryConfig, run

    config = LotteryConfig(levels=2, steps=400, rewind_step=5, run_dir=home / "r", **_NETWORK)
    # Many checkpoints: what they cost is not the question here.
    run(config, warn=print, reports=False, checkpoint_every=0.02)


def _stability(home: Path, given: Path) -> None:
    from tfinit.lottery import StabilityConfig
    from tfinit.lottery.stability_experiment import stability

    config = StabilityConfig(
        steps=300, spawn_steps=(0, 60), points=3, run_dir=home / "r", **_NETWORK
    )
    stability(config, warn=print, reports=False, checkpoint_every=0.02)


def _initializations(home: Path, given: Path) -> None:
    words = ["--initializations", "he", "zeros", "--levels", "1", "--train-examples", "400"]
    tfinit("initializations", *words, "--evaluate-every", "20", *_FLAGS, "--run-dir", home / "r")


def _prune(home: Path, given: Path) -> None:
    words = ["--data", given / "data.npz", "--epochs", "8", "--out", home / "out/pruned.keras"]
    tfinit("prune", given / "model.keras", *words)


def _compare(home: Path, given: Path) -> None:
    tfinit("compare", "--schemes", "he,zeros", *_FLAGS, "--plot", home / "new/race.png")


def _export(home: Path, given: Path) -> None:
    tfinit("export", given / "model.keras", home / "out/model.tflite", "--seconds", "0")


def tfinit(*words: object) -> None:
    from tfinit.cli import main

    main([str(word) for word in words])


# What is killed, and about how many files it writes, of which some are let pass before a kill. The
# first of `compare` and `export` is the one by which they see that they can write.
COMMANDS = {
    "lottery": (_lottery, 12),
    "stability": (_stability, 12),
    "initializations": (_initializations, 12),
    "prune": (_prune, 10),
    "compare": (_compare, 2),
    "export": (_export, 2),
}


def _make_given(given: Path, _: Path) -> None:
    """A model with noise that has no seed, and data for it."""
    import keras
    import numpy as np

    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(64, "relu"), keras.layers.Dropout(0.2), keras.layers.Dense(3)]
    model = keras.Sequential([keras.Input((20,)), *layers])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.save(given / "model.keras")
    x = np.random.default_rng(0).normal(size=(600, 20)).astype("float32")
    np.savez(given / "data.npz", x_train=x, y_train=(x[:, 0] > 0).astype("int32"))


def check_all_kills(root: Path, names: list[str], kills: int, chance: random.Random) -> str:
    """So many kills over some commands, two at a time; a line for each."""
    import_all()
    given = root / "given"
    given.mkdir(parents=True)
    made = Run(_make_given, given, given)
    assert made.wait() == 0, made.output()
    shares = [kills // len(names) + (n < kills % len(names)) for n in range(len(names))]
    fork = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(2, mp_context=fork) as workers:
        checks = [
            workers.submit(check_kills, root, given, name, share, chance.random())
            for name, share in zip(names, shares, strict=True)
        ]
        return "\n  ".join(["", *(check.result() for check in checks)])


def import_all() -> None:
    import matplotlib.pyplot  # noqa: F401

    import tfinit.comparison.from_config
    import tfinit.exporting.from_files
    import tfinit.fine_tuning.run
    import tfinit.lottery.stability_experiment
    import tfinit.plots  # noqa: F401


class Run:
    """A process that does one thing in a directory."""

    def __init__(self, call: Callable[[Path, Path], None], home: Path, given: Path):
        home.mkdir(parents=True, exist_ok=True)
        self._output = tempfile.TemporaryFile()  # noqa: SIM115
        self._code: int | None = None
        sys.stdout.flush()
        sys.stderr.flush()
        # A signal waits until there is somebody to hear it.
        signal.pthread_sigmask(signal.SIG_BLOCK, _ASKED)
        self._pid = os.fork()
        if self._pid:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _ASKED)
            return
        code = 9
        try:
            for stream in (1, 2):
                os.dup2(self._output.fileno(), stream)
            atexit._clear()  # of what this process has: its directory is not the run's to remove
            signal.signal(signal.SIGINT, signal.default_int_handler)
            with heard():
                signal.pthread_sigmask(signal.SIG_UNBLOCK, _ASKED)
                call(home, given)
            code = 0
        except SystemExit as stopped:
            code = stopped.code or 0
        except BaseException:
            traceback.print_exc()
        finally:
            with contextlib.suppress(BaseException):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)

    def ended(self) -> bool:
        """Whether it has."""
        if self._code is None:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            if pid:
                self._code = os.waitstatus_to_exitcode(status)
        return self._code is not None

    def wait(self, seconds: float = 600) -> int:
        """The exit code, once it has ended; an error if it does not in time."""
        end = time.monotonic() + seconds
        while not self.ended():
            assert time.monotonic() < end, f"it goes on: {self.output()}"
            time.sleep(0.005)
        return self._code

    def send(self, how: signal.Signals) -> None:
        """Send it a signal, if it has not ended."""
        if not self.ended():
            os.kill(self._pid, how)

    def kill(self, how: signal.Signals) -> int:
        """The exit code after a signal, if it came in time."""
        self.send(how)
        return self.wait()

    def output(self) -> str:
        """What it printed, on both streams."""
        self._output.seek(0)
        return self._output.read().decode(errors="replace")


def check_kills(root: Path, given: Path, name: str, kills: int, seed: float) -> str:
    """Kill one command so often, every second time in the middle of a writing."""
    chance, (call, writings) = random.Random(seed), COMMANDS[name]
    temporary = root / f"temporary-{name}"  # what is killed leaves its own there, as anywhere
    temporary.mkdir()
    tempfile.tempdir = os.environ["TMPDIR"] = str(temporary)
    began, undisturbed = time.monotonic(), Run(call, root / name / "whole", given)
    assert undisturbed.wait() == 0, (name, undisturbed.output())
    seconds = time.monotonic() - began
    whole = contents(root / name / "whole")
    runs = done = writing = asked = 0
    while done < kills:
        home, killed = root / name / f"torn-{runs}", True
        runs += 1
        while killed and done < kills:
            before, folders = set(asides(home)), set(temporary.iterdir())
            run = Run(call, home, given)
            if done % 2 == 0:
                _let_write(run, home, before, chance.randrange(writings))
            else:
                _let_work(run, chance.uniform(0, seconds))
            how = _KILLS[done % len(_KILLS)]
            was_asked = how in _ASKED
            writes = not before >= set(asides(home))
            code = run.kill(how)
            assert code in (0, 128 + how if was_asked else -how), (name, code, run.output())
            assert "Traceback" not in run.output(), (name, run.output())
            assert "ignored" not in run.output(), (name, run.output())
            killed = code != 0
            done += killed
            asked += killed and was_asked
            writing += killed and writes
            if killed and was_asked:
                assert run.output().splitlines()[-1].startswith("tfinit: "), run.output()
                assert before >= set(asides(home)), (name, asides(home))
                assert folders >= set(temporary.iterdir()), (name, [*temporary.iterdir()])
            for file, content in contents(home).items():
                # What is not hidden is whole, at any time; a checkpoint is one of many.
                if not Path(file).name.startswith((".", "partial-")):
                    assert content == whole[file], (name, file)
        if killed:
            run = Run(call, home, given)
            assert run.wait() == 0, (name, run.output())
        assert "damaged" not in run.output(), (name, run.output())
        assert contents(home) == whole, (name, contents(home).keys() ^ whole.keys())
    return (
        f"{name}: {done} × killed, {writing} of them in the middle of writing a file, {asked} by "
        f"Ctrl-C or SIGTERM, over {runs} run(s): same bytes in all {len(whole)} files"
    )


def contents(home: Path) -> dict[str, object]:
    """Name → content of all files but locks; of Keras's archives what they hold, without dates."""
    return {
        str(path.relative_to(home)): _content(path, home)
        for path in _files(home)
        if not path.name.endswith(".lock")
    }


def _content(path: Path, home: Path) -> object:
    content = path.read_bytes()
    if path.suffix == ".json":
        return content.replace(str(home).encode(), b"")  # the report of `prune` says where it is
    if path.suffix != ".keras":
        return content
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        # metadata.json says when it was saved.
        return {name: archive.read(name) for name in archive.namelist() if "metadata" not in name}


def _files(home: Path) -> list[Path]:
    # Not `rglob`, which fails where a directory goes while it looks.
    return sorted(Path(place, name) for place, _, names in os.walk(home) for name in names)


def asides(home: Path) -> list[Path]:
    """Files that are being written, or were when a process was killed."""
    return [path for path in _files(home) if path.match(".????????.*.tmp")]


def _let_work(run: Run, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not run.ended() and time.monotonic() < end:
        time.sleep(0.005)


def _let_write(run: Run, home: Path, before: set[Path], pass_by: int) -> None:
    """Until a file is being written, after so many others; not those that were left before."""
    seen: set[Path] = set()
    while not run.ended() and len(seen) <= pass_by:
        time.sleep(0.0005)
        seen.update(set(asides(home)) - before)


def check_bit_flips(root: Path, chance: random.Random, passes: int) -> str:
    """One bit of every file of arrays, and the run again. Harmless is what no array can tell."""
    import_all()
    assert Run(_lottery, root, root).wait() == 0
    whole = contents(root)
    names = [name for name in whole if name.endswith(".npz")]
    noticed = harmless = 0
    for _ in range(passes):
        for name in names:
            content = bytearray(whole[name])
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
            (root / name).write_bytes(content)
        run = Run(_lottery, root, root)
        assert run.wait() == 0, run.output()
        said = [name for name in names if f"{root / name} is damaged" in run.output()]
        after = contents(root)
        assert after.keys() == whole.keys()
        for name in names:
            if after[name] == whole[name]:
                # The rewind weights come from level 0, which is made again for them.
                why = name.replace("level-00", "rewind")
                assert name in said or why in said, name
                noticed += 1
            else:  # a date, say
                assert name not in said, name
                assert _arrays(after[name]) == _arrays(whole[name]), name
                harmless += 1
                (root / name).write_bytes(whole[name])
    return (
        f"{passes * len(names)} flipped bits in files of arrays: {noticed} noticed, said and made "
        f"again to the same bytes; {harmless} where no array is (dates and the like)"
    )


def _arrays(content: bytes) -> dict[str, bytes]:
    with np.load(io.BytesIO(content)) as members:
        return {name: members[name].tobytes() for name in members.files}


def check_config_flips(root: Path) -> str:
    """Every bit of a config.json, each flipped: an error of one line, or nothing changes."""
    from tfinit.lottery import LotteryConfig, Store
    from tfinit.origin import Origin

    origin = Origin("ab" * 32, "0.1", "keras 3.12.0", "tensorflow 2.19.0")
    config = LotteryConfig(levels=2, seeds=(0,), run_dir=root / "flipped")
    Store(config, origin=origin)
    path = config.run_dir / "config.json"
    content = path.read_bytes()
    refused = harmless = 0
    for at in range(len(content)):
        for bit in range(8):
            path.write_bytes(content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :])
            try:
                with Store(config, origin=origin).locked():
                    pass
            except InputError as error:
                assert "\n" not in str(error), error
                refused += 1
                continue
            there = json.loads(path.read_bytes())
            assert there.pop("made_with")["data"] == origin.data
            wanted = dataclasses.asdict(config)
            del wanted["run_dir"]
            assert there == json.loads(json.dumps(wanted)), (at, bit)
            harmless += 1
    return (
        f"{8 * len(content)} flipped bits of config.json: {refused} refused in one line, "
        f"{harmless} harmless (blanks, versions, a smaller experiment); no traceback"
    )
