"""What a format of files is: a class for each, with all that is known of it."""

import importlib.util
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, TypeVar

from tfinit.errors import InputError, MissingPackage

if TYPE_CHECKING:
    import numpy as np

    from tfinit.exporting.blocks import Encoding
    from tfinit.exporting.contents import Stored
    from tfinit.exporting.lacks import Lack


class Runtime(Protocol):
    """A file that was opened to be run."""

    any_batch: bool
    """Whether it takes any number of examples."""

    def set(self, arrays: "list[np.ndarray]") -> None:
        """Take the inputs."""

    def invoke(self) -> None:
        """Compute; this is timed."""

    def get(self) -> "list[np.ndarray]":
        """The outputs."""


class Options(NamedTuple):
    """How a file is to be written.

    Attributes:
        quantize: None or ``"int8"``.
        sparse: Store zeros sparse.
        representative: An array for each input, for int8.
        blocks: Whether Dense layers may be stored in 1×4 blocks.
    """

    quantize: str | None = None
    sparse: bool = False
    representative: "list[np.ndarray] | None" = None
    blocks: bool = True


class Format:
    """A kind of file. Subclasses say what it is; what this one says holds for any.

    No module of a format imports Keras or a runtime at its top: the command line's help lists the
    formats, and the process that runs a file loads what this file needs alone.
    """

    name: ClassVar[str]
    """The word for it."""
    suffix: ClassVar[str] = ""
    """How its name ends; empty for a directory."""
    marker: ClassVar[str] = ""
    """A file by which a directory of this format is known."""
    runtime: ClassVar[str]
    """What runs it by default."""
    packages: ClassVar[tuple[str, ...]] = ()
    """What must be installed beside TensorFlow to write and run it: import names."""
    needs_tensorflow: ClassVar[bool] = True
    """Whether only Keras on TensorFlow writes it."""
    quantizes: ClassVar[bool] = False
    """Whether there is an int8 form of it."""
    sparse: ClassVar[bool] = False
    """Whether it has a form, and kernels, for zeros."""
    float32_only: ClassVar[bool] = False
    """Whether models that compute in other floats may not fit."""
    missing_types: ClassVar[dict[str, str]] = {}
    """Types of inputs that it lacks → types that hold the same numbers."""
    has_loops: ClassVar[bool] = True
    """Whether recurrent layers need no unrolling."""
    keeps_state: ClassVar[bool] = True
    """Whether a file keeps the states of stateful layers from one run to the next."""
    keeps_codes: ClassVar[bool] = False
    """Whether weights that Keras quantized are in the file as codes."""
    zeros: ClassVar[str] = ""
    """Why pruned layers will not run faster, if nothing is said of zeros."""
    note: ClassVar[str] = ""
    """What a report says of each file."""
    cure: ClassVar[str] = (
        "Export it in another format, such as saved_model, which holds all that TensorFlow "
        "computes; or replace the layer."
    )
    """What to do about a model that it cannot hold."""

    def check_options(self, quantize: str | None, sparse: bool) -> None:
        """Raise InputError for options that give wrong numbers or mean nothing here."""
        if sparse and not self.sparse:
            able = either(repr(name) for name, format in FORMATS.items() if format.sparse)
            raise InputError(
                f"`sparse=True` is for format {able}, received {self.name!r}: {self.runtime} has "
                "neither a file form nor kernels for zeros. Leave it out."
            )
        if quantize and not self.quantizes:
            able = [name for name, format in FORMATS.items() if format.quantizes]
            raise InputError(
                f"`quantize='int8'` is for the formats {' and '.join(able)}, received "
                f"{self.name!r}, whose runtime would compute in float32."
            )

    def check_packages(self) -> None:
        """Raise MissingPackage unless what it needs is installed."""
        for package in self.packages:
            if importlib.util.find_spec(package) is None:
                name = package.replace("_", "-")
                raise MissingPackage(f"export to {self.name}", name, "tfinit[export]")

    def write(self, model: Any, path: Path, options: Options) -> "list[Encoding]":
        """Write a file that is not there; how its Dense layers were encoded, if any is sparse."""
        raise NotImplementedError

    def lacks(self, path: Path | None, logged: Sequence[str]) -> "list[Lack]":
        """What the runtime lacks of what was written to a path (None: nothing) with these logs."""
        return []

    def weights(self, path: Path) -> "list[Stored]":
        """The weights of rank 2 or more that a file holds, read from the file alone."""
        raise NotImplementedError

    def runs_here(self, path: Path) -> bool:
        """Whether only this process can run the file, which knows the classes that it names."""
        # The other process loads the formats of tfinit alone.
        return not type(self).__module__.startswith("tfinit.")

    def open(self, path: str, names: list[str] | None, alone: bool) -> Runtime:
        """A file, opened to be run.

        Args:
            path: Where it is.
            names: Of the model's inputs, in their order; None if they are not known.
            alone: Whether the process is there for this only, so that it may be set to one thread.
        """
        raise NotImplementedError


FORMATS: dict[str, Format] = {}


_Class = TypeVar("_Class", bound=type[Format])


def export_format(cls: _Class) -> _Class:
    """Class decorator: files can be exported in this format, from now on."""
    known = [*FORMATS.values(), cls()]
    FORMATS.clear()
    # Those for devices first, directories last.
    for format in sorted(known, key=lambda f: (not f.quantizes, not f.suffix, f.name)):
        FORMATS[format.name] = format
    return cls


def either(names: Iterable[str]) -> str:
    """Names in a sentence: litert, onnx or keras."""
    *first, last = names
    return f"{', '.join(first)} or {last}" if first else last


def in_natural_order(names: Iterable[str]) -> list[str]:
    """output_2 before output_10."""
    return sorted(
        names, key=lambda n: [int(p) if p.isdigit() else p for p in re.split(r"(\d+)", n)]
    )


def in_order_of_inputs(names: list[str] | None, there: Iterable[str]) -> list[str]:
    """The inputs of a file in the model's order, if they are called alike."""
    if names is not None and set(names) == set(there):
        return names
    return in_natural_order(there)


class TensorFlowRuntime:
    """What TensorFlow runs: ``call`` takes the inputs in their types ``dtypes``, if known."""

    any_batch = True
    call: Any
    dtypes: list[Any]

    def __init__(self, alone: bool):
        import tensorflow as tf

        if alone:  # else in a program of somebody's, with its own threads
            tf.config.threading.set_intra_op_parallelism_threads(1)
            tf.config.threading.set_inter_op_parallelism_threads(1)
        self.tf = tf

    def set(self, arrays: "list[np.ndarray]") -> None:
        """Take the inputs."""
        made = [self.tf.constant(array) for array in arrays]
        self.feed = [
            self.tf.cast(one, dtype) if dtype is not None and dtype != self.tf.string else one
            for one, dtype in zip(made, self.dtypes or [None] * len(made), strict=True)
        ]

    def invoke(self) -> None:
        """Compute."""
        self.found = self.call(*self.feed)

    def get(self) -> "list[np.ndarray]":
        """The outputs."""
        import numpy as np

        return [np.asarray(output) for output in self.found]
