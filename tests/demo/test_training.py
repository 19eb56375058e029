"""One pane: what it computes, against Keras by hand; what it shows; whom it shares with."""

import base64

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfinit
from tfinit.demo.menu import initializations
from tfinit.demo.network import network
from tfinit.demo.plane import opening_event, plane
from tfinit.demo.python_code import python_code
from tfinit.demo.settings import Pane, Settings
from tfinit.demo.training import PaneTraining
from tfinit.training.order import batch_indices


def settings(initialization="he", value=None, **changes):
    pane = Pane(initialization=initialization, value=value)
    return Settings(**{"depth": 3, "width": 8, "steps": 100, "panes": (pane,), **changes})


def begun(run, pane=0):
    training = PaneTraining(run, pane)
    training.begin()
    return training


def test_it_is_keras_trained_by_hand_on_the_batches_of_the_seed():
    run = settings("normal", 0.5, seed=3)
    training = begun(run)
    training.advance(40)
    x, y = tfinit.datasets.load("circles").train
    model = tfinit.models.mlp(keras, (2,), 2, 3, "relu", 8)
    tfinit.models.fill(model, keras.initializers.RandomNormal(stddev=0.5), 3)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    for rows in batch_indices(300, 32, 40, 3):
        with tf.GradientTape() as tape:
            value = loss(y[rows], model(x[rows]))
        weights = [w.value for w in model.trainable_weights]
        for weight, gradient in zip(weights, tape.gradient(value, weights), strict=True):
            weight.assign_sub(0.1 * gradient)
    assert training.step == training.curves["step"][-1] == 40
    assert training.curves["train_cost"][-1] == pytest.approx(float(loss(y, model(x))), rel=1e-4)
    right = float(np.mean(np.argmax(model(x), axis=1) == y))
    assert training.curves["train_accuracy"][-1] == pytest.approx(right, abs=1 / 300)


def test_curves_and_weights_are_the_same_at_any_speed_and_whoever_else_trains():
    run = settings(panes=(Pane(initialization="he"), Pane(initialization="zeros")), seed=7)
    alone = begun(run)
    alone.advance(100)
    slow, other = begun(run), begun(run, 1)
    for steps in (1, 1, 5, 13, 30, 7, 99):
        slow.advance(steps)
        other.advance(11)
        other.frame(0)
    assert slow.status == alone.status == "done" and slow.step == alone.step == 100
    assert slow.curves == alone.curves
    assert slow.curves["step"] == [*range(21), *range(30, 101, 10)]
    mine, theirs = slow.final(), alone.final()
    assert mine.keys() == theirs.keys() and all(np.array_equal(mine[k], theirs[k]) for k in mine)
    assert not other.final()["fc1/kernel"].any()


def test_another_initialization_seed_or_rate_compiles_nothing():
    first = network(settings())
    for run in (settings("lsuv"), settings(seed=9), settings(learning_rate=1.0)):
        assert network(run) is first
    assert network(settings(width=9)) is not first


@pytest.mark.parametrize("name", initializations())
def test_every_initialization_of_the_menu_trains(name):
    value = {"normal": 0.3, "constant": 0.1}.get(name)
    training = begun(settings(name, value, steps=5))
    training.advance(5)
    assert training.status in ("done", "diverged")
    assert np.isfinite(training.initial["fc1/kernel"]).all()


def test_a_learning_rate_of_the_settings_is_the_one_that_trains():
    initial, moved = begun(settings(steps=1)), {}
    for rate in (0.001, 0.1):
        training = begun(settings(learning_rate=rate, steps=1))
        training.advance(1)
        moved[rate] = training.final()["output/kernel"] - initial.initial["output/kernel"]
    np.testing.assert_allclose(moved[0.1], 100 * moved[0.001], rtol=1e-3, atol=3e-6)


def test_a_frame_shows_what_numpy_computes():
    training = begun(settings("he", dataset="blobs"))
    training.advance(10)
    frame, weights = training.frame(1), training.final()
    drawn = plane("blobs")

    def outputs(x):
        hidden = [np.maximum(x @ weights["fc1/kernel"] + weights["fc1/bias"], 0)]
        hidden.append(np.maximum(hidden[0] @ weights["fc2/kernel"] + weights["fc2/bias"], 0))
        return [*hidden, hidden[1] @ weights["output/kernel"] + weights["output/bias"]]

    logits = outputs(drawn.grid)[-1]
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    winner = np.frombuffer(base64.b64decode(frame["boundary"]["winner"]), "uint8")
    sure = np.frombuffer(base64.b64decode(frame["boundary"]["confidence"]), "uint8")
    assert frame["boundary"]["size"] == 100 and len(winner) == 100 * 100
    assert (winner == logits.argmax(axis=1)).mean() > 0.999
    assert np.abs(sure - 255 * chances.max(axis=1)).max() < 1
    stds = [layer["activation_std"] for layer in frame["layers"]]
    seen = outputs(drawn.data.train[0][:128])
    np.testing.assert_allclose(stds, [a.std() for a in seen], rtol=1e-4)
    assert [sum(layer["activation_histogram"]["counts"]) for layer in frame["layers"]] == [
        a.size for a in seen
    ]
    for layer, values in zip(frame["layers"], seen, strict=True):
        counts = np.array(layer["activation_histogram"]["counts"])
        # Another order of sums may move a value over the edge of its bin.
        assert np.abs(counts - np.histogram(values, 32)[0]).sum() <= 4
    dead = [int((a == 0).all(axis=0).sum()) for a in seen]
    assert [layer["dead_units"] for layer in frame["layers"]] == dead
    # Of the loss by the logits: softmax minus the label.
    logits, y = seen[-1], drawn.data.train[1][:128]
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = (chances - np.eye(3)[y]).std()
    assert frame["layers"][-1]["gradient_std"] == pytest.approx(expected, rel=1e-3)
    picture = frame["weights"]
    values = np.frombuffer(base64.b64decode(picture["values"]), "int8").reshape(8, 8)
    assert (picture["name"], picture["rows"], picture["columns"]) == ("fc2", 8, 8)
    assert np.abs(values / 127 * picture["scale"] - weights["fc2/kernel"]).max() < (
        picture["scale"] / 127
    )


