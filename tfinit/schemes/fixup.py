"""Zhang, Dauphin & Ma: residual networks that train without normalization."""

import numpy as np

from tfinit.graph.kernels import Kernel
from tfinit.graph.residual import require_branches
from tfinit.schemes.engine.registry import scheme
from tfinit.schemes.engine.report import Report, records_of_set
from tfinit.schemes.engine.task import Task
from tfinit.schemes.variance import draw, gains, rms


@scheme("Fixup", fits="residual networks")
def fixup(task: Task) -> Report:
    """He · L^(-1/(2m-2)) inside residual branches, 0 at their ends and in the head.

    L is the number of residual branches, m that of the layers with kernels on a branch. Kernels
    outside the branches get plain He. The paper's rule also has a scalar bias before each layer
    and a scalar multiplier on each branch: those are layers, so they are for the model to have;
    they start at 0 and 1, which no scheme changes.

    Args:
        task: A residual model, meant to be one without normalization.

    Raises:
        InputError: the model has no residual branches.

    Example:
        >>> i = keras.Input((8,))
        >>> x = keras.layers.Dense(8, "relu")(i)
        >>> o = keras.layers.add([i, keras.layers.Dense(8, name="last")(x)])
        >>> initialize(keras.Model(i, o), "fixup", seed=1)["last/kernel"].std
        0.0

    Zhang, Dauphin & Ma, Fixup initialization: residual learning without normalization, ICLR 2019.
    """
    branches = require_branches("fixup", task.structure.branches)
    zero, head = task.structure.branch_ends, task.structure.outputs
    factors: dict[int, float] = {}
    for branch in branches:
        if len(branch.steps) > 1:
            factor = len(branches) ** (-1 / (2 * len(branch.steps) - 2))
            # A step on a branch inside a branch takes the inner one's, which comes first.
            for step in branch.steps:
                factors.setdefault(step, factor)

    chosen = [kernel for kernel in task.kernels if kernel.trainable]
    scales = {
        kernel.key: 0.0 if kernel.key in zero | head else factors.get(kernel.step, 1.0)
        for kernel in chosen
    }
    stds = {
        kernel.key: [
            scales[kernel.key] * gain / kernel.fan_in**0.5
            for gain in gains(task, kernel, "activation")
        ]
        for kernel in chosen
    }

    def value(kernel: Kernel, random: np.random.Generator) -> np.ndarray:
        if not scales[kernel.key]:
            return np.zeros(kernel.shape, np.float32)
        return draw(kernel, stds[kernel.key], "normal", random)

    task.draw(chosen, value)

    def note(kernel: Kernel) -> str:
        if kernel.key in zero:
            return "ends a residual branch"
        return "the head" if kernel.key in head else ""

    records = records_of_set(
        task.kernels,
        lambda kernel: {
            "std": rms(stds[kernel.key]),
            "scale": scales[kernel.key],
            "note": note(kernel),
        },
    )
    return task.report("fixup", records, f"{len(branches)} residual branches")
