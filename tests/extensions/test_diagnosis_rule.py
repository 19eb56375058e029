"""A rule that is added: in the verdict, the table, JSON and `KINDS`; what follows from what."""

import keras
import numpy as np
import pytest
from recipes import recipe

import tfinit
from tfinit.diagnostics.judging.rules import RULES, SEVERE, Finding, Kind, rule
from tfinit.errors import InputError


@pytest.fixture
def rules():
    before = list(RULES)
    yield
    RULES[:] = before


def narrow(bias="zeros"):
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(1, bias_initializer=bias, name="neck"),
            layers.Dense(3, name="head"),
        ]
    )


def test_it_is_found_wherever_findings_are(rules):
    exec(recipe("A diagnosis rule"), {})
    kinds = tfinit.diagnostics.KINDS
    assert kinds.index("not finite") < kinds.index("bottleneck")
    diagnosis = tfinit.diagnose(narrow())
    [finding] = [f for f in diagnosis.findings if f.kind == "bottleneck"]
    assert (finding.severity, finding.layer) == (SEVERE, "neck")
    assert (finding.rule, finding.fault) == ("TFI999", "activation")
    assert not diagnosis.healthy
    assert diagnosis.verdict.endswith("sees one number. Give 'neck' more units.")
    [line] = [line for line in str(diagnosis).splitlines() if line.startswith("neck")]
    assert line.endswith("bottleneck")
    assert "bottleneck" in [f["kind"] for f in diagnosis.to_dict()["findings"]]


def test_it_follows_from_its_cause(rules):
    exec(recipe("A diagnosis rule"), {})
    diagnosis = tfinit.diagnose(narrow(keras.initializers.Constant(np.nan)))
    assert [f.kind for f in diagnosis.severe] == ["not finite"]
    [finding] = [f for f in diagnosis.findings if f.kind == "bottleneck"]
    assert finding.cure == "It follows from: not finite."


def test_a_kind_that_no_rule_declares_is_its_own_cause(rules):
    @rule()
    def odd(evidence):
        yield Finding("odd", SEVERE, "", "It is odd.", "Even it out.", "")
        yield evidence.finding("odder", SEVERE, "", "It is odder.")

    diagnosis = tfinit.diagnose(narrow())
    assert [f.kind for f in diagnosis.severe] == ["odd", "odder"]
    assert diagnosis.verdict == "It is odd. Even it out."
    # The cure of any kind was tried, and the rule still finds it.
    assert diagnosis.severe[1].cure.endswith("do not mend it (tried on a copy).")


def test_a_finding_of_no_known_severity_is_refused(rules):
    rule()(lambda evidence: [evidence.finding("odd", "bad", "", "It is odd.")])
    with pytest.raises(InputError, match="`severity` must be one of severe, warning, note"):
        tfinit.diagnose(narrow())


def test_a_code_that_another_rule_has_is_refused(rules):
    with pytest.raises(InputError, match="`code`: 'TFI002' is the code of '_twins' already"):
        rule(Kind("odd"), code="TFI002")(lambda evidence: ())


def test_a_fault_that_is_none_is_refused(rules):
    rule(Kind("odd", fault="weather"))(lambda e: [e.finding("odd", SEVERE, "", "It is odd.")])
    with pytest.raises(InputError, match="`fault` must be one of , head, loss, labels"):
        tfinit.diagnose(narrow())


def test_kinds_that_follow_from_each_other_are_refused(rules):
    known = list(RULES)
    with pytest.raises(InputError, match="`follows_from`: the kinds 'egg', 'hen' follow from each"):
        rule(Kind("egg", ("hen",)), Kind("hen", ("egg",)))(lambda evidence: ())
    assert known == RULES


def test_it_is_gone_again():
    assert not {"bottleneck", "odd", "odder"} & {*tfinit.diagnostics.KINDS}
    codes = [known.code for known in RULES]
    assert len({*codes}) == len(codes) and all(codes)
