"""Wang et al.: post-norm transformers of up to a thousand layers."""

from tfinit.schemes.engine.registry import scheme
from tfinit.schemes.engine.report import Report
from tfinit.schemes.engine.task import Task
from tfinit.schemes.engine.transformers import (
    draw_each,
    layers_of,
    on_branches,
    require_transformer,
    xavier_std,
)


@scheme("DeepNorm", fits="transformers")
def deepnorm(task: Task) -> Report:
    """Xavier · β on residual branches, for a model that computes norm(α · x + branch(x)).

    ========================= ===================== ===================
    row of N or M layers      α                     β
    ========================= ===================== ===================
    encoder or decoder alone  (2N)^(1/4)            (8N)^(-1/4)
    encoder, with a decoder   0.81 (N⁴M)^(1/16)     0.87 (N⁴M)^(-1/16)
    decoder, with an encoder  (3M)^(1/4)            (12M)^(-1/4)
    ========================= ===================== ===================

    β is in the kernels of values, of attention's outputs and of feed-forward layers; all others,
    queries and keys too, are plain Xavier, and embeddings N(0, 1/d), d being the width. A layer has
    two residual additions, three in a decoder that attends to an encoder.

    α is for the model to have, on each shortcut; the report's notes say it. It helps where deep
    post-norm transformers diverge; with the normalization before the branch it is of no use, and a
    dozen layers rarely need it.

    Args:
        task: A transformer, meant to be one with the normalization behind the sum.

    Raises:
        InputError: the model has no attention, or no residual branches.

    Example:
        >>> i = keras.Input((6, 8))
        >>> a, alpha = keras.layers.MultiHeadAttention(2, 4, name="a"), 2 ** (1 / 4)
        >>> x = keras.layers.LayerNormalization()(alpha * i + a(i, i))
        >>> x = keras.layers.LayerNormalization()(alpha * x + keras.layers.Dense(8)(x))
        >>> report = initialize(keras.Model(i, x), "deepnorm", seed=1)
        >>> round(report["a/value/kernel"].scale, 3), report["a/query/kernel"].scale
        (0.595, 1.0)
        >>> report.notes
        ['1 layers: α = 1.189, β = 0.595']

    Wang, Ma, Dong, Huang, Zhang & Wei, DeepNet: scaling transformers to 1,000 layers, 2022,
    https://arxiv.org/abs/2203.00555, figure 2.
    """
    streams = require_transformer("deepnorm", task)
    readers = [layers_of(row) for row in streams if row.reads_another]
    factors: dict[int, float] = {}
    notes = []
    for row in streams:
        layers = layers_of(row)
        if row.reads_another:
            alpha, beta = (3 * layers) ** (1 / 4), (12 * layers) ** (-1 / 4)
        elif readers:
            both = (layers**4 * max(readers)) ** (1 / 16)
            alpha, beta = 0.81 * both, 0.87 / both
        else:
            alpha, beta = (2 * layers) ** (1 / 4), (8 * layers) ** (-1 / 4)
        factors[id(row)] = beta
        notes.append(f"{layers:g} layers: α = {alpha:.3f}, β = {beta:.3f}")
    rows = on_branches(task, streams)
    scales = {k.key: factors[id(rows[k.key])] if k.key in rows else 1.0 for k in task.kernels}
    stds = {
        kernel.key: kernel.fan_out**-0.5
        if kernel.is_embedding
        else xavier_std(kernel) * scales[kernel.key]
        for kernel in task.kernels
    }
    return draw_each(task, "deepnorm", stds, scales, dict.fromkeys(rows, "on a branch"), *notes)
