"""Attack what reads files: hostile ones at every entrance, under a bound of memory.

    python scripts/_attack_files.py [directory]

The files are those of `tests/shared/hostile_files.py`, and honest ones with flipped bits. Each must
end in one line, as InputError; the harmless ones may be read as what they else are. None may take
more than 128 MiB, open another file, or run code.
"""

import contextlib
import io
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_TESTS = Path(__file__).parents[1] / "tests" / "shared"
_MOST = 128 * 2**20  # bytes that reading one file may take
_ROOM = 2**30  # bytes of addresses that a process may take beyond those it starts with
_FLIPPED = 60  # honest files with flipped bits, of each format
_LONGEST = 3000  # letters of an error that lists what a file has
_HANGS = 900


def attack(directory: Path, chance: random.Random) -> str:
    """Attack every reader once, in one process of its own, and say what was seen.

    Args:
        directory: Where the files go; it is made, and left for whoever wants to look.
        chance: Which bits are flipped, and in which order files are read.

    Raises:
        AssertionError: a file was read that should not be, took too much, opened another, ran
            code, or ended in anything but one line; all of them are listed.
    """
    directory.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [sys.executable, __file__, "--child", directory, str(chance.getrandbits(32))],
        capture_output=True,
        text=True,
        timeout=_HANGS,
        check=False,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    assert done.returncode == 0, f"the readers died ({done.returncode}): {done.stderr[-2000:]}"
    seen = json.loads(done.stdout.splitlines()[-1])
    assert not seen["faults"], "\n".join(seen["faults"])
    return (
        f"{seen['files']} hostile files ({seen['flipped']} of them flipped bits) at "
        f"{seen['entrances']} entrances, {seen['reads']} reads: {seen['refused']} refused in one "
        f"line, {seen['read']} harmless, none opened another file or ran code, at most "
        f"{seen['most'] / 2**20:.0f} MiB for one; {seen['seconds']:.0f} s"
    )


# -- the process that is attacked


