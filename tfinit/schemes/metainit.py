"""Dauphin & Schoenholz: the norms of kernels, learned so that the gradient is like a plane's."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tfinit.arguments import function, number, whole
from tfinit.errors import InputError
from tfinit.graph.gradients import require_gradients, sum_of, value_and_gradients
from tfinit.graph.kernels import Kernel
from tfinit.schemes.engine.best import Best, chosen
from tfinit.schemes.engine.objective import Objective, as_number
from tfinit.schemes.engine.registry import scheme, start_from
from tfinit.schemes.engine.report import Record, Report, record_of
from tfinit.schemes.engine.task import Task
from tfinit.schemes.lsuv import untouched
from tfinit.streams import stream

_SMALL = 1e-5
# Draws of targets by which steps are compared, and by how much another mean of so many differs.
_JUDGES, _NOISE = 4, 0.1


@scheme("MetaInit, from data", needs_data=True, slow=True)
def metainit(
    task: Task,
    *,
    loss: Callable[[Any], Any] | None = None,
    start: str | None = "lecun",
    steps: int = 100,
    rate: float = 0.1,
    momentum: float = 0.9,
) -> Report:
    """Minimize the gradient quotient GQ = mean |(g - H·g) / (g ± ε) - 1| over the kernels' norms.

    g is the gradient of a loss on the data with respect to the kernels, H the Hessian, and ± the
    sign of g: GQ is how much a step of gradient descent changes the gradient itself. Each step
    moves each norm by ``rate``, with momentum, against the sign of GQ's derivative. The directions
    of the kernels stay.

    The steps can overshoot, from good weights above all. What the model gets is the last step's,
    unless the step of the smallest GQ or the start is better, judged on the same targets. If no
    step was better than the start, the report and a warning say so.

    Args:
        task: The model, of layers whose gradients the backend can take three times, and a batch.
        loss: Output of the model → a scalar. None: the distance to random targets from N(0, 1),
            mean((output - target)²), other targets each step, so that no labels are needed.
        start: The scheme that the weights are drawn with first; None keeps what is there.
        steps: How many steps, each of three nested gradients; from ten on they are compiled on
            TensorFlow, as always on JAX.
        rate: How far a norm moves in a step.
        momentum: Of the moves.

    Returns:
        A report with the factor of each kernel, and the quotient before and after. Its notes say
        which step was kept where that was not the last.

    Raises:
        InputError: a backend without gradients, data that does not fit, bad options, or a
            quotient that is not finite.

    Dauphin & Schoenholz, MetaInit: initializing learning by learning to initialize, NeurIPS 2019.
    """
    steps = whole("steps", steps, 1)
    rate = number("rate", rate, above=0)
    momentum = number("momentum", momentum, least=0, below=1)
    function("loss", loss, "(the output of the model)", none=True)
    require_gradients("Scheme 'metainit'", '"lsuv"')
    start_from(task, start)
    kernels = [kernel for kernel in task.kernels if kernel.trainable]
    quotient_of = Quotient(task, kernels, loss, steps)
    random = stream(task.seed, "metainit")
    moves = np.zeros(len(kernels))
    first = np.array([_norm(kernel) for kernel in kernels])
    best = Best(task, [kernel.variable for kernel in kernels])
    for step in range(steps):
        quotient, slopes = quotient_of.with_slopes(random)
        if not np.isfinite(quotient):
            raise InputError(
                f"The gradient quotient is {quotient} after {step} steps. "
                "Use a smaller `rate`, or another `start`."
            )
        best.see(quotient)
        moves = momentum * moves - rate * np.sign(slopes)
        for kernel, move in zip(kernels, moves, strict=True):
            norm = _norm(kernel)
            # A norm may not go through zero.
            if norm > 0:
                factor = max(norm + move, norm / 2) / norm
                task.write(kernel.variable, kernel.variable * factor)
    kept, notes = _settled(task, best, kernels, quotient_of)
    scales = {
        kernel.key: _norm(kernel) / before if before else 1.0
        for kernel, before in zip(kernels, first, strict=True)
    }

    def record(kernel: Kernel) -> Record:
        if kept == "start" or not kernel.trainable:
            return untouched(kernel, start, "no step was better")
        return record_of(kernel, "scaled", scale=float(scales[kernel.key]))

    return task.report("metainit", [record(kernel) for kernel in task.kernels], *notes)


def _settled(
    task: Task, best: Best, kernels: list[Kernel], quotient_of: "Quotient"
) -> tuple[str, list[str]]:
    """Put back the best step, or the start, if the last is not as good; which, and what to say."""
    steps, step = len(best.measures), best.turn

    def judged() -> float:
        # The same targets for all that are compared: those of the steps were others each time.
        draws = range(_JUDGES if quotient_of.is_random else 1)
        found = [quotient_of(stream(task.seed, f"metainit/{n}")) for n in draws]
        return float(np.mean([_finite(one) for one in found]))

    last, values = judged(), [kernel.variable.numpy() for kernel in kernels]
    best.put_back(0)
    first = judged()
    smallest = first
    if step:
        best.put_back(step)
        smallest = judged()
    kept = chosen(first, smallest, last, _NOISE if quotient_of.is_random else 0.0)
    if kept == "last":
        for kernel, value in zip(kernels, values, strict=True):
            task.write(kernel.variable, value)
    else:
        best.put_back(step if kept == "best" else 0)
    now = {"last": last, "best": smallest, "start": first}[kept]
    notes = [f"gradient quotient: {first:.4g} → {now:.4g}"]
    if kept == "best":
        notes.append(f"the best of {steps} steps, number {step}, was kept; the last had {last:.4g}")
    if kept == "start":
        task.warn(
            f"the steps did not help: the gradient quotient was {first:.4g} at the start and "
            f"{last:.4g} after {steps} of them. The weights are those of the start. Use a smaller "
            "`rate`, another `start`, or a scheme without steps."
        )
    return kept, notes


def _finite(quotient: float) -> float:
    return quotient if np.isfinite(quotient) else np.inf


def _norm(kernel: Kernel) -> float:
    return float(np.linalg.norm(kernel.variable.numpy().astype(np.float64)))


class Quotient(Objective):
    """GQ of some kernels as they are when it is asked for. Its arguments are an `Objective`'s."""

    def __init__(
        self, task: Task, kernels: list[Kernel], loss: Callable[[Any], Any] | None, calls: int = 1
    ) -> None:
        super().__init__(task, kernels, loss, calls)
        self._alone = self.program(self._quotient_of)
        self._with_slopes = self.program(self._slopes_of)

    def __call__(self, random: np.random.Generator) -> float:
        """The quotient for the targets that come next, without its gradient."""
        return as_number(self._alone(self.data, self.targets(random)))

    def with_slopes(self, random: np.random.Generator) -> tuple[float, np.ndarray]:
        """The quotient, and its derivative by the logarithm of each kernel's norm."""
        quotient, by_norm = self._with_slopes(self.data, self.targets(random))
        return as_number(quotient), np.array([as_number(slope) for slope in by_norm])

    def _slopes_of(self, values: list[Any], *given: Any) -> tuple[Any, list[Any]]:
        from keras import ops

        quotient, slopes = value_and_gradients(
            lambda inner: self._quotient_of(inner, *given, again=True), values
        )
        return quotient, [ops.sum(s * v) for s, v in zip(slopes, values, strict=True)]

    def _quotient_of(
        self, values: list[Any], data: Any, targets: list[Any], again: bool = False
    ) -> Any:
        """GQ as a tensor, which is differentiated in turn if ``again``."""
        from keras import ops

        def half(inner: list[Any]) -> Any:
            _, first = value_and_gradients(
                lambda values: self.at(values, data, targets), inner, again=True
            )
            return sum_of([ops.sum(ops.square(g)) for g in first]) / 2, first

        # The gradient of ½‖g‖² is H·g.
        (_, first), products = value_and_gradients(half, values, again=again, more=True)
        terms = []
        for g, product in zip(first, products, strict=True):
            away = ops.where(g >= 0, _SMALL, -_SMALL)
            terms.append(ops.sum(ops.abs((g - product) / (g + away) - 1)))
        return sum_of(terms) / sum(math.prod(v.shape) for v in values)
