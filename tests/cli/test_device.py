"""``--device``, of every command that computes, and the line that says what trains."""

import dataclasses
import importlib
import io
import json
import logging
import os
import pkgutil
import sys

import pytest
import tensorflow as tf

import tfinit.cli
from tfinit.cli import main
from tfinit.cli.device import prepare

COMMANDS = {
    name: command
    for module in pkgutil.iter_modules(tfinit.cli.__path__)
    for name, command in getattr(
        importlib.import_module(f"tfinit.cli.{module.name}"), "COMMANDS", {}
    ).items()
}
# It writes and runs files for other devices.
WITHOUT = {"export"}
NEEDED = {
    "diagnose": ["missing.keras"],
    "initialize": ["missing.keras", "he"],
    "recommend": ["missing.keras"],
    "prune": ["missing.keras"],
    "sweep": ["../sweep.toml"],
}

without_gpu = pytest.mark.skipif(
    bool(tf.config.list_physical_devices("GPU")), reason="TensorFlow has a GPU here"
)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working directory; what hides GPUs is as it was after the test."""
    (tmp_path / "sweep.toml").write_text("[sweep]\nsteps = [1]\n")
    directory = tmp_path / "here"
    directory.mkdir()
    monkeypatch.chdir(directory)
    for name in ("CUDA_VISIBLE_DEVICES", "KERAS_TORCH_DEVICE"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return directory


def test_every_command_is_looked_at():
    assert {"lottery", "initializations", "stability", "compare", "prune", "demo"} < set(COMMANDS)


@without_gpu
@pytest.mark.parametrize("name", sorted(set(COMMANDS) - WITHOUT))
def test_a_gpu_that_is_not_there_is_one_line_before_anything_else(here, capfd, name):
    for device, words in {"gpu": "--device 'gpu': ", "tpu": "one of auto, cpu, gpu"}.items():
        with pytest.raises(SystemExit) as stopped:
            main([name, *NEEDED.get(name, []), "--device", device])
        out, err = capfd.readouterr()
        assert (stopped.value.code, out, err.count("\n")) == (2, "", 1), err
        assert err.startswith("tfinit: --device") and words in err
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - WITHOUT))
def test_the_device_is_no_part_of_what_an_experiment_is(name):
    """Two runs on two devices are the same experiment: see `tfinit.origin`."""
    command = COMMANDS[name]
    assert "device" in {field.name for field in dataclasses.fields(command)}
    for base in command.__mro__:
        if base.__module__.endswith("config") and dataclasses.is_dataclass(base):
            assert "device" not in {field.name for field in dataclasses.fields(base)}


@without_gpu
def test_the_cpu_can_be_asked_for_and_is_said_and_written(here, capfd):
    flags = ["--model", "mlp-2-relu", "--steps", "10", "--batch-size", "20", "--seeds", "0"]
    main(["compare", *flags, "--schemes", "he", "small", "--json", "--device", "cpu"])
    out, err = capfd.readouterr()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    cpu = f"CPU, {cores} core{'s' if cores > 1 else ''} (tensorflow {tf.__version__})"
    assert json.loads(out)["device"] == cpu
    assert err.splitlines()[0] == f"device: {cpu}"
    assert err.count("device:") == 1
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "-1"


@pytest.mark.parametrize("name", ["lottery", "initializations", "stability", "compare"])
def test_threads_that_can_no_longer_be_set_are_one_line_before_anything_else(here, capfd, name):
    tf.zeros(())  # from now on TensorFlow keeps its threads
    with pytest.raises(SystemExit) as stopped:
        main([name, "--threads", "3"])
    out, err = capfd.readouterr()
    assert (stopped.value.code, out, err.count("\n")) == (2, "", 1), err
    assert err.startswith("tfinit: --threads 3: TensorFlow computes in this process with")
    assert list(here.iterdir()) == []


def test_lines_are_said_once_and_above_a_bar(here, monkeypatch):
    """A bar that is drawn puts something in the place of stderr."""
    prepare()
    log = logging.getLogger("tfinit.devices")
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    for _ in range(2):
        log.info("device: %s", "a GPU")
        log.warning("no GPU")
    log.debug("more")
    assert sys.stderr.getvalue() == "device: a GPU\ntfinit: no GPU\n"


def test_memory_of_a_gpu_is_taken_as_it_is_needed_unless_said_otherwise(here, monkeypatch):
    monkeypatch.setenv("TF_FORCE_GPU_ALLOW_GROWTH", "false")
    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "")
    monkeypatch.delenv("XLA_PYTHON_CLIENT_PREALLOCATE")
    prepare()
    assert os.environ["TF_FORCE_GPU_ALLOW_GROWTH"] == "false"
    assert os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] == "false"
