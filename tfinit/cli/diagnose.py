"""`tfinit diagnose`: a saved model in, a verdict out, with an exit code for CI."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar

import tyro

from tfinit.cli.console import check_plot, loading
from tfinit.cli.device import OnDevice, warm_up
from tfinit.datasets import data_help
from tfinit.errors import InputError
from tfinit.files import png, write_whole
from tfinit.flag_help import FlagHelp

_ARRAYS = (
    "x and, for the gradients of the loss, y; or with x_train, y_train; or several by name. "
    "Default: inputs from N(0, 1)"
)
SEVERE = 3  # the exit code for a network that will not learn


@dataclass(frozen=True)
class _Diagnose(OnDevice):
    """Say before training whether a network will learn: exit code 0 if so, 3 if not."""

    model: Annotated[Path, tyro.conf.Positional]
    """The .keras file of the model."""
    data: str | None = field(default=None, metadata=FlagHelp(lambda: data_help(_ARRAYS)))
    """What `tfinit.saved_data.load_batch` reads. Default: inputs from N(0, 1)."""
    loss: str | None = None
    """A Keras loss, such as sparse_categorical_crossentropy. Default: the one in the file."""
    examples: int = 256
    """How many examples of the data to use."""
    plot: Path | None = None
    """Write histograms and spreads by depth to this .png file."""
    json: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print everything as JSON instead of the table."""
    allow_lambda: tyro.conf.FlagCreatePairsOff[bool] = False
    """Run Python code in the model file (Lambda layers). Only for files that you trust."""

    stopped: ClassVar[str] = "Nothing was written."

    def run(self) -> int:
        check_plot(self.plot)
        if self.examples < 2:
            raise InputError(f"`examples` must be at least 2, received {self.examples}.")
        with loading():
            from tfinit.devices import announce
            from tfinit.diagnostics import diagnose
            from tfinit.saved_data import load_batch
            from tfinit.saved_model import load_model

            warm_up(self.device)
        cure = "If you trust the file, add --allow-lambda."
        model = load_model(self.model, allow_lambda=self.allow_lambda, cure=cure)
        x, y = (None, None) if self.data is None else load_batch(self.data, model, self.examples)
        if self.data is not None and y is None and self.loss is not None:
            raise InputError(f"`loss` needs targets: {self.data!r} has no array 'y'.")
        announce()
        diagnosis = diagnose(model, x, y, self.loss)
        print(json.dumps(diagnosis.to_dict(), indent=2) if self.json else diagnosis, flush=True)
        if self.plot is not None:
            write_whole(self.plot, png(diagnosis.plot()), "The results are those above.")
        return 0 if diagnosis.healthy else SEVERE


COMMANDS = {"diagnose": _Diagnose}
