"""Zhu et al.: the norms of kernels, learned so that the first step of training lowers the loss."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tfinit.arguments import function, number, one_of, whole
from tfinit.errors import InputError
from tfinit.graph.gradients import require_gradients, sum_of, value_and_gradients
from tfinit.graph.kernels import Kernel
from tfinit.schemes.engine.objective import Objective, as_number
from tfinit.schemes.engine.registry import scheme, start_from
from tfinit.schemes.engine.report import Record, Report, record_of
from tfinit.schemes.engine.task import Task
from tfinit.schemes.lsuv import untouched
from tfinit.streams import stream

_LEAST = 0.01  # of a factor
_CHANGE = 0.1  # η‖g‖ of the paper's γ = 1 at a rate of 0.1


@scheme("GradInit, from data", needs_data=True, slow=True)
def grad_init(
    task: Task,
    *,
    loss: Callable[[Any], Any] | None = None,
    start: str | None = "he",
    optimizer: str = "sgd",
    learning_rate: float = 0.1,
    bound: float | None = None,
    steps: int = 100,
    rate: float = 0.03,
) -> Report:
    """Minimize the loss after one step, L(w - η·A[g]), over a factor of each kernel; ‖g‖ ≤ γ.

    g is the gradient of the loss by the kernels; A[g] is g for SGD, and the sign of g for Adam. A
    step on the factors, by Adam, is along the gradient of ‖g‖ where that is above γ (‖g‖₂ for SGD,
    ‖g‖₁ for Adam), else along that of the loss after the step. Factors stay above 0.01; the
    directions of the kernels stay.

    When it helps: for architectures that no rule of variances is made for, without normalization
    above all, where it finds scales at which a given optimizer and rate do not diverge. When not:
    with normalization behind every kernel scales hardly matter. The paper takes half a new batch
    for the loss after the step; here it is the same batch, so pass some hundred examples.

    Args:
        task: The model, of layers whose gradients the backend can take twice, and a batch.
        loss: Output of the model → a scalar: the loss of the training, with this batch's targets.
            None: the distance to random targets from N(0, 1), other targets each step.
        start: The scheme that the weights are drawn with first; None keeps what is there.
        optimizer: ``"sgd"`` or ``"adam"``: what the network will be trained with.
        learning_rate: η, the rate that it will be trained at.
        bound: γ. None: 0.1 / η, at which a step changes the loss by 0.1 to first order (for SGD
            that is the paper's 1 at a rate of 0.1, times ‖g‖).
        steps: How many steps on the factors; from ten on they are compiled on TensorFlow, as
            always on JAX.
        rate: Of these steps.

    Returns:
        A report with the factor of each kernel, and the loss after a step before and after.

    Raises:
        InputError: a backend without gradients, data that does not fit, bad options, or a loss
            that is not finite at the start.

    Zhu, Ni, Xu, Kong, Huang & Goldstein, GradInit: learning to initialize neural networks for
    stable and efficient training, NeurIPS 2021, https://arxiv.org/abs/2102.08098.
    """
    one_of("optimizer", optimizer, ("sgd", "adam"))
    learning_rate = number("learning_rate", learning_rate, above=0)
    bound = number("bound", bound, above=0, none=True) or _CHANGE / learning_rate
    steps = whole("steps", steps, 1)
    rate = number("rate", rate, above=0)
    function("loss", loss, "(the output of the model)", none=True)
    require_gradients("Scheme 'grad_init'", '"lsuv"')
    start_from(task, start)
    kernels = [kernel for kernel in task.kernels if kernel.trainable]
    objective = _FirstStep(task, kernels, loss, steps, optimizer, learning_rate)
    drawn = [kernel.variable.numpy() for kernel in kernels]
    before, norm = objective.judged(task.seed)
    if not np.isfinite([before, norm]).all():
        raise InputError(
            f"The loss after a step is {before} at the start, and ‖g‖ is {norm}. Use another "
            "`start` or a smaller `learning_rate`."
        )
    factors = np.ones(len(kernels))
    first, second = np.zeros(len(kernels)), np.zeros(len(kernels))
    random = stream(task.seed, "grad_init")
    for step in range(1, steps + 1):
        slopes = objective.slopes(random, bound) / factors
        slopes = np.where(np.isfinite(slopes), slopes, 0.0)
        first, second = 0.9 * first + 0.1 * slopes, 0.999 * second + 0.001 * slopes**2
        scaled = first / (1 - 0.9**step) / (np.sqrt(second / (1 - 0.999**step)) + 1e-12)
        factors = np.maximum(factors - rate * scaled, _LEAST)
        for kernel, value, factor in zip(kernels, drawn, factors, strict=True):
            task.write(kernel.variable, value * factor)
    after, now = objective.judged(task.seed)
    # A larger loss may be the way to a gradient that is not above the bound.
    helped = np.isfinite([after, now]).all() and (after < before or now < norm > bound)
    notes = [f"loss after a step: {before:.4g} → {after:.4g}; ‖g‖: {norm:.4g} → {now:.4g}"]
    if not helped:
        for kernel, value in zip(kernels, drawn, strict=True):
            task.write(kernel.variable, value)
        task.warn(
            f"the steps did not help: the loss after a step was {before:.4g} at the start and "
            f"{after:.4g} after {steps} of them. The weights are those of the start. Use a smaller "
            "`rate`, or another `start`."
        )
    scales = dict(zip((kernel.key for kernel in kernels), factors.tolist(), strict=True))

    def record(kernel: Kernel) -> Record:
        if not helped or not kernel.trainable:
            return untouched(kernel, start, "no step was better")
        return record_of(kernel, "scaled", scale=scales[kernel.key])

    return task.report("grad_init", [record(kernel) for kernel in task.kernels], *notes)


class _FirstStep(Objective):
    """The loss after a step of training, and the norm of its gradient."""

    def __init__(
        self,
        task: Task,
        kernels: list[Kernel],
        loss: Callable[[Any], Any] | None,
        calls: int,
        optimizer: str,
        learning_rate: float,
    ) -> None:
        super().__init__(task, kernels, loss, calls)
        self._signs, self._rate = optimizer == "adam", learning_rate
        self._norm = self.program(self._norm_of)
        self._both = self.program(
            lambda values, *given: (self._after(values, *given), self._norm_of(values, *given))
        )
        self._of_norm = self.program(lambda *given: self._slopes_of(self._norm_of, *given))
        self._of_after = self.program(lambda *given: self._slopes_of(self._after, *given))

    def judged(self, seed: int) -> tuple[float, float]:
        """The loss after a step and ‖g‖, for the same targets whenever it is asked."""
        targets = self.targets(stream(seed, "grad_init/judge"))
        after, norm = self._both(self.data, targets)
        return as_number(after), as_number(norm)

    def slopes(self, random: np.random.Generator, bound: float) -> np.ndarray:
        """By the logarithms of the kernels' norms: of ‖g‖ where it is above γ, else of the loss."""
        targets = self.targets(random)
        over = as_number(self._norm(self.data, targets)) > bound
        found = (self._of_norm if over else self._of_after)(self.data, targets)
        return np.array([as_number(slope) for slope in found])

    def _slopes_of(self, function: Callable[..., Any], values: list[Any], *given: Any) -> list[Any]:
        from keras import ops

        _, slopes = value_and_gradients(lambda inner: function(inner, *given, again=True), values)
        return [ops.sum(s * v) for s, v in zip(slopes, values, strict=True)]

    def _gradient(self, values: list[Any], data: Any, targets: list[Any], again: bool) -> list[Any]:
        return value_and_gradients(lambda at: self.at(at, data, targets), values, again=again)[1]

    def _norm_of(
        self, values: list[Any], data: Any, targets: list[Any], again: bool = False
    ) -> Any:
        from keras import ops

        gradient = self._gradient(values, data, targets, again)
        if self._signs:
            return sum_of([ops.sum(ops.abs(g)) for g in gradient])
        return ops.sqrt(sum_of([ops.sum(ops.square(g)) for g in gradient]))

    def _after(self, values: list[Any], data: Any, targets: list[Any], again: bool = False) -> Any:
        from keras import ops

        gradient = self._gradient(values, data, targets, again)
        moved = [
            v - self._rate * (ops.sign(g) if self._signs else g)
            for v, g in zip(values, gradient, strict=True)
        ]
        return self.after(moved, data, targets)
