"""`tfinit.devices` on every backend of Keras, also where no TensorFlow is installed."""

import logging
from importlib.metadata import version

import keras
import pytest

from tfinit.devices import announce, choose, in_use, unlisted
from tfinit.errors import InputError

pytestmark = pytest.mark.backends
NAMES = {"tensorflow": "TensorFlow", "jax": "JAX", "torch": "PyTorch"}


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in ("CUDA_VISIBLE_DEVICES", "KERAS_TORCH_DEVICE"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)


def test_the_device_is_that_of_the_backend(caplog):
    backend = keras.backend.backend()
    device = in_use()
    name, number = device.framework.split()
    assert name == backend and version(backend).startswith(number.split("+")[0])
    assert device == in_use(backend) == choose("auto")
    with caplog.at_level(logging.INFO, "tfinit.devices"):
        assert announce() == device
    assert f"device: {device}" in caplog.messages


@pytest.mark.parametrize("framework", NAMES)
def test_any_framework_can_be_asked_whatever_keras_is_on(framework):
    pytest.importorskip(framework)
    device = in_use(framework)
    assert device.framework.startswith(f"{framework} ")
    assert device.kind in ("CPU", "GPU", "TPU") and device.name


def test_without_a_gpu_it_says_why_and_the_cpu_can_be_chosen(tmp_path):
    if in_use().kind != "CPU":
        pytest.skip("there is one, and it is in use")
    # The driver's file about a GPU, without its device: a container that was not given it.
    about = tmp_path / "proc/driver/nvidia/gpus/0000:01:00.0/information"
    about.parent.mkdir(parents=True)
    about.write_text("Model: \t\t NVIDIA L4\n")
    who = NAMES[keras.backend.backend()]
    assert f"{who} does not list the GPU that is there, NVIDIA L4" in unlisted(root=tmp_path)
    assert choose("cpu") == in_use()
    assert unlisted(root=tmp_path) == ""
    with pytest.raises(InputError, match=f"CUDA_VISIBLE_DEVICES='-1' hides all GPUs from {who}"):
        choose("gpu")
