"""What trains is said. Machines with GPUs are folders here, laid out as theirs."""

import doctest
import os
import re
import subprocess
import sys

import pytest
import tensorflow as tf

from tfinit import devices, missing_gpu
from tfinit.devices import Device, choose, in_use, unlisted
from tfinit.errors import InputError

without_gpu = pytest.mark.skipif(
    bool(tf.config.list_physical_devices("GPU")), reason="TensorFlow has a GPU here"
)
H100 = "Model: \t\t NVIDIA H100 80GB HBM3\nIRQ:   \t\t 36\nGPU UUID: \t GPU-4d3d\n"


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """The settings that hide GPUs are as they were, after what sets them too."""
    for name in ("CUDA_VISIBLE_DEVICES", "KERAS_TORCH_DEVICE", "JAX_PLATFORMS"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return monkeypatch


@pytest.fixture
def machine(tmp_path):
    """Lays out a machine's /proc and /dev: drivers' files about GPUs, and device files."""

    def lay_out(about=(), files=()):
        for n, text in enumerate(about):
            folder = tmp_path / f"proc/driver/nvidia/gpus/0000:{n:02d}:00.0"
            folder.mkdir(parents=True)
            (folder / "information").write_text(text)
        for name in files:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        return tmp_path

    return lay_out


@pytest.mark.parametrize(
    ("device", "text", "model"),
    [
        (("CPU", "2 cores", "jax 0.10"), "CPU, 2 cores (jax 0.10)", "CPU, 2 cores"),
        (("GPU", "H100", "jax 0.10"), "GPU 0, H100 (jax 0.10)", "GPU, H100"),
        (("GPU", "", "torch 2"), "GPU 0 (torch 2)", "GPU"),
        (("GPU", "H100", "jax", 2, 1), "GPU 2, H100 (jax); 1 other is idle", "GPU, H100"),
        (("TPU", "TPU v4", "jax", 0, 3), "TPU 0, TPU v4 (jax); 3 others are idle", "TPU, TPU v4"),
    ],
)
def test_a_device_in_words(device, text, model):
    assert (str(Device(*device)), Device(*device).model) == (text, model)


@without_gpu
def test_the_cpu_has_the_cores_that_this_process_may_use(environment):
    environment.setattr(os, "sched_getaffinity", lambda process: {0, 3, 7}, raising=False)
    for name in ("tensorflow", "tf_keras", "keras"):
        assert in_use(name) == Device("CPU", "3 cores", f"tensorflow {tf.__version__}")


@pytest.mark.parametrize(
    ("about", "files", "names"),
    [
        ((), (), []),
        ((), ("dev/nvidiactl", "dev/nvidia-uvm", "dev/null"), []),
        ((H100,), ("dev/nvidia0", "dev/nvidiactl"), ["NVIDIA H100 80GB HBM3"]),
        ((H100, "no model"), (), ["NVIDIA H100 80GB HBM3", "NVIDIA GPU"]),
        ((), ("dev/nvidia0", "dev/nvidia1"), ["NVIDIA GPU", "NVIDIA GPU"]),
        ((), ("dev/dxg",), []),  # Windows, without NVIDIA's driver
        ((), ("dev/dxg", "usr/lib/wsl/lib/libcuda.so.1"), ["NVIDIA GPU"]),
    ],
)
def test_gpus_are_those_that_the_system_shows(machine, about, files, names):
    assert missing_gpu.gpus(machine(about, files)) == names


@without_gpu
def test_a_driver_without_device_file_is_a_container_without_its_gpu(machine):
    told = unlisted("tensorflow", machine([H100, H100]))
    assert "NVIDIA H100 80GB HBM3 and 1 more" in told and "`--gpus all`" in told
    assert "/dev/nvidia0" in told and "--device cpu" in told and "\n" not in told


@without_gpu
def test_what_tensorflow_says_itself_is_told_with_a_cure(machine):
    """TensorFlow is asked in earnest: here it misses what it would need for a GPU."""
    told = unlisted("tensorflow", machine([H100], ["dev/nvidia0"]))
    assert "TensorFlow does not list the GPU that is there, NVIDIA H100 80GB HBM3." in told
    said = re.search(r"TensorFlow says: (.+?)\. [A-Z]", told)[1]
    assert re.search(r"lib\w+\.so|cuInit|not built with CUDA", said)
    assert "install" in told.lower().split(said.lower())[1] and "\n" not in told


@without_gpu
@pytest.mark.parametrize("value", ["", "-1", "-1,0", "none", "NoDevFiles"])
def test_who_hides_gpus_is_not_warned(machine, environment, value):
    root = machine([H100])
    assert unlisted("tensorflow", root)
    environment.setenv("CUDA_VISIBLE_DEVICES", value)
    assert unlisted("tensorflow", root) == ""
    with pytest.raises(InputError, match=f"`device` 'gpu': CUDA_VISIBLE_DEVICES='{value}' hides"):
        choose("gpu", "tensorflow")


@pytest.mark.parametrize("value", ["0", "1,2", " 3", "GPU-4d3d", "MIG-4d3d"])
def test_who_names_gpus_hides_none(environment, value):
    environment.setenv("CUDA_VISIBLE_DEVICES", value)
    assert missing_gpu.hidden_by("tensorflow") == ""


@pytest.mark.parametrize(
    ("framework", "name", "value", "hidden"),
    [
        ("jax", "JAX_PLATFORMS", "cpu", True),
        ("jax", "JAX_PLATFORMS", "cuda,cpu", False),
        ("torch", "KERAS_TORCH_DEVICE", "cpu", True),
        ("torch", "KERAS_TORCH_DEVICE", "cuda:1", False),
        ("tensorflow", "JAX_PLATFORMS", "cpu", False),
    ],
)
def test_other_settings_hide_gpus_from_their_own_framework(
    environment, framework, name, value, hidden
):
    environment.setenv(name, value)
    assert missing_gpu.hidden_by(framework) == (f"{name}={value!r}" if hidden else "")


@without_gpu
def test_a_platform_that_jax_does_not_find_is_told_and_the_cpu_can_be_chosen():
    """Of "cuda", where it sees no GPU, JAX says nothing but AssertionError."""
    code = """
import tfinit.devices as d
try:
    d.in_use("jax")
except d.InputError as error:
    print(error)
print(d.choose("cpu", "jax").kind)
"""
    environment = {**os.environ, "JAX_PLATFORMS": "cuda"}
    asked = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    said, chosen = asked.stdout.splitlines()
    assert said.startswith("JAX finds no device: ") and "JAX_PLATFORMS=" in said
    assert chosen == "CPU"


@without_gpu
def test_the_cpu_that_was_chosen_is_no_fault(machine):
    root = machine([H100])
    assert choose("cpu") == in_use()
    assert unlisted(root=root) == ""
    # And what this process starts has none either.
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "-1"


def test_no_gpu_at_all_is_one_line(tmp_path):
    told = missing_gpu.why_none("tensorflow", tmp_path)
    assert told.startswith("no NVIDIA GPU is to be seen here") and "`--gpus all`" in told
    assert "\n" not in told
    assert "KERAS_BACKEND=tensorflow" in missing_gpu.why_none("numpy", tmp_path)


def test_other_words_are_refused():
    with pytest.raises(InputError, match="`device` must be one of auto, cpu, gpu, received 'tpu'"):
        choose("tpu")
    with pytest.raises(InputError, match=r"`framework` must be one of .*jax.*, received 'cuda'"):
        in_use("cuda")


# What frameworks write, as their issues have it.
CUDART = "I0000 00:00:1.4 3 cudart_stub.cc:31] Could not find cuda drivers on your machine, GPU …"
CUDNN = (
    "I0000 00:00:1.5 3 dso_loader.cc:144] Could not load dynamic library 'libcudnn.so.9'; dlerror: "
    "libcudnn.so.9: cannot open shared object file: No such file or directory; LD_LIBRARY_PATH: …\n"
    "W0000 00:00:1.6 3 gpu_device.cc:2344] Cannot dlopen some GPU libraries. Please make sure the …"
)
DRIVER = (
    "I0000 00:00:1.5 3 dso_loader.cc:144] Could not load dynamic library 'libcuda.so.1'; dlerror…\n"
    "E0000 00:00:1.5 3 cuda_platform.cc:52] failed call to cuInit: INTERNAL: CUDA error: UNKNOWN"
)
JAX = (
    "WARNING:2025-05-27 20:22:28,949:jax._src.xla_bridge:791: An NVIDIA GPU may be present on this "
    "machine, but a CUDA-enabled jaxlib is not installed. Falling back to cpu."
)
CUSOLVER = (
    "WARNING:jax._src.xla_bridge:CUDA backend failed to initialize: Found cuSOLVER version 11.0.2, "
    "but JAX was built against version 11.4.1, which is newer. (Set TF_CPP_MIN_LOG_LEVEL=0 …)"
)
TORCH = "AssertionError: Torch not compiled with CUDA enabled"
OLD = "RuntimeError: The NVIDIA driver on your system is too old (found version 11040). Please …"
LIBRARY = "Could not load dynamic library "


@pytest.mark.parametrize(
    ("framework", "log", "said", "cure"),
    [
        ("tensorflow", CUDART, ["Could not find cuda drivers on your machine"], "tfinit[gpu]"),
        ("tensorflow", f"{CUDART}\n{CUDNN}\n{CUDNN}", [f"{LIBRARY}'libcudnn.so.9'"], "cuDNN 8"),
        (
            "tensorflow",
            f"{CUDART}\n{DRIVER}",
            [f"{LIBRARY}'libcuda.so.1'", "failed call to cuInit: INTERNAL: CUDA error: UNKNOWN"],
            "NVIDIA's driver is missing or too old",
        ),
        ("tensorflow", "I0000 00:00:1.2 3 port.cc:153] oneDNN custom …", [], "tfinit[gpu]"),
        ("jax", JAX, ["a CUDA-enabled jaxlib is not installed"], "jax[cuda13]"),
        (
            "jax",
            CUSOLVER,
            [
                "CUDA backend failed to initialize: Found cuSOLVER version 11.0.2, but JAX was "
                "built against version 11.4.1, which is newer"
            ],
            "jax[cuda13]",
        ),
        ("torch", TORCH, ["Torch not compiled with CUDA enabled"], "built for CUDA"),
        ("torch", OLD, ["The NVIDIA driver on your system is too old"], "driver is missing or too"),
    ],
)
def test_what_of_a_log_is_about_the_gpu(framework, log, said, cure):
    found = missing_gpu.relevant(log)
    assert list(found) == said
    assert cure in missing_gpu.cure(framework, found)


def test_cuda_that_is_installed_and_not_found_needs_ldconfig(environment, tmp_path):
    (tmp_path / "nvidia/cudnn/lib").mkdir(parents=True)
    environment.syspath_prepend(str(tmp_path))
    cure = missing_gpu.cure("tensorflow", ("Could not load dynamic library 'libcudnn.so.9'",))
    assert "ldconfig" in cure and "pip install" not in cure


def test_examples_of_the_docstrings(tmp_path):
    for module in (devices, missing_gpu):
        names = {**vars(module), "tmp": str(tmp_path)}
        failed, tried = doctest.testmod(module, globs=names)
        assert (failed, tried > 1) == (0, True)
