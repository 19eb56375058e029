"""`tfinit diagnose`: a saved model in, a verdict out, with an exit code for CI."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

import tyro

from tfinit.cli.console import check_plot, loading
from tfinit.cli.device import OnDevice, warm_up
from tfinit.datasets import data_help
from tfinit.errors import InputError
from tfinit.files import png, write_whole
from tfinit.flag_help import FlagHelp
from tfinit.named_functions import is_named

_ARRAYS = (
    "x and, for the gradients of the loss, y; or with x_train, y_train; or several by name. "
    "Default: inputs from N(0, 1)"
)
SEVERE = 3  # the exit code for a network that will not learn


@dataclass(frozen=True)
class _Diagnose(OnDevice):
    """Say before training whether a network will learn: exit code 0 if so, 3 if not."""

    model: Annotated[str, tyro.conf.Positional]
    """A .keras file, or the place of a function that returns a built model, compiled or not:
    file.py:build or package.module:build."""
    data: str | None = field(default=None, metadata=FlagHelp(lambda: data_help(_ARRAYS)))
    """What `tfinit.saved_data.load_batch` reads. Default: inputs from N(0, 1)."""
    loss: str | None = None
    """A Keras loss, such as sparse_categorical_crossentropy. Default: the model's own."""
    examples: int = 256
    """How many examples of the data to use."""
    seed: int = 0
    """With which the function is called, if it takes one."""
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

            warm_up(self.device)
        model = self._model()
        x = y = weights = None
        if self.data is not None:
            x, y, weights = load_batch(self.data, model, self.examples)
        if self.data is not None and y is None and self.loss is not None:
            raise InputError(f"`loss` needs targets: {self.data!r} has no array 'y'.")
        announce()
        diagnosis = diagnose(model, x, y, self.loss, weights)
        print(json.dumps(diagnosis.to_dict(), indent=2) if self.json else diagnosis, flush=True)
        if self.plot is not None:
            write_whole(self.plot, png(diagnosis.plot()), "The results are those above.")
        return 0 if diagnosis.healthy else SEVERE

    def _model(self) -> Any:
        from tfinit.model_builders import builder_of
        from tfinit.saved_model import load_model

        if is_named(self.model):
            return builder_of(self.model, "model").model(self.seed, compiled=False)
        cure = "If you trust the file, add --allow-lambda."
        return load_model(Path(self.model), allow_lambda=self.allow_lambda, cure=cure)


COMMANDS = {"diagnose": _Diagnose}
