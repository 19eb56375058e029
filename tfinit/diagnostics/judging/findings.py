"""What is found wrong with a network: findings, their kinds, and which rules find them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from tfinit.arguments import one_of
from tfinit.errors import InputError

if TYPE_CHECKING:
    from tfinit.diagnostics.judging.cures import Cure
    from tfinit.diagnostics.judging.evidence import Evidence
    from tfinit.diagnostics.measuring.measurement import Measurement

SEVERE, WARNING, NOTE = "severe", "warning", "note"
FAULTS = ("head", "loss", "labels", "inputs", "targets", "rate", "activation", "initial")
"""What a person would say is wrong with the program: the output layer's activation or width; the
loss; the targets are not what the loss takes; the inputs' scale or content; regression targets far
from the outputs' scale; the learning rate or optimizer; a hidden activation, or what else lets no
signal through; the initial weights."""
KINDS: tuple[str, ...]


class Change(NamedTuple):
    """One thing that the program must say otherwise; `tfinit diagnose --fix` writes it.

    Attributes:
        of: The key of a layer, for an argument that it is made with; ``"model.compile"``,
            ``"model.optimizer"`` or ``"model.loss"`` for an argument of these.
        argument: Its name, as Keras calls it: ``"activation"``, ``"units"``, ``"loss"``,
            ``"learning_rate"``, ``"from_logits"``.
        value: What it must be: a string, a number, True, False, None, or a list of these.

    Example:
        >>> Change("head", "activation", "sigmoid"), Change("model.compile", "loss", "mse")[1]
        (Change(of='head', argument='activation', value='sigmoid'), 'loss')
    """

    of: str
    argument: str
    value: Any


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
        rule: The code of the rule that found it, ``"TFI004"``; "" of a rule without. It is stable:
            docs/rules.md has a section for each.
        fault: What a person would say is wrong, one of `FAULTS`; "" of a rule that does not say.
        changes: What the program must say otherwise, where the cure is that (`Change`).
    """

    kind: str
    severity: str
    layer: str
    evidence: str
    cure: str
    code: str
    rule: str = ""
    fault: str = ""
    changes: tuple[Change, ...] = ()

    def __post_init__(self) -> None:
        one_of("severity", self.severity, (SEVERE, WARNING, NOTE))
        one_of("fault", self.fault, ("", *FAULTS))

    def __str__(self) -> str:
        code = f" `{self.code}`" if self.code else ""
        return f"{self.severity} {self.named}: {self.evidence} {self.cure}{code}"

    @property
    def named(self) -> str:
        """The rule, the kind and the fault: ``"TFI002 twins (initial)"``."""
        fault = f" ({self.fault})" if self.fault else ""
        return f"{self.rule} {self.kind}{fault}".strip()


@dataclass(frozen=True)
class Kind:
    """A kind of finding.

    Attributes:
        name: What findings, tables and JSON call it.
        follows_from: The kinds that cause it. Where one of them is severe, this one is a
            consequence, and no longer severe itself.
        cure: (what was measured, the layer's key) → what to do. None: initialize by a scheme.
        fault: Which of `FAULTS` a finding of this kind is, where it does not say itself.
    """

    name: str
    follows_from: tuple[str, ...] = ()
    cure: "Callable[[Measurement, str], Cure] | None" = None
    fault: str = ""


@dataclass(frozen=True)
class Rule:
    """A rule: what was measured → findings.

    Attributes:
        find: Yields the findings.
        kinds: The kinds that it finds.
        code: What its findings call it, ``"TFI004"``; "" for none.
    """

    find: "Callable[[Evidence], Iterable[Finding]]"
    kinds: tuple[Kind, ...]
    code: str = ""

    def findings(self, evidence: "Evidence") -> "Iterator[Finding]":
        """What it finds, with its code, and with the fault that the kind is."""
        faults = {kind.name: kind.fault for kind in self.kinds}
        for found in self.find(evidence):
            fault = found.fault or faults.get(found.kind, "")
            yield replace(found, rule=found.rule or self.code, fault=fault)


RULES: list[Rule] = []


def rule(*kinds: Kind, code: str = "") -> Callable[[Any], Any]:
    """Decorator: the function is a rule that finds these kinds, from now on.

    Args:
        *kinds: What it finds.
        code: What its findings call it: no other rule's.

    Raises:
        InputError: two kinds would follow from each other, or another rule has the code.
    """

    def declare(find: Any) -> Any:
        made = Rule(find, kinds, code)
        taken = next((known for known in RULES if code and known.code == code), None)
        if taken is not None:
            raise InputError(
                f"`code`: {code!r} is the code of {getattr(taken.find, '__name__', '')!r} already."
            )
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
