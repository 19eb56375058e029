"""All findings in order: causes first; what follows from a cause is no longer severe."""

import dataclasses

from tfinit.diagnostics.judging import rules  # noqa: F401  where they are declared
from tfinit.diagnostics.judging.evidence import Evidence
from tfinit.diagnostics.judging.findings import NOTE, RULES, SEVERE, WARNING, Finding, in_order
from tfinit.diagnostics.measuring.measurement import Measurement


def find(found: Measurement) -> tuple[Evidence, list[Finding]]:
    """All findings, causes first, then by severity and depth."""
    evidence = Evidence(found)
    findings = [finding for rule in RULES for finding in rule.findings(evidence)]
    causes = _causes({f.kind for f in findings if f.severity == SEVERE})
    settled = [
        dataclasses.replace(
            f,
            severity=WARNING,
            cure=f"It follows from: {causes[f.kind]}.",
            code="",
            changes=(),
        )
        if f.severity == SEVERE and causes.get(f.kind)
        else f
        for f in findings
    ]
    order = {SEVERE: 0, WARNING: 1, NOTE: 2}
    return evidence, sorted(settled, key=lambda f: order[f.severity])


def _causes(severe: set[str]) -> dict[str, str]:
    """Each severe kind → the one that explains it and is not itself explained; "" for none.

    A kind that no rule declares has no cause.
    """
    causes: dict[str, str] = {}
    for name, kind in in_order().items():
        if name in severe:
            roots = (root for root, cause in causes.items() if not cause)
            causes[name] = next((r for r in roots if r in kind.follows_from), "")
    return causes
