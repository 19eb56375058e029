"""`tfinit initialize` and `tfinit recommend`: a model in, the same with other weights out."""

import ast
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

import tyro

from tfinit.arguments import whole
from tfinit.cli.console import loading
from tfinit.cli.device import OnDevice, warm_up
from tfinit.datasets import data_help
from tfinit.devices import announce
from tfinit.errors import InputError, WorkError, reason
from tfinit.files import check_writable
from tfinit.flag_help import FlagHelp

_ARRAYS = "x or x_train; and y or y_train for output_bias"
_MODELS = {"base"}  # options that are models


def _schemes_help() -> str:
    from tfinit.schemes.engine.registry import REGISTRY
    from tfinit.schemes.initialize import SCHEMES

    from_data = [name for name in SCHEMES if REGISTRY[name].needs_data]
    of_targets = [name for name in SCHEMES if REGISTRY[name].of_targets]
    others = [name for name in SCHEMES if name not in (*from_data, *of_targets)]
    return (
        f"{', '.join(others)}; by what a batch shows, with --data: {', '.join(from_data)}; by the "
        f"targets of --data: {', '.join(of_targets)}. What each does: docs/initializations.md."
    )


@dataclass(frozen=True)
class _OnModel(OnDevice):
    model: Annotated[str, tyro.conf.Positional]
    """A .keras file; or file.py:build, a function that returns a built model, for a seed if it
    takes one."""
    seed: int = field(default=0, kw_only=True)
    """What the weights are drawn from: the same seed, the same bits."""
    overwrite: tyro.conf.FlagCreatePairsOff[bool] = field(default=False, kw_only=True)
    """Replace the file that is written, if it is there."""
    json: tyro.conf.FlagCreatePairsOff[bool] = field(default=False, kw_only=True)
    """Print everything as JSON instead of the table."""
    allow_lambda: tyro.conf.FlagCreatePairsOff[bool] = field(default=False, kw_only=True)
    """Run Python code in the model file (Lambda layers). Only for files that you trust."""

    stopped: ClassVar[str] = "Nothing was written."

    def _check_file(self, name: str, file: Path) -> None:
        if file.suffix != ".keras":
            raise InputError(f"`{name}` must end in .keras, received {str(file)!r}.")
        check_writable(name, file, "Choose another file.")
        if os.path.lexists(file) and not self.overwrite:
            raise InputError(
                f"`{name}` {str(file)!r} is there already. Choose another, or add --overwrite."
            )

    def _given(self) -> tuple[Any, Any, Any]:
        with loading():
            from tfinit.cli.given_model import given_model

            warm_up(self.device)
        return given_model(self.model, self.seed, self.allow_lambda)

    def _tell(self, found: Any, file: Path | None) -> int:
        """Print what was found, and where the model is."""
        if self.json:
            print(json.dumps(found.to_dict() | {"file": file and str(file)}, indent=2), flush=True)
            return 0
        print(found)
        if file is not None:
            print(f"Model: {file}", flush=True)
        return 0


