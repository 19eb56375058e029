"""Rules about dropout."""

from collections.abc import Iterator

from tfinit.diagnostics.judging.cures import Cure
from tfinit.diagnostics.judging.evidence import Evidence, elsewhere
from tfinit.diagnostics.judging.findings import SEVERE, WARNING, Change, Finding, Kind, rule
from tfinit.diagnostics.measuring.settings import Dropped
from tfinit.diagnostics.measuring.without_dropout import Undropped, noise_of

# The rate from which it may be the rate to keep that was meant; how many units are kept for an
# example below which most of it is noise.
_RATE_WARNING, _KEPT_SEVERE = 0.8, 2.0
# What dropout leaves of the fall of the loss in steps that were tried. The usual one leaves half or
# more; with a quarter, four epochs and more do what one could.
_LEFT_SEVERE = 0.25
# A rate at which little is lost, and which layers have to get it: of more noise, or a higher rate.
_LITTLE, _NOISY, _USUAL = 0.1, 0.01, 0.5


@rule(Kind("dropout", ("dropout behind the output",), fault="activation"), code="TFI129")
def _dropout(evidence: Evidence) -> Iterator[Finding]:
    """Dropout that lets hardly anything through, or of so much that little is learned.

    Why: the rate of Keras's Dropout is the part that is *dropped*. Dropout(0.9) sets nine of ten
    units to zero at each step and multiplies the rest by ten, so that most of what is learned from
    is noise. Older libraries asked for the part to keep. Half of a narrow layer is too much as
    well, where it is done behind each of several: a layer of n units and rate p adds
    p / (1 - p) / n of what it reads as noise.

    Evidence: a rate of 0.8 or more is a warning; those of layers with no kernel between them count
    together (0.7 and 0.5 drop 0.85). It is severe where fewer than two units are kept
    for an example on average, and all of the signal goes through it. Where a rate is so high, or
    the noise of all layers is 5% or more together, steps are tried on a copy with 128 examples of
    this batch (not with recurrent layers, nor above 16 million multiplications for an example):
    without dropout, 20 or until 80% of the loss are left, 100 at most; then as many with it.
    Severe if the first take 5% of the loss away or more, and of this fall a quarter or less is left
    with dropout; both losses are measured without.

    Cure: set the rate to 0.5 or less; of several layers to 0.1.

    Example:
        [Dense(64, activation="relu"), Dropout(0.99), Dense(10)]

    Srivastava et al., Dropout: A Simple Way to Prevent Neural Networks from Overfitting, 2014.
    """
    dropped = [d for d in evidence.found.settings.dropped if d.rate >= _RATE_WARNING]
    severe = [d for d in dropped if _drops_all(d)]
    tried = evidence.found.undropped
    if not severe and tried is not None and tried.left <= _LEFT_SEVERE:
        yield _of_several(evidence, tried)
    elif dropped:
        worst = max(severe or dropped, key=lambda d: d.rate)
        kept = worst.units * (1 - worst.rate)
        of = f": {kept:.2g} of {worst.units} units are kept for an example" if worst.units else ""
        words, code = "Set its rate to 0.5 or less; it is the part that is dropped", ""
        if "/" not in worst.key and worst.units:
            words, code = f"{words}:", _set(evidence, worst, 0.5)
        yield evidence.finding(
            "dropout",
            SEVERE if severe else WARNING,
            worst.key,
            f"{worst.key!r} drops {worst.rate:.4g} of what it reads{of}.{elsewhere(dropped)}",
            Cure(words if code else f"{words}.", code, (Change(worst.key, "rate", 0.5),)),
        )


def _of_several(evidence: Evidence, tried: Undropped) -> Finding:
    """What the steps showed, of all layers that drop much of what they have."""
    drop = evidence.found.settings.dropped
    noisy = [d for d in drop if d.only_way and (noise_of(d) >= _NOISY or d.rate > _USUAL)]
    worst = max(noisy or drop, key=noise_of)
    words = f"Set their rates to {_LITTLE:g} or less"
    lines = [_set(evidence, d, _LITTLE) for d in noisy]
    code = "" if any("/" in d.key for d in noisy) else "; ".join(lines)
    return evidence.finding(
        "dropout",
        SEVERE,
        worst.key,
        f"{worst.key!r} drops {worst.rate:.2g} of {worst.units} units.{elsewhere(drop)} Together "
        f"they leave {tried.left:.0%} of what is learned: in {tried.steps} steps that were tried "
        f"the loss of this batch falls from {tried.before:.3g} to {tried.without:.3g} if nothing "
        f"is dropped, and to {tried.dropped:.3g} as it is.",
        Cure(
            f"{words}:" if code else f"{words}.",
            code,
            tuple(Change(d.key, "rate", _LITTLE) for d in noisy),
        ),
    )


def _set(evidence: Evidence, dropped: Dropped, rate: float) -> str:
    """The line that sets a rate, of a layer by its own name."""
    steps = evidence.found.structure.graph.steps
    name = next(step.op.name for step in steps if step.key == dropped.key)
    return f"model.get_layer({name!r}).rate = {rate:g}"


def _drops_all(dropped: Dropped) -> bool:
    kept = dropped.units * (1 - dropped.rate)
    # Of units that are few themselves, most come through at the usual rates.
    few = dropped.units > 0 and kept < _KEPT_SEVERE
    return dropped.only_way and (dropped.rate >= 1 or few)
