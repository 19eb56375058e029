"""Try to break a lottery experiment, and print what was seen: scripts/reliability.py [kills]

Kills a run at random moments and in the middle of writing files, starts a second process on its
directory, fills its disk (a small tmpfs, which needs root), flips bits in its files and lets its
loss diverge. After each, the run must end with the bytes of an undisturbed one.
"""

import contextlib
import io
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

# The experiment runs with many checkpoints: what they cost is not the question here.
_RUN = """
import sys
from pathlib import Path
from tfinit.lottery import LotteryConfig, run
flags = dict(levels=int(sys.argv[2]), steps=int(sys.argv[3]), rewind_step=5, seeds=(0,))
flags |= dict(model="mlp-2-relu", train_examples=400, evaluate_every=50)
config = LotteryConfig(run_dir=Path(sys.argv[1]), **flags)
run(config, warn=lambda line: print(line, flush=True), checkpoint_every=0.02)
"""
_TFINIT = "from tfinit.cli import main; main()"
ENVIRONMENT = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}


def start(run_dir, levels=2, steps=600):
    """A process that works on the experiment of these checks."""
    return _process(_RUN, run_dir, levels, steps)


def start_tfinit(run_dir, *flags):
    """The same by the command line, smaller and with other flags."""
    sizes = {"levels": 2, "steps": 60, "evaluate-every": 20, "seeds": 0, "train-examples": 400}
    given = [word for name, value in sizes.items() for word in (f"--{name}", value)]
    return _process(_TFINIT, "lottery", *given, "--run-dir", run_dir, *flags)


def _process(code, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )


def ended(process):
    """(exit code, output, errors) of a process that was waited for."""
    output, errors = process.communicate(timeout=600)
    return process.returncode, output, errors


def files(run_dir):
    """Name → content of what a run leaves, but its lock."""
    return {
        str(p.relative_to(run_dir)): p.read_bytes()
        for p in sorted(Path(run_dir).rglob("*"))
        if p.is_file() and p.name != ".lock"
    }


def arrays(content):
    """Name → bytes of the arrays in a file's content."""
    with np.load(io.BytesIO(content)) as members:
        return {name: members[name].tobytes() for name in members.files}


def _asides(run_dir):
    return list(Path(run_dir).rglob(".*.npz.tmp"))


def _times(run_dir):
    """When each file was written, as a set of (name, time)."""
    found = set()
    for path in Path(run_dir).rglob("[!.]*.npz"):
        with contextlib.suppress(FileNotFoundError):  # just removed
            found.add((path, path.stat().st_mtime_ns))
    return found


def kill(run_dir, chance, while_writing, **sizes):
    """Start the run and kill -9 it. Returns what was there, or None if it had ended before."""
    process = start(run_dir, **sizes)
    if while_writing:
        wait = chance.randint(0, 12)  # how many writings to let pass
        while process.poll() is None and wait >= 0:
            time.sleep(0.001)
            if _asides(run_dir):
                wait -= 1
                while wait >= 0 and _asides(run_dir) and process.poll() is None:
                    time.sleep(0.001)
    else:
        # It works once there is a checkpoint, or a result, that was not there before.
        before = _times(run_dir)
        while process.poll() is None and _times(run_dir) <= before:
            time.sleep(0.005)
        time.sleep(chance.uniform(0, 3))
    process.send_signal(signal.SIGKILL)
    _, output, _ = ended(process)
    assert output == "", output  # it found nothing damaged
    if process.returncode == 0:
        return None
    assert process.returncode == -signal.SIGKILL, process.returncode
    return {
        "aside": [p.name for p in _asides(run_dir)],
        "partial": [p.name for p in run_dir.rglob("partial-*.npz")],
        "levels": len(list(run_dir.rglob("level-*.npz"))),
    }


def check_kills(root, whole, kills, chance, **sizes):
    """Kill so often, every second time in the middle of a writing; the same bytes in the end."""
    seen, runs = [], 0
    while len(seen) < kills:
        run_dir, found = root / f"torn-{runs}", {}
        runs += 1
        while found is not None and len(seen) < kills:
            found = kill(run_dir, chance, while_writing=len(seen) % 2 == 0, **sizes)
            if found is not None:
                seen.append(found)
        if found is not None:
            code, output, errors = ended(start(run_dir, **sizes))
            assert (code, output) == (0, ""), (output, errors)  # nothing was damaged
        assert files(run_dir) == whole
    writing = sum(bool(s["aside"]) for s in seen)
    resumed = sum(bool(s["partial"]) for s in seen)
    levels = [s["levels"] for s in seen]
    return (
        f"{len(seen)} × kill -9, {writing} of them in the middle of writing a file, {resumed} with "
        f"a checkpoint to go on from, after {levels} of 5 trainings, over {runs} run(s): free to "
        f"start again each time, same bytes in all {len(whole)} files"
    )


