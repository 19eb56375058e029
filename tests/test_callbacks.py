"""What a SignalMonitor writes, when, and that training does not notice it."""

import csv
import importlib.util
import math
import os
import warnings

import keras
import numpy as np
import pytest

from tfinit import callbacks
from tfinit.callbacks import SignalMonitor
from tfinit.diagnostics import diagnose
from tfinit.errors import InputError, MissingPackage

X = np.random.default_rng(0).normal(size=(48, 6)).astype("float32")
Y = np.random.default_rng(1).integers(0, 3, 48)


def network(optimizer="sgd", steps_per_execution=1, jit_compile=False):
    keras.utils.set_random_seed(0)
    layers = [
        keras.layers.Dense(8, "relu", name="first"),
        keras.layers.BatchNormalization(name="norm"),
        keras.layers.Dropout(0.5, name="drop"),
        keras.layers.Dense(3, name="last"),
    ]
    model = keras.Sequential([keras.Input((6,)), *layers])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, steps_per_execution=steps_per_execution, jit_compile=jit_compile)
    return model


def fit(model, *monitors, epochs=1):
    """Six steps an epoch."""
    model.fit(X, Y, batch_size=8, epochs=epochs, callbacks=list(monitors), verbose=0)
    return model


def table(path):
    with path.open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["step", "layer", "statistic", "value"]
    assert all(len(row) == 4 for row in rows)
    return [(int(step), layer, name, float(value)) for step, layer, name, value in rows]


def steps(path):
    return list(dict.fromkeys(step for step, *_ in table(path)))


@pytest.mark.parametrize(
    ("jit_compile", "epochs"), [pytest.param("auto", 2, marks=pytest.mark.backends), (False, 2)]
)
def test_training_is_the_same_bit_for_bit(tmp_path, jit_compile, epochs):
    def everything(*monitors):
        model = fit(network("adam", jit_compile=jit_compile), *monitors, epochs=epochs)
        values = [*model.variables, *model.optimizer.variables]
        drawn = keras.ops.convert_to_numpy(keras.random.normal((3,)))
        return [np.asarray(value.numpy()).tobytes() for value in values], drawn

    plain, drawn = everything()
    monitor = SignalMonitor(X, Y, csv=tmp_path / "s.csv", every=1)
    watched, drawn_then = everything(monitor)
    assert [step for step, _ in monitor.readings] == list(range(6 * epochs + 1))
    assert watched == plain
    np.testing.assert_array_equal(drawn_then, drawn)


@pytest.mark.backends
def test_numbers_are_those_of_the_layers_by_hand(tmp_path, rng):
    path = tmp_path / "new" / "s.csv"
    keras.utils.set_random_seed(0)
    layers = [
        keras.layers.Dense(5, "relu", kernel_initializer="he_normal", name="a"),
        keras.layers.Dense(4, "tanh", name="b"),
        keras.layers.Dense(1, name="c"),
    ]
    model = keras.Sequential([keras.Input((6,)), *layers])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    a, b, c = (layer.kernel.numpy() for layer in layers)
    target = rng.normal(size=(48, 1)).astype("float32")
    h1 = np.maximum(X @ a, 0)
    h2 = np.tanh(h1 @ b)
    by_out = 2 * (h2 @ c - target) / 48
    by_h2 = by_out @ c.T
    by_b = h1.T @ (by_h2 * (1 - h2**2))
    monitor = SignalMonitor(X, target, csv=path, every=100)
    model.fit(X, target, batch_size=48, verbose=0, callbacks=[monitor])
    found = {(layer, name): value for step, layer, name, value in table(path) if step == 0}
    expected = {
        ("a", "activation_mean"): h1.mean(),
        ("a", "activation_std"): h1.std(),
        ("a", "zeros"): (h1 == 0).mean(),
        ("b", "activation_std"): h2.std(),
        ("b", "saturated"): (np.abs(h2) > 0.975).mean(),
        ("b", "variation"): np.sqrt((h1 @ b).var(axis=0).mean()),
        ("b", "gradient_std"): by_h2.std(),
        ("b", "weight_std"): b.std(),
        ("b", "weight_gradient_std"): by_b.std(),
        ("b", "update_ratio"): 0.1 * np.sqrt((by_b**2).mean() / (b**2).mean()),
        ("", "loss"): ((h2 @ c - target) ** 2).mean(),
    }
    assert {key: found[key] for key in expected} == pytest.approx(expected, rel=1e-5)
    assert steps(path) == [0, 1]
    # And the end is seen with the weights of the end.
    assert monitor.latest.layers[1].weights[0].std == pytest.approx(layers[1].kernel.numpy().std())
    risk = pytest.approx(diagnose(model, X, target).risk, rel=1e-5)
    assert monitor.readings[-1][1]["risk"] == risk


