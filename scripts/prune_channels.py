"""Models pruned to half their multiply-adds by three scores: a table.

Every model class of keras.applications, for small images; the architectures of
tests/shared/architectures.py; three of KerasHub's backbones. What is checked: half is met within
0.95 to 1; the smaller model computes what the given one does with the channels masked, to 1e-5 of
the largest output, in float64 where float32 does not; the multiply-adds of the report are those of
a new count; another process, which has no tfinit, loads the file of the first score, computes the
same and counts the same, by shapes and kernels alone, where all kernels are of Dense and Conv.

A cell of a score: the fraction of the multiply-adds left, channels left of how many, the greatest
difference (with 64: in float64).

Run: python scripts/prune_channels.py [--only ResNet50 vit Bert]
"""

import gc
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tyro
from _application_rows import Process, application
from applications_table import classes

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests/shared"))
from architectures import ARCHITECTURES
from keras_hub_backbones import BACKBONES
from keras_hub_backbones import batch_for as hub_batch
from masked_outputs import batch_for, greatest_difference, masked_outputs, outputs_of

from tfinit.cli.signals import heard
from tfinit.errors import InputError
from tfinit.graph.multiply_adds import count_uses
from tfinit.pruning import ChannelPruning, prune_channels
from tfinit.pruning.channels.costs import multiply_adds
from tfinit.variables import walk_layers

HUB = ("ResNet", "GPT2", "Bert")
SIZES = (32, 71, 75, 224)  # of images: the smallest that a class takes
SCORES = (("l2",), ("batchnorm", "taylor"), ("random",))  # of several the first that can be used
TARGET, TOLERANCE, ROWS = 0.5, 1e-5, 4
# Of KerasHub's blocks only what is between two Dense layers can go.
MORE = {"keras_hub GPT2": 0.8, "keras_hub Bert": 0.8}

LOADER = """
import gc, json, math, sys
import keras, numpy as np

KERNELS = ("kernel", "depthwise_kernel", "pointwise_kernel")

def count(model):
    "Multiply-adds by shapes alone; None where there is more than Dense and Conv layers."
    total = 0
    for layer in model.operations:
        if not getattr(layer, "weights", ()) or type(layer).__name__.endswith("Normalization"):
            continue
        kind = type(layer).__name__
        if kind not in ("Dense", "Conv2D", "DepthwiseConv2D", "SeparableConv2D"):
            if kind in ("LayerScale", "PReLU"):
                continue
            return None
        first = getattr(layer, "data_format", None) == "channels_first"
        for node in layer._inbound_nodes:
            shape = node.outputs[0].shape[1:]
            positions = math.prod(shape[1:] if first else shape[:-1])
            kernels = [w for w in layer.weights if w.name in KERNELS]
            total += positions * sum(math.prod(w.shape) for w in kernels)
    return total

for line in sys.stdin:
    file, inputs, outputs, hub = json.loads(line)
    if hub:
        import keras_hub
    model = keras.saving.load_model(file)
    with np.load(inputs) as stored:
        given = dict(stored)
    if "0" in given:
        given = list(given.values()) if len(given) > 1 else given["0"]
    made = keras.tree.flatten(model(given, training=False))
    np.savez(outputs, *map(keras.ops.convert_to_numpy, made))
    assert "tfinit" not in sys.modules
    print(json.dumps(count(model)), flush=True)
    del model, made
    keras.backend.clear_session()
    gc.collect()
"""


def backbone(name: str) -> Any:
    import keras_hub

    return BACKBONES[name](keras_hub.models)


def networks(only: tuple[str, ...]) -> dict[str, Any]:
    """Name → what builds it."""
    found = {name: lambda make=make: application(make, SIZES) for name, make in classes(False, ())}
    found |= ARCHITECTURES
    found |= {f"keras_hub {name}": lambda name=name: backbone(name) for name in HUB}
    return {name: found[name] for name in only} if only else found


