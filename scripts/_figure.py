"""What the scripts that draw one figure share: where it goes."""

import argparse
import sys
from pathlib import Path

import _device
from matplotlib.figure import Figure

from tfinit.errors import one_line
from tfinit.files import check_writable, png, write_whole


def parsed(
    description: str, parser: argparse.ArgumentParser | None = None, trains: bool = True
) -> argparse.Namespace:
    """The flags of a script: those of ``parser``, ``--figure`` and, if Keras trains, ``--device``.

    The figure goes into the working directory: where the script lies may be read-only. That it can
    be written is seen before the minutes that it takes.
    """
    parser = parser or argparse.ArgumentParser()
    parser.description = description.splitlines()[0]
    default = Path(sys.argv[0]).with_suffix(".png").name
    parser.add_argument(
        "--figure", type=Path, default=Path(default), help=f"where the figure goes; {default}"
    )
    flags = _device.parsed(parser) if trains else parser.parse_args()
    with one_line(""):
        check_writable("figure", flags.figure, "Choose another with --figure.")
    return flags


def save(figure: Figure, path: Path) -> None:
    """Write a figure."""
    write_whole(path, png(figure))
    print(f"wrote {path}")
