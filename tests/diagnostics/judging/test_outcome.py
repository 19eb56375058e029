"""What a SignalMonitor foretells of a training, when it stops it, and whether it came true."""

import math
import warnings

import keras
import numpy as np
import pytest

from tfinit.callbacks import SignalMonitor
from tfinit.diagnostics.judging.findings import NOTE, SEVERE, WARNING, Finding
from tfinit.diagnostics.judging.outcome import Outcome, Reading, fell

X = np.random.default_rng(0).normal(size=(64, 6)).astype("float32")
Y = (X[:, 0] > 0).astype(int)


def found(kind, severity=SEVERE, layer="fc"):
    return Finding(kind, severity, layer, f"It is {kind}.", "Mend it.", "", "TFI990", "initial")


def readings(*each):
    return [Reading(10 * n, loss, findings) for n, (loss, findings) in enumerate(each)]


def test_a_loss_that_stays_makes_it_true_and_one_that_falls_does_not():
    stuck = readings((2.0, [found("odd")]), (1.95, [found("odd")]), (2.1, []))
    [record] = Outcome(stuck, has_targets=True)
    assert record.came_true and (record.step, record.last_step, record.lowest) == (0, 10, 1.95)
    learns = readings((2.0, []), (1.0, [found("odd")]), (0.8, []))
    [record] = Outcome(learns, has_targets=True)
    assert record.came_true is False and (record.step, record.loss) == (10, 1.0)
    outcome = Outcome(learns, has_targets=True)
    assert outcome.learned
    assert outcome.summary == (
        "Severe: odd (step 10). It did not come true: the loss was 1 at step 10 and is 0.8 at "
        "step 20."
    )
    broken = Outcome(readings((2.0, [found("odd")]), (0.1, []), (math.nan, [])), True)
    assert broken[0].came_true and broken[0].lowest == 0.1 and not broken.learned
    assert "is nan at step 20." in broken.summary
    assert broken.to_dict()["foretold"][0]["kind"] == "odd"


def test_what_is_not_known_is_not_said():
    once = Outcome(readings((2.0, [found("odd")])), has_targets=True)
    assert once[0].came_true is None and once[0].lowest is None and once.learned is None
    assert once.summary == "Severe: odd (step 0). It is not known whether it came true."
    without = Outcome(readings((2.0, [found("odd")]), (1.0, [])), has_targets=False)
    assert without[0].came_true is None
    nothing = Outcome(readings((2.0, []), (2.0, [])), has_targets=True)
    assert str(nothing).startswith("Nothing severe was found, but the loss was 2 at step 0")
    assert Outcome([], has_targets=True).summary == "Nothing severe was found."


def test_severe_findings_are_first_and_notes_are_left_out():
    several = [found("note", NOTE), found("doubt", WARNING), found("odd"), found("odd", layer="b")]
    grows = [found("doubt", SEVERE)]
    outcome = Outcome(readings((2.0, several), (1.9, grows), (1.0, [])), has_targets=True)
    assert [(r.kind, r.layer, r.step, r.severity) for r in outcome] == [
        ("doubt", "fc", 10, SEVERE),
        ("odd", "fc", 0, SEVERE),
        ("odd", "b", 0, SEVERE),
    ]
    assert str(outcome).splitlines()[2].split()[:3] == ["step", "rule", "kind"]
    assert len(outcome.to_frame()) == 3
    mixed = readings((2.0, [found("odd")]), (1.0, [found("late")]), (1.0, []))
    assert "1 of 2 came true" in Outcome(mixed, has_targets=True).summary


@pytest.mark.parametrize(
    ("before", "after", "has"),
    [
        (1.0, [0.89], True),
        (1.0, [0.91], False),
        (-1.0, [-1.2], True),
        (math.inf, [3.0], True),
        (1.0, [], False),
        (1.0, [0.1, math.inf], False),
    ],
)
def test_when_a_loss_has_fallen(before, after, has):
    assert fell(before, after) is has


def network(initializer="glorot_uniform", rate=0.1):
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(16, "relu", kernel_initializer=initializer) for _ in range(2)]
    model = keras.Sequential([keras.Input((6,)), *layers, keras.layers.Dense(2, "softmax")])
    model.compile(keras.optimizers.SGD(rate), "sparse_categorical_crossentropy")
    return model


def train(model, monitor, **more):
    return model.fit(X, Y, batch_size=8, callbacks=[monitor], **{"verbose": 0, **more})


@pytest.mark.backends
def test_what_will_not_learn_is_stopped(capsys):
    model, monitor = network("zeros"), SignalMonitor(X, Y, stop_on="severe")
    with pytest.warns(RuntimeWarning, match=r"stops the training at step 0: twins \(TFI002\): "):
        train(model, monitor, epochs=3, verbose=2)
    assert int(model.optimizer.iterations) == 1
    assert monitor.outcome.stopped_at == 0
    assert monitor.outcome[0].kind == "twins"
    assert "SignalMonitor: Stopped at step 0, as it will not learn: " in capsys.readouterr().out
    # Another `fit` begins anew.
    with pytest.warns(RuntimeWarning, match="at step 1"):
        train(model, monitor)
    assert int(model.optimizer.iterations) == 2 and len(monitor.outcome) >= 1


def test_what_goes_wrong_on_the_way_is_stopped_there():
    class Break(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if batch == 3:
                self.model.layers[0].kernel.assign(np.full((6, 16), np.nan))

    model, monitor = network(), SignalMonitor(X, Y, stop_on="severe", every=1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(X, Y, batch_size=8, verbose=0, callbacks=[Break(), monitor])
    ours = [str(w.message) for w in caught if "SignalMonitor" in str(w.message)]
    assert len(ours) == 1 and "at step 3: not finite (TFI001)" in ours[0]
    assert int(model.optimizer.iterations) == 4
    assert [record.kind for record in monitor.outcome] == ["not finite"]


def test_what_learns_is_trained_to_the_end(capsys):
    model, monitor = network(), SignalMonitor(X, Y, stop_on="severe", every=4)
    train(model, monitor, epochs=4, verbose=2)
    assert int(model.optimizer.iterations) == 32
    assert monitor.outcome.learned and monitor.outcome.stopped_at is None
    assert "SignalMonitor: Nothing severe was found, and the loss was 0." in capsys.readouterr().out


def test_what_is_seen_on_the_way_is_not_said_to_be_before_training():
    model, monitor = network(), SignalMonitor(X, Y, stop_on="severe", every=1)
    model.layers[-1].kernel.assign(1000 * model.layers[-1].kernel)
    with pytest.warns(RuntimeWarning, match="The cross-entropy before training is"):
        train(model, monitor)
    model.layers[-1].kernel.assign(1000 * network().layers[-1].kernel)
    with pytest.warns(RuntimeWarning, match="The cross-entropy after 1 step is"):
        train(model, monitor)


def test_it_says_what_came_true_where_it_does_not_stop(tmp_path):
    monitor = SignalMonitor(X, Y, csv=tmp_path / "s.csv")
    train(network("zeros", rate=1e-3), monitor)
    twins = next(record for record in monitor.outcome if record.kind == "twins")
    assert twins.came_true and twins.last_step == 8
    assert "It came true: the loss was 0.693 at step 0" in monitor.outcome.summary
