"""Try to break tfinit, and print what was seen: scripts/reliability.py [--part kills page]

kills: `tfinit lottery`, stability, initializations, prune, compare and export are killed at random
moments and in the middle of writing files (`_attack_runs`). runs: a second process on a run
directory, a full disk (a small tmpfs, which needs root), flipped bits in its files, a loss that
diverges. files, surface, page: files of an attacker, calls with anything, connections to the page.
After each, a run must end with the bytes of an undisturbed one, and nothing may be worse than an
error of one line.
"""

import argparse
import importlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

COMMANDS = ("lottery", "stability", "initializations", "prune", "compare", "export")
_TFINIT = "from tfinit.cli import main; main()"
ENVIRONMENT = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}


def start_tfinit(run_dir, *flags):
    """A process that works on a small experiment."""
    sizes = {"levels": 2, "steps": 60, "evaluate-every": 20, "seeds": 0, "train-examples": 400}
    given = [word for name, value in sizes.items() for word in (f"--{name}", value)]
    words = ["lottery", *given, "--run-dir", run_dir, *flags]
    return subprocess.Popen(
        [sys.executable, "-c", _TFINIT, *map(str, words)],
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


def check_lock(root):
    """A second process refuses, the first is unharmed. That a killed one holds no lock: above."""
    run_dir = root / "locked"
    first = start_tfinit(run_dir)
    while not (run_dir / "seed-0/ticket/initial.npz").exists():
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
        assert all(line.startswith(("device: ", "seed ")) for line in lines[:-1]), errors
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


def attack_kills(root, chance, asked):
    """Every command that writes."""
    from _attack_runs import check_all_kills

    names = asked.commands or COMMANDS
    print("kills:", check_all_kills(root / "kills", names, asked.kills, chance), flush=True)


def attack_runs(root, chance, asked):
    """A run directory, in all other ways."""
    from _attack_runs import check_bit_flips, check_config_flips

    print("bit flips:", check_bit_flips(root / "flips", chance, passes=3), flush=True)
    print("bit flips:", check_config_flips(root), flush=True)
    print("lock:", check_lock(root), flush=True)
    if can_mount():
        print("disk full:", check_disk_full(root, files(root / "locked")), flush=True)
    else:
        print("disk full: not tried, no tmpfs can be mounted here", flush=True)
    print("divergence:", check_divergence(root), flush=True)


def _of_another_file(part):
    """The attack of `_attack_<part>.py`: (a directory for it, chance) → what was seen."""

    def attack(root, chance, asked):
        module = importlib.import_module(f"_attack_{part}")
        (root / part).mkdir()
        print(f"{part}:", module.attack(root / part, chance), flush=True)

    return attack


PARTS = {
    "kills": attack_kills,
    "runs": attack_runs,
    **{part: _of_another_file(part) for part in ("files", "surface", "page")},
}


def main():
    """All parts, a line for each thing that was tried."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--part", nargs="+", choices=PARTS, default=[*PARTS], help="only these")
    parser.add_argument("--kills", type=int, default=60, help="over all commands")
    parser.add_argument("--commands", nargs="+", choices=COMMANDS, help="kill only these")
    parser.add_argument("--seed", type=int, default=0, help="of all that is drawn")
    asked = parser.parse_args()
    os.environ.update(ENVIRONMENT)
    print(f"seed {asked.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="reliability-") as name:
        # In their order: the first are forks of a process that must have done nothing.
        for part in (part for part in PARTS if part in asked.part):
            began = time.monotonic()
            # Each draws its own: what one part does changes nothing in the next.
            PARTS[part](Path(name), random.Random(f"{asked.seed} {part}"), asked)
            print(f"{part}: {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
