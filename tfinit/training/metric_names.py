"""What metrics are called, alike in every process: Keras numbers what it names itself.

The second `AUC()` of a process is its ``auc_1``, whichever model has it; so the same network has
other names where it is made again, and a run that goes on would not find its own columns.
"""

from collections.abc import Iterable
from typing import Any

from tfinit.graph.keras_internals import compiled_metrics
from tfinit.variables import automatic_stem, unique_name, walk_layers

__all__ = ["metrics_of", "steady_names"]


def steady_names(model: Any, names: Iterable[str], taken: Iterable[str] = ()) -> dict[str, str]:
    """The names in a model's logs → those that they have wherever the model is made.

    Names that Keras made up for metrics, and for layers whose outputs they are of, have the numbers
    that they have in the model itself; names that were given stay.

    Args:
        model: A compiled model that was evaluated once.
        names: Of its logs, as `fit` has them.
        taken: Names that mean something else.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, "sigmoid")])
        >>> metrics = [keras.metrics.AUC(), keras.metrics.AUC(name="area"), keras.metrics.AUC()]
        >>> model.compile("sgd", "binary_crossentropy", metrics=metrics)
        >>> logs = model.evaluate(np.zeros((2, 2)), np.eye(2)[:, :1], 2, 0, return_dict=True)
        >>> sorted(steady_names(model, logs).values())
        ['area', 'auc', 'auc_1', 'loss']
    """
    metrics = _by_log(model)
    keys = {layer.name: key for key, layer in walk_layers(model) if key and "/" not in key}
    outputs = getattr(model, "output_names", None) or ()
    outputs = sorted(outputs, key=len, reverse=True) if len(outputs) > 1 else []
    found: dict[str, str] = {}
    used = set(taken)
    for name in names:
        output = next((o for o in outputs if name.startswith(f"{o}_")), None)
        start, rest = ("", name) if output is None else (f"{output}_", name[len(output) + 1 :])
        metric = metrics.get(name)
        stem = automatic_stem(rest, type(metric).__name__) if metric is not None else None
        if output is not None:
            start = f"{keys.get(output, output)}_"
        found[name] = unique_name(f"{start}{stem or rest}", used)
    return found


def metrics_of(model: Any) -> dict[str, Any]:
    """The metrics of a compiled model that was evaluated once, by their `steady_names`."""
    by_log = _by_log(model)
    return {steady: by_log[name] for name, steady in steady_names(model, by_log).items()}


def _by_log(model: Any) -> dict[str, Any]:
    """Those that it was compiled with, and those that it has of its own."""
    own = {getattr(m, "name", ""): m for m in getattr(model, "metrics", ())}
    return {**compiled_metrics(model), **{n: m for n, m in own.items() if n not in _KERAS}}


_KERAS = ("", "loss", "compile_metrics")
