"""`tfinit prune --after-training`, from the command line and as a function."""

import json

import keras
import numpy as np
import pytest

from tfinit.cli import main
from tfinit.errors import InputError
from tfinit.fine_tuning import PruneConfig, fine_tune
from tfinit.pruning import prune_after_training, repair

X = np.random.default_rng(0).normal(size=(90, 8)).astype("float32")
Y = (X[:, 0] > 0).astype("int32")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A compiled model, and data with and without targets."""
    folder = tmp_path_factory.mktemp("at_once")
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(20, "relu", name="hidden"), keras.layers.Dense(2, name="out")]
    model = keras.Sequential([keras.Input((8,)), *layers])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.save(folder / "model.keras")
    np.savez(folder / "all.npz", x_train=X[:70], y_train=Y[:70], x_test=X[70:], y_test=Y[70:])
    np.savez(folder / "x.npz", x=X[:70])
    return folder


def kernels(model):
    return {layer.name: layer.kernel.numpy() for layer in model.layers}


def test_the_command_does_what_the_functions_do(files, capsys):
    command = ["prune", str(files / "model.keras"), "--after-training", "--sparsity", "0.5"]
    command += ["--data", str(files / "all.npz"), "--out", str(files / "small.keras"), "--repair"]
    main([*command, "--score", "wanda", "--filters", "hidden"])
    dense, model = (keras.saving.load_model(files / "model.keras", compile=False) for _ in range(2))
    report = prune_after_training(model, X[:70], 0.5, score="wanda", filters="hidden")
    repaired = repair(model, X[:70], like=dense)
    found = keras.saving.load_model(files / "small.keras")
    for name, kernel in kernels(found).items():
        assert np.array_equal(kernel, kernels(model)[name])
    told = capsys.readouterr().out
    assert str(report) in told and str(repaired) in told
    assert "test loss: " in told and " before, " in told
    assert "Model: " in told.splitlines()[-1] and not found.compiled
    written = json.loads((files / "small.json").read_text())
    assert written["after_training"]["sparsity"] == 0.5
    assert written["repaired"]["layers"] and written["config"]["score"] == "wanda"
    assert written["after"].keys() == written["before"].keys() == {"loss", "accuracy"}


def test_no_targets_are_needed(files):
    out = files / "half.keras"
    result = fine_tune(
        PruneConfig(
            files / "model.keras",
            data=str(files / "x.npz"),
            out=out,
            after_training=True,
            structure="2:4",
            examples=16,
        ),
        progress=False,
    )
    assert result.before == result.after == {} and result.after_training.sparsity == 0.5
    assert {one.rows for one in result.after_training.weights} == {16}
    groups = kernels(keras.saving.load_model(out))["hidden"].reshape(2, 4, 20)
    assert ((groups != 0).sum(axis=1) == 2).all()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"epochs": 3}, "`epochs` is of a training, and nothing is trained"),
        ({"keep_zeros": True}, "`keep_zeros` is of a training"),
        ({"channels": True}, "`channels` and `after_training` exclude each other"),
        ({"after_training": False, "score": "wanda"}, "`score` is of pruning without training"),
        ({"after_training": False, "allocation": "by error"}, "`allocation` must be one of"),
        ({"score": "snip"}, "`score` must be one of sparsegpt"),
        ({"structure": "1:3"}, "`structure` must be one of"),
        ({"examples": 0}, "`examples` must be"),
    ],
)
def test_what_would_be_ignored_is_refused(given, message):
    with pytest.raises(InputError, match=message):
        PruneConfig("model.keras", **{"after_training": True, **given})


def test_nothing_is_written_after_an_error(files):
    out = files / "never.keras"
    config = PruneConfig(
        files / "model.keras",
        data=str(files / "x.npz"),
        out=out,
        after_training=True,
        filters=("conv",),
    )
    with pytest.raises(InputError, match="`filters` has 'conv', which matches no layer"):
        fine_tune(config, progress=False)
    assert not out.exists() and not out.with_suffix(".json").exists()
