"""GPT-2: what is added to the residual stream gets smaller with the number of additions."""

import math

import numpy as np

from tfinit.arguments import number
from tfinit.graph.kernels import Kernel
from tfinit.graph.residual import require_branches
from tfinit.schemes.engine.registry import scheme, start_from
from tfinit.schemes.engine.report import Report, records_of_set
from tfinit.schemes.engine.task import Task
from tfinit.schemes.variance import draw


@scheme("Depth-scaled", fits="residual networks")
def depth_scaled(task: Task, *, std: float = 0.02, start: str | None = None) -> Report:
    """σ = std, and std / √N for the last kernel of each residual branch; N additions in all.

    A transformer of L blocks adds twice a block, so its factor is 1/√(2L).

    Args:
        task: A residual model.
        std: The standard deviation of every kernel, embeddings too.
        start: A scheme to draw the weights with instead of N(0, std²), ``"he"`` for example; the
            last kernels are then multiplied by 1/√N.

    Raises:
        InputError: the model has no residual branches, or ``std`` is not positive.

    Example:
        >>> i = keras.Input((8,))
        >>> o = keras.layers.add([i, keras.layers.Dense(8, name="fc")(i)])
        >>> initialize(keras.Model(i, o), "depth_scaled", seed=1)["fc/kernel"].std
        0.02

    Radford et al., Language models are unsupervised multitask learners, 2019, section 2.3.
    """
    std = number("std", std, above=0)
    require_branches("depth_scaled", task.structure.branches)
    additions, last = task.structure.additions, task.structure.branch_ends
    factor = 1 / math.sqrt(additions)
    chosen = [kernel for kernel in task.kernels if kernel.trainable]
    scales = {kernel.key: factor if kernel.key in last else 1.0 for kernel in chosen}
    if start is None:

        def value(kernel: Kernel, random: np.random.Generator) -> np.ndarray:
            return draw(kernel, [std * scales[kernel.key]], "normal", random)

        task.draw(chosen, value)
    else:
        start_from(task, start)
        for kernel in chosen:
            if kernel.key in last:
                task.write(kernel.variable, kernel.variable * factor)
    records = records_of_set(
        task.kernels,
        lambda kernel: {
            "std": std * scales[kernel.key] if start is None else None,
            "scale": scales[kernel.key],
            "note": "ends a residual branch" if kernel.key in last else "",
        },
    )
    return task.report("depth_scaled", records, f"{additions} residual additions")
