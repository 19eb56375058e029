"""Dauphin & Schoenholz: the norms of kernels, learned so that the gradient is like a plane's."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tfinit.arguments import function, number, whole
from tfinit.errors import InputError
from tfinit.graph.gradients import dense
from tfinit.graph.kernels import Kernel
from tfinit.probes import require_tensorflow
from tfinit.schemes.engine.best import Best, chosen
from tfinit.schemes.engine.forward import call, check_data
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
        task: The model, of layers whose gradients TensorFlow can take three times, and a batch.
        loss: Output of the model → a scalar. None: the distance to random targets from N(0, 1),
            mean((output - target)²), other targets each step, so that no labels are needed.
        start: The scheme that the weights are drawn with first; None keeps what is there.
        steps: How many steps, each of three nested gradients.
        rate: How far a norm moves in a step.
        momentum: Of the moves.

    Returns:
        A report with the factor of each kernel, and the quotient before and after. Its notes say
        which step was kept where that was not the last.

    Raises:
        InputError: another backend than TensorFlow, data that does not fit, bad options, or a
            quotient that is not finite.

    Dauphin & Schoenholz, MetaInit: initializing learning by learning to initialize, NeurIPS 2019.
    """
    steps = whole("steps", steps, 1)
    rate = number("rate", rate, above=0)
    momentum = number("momentum", momentum, least=0, below=1)
    function("loss", loss, "(the output of the model)", none=True)
    require_tensorflow("Scheme 'metainit' takes gradients", '"lsuv"')
    start_from(task, start)
    data = check_data(task.model, task.data)
    kernels = [kernel for kernel in task.kernels if kernel.trainable]
    random = stream(task.seed, "metainit")
    moves = np.zeros(len(kernels))
    first = np.array([_norm(kernel) for kernel in kernels])
    best = Best(task, [kernel.variable for kernel in kernels])
    for step in range(steps):
        quotient, slopes = _quotient(task, kernels, data, loss or _random_targets(random))
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
    kept, notes = _settled(task, best, kernels, data, loss)
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
    task: Task, best: Best, kernels: list[Kernel], data: Any, loss: Callable[[Any], Any] | None
) -> tuple[str, list[str]]:
    """Put back the best step, or the start, if the last is not as good; which, and what to say."""
    steps, step = len(best.measures), best.turn

    def judged() -> float:
        if loss:
            return _finite(_quotient_alone(task, kernels, data, loss))
        # The same targets for all that are compared: those of the steps were others each time.
        losses = [_random_targets(stream(task.seed, f"metainit/{n}")) for n in range(_JUDGES)]
        return float(np.mean([_finite(_quotient_alone(task, kernels, data, f)) for f in losses]))

    last, values = judged(), [kernel.variable.numpy() for kernel in kernels]
    best.put_back(0)
    first = judged()
    smallest = first
    if step:
        best.put_back(step)
        smallest = judged()
    kept = chosen(first, smallest, last, 0.0 if loss else _NOISE)
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


def _random_targets(random: np.random.Generator) -> Callable[[Any], Any]:
    def loss(outputs: Any) -> Any:
        import tensorflow as tf

        flat = tf.nest.flatten(outputs)
        targets = [random.standard_normal(tuple(o.shape)) for o in flat]
        return tf.add_n(
            [
                tf.reduce_mean(tf.square(o - tf.cast(t, o.dtype)))
                for o, t in zip(flat, targets, strict=True)
            ]
        )

    return loss


def _quotient(
    task: Task, kernels: list[Kernel], data: Any, loss: Callable[[Any], Any]
) -> tuple[float, np.ndarray]:
    """GQ, and its derivative with respect to the logarithm of each kernel's norm."""
    import tensorflow as tf

    variables = [kernel.variable.value for kernel in kernels]
    with tf.GradientTape() as third:
        quotient = _quotient_of(task, variables, data, loss)
    slopes = dense(third.gradient(quotient, variables), variables)
    by_norm = [float(tf.reduce_sum(s * v)) for s, v in zip(slopes, variables, strict=True)]
    return float(quotient), np.array(by_norm)


def _quotient_alone(
    task: Task, kernels: list[Kernel], data: Any, loss: Callable[[Any], Any]
) -> float:
    """GQ of the kernels as they are now, without its gradient."""
    return float(_quotient_of(task, [kernel.variable.value for kernel in kernels], data, loss))


def _quotient_of(task: Task, variables: list[Any], data: Any, loss: Callable[[Any], Any]) -> Any:
    """GQ as a tensor, which a tape around it can differentiate."""
    import tensorflow as tf

    with tf.GradientTape() as second:
        with tf.GradientTape() as first:
            value = loss(call(task.model, data))
        gradients = dense(first.gradient(value, variables), variables)
        half = tf.add_n([tf.reduce_sum(tf.square(g)) for g in gradients]) / 2
    # The gradient of ½‖g‖² is H·g.
    products = dense(second.gradient(half, variables), variables)
    terms = []
    for g, product in zip(gradients, products, strict=True):
        away = tf.where(g >= 0, _SMALL, -_SMALL)
        terms.append(tf.reduce_sum(tf.abs((g - product) / (g + away) - 1)))
    return tf.add_n(terms) / sum(int(tf.size(v)) for v in variables)
