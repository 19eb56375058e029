"""Event files are what TensorBoard reads, and need its package alone."""

import doctest
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tfinit import event_files
from tfinit.errors import InputError, MissingPackage
from tfinit.event_files import EventFile


def read(directory):
    """(tag, step) → the array."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    events = EventAccumulator(str(directory), size_guidance={"tensors": 0}).Reload()
    return {
        (tag, event.step): make_ndarray(event.tensor_proto)
        for tag in events.Tags()["tensors"]
        for event in events.Tensors(tag)
    }


def test_tensorboard_reads_what_was_written_over_several_files(tmp_path):
    pytest.importorskip("tensorboard")
    logs = tmp_path / "new" / "logs"
    with EventFile(logs) as events:
        events.scalar("loss", 0.25, step=1)
        events.scalar("loss", float("nan"), step=2)
        events.histogram("kernel", np.array([[0.0, np.inf], [3.0, np.nan]], "float16"), step=2)
    with EventFile(logs) as later:
        later.scalar("loss", np.float32(4), step=3)
        later.flush()
        found = read(logs)
    assert {key: float(value) for key, value in found.items() if key[0] == "loss"} == pytest.approx(
        {("loss", 1): 0.25, ("loss", 2): np.nan, ("loss", 3): 4.0}, nan_ok=True
    )
    bins = found["kernel", 2]
    assert (bins[0, 0], bins[-1, 1], bins[:, 2].sum(), bins[[0, -1], 2].min()) == (0, 3, 2, 1)
    assert events.path != later.path


def test_tensorflow_is_not_imported(tmp_path):
    pytest.importorskip("tensorboard")
    program = (
        "import sys; from tfinit.event_files import EventFile; events = EventFile(sys.argv[1]); "
        "events.scalar('a', 1.0, 0); events.histogram('b', [1.0, 2.0], 0); events.close(); "
        "sys.exit('tensorflow' in sys.modules)"
    )
    assert not subprocess.run([sys.executable, "-c", program, tmp_path]).returncode


def test_a_directory_that_is_a_file_is_refused(tmp_path):
    pytest.importorskip("tensorboard")
    (tmp_path / "logs").write_text("mine")
    with pytest.raises(InputError, match=r"`log_dir` '.*logs' cannot be written: Not a directory"):
        EventFile(tmp_path / "logs")
    assert (tmp_path / "logs").read_text() == "mine"


@pytest.mark.without_tensorflow
def test_without_tensorboard_it_says_what_to_install(tmp_path):
    if event_files.importlib.util.find_spec("tensorboard"):
        pytest.skip("TensorBoard is installed here")
    with pytest.raises(MissingPackage, match=r"pip install 'tfinit\[tensorboard\]"):
        EventFile(tmp_path / "logs")
    assert not (tmp_path / "logs").exists()


def test_the_example(tmp_path, monkeypatch):
    pytest.importorskip("tensorboard")
    monkeypatch.chdir(tmp_path)
    failed, tried = doctest.testmod(event_files, extraglobs={"np": np, "Path": Path})
    assert (failed, tried > 1) == (0, True)
