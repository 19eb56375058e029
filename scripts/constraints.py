"""docker/constraints.txt: the version of every package that goes into an image.

    .venv/bin/python scripts/constraints.py [--out docker/constraints.txt]
    .venv/bin/python scripts/constraints.py --development --out tests/constraints.txt
    python scripts/constraints.py --oldest --out oldest.txt

The versions of the environment that it runs in: run it where scripts/test.sh has passed. For what
only images have (CUDA, tensorflow-datasets), pip chooses versions that go with those. Installs
nothing. Needs the network; --development, for the environment that tests run in, and --oldest, the
lowest series that setup.py allows of each package, do not.
"""

import argparse
import json
import platform
import re
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Everything that an image may have but CUDA; then CUDA, in one image for TensorFlow, in another one
# for JAX. What makes an image beside tfinit: see docker/Dockerfile.
EXTRAS = ("demo", "export", "tensorboard", "pandas", "datasets", "jax")
DEVICES = ("gpu", "jax-gpu")
TOOLS = ("setuptools", "dumb-init")


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def here() -> dict[str, str]:
    """What is installed; builds of one's own (1.0+cpu) are in no index."""
    found = {canonical(d.metadata["Name"]): d.version for d in metadata.distributions()}
    return {n: v for n, v in found.items() if n != "tfinit" and "+" not in v}


def resolved(constraints: dict[str, str], device: str) -> dict[str, str]:
    """What pip would install for a device."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.writelines(f"{name}=={version}\n" for name, version in constraints.items())
        file.flush()
        wanted = f"{ROOT}[{','.join((*EXTRAS, device))}]"
        report = subprocess.run(
            [
                *(sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed"),
                *("--quiet", "--report=-", f"--constraint={file.name}", wanted, *TOOLS),
            ],
            check=True,
            stdout=subprocess.PIPE,
        ).stdout
    chosen = [one["metadata"] for one in json.loads(report)["install"]]
    return {canonical(m["name"]): m["version"] for m in chosen if m["name"] != "tfinit"}


def oldest() -> dict[str, str]:
    """The lowest series that setup.py allows this Python: of ``numpy>=1.26,<3`` it is 1.26.*."""
    setup = (ROOT / "setup.py").read_text(encoding="utf-8")
    lowest: dict[str, str] = {}
    pattern = r"""["']([\w-]+)>=([\d.]+)[^"';]*(?:; python_version (<|>=) "([\d.]+)")?"""
    for name, version, sign, python in re.findall(pattern, setup):
        if python and (sys.version_info[:2] < (*_parts(python),)) is not (sign == "<"):
            continue
        # Where two extras ask for it, the higher one holds for both.
        lowest[name] = max(lowest.get(name, "0"), version, key=_parts)
    return {name: f"{version}.*" for name, version in lowest.items()}


def _parts(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = ROOT / "docker" / "constraints.txt"
    parser.add_argument("--out", type=Path, default=default, help="where they go")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--development", action="store_true", help="all that is installed here")
    which.add_argument("--oldest", action="store_true", help="the lowest that setup.py allows")
    given = parser.parse_args()
    out, pins, tested = given.out, {}, here()
    if given.oldest:
        pins = oldest()
    elif given.development:
        pins = tested
    else:
        for device in DEVICES:
            # The second time with what was chosen the first: both images get the same versions.
            pins |= resolved(tested | pins, device)
    head = (
        "# Made by scripts/constraints.py, for linux/amd64, from an environment of Python "
        f"{platform.python_version()}.\n"
    )
    lines = [f"{name}=={version}\n" for name, version in sorted(pins.items())]
    out.write_text(head + "".join(lines), encoding="utf-8")
    missing = pins.keys() - {canonical(name) for name in tested}
    print(f"wrote {out}: {len(pins)} packages, {len(missing)} not installed here")


if __name__ == "__main__":
    main()
