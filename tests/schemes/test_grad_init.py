"""GradInit: the gradient of the loss after a step, against differences; and what it is for."""

import keras
import numpy as np
import pytest
from keras import layers as L

from tests.schemes.test_lsuv import normal
from tfinit.errors import InputError
from tfinit.schemes import initialize
from tfinit.schemes.engine.task import Task
from tfinit.schemes.grad_init import _FirstStep


def net(seed=1):
    layers = [L.Dense(9, "tanh", name="a"), L.Dense(7, "tanh", name="b"), L.Dense(3, name="c")]
    model = keras.Sequential([keras.Input((6,)), *layers])
    initialize(model, "lecun", seed=seed)
    return model


def loss(y):
    return keras.ops.mean((y - 0.5) ** 2)


@pytest.mark.backends
@pytest.mark.parametrize(("optimizer", "bound"), [("sgd", 1e9), ("sgd", 1e-9), ("adam", 1e9)])
def test_slopes_are_those_of_differences(optimizer, bound):
    model = net()
    task = Task(model, 0, normal(16, 6))
    found = _FirstStep(task, task.kernels, loss, 1, optimizer, 0.05)
    slopes = found.slopes(np.random.default_rng(0), bound)
    place = 1 if bound < 1 else 0  # ‖g‖ is above its bound, or it is not
    for kernel, slope in zip(task.kernels, slopes, strict=True):
        values, ends = kernel.variable.numpy(), []
        for sign in (1, -1):
            kernel.variable.assign(values * np.exp(sign * 0.01))
            ends.append(found.judged(0)[place])
        kernel.variable.assign(values)
        assert slope == pytest.approx((ends[0] - ends[1]) / 0.02, rel=0.05, abs=2e-4)


@pytest.mark.backends
def test_a_step_is_that_of_the_optimizer():
    layers = [L.Dense(9, "tanh", use_bias=False), L.Dense(6, use_bias=False)]
    model, x = keras.Sequential([keras.Input((6,)), *layers]), normal(16, 6)
    task = Task(model, 0, x)
    after, _ = _FirstStep(task, task.kernels, loss, 1, "sgd", 0.3).judged(0)
    model.compile(keras.optimizers.SGD(0.3), lambda _, y: keras.ops.mean((y - 0.5) ** 2))
    model.train_on_batch(x, x)
    assert after == pytest.approx(float(loss(model(x))), rel=1e-4)


def deep():
    """Layers without normalization, drawn four times too large."""
    layers = [L.Dense(16, "tanh", name=f"fc_{n}") for n in range(4)]
    model = keras.Sequential([keras.Input((16,)), *layers, L.Dense(4, name="head")])
    initialize(model, "lecun", seed=1)
    for layer in model.layers:
        layer.kernel.assign(4 * layer.kernel)
    return model


def test_scales_that_are_wrong_are_mended_and_directions_stay():
    model, x = deep(), normal(64, 16)
    before = [layer.kernel.numpy() for layer in model.layers]
    options = {"start": None, "steps": 40, "learning_rate": 0.1}
    report = initialize(model, "grad_init", x, seed=1, **options)
    first, last = (float(part) for part in report.notes[0].split(";")[0][19:].split(" → "))
    assert last < first / 2
    for record, layer, kernel in zip(report, model.layers, before, strict=True):
        np.testing.assert_allclose(layer.kernel, kernel * record.scale, rtol=1e-5)
    assert min(record.scale for record in report) < 0.7


def test_steps_that_do_not_help_are_told_and_the_start_is_kept():
    model, x = net(), normal(32, 6)
    before, wanted = model.get_weights(), model(x) + 0.01  # where it almost is

    def near(y):
        return keras.ops.mean((y - wanted) ** 2)

    with pytest.warns(UserWarning, match='^"grad_init": the steps did not help'):
        report = initialize(
            model, "grad_init", x, seed=1, start=None, rate=500.0, steps=1, loss=near
        )
    assert all(map(np.array_equal, before, model.get_weights()))
    assert [record.action for record in report] == ["kept"] * 3


@pytest.mark.filterwarnings('ignore:"metainit". the steps did not help')
def test_a_graph_changes_nothing_but_rounding(monkeypatch):
    found = {}
    for often in (2, 10**9):
        monkeypatch.setattr("tfinit.schemes.engine.objective._OFTEN", often)
        for name in ("metainit", "grad_init"):
            layers = [L.Dense(9, "tanh", name="a"), L.Dense(3, name="b")]
            model = keras.Sequential([keras.Input((6,)), *layers])
            initialize(model, name, normal(32, 6), seed=1, steps=4)
            found[name, often] = model.get_weights()
    for name in ("metainit", "grad_init"):
        for a, b in zip(found[name, 2], found[name, 10**9], strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"optimizer": "lion"}, "`optimizer` must be"),
        ({"bound": 0}, "`bound` must be a positive number, or None"),
        ({"loss": lambda y: keras.ops.sum(y) * np.inf}, "not finite|is inf|is nan"),
    ],
)
def test_errors(options, told):
    with pytest.raises(InputError, match=told):
        initialize(net(), "grad_init", normal(8, 6), seed=1, **options)
