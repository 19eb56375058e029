"""One exported file: written, read again, run, compared with Keras, counted and measured."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tfinit.arguments import flag, one_of, text
from tfinit.errors import InputError, WorkError, reason
from tfinit.exporting.accuracy import accuracy, classes_of
from tfinit.exporting.blocks import BLOCK, BLOCKS, Encoding
from tfinit.exporting.contents import Stored, gzipped_size, size_of
from tfinit.exporting.formats import FORMATS, QUANTIZE, Options
from tfinit.exporting.inputs import (
    batch_of,
    from_rest,
    in_order,
    names_of,
    outputs_of,
    random_inputs,
    whole_batches,
)
from tfinit.exporting.isolated_runs import TOLERANCE, Job, check, run_latency
from tfinit.exporting.lacks import cure_of
from tfinit.exporting.layers import layer_notes
from tfinit.exporting.result import FileReport, Latency
from tfinit.exporting.unrolling import unrolled
from tfinit.exporting.writers import write
from tfinit.files import remove
from tfinit.graph.keras_internals import layer_and_all_in_it
from tfinit.pruning.counting.effective_weights import counted_weights, is_coded, nonzero

# Examples that a file is compared with Keras on.
_COMPARED = 8


@dataclass(frozen=True)
class Variant:
    """A model and how it is exported, for `side_by_side`.

    Attributes:
        label: What the table calls it.
        model: A built Keras 3 model.
        format: A word of `tfinit.exporting.formats.FORMATS`.
        quantize: None or ``"int8"``.
        sparse: Store zeros sparse; LiteRT and float32 only.
    """

    label: str
    model: Any
    format: str = "litert"
    quantize: str | None = None
    sparse: bool = False

    def __post_init__(self) -> None:
        text("label", self.label)
        one_of("format", self.format, FORMATS)
        one_of("quantize", self.quantize, QUANTIZE)
        flag("sparse", self.sparse)


class FileMaker:
    """Makes and measures files on the same inputs and data."""

    def __init__(
        self, representative: Any, x: Any, y: Any, tolerance: float | None, timeout: float
    ) -> None:
        if (x is None) != (y is None):
            there, missing = ("x", "y") if y is None else ("y", "x")
            raise InputError(
                f"`{there}` was passed without `{missing}`: the accuracy is measured on examples "
                "and their classes. Pass both, or neither."
            )
        self.representative, self.data = representative, None if x is None else (x, y)
        self.tolerance, self.timeout = tolerance, timeout
        self.calibration: list[np.ndarray] | None = None
        self.x: list[np.ndarray] = []
        self.examples = 0

    def check_inputs(self, variants: Sequence[Variant]) -> None:
        """Check inputs and data against all models before the first file is written."""
        for variant in variants:
            if self.representative is not None:
                self.calibration = in_order(
                    variant.model, self.representative, "representative_data"
                )
            if self.data is not None:
                self.x = in_order(variant.model, self.data[0], "x")
                self.y = classes_of(self.data[1], len(self.x[0]))
                self.examples = len(self.y)
        # Two batches at least: the second one shows what is kept of the first.
        most = max(_COMPARED, *(2 * (batch_of(variant.model) or 1) for variant in variants))
        if self.calibration is not None:
            self.inputs = [array[:most] for array in self.calibration]
        elif self.x:
            self.inputs = [array[:most] for array in self.x]
        else:
            self.inputs = random_inputs(variants[0].model, most)

    def make(self, variant: Variant, file: Path, shown: Path) -> FileReport:
        """Write, read again, run and compare; the file is gone if that fails."""
        try:
            with from_rest(variant.model):
                return self._make_with_fallback(variant, file)
        except BaseException as error:
            remove(file)
            if isinstance(error, _WrongFile):
                raise WorkError(f"{shown} was removed: {error}. {error.cure}") from error
            raise

    def _make_with_fallback(self, variant: Variant, file: Path) -> FileReport:
        try:
            return self._make(variant, file, blocks=True)
        except _WrongBlocks as error:
            remove(file)
            row = self._make(variant, file, blocks=False)
            note = f"Stored sparse and unpacked, since with 1×4 blocks {error}."
            return replace(row, notes=(*row.notes, note))

    def _make(self, variant: Variant, file: Path, blocks: bool) -> FileReport:
        model, format = variant.model, variant.format
        batch = batch_of(model)
        inputs = whole_batches(self.inputs, batch)
        # Before it is written: Keras's exporter to ONNX wants a model that was called.
        try:
            expected = outputs_of(model, inputs)
        except Exception as error:  # of any kind, from layers of any kind
            shapes = ", ".join(str(array.shape) for array in inputs)
            raise InputError(
                f"`model` cannot be called on inputs of shape {shapes}: {reason(error)} Give "
                "`representative_data` that it takes."
            ) from error
        if self.x and expected[0].dtype.kind == "U":
            raise InputError(
                "`x` and `y` are for the accuracy, and the first output of the model is text. "
                "Leave them out."
            )
        with unrolled(model, format) as loops:
            options = Options(variant.quantize, variant.sparse, self.calibration, blocks)
            encodings = write(model, file, format, options)
        in_blocks = any(encoding.how == BLOCKS for encoding in encodings)
        cure = _CURES.get("sparse" if variant.sparse else variant.quantize or "")
        stored, unreadable = _read(file, format)
        try:
            _check_blocks(stored)
            apart, on_data = check(
                _job(variant, file),
                inputs,
                expected,
                _tolerance(variant) if self.tolerance is None else self.tolerance,
                self.timeout,
                self.x,
            )
            if unreadable:
                raise WorkError(f"its weights cannot be read back: {unreadable}")
        except WorkError as error:
            if in_blocks:
                raise _WrongBlocks(str(error)) from error
            raise _WrongFile(str(error).rstrip("."), cure or cure_of(model, format)) from error
        model_zeros, total = _counts_of(model)
        zeros = model_zeros
        coded = any(map(is_coded, layer_and_all_in_it(model)))
        if not (FORMATS[format].keeps_codes and coded):
            zeros, total = sum(w.zeros for w in stored), sum(w.size for w in stored)
        notes = layer_notes(model, format, variant.quantize, variant.sparse, encodings, stored)
        return FileReport(
            label=variant.label,
            path=None,
            format=format,
            runtime=FORMATS[format].runtime,
            quantize=variant.quantize,
            sparse=variant.sparse,
            bytes=size_of(file),
            gzip_bytes=gzipped_size(file),
            weights=total,
            zeros=zeros,
            model_zeros=model_zeros,
            difference=apart,
            accuracy=None if on_data is None else accuracy(on_data, self.y),
            layers=notes,
            notes=(*loops.notes, *_notes(encodings, variant, file), *_constant_outputs(expected)),
        )

    def with_latencies(
        self,
        variants: Sequence[Variant],
        rows: list[FileReport],
        files: list[Path],
        seconds: float,
    ) -> list[FileReport]:
        """The rows with latencies; the files take turns."""
        if not seconds:
            return rows
        jobs = [_job(variant, file) for variant, file in zip(variants, files, strict=True)]
        try:
            times = run_latency(jobs, self.inputs, self.timeout, seconds)
        except WorkError as error:
            raise WorkError(f"Nothing was written. While the files were timed, {error}") from error
        return [
            replace(row, latency=Latency.of(taken)) for row, taken in zip(rows, times, strict=True)
        ]


class _WrongFile(WorkError):
    """A file that must not stand."""

    def __init__(self, reason: str, cure: str):
        super().__init__(reason)
        self.cure = cure


class _WrongBlocks(WorkError):
    """A file with block-encoded layers that must not stand; without blocks it may."""


_CURES = {
    "sparse": "Export it without `sparse`, as float32 or with quantize='int8'.",
    "int8": (
        "Give more `representative_data`, of all kinds; allow more with `tolerance`; or export "
        "float32."
    ),
}


def _job(variant: Variant, file: Path) -> Job:
    names, batch = names_of(variant.model), batch_of(variant.model)
    here = FORMATS[variant.format].runs_here(file)
    return Job(file, variant.format, names, batch, here)


def _tolerance(variant: Variant) -> float:
    """What `TOLERANCE` says, and a few roundings of the numbers that the model computes in."""
    kinds = {layer.compute_dtype for layer in layer_and_all_in_it(variant.model)} & {*_ROUNDING}
    return max([TOLERANCE[variant.quantize], *(16 * _ROUNDING[kind] for kind in kinds)])


# The distance from 1 to the next number.
_ROUNDING = {"float16": 2.0**-10, "bfloat16": 2.0**-7}


def _read(file: Path, format: str) -> tuple[list[Stored], str]:
    """The weights in a file, and why they cannot be read: its runtime may say it better."""
    try:
        return FORMATS[format].weights(file), ""
    # A reader of a damaged file may raise anything.
    except Exception as error:
        return [], str(error) or type(error).__name__


def _check_blocks(stored: Sequence[Stored]) -> None:
    """LiteRT's sparse kernel drops the columns after the last multiple of 4, without an error."""
    for weight in stored:
        if weight.encoding == "blocks" and not weight.unpacked and weight.shape[-1] % BLOCK:
            raise WorkError(
                f"{weight.name} has 1×4 blocks and {weight.shape[-1]} inputs, which 4 does not "
                "divide: LiteRT's sparse kernel would leave the last ones out"
            )


