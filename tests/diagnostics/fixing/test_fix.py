"""`tfinit diagnose --fix`: which lines are changed, and that the program so changed is healthy."""

import textwrap

import pytest

from tfinit.diagnostics import diagnose
from tfinit.diagnostics.fixing.fix import fix
from tfinit.diagnostics.judging.cures import Cure
from tfinit.diagnostics.judging.rules import RULES, SEVERE, Change, Kind, rule
from tfinit.errors import InputError

PROGRAM = """
import numpy as np
from keras.layers import Activation, Dense, ReLU
import keras

def build():
    x = np.random.default_rng(0).normal(size=(32, 4))
    y = (x.sum(1, keepdims=True) > 0).astype("float32")
    net = keras.Sequential([keras.Input((4,))])
    HIDDEN
    net.add(HEAD)
    net.compile(OPTIMIZER, loss=LOSS)
    return net, x, y
"""


@pytest.fixture
def rules():
    before = list(RULES)
    RULES.clear()
    yield
    RULES[:] = before


@pytest.fixture
def fixed(tmp_path, monkeypatch):
    """(parts of the program) → the changed lines and the fix; the file stays as it was."""
    monkeypatch.chdir(tmp_path)
    made = []

    def run(**parts):
        text = PROGRAM
        known = {"HIDDEN": "pass", "HEAD": "Dense(1)", "OPTIMIZER": "'adam'", "LOSS": "'mse'"}
        for name, part in (known | parts).items():
            text = text.replace(name, part)
        path = tmp_path / f"prog{len(made)}.py"
        made.append(path)
        path.write_text(text)
        found = fix(f"{path}:build", "model", examine)
        assert path.read_text() == text
        assert not found.diff or found.diff.startswith(f"--- {path.name}\n+++ {path.name}\n@@ ")
        lines = [line for line in found.diff.splitlines()[2:] if line[0] in "+-"]
        return [line[0] + line[1:].strip() for line in lines], found

    return run


def examine(builder, call=lambda build: build()):
    model, x, y = call(lambda: builder.program(0))
    return model, diagnose(model, x, y)


def asks_for(*changes, code="", until=lambda evidence: False):
    """A rule whose cure it is; it finds nothing more once that is done."""

    @rule(Kind("odd", fault="head"), code="TFI990")
    def odd(evidence):
        if not until(evidence):
            yield evidence.finding("odd", SEVERE, "", "It is odd.", Cure("Do it.", code, changes))


def head(evidence):
    return evidence.found.outputs[0].activation


def rate_of(evidence):
    return float(evidence.found.structure.model.optimizer.learning_rate)


def loss(evidence):
    return evidence.found.outputs[0].loss


@pytest.mark.backends
def test_an_activation_in_the_last_layer_or_behind_it(rules, fixed):
    asks_for(Change("head", "activation", "sigmoid"), until=lambda e: head(e) == "sigmoid")
    lines, found = fixed(HEAD='Dense(1, "relu", name="head")')
    assert lines == [
        '-net.add(Dense(1, "relu", name="head"))',
        '+net.add(Dense(1, "sigmoid", name="head"))',
    ]
    assert not found.before.healthy and found.after.healthy and found.left == ()
    assert str(found).splitlines()[-1].startswith("With these lines: Healthy")
    lines, _ = fixed(HIDDEN='net.add(Dense(1, name="head"))', HEAD='Activation("relu")')
    assert lines == ['-net.add(Activation("relu"))', '+net.add(Activation("sigmoid"))']
    lines, _ = fixed(HIDDEN='net.add(Dense(1, name="head"))', HEAD="ReLU()")
    assert lines == ["-net.add(ReLU())", '+net.add(keras.layers.Activation("sigmoid"))']


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("'adam'", "keras.optimizers.Adam(learning_rate=0.01)"),
        ("keras.optimizers.SGD(3.0, momentum=0.9)", "keras.optimizers.SGD(0.01, momentum=0.9)"),
        ("keras.optimizers.SGD(learning_rate=x[0, 0] ** 2)", None),
    ],
)
def test_a_learning_rate(rules, fixed, given, written):
    rate = Change("model.optimizer", "learning_rate", 0.01)
    asks_for(rate)  # whatever is done
    lines, found = fixed(OPTIMIZER=given)
    assert lines == [] and [f.kind for f in found.left] == ["odd"]  # which did not cure it
    assert str(found) == "By hand: TFI990 odd (head): Do it."
    RULES.clear()
    asks_for(rate, until=lambda e: rate_of(e) == pytest.approx(0.01))
    lines, found = fixed(OPTIMIZER=given)
    written = written or "keras.optimizers.SGD(learning_rate=0.01)"
    assert lines[1] == f"+net.compile({written}, loss='mse')"
    assert found.after.healthy


