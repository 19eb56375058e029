"""The gradient quotient: its value where it is known, and that the scheme brings it down."""

import keras
import numpy as np
import pytest
from keras import layers as L

from tests.schemes.test_lsuv import normal
from tfinit.schemes import initialize
from tfinit.schemes.engine.task import Task
from tfinit.schemes.metainit import Quotient


@pytest.mark.backends
def test_quotient_of_a_parabola_is_its_curvature():
    # ℓ = ½ c w² has g = c·w and H·g = c·g, so GQ = c but for ε.
    model = keras.Sequential([keras.Input((1,)), L.Dense(1, use_bias=False, name="w")])
    model.layers[0].kernel.assign([[2.0]])
    task = Task(model, 0, np.ones((1, 1), "float32"))
    found = Quotient(task, task.kernels, lambda y: 0.3 * keras.ops.sum(y**2) / 2)
    quotient, slopes = found.with_slopes(np.random.default_rng(0))
    assert quotient == pytest.approx(0.3, rel=1e-3)
    assert abs(slopes[0]) < 1e-3


@pytest.mark.backends
@pytest.mark.parametrize("factor", [3.0])
def test_norms_that_are_wrong_are_mended(factor):
    model = keras.Sequential(
        [keras.Input((16,)), *[L.Dense(16, "tanh") for _ in range(4)], L.Dense(4)]
    )
    initialize(model, "lecun", seed=1)
    for layer in model.layers:
        layer.kernel.assign(layer.kernel * factor)
    before = [layer.kernel.numpy() for layer in model.layers]
    report = initialize(model, "metainit", normal(64, 16), seed=1, steps=20, start=None)
    first, last = (float(part) for part in report.notes[0].split(": ")[1].split(" → "))
    assert last < first / 2
    for record, layer, kernel in zip(report, model.layers, before, strict=True):
        assert np.allclose(layer.kernel, kernel * record.scale, rtol=1e-3)


def tanh_net():
    return keras.Sequential([keras.Input((8,)), L.Dense(8, "tanh"), L.Dense(3)])


@pytest.mark.parametrize("loss", [None, lambda y: keras.ops.mean((y - 0.5) ** 2)])
def test_steps_that_do_not_help_are_told_and_the_start_is_kept(loss):
    model = tanh_net()
    initialize(model, "metainit", normal(32, 8), seed=1, steps=25, loss=loss)  # a good start
    before = [w.numpy() for w in model.weights]
    options = {"start": None, "rate": 5.0, "steps": 4, "loss": loss}
    with pytest.warns(
        UserWarning, match=r'^"metainit": the steps did not help: .* after 4 of them'
    ):
        report = initialize(model, "metainit", normal(32, 8), seed=1, **options)
    assert all(np.array_equal(a, b.numpy()) for a, b in zip(before, model.weights, strict=True))
    assert [record.action for record in report] == ["kept", "kept"]
    first, last = (float(part) for part in report.notes[0].split(": ")[1].split(" → "))
    assert first == last
    assert "did not help" in report.notes[1]


def test_the_best_step_is_kept_where_later_ones_are_worse():
    def loss(y):
        return keras.ops.mean((y - 0.5) ** 2)

    model, x = tanh_net(), normal(32, 8)
    for layer in model.layers:
        layer.kernel.assign(4 * layer.kernel)

    def quotient():
        task = Task(model, 0, x)
        return Quotient(task, task.kernels, loss)(np.random.default_rng(0))

    def run(steps):
        for variable, value in zip(model.variables, before, strict=True):
            variable.assign(value)
        report = initialize(model, "metainit", x, seed=1, start=None, loss=loss, steps=steps)
        return quotient(), report.notes

    before = [w.numpy() for w in model.variables]
    start = quotient()
    kept, notes = run(16)
    # Each shorter run ends where the long one passed, or before: none may be better.
    assert kept < start
    assert min(run(steps)[0] for steps in (4, 10)) >= kept * 0.999
    assert float(notes[0].split(" → ")[1]) == pytest.approx(kept, rel=1e-3)
