"""Every model class of keras.applications, pruned to 80%: a table.

Each is built without weights, for small images; marked with
prune_low_magnitude, compiled, trained for one step, stripped and saved. Another process, which has
no tfinit, loads the file. What is checked: the count of zeros of every prunable tensor, to one
weight; that the loaded model predicts as the pruned one does. A third process asks TFMOT whether it
takes the tf_keras model of that name.

Run: python scripts/prune_applications.py [--smallest] [--only ResNet50 VGG16] [--compiled]
"""

import gc
import json
import tempfile
import time
from pathlib import Path

import keras
import numpy as np
import tyro
from _application_rows import Process, application
from _device import on_device
from applications_table import classes

from tfinit.cli.signals import heard
from tfinit.pruning import ConstantSparsity, prune_low_magnitude, strip_pruning
from tfinit.variables import prunable_weights

SPARSITY = 0.8
# Of an image: the smallest that a class takes, but so large that at the end batch normalization
# has more than two numbers to normalize, with which a step goes to infinity.
SIZES = (64, 75, 224)
BATCH = 4

# Each reads a line, answers with a line, and lives as long as the table.
LOADER = """
import gc, json, sys
import keras, numpy as np

for line in sys.stdin:
    file, images, outputs = json.loads(line)
    model = keras.saving.load_model(file)
    np.save(outputs, np.asarray(model(np.load(images), training=False)))
    zeros = [int(np.count_nonzero(np.asarray(v) == 0)) for v in model.trainable_variables]
    assert "tfinit" not in sys.modules
    print(json.dumps(zeros), flush=True)
    del model
    keras.backend.clear_session()
    gc.collect()
"""
TFMOT = """
import gc, json, sys
import tf_keras
import tensorflow_model_optimization as tfmot

sizes = json.loads(sys.argv[1])
makers = vars(tf_keras.applications)
print(json.dumps([n for n in sorted(makers) if n[0].isupper() and callable(makers[n])]), flush=True)
for line in sys.stdin:
    make = makers[json.loads(line)]
    for size in sizes:
        try:
            model = make(weights=None, input_shape=(size, size, 3), classes=10)
            break
        except ValueError:
            pass
    try:
        tfmot.sparsity.keras.prune_low_magnitude(model)
        answer = "yes"
    except Exception as error:
        answer = f"no: {type(error).__name__}: {error}"
    print(json.dumps(answer), flush=True)
    del model
    tf_keras.backend.clear_session()
    gc.collect()
"""


def zeros_of(size):
    """As the documentation of the API gives it: at least one survives, halves to even."""
    kept = np.rint(np.float32(size) * (np.float32(1) - np.float32(SPARSITY)))
    return size - max(1, int(kept))


def prune(make, loader, folder, compiled):
    """The cells of a row, and what is wrong with it."""
    model = application(make, SIZES)
    rng = np.random.default_rng(0)
    images = rng.random((BATCH, *model.input_shape[1:]), "float32")
    labels = np.arange(BATCH)
    before = {key: np.array(v) for key, v in list(prunable_weights(model).items())[:1]}

    model = prune_low_magnitude(model, ConstantSparsity(SPARSITY, begin_step=1))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    # Of a single step, compiling would be nearly all the time.
    model.compile(keras.optimizers.SGD(0.01), loss, run_eagerly=not compiled, jit_compile=False)
    model.fit(images, labels, verbose=0)
    expected = np.asarray(model(images, training=False))
    stripped = strip_pruning(model)
    np.save(folder / "images.npy", images)
    stripped.save(folder / "model.keras")
    files = [str(folder / name) for name in ("model.keras", "images.npy", "outputs.npy")]
    loader.ask(files)
    # By order, not by path: Keras gives the layers of nested models another one on loading.
    zeros = dict(zip((v.path for v in stripped.trainable_variables), loader.answer(), strict=True))
    difference = float(np.abs(np.load(folder / "outputs.npy") - expected).max())

    tensors = prunable_weights(stripped)
    sizes = {v.path: int(np.prod(v.shape)) for v in tensors.values()}
    wrong = [
        f"{path}: {zeros[path]} zeros of {size}, not {zeros_of(size)}"
        for path, size in sizes.items()
        if zeros[path] != zeros_of(size)
    ]
    if not difference <= 1e-6 * max(1, np.abs(expected).max()):
        wrong.append(f"predictions differ by {difference}")
    if any(np.array_equal(value, np.asarray(tensors[key])) for key, value in before.items()):
        wrong.append("nothing was trained")
    sparsity = sum(zeros[path] for path in sizes) / sum(sizes.values())
    cells = [
        f"{model.input_shape[1]}",
        f"{model.count_params() / 1e6:.1f} M",
        f"{len(sizes)}",
        f"{sparsity:.6f}",
        f"{difference:.1g}",
    ]
    return cells, wrong


def main(
    smallest: bool = False,
    only: tuple[str, ...] = (),
    compiled: bool = False,
    device: str = "auto",
):
    """Print the table.

    Args:
        smallest: Only one class of each family.
        only: Only these classes.
        compiled: The training step in a compiled graph, as `fit` has it, not eagerly: slow.
        device: cpu, gpu (an error where there is none) or auto.
    """
    on_device(device)
    loader, tfmot = Process(LOADER), Process(TFMOT, json.dumps(SIZES))
    theirs = tfmot.answer()
    print("| model | image | parameters | tensors | sparsity | max Δ prediction | s | TFMOT |")
    print("| --- |" + " ---: |" * 6 + " --- |", flush=True)
    failures, asked, accepted = [], set(), []

    def tfmot_answer(name):
        answer = tfmot.answer()
        asked.add(name)
        if answer == "yes":
            accepted.append(name)
        # The message ends with the class of the layer that it cannot wrap.
        return answer if answer == "yes" else f"no: {answer.split('.')[-1].split(chr(39))[0]}"

    for name, make in classes(smallest, only):
        start = time.perf_counter()
        if name in theirs:
            tfmot.ask(name)
        with tempfile.TemporaryDirectory() as folder:
            try:
                cells, wrong = prune(make, loader, Path(folder), compiled)
            except Exception as error:
                cells, wrong = ["", "", "", "", ""], [f"{type(error).__name__}: {error}"]
        failures += [f"{name}: {what}" for what in wrong]
        cells += [f"{time.perf_counter() - start:.0f}"]
        cells += [tfmot_answer(name) if name in theirs else "no such model"]
        print(f"| {name} |", *(f"{cell} |" for cell in cells), flush=True)
        keras.backend.clear_session()
        gc.collect()
    if not only and not smallest:
        for name in sorted(set(theirs) - asked):
            tfmot.ask(name)
            print(f"tf_keras only: {name}: {tfmot_answer(name)}", flush=True)
    print(f"\nTFMOT takes {len(accepted)} of {len(asked)}: {', '.join(sorted(accepted))}")
    print(f"tfinit: {len(failures)} failures", *failures, sep="\n  ")
    raise SystemExit(len(failures) > 0)


if __name__ == "__main__":
    with heard():
        tyro.cli(main)
