"""Rules about recurrent layers: signals and gradients through time."""

from collections.abc import Iterator

from tfinit.diagnostics.judging.cures import Cure
from tfinit.diagnostics.judging.evidence import Evidence, elsewhere
from tfinit.diagnostics.judging.findings import (
    NOTE,
    SEVERE,
    WARNING,
    Change,
    Finding,
    Kind,
    rule,
)
from tfinit.diagnostics.measuring.through_time import ThroughTime

_SATURATED_SEVERE, _SATURATED_WARNING = 0.95, 0.6
_LARGE = 10.0  # rms of inputs from which it is they that saturate
# A step's factor on a gradient below which a layer has no memory, if it has some steps to remember.
_FORGETS, _FEW = 0.3, 5
_KEEPS_LITTLE = 0.2  # mean of the gate that keeps the state
_LONG = -10.0  # decades over a whole sequence, from which its beginning does not count
# What a state or a gradient is multiplied with over a sequence.
_GROWS_SEVERE, _AHEAD_SEVERE, _GROWS_WARNING, _DECADES = 1e4, 1e6, 1e3, 2.0
_FAR_SEVERE = 1e12  # of a cell with gates, after ten steps of the optimizer
_SOME_STEPS = 20  # from which a cell made for tanh is not to be without bounds


@rule(Kind("gates saturated", ("not finite", "scale jump"), fault="inputs"), code="TFI140")
def _gates_saturated(evidence: Evidence) -> Iterator[Finding]:
    """Gates of a recurrent layer that are open or shut whatever comes in.

    Why: a gate is a sigmoid, its candidate a tanh. Fed with large numbers they sit at their flat
    ends: each gate is wholly open or wholly shut, its slope is near zero, and no gradient moves it.
    The network then predicts nearly the same for every sequence.

    Evidence: the part of all gates and candidates, over examples and steps, beyond 97.5% of their
    range. From 60% on a warning; severe from 95% on in a layer that reads the inputs themselves,
    as one before it could learn to put out less. It is the inputs' fault where their rms is above
    10, else that of the weights.

    Cure: standardize the inputs, `(x - mean) / std`; where these are small, draw the layer's
    weights anew.

    Example:
        LSTM(32) on prices of some thousands, as they are
    """
    worst = [r for r in evidence.found.recurrent if r.saturated >= _SATURATED_WARNING]
    if worst:
        first = worst[0]
        large = first.inputs > _LARGE
        depth = min((r.depth for r in evidence.kernels if r.key == first.key), default=1)
        # A layer before it can learn to put out less.
        severe = first.saturated >= _SATURATED_SEVERE and depth == 1
        what = "gates and candidates" if first.gates else "states"
        cure = (
            Cure("Standardize the inputs, feature by feature: (x - mean) / std.", "")
            if large
            else Cure("Draw its weights anew:", "tfinit.recommend(model).apply()")
        )
        yield evidence.finding(
            "gates saturated",
            SEVERE if severe else WARNING,
            first.key,
            f"{first.saturated:.0%} of the {what} of {first.key!r} are at their flat ends (it "
            f"reads numbers of rms {first.inputs:.3g}).{elsewhere(worst)}",
            cure,
            fault="inputs" if large else "initial",
        )


@rule(
    Kind("exploding in time", ("not finite", "gates saturated", "scale jump"), fault="activation"),
    code="TFI142",
)
def _exploding_in_time(evidence: Evidence) -> Iterator[Finding]:
    """A recurrence whose state or gradient grows from step to step.

    Why: a recurrent layer multiplies its state by the same weights at every step. A factor a little
    above one becomes a huge number over a hundred steps. tanh holds the state back; ReLU and linear
    activations do not, and after a few updates of the weights the loss is NaN.

    Evidence: the recurrence is run again on examples of the batch. Severe: an unbounded state grows
    10,000 times over the sequence, or would grow a million times with the weights as they are after
    three steps like Adam's (or such an optimizer's) first, or in an LSTM or GRU 1e12 times after
    ten. A warning from 1,000 times on, where it would grow a million times after ten such steps,
    where a small change of the state, and so a gradient, grows 100 times over the sequence, and
    where an LSTM or GRU over 20 steps or more has an activation without bounds.

    Cure: activation="tanh" in recurrent layers; recurrent_initializer="orthogonal" with gain 1; a
    smaller learning rate and `clipnorm=1.0` help.

    Example:
        LSTM(64, activation="relu") on sequences of 200 steps, Adam(0.1)

    Source: Pascanu, Mikolov, Bengio, On the difficulty of training recurrent neural networks, 2013.
    """
    found = [(r, severity) for r in evidence.found.recurrent if (severity := _grows(r))]
    if found:
        seen, severity = next((f for f in found if f[1] == SEVERE), found[0])
        grown = max(seen.growth, 10**seen.total)
        if seen.bounded or grown >= _GROWS_WARNING:
            what = "Its state grows" if seen.growth >= 10**seen.total else "Its gradients grow"
            told = f"{what} {grown:.2g} times over {seen.steps} steps"
        else:
            ahead, far = seen.ahead or 0.0, seen.far_ahead or 0.0
            soon = ahead >= _GROWS_WARNING
            told = f"Its {seen.activation} has no bound"
            if max(ahead, far) >= _GROWS_WARNING:
                told += (
                    f": after {'three' if soon else 'ten'} steps of the optimizer in one direction "
                    f"its state would grow {ahead if soon else far:.2g} times over {seen.steps} "
                    "steps"
                )
            else:
                told += f", and the state goes through {seen.steps} steps"
        initial = seen.bounded or seen.factor > 1.05
        cure = (
            Cure(
                'Write recurrent_initializer="orthogonal", whose gain is 1.',
                "",
                (Change(seen.key, "recurrent_initializer", "orthogonal"),),
            )
            if seen.bounded
            else Cure(
                'Write activation="tanh", which holds the state between -1 and 1.',
                "",
                (Change(seen.key, "activation", "tanh"),),
            )
        )
        yield evidence.finding(
            "exploding in time",
            severity,
            seen.key,
            f"{seen.key!r} is multiplied with itself from step to step. {told}.{elsewhere(found)}",
            cure,
            fault="initial" if initial else "activation",
        )


