"""The entrance: each weight against the law of its initializer, and against the other weights."""

import fnmatch
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from tfinit.arguments import mapping, number, refused
from tfinit.diagnostics.auditing.laws import (
    Constant,
    Independent,
    Law,
    law_of,
    norm_beyond_chance,
)
from tfinit.diagnostics.auditing.report import InitializationReport, WeightState
from tfinit.errors import InputError
from tfinit.schemes.engine.report import Report
from tfinit.schemes.reinitialize import initializers_of
from tfinit.variables import all_weights, keras_of, own_weights, walk_layers, weight_name

__all__ = ["initialization_report"]

# Entries by which weights are compared with each other: at most, and at least.
_PREFIX, _LEAST = 64, 16
_ALIKE = 0.999  # their correlation where they are the same but for a factor


def initialization_report(
    model: Any,
    expected: Mapping[str, Any] | Report | None = None,
    *,
    false_alarm: float = 1e-6,
) -> InitializationReport:
    """Say of each weight whether it is as its initializer would have it; nothing is changed.

    Made for the faults that nobody sees in a loss: an ``init_weights`` that no one calls, one that
    misses the layers of one name, a checkpoint whose names did not match so that a head stays as
    it was drawn, one seed for all layers, a projection that is all zeros.

    A constant (zeros of a bias, ones of a scale) is compared exactly, an orthogonal kernel by
    WᵀW = g²·I; random entries by their mean, their variance, their distribution and the largest
    singular value, see `tfinit.diagnostics.auditing.laws` for the bounds. If all random weights
    are drawn as they should, the report says otherwise with probability ``false_alarm`` at most;
    for initializers other than Keras's normal, uniform, truncated and scaled ones, which are asked
    for sixteen draws, that is an approximation. While the model is in the process that built it,
    Keras's layers know their seeds: then it is told exactly which weights are ``"untouched"``, and
    the smallest step of training shows.

    When it helps: as a test of code that initializes or loads. When not: a few steps of training
    of a model that was loaded from a file are within what is random, and so is what differs in a
    kernel of a few entries; a scheme that depends on data has no distribution to compare with.

    Args:
        model: A built model of Keras 3.
        expected: What the weights should be, where it is not what their layers say: patterns of
            keys as of `fnmatch` → an initializer, its name in Keras, or None for weights that are
            not to be looked at; the first that fits counts. Or the report of `tfinit.initialize`,
            whose standard deviations are then expected.
        false_alarm: The probability above.

    Returns:
        A record for each weight. `InitializationReport.all_initialized` says it in one word,
        `InitializationReport.fresh` lists what neither training nor loading has touched.

    Raises:
        InputError: not a built model of Keras 3; a pattern that no weight has, no initializer, a
            report about other weights, or a probability that is not between 0 and 1.

    Example:
        >>> layers = [keras.layers.Dense(64, name="a"), keras.layers.Dense(2, name="b")]
        >>> model = keras.Sequential([keras.Input((64,)), *layers])
        >>> initialization_report(model).all_initialized
        True
        >>> layers[0].kernel.assign(2 * layers[0].kernel)
        >>> initialization_report(model).wrong
        ('a/kernel',)
        >>> initialization_report(model, {"a/kernel": "he_normal"})["a/kernel"].state
        'other'

    The bounds: Dvoretzky, Kiefer & Wolfowitz, Annals of mathematical statistics 27, 1956 (Massart
    1990); Davidson & Szarek, Local operator theory, random matrices and Banach spaces, 2001.
    """
    weights = all_weights(model)
    false_alarm = number("false_alarm", false_alarm, above=0, below=1)
    if not weights:
        raise InputError(f"`model` {model.name!r} has no weights, so there is nothing to say.")
    if keras_of(model) != "keras":
        raise refused("model", "a model of Keras 3", model)
    wanted = _expected(expected, list(weights))
    keys = {id(variable): key for key, variable in weights.items()}
    level = false_alarm / len(weights)
    found: dict[str, WeightState] = {}
    prefixes: dict[str, np.ndarray] = {}
    for _, layer in walk_layers(model):
        own = [w for w in own_weights(layer) if keys.get(id(w), "") not in {"", *found}]
        known = initializers_of(layer, own) if own else {}
        for variable in own:
            key = keys[id(variable)]
            if key in wanted and wanted[key] is None:
                continue
            initializer = wanted.get(key, known.get(weight_name(variable)))
            found[key] = _state(key, layer, variable, initializer, level)
            if found[key].expected_std:
                prefixes[key] = _prefix(variable)
    records = [found[key] for key in weights if key in found]
    return InitializationReport(model.name, _with_twins(records, prefixes), false_alarm)


