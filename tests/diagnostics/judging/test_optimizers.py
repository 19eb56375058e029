"""Findings about weight decay, clipping and schedules."""

import keras
import numpy as np
import pytest
from rated import digits, loss_after, network, of_rate

LAYERS = keras.layers
OPTIMIZERS = keras.optimizers


def kinds(found):
    return [(f.kind, f.severity) for f in found]


def accuracy_after(model, x, y):
    loss_after(model, 100, x, y)
    return np.mean(np.argmax(model.predict_on_batch(x), 1) == y)


def test_a_penalty_that_outweighs_the_data_is_severe():
    x, y = digits()
    l2 = keras.regularizers.L2
    strong = network(OPTIMIZERS.Adam(0.01), (l2(1.0), l2(1.0)))
    (finding,) = of_rate(strong, x, y)
    assert (finding.kind, finding.severity) == ("weight decay", "severe")
    assert finding.layer.startswith("dense")
    assert "L2(1)" in finding.evidence
    assert "L2(1e-4)" in finding.cure
    assert accuracy_after(strong, x, y) < 0.3
    cured = network(OPTIMIZERS.Adam(0.01), (l2(1e-4), l2(1e-4)))
    assert of_rate(cured, x, y) == []
    assert accuracy_after(cured, x, y) > 0.9
    usual = network(OPTIMIZERS.Adam(0.01), [keras.regularizers.L1L2(1e-4, 0.01)] * 2)
    assert of_rate(usual, x, y) == []
    one = network(OPTIMIZERS.Adam(0.01), (l2(1.0), None))  # which the other makes up for
    assert kinds(of_rate(one, x, y)) == [("weight decay", "warning")]
    assert accuracy_after(one, x, y) > 0.9


@pytest.mark.parametrize(
    ("optimizer", "severity"),
    [
        (lambda: OPTIMIZERS.SGD(0.1, weight_decay=1.0), "severe"),
        (lambda: OPTIMIZERS.AdamW(1e-3, weight_decay=300.0), "severe"),
        (lambda: OPTIMIZERS.AdamW(1e-3, weight_decay=60.0), "warning"),
    ],
)
def test_a_decay_that_outweighs_the_gradient_is_found_and_cured(optimizer, severity):
    x, y = digits()
    model = network(optimizer())
    (finding,) = of_rate(model, x, y)
    assert (finding.kind, finding.severity) == ("weight decay", severity)
    exec(finding.code, {"model": model})
    assert of_rate(model, x, y) == []
    assert loss_after(model, 60, x, y) < 1.6
    assert of_rate(network(OPTIMIZERS.SGD(0.1, weight_decay=0.01)), x, y) == []


def test_clipping_that_always_or_never_bites_is_told():
    x, y = digits()
    always = of_rate(network(OPTIMIZERS.SGD(0.3, clipnorm=1e-3)), x, y)
    assert ("clipping", "warning") in kinds(always)
    adaptive = of_rate(network(OPTIMIZERS.Adam(1e-3, clipvalue=1e-5)), x, y)
    assert kinds(adaptive) == [("clipping", "note")]
    for optimizer in (OPTIMIZERS.SGD(0.3, clipnorm=1e-6), OPTIMIZERS.Adam(1e-3, clipvalue=1e-10)):
        model = network(optimizer)
        (finding, *others) = of_rate(model, x, y)
        assert (finding.kind, finding.severity) == ("clipping", "severe")
        assert all(other.severity == "warning" for other in others)
        exec(finding.code, {"model": model})
        assert of_rate(model, x, y) == []
        assert loss_after(model, 60, x, y) < 1.6
    never = of_rate(network(OPTIMIZERS.SGD(0.1, global_clipnorm=1e5)), x, y)
    assert kinds(never) == [("clipping", "note")]
    assert "never" in never[0].evidence
    for optimizer in (OPTIMIZERS.SGD(0.1, global_clipnorm=1.0), OPTIMIZERS.Adam(clipvalue=0.5)):
        assert of_rate(network(optimizer), x, y) == []


def test_a_schedule_that_counts_epochs_is_told():
    x, y = digits()
    decay = OPTIMIZERS.schedules.ExponentialDecay
    (finding,) = of_rate(network(OPTIMIZERS.SGD(decay(0.1, 1, 0.9))), x, y)
    assert (finding.kind, finding.severity) == ("short schedule", "warning")
    assert "worth 1" in finding.evidence  # 1 / (1 - 0.9)
    assert of_rate(network(OPTIMIZERS.SGD(decay(0.1, 1000, 0.9))), x, y) == []
