"""Killed, locked, on a full disk: scripts/reliability.py does it more often, and more."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture(scope="module")
def seen():
    """What a process says that has done nothing yet: its runs are forks of it."""
    flags = "--part kills locks --commands lottery --kills 3 --seed 0"
    done = subprocess.run(
        [sys.executable, SCRIPTS / "reliability.py", *flags.split()],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_killed_at_random_moments_and_in_writing_and_the_same_bytes_in_the_end(seen):
    assert "lottery: 3 × killed" in seen
    assert "same bytes in all 10 files" in seen


def test_two_processes(seen):
    assert "lock: second process: exit 2" in seen
    assert "the first one is unharmed" in seen


def test_a_full_disk(seen):
    if "disk full: not tried" in seen:
        pytest.skip("a tmpfs cannot be mounted here, which needs root")
    assert "disk full: exit 1, 'tfinit: cannot write" in seen
    assert "with more room: same bytes" in seen
