"""Rules about dropout."""

from collections.abc import Iterator

from tfinit.diagnostics.judging.cures import Cure
from tfinit.diagnostics.judging.evidence import Evidence, elsewhere
from tfinit.diagnostics.judging.findings import SEVERE, WARNING, Change, Finding, Kind, rule
from tfinit.diagnostics.measuring.settings import Dropped

# The rate from which it may be the rate to keep that was meant; how many units are kept for an
# example below which most of it is noise.
_RATE_WARNING, _KEPT_SEVERE = 0.8, 2.0


@rule(Kind("dropout", fault="activation"), code="TFI129")
def _dropout(evidence: Evidence) -> Iterator[Finding]:
    """A dropout rate near 1, which lets hardly anything through.

    Why: the rate of Keras's Dropout is the part that is *dropped*. Dropout(0.9) sets nine of ten
    units to zero at each step and multiplies the rest by ten, so that most of what is learned from
    is noise. Older libraries asked for the part to keep.

    Evidence: a rate of 0.8 or more is a warning; those of layers with no kernel between them count
    together (0.7 and 0.5 drop 0.85). It is severe where fewer than two units are kept
    for an example on average, and all of the signal goes through it.

    Cure: set the rate to 0.5 or less.

    Example:
        [Dense(64, activation="relu"), Dropout(0.99), Dense(10)]
    """
    dropped = [d for d in evidence.found.settings.dropped if d.rate >= _RATE_WARNING]
    severe = [d for d in dropped if _drops_all(d)]
    if dropped:
        worst = max(severe or dropped, key=lambda d: d.rate)
        kept = worst.units * (1 - worst.rate)
        of = f": {kept:.2g} of {worst.units} units are kept for an example" if worst.units else ""
        words, code = "Set its rate to 0.5 or less; it is the part that is dropped", ""
        if "/" not in worst.key and worst.units:
            words, code = f"{words}:", f"model.get_layer({worst.key!r}).rate = 0.5"
        yield evidence.finding(
            "dropout",
            SEVERE if severe else WARNING,
            worst.key,
            f"{worst.key!r} drops {worst.rate:.4g} of what it reads{of}.{elsewhere(dropped)}",
            Cure(words if code else f"{words}.", code, (Change(worst.key, "rate", 0.5),)),
        )


def _drops_all(dropped: Dropped) -> bool:
    kept = dropped.units * (1 - dropped.rate)
    # Of units that are few themselves, most come through at the usual rates.
    few = dropped.units > 0 and kept < _KEPT_SEVERE
    return dropped.only_way and (dropped.rate >= 1 or few)
