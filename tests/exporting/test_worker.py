"""The process that runs a file ends with the one that started it, and by nothing else."""

import os
import signal
import subprocess
import sys
import time

import pytest

PARENT = """
import subprocess, sys
worker = subprocess.Popen([sys.executable, "-m", "tfinit.exporting.worker", sys.argv[1]])
print(worker.pid, flush=True)
worker.wait()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of this")
def test_a_worker_leaves_signals_to_its_parent_and_ends_as_that_does(tmp_path):
    job = tmp_path / "job.json"
    os.mkfifo(job)  # to open it waits, as a long job would
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, job], stdout=subprocess.PIPE, text=True
    ) as parent:
        worker = int(parent.stdout.readline())
        try:
            with job.open("w"):  # when it has opened it too, it is at work
                for asked in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                    os.kill(worker, asked)
                time.sleep(0.1)
                assert parent.poll() is None
                parent.kill()
                parent.wait()
                wait_until_gone(worker)
        finally:
            parent.kill()


def wait_until_gone(process, seconds=20):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            with open(f"/proc/{process}/stat") as file:
                state = file.read().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return
        if state == "Z":  # and nobody has asked yet how it ended
            return
        time.sleep(0.01)
    raise AssertionError(f"process {process} goes on")