def check_lock(root):
    """A second process refuses, the first is unharmed. That a killed one holds no lock: above."""
    run_dir = root / "locked"
    first = start_tfinit(run_dir)
    while not list(run_dir.rglob("initial.npz")):
        assert first.poll() is None, first.stderr.read()
        time.sleep(0.01)
    first.send_signal(signal.SIGSTOP)  # it works on until the other has looked
    code, output, errors = ended(start_tfinit(run_dir))
    first.send_signal(signal.SIGCONT)
    assert (code, output, errors.strip().count("\n")) == (2, "", 0), (code, output, errors)
    assert f"`run_dir` {run_dir} is in use by another process" in errors, errors
    code, _, said = ended(first)
    assert code == 0, said
    return f"second process: exit 2, {errors.strip()!r}; the first one is unharmed"


def can_mount():
    """Whether a tmpfs can be mounted here."""
    with tempfile.TemporaryDirectory() as place:
        command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", place]
        try:
            mounted = subprocess.run(command, capture_output=True).returncode == 0
        except FileNotFoundError:
            return False
        if mounted:
            subprocess.run(["umount", place], check=True)
    return mounted


def check_disk_full(root, whole, size="700k"):
    """On a small disk: one line, exit 1, what is there is whole; with more room it goes on."""
    disk = root / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", disk], check=True)
    try:
        code, output, errors = ended(start_tfinit(disk / "r"))
        lines = [line for line in errors.splitlines() if line]
        assert code == 1, errors
        assert output == "", output
        assert "No space left on device" in lines[-1], errors
        assert lines[-1].startswith("tfinit: cannot write"), errors
        assert all(line.startswith("seed ") for line in lines[:-1]), errors
        there = files(disk / "r")
        assert 1 < len(there) < len(whole), list(there)
        assert all(whole[name] == content for name, content in there.items())
        subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
        code, _, said = ended(start_tfinit(disk / "r"))
        assert code == 0, said
        assert files(disk / "r") == whole
    finally:
        subprocess.run(["umount", disk], check=True)
    return f"exit 1, {lines[-1]!r}; {len(there)} files intact; with more room: same bytes"


def check_bit_flips(run_dir, chance, passes=1, **sizes):
    """One bit of every file of a finished run. Harmless is what no array can tell."""
    whole = files(run_dir)
    names = [name for name in whole if name.endswith(".npz")]
    noticed = harmless = 0
    for _ in range(passes):
        for name in names:
            content = bytearray(whole[name])
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
            (run_dir / name).write_bytes(content)
        code, output, errors = ended(start(run_dir, **sizes))
        assert code == 0, errors
        said = [name for name in names if f"{run_dir / name} is damaged" in output]
        after = files(run_dir)
        assert after.keys() == whole.keys()
        for name in names:
            if after[name] == whole[name]:
                # The rewind weights come from level 0, which is made again for them.
                why = name.replace("level-00", "rewind")
                assert name in said or why in said, name
                noticed += 1
            else:  # a date, say
                assert name not in said, name
                assert arrays(after[name]) == arrays(whole[name]), name
                harmless += 1
                (run_dir / name).write_bytes(whole[name])
    return (
        f"{passes * len(names)} flipped bits: {noticed} noticed, said and made again to the same "
        f"bytes; {harmless} where no array is (dates and the like)"
    )


def check_divergence(root):
    """Recorded as a result, or an error, as configured."""
    flags = ["--optimizer", "sgd", "--learning-rate", "1e30"]
    code, _, errors = ended(start_tfinit(root / "record", *flags))
    assert code == 0, errors
    assert (root / "record" / "results.csv").read_text().count("\n") == 2
    code, _, errors = ended(start_tfinit(root / "stop", *flags, "--on-divergence", "stop"))
    assert code == 1, errors
    lines = errors.strip().splitlines()
    assert len(lines) == 1, errors
    assert "seed 0, ticket, level 0: the loss is not finite at step" in errors
    return f"recorded: exit 0, in results.csv; stop: exit 1, {lines[0]!r}"


def main():
    """All checks, a line each."""
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    seed = int.from_bytes(os.urandom(4), "big")
    chance = random.Random(seed)
    print(f"seed {seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="reliability-") as name:
        root = Path(name)
        assert ended(start(root / "whole"))[0] == 0
        whole = files(root / "whole")
        print("kill -9:", check_kills(root, whole, kills, chance), flush=True)
        print("lock:", check_lock(root), flush=True)
        if can_mount():
            print("disk full:", check_disk_full(root, files(root / "locked")), flush=True)
        else:
            print("disk full: not tried, no tmpfs can be mounted here", flush=True)
        print("bit flips:", check_bit_flips(root / "whole", chance, passes=3), flush=True)
        print("divergence:", check_divergence(root), flush=True)


if __name__ == "__main__":
    main()
