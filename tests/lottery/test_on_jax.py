"""An experiment on JAX loads no TensorFlow, and is as reproducible as on TensorFlow."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import sys
sys.modules["tensorflow"] = None  # an import of it fails
from tfinit.cli import main
flags = "--steps 30 --evaluate-every 15 --levels 2 --seeds 0 --controls reinit --train-examples 200"
for run in sys.argv[1:]:
    main(["lottery", *flags.split(), "--run-dir", run, "--rewind-step", "5"])
assert sys.modules["tensorflow"] is None
"""


def test_a_lottery_on_jax_runs_whole_without_tensorflow(tmp_path):
    pytest.importorskip("jax")
    runs = [tmp_path / "one", tmp_path / "two"]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, runs)],
        env={**os.environ, "KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "jax" in done.stderr.splitlines()[0]  # device: CPU, 2 cores (jax …)
    one, two = (
        {path.relative_to(run): path.read_bytes() for path in run.rglob("*.npz")} for run in runs
    )
    assert len(one) >= 6
    assert one == two
