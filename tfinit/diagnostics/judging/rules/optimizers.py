"""Rules about what else an optimizer does: weight decay, clipping, schedules."""

import math
import statistics
from collections.abc import Iterator

from tfinit.diagnostics.judging.cures import Cure
from tfinit.diagnostics.judging.evidence import Evidence
from tfinit.diagnostics.judging.findings import NOTE, SEVERE, WARNING, Change, Finding, Kind, rule
from tfinit.diagnostics.judging.rules.rates import NO_SIGNAL, has_known_loss, pace_of
from tfinit.diagnostics.measuring.one_step import FirstStep

# A penalty's pull on the weights against the data's; a gradient over the limit that it is clipped
# to; what all steps of a schedule are worth.
_PULLS, _PULLS_FAR = 2.0, 5.0
_AT_ONCE = 0.099  # of the weights, taken off in each step
_ALWAYS, _NEVER = 100.0, 1000.0
_SHORT = 100.0


@rule(Kind("weight decay", NO_SIGNAL, fault="rate"), code="TFI082")
def _weight_decay_outweighs(evidence: Evidence) -> Iterator[Finding]:
    """Weight decay or a regularizer pulls the weights to zero more than the data pull elsewhere.

    Why: Weight decay and L1 or L2 regularizers make weights smaller in each step. Where that is
    stronger than what the data ask for, the weights go to zero, and the network puts out the same
    number for every example.

    Evidence: For kernels whose scale no normalization undoes, freshly drawn: the norm of the
    regularizer's gradient (of SGD's weight decay: decay times weight) over that of the data's. Of
    most that have one, a warning from 2 on; severe if it is 5 or more of every kernel, and the
    penalty more than half of the loss. Of an adaptive optimizer, whose step is 1 in these units
    whatever the gradient, decay times rms of the weights: a warning from 5 on, severe from 20 on,
    and from 1 on where a step takes a tenth off the weights (rate times decay).

    Cure: A weaker one: 0.01 of weight decay with AdamW, 0.0001 of L2, or none.

    Example:
        layers.Dense(32, "relu", kernel_regularizer=keras.regularizers.L2(1.0))

    Krogh & Hertz, A simple weight decay can improve generalization, 1991.
    """
    found, optimizer = evidence.found, evidence.found.optimizer
    if not found.drawn or not has_known_loss(evidence):
        return
    undone = {w.key for layer in found.layers if layer.normalized for w in layer.weights}
    beside = [p for p in found.penalties if p.key not in undone and p.rest > 0]
    if beside:
        pull = statistics.median([p.pull / p.rest for p in beside])
        rest = {p.key for p in found.parameters if len(p.shape) > 1 and p.gradient} - undone
        # A layer without one may make up for the others.
        everywhere = rest <= {p.key for p in beside if p.pull >= _PULLS_FAR * p.rest}
        share = sum(p.value for p in beside) / max(abs(found.loss), 1e-30)
        if pull >= _PULLS:
            yield evidence.finding(
                "weight decay",
                SEVERE if everywhere and share > 0.5 else WARNING,
                beside[0].key.rsplit("/", 1)[0],
                f"The regularizer {beside[0].setting} of {beside[0].key!r} and others pulls the "
                f"weights to zero {pull:.3g} times as strongly as the data pull them, and is "
                f"{share:.0%} of the loss.",
                Cure("Write a weaker one, as kernel_regularizer=keras.regularizers.L2(1e-4).", ""),
            )
            return
    if optimizer is None or optimizer.weight_decay <= 0 or found.optimizer is None:
        return
    decay = optimizer.weight_decay
    kernels = [
        p for p in found.parameters if len(p.shape) > 1 and p.gradient and p.key not in undone
    ]
    if not kernels:
        return
    if optimizer.adaptive:
        pull, limits = statistics.median([decay * p.rms for p in kernels]), (5.0, 20.0)
        share = 1.0
        if pull > 1 and abs(optimizer.rate) * decay >= _AT_ONCE:
            limits = (0.0, 0.0)
    else:
        sizes = [(p.rms * math.sqrt(math.prod(p.shape)), p.gradient or math.inf) for p in kernels]
        pull, limits = statistics.median([decay * w / g for w, g in sizes]), (_PULLS, _PULLS_FAR)
        share = decay / 2 * sum(w**2 for w, _ in sizes) / max(abs(found.loss), 1e-30)
    if pull < limits[0]:
        return
    usual = 0.01 if optimizer.adaptive else 1e-4
    yield evidence.finding(
        "weight decay",
        SEVERE if pull >= limits[1] and share > 0.5 else WARNING,
        "",
        f"{optimizer.name}'s weight_decay of {decay:.4g} pulls most weights to zero {pull:.3g} "
        "times as strongly as a gradient step moves them.",
        Cure(
            f"Use {usual:g}:",
            f"model.optimizer.weight_decay = {usual:g}",
            (Change("model.optimizer", "weight_decay", usual),),
        ),
    )