def _expected(expected: Any, keys: list[str]) -> dict[str, Any]:
    """Key → an initializer, a law, or None for what is not looked at."""
    import keras

    if expected is None:
        return {}
    if isinstance(expected, Report):
        unknown = [record.key for record in expected if record.key not in keys]
        if unknown:
            raise InputError(f"`expected` is a report of another model: it has {unknown[0]!r}.")
        return {
            record.key: Independent(expected.scheme, 0.0, record.std, None)
            for record in expected
            if record.action == "set" and record.std
        }
    found: dict[str, Any] = {}
    for pattern, value in mapping("expected", expected, "patterns to initializers").items():
        hits = fnmatch.filter(keys, pattern)
        if not hits:
            raise InputError(f"`expected`: no weight is called {pattern!r}; there are {keys}.")
        try:
            initializer = keras.initializers.get(value)
        except ValueError as error:
            raise InputError(
                f"`expected[{pattern!r}]` must be an initializer of Keras, its name, or None, "
                f"received {value!r}."
            ) from error
        found = {**dict.fromkeys(hits, initializer), **found}
    return found


def _state(key: str, layer: Any, variable: Any, initializer: Any, level: float) -> WeightState:
    shape = tuple(variable.shape)
    about: dict[str, Any] = {"key": key, "layer": type(layer).__name__, "shape": shape}
    values, resolution = _numbers(variable)
    if initializer is None or values is None or 0 in shape:
        return WeightState(**about, initializer="", state="unknown")
    law = initializer if isinstance(initializer, Independent) else None
    law = law or law_of(initializer, shape, variable.dtype)
    about |= {"initializer": law.name, "expected_std": law.std}
    if not np.isfinite(values).all():
        bad = int(np.sum(~np.isfinite(values)))
        return WeightState(**about, state="not finite", note=f"{bad} entries")
    about["std"] = float(values.std())
    if not values.any() and not (isinstance(law, Constant) and not law.values.any()):
        return WeightState(**about, state="zero", probability=0.0)
    drawn = _as_built(initializer, variable)
    if drawn is not None and np.array_equal(drawn, values):
        return WeightState(**about, state="untouched", probability=1.0)
    about["probability"] = law.probability(values, resolution)
    told = {} if drawn is None else _since(values, drawn, level)
    if not told and about["probability"] >= level:
        told = {"state": "untouched" if isinstance(law, Constant) else "initialized"}
    told = told or _otherwise(values, initializer, law, variable, level)
    return WeightState(**about, **told)


def _otherwise(
    values: np.ndarray, initializer: Any, law: Law, variable: Any, level: float
) -> dict[str, str]:
    """The state and the note of a weight that is not as its law would have it."""
    if np.ptp(values) == 0:
        return {"state": "other", "note": f"all {values.flat[0]:.4g}"}
    _, resolution = _numbers(variable)
    if values.ndim > 1:
        for told, candidate in _candidates(initializer):
            known = law_of(candidate, values.shape, variable.dtype)
            if known.probability(values, resolution) >= level:
                return {"state": "other", "note": f"as {told}"}
    if isinstance(law, Constant):
        return {"state": "trained"}
    if norm_beyond_chance((values - values.mean()) / values.std()) < level:
        return {"state": "trained", "note": "its largest singular value is beyond chance"}
    return {"state": "other", "note": "as no common initializer"}


