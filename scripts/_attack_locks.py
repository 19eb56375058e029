"""A run directory that another process works on, on a full disk, or whose loss diverges."""

import signal
import subprocess
import tempfile
import time
from pathlib import Path

from _attack_runs import Run, contents, import_all, tfinit


def _small(home: Path, *flags: str) -> Run:
    """`tfinit lottery` on a small experiment."""
    sizes = {"levels": 2, "steps": 60, "evaluate-every": 20, "seeds": 0, "train-examples": 400}
    words = [word for name, value in sizes.items() for word in (f"--{name}", value)]
    return Run(lambda home, _: tfinit("lottery", *words, "--run-dir", home, *flags), home, home)


def check_lock(root: Path) -> str:
    """A second process refuses, the first is unharmed. A killed one holds none: by kills."""
    import_all()
    first = _small(root / "locked")
    while not (root / "locked/seed-0/ticket/initial.npz").exists():
        assert not first.ended(), first.output()
        time.sleep(0.01)
    first.send(signal.SIGSTOP)  # it works on until the other has looked
    second = _small(root / "locked")
    code, said = second.wait(), second.output().strip()
    first.send(signal.SIGCONT)
    assert (code, said.count("\n")) == (2, 0), (code, said)
    assert f"--run-dir {root / 'locked'} is in use by another process" in said, said
    assert first.wait() == 0, first.output()
    return f"second process: exit 2, {said!r}; the first one is unharmed"


def can_mount() -> bool:
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


def check_disk_full(root: Path, whole: dict[str, object], size: str = "700k") -> str:
    """On a small disk: one line, exit 1, what is there is whole; with more room it goes on."""
    disk = root / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", disk], check=True)
    try:
        run = _small(disk / "r")
        code, said = run.wait(), run.output()
        lines = [line for line in said.splitlines() if line]
        assert code == 1, said
        assert "No space left on device" in lines[-1], said
        assert lines[-1].startswith("tfinit: cannot write"), said
        assert all(line.startswith(("device: ", "seed ")) for line in lines[:-1]), said
        there = contents(disk / "r")
        assert 1 < len(there) < len(whole), list(there)
        assert all(whole[name] == content for name, content in there.items())
        subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
        again = _small(disk / "r")
        assert again.wait() == 0, again.output()
        assert contents(disk / "r") == whole
    finally:
        subprocess.run(["umount", disk], check=True)
    return f"exit 1, {lines[-1]!r}; {len(there)} files intact; with more room: same bytes"


def check_divergence(root: Path) -> str:
    """Recorded as a result, or an error, as configured."""
    import_all()
    flags = ("--optimizer", "sgd", "--learning-rate", "1e30")
    recorded = _small(root / "record", *flags)
    assert recorded.wait() == 0, recorded.output()
    assert (root / "record" / "results.csv").read_text().count("\n") == 2
    stopped = _small(root / "stop", *flags, "--on-divergence", "stop")
    assert stopped.wait() == 1, stopped.output()
    last = stopped.output().strip().splitlines()[-1]
    assert "seed 0, ticket, level 0: the loss is not finite at step" in last, stopped.output()
    return f"recorded: exit 0, in results.csv; stop: exit 1, {last!r}"
