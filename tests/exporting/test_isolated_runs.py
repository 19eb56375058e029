"""How a file is compared with Keras, and what a runtime that fails looks like."""

import sys

import numpy as np
import pytest

from tfinit.errors import InputError, WorkError
from tfinit.exporting.accuracy import accuracy, classes_of
from tfinit.exporting.isolated_runs import Job, difference, run_outputs

ONE = [np.ones((1, 4), "f4")]


@pytest.mark.parametrize(
    ("found", "expected", "apart"),
    [
        ([[1.0], [3.0]], [[1.0], [3.0]], 0),
        ([[1.0], [3.5]], [[1.0], [3.0]], 0.5),  # the spread is 1
        ([[101.0], [103.5]], [[101.0], [103.0]], 0.5),  # whatever the level
        ([[1e6], [1e6 + 1]], [[1e6], [1e6]], 1 / 5000),  # all the same: 0.005 of the size
        ([[np.nan], [3.0]], [[1.0], [3.0]], np.inf),
        ([[np.inf], [3.0]], [[np.inf], [3.0]], 0),
        ([[1.0, 3.0]], [[1.0], [3.0]], np.inf),
        ([[1.0]], [[0.0]], np.inf),
    ],
)
def test_difference(found, expected, apart):
    assert difference([np.array(found)], [np.array(expected)]) == pytest.approx(apart)
    assert difference([], [np.array(expected)]) == np.inf


def stand_in(tmp_path, monkeypatch, script):
    """What is run in place of Python: a process that ends as the script says."""
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("kill -SEGV $$", r"it crashes LiteRT \(signal 11, SIGSEGV\)"),
        ("echo 'ValueError: bad model' >&2; echo junk >&2; exit 1", "cannot run it: ValueError: b"),
        ("sleep 9", r"LiteRT did not finish .* within 0.2 seconds. Give it more `timeout`"),
    ],
)
def test_a_runtime_that_dies_fails_or_hangs(tmp_path, monkeypatch, script, message):
    stand_in(tmp_path, monkeypatch, f"exec 2>&1; {script}" if "sleep" in script else script)
    timeout = 0.2 if "sleep" in script else 20
    with pytest.raises(WorkError, match=message):
        run_outputs(Job(tmp_path / "model.tflite", "litert"), ONE, timeout)


@pytest.mark.parametrize(
    "content", [b"", b"\x1c\x00\x00\x00TFL3" + bytes(90)], ids=["empty", "only the name"]
)
def test_what_is_no_model_is_an_error(tmp_path, content):
    (tmp_path / "model.tflite").write_bytes(content)
    with pytest.raises(WorkError, match=r"LiteRT cannot run it: .*Error"):
        run_outputs(Job(tmp_path / "model.tflite", "litert"), ONE, 60)


def test_accuracy_of_classes_one_hot_and_a_single_output():
    outputs = np.array([[2.0, 1.0], [0.0, 5.0], [3.0, 0.0]])
    assert accuracy(outputs, classes_of([0, 1, 1], 3)) == pytest.approx(2 / 3)
    assert accuracy(outputs, classes_of([[1, 0], [0, 1], [0, 1]], 3)) == pytest.approx(2 / 3)
    assert accuracy(np.array([[0.4], [0.9]]), classes_of([[0], [1]], 2)) == 1  # probabilities
    assert accuracy(np.array([[-2.0], [0.3]]), classes_of([0.0, 1.0], 2)) == 1  # logits
    for wrong in ([0.5, 1.0], [0, 1, 2], [[1, 1], [0, 1]]):
        with pytest.raises(InputError, match="`y` must have one class for each of the 2 examples"):
            classes_of(wrong, 2)
