"""`tfinit diagnose`: a saved model in, a verdict out, with an exit code for CI."""

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import tyro

from tfinit.cli.console import check_plot, loading
from tfinit.cli.device import OnDevice, warm_up
from tfinit.datasets import data_help
from tfinit.errors import InputError
from tfinit.files import png, write_whole
from tfinit.flag_help import FlagHelp
from tfinit.named_functions import is_named

if TYPE_CHECKING:
    from tfinit.diagnostics import Diagnosis
    from tfinit.diagnostics.fixing.fix import Fix
    from tfinit.model_builders import ModelBuilder

_ARRAYS = (
    "x and, for the gradients of the loss, y; or with x_train, y_train; or several by name. "
    "Default: what the function returns beside the model, else inputs from N(0, 1)"
)
SEVERE = 3  # the exit code for a network that will not learn


@dataclass(frozen=True)
class _Diagnose(OnDevice):
    """Say before training whether a network will learn: exit code 0 if so, 3 if not."""

    model: Annotated[str, tyro.conf.Positional]
    """A .keras file, or the place of a function that returns a built model, compiled or not, or
    (model, x, y): file.py:build or package.module:build."""
    data: str | None = field(default=None, metadata=FlagHelp(lambda: data_help(_ARRAYS)))
    """What `tfinit.saved_data.load_batch` reads. Default: the function's, or N(0, 1)."""
    loss: str | None = None
    """A Keras loss, such as sparse_categorical_crossentropy. Default: the model's own."""
    examples: int = 256
    """How many examples of the data to use."""
    seed: int = 0
    """With which the function is called, if it takes one."""
    plot: Path | None = None
    """Write histograms and spreads by depth to this .png file."""
    fix: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print the lines of the function's file that cure what is severe, as a diff, and what the
    program so changed is like. Nothing is written."""
    json: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print everything as JSON instead of the table."""
    allow_lambda: tyro.conf.FlagCreatePairsOff[bool] = False
    """Run Python code in the model file (Lambda layers). Only for files that you trust."""

    stopped: ClassVar[str] = "Nothing was written."
    also: ClassVar[Mapping[str, str]] = {"x": "--data", "y": "the targets of --data"}
    groups: ClassVar[Mapping[str, Sequence[str]]] = {
        "what it looks at": ("data", "loss", "examples", "seed", "allow_lambda", "device"),
        "what it says": ("fix", "plot", "json"),
    }
    command_lines: ClassVar[Sequence[str]] = (
        "tfinit diagnose model.keras --data digits",
        "tfinit diagnose mine.py:build --data mine.py:load --fix",
    )

    def run(self) -> int:
        check_plot(self.plot)
        if self.examples < 2:
            raise InputError(f"`examples` must be at least 2, received {self.examples}.")
        if self.fix and not is_named(self.model):
            raise InputError(
                f"`fix` changes the lines of a program, and {self.model!r} is a file of weights. "
                "Name the function that builds the model: file.py:build."
            )
        with loading():
            warm_up(self.device)
        with warnings.catch_warnings():
            # Keras's word on one output with a softmax: the verdict says it, and what to do.
            warnings.filterwarnings("ignore", "You are using a softmax over axis")
            diagnosis, fixed = self._found()
        if self.json:
            told = diagnosis.to_dict() | ({"fix": fixed.to_dict()} if fixed else {})
            print(json.dumps(told, indent=2), flush=True)
        else:
            print(diagnosis, *([f"\n{fixed}"] if fixed else []), sep="\n", flush=True)
        if self.plot is not None:
            write_whole(self.plot, png(diagnosis.plot()), "The results are those above.")
        return 0 if diagnosis.healthy else SEVERE

    def _found(self) -> "tuple[Diagnosis, Fix | None]":
        from tfinit.cli.given_model import given_model

        fixed = None
        if self.fix:
            from tfinit.diagnostics.fixing.fix import fix

            fixed = fix(self.model, "model", self._built)
            diagnosis = fixed.before
        else:
            diagnosis = self._diagnosed(*given_model(self.model, self.seed, self.allow_lambda))
        return diagnosis, fixed

    def _built(
        self, builder: "ModelBuilder", call: Callable[[Callable[[], Any]], Any] | None = None
    ) -> tuple[Any, "Diagnosis"]:
        """The model that a function builds, with what it is like on the data."""
        build = partial(builder.program, self.seed)
        model, x, y = build() if call is None else call(build)
        return model, self._diagnosed(model, x, y)

    def _diagnosed(self, model: Any, x: Any = None, y: Any = None) -> "Diagnosis":
        from tfinit.devices import announce
        from tfinit.diagnostics import diagnose
        from tfinit.saved_data import few, load_batch

        weights = None
        if self.data is not None:
            x, y, weights = load_batch(self.data, model, self.examples)
        else:
            x, y = few((x, y), self.examples)
        if y is None and self.loss is not None and (x is not None or self.data is not None):
            where = f"{self.data!r} has no array 'y'" if self.data else "the function returns none"
            raise InputError(f"`loss` needs targets: {where}.")
        announce()
        return diagnose(model, x, y, self.loss, weights)


COMMANDS = {"diagnose": _Diagnose}
