"""Whether the CUDA libraries of the installed wheels load by their names alone; no GPU is needed.

    docker run --rm tfinit check_cuda_libraries.py

A framework that misses one of these has no GPU at all, and says so in a log that few read. Prints
where each was loaded from; exit code 1 if one was not, 2 if no such wheels are installed.
"""

import argparse
import ctypes
import subprocess
import sys
from importlib import metadata
from pathlib import Path

# Wheels of one version of CUDA: the one that tells it from others, and what the framework opens.
CUDA_12 = (
    *("libcudart.so.12", "libcublas.so.12", "libcublasLt.so.12", "libcufft.so.11"),
    *("libcurand.so.10", "libcusolver.so.11", "libcusparse.so.12", "libcudnn.so.9"),
    *("libnccl.so.2", "libcupti.so.12", "libnvrtc.so.12", "libnvJitLink.so.12"),
)
CUDA_13 = (
    *("libcudart.so.13", "libcublas.so.13", "libcublasLt.so.13", "libcufft.so.12"),
    *("libcusolver.so.12", "libcusparse.so.12", "libcudnn.so.9", "libnccl.so.2"),
    *("libcupti.so.13", "libnvrtc.so.13", "libnvJitLink.so.13", "libnvshmem_host.so.3"),
)
WHEELS = {
    "nvidia-cudnn-cu12": ("CUDA 12, for TensorFlow", CUDA_12),
    "nvidia-cudnn-cu13": ("CUDA 13, for JAX", CUDA_13),
}
# With these XLA makes programs for the GPU out of what it compiled.
TOOLS = ("ptxas", "libdevice.10.bc")


def installed(wheel: str) -> str | None:
    try:
        return metadata.version(wheel)
    except metadata.PackageNotFoundError:
        return None


def loaded(name: str) -> str | None:
    """The file that the loader found for a name; None if it found none."""
    try:
        ctypes.CDLL(name)
    except OSError as error:
        print(f"  {name:22} {error}")
        return None
    maps = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    return next((line.split()[-1] for line in maps if f"/{name}" in line), "in this process")


def tools() -> dict[str, Path]:
    """The compiler's parts, by name, from whichever wheel has them."""
    files = [
        Path(file.locate())
        for distribution in metadata.distributions()
        if (distribution.metadata["Name"] or "").startswith("nvidia-")
        for file in distribution.files or ()
        if file.name in TOOLS
    ]
    return {file.name: file for file in files}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.parse_args()
    found = {wheel: version for wheel in WHEELS if (version := installed(wheel))}
    if len(found) != 1:
        both = " and ".join(found)
        print(
            f"The wheels of both {both} are installed, and a process can use one cuDNN: use two "
            "environments."
            if found
            else "No CUDA wheels are installed: pip install '.[gpu]' for TensorFlow, "
            "'.[jax-gpu]' for JAX.",
            file=sys.stderr,
        )
        return 2
    ((wheel, version),) = found.items()
    title, names = WHEELS[wheel]
    print(f"{title}; cuDNN {version}")
    missing = 0
    for name in names:
        if (file := loaded(name)) is None:
            missing += 1
        else:
            print(f"  {name:22} {file}")
    parts = tools()
    for name in TOOLS:
        print(f"  {name:22} {parts.get(name, 'missing')}")
    missing += len(TOOLS) - len(parts)
    if ptxas := parts.get("ptxas"):
        version = subprocess.run([ptxas, "--version"], check=True, capture_output=True, text=True)
        print(f"  {'':22} {version.stdout.splitlines()[-2]}")
    try:
        ctypes.CDLL("libcuda.so.1")
        driver = "there"
    except OSError:
        driver = "not there: it is the host's, and comes in with `docker run --gpus all`"
    print(f"  {'libcuda.so.1 (driver)':22} {driver}")
    print(f"{len(names) + len(TOOLS) - missing} of {len(names) + len(TOOLS)} are there.")
    return int(missing > 0)


if __name__ == "__main__":
    sys.exit(main())
