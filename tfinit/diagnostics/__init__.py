"""Say before training whether a network will learn, and what to do.

`diagnose(model, x, y)` makes one forward and one backward pass and reads them: probes → signals →
findings → cures. `recommend(model)` says which initializer fits each layer. Nothing here prints.
"""

from tfinit.lazy import loading

_HOME = {
    "Diagnosis": "diagnosis",
    "Finding": "judging.findings",
    "KINDS": "judging.findings",
    "Recommendation": "advising.recommendation",
    "diagnose": "diagnosis",
    "recommend": "advising.advice",
}
__all__ = [*_HOME]
__getattr__ = loading(__name__, _HOME)
