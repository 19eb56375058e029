"""KerasHub's backbones, small and with random weights, through all that tfinit does: a table.

Columns: whether the model is traced whole; kernels; schemes that run, of those that fit (mup with
the model itself as its base); severe findings on the fresh model with a head and its loss; whether
the report counts all parameters, and the multiply-adds; zeros after pruning to 80%; parameters that
`compact` leaves after a third of all units were set to zero, and that the outputs stay. Ends with 1
if any of it fails.
"""

import argparse
import math
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "shared"))

from keras_hub_backbones import NAMES, backbone

from tfinit import diagnose, initialize, recommend
from tfinit.errors import InputError, reason
from tfinit.graph.kernels import find_kernels
from tfinit.graph.residual import residual_branches
from tfinit.graph.tracing import trace
from tfinit.pruning import compact, prune_layerwise, sparsity_report
from tfinit.pruning.scoring.masks import survivors
from tfinit.schemes import SCHEMES
from tfinit.schemes.engine.registry import REGISTRY
from tfinit.variables import prunable_weights, read_weights, write_weights

SPARSITY = 0.8


def traced(model: Any, x: Any) -> str:
    """Whether nothing of the graph is guessed."""
    graph = trace(model)
    if graph.guessed:
        raise InputError(f"guessed: {graph.reasons}")
    return f"{len(find_kernels(model, graph))} kernels, {len(residual_branches(graph))} branches"


def schemes(model: Any, x: Any) -> str:
    """How many schemes run."""
    ran, refused = 0, []
    for name in SCHEMES:
        needed = name != "mup" and REGISTRY[name].needed  # a file, a length, a larger network
        if needed or REGISTRY[name].of_targets:
            continue
        given = {"mup": {"base": model}, "completep": {"depth": 1}, "metainit": {"steps": 2}}
        given["grad_init"] = {"steps": 2}
        options = given.get(name, {})
        try:
            initialize(model, name, x if REGISTRY[name].needs_data else None, seed=0, **options)
            ran += 1
        except InputError as error:
            refused.append(f"{name}: {reason(error)[:60]}")
    return f"{ran}" + (f" ({'; '.join(refused)})" if refused else "")


def findings(model: Any, x: Any) -> str:
    """The severe findings on the fresh model, which classifies the mean of what it makes."""
    made = keras.tree.flatten(model.output)[-1]
    mean = keras.ops.mean(made, axis=tuple(range(1, len(made.shape) - 1)))
    logits = keras.layers.Dense(3, name="head")(mean)
    whole = keras.Model(model.input, logits)
    whole.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    found = []
    for data in ((x, np.arange(len(keras.tree.flatten(x)[0])) % 3), (x, None)):
        found += [f for f in diagnose(whole, *data).findings if f.severity == "severe"]
    if found:
        raise InputError("; ".join(map(str, found))[:160])
    return "0"


def recommended(model: Any, x: Any) -> str:
    """How many kernels `recommend` has an initializer for, that it applies."""
    advice = recommend(model)
    advice.apply(seed=0)
    return str(len(advice))


def counts(model: Any, x: Any) -> str:
    """The parameters and multiply-adds of the report."""
    report = sparsity_report(model, x)
    known = sum(math.prod(w.shape) for w in model.weights if len(w.shape) >= 2)
    prunable = sum(math.prod(w.shape) for w in prunable_weights(model).values())
    if report.total.parameters != model.count_params() or report.total.multiply_adds is None:
        raise InputError(f"{report.total}, {report.notes}")
    return f"{report.total.multiply_adds}, {prunable} of {known} prunable"


def pruned(model: Any, x: Any) -> str:
    """The zeros after pruning each layer to `SPARSITY`."""
    weights = prunable_weights(model)
    values = read_weights(weights)
    ones = {key: np.ones(value.shape, bool) for key, value in values.items()}
    masks = prune_layerwise(values, ones, dict.fromkeys(values, SPARSITY))
    write_weights(weights, {key: values[key] * masks[key] for key in values})
    for key, weight in weights.items():
        zeros, size = int(np.sum(weight.numpy() == 0)), math.prod(weight.shape)
        if zeros != size - survivors(size, SPARSITY):
            raise InputError(f"{key}: {zeros} of {size}")
    return f"{len(weights)} exact"


def compacted(model: Any, x: Any) -> str:
    """The parameters that are left where units are zero, and by how much the outputs differ."""
    fresh = compact(model)
    if fresh.parameters != model.count_params():
        raise InputError(f"of the fresh model {fresh.parameters} of {model.count_params()} left")
    random = np.random.default_rng(0)
    for weight in model.weights:
        if len(weight.shape) >= 2:
            value = np.array(weight.numpy())
            value[..., random.random(value.shape[-1]) < 1 / 3] = 0
            weight.assign(value)
    result = compact(model)
    made, remade = (keras.tree.flatten(m(x, training=False)) for m in (model, result.model))
    pairs = zip(map(keras.ops.convert_to_numpy, made), remade, strict=True)
    off = max(float(np.abs(a - np.array(b)).max() / (np.abs(a).max() or 1)) for a, b in pairs)
    if not off <= 1e-5:
        raise InputError(f"the outputs differ by {off:.1e} of the largest")
    return f"{result.parameters_before} → {result.parameters}"


COLUMNS: tuple[Callable[[Any, Any], str], ...] = (
    *(traced, schemes, findings, recommended, counts, pruned, compacted),
)


def main() -> int:
    """Print the table; 1 if anything of it fails."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; all")
    names = parser.parse_args().names
    if unknown := sorted({*names} - {*NAMES}):
        parser.error(f"no backbone {', '.join(unknown)}. There are {', '.join(NAMES)}.")
    warnings.simplefilter("ignore")
    print("| backbone |", *(f"{column.__name__} |" for column in COLUMNS))
    print("| --- |" + " --- |" * len(COLUMNS))
    failed = 0
    for name in names or NAMES:
        cells = []
        for column in COLUMNS:
            keras.utils.set_random_seed(0)
            try:
                cells.append(column(*backbone(name, rows=8)))
            except Exception as error:
                cells.append(f"FAILED {type(error).__name__}: {reason(error)}")
                failed += 1
        print("|", name, "|", *(f"{cell} |" for cell in cells), flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
