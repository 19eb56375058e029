"""Kinds of models to each format that tfinit exports to: a right file, or a line that helps.

Each file is run by its runtime, here, beside the check that `tfinit.export` makes, and has to
compute what Keras does. Where `export` refuses in one line, the cure that the line names is done
to the letter, and the file of the cured model is run in the same way.
scripts/export_matrix.py [--kind NAME ...] [--format NAME ...] [--int8]; exit code 1 if one fails.
"""

import argparse
import os
import re
import sys
import tempfile
import textwrap
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

from tfinit.errors import InputError, WorkError
from tfinit.exporting import export
from tfinit.exporting.formats import FORMATS
from tfinit.exporting.inputs import batch_of, in_order, names_of, outputs_of
from tfinit.exporting.isolated_runs import TOLERANCE, difference

L = keras.layers
RNG = np.random.default_rng(0)
WORDS = ["a b c", "d", "b b", "c a", "d d d", "a", "b c d", "c"]


def floats(*shape: int) -> np.ndarray:
    """Eight examples."""
    return RNG.normal(size=(8, *shape)).astype("float32")


def string() -> Any:
    """Text, and what turns it into numbers in the model."""
    vectorize = L.TextVectorization(vocabulary=["a", "b", "c"], output_sequence_length=4)
    layers = [vectorize, L.Embedding(5, 4), L.GlobalAveragePooling1D(), L.Dense(2)]
    return keras.Sequential([keras.Input((), dtype="string"), *layers])


def two_outputs() -> Any:
    inputs = keras.Input((8,))
    x = L.Dense(6, "relu")(inputs)
    return keras.Model(inputs, [L.Dense(2, name="second")(x), L.Dense(3, name="first")(x)])


def recurrent(layer: Any, shape: tuple[int | None, ...] = (5, 3), batch: int | None = None) -> Any:
    return keras.Sequential([keras.Input(shape, batch_size=batch), layer, L.Dense(2)])


def transformer() -> Any:
    """One pre-norm block whose GELU is exact, as Keras's is by default."""
    inputs = keras.Input((5, 8))
    x = L.LayerNormalization()(inputs)
    x = L.Add()([inputs, L.MultiHeadAttention(2, 4)(x, x)])
    y = L.Dense(8)(L.Dense(16, "gelu")(L.LayerNormalization()(x)))
    return keras.Model(inputs, L.Dense(2)(L.GlobalAveragePooling1D()(L.Add()([x, y]))))


def dense(dtype: str | None = None) -> Any:
    layers = [L.Dense(16, "relu", dtype=dtype), L.Dense(4, dtype=dtype)]
    return keras.Sequential([keras.Input((16,), dtype=dtype and "float16"), *layers])


def quantized() -> Any:
    model = dense()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that an Input has nothing to quantize
        model.quantize("int8")
    return model


def any_size() -> Any:
    layers = [L.Conv2D(4, 3, activation="relu"), L.GlobalAveragePooling2D(), L.Dense(2)]
    return keras.Sequential([keras.Input((None, None, 3)), *layers])


def by_name() -> Any:
    """Inputs and outputs in dictionaries, of two types."""
    words, numbers = keras.Input((4,), name="words", dtype="int32"), keras.Input((3,), name="more")
    x = L.Concatenate()([L.Flatten()(L.Embedding(5, 2)(words)), numbers])
    return keras.Model(
        {"words": words, "more": numbers}, {"y": L.Dense(2)(x), "x": L.Dense(3)(numbers)}
    )


@keras.saving.register_keras_serializable("export_matrix")
class Subclassed(keras.Model):
    """Not a graph of layers."""

    def __init__(self, **rest: Any) -> None:
        super().__init__(**rest)
        self.hidden, self.out = L.Dense(6, "relu"), L.Dense(2)

    def call(self, x: Any) -> Any:
        return self.out(self.hidden(x))


def subclassed() -> Any:
    model = Subclassed()
    model(np.zeros((1, 8), "float32"))
    return model