def test_the_first_row_of_the_boundary_is_the_lowest():
    drawn = plane("circles")
    x0, x1, y0, y1 = drawn.extent
    assert np.allclose(drawn.grid[0], [x0 + (x1 - x0) / 200, y0 + (y1 - y0) / 200])
    assert np.allclose(drawn.grid[99], [x1 - (x1 - x0) / 200, y0 + (y1 - y0) / 200])


def test_twins_stay_twins():
    training = begun(settings("constant", 0.3))
    told = training.diagnose()
    assert told["predicts"] == "fails"
    twins = told["findings"][0]
    assert (twins["kind"], twins["code"]) == ("twins", 'tfinit.initialize(model, "he")')
    assert "same weights get the same gradient" in twins["why"]
    training.advance(100)
    layers = training.frame(0)["layers"]
    assert [layer["distinct_units"] for layer in layers[:2]] == [1, 1]
    he = begun(settings("he")).frame(0)["layers"]
    assert [layer["distinct_units"] for layer in he] == [8, 8, 2]


def test_too_small_is_stuck_he_learns_too_large_diverges_or_is_worse():
    ends = {}
    for initialization, value in (("zeros", None), ("normal", 0.01), ("he", None), ("normal", 8.0)):
        training = begun(settings(initialization, value, depth=5, width=16, steps=300))
        prediction = training.diagnose()["predicts"]
        for _ in range(6):
            training.advance(50)
        ends[initialization, value] = (prediction, training.outcome()["outcome"])
    assert ends["zeros", None] == ends["normal", 0.01] == ("fails", "stuck")
    assert ends["he", None][1] == "learned"
    assert ends["normal", 8.0][0] == "fails"
    assert ends["normal", 8.0][1] in ("diverged", "stuck")


def test_dead_units_of_a_deep_network_foretell_nothing_and_he_is_no_cure_of_itself():
    told = begun(settings("he", depth=30, width=16, seed=1)).diagnose()
    assert told["predicts"] == "learns"
    dead = next(one for one in told["findings"] if one["kind"] == "dead units")
    assert "He's scale already" in dead["cure"] and dead["code"] == ""


def test_a_rate_that_is_too_small_foretells_that_it_learns_slowly():
    training = begun(settings("orthogonal", depth=5, width=16, learning_rate=0.01))
    told = training.diagnose()
    assert (told["predicts"], told["findings"][0]["kind"]) == ("slow", "rate too small")
    training.advance(100)
    assert training.outcome()["came_true"] is True


def test_divergence_is_a_state_with_its_step():
    training = begun(settings("normal", 8.0, depth=8, learning_rate=5.0))
    training.advance(100)
    assert training.status == "diverged"
    assert 1 <= training.diverged_at == training.step <= 10
    assert training.frame(0)["boundary"] is None
    before = dict(training.curves)
    training.advance(10)
    assert training.curves == before
    assert None not in training.curves["step"]


@pytest.mark.parametrize(
    "run",
    [
        settings("lsuv", dataset="digits", optimizer="adam", learning_rate=0.01, seed=5),
        settings("Orthogonal", activation="leaky_relu", optimizer="momentum", depth=1, steps=77),
    ],
)
def test_the_copied_python_ends_with_the_same_cost(run, capsys):
    training = begun(run)
    for _ in range(10):
        training.advance(13)
    exec(python_code(run, 0), {})
    printed = capsys.readouterr().out
    train, test = (training.curves[f"{split}_cost"][-1] for split in ("train", "test"))
    costs = [float(line.split()[2].rstrip(",")) for line in printed.splitlines()[1:]]
    assert costs == pytest.approx([train, test], rel=1e-5)


def test_the_scene():
    seen = opening_event(settings(dataset="digits", depth=2, width=5))
    assert seen["layers"] == [
        {"name": "fc1", "inputs": 64, "units": 5},
        {"name": "output", "inputs": 5, "units": 10},
    ]
    assert seen["classes"] == 10 and len(seen["points"]["x"]) == 1097
    assert "principal" in seen["projection"]
    # The plane of the two largest variances: more than any two pixels have.
    x = tfinit.datasets.load("digits").train[0].reshape(1097, 64)
    shown = np.var(seen["points"]["x"]) + np.var(seen["points"]["y"])
    assert shown > np.sort(x.var(axis=0))[-2:].sum()
    assert shown == pytest.approx(np.linalg.eigvalsh(np.cov(x.T, bias=True))[-2:].sum(), rel=1e-3)
