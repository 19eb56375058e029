"""`tfinit prune`, as a function and from the command line."""

import json

import keras
import numpy as np
import pytest

from tfinit.cli import main
from tfinit.errors import InputError
from tfinit.fine_tuning import PruneConfig, fine_tune

RNG = np.random.default_rng(0)
X = RNG.normal(size=(90, 6)).astype("float32")
Y = (X[:, 0] > 0).astype("int32")


@pytest.fixture
def files(tmp_path):
    """A trained model with dropout and BatchNormalization, and its data."""
    model = keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(20, "relu", name="hidden"),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.2, seed=1),
            keras.layers.Dense(2, name="out"),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss)
    model.save(tmp_path / "model.keras")
    model.compile("adam", None)
    np.savez(tmp_path / "data.npz", x_train=X[:70], y_train=Y[:70], x_test=X[70:], y_test=Y[70:])
    return tmp_path


def config(files, **changes):
    values = {
        "model": files / "model.keras",
        "data": str(files / "data.npz"),
        "out": files / "out" / "pruned.keras",
        "sparsity": 0.75,
        "epochs": 4,
        "batch_size": 10,
    }
    return PruneConfig(**(values | changes))


def test_the_file_has_the_exact_sparsity_and_no_pruning(files):
    result = fine_tune(config(files))
    model = keras.saving.load_model(result.out)
    assert not model.compiled
    kernels = {
        layer.name: layer.kernel.numpy() for layer in model.layers if layer.name in "hidden out"
    }
    assert {name: int((k == 0).sum()) for name, k in kernels.items()} == {"hidden": 90, "out": 30}
    written = json.loads(result.report_file.read_text())
    assert written["config"]["sparsity"] == 0.75
    assert written["after"].keys() == written["before"].keys() == {"loss", "accuracy"}
    assert result.report.total.prunable_zeros == 120
    # Nothing is left beside the two files.
    assert sorted(p.name for p in result.out.parent.iterdir()) == ["pruned.json", "pruned.keras"]


def test_in_blocks_four_inputs_of_a_unit_go_together(files):
    result = fine_tune(config(files, blocks="litert", sparsity=0.5, epochs=2))
    kernel = keras.saving.load_model(result.out).get_layer("hidden").kernel.numpy()
    blocks = np.pad(kernel, ((0, 2), (0, 0))).reshape(2, 4, 20)
    empty = (blocks == 0).all(axis=1)
    # 6 inputs: one whole block and a half of one; what survives has no zero in it.
    assert 0 < empty.sum() < 40
    assert (kernel[:4][:, ~empty[0]] != 0).all() and (kernel[4:][:, ~empty[1]] != 0).all()


def test_an_interrupted_run_ends_as_one_that_was_not(files):
    whole = fine_tune(config(files))

    class Stop(Exception):
        pass

    def after(steps):
        left = [steps]

        def stepped():
            left[0] -= 1
            if left[0] == 0:
                raise Stop

        return stepped

    other = config(files, out=files / "again" / "pruned.keras")
    begun = []
    for steps in (3, 12, 9):  # in the first epoch: nothing kept yet; then in the second, the third
        with pytest.raises(Stop):
            fine_tune(
                other, started=lambda done, all_: begun.append((done, all_)), stepped=after(steps)
            )
    resumed = fine_tune(other, started=lambda done, all_: begun.append((done, all_)))
    assert begun == [(0, 28), (0, 28), (7, 28), (14, 28)]
    for a, b in zip(whole.model.weights, resumed.model.weights, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    assert whole.after == resumed.after


def test_another_run_does_not_go_on_from_this_one(files):
    class Stop(Exception):
        pass

    def stop():
        if begun[-1] == 9:
            raise Stop
        begun[-1] += 1

    begun = [0]
    with pytest.raises(Stop):
        fine_tune(config(files), stepped=stop)
    starts = []
    fine_tune(
        config(files, sparsity=0.5, epochs=1), started=lambda done, steps: starts.append(done)
    )
    assert starts == [0]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["nowhere.keras"], ["`model`", "nowhere.keras"]),
        (["model.keras", "--sparsity", "1.5"], ["`sparsity`", "1.5"]),
        (["model.keras", "--data", "cifar"], ["`data`", "cifar", "digits, mnist"]),
        (["model.keras", "--data", "digits"], ["(8, 8, 1)", "(6,)"]),
        (["model.keras", "--allocation", "half"], ["`allocation`", "uniform, global, erk"]),
        (["model.keras", "--blocks", "8x8"], ["`blocks`", "litert", "8x8"]),
        (
            ["model.keras", "--blocks", "litert", "--allocation", "global"],
            ["`blocks` and allocation 'global' exclude each other", "'uniform'"],
        ),
        (["model.keras", "--out", "a.h5"], ["`out`", ".keras"]),
        (["model.keras", "--out", "model.keras"], ["`out` is the model itself"]),
        (["model.keras", "--epochs", "0"], ["`epochs`", "at least 1"]),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(files, flags, words, capfd, monkeypatch):
    monkeypatch.chdir(files)
    before = {p.name: p.read_bytes() for p in files.iterdir()}
    with pytest.raises(SystemExit) as stopped:
        main(["prune", *flags, *([] if "--data" in flags else ["--data", "data.npz"])])
    _, err = capfd.readouterr()
    lines = [line for line in err.splitlines() if line.startswith("tfinit: ")]
    assert stopped.value.code == 2
    assert len(lines) == 1, err
    for word in words:
        assert word in lines[0]
    assert {p.name: p.read_bytes() for p in files.iterdir()} == before


def test_a_model_without_a_loss_needs_one(files):
    model = keras.saving.load_model(files / "model.keras", compile=False)
    model.save(files / "bare.keras")
    with pytest.raises(InputError, match="--loss"):
        fine_tune(config(files, model=files / "bare.keras"))
    named = config(
        files, model=files / "bare.keras", loss="sparse_categorical_crossentropy", epochs=1
    )
    assert fine_tune(named).report.total.prunable_zeros == 120


def test_the_command_line_prints_the_table(files, capfd, monkeypatch):
    monkeypatch.chdir(files)
    main(["prune", "model.keras", "--data", "data.npz", "--epochs", "1", "--sparsity", "0.5"])
    out, _ = capfd.readouterr()
    assert "50.00%" in out
    assert "test accuracy:" in out
    assert (files / "pruned.keras").exists()
