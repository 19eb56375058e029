"""Nguyen & Salazar: small kernels for transformers with the normalization first."""

import math

from tfinit.arguments import flag
from tfinit.schemes.engine.registry import scheme
from tfinit.schemes.engine.report import Report
from tfinit.schemes.engine.task import Task
from tfinit.schemes.engine.transformers import (
    draw_each,
    require_transformer,
    width_of,
    xavier_std,
)


@scheme("SmallInit", fits="transformers")
def small_init(task: Task, *, wang: bool = False) -> Report:
    """N(0, 2 / (5d)) for embeddings and all kernels on residual branches; d is the width.

    That is Xavier's variance for a feed-forward layer from d to 4d, given to attention, too, whose
    kernels it makes smaller by 1.6; other kernels are Xavier, normal. With ``wang`` what ends a
    branch is N(0, (2 / (A/2 · √d))²), A being the residual additions, as GPT-NeoX pairs the two.

    It helps transformers with the normalization first to train without warm-up, and costs nothing;
    where the normalization is behind the sum the paper found no gain.

    Args:
        task: A transformer.
        wang: Whether the ends of branches get that smaller deviation.

    Raises:
        InputError: the model has no attention, or no residual branches, or ``wang`` is neither
            True nor False.

    Example:
        >>> i = keras.Input((6, 10))
        >>> o = keras.layers.add([i, keras.layers.MultiHeadAttention(2, 5, name="a")(i, i)])
        >>> round(initialize(keras.Model(i, o), "small_init", seed=1)["a/query/kernel"].std, 2)
        0.2

    Nguyen & Salazar, Transformers without tears: improving the normalization of self-attention,
    IWSLT 2019, section 2.2; Black et al., GPT-NeoX-20B, 2022, section 2.1.
    """
    wang = flag("wang", wang)
    streams = require_transformer("small_init", task)
    width = width_of(task)
    inside = {step for row in streams for branch in row.branches for step in branch.steps}
    adds, last = task.structure.additions, task.structure.branch_ends if wang else set()
    stds: dict[str, float] = {}
    notes: dict[str, str] = {}
    for kernel in task.kernels:
        if kernel.key in last:
            stds[kernel.key] = 2 / (adds / 2 * math.sqrt(width))
            notes[kernel.key] = "ends a residual branch"
        elif (
            kernel.is_embedding
            or kernel.step in inside
            or task.structure.makes_scores(kernel.layer)
        ):
            stds[kernel.key] = math.sqrt(2 / (5 * width))
        else:
            stds[kernel.key], notes[kernel.key] = xavier_std(kernel), "off the branches"
    return draw_each(task, "small_init", stds, {}, notes, distribution="normal")
