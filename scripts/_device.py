"""The flag --device of the scripts that train, and the line of their results that says on what."""

import argparse
import sys

from tfinit.cli.device import prepare
from tfinit.devices import in_use, unlisted
from tfinit.errors import one_line


def parsed(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """What was typed, --device with it, and that done."""
    told = "cpu, gpu (an error where there is none) or auto"
    parser.add_argument("--device", default="auto", help=told)
    typed = parser.parse_args()
    on_device(typed.device)
    return typed


def on_device(device: str) -> None:
    """Let Keras train on a device, and print which it is. An error is one line and exit code 2."""
    with one_line(""):
        prepare(device)
    print(f"device: {in_use()}", flush=True)
    if told := unlisted():
        print(told, file=sys.stderr)
