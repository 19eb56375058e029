"""Killed, locked, on a full disk: scripts/reliability.py does it more often, and more."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture
def reliability(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("reliability")


def test_killed_at_random_moments_and_in_writing_and_the_same_bytes_in_the_end(reliability):
    """In a process that has done nothing yet: its runs are forks of it."""
    flags = "--part kills --commands lottery --kills 3 --seed 0"
    done = subprocess.run(
        [sys.executable, SCRIPTS / "reliability.py", *flags.split()],
        env=reliability.ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert "lottery: 3 × killed" in done.stdout
    assert "same bytes in all 10 files" in done.stdout


def test_two_processes_and_a_full_disk(reliability, tmp_path):
    print(reliability.check_lock(tmp_path))
    if not reliability.can_mount():
        pytest.skip("the disk: a tmpfs cannot be mounted here, which needs root")
    print(reliability.check_disk_full(tmp_path, reliability.files(tmp_path / "locked")))
