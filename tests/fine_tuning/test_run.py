"""`tfinit prune`, as a function and from the command line."""

import dataclasses
import io
import json
import os
import zipfile

import keras
import numpy as np
import pytest

from tfinit.cli import main
from tfinit.errors import InputError
from tfinit.fine_tuning import PruneConfig, fine_tune
from tfinit.fine_tuning.kept import kept_file, read_kept
from tfinit.fine_tuning.network import network_of
from tfinit.fine_tuning.whole_channels import planned
from tfinit.origin import Origin

X = np.random.default_rng(0).normal(size=(90, 6)).astype("float32")
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


def test_a_sparse_model_is_pruned_on(files):
    """sparseml#145: 70% of it are zero, and the schedule begins lower."""
    model = keras.saving.load_model(files / "model.keras")
    for layer in (model.get_layer("hidden"), model.get_layer("out")):
        kernel = layer.kernel.numpy()
        kernel[np.abs(kernel) < np.quantile(np.abs(kernel), 0.7)] = 0
        layer.kernel.assign(kernel)
    model.save(files / "model.keras")
    pruned = fine_tune(config(files, keep_zeros=True, epochs=1)).model
    for name in ("hidden", "out"):
        before = model.get_layer(name).kernel.numpy() == 0
        assert np.all(pruned.get_layer(name).kernel.numpy()[before] == 0)


def test_in_blocks_four_inputs_of_a_unit_go_together(files):
    result = fine_tune(config(files, blocks="litert", sparsity=0.5, epochs=2))
    kernel = keras.saving.load_model(result.out).get_layer("hidden").kernel.numpy()
    blocks = np.pad(kernel, ((0, 2), (0, 0))).reshape(2, 4, 20)
    empty = (blocks == 0).all(axis=1)
    # 6 inputs: one whole block and a half of one; what survives has no zero in it.
    assert 0 < empty.sum() < 40
    assert (kernel[:4][:, ~empty[0]] != 0).all() and (kernel[4:][:, ~empty[1]] != 0).all()


class Stop(Exception):
    """What stops a run in a test."""


def after(steps):
    """Stops a run after so many steps."""
    left = [steps]

    def stepped():
        left[0] -= 1
        if left[0] == 0:
            raise Stop

    return stepped


def with_noise(files):
    """The same model, with noise that has no seed: Keras draws one when it loads the file."""
    model = keras.saving.load_model(files / "model.keras")
    noise = [keras.layers.Dropout(0.3), keras.layers.GaussianNoise(0.1)]
    other = keras.Sequential([keras.Input((6,)), *model.layers[:3], *noise, model.layers[3]])
    other.compile("adam", model.loss)
    other.save(files / "noisy.keras")
    return files / "noisy.keras"


def weights(result):
    return [w.numpy().tobytes() for w in result.model.weights]


def test_an_interrupted_run_ends_as_one_that_was_not(files):
    model = with_noise(files)
    whole = fine_tune(config(files, model=model))
    # A name as long as one may be, which leaves no room for what marks a file that is kept.
    other = config(files, model=model, out=files / f"{'n' * 244}.keras")
    begun = []
    for steps in (3, 17):  # in the first epoch: nothing kept yet; then in the third
        with pytest.raises(Stop):
            fine_tune(
                other, started=lambda done, all_: begun.append((done, all_)), stepped=after(steps)
            )
    told = []
    with pytest.warns(DeprecationWarning, match="fine_tune: `started` by position"):
        resumed = fine_tune(
            other, lambda done, all_: begun.append((done, all_)), progress=told.append
        )
    assert told == [14, *[1] * 14]
    assert begun == [(0, 28), (0, 28), (14, 28)]
    assert weights(whole) == weights(resumed)
    assert whole.after == resumed.after
    left = {"model.keras", "noisy.keras", "data.npz", "out", other.out.name}
    assert {p.name for p in files.iterdir()} == left | {other.out.with_suffix(".json").name}


def of_channels(files, **changes):
    return PruneConfig(
        **{
            "model": files / "model.keras",
            "data": str(files / "data.npz"),
            "out": files / "out" / "small.keras",
            "channels": True,
            "target": "channels=0.5",
            "channel_score": "taylor",
            "round_to": 1,
            "epochs": 3,
            "batch_size": 10,
            **changes,
        }
    )


def test_whole_channels_go_and_what_is_left_is_trained(files):
    result = fine_tune(of_channels(files))
    model = keras.saving.load_model(result.out)
    given = keras.saving.load_model(files / "model.keras")
    assert model.get_layer("hidden").units == model.get_layer("out").kernel.shape[0] == 10
    assert not model.compiled
    written = json.loads(result.report_file.read_text())
    assert written["channels"]["removed"] == {"hidden": {"units": 10, "of": 20}}
    assert written["after"]["loss"] < written["before"]["loss"]
    stay = [n for n in range(20) if n not in result.channels.plan.groups[0].removed]
    at_first = given.get_layer("hidden").kernel.numpy()[:, stay]
    trained = model.get_layer("hidden").kernel.numpy()
    assert 0 < np.abs(trained - at_first).max() < 0.1  # 21 steps of Adam at 0.001
    assert str(result).startswith("sequential") and "hidden" in str(result)


