"""Krähenbühl et al.: units standardized on data, then layers that all learn at one rate."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfinit.arguments import number, whole
from tfinit.graph.calling import call, check_data, output_shapes
from tfinit.graph.gradients import (
    Program,
    reading,
    require_gradients,
    sum_of,
    value_and_gradients,
)
from tfinit.graph.kernels import Kernel
from tfinit.schemes.engine.best import Best, chosen
from tfinit.schemes.engine.registry import scheme, start_from
from tfinit.schemes.engine.report import Report, record_of
from tfinit.schemes.engine.task import Task
from tfinit.schemes.lsuv import untouched
from tfinit.schemes.weightnorm import standardize
from tfinit.streams import stream

# What another η changes in the spread, at most.
_NOISE = 0.1


@scheme("Krähenbühl, from data", needs_data=True)
def krahenbuhl(
    task: Task, *, start: str | None = "lecun", iterations: int = 10, damping: float = 0.5
) -> Report:
    """Within layers μ = 0 and σ = 1 for each channel; between layers C₁ = C₂ = … = C_N.

    C² = E[(∂ℓ/∂w)²] / E[w²] is the squared rate at which a step of gradient descent changes a
    layer's weights, ℓ = η·output with η ~ N(0, 1). Each turn multiplies each kernel with
    r = (C / C̄)^(damping/2), where C̄ is the geometric mean, and centres the channels again. All r
    multiply to 1, so the output of a chain of rectifier layers keeps its scale, C becomes C / r²,
    and no layer has to undo what was done below it, as in the paper: the rule also holds where
    there is no single next layer.

    Where that is not so, as behind the normalizations of a post-norm transformer, turns can drive
    the rates apart. The turn with the smallest max C / min C is what the model gets, the first
    pass counting as one: the last turn unless another was better by a tenth, which η alone does
    not make. If none was better than the first pass, the report and a warning say so.

    Why: Where some layers change much faster than others, a learning rate that fits one fits no
    other. The weights are scaled on a batch until a step changes all layers by the same share.

    Args:
        task: The model, and a batch.
        start: The scheme that the weights are drawn with first; None keeps what is there.
        iterations: How many turns of a forward and a backward pass, after the first pass.
        damping: α in the formula, in (0, 1]. The paper has 0.25.

    Returns:
        A report with the product of each kernel's r, and the spread of C before and after. Its
        notes say which turn was kept where that was not the last.

    Raises:
        InputError: a backend without gradients, data that does not fit, or bad options.

    Krähenbühl, Doersch, Donahue & Darrell, Data-dependent initializations of convolutional neural
    networks, ICLR 2016, https://arxiv.org/abs/1511.06856.
    """
    iterations = whole("iterations", iterations, 0)
    damping = number("damping", damping, above=0, most=1)
    require_gradients("Scheme 'krahenbuhl'", '"lsuv"')
    start_from(task, start)
    reached = standardize(task)
    kernels = [kernel for kernel in task.kernels if kernel.key in reached]
    products = [dict.fromkeys(reached, 1.0)]
    biases = [kernel.bias for kernel in kernels if kernel.bias is not None]
    best = Best(task, [*(kernel.variable for kernel in kernels), *biases])
    rates_of = _Rates(task, kernels)
    for turn in range(iterations + 1):
        rates = rates_of(turn)
        if turn == 0:
            reached_first = rates.keys()
        if not reached_first:
            break
        # Kernels that the gradient reaches no more are no way to a smaller spread.
        lost = reached_first - rates.keys()
        best.see(math.inf if lost else max(rates.values()) / min(rates.values()))
        if turn == iterations or not rates:
            break
        mean = sum(map(math.log, rates.values())) / len(rates)
        products.append(dict(products[-1]))
        for kernel in kernels:
            if kernel.key in rates:
                r = math.exp((math.log(rates[kernel.key]) - mean) * damping / 2)
                products[-1][kernel.key] *= r
                task.write(kernel.variable, kernel.variable * r)
        standardize(task, scale=False)

    turn, more = _settled(task, best) if best.measures else (0, [])

    def record(kernel: Kernel) -> Any:
        if kernel.key in reached:
            note = reached[kernel.key].note
            return record_of(kernel, "scaled", scale=products[turn][kernel.key], note=note)
        return untouched(kernel, start)

    return task.report("krahenbuhl", [record(kernel) for kernel in task.kernels], *more)


def _settled(task: Task, best: Best) -> tuple[int, list[str]]:
    """Put back the best turn if it is not the last; which turn that is, and what to say."""
    start, last = best.measures[0], best.measures[-1]
    turns, turn = len(best.measures) - 1, best.turn
    kept = chosen(start, best.measures[turn], last, _NOISE)
    if kept == "last":
        turn = turns
    else:
        best.put_back(turn)
    notes = [f"largest C / smallest C: {start:.4g} → {best.measures[turn]:.4g}"]
    if kept == "best":
        notes.append(f"turn {turn} of {turns} was the best and was kept; the last had {last:.4g}")
    if kept == "start":
        task.warn(
            f"the turns did not help: largest C / smallest C was {start:.4g} after the first pass "
            f"and {last:.4g} after turn {turns}. The weights are those of the first pass, which "
            "standardized each unit. A smaller `damping` may help."
        )
    return turn, notes


class _Rates:
    """C of each kernel that the gradient reaches, turn by turn."""

    def __init__(self, task: Task, kernels: Sequence[Kernel]) -> None:
        self._task, self._kernels = task, kernels
        self._data = check_data(task.model, task.data)
        self._shapes = output_shapes(task.model, self._data)
        self._variables = [kernel.variable for kernel in kernels]
        self._gradients = Program(self._gradients_of, self._variables, task.model.variables)

    def __call__(self, turn: int) -> dict[str, float]:
        import keras

        # Each example has its own η, so the products of two examples' gradients average to zero
        # and the batch's gradient squared is an estimate of the sum of the squares.
        random = stream(self._task.seed, f"krahenbuhl/{turn}")
        noise = [keras.ops.array(random.standard_normal(shape)) for shape in self._shapes]
        gradients = self._gradients(self._data, noise)
        rates: dict[str, float] = {}
        for kernel, gradient in zip(self._kernels, gradients, strict=True):
            slope = _mean_square(keras.ops.convert_to_numpy(gradient))
            size = _mean_square(kernel.variable.numpy())
            if slope > 0 and size > 0 and math.isfinite(slope):
                rates[kernel.key] = math.sqrt(slope / size)
        return rates

    def _gradients_of(self, values: list[Any], data: Any, noise: list[Any]) -> list[Any]:
        import keras

        def loss(values: list[Any]) -> Any:
            with reading(self._variables, values):
                outputs = keras.tree.flatten(call(self._task.model, data))
            products = zip(outputs, noise, strict=True)
            return sum_of([keras.ops.sum(o * keras.ops.cast(n, o.dtype)) for o, n in products])

        return value_and_gradients(loss, values)[1]


def _mean_square(values: np.ndarray) -> float:
    return float(np.mean(np.square(values, dtype=np.float64)))