def _grows(seen: ThroughTime) -> str:
    ahead, far = seen.ahead or 0.0, seen.far_ahead or 0.0
    if not seen.bounded:
        soon = ahead >= _AHEAD_SEVERE or (seen.gates and far >= _FAR_SEVERE)
        if seen.growth >= _GROWS_SEVERE or (soon and seen.by_sign):
            return SEVERE
        if max(seen.growth, ahead) >= _GROWS_WARNING or (far >= _AHEAD_SEVERE and seen.by_sign):
            return WARNING
        if seen.gates and seen.steps >= _SOME_STEPS:
            return WARNING
    return WARNING if seen.total >= _DECADES else ""


@rule(Kind("forgetful", ("not finite", "gates saturated", "twins"), fault="initial"), code="TFI141")
def _forgetful(evidence: Evidence) -> Iterator[Finding]:
    """A recurrent layer that forgets within a step, or a sequence too long for its memory.

    Why: what a layer has seen some steps ago reaches its output through its state. If every step
    leaves little of the state, the layer sees the last step alone, and no gradient tells the
    earlier ones apart.

    Evidence: what a small change of the state, and so a gradient, is multiplied with in a step,
    measured on the batch. Below 0.3 over five steps or more it is a warning: the forget gate of an
    LSTM with the usual bias of 1 gives about 0.8, a GRU about 0.6. A layer that remembers as usual,
    but whose whole sequence makes less than 1e-10 of a gradient, gets a note.

    Cure: unit_forget_bias=True in an LSTM, activation="tanh" instead of sigmoid in a SimpleRNN,
    recurrent_initializer="orthogonal". For long sequences shorten them, as with Conv1D(strides=4)
    before, or take attention.

    Example:
        SimpleRNN(32, activation="sigmoid")

    Source: Jozefowicz, Zaremba, Sutskever, An Empirical Exploration of Recurrent Network
    Architectures, 2015.
    """
    moving = [r for r in evidence.found.recurrent if r.saturated < _SATURATED_WARNING]
    forgets = [r for r in moving if r.factor < _FORGETS and r.steps >= _FEW]
    if forgets:
        first = forgets[0]
        kept = ""
        little = first.kept is not None and first.kept < _KEEPS_LITTLE
        if first.kept is not None:
            kept = f" (its gate keeps {first.kept:.2g} of the state on average)"
        yield evidence.finding(
            "forgetful",
            WARNING,
            first.key,
            f"{first.key!r} leaves {first.factor:.2g} of a change of its state in a step{kept}: "
            f"over {first.steps} steps that is {_power(first.total)}.{elsewhere(forgets)}",
            _remember(first, little),
            fault="initial" if little or first.activation != "sigmoid" else "activation",
        )
        return
    long = [r for r in moving if r.total < _LONG]
    if long:
        first = long[0]
        yield evidence.finding(
            "forgetful",
            NOTE,
            first.key,
            f"{first.key!r} leaves {first.factor:.2g} of a change of its state in a step, as is "
            f"usual; over {first.steps} steps that is {_power(first.total)}.{elsewhere(long)}",
            Cure(
                "If the beginning of a sequence matters, shorten it, as with Conv1D(strides=4) "
                "before, or take attention.",
                "",
            ),
        )


def _power(decades: float) -> str:
    return "nothing" if decades < -300 else f"1e{decades:.0f}"


def _remember(seen: ThroughTime, little: bool) -> Cure:
    if little and "f" in seen.gates:
        change = Change(seen.key, "unit_forget_bias", True)
        return Cure("Start its forget gates open: write unit_forget_bias=True.", "", (change,))
    if little:
        change = Change(seen.key, "bias_initializer", "zeros")
        return Cure('Start its gates half open: write bias_initializer="zeros".', "", (change,))
    if seen.activation == "sigmoid":
        change = Change(seen.key, "activation", "tanh")
        return Cure('Write activation="tanh": the slope of sigmoid is 1/4 at most.', "", (change,))
    change = Change(seen.key, "recurrent_initializer", "orthogonal")
    return Cure('Write recurrent_initializer="orthogonal".', "", (change,))