@dataclass(frozen=True)
class _Initialize(_OnModel):
    """Initialize the weights of a model by a scheme, and save it."""

    scheme: Annotated[str, tyro.conf.Positional] = field(metadata=FlagHelp(_schemes_help))
    """One of `tfinit.schemes.SCHEMES`."""
    out: Path = Path("initialized.keras")
    """Where the model goes."""
    data: str | None = field(default=None, metadata=FlagHelp(lambda: data_help(_ARRAYS)))
    """What `tfinit.saved_data.load_batch` reads."""
    examples: int = 256
    """How many examples of the data to use."""
    options: tuple[str, ...] = ()
    """Options of the scheme, as gain=1.5; one that is a model by its file, as base=small.keras."""

    also: ClassVar[Mapping[str, str]] = {"x": "--data", "base": "--options base"}
    groups: ClassVar[Mapping[str, Sequence[str]]] = {
        "what is drawn": ("seed", "options", "data", "examples", "device"),
        "files": ("out", "overwrite", "allow_lambda", "json"),
    }
    command_lines: ClassVar[Sequence[str]] = (
        "tfinit initialize model.keras he --out he.keras",
        "tfinit initialize model.keras lsuv --data digits --out lsuv.keras --seed 1",
        "tfinit initialize mine.py:build orthogonal --options gain=1.1",
    )

    def run(self) -> int:
        from tfinit.schemes.initialize import chosen_scheme

        options = dict(map(_option, self.options))
        chosen = chosen_scheme(self.scheme, options)
        whole("examples", self.examples, 1)
        self._check_file("out", self.out)
        model, x, y = self._given()
        from tfinit.saved_data import few, load_batch
        from tfinit.saved_model import load_model
        from tfinit.schemes.initialize import initialize

        for name in _MODELS & options.keys():
            if str(options[name]).endswith(".keras"):
                options[name] = load_model(Path(options[name]), name)
        if self.data is not None:
            x, y, _ = load_batch(self.data, model, self.examples)
        elif not (chosen.needs_data or chosen.of_targets):
            x = None  # what a function returns beside its model is for other schemes
        given, _ = few((y if chosen.of_targets else x, None), self.examples)
        announce()
        report = initialize(model, self.scheme, given, seed=self.seed, **options)
        _save(model, self.out)
        return self._tell(report, self.out)


@dataclass(frozen=True)
class _Recommend(_OnModel):
    """Say which initializer suits each layer of a model, and why; --apply draws it."""

    apply: Path | None = None
    """Draw the weights so, and save the model to this .keras file."""
    only: tuple[str, ...] = ()
    """The keys of the only weights to draw, as the table has them."""
    bias: float | None = None
    """What to set biases to that are kept otherwise, as they are not zero."""
    code: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print Python to paste instead of the table."""

    groups: ClassVar[Mapping[str, Sequence[str]]] = {
        "what it says": ("code", "json", "allow_lambda"),
        "what it writes": ("apply", "overwrite", "only", "bias", "seed", "device"),
    }
    command_lines: ClassVar[Sequence[str]] = (
        "tfinit recommend model.keras",
        "tfinit recommend model.keras --apply better.keras",
        "tfinit recommend mine.py:build --code",
    )

    def run(self) -> int:
        for name in ("only", "bias", "overwrite", "seed"):
            if name in self.typed and self.apply is None:
                raise InputError(f"`{name}` is of what is written: name the file, with --apply.")
        if self.code and (self.json or self.apply is not None):
            raise InputError("`code` is printed alone: leave `json` and `apply` out.")
        if self.apply is not None:
            self._check_file("apply", self.apply)
        model, _, _ = self._given()
        from tfinit.diagnostics import recommend

        advice = recommend(model)
        if self.code:
            print(advice.code, flush=True)
            return 0
        if self.apply is None:
            return self._tell(advice, None)
        announce()
        report = advice.apply(self.seed, list(self.only) or None, self.bias)
        _save(model, self.apply)
        return self._tell(report, self.apply)


COMMANDS = {"initialize": _Initialize, "recommend": _Recommend}


def _option(typed: str) -> tuple[str, Any]:
    """The name and the value of an option: a number, True, False or None; else text."""
    name, given, value = typed.partition("=")
    if not given or not name:
        raise InputError(f"`options` must be as gain=1.5, received {typed!r}.")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


def _save(model: Any, file: Path) -> None:
    """Save a model that has other weights now: what its optimizer had gathered was of the old ones.

    Raises:
        WorkError: it cannot be saved. What was there before is still there.
    """
    from tfinit.fine_tuning.kept import save

    settings = model.get_compile_config() if model.compiled else None
    try:
        if settings:
            model.compile_from_config(settings)
        save(model, file)
    except WorkError:
        raise
    except Exception as error:  # a class of the user's may raise anything
        raise WorkError(f"the model cannot be saved: {reason(error)}") from error
