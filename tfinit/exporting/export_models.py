"""`export` and `side_by_side`: write aside, run, compare, measure, and only then let it stand."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from tfinit import arguments
from tfinit.arguments import listed, number
from tfinit.errors import InputError, WorkError
from tfinit.exporting.checks import check_combination, check_model, numbers_of
from tfinit.exporting.config import LONGEST
from tfinit.exporting.dense import NOTE, dense_model, pruned_kernels
from tfinit.exporting.formats import FORMATS, fits, format_of
from tfinit.exporting.one_file import FileMaker, Variant
from tfinit.exporting.result import ExportReport, FileReport
from tfinit.files import check_writable, write_whole
from tfinit.renamed import renamed

_CURE = "What was there before still is."


@renamed(data=("x", "y"))
def export(
    model: Any,
    path: str | os.PathLike[str],
    format: str | None = None,
    quantize: str | None = None,
    sparse: bool = False,
    representative_data: Any = None,
    *,
    x: Any = None,
    y: Any = None,
    baseline: Any = None,
    seconds: float = 0.5,
    tolerance: float | None = None,
    timeout: float = 300.0,
) -> ExportReport:
    """Write a model for a device, run the file, and tell what it gained.

    The file is run with its default runtime (LiteRT, ONNX Runtime, Keras, TensorFlow) in a process
    of its own, and stands only if it computes what Keras does. It is measured beside the dense
    model: ``baseline``, or the same one with numbers in place of its zeros. With ``sparse=True`` or
    ``quantize`` the model as it is stands beside it too, and in LiteRT the other of the two, if
    something is pruned; the report ends with which to choose. Without ``seconds`` there is the file
    and the baseline alone.

    With ``sparse=True`` Dense layers with 1×4 blocks of zeros (``block_size="litert"`` when
    pruning) run in LiteRT's sparse kernel; scattered zeros of 95% and more are put into such
    blocks; inputs that 4 does not divide are padded in the file. What would not gain speed is
    stored sparse and unpacked by LiteRT: that is smaller, and as fast as before.

    Args:
        model: A built Keras 3 model. It is left as it was.
        path: Where; a file that is there is replaced. It ends in ``.tflite``, ``.onnx`` or
            ``.keras``; a SavedModel is a directory.
        format: ``"litert"``, ``"onnx"``, ``"keras"`` (without the optimizer), ``"saved_model"``.
            None: what the suffix of ``path`` says.
        quantize: ``"int8"``: weights (one scale a channel) and activations in 8 bits, with ranges
            from ``representative_data``; inputs and outputs stay float32, and so does an operation
            without an int8 kernel. LiteRT and ONNX only; in ONNX the weights use 7 of the bits,
            since ONNX Runtime's sums overflow on some CPUs. None: float32.
        sparse: Store zeros sparse. LiteRT and float32 only.
        representative_data: Typical inputs: an array, or a list or dictionary of one for each
            input. For ``quantize`` (the first 200), and to compare with Keras on (the first 8;
            random numbers without).
        x: Examples to measure the accuracy on, in the same forms.
        y: Their classes, as numbers or one-hot.
        baseline: A model to compare with, such as the one before pruning; it is exported plain.
        seconds: To spend on the latency of each file; 0 measures none.
        tolerance: Largest difference from Keras that is allowed, over the spread of the outputs
            (`tfinit.exporting.isolated_runs.difference`). None: 0.001 in float32, 0.016 where
            layers compute in float16, 0.125 in bfloat16, 0.3 in int8.
        timeout: Seconds that a process that runs the file may take.

    Returns:
        The report; it prints as a table. ``report.file`` is the file.

    Raises:
        InputError: an argument, or a combination that is known to give wrong numbers. Nothing was
            written.
        MissingPackage: the format needs ``tfinit[export]``.
        WorkError: the exporter fails, or the file crashes its runtime, computes something else or
            takes too long. It was removed; what was at ``path`` before is still there.

    Example:
        >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(2)])
        >>> report = export(model, Path(tmp) / "model.tflite", seconds=0)
        >>> report.file.format, report.file.weights
        ('litert', 16)

    References:
        Elsen, Dukhan, Gale & Simonyan, *Fast Sparse ConvNets*, CVPR 2020,
        https://arxiv.org/abs/1911.09723, for what sparse kernels on CPUs can gain; LiteRT ships
        those for Dense layers in 1×4 blocks.
    """
    path = arguments.path("path", path)
    format = format_of("path", path, format)
    check_combination(format, quantize, sparse, representative_data is not None)
    check_model(model, format, sparse)
    variant = Variant(_label(model, quantize, sparse), model, format, quantize, sparse)
    _check_numbers(seconds, tolerance, timeout)
    _check_variant(variant, representative_data is not None)
    path = _checked_path(path, format)
    maker = FileMaker(representative_data, x, y, tolerance, timeout)
    beside = []
    if baseline is not None:
        beside = [Variant("baseline", baseline, format)]
        _check_variant(beside[0], False, "baseline")
    pruned = bool(seconds) and bool(pruned_kernels(model))
    if seconds and (sparse or quantize) and (baseline is None or pruned):
        beside.append(Variant(_label(model), model, format))
    maker.check_inputs([*beside, variant])
    left_out: list[str] = []
    with _workspace() as workspace:
        files = {variant.label: workspace / f"own{FORMATS[format].suffix}"}
        made = {variant.label: maker.make(variant, files[variant.label], path)}
        variants = [*beside, variant]
        if pruned and baseline is None:
            variants = [*_dense(model, format, left_out), *variants]
        if pruned:
            variants[-1:-1] = _other(variant, representative_data is not None, left_out)
        for n, other in enumerate(variants[:-1]):
            file = files[other.label] = workspace / f"{n}{FORMATS[format].suffix}"
            try:
                made[other.label] = maker.make(other, file, Path(other.label))
            except WorkError as error:
                if other in beside:
                    raise
                why = str(error).removeprefix(f"{other.label} was removed: ")
                left_out.append(f"{other.label} was not compared: {why}")
        variants = [one for one in variants if one.label in made]
        rows = maker.with_latencies(
            variants, [made[v.label] for v in variants], [files[v.label] for v in variants], seconds
        )
        write_whole(path, files[variant.label], _CURE)
    # The others are there to compare with; their layers are no news.
    rows = [*map(_for_comparison, rows[:-1]), replace(rows[-1], path=str(path))]
    return ExportReport(tuple(rows), maker.examples, tuple(left_out))


def _dense(model: Any, format: str, left_out: list[str]) -> list[Variant]:
    """The dense model that a pruned one stands beside, if it can be made."""
    dense = dense_model(model)
    if dense is None:
        left_out.append(
            "The dense model was not compared, since no copy of this one can be filled: pass it as "
            "`baseline`."
        )
        return []
    return [Variant("dense", dense, format)]


def _other(variant: Variant, has_representative_data: bool, left_out: list[str]) -> list[Variant]:
    """Sparse beside int8 and int8 beside sparse, to choose from: LiteRT has both."""
    if not FORMATS[variant.format].sparse or not (variant.sparse or variant.quantize):
        return []
    quantize = "int8" if variant.sparse else None
    other = replace(
        variant, label=quantize or "sparse", quantize=quantize, sparse=not variant.sparse
    )
    try:
        _check_variant(other, has_representative_data)
    except InputError as error:
        told = str(error).replace("`quantize='int8'` quantizes", "It quantizes")
        left_out.append(f"{other.label} was not compared. {told}")
        return []
    return [other]


def _for_comparison(row: FileReport) -> FileReport:
    """A row to compare with. What the stand-in for the dense model answers is no news either."""
    row = replace(row, layers=(), notes=(), reference=row.label in ("baseline", "dense"))
    return replace(row, accuracy=None, notes=(NOTE,)) if row.label == "dense" else row


@renamed(("variants", "representative_data", "data"), data=("x", "y"))
def side_by_side(
    variants: Sequence[Variant],
    representative_data: Any = None,
    *,
    x: Any = None,
    y: Any = None,
    folder: str | os.PathLike[str] | None = None,
    seconds: float = 1.0,
    tolerance: float | None = None,
    timeout: float = 600.0,
) -> ExportReport:
    """Export several variants of a model and measure them in turns on the same machine.

    Args:
        variants: What to compare; the first is what the others are compared with. All take the
            same inputs.
        representative_data: As of `export`, for all of them.
        x: Examples to measure the accuracy on.
        y: Their classes.
        folder: Where the files go, each under its label. None: they are removed.
        seconds: To spend on the latency of each; 0 measures none.
        tolerance: As of `export`.
        timeout: Seconds that each process may take.

    Raises:
        InputError: as of `export`, or two variants have the same label.
        WorkError: as of `export`. Files of variants before it are removed too.

    Example:
        >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(2)])
        >>> variants = [Variant("plain", model), Variant("sparse", model, sparse=True)]
        >>> [row.label for row in side_by_side(variants, seconds=0).rows]
        ['plain', 'sparse']
    """
    variants = listed("variants", variants, Variant)
    folder = arguments.path("folder", folder, none=True)
    labels = [variant.label for variant in variants]
    if not labels or len(set(labels)) != len(labels):
        raise InputError(f"`variants` must be one or more, with labels of their own; got {labels}.")
    _check_numbers(seconds, tolerance, timeout)
    for variant in variants:
        _check_variant(variant, representative_data is not None)
    maker = FileMaker(representative_data, x, y, tolerance, timeout)
    maker.check_inputs(variants)
    paths = _paths(variants, folder)
    with _workspace() as workspace:
        files = [
            workspace / f"{n}{FORMATS[variant.format].suffix}" for n, variant in enumerate(variants)
        ]
        rows = [
            maker.make(variant, file, Path(variant.label))
            for variant, file in zip(variants, files, strict=True)
        ]
        rows = maker.with_latencies(variants, rows, files, seconds)
        for file, path in zip(files, paths, strict=False):
            write_whole(path, file, _CURE)
    if paths:
        rows = [replace(row, path=str(path)) for row, path in zip(rows, paths, strict=True)]
    return ExportReport(tuple(rows), maker.examples)


def _label(model: Any, quantize: str | None = None, sparse: bool = False) -> str:
    """What a row of `export` is called: what was done, or else what the model is."""
    if quantize or sparse:
        return quantize or "sparse"
    numbers = numbers_of(model)
    if not pruned_kernels(model):
        return numbers
    return "pruned" if numbers == "float32" else f"pruned {numbers}"


def _check_variant(variant: Variant, has_representative_data: bool, name: str = "model") -> None:
    check_combination(variant.format, variant.quantize, variant.sparse, has_representative_data)
    check_model(variant.model, variant.format, variant.sparse, name)
    FORMATS[variant.format].check_packages()


def _check_numbers(seconds: float, tolerance: float | None, timeout: float) -> None:
    number("seconds", seconds, least=0, most=LONGEST, cure="0 measures none.")
    number("tolerance", tolerance, above=0, none=True)
    number("timeout", timeout, above=0, most=LONGEST)


def _checked_path(path: Path, format: str) -> Path:
    suffix = FORMATS[format].suffix
    if suffix and not fits(path, format):
        raise InputError(
            f"`path` must end in {suffix} for {format}, received {str(path)!r}. Leave `format` out "
            "to go by the suffix."
        )
    if (
        not suffix
        and path.suffix.lower() in (*(f.suffix for f in FORMATS.values()), ".h5")
        and path.suffix
    ):
        raise InputError(f"`path` is a directory for {format}, received {str(path)!r}.")
    _check_place("path", path, format, "Choose another path.")
    return path


def _paths(variants: Sequence[Variant], folder: str | os.PathLike[str] | None) -> list[Path]:
    """Where the files of `side_by_side` go, one for each label; none without a folder."""
    if folder is None:
        return []
    names = ["".join(c if c.isalnum() or c in "-_.%" else "_" for c in v.label) for v in variants]
    paths = [
        Path(folder) / f"{name}{FORMATS[variant.format].suffix}"
        for name, variant in zip(names, variants, strict=True)
    ]
    if len(set(paths)) < len(paths):
        raise InputError(
            f"`variants` have labels that become one name of a file: {names}. Give others."
        )
    for path, variant in zip(paths, variants, strict=True):
        _check_place("folder", path, variant.format, "Choose another folder or label.")
    return paths


def _check_place(name: str, path: Path, format: str, cure: str) -> None:
    known = FORMATS[format]
    directory = not known.suffix
    check_writable(name, path, cure, directory)
    if directory and path.is_dir() and any(path.iterdir()) and not (path / known.marker).exists():
        raise InputError(
            f"`{name}` {str(path)!r} is a directory with something else than a SavedModel in it, "
            f"which would be lost. {cure}"
        )


@contextmanager
def _workspace() -> Iterator[Path]:
    """Where files are made before they stand."""
    try:
        with tempfile.TemporaryDirectory(prefix="tfinit-export-") as workspace:
            yield Path(workspace)
    except OSError as error:
        raise WorkError(
            f"cannot work in {tempfile.gettempdir()}: {error.strerror or error}. Make room, or "
            "name another directory in TMPDIR."
        ) from error