def test_an_interrupted_run_of_channels_ends_as_one_that_was_not(files):
    whole = fine_tune(of_channels(files))
    other = of_channels(files, out=files / "other.keras")
    with pytest.raises(Stop):
        fine_tune(other, stepped=after(10))
    resumed = fine_tune(other)
    assert weights(whole) == weights(resumed)
    assert resumed.channels.to_dict() == whole.channels.to_dict()


def test_channels_go_by_and_by_and_are_removed_in_the_end(files):
    result = fine_tune(of_channels(files, gradual=True, epochs=2))
    model = keras.saving.load_model(result.out)
    assert model.get_layer("hidden").units == model.get_layer("out").kernel.shape[0] == 10
    written = json.loads(result.report_file.read_text())
    assert written["channels"]["removed"] == {"hidden": {"units": 10, "of": 20}}
    # What was measured of the network with masks is what the smaller one does.
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, metrics=["accuracy"])
    found = model.evaluate(X[70:], Y[70:], verbose=0, return_dict=True)
    assert found["loss"] == pytest.approx(result.after["loss"], rel=1e-5)
    assert result.after["loss"] < result.before["loss"]
    other = of_channels(files, gradual=True, epochs=2, out=files / "other.keras")
    with pytest.raises(Stop):
        fine_tune(other, stepped=after(10))
    assert weights(fine_tune(other)) == weights(result)


def test_channels_that_cannot_be_masked_do_not_go_by_and_by(files):
    model = keras.saving.load_model(files / "model.keras")
    normalized = [keras.layers.Dense(6, name="wide"), keras.layers.LayerNormalization()]
    model = keras.Sequential([keras.Input((6,)), *normalized, *model.layers])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.save(files / "normalized.keras")
    asked = of_channels(files, model=files / "normalized.keras", gradual=True)
    assert [group.name for group in planned(asked, model, (X, Y, None)).groups] == ["hidden"]
    only = dataclasses.replace(asked, filters=("wide",), target="channels=0.9")
    with pytest.raises(InputError, match=r"`gradual`: channels of 'wide'.*hidden"):
        fine_tune(only)


def kept(files):
    return sorted((files / "out").glob(".*"))


def test_other_settings_models_and_data_are_other_runs(files):
    one = config(files, epochs=2)

    def of(config, data="data"):
        return kept_file(config, data, network_of(config).identity())

    of_one = of(one)
    assert of_one == of(config(files, epochs=2))
    others = [
        of(config(files, epochs=2, sparsity=0.5)),
        of(config(files, epochs=2, model=with_noise(files))),
        of(one, "other data"),
    ]
    assert len({of_one, *others}) == 4 and all(p.parent == of_one.parent for p in others)


def test_data_that_are_replaced_are_not_mixed(files):
    one = config(files, epochs=2)
    with pytest.raises(Stop):
        fine_tune(one, stepped=after(10))
    (of_first,) = kept(files)
    begun, lines = [], []
    np.savez(files / "data.npz", x_train=-X[:70], y_train=Y[:70])
    fine_tune(one, started=lambda done, steps: begun.append(done), warn=lines.append)
    assert begun == [0]
    assert len(lines) == 1 and f"{of_first} is of an interrupted run with other" in lines[0]
    assert kept(files) == [of_first]  # that of this run is gone; the other can still go on


def flipped(content):
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        at = archive.getinfo("model.weights.h5").header_offset + 3000
    return content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :]


def as_before(content):
    """As an earlier tfinit kept it: it says not what it was made with."""
    old = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as given, zipfile.ZipFile(old, "w") as archive:
        for name in given.namelist():
            if name != "tfinit.json":
                archive.writestr(name, given.read(name))
    return old.getvalue()


