"""Acceptance 33: killed at random moments and started again, a run ends with the same bits."""

import os
import random
import signal
import subprocess
import sys
import time

FLAGS = "lottery --levels 3 --steps 150 --evaluate-every 50 --seeds 0 4"
TRAININGS = 14


def start(run_dir):
    command = [sys.executable, "-c", "from tfinit.cli import main; main()"]
    return subprocess.Popen(
        [*command, *FLAGS.split(), "--run-dir", str(run_dir)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that runs the tests in the background ignores Ctrl-C, and so would the child.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def arrays(run_dir):
    return {str(p.relative_to(run_dir)): p.read_bytes() for p in run_dir.rglob("*.npz")}


def reports(run_dir):
    return {name: (run_dir / name).read_bytes() for name in ("results.csv", "evaluations.csv")}


def test_kill_9_at_five_random_moments_and_the_same_bits_in_the_end(tmp_path):
    undisturbed = start(tmp_path / "whole")
    output, errors = undisturbed.communicate(timeout=300)
    assert undisturbed.returncode == 0, errors
    whole = arrays(tmp_path / "whole")
    assert len(whole) == TRAININGS + 4  # and the initial weights of two branches of two seeds

    chance = random.Random(os.urandom(8))
    for kill in range(5):
        process = start(tmp_path / "torn")
        for _ in range(chance.randint(1 + 2 * kill, 2 + 2 * kill)):
            assert process.stderr.readline().startswith("seed ")
        time.sleep(chance.uniform(0, 0.3))  # into the next training, or its writing
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert 0 < len(arrays(tmp_path / "torn")) < len(whole)
    last = start(tmp_path / "torn")
    output_again, errors = last.communicate(timeout=300)
    assert last.returncode == 0, errors
    assert "damaged" not in errors

    # The files hold masks, weights and metrics, and nothing else: no date, no duration.
    assert arrays(tmp_path / "torn") == whole
    assert reports(tmp_path / "torn") == reports(tmp_path / "whole")
    assert output_again.replace("torn", "whole") == output


def test_ctrl_c_says_how_to_go_on(tmp_path):
    process = start(tmp_path / "r")
    assert process.stderr.readline().startswith("seed 0 level  0 ticket")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    last = errors.strip().splitlines()[-1]
    assert last == "tfinit: interrupted. Start the same command again to go on where it was."
    assert "Traceback" not in errors