def _entrances(place):
    """Family → name → what reads a file of it, and gives what it saw of it."""
    import keras

    import tfinit
    from tfinit.array_files import open_arrays
    from tfinit.cli import main
    from tfinit.comparison.hidden_activations import with_activation
    from tfinit.diagnostics.batch_file import load_batch
    from tfinit.initializers import Pretrained
    from tfinit.lottery.ticket import Ticket
    from tfinit.pruning import compact
    from tfinit.saved_data import read_splits
    from tfinit.saved_model import load_model
    from tfinit.schemes import initialize

    honest = load_model(place.base)

    def built(path, key):
        layer = keras.layers.Dense(4, kernel_initializer=Pretrained(path, key))
        layer.build((None, 4))
        return layer.get_weights()

    def scheme(path):
        model = keras.models.clone_model(honest)
        initialize(model, "pretrained", seed=1, source=path)
        return model.get_weights()

    def ticket(path):
        found = Ticket.load(path)
        return [*found.mask.values(), *found.rewind.values(), str(found)]

    def rewind(path):
        """What a lottery goes on from. It makes again what cannot be read, for whatever reason."""
        try:
            with open_arrays(path) as arrays:
                return arrays["rewind/kernel"].read()
        except Exception as error:
            raise tfinit.errors.InputError("damaged") from error

    def command(*words):
        """The command line, here: an error is one line and exit code 2."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                main([str(word) for word in words])
                code = 0
            except SystemExit as stop:
                code = stop.code
        if code == 2:
            raise tfinit.errors.InputError(err.getvalue().removesuffix("\n"))
        return [out.getvalue(), err.getvalue()]

    def copied(path):
        """Everything that makes layers of a loaded model again."""
        model = load_model(path)
        model.compile("sgd", "mse")
        told = [*model.get_weights(), *compact(model).model.get_weights()]
        told += with_activation(_deeper(model), "tanh").get_weights()
        told += keras.models.load_model(path).get_weights()
        model.save(place.root / "again.keras")
        told += load_model(place.root / "again.keras").get_weights()
        told += [str(tfinit.recommend(model))]
        return told

    def redrawn(path):
        model = load_model(path)
        initialize(model, "reinitialize", seed=1)
        return model.get_weights()

    def cloned(path):
        return keras.models.clone_model(load_model(path)).get_weights()

    def _deeper(model):
        layers = [*model.layers, keras.layers.Dense(2, "relu"), keras.layers.Dense(1)]
        deeper = keras.Sequential([keras.Input((4,)), *layers])
        deeper.compile("sgd", "mse")
        return deeper

    out = place.root / "out"
    return {
        "NumPy": {
            "read_splits": lambda path: read_splits(str(path)),
            "datasets.load": lambda path: tfinit.datasets.load(str(path)).train,
            "load_batch": lambda path: load_batch(path, honest, 4),
            "Pretrained": lambda path: built(path, "kernel"),
            "pretrained": scheme,
            "a lottery": rewind,
            "diagnose --data": lambda path: command(
                "diagnose", place.base, "--data", path, "--loss", "mse"
            ),
            "prune --data": lambda path: command(
                "prune", place.base, "--data", path, "--out", out / "m.keras", "--loss", "mse"
            ),
        },
        "ticket": {"Ticket.load": ticket},
        "HDF5": {"Pretrained": lambda path: built(path, "fc/vars/0"), "pretrained": scheme},
        "Keras": {
            "load_model": lambda path: load_model(path).get_weights(),
            "Pretrained": lambda path: built(path, "fc/vars/0"),
            "pretrained": scheme,
            "diagnose": lambda path: command("diagnose", path),
            "export": lambda path: command(
                "export", path, out / "m.out.keras", "--format", "keras", "--seconds", "0"
            ),
            "copies": copied,
            "reinitialize": redrawn,
            "clone_model": cloned,
        },
    }


def _flat(found):
    import numpy as np

    if isinstance(found, tuple | list):
        return [part for more in found for part in _flat(more)]
    return [] if found is None else [found if isinstance(found, str) else np.asarray(found)]


def _leaks(found, secret):
    """Whether anything of the canaries is in what an entrance gave."""
    import numpy as np

    for part in _flat(found):
        if isinstance(part, str):
            if "secret word" in part or str(secret) in part:
                return True
        elif b"secret" in part.tobytes() or (
            part.dtype.kind in "fiu" and np.isclose(part.astype("f8"), secret, rtol=1e-4).any()
        ):
            return True
    return False


class _Watch:
    """What a read takes and opens. Python says what it opens; of C, the system remembers when a
    file was last read."""

    def __init__(self, place):
        self.place, self.opened = place, []
        self.watching = False
        sys.addaudithook(self._hear)
        self.canaries = sorted(place.canaries.iterdir())
        self._forget()
        self.canaries[0].read_bytes()
        self.remembers = self._read_last() != []  # not every file system does
        self._forget()

    def _hear(self, event, args):
        if self.watching and event == "open" and str(args[0]).startswith(str(self.place.canaries)):
            self.opened.append(str(args[0]))

    def _forget(self):
        for path in self.canaries:
            os.utime(path, (0, 10**9))  # read long before it was written

    def _read_last(self):
        return [str(path) for path in self.canaries if path.stat().st_atime > 1]

    def call(self, function, path):
        """What it gave, the error it raised or None, how much it took and what it opened."""
        self._forget()
        self.opened.clear()
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts from now
        before = _status("VmRSS")
        found, error = None, None
        self.watching = True
        try:
            found = function(path)
        except BaseException as raised:
            error = raised
        finally:
            self.watching = False
        taken = max(0, _status("VmHWM") - before)
        return found, error, taken, self.opened + (self._read_last() if self.remembers else [])


def _status(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def _causes(error):
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _flips(directory, place, chance):
    """Honest files with a few bits flipped: (family, name, path).

    Not in HDF5: from some of those the C library that parses it never returns.
    """
    import hostile_files
    import numpy as np

    honest = directory / "honest"
    honest.mkdir()
    good = hostile_files.GOOD
    data = {"x_train": good, "y_train": good[:, 0], "x_test": good, "y_test": good[:, 0]}
    np.savez_compressed(honest / "NumPy.npz", kernel=good, **data)
    hostile_files.ticket()(honest / "ticket.npz", place)
    shutil.copy(place.base, honest / "Keras.keras")
    for path in sorted(honest.iterdir()):
        family, suffix = path.name.split(".", 1)
        content = path.read_bytes()
        weights = content.find(b"\x89HDF"), content.find(b"PK\x01\x02")
        places = [n for n in range(len(content)) if not 0 <= weights[0] <= n < weights[1]]
        for n in range(_FLIPPED):
            flipped = bytearray(content)
            for place_of_bit in chance.sample(places, chance.choice((1, 1, 3))):
                flipped[place_of_bit] ^= 1 << chance.randrange(8)
            made = directory / f"{family}-flipped-{n}.{suffix}"
            made.write_bytes(flipped)
            yield family, f"flipped bits {n}", made


def _child(root, seed):
    sys.path.insert(0, str(_TESTS))
    import hostile_files

    from tfinit.errors import InputError

    chance = random.Random(seed)
    place = hostile_files.Place.made(root / "place")
    (root / "files").mkdir()
    files = []
    for n, (family, name, suffix, make) in enumerate(hostile_files.all_kinds()):
        path = root / "files" / f"{n:03d}{suffix}"
        make(path, place)
        files.append((family, name, path))
    flipped = list(_flips(root / "files", place, chance))
    altered = {name for _, name, _ in flipped}  # maybe a bit of a date, or of a number
    harmless = altered | {*hostile_files.NUMPY_HARMLESS, *hostile_files.KERAS_HARMLESS}

    def may_be_read(family, kind, entrance):
        if kind in harmless:
            # But nothing is drawn anew from a file that only the model names.
            return "names" not in kind or entrance not in ("reinitialize", "clone_model")
        # Weights are read without the configuration; what does not fit a model is left alone.
        of_weights = kind.startswith("weights")
        return (family, entrance) == ("HDF5", "pretrained") or (
            (family, entrance) == ("Keras", "Pretrained") and not of_weights
        )

    entrances = _entrances(place)
    with contextlib.suppress(ImportError):
        import torch  # noqa: F401  (of a layer that a configuration names)
    # Once with an honest file, so that what is imported on the way is not counted.
    honest = root / "honest.npz"
    hostile_files.archive(honest, hostile_files.honest(hostile_files.GOOD))
    for entrance in entrances["NumPy"].values():
        entrance(honest)
    for name, entrance in entrances["Keras"].items():
        if name not in ("Pretrained",):
            entrance(place.base)
    resource.setrlimit(resource.RLIMIT_AS, (_status("VmSize") + _ROOM,) * 2)
    watch = _Watch(place)
    seen = {"files": len(files) + len(flipped), "flipped": len(flipped), "faults": []}
    seen |= {"entrances": sum(map(len, entrances.values()))}
    seen |= {"reads": 0, "refused": 0, "read": 0, "most": 0}
    start = time.monotonic()
    work = [(kind, name) for kind in files + flipped for name in entrances[kind[0]]]
    # A flipped bit is the same at every entrance of its family.
    work = [w for w in work if w[0] in files or w[1] == next(iter(entrances[w[0][0]]))]
    chance.shuffle(work)
    for (family, kind, path), name in work:
        found, error, taken, opened = watch.call(entrances[family][name], path)
        seen["reads"] += 1
        seen["refused" if error else "read"] += 1
        seen["most"] = max(seen["most"], taken)
        told = str(error)
        wrong = {
            "was read": error is None and not may_be_read(family, kind, name),
            "raised no InputError": error is not None and not isinstance(error, InputError),
            "said more than a line": error is not None
            and ("\n" in told or not told or len(told) > _LONGEST),
            "ran out of memory": any(isinstance(e, MemoryError) for e in _causes(error)),
            f"took {taken / 2**20:.0f} MiB": taken > _MOST,
            f"opened {opened}": bool(opened),
            "gave a secret away": _leaks([found, told], hostile_files.SECRET),
            "ran code": place.ran.exists(),
        }
        faults = [what for what, so in wrong.items() if so]
        if faults:
            seen["faults"].append(f"{family}, {kind}, {name}: {', '.join(faults)}: {told[:300]!r}")
    seen["seconds"] = time.monotonic() - start
    print(json.dumps(seen))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        _child(Path(sys.argv[2]), int(sys.argv[3]))
    elif len(sys.argv) > 1:
        print(attack(Path(sys.argv[1]), random.Random(0)))
    else:
        with tempfile.TemporaryDirectory() as folder:
            print(attack(Path(folder), random.Random(0)))
