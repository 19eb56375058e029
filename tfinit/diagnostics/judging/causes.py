"""All findings in order: causes first; what follows from a cause is no longer severe."""

import dataclasses

from tfinit.diagnostics.judging.evidence import Case
from tfinit.diagnostics.judging.findings import KINDS, NOTE, SEVERE, WARNING, Finding
from tfinit.diagnostics.judging.rules import RULES
from tfinit.diagnostics.measuring.measurement import Measurement

# What a severe finding is the cause of, and only of kinds further down in `KINDS`.
_EXPLAINS: dict[str, tuple[str, ...]] = {
    "not finite": (
        *("twins", "bias off", "scale jump", "dead units", "saturated"),
        *("vanishing", "exploding", "confident start"),
    ),
    "twins": ("dead units", "vanishing"),
    "bias off": ("dead units", "saturated", "vanishing", "exploding"),
    "scale jump": ("dead units", "saturated", "confident start"),
    "dead units": ("vanishing",),
    "saturated": ("vanishing", "exploding", "confident start"),
    "exploding": ("confident start",),
}


def find(found: Measurement) -> tuple[Case, list[Finding]]:
    """All findings, causes first, then by severity and depth."""
    case = Case(found)
    findings = [finding for rule in RULES for finding in rule(case)]
    causes = _causes({f.kind for f in findings if f.severity == SEVERE})
    settled = [
        dataclasses.replace(
            f, severity=WARNING, cure=f"It follows from: {causes[f.kind]}.", code=""
        )
        if f.severity == SEVERE and causes[f.kind]
        else f
        for f in findings
    ]
    order = {SEVERE: 0, WARNING: 1, NOTE: 2}
    return case, sorted(settled, key=lambda f: order[f.severity])


def _causes(severe: set[str]) -> dict[str, str]:
    """Each severe kind → the one that explains it and is not itself explained; "" for none."""
    causes: dict[str, str] = {}
    for kind in KINDS:
        if kind in severe:
            roots = (root for root, cause in causes.items() if not cause)
            causes[kind] = next((r for r in roots if kind in _EXPLAINS.get(r, ())), "")
    return causes