@pytest.mark.parametrize(
    ("per_execution", "every", "expected"),
    [(1, 5, [0, 5, 10, 12]), (1, 6, [0, 6, 12]), (3, 4, [0, 6, 9, 12]), (2, 100, [0, 12])],
)
def test_readings_are_at_multiples_of_every(tmp_path, per_execution, every, expected):
    monitor = SignalMonitor(X, Y, csv=tmp_path / "s.csv", every=every)
    fit(network(steps_per_execution=per_execution), monitor, epochs=2)
    assert [step for step, _ in monitor.readings] == steps(tmp_path / "s.csv") == expected


def test_steps_are_the_optimizers(tmp_path):
    monitor = SignalMonitor(X, Y, csv=tmp_path / "s.csv", every=2)
    fit(network(keras.optimizers.SGD(gradient_accumulation_steps=2)), monitor, epochs=2)
    assert [step for step, _ in monitor.readings] == [0, 2, 4, 6]


def test_data_of_unknown_length(tmp_path):
    monitor = SignalMonitor(X, Y, csv=tmp_path / "s.csv", every=4)
    import tensorflow as tf

    data = tf.data.Dataset.from_generator(
        lambda: ((X[:8], Y[:8]) for _ in range(5)),
        output_signature=(tf.TensorSpec((8, 6)), tf.TensorSpec((8,), tf.int64)),
    )
    network().fit(data, epochs=2, callbacks=[monitor], verbose=0)
    # Keras counts the step that finds no data, so where it ends is not ours to say.
    assert [step for step, _ in monitor.readings][:3] == [0, 4, 8]


def test_the_budget_holds_on_a_made_up_clock(tmp_path, monkeypatch):
    now = 0.0
    monkeypatch.setattr(callbacks.time, "perf_counter", lambda: now)

    def slow(*arguments):
        nonlocal now
        now += 0.5 if now == 0 else 0.25  # seconds; the first is slow
        return measure(*arguments)

    measure = callbacks.measure
    monkeypatch.setattr(callbacks, "measure", slow)

    class Step(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            nonlocal now
            now += 2.0

    monitor = SignalMonitor(X, Y, csv=tmp_path / "s.csv", budget=0.05)
    fit(network(), Step(), monitor, epochs=6)  # 36 steps, 72 seconds
    # One after 5 s, which is at the third step. After that at 20, 2.25 s are spent: two more are
    # beyond 4.5% of a minute, and of what is trained until that is 61.1 s.
    assert [step for step, _ in monitor.readings] == [0, 2, 5, 8, 11, 14, 17, 20, 30, 33, 36]
    assert monitor.cost == pytest.approx(3 / 72)


@pytest.mark.backends
def test_tensorboard_has_the_table_s_numbers(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    path = tmp_path / "s.csv"
    fit(network(), SignalMonitor(X, Y, log_dir=tmp_path / "logs", csv=path, every=3))
    events = EventAccumulator(str(tmp_path / "logs"), size_guidance={"tensors": 0})
    events.Reload()
    logged = {
        (event.step, tag): float(make_ndarray(event.tensor_proto))
        for tag in events.Tags()["tensors"]
        for event in events.Tensors(tag)
    }
    written = {
        (step, "/".join(filter(None, ("signals", layer, name)))): value
        for step, layer, name, value in table(path)
    }
    assert logged == pytest.approx(written, rel=1e-6)
    assert {"signals/first/activation_std", "signals/risk"} <= {tag for _, tag in logged}


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="only there `fit` holds the weights")
@pytest.mark.backends
def test_a_callback_of_ones_own_is_told_where_the_weights_are():
    def look(batch, logs=None):
        if batch:
            diagnose(model, X, Y)

    model = network()
    callback = keras.callbacks.LambdaCallback(on_train_batch_begin=look)
    with pytest.raises(InputError, match=r"call model\.jax_state_sync\(\) first"):
        fit(model, callback)


def test_a_table_is_continued_and_loses_a_line_that_was_cut(tmp_path):
    path = tmp_path / "s.csv"
    model = fit(network(), SignalMonitor(X, Y, csv=path, every=6))
    before = path.read_text()
    path.write_text(f"{before}6,first,activ")
    fit(model, SignalMonitor(X, Y, csv=path, every=4))
    assert path.read_text().startswith(before)
    assert steps(path) == [0, 6, 8, 12]


def test_an_interrupted_training_leaves_whole_readings(tmp_path):
    class Stop(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if batch == 5:
                raise KeyboardInterrupt

    path = tmp_path / "s.csv"
    with pytest.raises(KeyboardInterrupt):
        fit(network(), SignalMonitor(X, Y, csv=path, every=2), Stop())
    rows = table(path)
    assert [sum(step == n for step, *_ in rows) for n in (0, 2, 4)] == [len(rows) // 3] * 3


def test_what_is_not_finite_is_written_and_warned_of_once(tmp_path):
    path = tmp_path / "s.csv"
    model = network(keras.optimizers.SGD(1e38))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(model, SignalMonitor(X, Y, csv=path, every=1))
    ours = [str(w.message) for w in caught if "SignalMonitor" in str(w.message)]
    assert len(ours) == 1
    assert "NaN or infinite" in ours[0]
    last = {(layer, name): value for step, layer, name, value in table(path) if step == 6}
    assert math.isnan(last["last", "activation_std"])
    assert math.isnan(last["", "backward_factor"])
    assert last["", "risk"] == math.inf


def test_kernels_of_one_layer_are_told_apart(tmp_path, rng):
    path = tmp_path / "s.csv"
    model = keras.Sequential([keras.Input((5, 2)), keras.layers.GRU(3, name="gru")])
    model.compile("sgd", "mse")
    x = rng.normal(size=(4, 5, 2)).astype("float32")
    model.fit(
        x, np.zeros((4, 3)), verbose=0, callbacks=[SignalMonitor(x, np.zeros((4, 3)), csv=path)]
    )
    stds = {layer for step, layer, name, _ in table(path) if name == "weight_std"}
    assert len(stds) == 2
    assert all(key.startswith("gru/") for key in stds)
    assert ("gru", "activation_std") in {row[1:3] for row in table(path)}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "Neither `log_dir` nor `csv`"),
        ({"stop_on": "bad"}, "`stop_on` must be one of None, severe, received 'bad'"),
        ({"csv": ""}, "`csv` must be a path or None, received ''"),
        ({"log_dir": 3}, "`log_dir` must be a path or None, received 3"),
        ({"csv": "s", "every": 0}, "`every` must be a whole number .* received 0"),
        ({"csv": "s", "every": True}, "`every` must be a whole number .* received True"),
        ({"csv": "s", "budget": 0}, "`budget` must be .* received 0"),
        ({"csv": "s", "budget": "5%"}, "`budget` must be .* received '5%'"),
    ],
)
def test_arguments(arguments, message):
    with pytest.raises(InputError, match=message):
        SignalMonitor(X, Y, **arguments)