def _notes(encodings: Sequence[Encoding], variant: Variant, file: Path) -> tuple[str, ...]:
    notes, job = [], _job(variant, file)
    if (job.batch or 1) > 1:
        notes.append(f"It takes batches of {job.batch}, and its time is that of one.")
    if job.here:
        notes.append(
            "It names classes or functions that are not Keras's: it was run in this process, which "
            "knows them, and whoever loads it needs them too."
        )
    padded = [encoding.key for encoding in encodings if encoding.padding]
    if padded:
        notes.append(
            f"Inputs of {', '.join(padded)} are padded to a multiple of 4: LiteRT's blocks leave "
            "out what is beyond."
        )
    if any(encoding.how == BLOCKS for encoding in encodings):
        notes.append("The sparse kernels gain at small batches; in large ones dense is as fast.")
    return (*notes, *filter(None, [FORMATS[job.format].note]))


def _constant_outputs(expected: Sequence[np.ndarray]) -> list[str]:
    """A warning where agreeing with Keras proves nothing."""
    for output in expected:
        if output.dtype.kind == "U":
            continue
        varies = np.ptp(output.reshape(len(output), -1), axis=0)
        if len(output) > 1 and varies.max(initial=0) <= 1e-6 * np.abs(output).max(initial=0):
            return [
                "Keras's outputs are the same for all examples that it was compared on, so that "
                "it agrees says little: give `representative_data`."
            ]
    return []


def _counts_of(model: Any) -> tuple[int, int]:
    """The zeros in the weights of rank 2 or more that a model computes with, and their entries."""
    found = {
        id(weight): nonzero(layer, weight)
        for layer in layer_and_all_in_it(model)
        for weight in counted_weights(layer)
        if len(weight.shape) >= 2
    }
    total = sum(here.size for here in found.values())
    return total - sum(int(np.count_nonzero(here)) for here in found.values()), total
