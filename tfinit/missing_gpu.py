"""Why a GPU is not used: what the system shows, what hides it, and what the framework says.

Only NVIDIA's: those of others are not what the frameworks' wheels are for.
"""

import functools
import os
import re
import subprocess
import sys
from pathlib import Path

from tfinit.backends import FRAMEWORKS

ROOT = Path("/")


def gpus(root: Path = ROOT) -> list[str]:
    """The NVIDIA GPUs that the system shows, by name, whether a framework lists them or not.

    They are looked for in /proc/driver/nvidia, in /dev and, under Windows (WSL), in its /dev/dxg.

    Args:
        root: The folder in which the system's own are.

    Example:
        >>> gpus(Path(tmp))
        []
    """
    names = []
    for about in sorted(root.glob("proc/driver/nvidia/gpus/*/information")):
        try:
            found = re.search(r"^Model:\s*(\S.*?)\s*$", about.read_text(errors="replace"), re.M)
        except OSError:  # of a GPU that this container may not see
            found = None
        names.append(found[1] if found else "NVIDIA GPU")
    files = len(list(root.glob("dev/nvidia[0-9]*")))
    if not files and (root / "dev/dxg").exists():
        files = int((root / "usr/lib/wsl/lib/libcuda.so.1").exists())
    return names + ["NVIDIA GPU"] * (files - len(names))


def hidden_by(framework: str) -> str:
    """The setting of the environment by which all GPUs are hidden; empty if there is none."""
    cuda = os.environ.get("CUDA_VISIBLE_DEVICES")
    # Hidden are all from the first on that names no GPU.
    if cuda is not None and not re.match(r"\s*(\d|GPU-|MIG-)", cuda):
        return f"CUDA_VISIBLE_DEVICES={cuda!r}"
    name = {"jax": "JAX_PLATFORMS", "torch": "KERAS_TORCH_DEVICE"}.get(framework, "")
    value = os.environ.get(name, "")
    return f"{name}={value!r}" if value.split(",")[0].strip() == "cpu" else ""


def why_none(framework: str, root: Path = ROOT) -> str:
    """Why a framework lists no GPU, and what to do: sentences, in one line.

    Args:
        framework: One of `tfinit.backends.FRAMEWORKS`, or another backend of Keras.
        root: The folder in which the system's own are.
    """
    if framework not in FRAMEWORKS:
        return f"Keras's backend {framework!r} uses none: set KERAS_BACKEND=tensorflow."
    who = FRAMEWORKS[framework]
    if hidden := hidden_by(framework):
        return f"{hidden} hides all GPUs from {who}. Unset it."
    names = gpus(root)
    if not names:
        return (
            "no NVIDIA GPU is to be seen here, neither in /dev nor in /proc/driver/nvidia. In a "
            "container, start it with `--gpus all`; else leave it to the CPU with --device cpu."
        )
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    told = f"{who} does not list the GPU that is there, {names[0]}{more}"
    if not any(root.glob("dev/nvidia[0-9]*")) and not (root / "dev/dxg").exists():
        return (
            f"{told}: the driver shows it, but its device file /dev/nvidia0 is not here. In a "
            "container, start it with `--gpus all` (NVIDIA Container Toolkit)."
        )
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        told += f", by CUDA_VISIBLE_DEVICES={os.environ['CUDA_VISIBLE_DEVICES']!r}"
    reasons = complaints(framework)
    said = f". {who} says: {'; '.join(reasons)}" if reasons else ""
    return f"{told}{said}. {cure(framework, reasons)}"


_CURES = {
    "tensorflow": "Install the CUDA libraries that it wants: pip install 'tfinit[gpu]'.",
    "jax": "Install it with CUDA: pip install 'jax[cuda13]'; for an older driver 'jax[cuda12]'.",
    "torch": "Install a PyTorch that is built for CUDA.",
}
_OF_THE_DRIVER = re.compile(r"libcuda\.so|cuInit|NVIDIA driver|driver version")


def cure(framework: str, reasons: tuple[str, ...]) -> str:
    """What to do about what a framework says, as `complaints` gives it."""
    said = " ".join(reasons)
    if _OF_THE_DRIVER.search(said):
        return (
            "NVIDIA's driver is missing or too old: install it; in a container, start that with "
            "`--gpus all`."
        )
    if framework != "tensorflow":
        return _CURES[framework]
    if any(Path(folder, "nvidia/cudnn/lib").is_dir() for folder in sys.path):
        return (
            "Its CUDA libraries are installed, but it looks for some of them elsewhere: name their "
            "folders, nvidia/*/lib, to ldconfig, as docker/Dockerfile does."
        )
    images = "libcudnn" in said
    more = " TensorFlow's own GPU images carry cuDNN 8, and since 2.18 it wants 9."
    return _CURES[framework] + (more if images else "")


# Lets a framework look for GPUs. What it does not say itself is printed.
_LOOK = {
    "tensorflow": """
import tensorflow as tf
tf.config.list_physical_devices("GPU")
if not tf.test.is_built_with_cuda():
    raise SystemExit("this TensorFlow is not built with CUDA")
""",
    "jax": "import jax; jax.devices()",
    "torch": "import torch; torch.cuda.init()",
}
# TensorFlow names the libraries that it misses only where it logs most (tensorflow#66987).
_LOUD = {"TF_CPP_MIN_LOG_LEVEL": "0", "TF_CPP_VMODULE": "dso_loader=1"}
_SECONDS = 120


@functools.cache
def complaints(framework: str) -> tuple[str, ...]:
    """Why a framework lists no GPU, in its own words: see `relevant`.

    It is asked in a process of its own: in this one it has looked already, with its log off.
    """
    try:
        asked = subprocess.run(
            [sys.executable, "-c", _LOOK[framework]],
            env={**os.environ, **_LOUD},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return relevant(asked.stderr)


_RELEVANT = re.compile(
    r"Could not load dynamic library '[^']+'"
    r"|failed call to cuInit: .*"
    r"|Could not find cuda drivers[^,]*"
    r"|Unable to load \w+\. Is it installed"
    r"|Found \w+ version \S+, but JAX was built against version [^,]*"
    r"|(?:CUDA backend failed to initialize|Unable to initialize backend '(?:cuda|gpu)'): "
    r"(?:[^.(]|\.(?=\d)){,160}"
    r"|a CUDA-enabled jaxlib is not installed"
    r"|CUDA_ERROR_\w+"
    r"|Found no NVIDIA driver[^.]*|The NVIDIA driver on your system is too old"
    r"|[Tt]orch not compiled with CUDA enabled|this TensorFlow is not built with CUDA"
)
_VAGUE = "Could not find cuda drivers"  # said of a missing libcudart too, driver or not
_MOST = 3


def relevant(log: str) -> tuple[str, ...]:
    """What the log of a framework says of GPUs that it cannot use: each thing once, three at most.

    Example:
        >>> relevant("I0000 1 dso_loader.cc:144] Could not load dynamic library 'libcudnn.so.9'; x")
        ("Could not load dynamic library 'libcudnn.so.9'",)
    """
    found = [match[0].strip() for line in log.splitlines() if (match := _RELEVANT.search(line))]
    precise = [line for line in found if not line.startswith(_VAGUE)]
    return tuple(dict.fromkeys(precise or found))[:_MOST]
