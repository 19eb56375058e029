"""What is found wrong with a network: findings, their kinds, and which rules find them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tfinit.arguments import one_of
from tfinit.errors import InputError

if TYPE_CHECKING:
    from tfinit.diagnostics.judging.cures import Cure
    from tfinit.diagnostics.judging.evidence import Evidence
    from tfinit.diagnostics.measuring.measurement import Measurement

SEVERE, WARNING, NOTE = "severe", "warning", "note"
KINDS: tuple[str, ...]


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

    def __post_init__(self) -> None:
        one_of("severity", self.severity, (SEVERE, WARNING, NOTE))

    def __str__(self) -> str:
        code = f" `{self.code}`" if self.code else ""
        return f"{self.severity}: {self.kind}: {self.evidence} {self.cure}{code}"


@dataclass(frozen=True)
class Kind:
    """A kind of finding.

    Attributes:
        name: What findings, tables and JSON call it.
        follows_from: The kinds that cause it. Where one of them is severe, this one is a
            consequence, and no longer severe itself.
        cure: (what was measured, the layer's key) → what to do. None: initialize by a scheme.
    """

    name: str
    follows_from: tuple[str, ...] = ()
    cure: "Callable[[Measurement, str], Cure] | None" = None


@dataclass(frozen=True)
class Rule:
    """A rule: what was measured → findings.

    Attributes:
        find: Yields the findings.
        kinds: The kinds that it finds.
    """

    find: "Callable[[Evidence], Iterable[Finding]]"
    kinds: tuple[Kind, ...]


RULES: list[Rule] = []


def rule(*kinds: Kind) -> Callable[[Any], Any]:
    """Decorator: the function is a rule that finds these kinds, from now on.

    Raises:
        InputError: two kinds would follow from each other.
    """

    def declare(find: Any) -> Any:
        made = Rule(find, kinds)
        in_order([*RULES, made])
        RULES.append(made)
        return find

    return declare


def in_order(rules: Sequence[Rule] | None = None) -> dict[str, Kind]:
    """The kinds of all rules by name: causes before what follows from them, else as declared."""
    rules = RULES if rules is None else rules
    left = {kind.name: kind for rule in rules for kind in rule.kinds}
    ordered: dict[str, Kind] = {}
    while left:
        free = (name for name in left if not left.keys() & {*left[name].follows_from})
        name = next(free, None)
        if name is None:
            raise InputError(
                f"`follows_from`: the kinds {', '.join(map(repr, left))} follow from each other. "
                "Name as causes only what comes before."
            )
        ordered[name] = left.pop(name)
    return ordered


def __getattr__(name: str) -> tuple[str, ...]:
    if name == "KINDS":  # as of now
        from tfinit.diagnostics.judging import rules  # noqa: F401  where they are declared

        return tuple(in_order())
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
