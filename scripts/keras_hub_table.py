"""KerasHub's backbones, small and with random weights, through all that tfinit does: a table.

Columns: whether the model is traced whole; kernels; schemes that run, of those that fit (mup with
the model itself as its base); severe findings on the fresh model with a head and its loss; whether
the report counts all weights of rank 2 or more, and the multiply-adds; zeros after pruning to 80%;
parameters that `compact` leaves after a third of all units were set to zero. Ends with 1 if any of
it fails.

    python scripts/keras_hub_table.py [NAME ...]
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
from tfinit.models import needs_data
from tfinit.pruning import compact, prune_layerwise, sparsity_report
from tfinit.pruning.scoring.masks import survivors
from tfinit.schemes import SCHEMES
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
        if name == "pretrained":  # it needs a file
            continue
        options = {"mup": {"base": model}, "metainit": {"steps": 2}}.get(name, {})
        try:
            data = x if needs_data(name) else None
            initialize(model, name, data, seed=0, **options)
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
    """The parameters that are left where units are zero."""
    random = np.random.default_rng(0)
    for weight in model.weights:
        if len(weight.shape) >= 2:
            value = np.array(weight.numpy())
            value[..., random.random(value.shape[-1]) < 1 / 3] = 0
            weight.assign(value)
    result = compact(model)
    return f"{result.parameters_before} → {result.parameters}"


COLUMNS: tuple[Callable[[Any, Any], str], ...] = (
    *(traced, schemes, findings, recommended, counts, pruned, compacted),
)


def main(names: list[str]) -> int:
    """Print the table; 1 if anything of it fails."""
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
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    sys.exit(main(parser.parse_args().names))