@dataclass(frozen=True)
class Kind:
    """A model, made anew for each file, and what it is given."""

    make: Callable[[], Any]
    inputs: Any
    before: Callable[[], Any] | None = None  # before it was quantized


KINDS = {
    "string input": Kind(string, np.array(WORDS)),
    "two outputs": Kind(two_outputs, floats(8)),
    "stateful": Kind(lambda: recurrent(L.LSTM(4, stateful=True), batch=2), floats(5, 3)),
    "LSTM": Kind(lambda: recurrent(L.LSTM(4)), floats(5, 3)),
    "GRU": Kind(lambda: recurrent(L.GRU(4)), floats(5, 3)),
    "Bidirectional": Kind(lambda: recurrent(L.Bidirectional(L.LSTM(4))), floats(5, 3)),
    "exact GELU": Kind(transformer, floats(5, 8)),
    "int8 by Keras": Kind(quantized, floats(16), dense),
    "float16": Kind(lambda: dense("float16"), floats(16)),
    "free lengths": Kind(any_size, floats(9, 7, 3)),
    "free time": Kind(lambda: recurrent(L.LSTM(4), (None, 3)), floats(20, 3)),
    "inputs by name": Kind(by_name, {"words": RNG.integers(0, 5, (8, 4)), "more": floats(3)}),
    "subclassed": Kind(subclassed, floats(8)),
}


# -- files, run by what their formats are for ------------------------------------------------------


def litert(path: Path) -> Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]:
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(str(path)).get_signature_runner()
    return lambda named: runner(**fitting(named, runner.get_input_details()))


def onnx(path: Path) -> Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [node.name for node in session.get_outputs()]

    def run(named: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        fed = fitting(named, [node.name for node in session.get_inputs()])
        return dict(zip(names, session.run(None, fed), strict=True))

    return run


def saved_model(path: Path) -> Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]:
    loaded = tf.saved_model.load(str(path))
    serve = loaded.signatures["serving_default"]
    specs = serve.structured_input_signature[1]

    def run(named: dict[str, np.ndarray], _: Any = loaded) -> dict[str, np.ndarray]:
        found = serve(**{k: tf.constant(v) for k, v in fitting(named, specs).items()})
        return {name: output.numpy() for name, output in found.items()}

    return run


def fitting(named: dict[str, np.ndarray], names: Any) -> dict[str, np.ndarray]:
    """Inputs under the names of a file, which a subclassed model's has made up."""
    return named if set(named) == set(names) else dict(zip(names, named.values(), strict=True))


RUN = {"litert": litert, "onnx": onnx, "saved_model": saved_model}


def apart(path: Path, format: str, model: Any, inputs: Any, expected: list[np.ndarray]) -> float:
    """The largest difference of a file's outputs from others, over the spread of those."""
    arrays = in_order(model, inputs, "inputs")
    if format == "keras":
        found = outputs_of(keras.saving.load_model(path), arrays)
    else:
        run, parts = RUN[format](path), []
        names, size = names_of(model) or ["x"], batch_of(model) or 8
        for n in range(0, 8, size):
            parts.append(run({k: a[n : n + size] for k, a in zip(names, arrays, strict=True)}))
        found = [np.concatenate([part[name] for part in parts]) for name in parts[0]]
    # The order of the outputs is the file's; their widths tell them apart here.
    found, expected = (sorted(some, key=lambda y: y.shape) for some in (found, expected))
    return difference(found, expected)


# -- what the lines say ----------------------------------------------------------------------------


