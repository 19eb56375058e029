"""`tfinit export`: a saved model in, a checked and measured file for a device out."""

import json
from dataclasses import dataclass
from typing import ClassVar

import tyro

from tfinit.cli.console import Command, checked, said_on
from tfinit.cli.signals import nothing_begun
from tfinit.exporting.config import ExportConfig
from tfinit.native_output import native_stderr_closed


@dataclass(frozen=True)
class _Export(Command, ExportConfig):
    __doc__ = (ExportConfig.__doc__ or "").split("\n")[0]

    json: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print everything as JSON instead of the table."""

    stopped: ClassVar[str] = "Nothing was written."

    def run(self) -> int:
        export(checked(self, ExportConfig), self.json)
        return 0


COMMANDS = {"export": tyro.conf.configure(tyro.conf.PositionalRequiredArgs)(_Export)}


def export(config: ExportConfig, as_json: bool = False) -> None:
    """Export a saved model; print its report."""
    # The converters write to stderr, past Python, whatever is asked of them.
    with native_stderr_closed() as stderr:
        with nothing_begun():
            from tfinit.exporting.from_files import export_saved
        with said_on(stderr, "tfinit.exporting.unrolling"):
            report = export_saved(config)
    if as_json:
        print(json.dumps(report.to_dict(), indent=2))
        return
    print(report)
    print(f"\n{report.file.path}: run by {report.file.runtime}, agrees with Keras.")