def test_refused_before_training(tmp_path):
    other = tmp_path / "other.csv"
    other.write_text("epoch,loss\n1,2\n")
    os.mkfifo(tmp_path / "pipe")  # to open it would wait for ever
    model = network()
    weights = [w.numpy() for w in model.weights]
    for monitor, message in [
        (SignalMonitor(X, Y, csv=other), "is another table: its first line is 'epoch,loss'"),
        (SignalMonitor(X, Y, csv=tmp_path), "cannot be written"),
        (SignalMonitor(X, Y, csv=tmp_path / "pipe"), "something else than a file"),
        (SignalMonitor(X, Y, csv=other / "s.csv"), "cannot be written: Not a directory"),
        (SignalMonitor(X, Y, csv=tmp_path / ("n" * 256)), "name too long"),
        (SignalMonitor(X[:, :5], Y, csv=tmp_path / "s.csv"), "`x` has shape"),
    ]:
        with pytest.raises(InputError, match=message):
            fit(model, monitor)
    assert other.read_text() == "epoch,loss\n1,2\n"
    assert int(model.optimizer.iterations) == 0
    for before, after in zip(weights, model.weights, strict=True):
        np.testing.assert_array_equal(before, after.numpy())


def test_a_disk_that_becomes_full_does_not_end_the_training(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(callbacks, "_append", full)
    model, monitor = network(), SignalMonitor(X, Y, csv=tmp_path / "s.csv", every=2)
    with pytest.warns(RuntimeWarning, match=r"s\.csv' cannot be written: No space left") as told:
        fit(model, monitor)
    assert sum("cannot be written" in str(warning.message) for warning in told) == 1
    assert [step for step, _ in monitor.readings] == [0, 2, 4, 6]
    assert int(model.optimizer.iterations) == 6


@pytest.mark.backends
def test_without_tensorboard(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingPackage, match=r"pip install 'tfinit\[tensorboard\]"):
        SignalMonitor(X, Y, log_dir=tmp_path)
    SignalMonitor(X, Y, csv=tmp_path / "s.csv")
