"""Try to break tfinit, and print what was seen: scripts/reliability.py [--part kills page]

kills: `tfinit lottery`, stability, initializations, prune, compare and export are killed at random
moments and in the middle of writing files (`_attack_runs`). locks: a second process on a run
directory, a full disk (a small tmpfs, which needs root). runs: flipped bits in its files, a loss
that diverges. files, surface, page: files of an attacker, calls with anything, connections to the
page. After each, a run must end with the bytes of an undisturbed one, and nothing may be worse than
an error of one line.
"""

import argparse
import importlib
import os
import random
import tempfile
import time
from pathlib import Path

COMMANDS = ("lottery", "stability", "initializations", "prune", "compare", "export")
ENVIRONMENT = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}


def attack_kills(root, chance, asked):
    """Every command that writes."""
    from _attack_runs import check_all_kills

    names = asked.commands or COMMANDS
    print("kills:", check_all_kills(root / "kills", names, asked.kills, chance), flush=True)


def attack_locks(root, chance, asked):
    """A run directory that another process works on, and one on a full disk."""
    from _attack_locks import can_mount, check_disk_full, check_lock
    from _attack_runs import contents

    print("lock:", check_lock(root), flush=True)
    if can_mount():
        print("disk full:", check_disk_full(root, contents(root / "locked")), flush=True)
    else:
        print("disk full: not tried, no tmpfs can be mounted here", flush=True)


def attack_runs(root, chance, asked):
    """A run directory, in all other ways."""
    from _attack_locks import check_divergence
    from _attack_runs import check_bit_flips, check_config_flips

    print("bit flips:", check_bit_flips(root / "flips", chance, passes=3), flush=True)
    print("bit flips:", check_config_flips(root), flush=True)
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
    "locks": attack_locks,
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