@pytest.mark.parametrize(
    ("given", "changes", "written"),
    [
        ("'mse'", [("model.compile", "loss", "binary_crossentropy")], '"binary_crossentropy"'),
        (
            "'mse'",
            [("model.compile", "loss", "binary_crossentropy"), ("model.loss", "from_logits", True)],
            "keras.losses.BinaryCrossentropy(from_logits=True)",
        ),
        (
            "'binary_crossentropy'",
            [("model.loss", "from_logits", True)],
            "keras.losses.BinaryCrossentropy(from_logits=True)",
        ),
        (
            "keras.losses.BinaryCrossentropy(label_smoothing=0.1)",
            [("model.loss", "from_logits", True)],
            "keras.losses.BinaryCrossentropy(label_smoothing=0.1, from_logits=True)",
        ),
    ],
)
def test_a_loss(rules, fixed, given, changes, written):
    logits = any(change[1] == "from_logits" for change in changes)
    asks_for(
        *(Change(*change) for change in changes),
        until=lambda e: "binary" in loss(e).name and loss(e).from_logits == logits,
    )
    lines, found = fixed(LOSS=given)
    assert lines[1] == f"+net.compile('adam', loss={written})"
    assert found.after.healthy


def test_a_line_of_code_is_put_before_the_model_is_returned(rules, fixed):
    off = 'net.add(Dense(3, bias_initializer="ones"))'
    cured = lambda e: not e.found.structure.model.layers[0].bias.numpy().any()  # noqa: E731
    asks_for(code="tfinit.initialize(model, 'he', bias=0.0)", until=cured)
    lines, found = fixed(HIDDEN=off)
    assert lines == ["+import tfinit", "+tfinit.initialize(net, 'he', bias=0.0)"]
    assert found.after.healthy
    RULES.clear()
    halved = lambda e: abs(e.found.outputs[0].targets).max() == 0.5  # noqa: E731
    asks_for(code="y = numpy.divide(y, 2)", until=halved)
    assert fixed()[0] == ["+y = np.divide(y, 2)"]
    RULES.clear()
    asks_for(code="tfinit.apply(model, z)")
    assert fixed()[0] == []


def test_what_one_cure_uncovers_the_next_one_changes(rules, fixed):
    asks_for(Change("head", "activation", "sigmoid"), until=lambda e: head(e) == "sigmoid")

    @rule(Kind("odder", fault="loss"), code="TFI991")
    def odder(evidence):
        if head(evidence) == "sigmoid" and "cross" not in loss(evidence).name:
            change = Change("model.compile", "loss", "binary_crossentropy")
            yield evidence.finding("odder", SEVERE, "", "Odder.", Cure("So.", "", (change,)))

    lines, found = fixed(HEAD='Dense(1, "relu", name="head")')
    assert lines[2:] == [
        '+net.add(Dense(1, "sigmoid", name="head"))',
        "+net.compile('adam', loss=\"binary_crossentropy\")",
    ]
    assert found.after.healthy


