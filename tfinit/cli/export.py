"""`tfinit export`: a saved model in, a checked and measured file for a device out."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import tyro

from tfinit.cli.console import Command, checked, said_on
from tfinit.cli.signals import nothing_begun
from tfinit.exporting.config import ExportConfig
from tfinit.exporting.formats import QUANTIZE
from tfinit.native_output import stderr_held


@dataclass(frozen=True)
class _Export(Command, ExportConfig):
    __doc__ = (ExportConfig.__doc__ or "").split("\n")[0]

    json: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print everything as JSON instead of the table."""

    stopped: ClassVar[str] = "Nothing was written."
    choices: ClassVar[Mapping[str, Iterable[str | None]]] = {"quantize": QUANTIZE}
    also: ClassVar[Mapping[str, str]] = {"path": "OUT"}
    groups: ClassVar[Mapping[str, Sequence[str]]] = {
        "the file": ("format", "quantize", "sparse", "data"),
        "what is measured": ("baseline", "seconds", "timeout", "json"),
    }
    command_lines: ClassVar[Sequence[str]] = (
        "tfinit export pruned.keras pruned.tflite --sparse",
        "tfinit export model.keras model.onnx --baseline dense.keras --data digits",
    )

    def run(self) -> int:
        export(checked(self, ExportConfig), self.json)
        return 0


COMMANDS = {"export": _Export}


def export(config: ExportConfig, as_json: bool = False) -> None:
    """Export a saved model; print its report."""
    # The converters write to stderr, past Python, whatever is asked of them.
    with stderr_held() as stderr:
        with nothing_begun():
            from tfinit.exporting.from_files import export_saved
        with said_on(stderr, "tfinit.exporting.unrolling"):
            report = export_saved(config)
    if as_json:
        print(json.dumps(report.to_dict(), indent=2))
        return
    print(report)
    print(f"\n{report.file.path}: run by {report.file.runtime}, agrees with Keras.")
