"""Huang et al.: transformers that train without normalization and without warm-up."""

from tfinit.graph.normalizations import is_normalization
from tfinit.schemes.engine.registry import scheme
from tfinit.schemes.engine.report import Report
from tfinit.schemes.engine.task import Task
from tfinit.schemes.engine.transformers import (
    draw_each,
    layers_of,
    on_branches,
    require_transformer,
    width_of,
    xavier_std,
)


@scheme("T-Fixup", fits="transformers")
def t_fixup(task: Task) -> Report:
    """Xavier · 0.67 N^(-1/4) on an encoder's branches, · (9N)^(-1/4) on those of a decoder.

    Scaled are the kernels of values, of attention's outputs and of feed-forward layers; those of
    queries and keys are plain Xavier, as is the head. Embeddings, also of positions, are
    N(0, 1/d) · (9N)^(-1/4); so are, from Xavier, kernels that turn other inputs into tokens. d is
    the width, N the number of layers: of two residual additions each, of three in a decoder that
    attends to an encoder. A decoder alone, as of GPT, has the additions of an encoder, and its
    factor; embeddings have the N of the deepest row.

    For transformers without layer normalization: they then train at full rate from the first step,
    also at hundreds of layers. With normalization, which undoes the scales, it does little; the
    report says where the model has some. No multipliers are needed, as "fixup" has.

    Args:
        task: A transformer, meant to be one without normalization.

    Raises:
        InputError: the model has no attention, or no residual branches.

    Example:
        >>> i = keras.Input((6, 8))
        >>> x = keras.layers.add([i, keras.layers.MultiHeadAttention(2, 4, name="a")(i, i)])
        >>> x = keras.layers.add([x, keras.layers.Dense(8)(keras.layers.Dense(32, "relu")(x))])
        >>> report = initialize(keras.Model(i, x), "t_fixup", seed=1)
        >>> round(report["a/value/kernel"].scale, 2), report["a/query/kernel"].scale
        (0.67, 1.0)

    Huang, Pérez, Ba & Volkovs, Improving transformer optimization through better initialization,
    ICML 2020, section 3.2.
    """
    streams = require_transformer("t_fixup", task)
    rows = on_branches(task, streams)
    factor = (9 * max(layers_of(stream) for stream in streams)) ** (-1 / 4)
    scales: dict[str, float] = {}
    stds: dict[str, float] = {}
    notes: dict[str, str] = {}
    for kernel in task.kernels:
        key, row, std = kernel.key, rows.get(kernel.key), xavier_std(kernel)
        if row is not None:
            layers = layers_of(row)
            scales[key] = (
                (9 * layers) ** (-1 / 4) if row.reads_another else 0.67 * layers ** (-1 / 4)
            )
            notes[key] = "on a branch"
        elif kernel.is_embedding:
            std, scales[key], notes[key] = width_of(task) ** -0.5, factor, "embedding"
        elif key in task.structure.first and not task.structure.makes_scores(kernel.layer):
            scales[key], notes[key] = factor, "reads the inputs"
        else:
            scales[key] = 1.0
        stds[key] = std * scales[key]
    normalizing = [s.key for s in task.graph.steps if is_normalization(s.op)]
    more = [f"{layers_of(row):g} layers" for row in streams]
    if normalizing:
        more.append(f"normalization undoes these scales: {', '.join(normalizing[:3])}…")
    return draw_each(task, "t_fixup", stds, scales, notes, *more)