def test_of_two_cures_of_one_argument_the_first_is_done(rules, fixed):
    asks_for(Change("head", "activation", "sigmoid"), until=lambda e: head(e) == "sigmoid")

    @rule(Kind("odder", fault="head"), code="TFI991")
    def odder(evidence):
        if head(evidence) == "relu":
            change = Change("head", "activation", None)
            code = 'model.get_layer("head").activation = keras.activations.linear'
            yield evidence.finding("odder", SEVERE, "", "Odder.", Cure("So.", code, (change,)))

    lines, found = fixed(HEAD='Dense(1, "relu", name="head")')
    assert lines[1:] == ['+net.add(Dense(1, "sigmoid", name="head"))']
    assert found.after.healthy


def test_a_call_that_makes_several_layers_is_left_alone(rules, fixed):
    change = Change("b", "activation", "relu")
    asks_for(change)
    several = 'for n in "ab": net.add(Dense(3, name=n))'
    lines, found = fixed(HIDDEN=several)
    assert lines == [] and found.after is None and len(found.left) == 1
    RULES.clear()
    name = lambda e: e.found.structure.model.get_layer("b").activation.__name__  # noqa: E731
    code = 'model.get_layer("b").activation = keras.activations.relu'
    asks_for(change, code=code, until=lambda e: name(e) == "relu")
    lines, found = fixed(HIDDEN=several)
    assert lines == [f"+{code.replace('model', 'net')}"] and found.after.healthy


def test_what_does_not_go_together_is_tried_alone(rules, fixed):
    asks_for(Change("head", "activation", "sigmoid"), until=lambda e: head(e) == "sigmoid")

    @rule(Kind("odder", fault="loss"), code="TFI991")
    def odder(evidence):
        change = Change("model.compile", "loss", "no_such_loss")
        yield evidence.finding("odder", SEVERE, "", "Odder.", Cure("So.", "", (change,)))

    lines, found = fixed(HEAD='Dense(1, "relu", name="head")')
    assert lines[1] == '+net.add(Dense(1, "sigmoid", name="head"))'
    assert [f.kind for f in found.left] == ["odder"]


def test_what_the_program_says_already_is_left_as_it_is(rules, fixed):
    changes = [Change("head", "units", 2), Change("head", "activation", "relu")]
    asks_for(*changes, until=lambda e: e.found.outputs[0].units == 2)
    lines, _ = fixed(HEAD='Dense(1, "relu", name="head")')
    assert lines == [
        '-net.add(Dense(1, "relu", name="head"))',
        '+net.add(Dense(2, "relu", name="head"))',
    ]


def test_the_rate_is_that_of_the_program_whose_data_are_scaled(fixed):
    lines, found = fixed(
        HIDDEN="x = 200 + 100 * x",
        HEAD="Dense(1, 'sigmoid')",
        OPTIMIZER="keras.optimizers.SGD(1000.0)",
        LOSS="'binary_crossentropy'",
    )
    assert found.after is not None and found.after.healthy
    assert not [f for f in found.after.findings if f.fault == "rate"], lines


def test_a_change_that_breaks_the_program_is_not_said(rules, fixed):
    asks_for(Change("model.compile", "loss", "no_such_loss"))
    lines, found = fixed()
    assert lines == [] and found.after is None


def test_nothing_severe_and_no_source(rules, fixed):
    assert str(fixed()[1]) == "Nothing severe: there is nothing to change."
    with pytest.raises(InputError, match="`fix` reads the source of `model` 'builtins:print'"):
        fix("builtins:print", "model", examine)


def test_code_that_registers_and_looks_for_its_own_module_runs_again(rules, tmp_path):
    path = tmp_path / "own_classes.py"
    path.write_text(
        textwrap.dedent(
            """
            import pickle
            import keras

            class Kept:
                pass

            def build():
                pickle.loads(pickle.dumps(Kept()))
                net = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="head")])
                net.compile("adam", "mse")
                return net
            """
        )
    )
    asks_for(Change("head", "activation", "sigmoid"), until=lambda e: head(e) == "sigmoid")
    assert fix(f"{path}:build", "model", examine).after.healthy