def test_what_was_kept_and_cannot_be_used_is_no_obstacle(files):
    one = config(files, epochs=2)
    whole = fine_tune(one)
    with pytest.raises(Stop):
        fine_tune(one, stepped=after(10))
    (path,) = kept(files)
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        origin = Origin.of(json.loads(archive.read("tfinit.json")))
    lines = []
    assert int(read_kept(path, origin, lines.append).optimizer.iterations) == 7
    later = dataclasses.replace(origin, tfinit="99.0")
    assert int(read_kept(path, later, lines.append).optimizer.iterations) == 7
    assert len(lines) == 1 and "tfinit 0.1.0 (now tfinit 99.0): the run goes on, but" in lines[0]
    other = dataclasses.replace(origin, data="ab" * 32)
    plain = (files / "model.keras").read_bytes()  # which nothing prunes
    half = content[: len(content) // 2]
    damaged, elsewhere = "is damaged", "does not say that it was trained on these data"
    for altered, given, why in [
        (half, origin, damaged),
        (b"", origin, damaged),
        (flipped(content), origin, damaged),
        (plain, origin, damaged),
        (as_before(content), origin, elsewhere),
        (content, other, elsewhere),
        (None, origin, damaged),
    ]:
        lines.clear()
        path.unlink()
        path.write_bytes(altered) if altered is not None else os.mkfifo(path)
        assert read_kept(path, given, lines.append) is None
        assert lines == [f"{path} {why}: beginning again."]
    with pytest.warns(UserWarning, match="is damaged: beginning again"):
        again = fine_tune(one)
    assert weights(again) == weights(whole)
    assert sorted(p.name for p in one.out.parent.iterdir()) == ["pruned.json", "pruned.keras"]


def test_two_processes_do_not_write_one_file(files):
    def second():
        with pytest.raises(
            InputError, match=r"`out` .*pruned\.keras' is in use by another process"
        ):
            fine_tune(config(files))
        raise Stop

    with pytest.raises(Stop):
        fine_tune(config(files, epochs=1), stepped=second)
    assert kept(files) == []  # nor is the lock left


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["nowhere.keras"], ["MODEL", "nowhere.keras"]),
        (["model.keras", "--sparsity", "1.5"], ["--sparsity", "1.5"]),
        # Of 120 and 40 weights a two-hundred-and-fiftieth is less than a half.
        (["model.keras", "--sparsity", "0.004"], ["--sparsity 0.004", "none of the 120", "more"]),
        (["model.keras", "--data", "cifar"], ["--data", "cifar", "digits, mnist"]),
        (["model.keras", "--data", "digits"], ["(8, 8, 1)", "(6,)"]),
        (["model.keras", "--allocation", "half"], ["--allocation", "uniform, erk, global"]),
        (["model.keras", "--blocks", "8x8"], ["--blocks", "litert", "8x8"]),
        (
            ["model.keras", "--blocks", "litert", "--allocation", "global"],
            ["--blocks and --allocation 'global' exclude each other", "'uniform'"],
        ),
        (["model.keras", "--out", "a.h5"], ["--out", ".keras"]),
        (["model.keras", "--out", "model.keras"], ["--out is the model itself"]),
        (["model.keras", "--channels", "--target", "0.5"], ["--target", "macs=0.5", "'0.5'"]),
        (["model.keras", "--target", "macs=0.4"], ["--target", "--channels"]),
        (["model.keras", "--gradual"], ["--gradual", "--channels"]),
        (["model.keras", "--channels", "--sparsity", "0.5"], ["--sparsity is of single weights"]),
        (["model.keras", "--channels", "--target", "macs=0.01"], ["cannot be reached", "least"]),
        (["model.keras", "--channels", "--channel-score", "l3"], ["--channel-score", "l1, l2"]),
        (["model.keras", "--epochs", "0"], ["--epochs", "at least 1"]),
        (["model.keras", "--out", "data.npz/a.keras"], ["--out", "Not a directory", "--out"]),
        (["model.keras", "--out", f"{'n' * 250}.keras"], ["--out", "name too long"]),
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


def test_the_command_line_prints_what_is_left_of_each_layer(files, capfd, monkeypatch):
    monkeypatch.chdir(files)
    flags = ["--channels", "--target", "channels=0.5", "--round-to", "1", "--filters", "hid.*"]
    main(["prune", "model.keras", "--data", "data.npz", "--epochs", "1", *flags])
    out, _ = capfd.readouterr()
    assert "  hidden  20 → 10" in out and "faster in any runtime" in out
    assert "test accuracy" in out


def test_the_command_line_prints_the_table(files, capfd, monkeypatch):
    monkeypatch.chdir(files)
    main(["prune", "model.keras", "--data", "data.npz", "--epochs", "1", "--sparsity", "0.5"])
    out, err = capfd.readouterr()
    assert err.startswith("device: ") and err.count("device: ") == 1
    made_with = json.loads((files / "pruned.json").read_text())["made_with"]
    assert made_with["device"].split(", ")[0] in err
    assert made_with["keras"] == f"keras {keras.__version__}"
    assert "50.00%" in out
    assert "test accuracy:" in out
    assert (files / "pruned.keras").exists()


def test_an_optimizer_that_never_trained_is_no_news(tmp_path, recwarn):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    model.compile("adam", "mse")
    model.save(tmp_path / "m.keras")
    np.savez(tmp_path / "d.npz", x_train=np.ones((3, 5)), y_train=np.ones((3, 2)))
    with pytest.raises(InputError, match="examples of shape"):
        fine_tune(PruneConfig(tmp_path / "m.keras", data=str(tmp_path / "d.npz")))
    assert not [one for one in recwarn if "optimizer" in str(one.message)]
