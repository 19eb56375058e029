"""What is found wrong with a network: the record of one finding."""

from dataclasses import dataclass

SEVERE, WARNING, NOTE = "severe", "warning", "note"
# Causes before what may follow from them.
KINDS = (
    *("not finite", "twins", "bias off", "scale jump", "dead units", "saturated"),
    *("vanishing", "exploding", "confident start", "wrong fans", "normalization hides it"),
)


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        kind: One of `KINDS`.
        severity: ``"severe"`` (the network will not learn, or hardly), ``"warning"`` or ``"note"``.
        layer: The key of the layer where it begins; "" for the network as a whole.
        evidence: A sentence with the numbers.
        cure: A sentence that says what to do.
        code: The same as Python to paste, about ``model`` (and ``x``, a batch); "" where no line
            of code does it.
    """

    kind: str
    severity: str
    layer: str
    evidence: str
    cure: str
    code: str

    def __str__(self) -> str:
        code = f" `{self.code}`" if self.code else ""
        return f"{self.severity}: {self.kind}: {self.evidence} {self.cure}{code}"