def cured(line: str, kind: Kind, model: Any) -> tuple[Any, Any, str | None]:
    """The model, its inputs and `quantize`, as the cure in a line of `export` has it."""
    names: dict[str, Any] = {"keras": keras, "model": model}
    if code := re.search(r"export (keras\.Model\(.*\))\.$", line):
        cut = eval(code[1], names)
        lookup = keras.Model(model.inputs, cut_at(code[1], model))
        return cut, lookup(tf.constant(kind.inputs)).numpy(), None
    if code := re.search(r"((?:made|fixed) = keras.*?get_weights\(\)\))", line):
        exec(code[1], names)
        return names.get("made", names.get("fixed")), kind.inputs, None
    if "before `model.quantize`" in line and kind.before is not None:
        before = kind.before()
        keras.utils.set_random_seed(0)
        return before, kind.inputs, "int8"
    if "stateful=False" in line:
        config = re.sub(r"'stateful': True", "'stateful': False", repr(model.get_config()))
        made = keras.Sequential.from_config(eval(config))
        made.set_weights(model.get_weights())
        return made, kind.inputs, None
    raise LookupError("the line names no cure that this script knows")


def cut_at(code: str, model: Any) -> Any:
    """The tensor that a model cut by ``keras.Model(tensor, model.outputs)`` begins at."""
    return eval(re.search(r"model\.get_layer\('\w+'\)\.output", code)[0], {"model": model})


def tried(kind: Kind, format: str, quantize: str | None, home: Path) -> tuple[str, str]:
    """What came of one model in one format: a word for the table, and the line if there is one."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(0)
    model = kind.make()
    expected = outputs_of(model, in_order(model, kind.inputs, "inputs"))
    file = home / f"file{FORMATS[format].suffix}"
    try:
        report = export(model, file, format, quantize, representative_data=kind.inputs, seconds=0)
    except (InputError, WorkError) as error:
        line = str(error).replace(str(home), "…")
        if "\n" in line:
            return "FAILED", f"more than a line: {line}"
    else:
        off = max(report.file.difference, apart(file, format, model, kind.inputs, expected))
        return ("right" if off < allowed(model, quantize) else "WRONG") + f" {off:.0e}", ""
    try:
        made, inputs, by = cured(line, kind, model)
        by = quantize or by
        if kind.before is not None:
            expected = outputs_of(made, in_order(made, inputs, "inputs"))
        export(made, file, format, by, representative_data=inputs, seconds=0)
        if "stateful=False" in line:  # of whole sequences
            expected = outputs_of(made, in_order(made, inputs, "inputs"))
        off = apart(file, format, made, inputs, expected)
    except Exception as error:
        return "FAILED", f"{line} — and its cure does not work: {type(error).__name__}: {error}"
    worked = off < max(allowed(made, by), allowed(model, by))
    return f"{'line, cured' if worked else 'WRONG'} {off:.0e}", line


def allowed(model: Any, quantize: str | None) -> float:
    """The difference that numbers of a model's kind have; see `tfinit.exporting.one_file`."""
    half = any(layer.compute_dtype == "float16" for layer in model._flatten_layers())
    return max(TOLERANCE[quantize], 0.016 if half else 0)


def main(arguments: list[str] | None = None) -> int:
    """Print the table; whether all went well."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--kind", nargs="*", choices=KINDS, default=list(KINDS))
    parser.add_argument("--format", nargs="*", choices=FORMATS, default=list(FORMATS))
    parser.add_argument("--int8", action="store_true", help="with quantize='int8', where it is one")
    chosen = parser.parse_args(arguments)
    quantize = "int8" if chosen.int8 else None
    formats = [f for f in chosen.format if not quantize or FORMATS[f].quantizes]
    width = max(map(len, chosen.kind))
    print(" " * width, *(f"{format:22}" for format in formats))
    lines: dict[str, int] = {}
    failed = False
    for name in chosen.kind:
        cells = []
        for format in formats:
            with tempfile.TemporaryDirectory() as home:
                cell, line = tried(KINDS[name], format, quantize, Path(home))
            number = f" [{lines.setdefault(line, len(lines) + 1)}]" if line else ""
            failed |= not cell.startswith(("right", "line"))
            cells.append(f"{cell + number:22}")
        print(f"{name:{width}}", *cells, flush=True)
    for line, number in lines.items():
        print()
        print(textwrap.fill(f"[{number}] {line}", 100, subsequent_indent="    "))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
