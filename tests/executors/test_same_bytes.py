"""An experiment has the same files, byte for byte, whoever trains its networks."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="needs tfinit[scale]")

SCRIPT = Path(__file__).parents[1] / "shared" / "serial_and_workers.py"


def test_with_workers_and_without(tmp_path):
    # Files of the directory, each training among them. The script has more experiments, and longer.
    least = {"own": 16, "stability": 20, "race": 4}
    # Ray's processes would give way to all others, which are busy here for as long as this waits.
    here = {"PYTHONPATH": str(Path(__file__).parents[2]), "RAY_worker_niceness": "0"}
    environment = {**os.environ, **here}
    done = subprocess.run(
        [sys.executable, SCRIPT, tmp_path, *least], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found.keys() == least.keys()
    for name, files in least.items():
        assert found[name]["differing"] == [], name
        assert found[name]["same results"], name
        assert found[name]["files"] >= files, found[name]["files"]
