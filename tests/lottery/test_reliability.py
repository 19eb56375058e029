"""Killed, locked, on a full disk, with flipped bits: scripts/reliability.py does it more often."""

import importlib.util
import os
import random
from pathlib import Path

import pytest

_FILE = Path(__file__).parents[2] / "scripts" / "reliability.py"
_SPEC = importlib.util.spec_from_file_location("reliability", _FILE)
reliability = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(reliability)
STEPS = 200  # of each training: little to do again


@pytest.fixture
def chance():
    seed = int.from_bytes(os.urandom(4), "big")
    print(f"seed {seed}")
    return random.Random(seed)


def test_killed_at_random_moments_and_in_writing_and_the_same_bytes_in_the_end(tmp_path, chance):
    code, output, errors = reliability.ended(reliability.start(tmp_path / "whole", steps=STEPS))
    assert code == 0, errors
    assert output == ""
    whole = reliability.files(tmp_path / "whole")
    assert len(whole) == 1 + 5 + 2 + 1
    print(reliability.check_kills(tmp_path, whole, 2, chance, steps=STEPS))
    print(reliability.check_bit_flips(tmp_path / "whole", chance, steps=STEPS))


def test_two_processes_and_a_full_disk(tmp_path):
    print(reliability.check_lock(tmp_path))
    if not reliability.can_mount():
        pytest.skip("the disk: a tmpfs cannot be mounted here, which needs root")
    print(reliability.check_disk_full(tmp_path, reliability.files(tmp_path / "locked")))