def filled(model: Any, given: Any) -> Any:
    """With noise on what Keras begins with ones and zeros, so that nothing is equal by chance.

    BatchNormalization has the statistics of a batch, else what is far down sees nothing of the
    inputs; without any normalization biases are small, for the same reason.
    """
    rng = np.random.default_rng(0)
    bias = 0.2 if any("gamma" in v.path for v in model.weights) else 0.001
    for variable in model.trainable_variables:
        if len(variable.shape) == 1:
            positive = any(word in variable.path for word in ("gamma", "scale"))
            low, high = (0.7, 1.3) if positive else (-bias, bias)
            variable.assign(rng.uniform(low, high, variable.shape))
    normalizations = [
        layer
        for _, layer in walk_layers(model)
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    if normalizations:
        momenta = [layer.momentum for layer in normalizations]
        for layer in normalizations:
            layer.momentum = 0.0
        model(given, training=True)
        for layer, momentum in zip(normalizations, momenta, strict=True):
            layer.momentum = momentum
            noise = rng.uniform(0.7, 1.3, layer.moving_variance.shape)
            variance = keras.ops.convert_to_numpy(layer.moving_variance)
            layer.moving_variance.assign((variance + 1e-3) * noise)
    return model


class Row:
    """One model by all scores: the cells of its row, and what is wrong."""

    def __init__(self, name: str, make: Any, loader: Any, folder: Path) -> None:
        self.make, self.loader, self.folder = make, loader, folder
        self.hub = name.startswith("keras_hub")
        self.target = MORE.get(name, TARGET)
        keras.utils.set_random_seed(0)
        model = make()
        self.given = hub_batch(model, ROWS) if self.hub else batch_for(model, ROWS)
        self.model = filled(model, self.given)
        self.cost = self.count(self.model)
        losses = keras.tree.map_structure(lambda _: "mse", model.output)
        model.compile("sgd", losses)
        self.wrong: list[str] = []
        self.skipped: dict[str, None] = {}
        self.counted = ""  # where the multiply-adds were counted anew

    def cells(self) -> list[str]:
        cells = [f"{self.model.count_params() / 1e6:.2f} M"]
        for names in SCORES:
            for score in names:
                try:
                    cells.append(self.pruned(score))
                    break
                except InputError as error:
                    told = f"{score}: {error}"
            else:
                self.wrong.append(told)
                cells.append("failed")
        return [*cells, self.counted]

    def pruned(self, score: str) -> str:
        """The cell of one score."""
        data = (self.given, self.outputs_wanted()) if score == "taylor" else (self.given,)
        rounded = 8 if self.target == TARGET else 1
        result = prune_channels(
            self.model, *data, target={"macs": self.target}, score=score, round_to=rounded
        )
        counted = self.count(result.model)
        left = counted / self.cost
        self.expect(
            0.95 * self.target <= left <= self.target, f"{score}: {left:.4f} of multiply-adds left"
        )
        self.expect(
            result.multiply_adds in (None, counted), f"{score}: {counted:,} multiply-adds counted"
        )
        masked = masked_outputs(self.model, result.plan.masks(self.model), self.given)
        made = outputs_of(result.model, self.given)
        self.expect(
            all(np.ptp(array, axis=0).max() > 1e-4 * np.abs(array).max() for array in masked),
            f"{score}: the outputs hardly depend on the inputs",
        )
        difference, bits = greatest_difference(masked, made), ""
        if difference > TOLERANCE:
            difference, bits = self.in_float64(result), " (64)"
        self.expect(difference <= TOLERANCE, f"{score}: outputs differ by {difference:.2g}")
        if not self.counted:  # a file for each model
            self.loaded(score, result, made)
        self.skipped |= {f"{one.path}: {one.reason}": None for one in result.skipped}
        groups = result.plan.groups
        channels, stay = sum(g.channels for g in groups), sum(g.left for g in groups)
        return f"{score} {left:.3f} {stay}/{channels} {difference:.0e}{bits}"

    def count(self, model: Any) -> int:
        return multiply_adds(model, count_uses(model, self.given))

    def outputs_wanted(self) -> Any:
        made = self.model(self.given, training=False)
        random = np.random.default_rng(1)
        return keras.tree.map_structure(lambda t: random.normal(size=t.shape), made)

    def in_float64(self, result: ChannelPruning) -> float:
        """The difference between both networks with the same weights in float64."""
        keras.config.set_floatx("float64")
        keras.config.set_dtype_policy("float64")
        try:
            model = self.make()
            model.set_weights(self.model.get_weights())
            new = result.plan.apply(model).model
            given = keras.tree.map_structure(
                lambda a: a.astype("float64") if a.dtype.kind == "f" else a, self.given
            )
            masked = masked_outputs(model, result.plan.masks(model), given)
            return greatest_difference(masked, outputs_of(new, given))
        finally:
            keras.config.set_floatx("float32")
            keras.config.set_dtype_policy("float32")

    def loaded(self, score: str, result: ChannelPruning, made: list[np.ndarray]) -> None:
        """Save, let the other process load, and count."""
        inputs, outputs = self.folder / "inputs.npz", self.folder / "outputs.npz"
        given = self.given
        if not isinstance(given, dict):
            given = {str(n): array for n, array in enumerate(keras.tree.flatten(given))}
        np.savez(inputs, **given)
        file = self.folder / "model.keras"
        result.model.save(file)
        self.loader.ask([str(file), str(inputs), str(outputs), self.hub])
        there = self.loader.answer()
        if there is not None:
            self.expect(there == result.multiply_adds, f"{score}: {there:,} multiply-adds there")
        self.counted = "here" if there is None else "there"
        with np.load(outputs) as stored:
            difference = greatest_difference(made, list(stored.values()))
        self.expect(
            difference <= TOLERANCE, f"{score}: the file's outputs differ: {difference:.2g}"
        )

    def expect(self, true: bool, otherwise: str) -> None:
        if not true:
            self.wrong.append(otherwise)


def main(only: tuple[str, ...] = ()):
    """Print the table.

    Args:
        only: Only these, in this order: classes, architectures, "keras_hub Bert".
    """
    warnings.simplefilter("ignore")
    loader = Process(LOADER)
    print("| model | parameters | first | second | third | counted | s |")
    print("| --- | ---: |" + " --- |" * 4 + " ---: |", flush=True)
    failures = []
    for name, make in networks(only).items():
        start = time.perf_counter()
        cells, wrong, skipped = [""] * 5, [], {}
        with tempfile.TemporaryDirectory() as folder:
            try:
                row = Row(name, make, loader, Path(folder))
                cells = row.cells()
                wrong, skipped = row.wrong, row.skipped
                del row
            except Exception as error:
                wrong = [f"{type(error).__name__}: {error}"]
                cells[1] = "failed"
                loader.process.kill()
                loader = Process(LOADER)
        print(f"| {name} |", *(f"{cell} |" for cell in cells), end=" ")
        print(f"{time.perf_counter() - start:.0f} |", flush=True)
        for told in skipped:
            print(f"    skipped {told}", flush=True)
        for told in wrong:
            print(f"    WRONG {told}", flush=True)
        failures += [f"{name}: {told}" for told in wrong]
        keras.backend.clear_session()
        gc.collect()
    print(f"\n{len(failures)} failures", *failures, sep="\n  ")
    raise SystemExit(len(failures) > 0)


if __name__ == "__main__":
    with heard():
        tyro.cli(main)
