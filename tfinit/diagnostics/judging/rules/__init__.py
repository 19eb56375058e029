"""Rules: what was measured → what is wrong, where, and how one sees it.

Each rule is a function of an `Evidence` that yields findings, with the kinds that it finds above
it: what they follow from, what to do, which fault of a program they are, and the rule's code.
Its docstring is its page in docs/rules.md. `tfinit.diagnostics.judging.causes` runs them all, in
the order of `FILES`: what a cause is comes before what follows from it.
"""

import importlib

from tfinit.diagnostics.judging.findings import (  # noqa: F401  (a new rule finds here what it needs)
    FAULTS,
    NOTE,
    RULES,
    SEVERE,
    WARNING,
    Change,
    Finding,
    Kind,
    rule,
)

FILES = (
    *("numbers", "labels", "targets", "heads", "ranges", "losses", "starts"),
    *("inputs", "input_scale", "gradients"),
    *("weights", "scale", "frozen", "layers", "dropout", "normalization"),
    *("recurrence", "rates", "optimizers"),
)
for _file in FILES:
    importlib.import_module(f"{__name__}.{_file}")
