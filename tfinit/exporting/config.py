"""What `tfinit export` does: one frozen dataclass, from which its flags come."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from tfinit.arguments import check_fields, number, one_of
from tfinit.datasets import data_help
from tfinit.errors import InputError
from tfinit.exporting.formats import QUANTIZE, format_of, formats_help, out_help, sparse_help
from tfinit.flag_help import FlagHelp

_ARRAYS = "x_train and, for the accuracy, x_test, y_test"
LONGEST = 1e8  # seconds, three years: what waits for longer overflows


@dataclass(frozen=True)
class ExportConfig:
    """Export a saved Keras model, check the file, and tell its size and speed.

    Example:
        >>> ExportConfig(Path("model.keras"), Path("model.tflite"), sparse=True).format
        'litert'
    """

    model: Path
    """The .keras file of the model."""
    out: Path = field(metadata=FlagHelp(out_help))
    """Where it goes: a file that ends as its format wants it, or a directory."""
    format: str | None = field(default=None, metadata=FlagHelp(formats_help))
    """A word of `tfinit.exporting.formats.FORMATS`. Default: what the suffix says."""
    quantize: str | None = None
    """int8: weights and activations in 8 bits, their ranges taken from the training data."""
    sparse: bool = field(default=False, metadata=FlagHelp(sparse_help))
    """Store zeros sparse."""
    data: str | None = field(default=None, metadata=FlagHelp(lambda: data_help(_ARRAYS)))
    """A data set of `tfinit.datasets`, file.py:load, or an .npz file of arrays."""
    baseline: Path | None = None
    """The .keras file of a model to compare with, such as the one before pruning."""
    seconds: float = 0.5
    """To spend on the latency of each file; 0 measures none."""
    timeout: float = 300.0
    """Seconds that running a file may take."""

    def __post_init__(self) -> None:
        check_fields(self)
        object.__setattr__(self, "format", format_of("out", self.out, self.format))
        one_of("quantize", self.quantize, QUANTIZE)
        number("seconds", self.seconds, least=0, most=LONGEST)
        number("timeout", self.timeout, above=0, most=LONGEST)
        # With `sparse` it is refused for a better reason: see `check_combination`.
        if self.quantize and not self.sparse and self.data is None:
            raise InputError(
                "`quantize` takes the ranges of the activations from data. Name them: --data "
                f"{data_help('x_train')}"
            )
        given = (self.model, self.baseline or self.model)
        if os.path.realpath(self.out) in map(os.path.realpath, given):
            raise InputError("`out` is the model itself. Choose another file: nothing is replaced.")