@rule(Kind("clipping", ("not finite", "exploding"), fault="rate"), code="TFI083")
def _clipping_always_bites(evidence: Evidence) -> Iterator[Finding]:
    """Gradients are clipped to so little that every step is cut to a small part, or never.

    Why: Clipping is there for the rare step whose gradient is far too large. If it cuts off most of
    every gradient, it is a learning rate that is smaller than the one that is written. If the limit
    is far above all gradients, it does nothing.

    Evidence: The gradient of this batch over the limit: of its norm by all weights with
    global_clipnorm, by each with clipnorm (the median), of its largest entry with clipvalue. A
    warning from 100 on (a note of optimizers like Adam, whose step hardly depends on it), severe if
    the step is then too small by the numbers of "rate too small"; a note where the limit is 1,000
    times the gradient or more.

    Cure: A limit of about the gradient's usual size, as global_clipnorm=1.0 where that is it.

    Example:
        model.compile(keras.optimizers.SGD(0.01, clipvalue=0.00001), "mse")

    Pascanu et al., On the difficulty of training recurrent neural networks, ICML 2013.
    """
    found, optimizer = evidence.found, evidence.found.optimizer
    if optimizer is None or not optimizer.clips or optimizer.clip <= 0 or not found.drawn:
        return
    if not has_known_loss(evidence):
        return
    reached = [p for p in found.parameters if p.gradient]
    norms = [p.gradient for p in reached if p.gradient]
    sizes = {
        "global_clipnorm": math.hypot(*norms),
        "clipnorm": statistics.median(norms or [0.0]),
        "clipvalue": max((p.largest or 0.0 for p in reached), default=0.0),
    }
    size = sizes[optimizer.clips]
    times = size / optimizer.clip
    if not math.isfinite(times) or not times or 1 / _NEVER < times < _ALWAYS:
        return
    what = "largest entry" if optimizer.clips == "clipvalue" else "norm"
    told = f"{optimizer.clips}={optimizer.clip:.4g} and a gradient whose {what} is {size:.3g}: "
    cut = f"steps are cut to 1 / {times:,.0f}." if times > 1 else "it never cuts anything off."
    limit = float(f"{size:.0e}")
    severity = WARNING if times > 1 and not optimizer.adaptive else NOTE
    if times > 1 and pace_of(FirstStep.of(found)).severity == SEVERE:
        severity = SEVERE
    yield evidence.finding(
        "clipping",
        severity,
        "",
        told + cut,
        Cure(
            f"Write {optimizer.clips}={limit:g}, or leave it out:",
            f"model.optimizer.{optimizer.clips} = None",
            (Change("model.optimizer", optimizer.clips, limit),),
        ),
    )


@rule(Kind("short schedule", fault="rate"), code="TFI084")
def _schedule_ends_at_once(evidence: Evidence) -> Iterator[Finding]:
    """The learning-rate schedule falls to nearly nothing within some dozens of steps.

    Why: Keras counts a schedule in steps (batches), not in epochs. One that is meant for 100 epochs
    is over after 100 batches, and what comes then changes nothing any more.

    Evidence: The sum of the rates of all steps, over the largest of them: what training is worth in
    steps at that rate. A warning below 100, except for networks that are tuned on.

    Cure: Count in steps: epochs × batches of an epoch.

    Example:
        keras.optimizers.schedules.ExponentialDecay(0.01, decay_steps=1, decay_rate=0.9)

    Keras's documentation of LearningRateSchedule (it is called with the number of the step).
    """
    optimizer = evidence.found.optimizer
    if optimizer is None or not evidence.found.drawn or not 0 < optimizer.worth < _SHORT:
        return
    yield evidence.finding(
        "short schedule",
        WARNING,
        "",
        f"The schedule begins at {optimizer.first:.3g} and falls so fast that all of its steps "
        f"together are worth {optimizer.worth:,.0f} at its largest rate, {optimizer.rate:.3g}.",
        Cure("A schedule counts batches, not epochs: let decay_steps be epochs × batches.", ""),
    )