def _candidates(initializer: Any) -> Iterator[tuple[str, Any]]:
    """What else a kernel may have been drawn from, the most common first."""
    import keras

    known = keras.initializers
    yield "orthogonal", known.Orthogonal()  # whose entries another may have, too
    scaled = {"glorot": (1.0, "fan_avg"), "he": (2.0, "fan_in"), "lecun": (1.0, "fan_in")}
    shapes = {"uniform": "uniform", "truncated_normal": "normal", "untruncated_normal": "normal"}
    for distribution, called in shapes.items():
        for name, (scale, mode) in scaled.items():
            rest = ", not truncated" if distribution == "untruncated_normal" else ""
            made = known.VarianceScaling(scale, mode, distribution)
            made.input_axes = getattr(initializer, "input_axes", None)
            made.output_axes = getattr(initializer, "output_axes", None)
            yield f"{name}_{called}{rest}", made
    yield "truncated_normal 0.02", known.TruncatedNormal(stddev=0.02)
    for std in (0.02, 0.05, 0.01):
        yield f"normal {std}", known.RandomNormal(stddev=std)
    yield "uniform ±0.05", known.RandomUniform()
    yield "uniform ±1/√fan_in, PyTorch's", known.VarianceScaling(1 / 3, "fan_in", "uniform")


def _as_built(initializer: Any, variable: Any) -> np.ndarray | None:
    """What Keras's own initializer gave this weight; None where it cannot say."""
    import keras

    seed = getattr(initializer, "seed", None)
    if not type(initializer).__module__.startswith("keras.") or not isinstance(seed, int):
        return None
    value = initializer(tuple(variable.shape), dtype=variable.dtype)
    return np.asarray(keras.ops.convert_to_numpy(value), np.float64)


def _since(values: np.ndarray, drawn: np.ndarray, level: float) -> dict[str, str]:
    """What became of what was drawn; nothing if these have no more in common than chance gives."""
    size = float(np.linalg.norm(values) * np.linalg.norm(drawn))
    if not size:
        return {}
    common = float(np.sum(values * drawn)) / size
    if math.isclose(common, 1.0, abs_tol=1e-10):
        factor = float(np.linalg.norm(values) / np.linalg.norm(drawn))
        return {"state": "other", "note": f"{factor:.4g} times what was drawn"}
    # 2 exp(-n c² / 2) bounds the probability of a correlation of c.
    if common <= math.sqrt(2 * math.log(2 / level) / values.size):
        return {}
    moved = float(np.linalg.norm(values - drawn) / np.linalg.norm(drawn))
    return {"state": "trained", "note": f"moved by {moved:.2g} of its norm"}


def _numbers(variable: Any) -> tuple[np.ndarray | None, float]:
    """The entries as float64, and how finely their type counts; None where they are no floats."""
    import keras

    dtype = keras.backend.standardize_dtype(variable.dtype)
    if not keras.backend.is_float_dtype(dtype):
        return None, 0.0
    bits = {"float64": 52, "float32": 23, "float16": 10, "bfloat16": 7}.get(dtype, 2)
    array = keras.ops.convert_to_numpy(
        keras.ops.cast(variable, "float64" if bits > 23 else "float32")
    )
    return np.asarray(array, np.float64), 2.0**-bits


def _prefix(variable: Any) -> np.ndarray:
    values, _ = _numbers(variable)
    flat = (np.zeros(1) if values is None else values).reshape(-1)[:_PREFIX]
    centred = flat - flat.mean() if np.isfinite(flat).all() else np.zeros_like(flat)
    norm = float(np.linalg.norm(centred))
    return centred / norm if norm else centred


def _with_twins(records: list[WeightState], prefixes: dict[str, np.ndarray]) -> list[WeightState]:
    """The records, with the first weight that each is the same as."""
    seen: list[str] = []
    found: list[WeightState] = []
    for record in records:
        mine = prefixes.get(record.key)
        if mine is None or mine.size < _LEAST or not mine.any():
            found.append(record)
            continue
        others = [k for k in seen if prefixes[k].size == mine.size]
        twin = next((k for k in others if abs(float(prefixes[k] @ mine)) > _ALIKE), "")
        seen.append(record.key)
        found.append(replace(record, same_as=twin) if twin else record)
    return found
