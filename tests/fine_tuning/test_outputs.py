"""`tfinit prune` with several inputs, outputs, losses and metrics, and weights of examples."""

import keras
import numpy as np
import pytest
from keras.ops import convert_to_numpy as to_numpy

from tfinit.cli import main
from tfinit.errors import InputError
from tfinit.fine_tuning import PruneConfig, fine_tune
from tfinit.fine_tuning.examples import check_trains

L = keras.layers
N = 40
LEFT, RIGHT = (np.random.default_rng(i).normal(size=(N, 4)).astype("float32") for i in range(2))
KIND = (LEFT[:, 0] > 0).astype("int32")
SIZE = RIGHT[:, :1] + 1
CROSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
BOTH = {"x": {"left": LEFT, "right": RIGHT}, "y": {"kind": KIND, "size": SIZE}}


def two_heads(as_dict=False):
    inputs = {name: keras.Input((4,), name=name) for name in ("left", "right")}
    x = L.Dense(6, "relu", name="trunk")(L.Concatenate()(list(inputs.values())))
    outputs = {"kind": L.Dense(2, name="kind")(x), "size": L.Dense(1, name="size")(x)}
    if not as_dict:
        inputs, outputs = list(inputs.values()), list(outputs.values())
    return keras.Model(inputs, outputs)


def one_head():
    return keras.Sequential([keras.Input((4,)), L.Dense(6, name="trunk"), L.Dense(2, name="kind")])


def write(folder, model, x, y, weights=None):
    """A model and data as files; the last 10 examples are for the test."""
    model.save(folder / "model.keras")
    arrays = {}
    for key, given in (("x", x), ("y", y), ("sample_weight", weights)):
        for name, array in (given if isinstance(given, dict) else {"": given}).items():
            if array is not None:
                end = f"_{name}" if name else ""
                arrays |= {f"{key}_train{end}": array[:30], f"{key}_test{end}": array[30:]}
    np.savez(folder / "data.npz", **arrays)


def run(folder, **changes):
    values = {"epochs": 2, "batch_size": 10, "sparsity": 0.5} | changes
    return fine_tune(
        PruneConfig(
            folder / "model.keras",
            data=str(folder / "data.npz"),
            out=folder / "pruned.keras",
            **values,
        )
    )


def cross_entropy(logits, y):
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(y)), y]


def test_two_inputs_two_losses_weighted(tmp_path, rng):
    """Examples of one output count as much as the file says, those of the other all alike."""
    model, weights = two_heads(), rng.integers(0, 3, N).astype("float32")
    losses = {"kind": CROSS, "size": "mse"}
    metrics, heeding = {"kind": ["accuracy"], "size": ["mae"]}, {"kind": [], "size": ["mse"]}
    shares = {"kind": 1.0, "size": 3.0}
    model.compile("sgd", losses, shares, metrics, heeding)
    write(tmp_path, model, **BOTH, weights={"size": weights})
    result = run(tmp_path)
    kind, size = map(to_numpy, result.model([LEFT[30:], RIGHT[30:]]))
    error, count = (size - SIZE[30:])[:, 0], weights[30:]
    apart = {"kind": cross_entropy(kind, KIND[30:]).mean(), "size": (count * error**2).mean()}
    expected = {
        "loss": apart["kind"] + 3 * apart["size"],
        "kind_loss": apart["kind"],
        "size_loss": apart["size"],
        "kind_accuracy": np.mean(kind.argmax(axis=1) == KIND[30:]),
        "size_mae": np.abs(error).mean(),
        "size_mse": np.average(error**2, weights=count),
    }
    assert result.after == pytest.approx(expected, rel=1e-4)
    assert result.before.keys() == expected.keys()
    kernels = {key: result.model.get_layer(key).kernel.numpy() for key in ("trunk", "kind", "size")}
    zeros = {name: int((kernel == 0).sum()) for name, kernel in kernels.items()}
    assert zeros == {"trunk": 24, "kind": 6, "size": 3}


def test_an_output_without_a_loss_needs_no_targets_and_is_not_trained(tmp_path):
    model = two_heads()
    model.compile("sgd", [CROSS, None])
    heads = {name: model.get_layer(name).kernel.numpy() for name in ("kind", "size")}
    write(tmp_path, model, BOTH["x"], {"kind": KIND})
    result = run(tmp_path, epochs=1)
    moved = {}
    for name, before in heads.items():
        after = result.model.get_layer(name).kernel.numpy()
        moved[name] = not np.array_equal(after[after != 0], before[after != 0])
    assert moved == {"kind": True, "size": False}
    assert np.float32(result.after["kind_accuracy"]) in np.arange(11, dtype="float32") / 10


