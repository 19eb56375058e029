"""Dey et al., Yang et al.: learning rates that carry over to deeper residual networks."""

from typing import Any

from tfinit.arguments import number, whole
from tfinit.errors import InputError
from tfinit.graph.residual import require_branches
from tfinit.schemes.engine.registry import scheme
from tfinit.schemes.engine.report import Report
from tfinit.schemes.engine.task import Task
from tfinit.schemes.mup import ByWidth, by_width, draw_by_width
from tfinit.variables import all_weights, own_weights, walk_layers


@scheme("CompleteP", fits="residual networks")
def completep(
    task: Task,
    *,
    depth: int,
    base: Any = None,
    alpha: float = 1.0,
    optimizer: str = "adam",
    gain: float = 1.0,
) -> Report:
    """μP for depth: branches shrink by m^-α, m being how many times more of them there are.

    The paper's network is x ← x + m^-α · F(x). Here the model stays as it is: the factor goes into
    the last kernel of each branch, and into its learning rate, which is the same training (for
    Adam but for its ε). So on top of the scales and rates of "mup"::

        weight                            σ           Adam's rate    SGD's rate
        in a branch                       1           m^(α - 1)      m^(2α - 1)
        last kernel of a branch           m^-α        m^-1           m^-1
        bias of that layer                left        m^-1           m^-1
        outside of branches               1           1              1

    With α = 1 (CompleteP) each block still learns features as it gets one of many; α = 1/2
    (depth-μP) allows larger branches, in which blocks of several layers learn lazily.
    `tfinit.learning_rates.scaled_learning_rates` makes an optimizer of the report.

    When it helps: to tune a learning rate on a shallow network and use it on a deep one, of
    pre-norm blocks or without normalization. When not: blocks whose last kernel a normalization
    follows, which undoes the factor, are refused; post-norm blocks are outside of its theory. The
    paper also divides Adam's ε by the width and the depth: keep it far below the gradients
    (1e-12). Decoupled weight decay is scaled with the rates.

    Args:
        task: The deep model.
        depth: How many residual additions the model has that the rate was tuned at; a transformer
            of L blocks has 2L.
        base: The same architecture and depth as the model, in the width that the rate was tuned
            at, as for "mup"; None: the width is the same.
        alpha: From 0.5 to 1.
        optimizer: ``"adam"`` (and its relatives) or ``"sgd"``.
        gain: Of all kernels.

    Returns:
        A report with the standard deviation and the learning-rate multiplier of each kernel, and
        the multipliers of other weights that are not 1.

    Raises:
        InputError: no residual network, a branch that ends in a normalization, a ``base`` that
            "mup" would not take, or numbers out of range.

    Example:
        >>> def model(blocks):
        ...     x = keras.Input((8,))
        ...     y = x
        ...     for n in range(blocks):
        ...         h = keras.layers.Dense(32, "relu", name=f"in_{n}")(y)
        ...         y = keras.layers.add([y, keras.layers.Dense(8, name=f"out_{n}")(h)])
        ...     return keras.Model(x, y)
        >>> report = initialize(model(8), "completep", seed=1, depth=2)
        >>> report["in_7/kernel"].multiplier, report["out_7/kernel"].multiplier
        (1.0, 0.25)

    Dey et al., Don't be lazy: CompleteP enables compute-efficient deep transformers, NeurIPS 2025,
    table 1, https://arxiv.org/abs/2505.01618. For α = 1/2: Yang et al., Tensor programs VI: feature
    learning in infinite-depth neural networks, ICLR 2024.
    """
    depth = whole("depth", depth, 1)
    alpha = number("alpha", alpha, least=0.5, most=1)
    kernels, others = by_width(task, task.model if base is None else base, optimizer, gain)
    require_branches("completep", task.structure.branches)
    ends = task.structure.branch_ends
    undone = sorted(ends & task.structure.normalized)
    if undone:
        raise InputError(
            'Scheme "completep" makes the last kernel of each residual branch smaller, but a '
            f"normalization follows {undone[0]!r} and undoes it. Put the normalizations before "
            "the kernels (pre-norm), or leave them out."
        )
    more = task.structure.additions / depth
    inside = _inside(task)
    rates = {"adam": more ** (alpha - 1), "sgd": more ** (2 * alpha - 1)}[optimizer]
    for kernel in task.kernels:
        kind, std, multiplier = kernels[kernel.key]
        factor, rate, where = 1.0, 1.0, ""
        if kernel.key in ends:
            factor, rate, where = more**-alpha, 1 / more, ", ends a branch"
        elif id(kernel.variable) in inside:
            rate, where = rates, ", in a branch"
        kernels[kernel.key] = ByWidth(kind + where, std * factor, multiplier * rate)
    last = {id(kernel.bias) for kernel in task.kernels if kernel.key in ends}
    for key, variable in all_weights(task.model).items():
        if key in others and id(variable) in last:
            others[key] /= more
        elif key in others and id(variable) in inside:
            others[key] *= rates
    return task.report(
        "completep",
        draw_by_width(task, kernels, others),
        f"{task.structure.additions} residual additions, {more:g} times those of the base",
        f"multipliers of the learning rate of {optimizer}",
    )


def _inside(task: Task) -> set[int]:
    """The ids of the weights in residual branches: of all that only the branches' kernels read."""
    readers = task.graph.readers()
    steps = {step for branch in task.structure.branches for step in branch.steps}
    for index in reversed(range(len(task.graph.steps))):
        read_by = [r for value in task.graph.steps[index].outputs for r in readers.get(value, [])]
        if read_by and steps.issuperset(read_by):
            steps.add(index)
    return {
        id(variable)
        for step in steps
        if hasattr(task.graph.steps[step].op, "weights")
        for _, layer in walk_layers(task.graph.steps[step].op)
        for variable in own_weights(layer)
    }