def test_a_loss_for_each_output_on_the_command_line(tmp_path, monkeypatch, capfd):
    """The file has none; whole numbers get their accuracy."""
    write(tmp_path, two_heads(as_dict=True), **BOTH)
    monkeypatch.chdir(tmp_path)
    loss = "kind=sparse_categorical_crossentropy,size=mse"
    main(["prune", "model.keras", "--data", "data.npz", "--epochs", "1", "--loss", loss])
    out, _ = capfd.readouterr()
    named = [line.split(":")[0] for line in out.splitlines() if line.startswith("test ")]
    assert sorted(named) == ["test kind_accuracy", "test kind_loss", "test loss", "test size_loss"]


def test_several_metrics_of_one_output(tmp_path):
    """One of them has a value for each class."""
    model, y = one_head(), np.eye(2, dtype="float32")[KIND]
    f1 = keras.metrics.F1Score(average=None, name="f1")
    model.compile("sgd", "mse", metrics=["mae", f1])
    write(tmp_path, model, LEFT, y)
    result = run(tmp_path, epochs=1)
    found = to_numpy(result.model(LEFT[30:]))
    chosen = found.argmax(axis=1)[:, None] == [0, 1]
    both = (chosen & (y[30:] == 1)).sum(axis=0)
    scores = 2 * both / (chosen.sum(axis=0) + y[30:].sum(axis=0))
    expected = {
        "loss": ((found - y[30:]) ** 2).mean(),
        "mae": np.abs(found - y[30:]).mean(),
        "f1[0]": scores[0],
        "f1[1]": scores[1],
    }
    assert result.after == pytest.approx(expected, rel=1e-4)


def test_what_is_tried_before_the_training_leaves_no_trace(rng):
    """The state of a layer that keeps one, for a batch of a fixed size."""
    lstm = L.LSTM(2, stateful=True)
    model = keras.Sequential([keras.Input(batch_shape=(4, 3, 2)), lstm])
    model.compile(loss="mse")
    x, y = rng.normal(size=(9, 3, 2)), np.zeros((9, 2))
    check_trains(model, x, y, None, "data.npz", 4)
    assert all((state.numpy() == 0).all() for state in lstm.states)
    with pytest.raises(InputError, match=r"shape \(4, 5\), of outputs \(4, 2\). Give other"):
        check_trains(model, x, np.zeros((9, 5)), None, "data.npz", 4)
    assert all((state.numpy() == 0).all() for state in lstm.states)


@pytest.mark.parametrize(
    ("change", "flags", "words"),
    [
        (
            {"y": KIND},
            {},
            r"one array y_train, .* outputs kind, size.*: y_train_kind, y_train_size",
        ),
        ({"x": LEFT}, {}, r"one array x_train, .* inputs left, right. .*: x_train_left, x_train_r"),
        ({"y": {"kind": KIND}}, {}, r"has y_train_kind, .* Give y_train_kind, y_train_size"),
        ({"y": {"kind": KIND, "age": SIZE}}, {}, r"has y_train_kind, y_train_age, .* kind, size"),
        ({"x": {"left": LEFT, "right": RIGHT[:, :3]}}, {}, r"shape \(3,\) for 'right', .* \(4,\)"),
        ({"x": {"left": LEFT, "right": RIGHT[:35]}}, {}, "as many targets as inputs"),
        ({}, {"loss": "kind=mse,age=mse"}, r"one for each output as in --loss kind=mse,size=mse"),
        ({}, {"loss": "nonsense"}, r"does not fit .* loss 'nonsense' .*interpret"),
        ({"y": {"kind": np.eye(5)[KIND], "size": SIZE}}, {}, r"does not fit the model, its loss"),
        ({"weights": -np.ones(N)}, {}, r"one number, 0 or more, for each of the 30 examples"),
    ],
)
def test_what_does_not_fit_is_one_line(tmp_path, change, flags, words):
    model = two_heads()
    model.compile("sgd", [CROSS, "mse"])
    write(tmp_path, model, **(BOTH | change))
    with pytest.raises(InputError, match=words) as refused:
        run(tmp_path, **flags)
    assert "\n" not in str(refused.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data.npz", "model.keras"]


def test_two_outputs_without_a_loss(tmp_path):
    write(tmp_path, two_heads(), **BOTH)
    with pytest.raises(InputError, match=r"without a loss. Name one: --loss kind=mse,size=mse"):
        run(tmp_path)
