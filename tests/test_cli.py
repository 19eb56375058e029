"""The command line: one line and an exit code for everything that goes wrong."""

import contextlib
import io
import json
import os

import pytest

from tfinit import lottery
from tfinit.cli import main

QUICK = ["--levels", "1", "--steps", "20", "--seeds", "0"]


def run(capfd, *arguments):
    """Exit code and the two outputs of ``tfinit`` with some arguments."""
    try:
        main(list(arguments))
        code = 0
    except SystemExit as stop:
        code = stop.code
    out, err = capfd.readouterr()
    return code, out, err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--dataset", "cifr"], ["dataset", "digits, mnist", "'cifr'"]),
        (["--model", "resnet"], ["model", "lenet-300-100", "'resnet'"]),
        (["--keras", "torch"], ["keras", "keras, tf_keras", "'torch'"]),
        (["--prune-fraction", "1"], ["--prune-fraction must be", "above 0 and below 1", "1.0"]),
        (["--prune-fraction", "-0.2"], ["--prune-fraction must be", "above 0 and below 1", "-0.2"]),
        (["--levels", "0"], ["levels", "at least 1", "0"]),
        (["--steps", "-5"], ["steps", "at least 1", "-5"]),
        (["--batch-size", "99999"], ["--batch-size must be", "1..1097", "99999"]),
        (["--seeds", "1", "1"], ["seeds", "different", "(1, 1)"]),
        (["--run-dir", "/proc/tfinit"], ["--run-dir '/proc/tfinit", "with --run-dir"]),
        (["--run-dir", "n" * 300], ["--run-dir 'nnn", "name too long"]),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(capfd, tmp_path, flags, words):
    directory = [] if "--run-dir" in flags else ["--run-dir", str(tmp_path / "r")]
    code, out, err = run(capfd, "lottery", *QUICK, *flags, *directory)
    lines = [line for line in err.splitlines() if line]
    assert (code, out) == (2, "")
    assert len(lines) == 1, err
    assert lines[0].startswith("tfinit: ")
    for word in words:
        assert word in lines[0]
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("arguments", [["lotery"], ["lottery", "--levles", "3"], []])
def test_a_misspelt_command_or_flag_is_exit_code_2(capfd, arguments):
    code, _, err = run(capfd, *arguments)
    assert code == 2
    assert "Traceback" not in err


@pytest.mark.parametrize("arguments", [["frankle2019.py", "--help"], ["lotery", "-h"]])
def test_help_of_no_command_is_an_error(capfd, arguments):
    code, out, err = run(capfd, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith(f"tfinit: there is no command `{arguments[0]}`.")


def test_a_missing_file_of_a_named_data_directory(capfd, tmp_path, monkeypatch):
    monkeypatch.setenv("TFINIT_DATA_DIR", str(tmp_path))
    code, _, err = run(capfd, "lottery", "--dataset", "mnist", "--run-dir", str(tmp_path / "r"))
    assert code == 2
    assert "mnist.npz" in err
    assert "TFINIT_DATA_DIR" in err


def test_a_failure_during_work_is_one_line_and_exit_code_1(capfd, tmp_path):
    flags = [*QUICK, "--optimizer", "sgd", "--learning-rate", "1e30", "--on-divergence", "stop"]
    code, _, err = run(capfd, "lottery", *flags, "--run-dir", str(tmp_path / "r"))
    device, line = err.splitlines()
    assert code == 1
    assert device.startswith("device: ")
    assert "seed 0, ticket, level 0: the loss is not finite at step" in line


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run: (directory, what it printed). For rich the name would be full of markup."""
    directory = tmp_path_factory.mktemp("cli") / "r[" / "b] [bold]r"
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        main(["lottery", *QUICK, "--run-dir", str(directory)])
    return directory, printed.getvalue()


def test_it_prints_a_table_and_a_sentence_within_80_columns(finished):
    _, out = finished
    assert max(len(line) for line in out.splitlines()[:-1]) <= 80
    assert "…" not in out
    for level, density in (("0", "100.0%"), ("1", "80.2%")):
        assert any(line.split()[:2] == [level, density] for line in out.splitlines())
    assert "of the dense network" in " ".join(out.split())


def test_it_leaves_results_tickets_and_a_figure(finished):
    directory, out = finished
    assert out.endswith(f": {directory}\n")
    names = {str(p.relative_to(directory)) for p in directory.rglob("*") if p.is_file()}
    assert names == {
        ".lock",
        "config.json",
        "results.csv",
        "evaluations.csv",
        "conclusion.txt",
        "tickets.png",
        "layers.csv",
        "network.json",
        "curves.png",
        "layers.png",
        "masks.png",
        "seed-0/ticket/initial.npz",
        "seed-0/ticket/level-00.npz",
        "seed-0/ticket/level-01.npz",
        "seed-0/reinit/initial.npz",
        "seed-0/reinit/level-01.npz",
    }
    made_with = json.loads((directory / "config.json").read_text())["made_with"]
    assert made_with["device"].startswith(("CPU, ", "GPU, "))
    assert (directory / "tickets.png").read_bytes().startswith(b"\x89PNG")
    assert " ".join((directory / "conclusion.txt").read_text().split()) in " ".join(out.split())
    assert len((directory / "results.csv").read_text().splitlines()) == 1 + 3


def test_in_python_the_same_is_left(finished):
    """What is there is not trained again, so only the reports are made anew."""
    directory, _ = finished
    reports = [p for p in directory.iterdir() if p.suffix in (".csv", ".png", ".txt")]
    before = {p: p.read_bytes() for p in directory.rglob("*") if p.is_file()}
    for path in reports:
        path.unlink()
    lottery.run(lottery.LotteryConfig(levels=1, steps=20, seeds=(0,), run_dir=str(directory)))
    assert {p: p.read_bytes() for p in directory.rglob("*") if p.is_file()} == before
    assert len(reports) == 8


def test_what_is_left_does_not_hang_on_who_reads_the_table(finished, tmp_path):
    """As with ``| head -1``: the reader goes, and the results of the training stay."""
    directory, _ = finished
    before = {p: p.read_bytes() for p in directory.iterdir() if p.is_file()}
    for path in before:
        if path.suffix in (".csv", ".png", ".txt"):
            path.unlink()

    class Gone(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

        def fileno(self):
            return file.fileno()

    with (
        (tmp_path / "file").open("w") as file,
        contextlib.redirect_stdout(Gone()),
        pytest.raises(SystemExit) as stop,
    ):
        main(["lottery", *QUICK, "--run-dir", str(directory)])
    assert stop.value.code == 1
    assert {p: p.read_bytes() for p in directory.iterdir() if p.is_file()} == before


def test_another_configuration_in_the_same_directory_is_refused(capfd, finished):
    directory, _ = finished
    before = {p: p.read_bytes() for p in directory.rglob("*") if p.is_file()}
    code, _, err = run(capfd, "lottery", *QUICK, "--batch-size", "30", "--run-dir", str(directory))
    assert code == 2
    assert "--batch-size (there 60, asked 30)" in err
    assert {p: p.read_bytes() for p in directory.rglob("*") if p.is_file()} == before


def test_a_truncated_checkpoint_is_trained_again_and_said(capfd, finished):
    directory, _ = finished
    level = directory / "seed-0" / "ticket" / "level-01.npz"
    whole = level.read_bytes()
    level.write_bytes(whole[:1000])
    code, _, err = run(capfd, "lottery", *QUICK, "--run-dir", str(directory))
    assert code == 0
    assert any(
        line.startswith(f"tfinit: {level} is damaged: training level 1 again")
        for line in err.splitlines()
    )
    assert level.read_bytes() == whole


def test_the_page_on_another_backend_is_refused_before_it_is_opened(capfd, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    code, out, err = run(capfd, "demo", "--port", "0")
    assert (code, out) == (2, "")
    assert err == (
        "tfinit: `tfinit demo` trains with TensorFlow, received KERAS_BACKEND='jax'. "
        "Set KERAS_BACKEND=tensorflow.\n"
    )


RACE = ["compare", "--model", "mlp-2-relu", "--steps", "20", "--batch-size", "20"]


def test_compare_prints_a_table_and_draws(capfd, tmp_path):
    """Names with commas and with spaces; progress and warnings are on stderr."""
    picture = tmp_path / "new" / "race.png"
    flags = ["--schemes", "zeros,he", "small", "--seeds", "0", "1", "--plot", str(picture)]
    code, out, err = run(capfd, *RACE, *flags)
    assert code == 0
    lines = out.splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[0].startswith("mlp-2-relu on digits: 20 steps of 20 examples")
    assert lines[3].split()[:2] == ["1", "he"]
    assert {line.split()[1] for line in lines[3:6]} == {"zeros", "he", "small"}
    assert "he" in err
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert [p.name for p in picture.parent.iterdir()] == ["race.png"]


def test_compare_as_json_prints_nothing_else(capfd):
    code, out, _ = run(capfd, *RACE, "--schemes", "he", "--seeds", "5", "--json")
    told = json.loads(out)
    assert code == 0
    assert (told["best"], told["seeds"], len(told["runs"][0]["losses"])) == ("he", [5], 20)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--schemes", "he,hee"], ["schemes", "xavier", "'hee'"]),
        (["--schemes", ","], ["schemes", "one or more"]),
        (["--model", "mlp-30-rellu"], ["model", "mlp-<depth>-<activation>", "'mlp-30-rellu'"]),
        (["--dataset", "cifr"], ["dataset", "digits, mnist", "'cifr'"]),
        (["--optimizer", "lion"], ["optimizer", "sgd, adam, momentum", "'lion'"]),
        (["--learning-rate", "0"], ["--learning-rate must be", "positive", "0.0"]),
        (["--plot", "race.pdf"], ["plot", ".png", "'race.pdf'"]),
        (["--plot", "/proc/tfinit/race.png"], ["plot", "cannot be written", "--plot"]),
        (["--plot", f"{'n' * 252}.png"], ["plot", "name too long"]),
        (["--seeds", "1", "1"], ["seeds", "different"]),
    ],
)
def test_compare_with_bad_input_is_one_line_and_exit_code_2(capfd, flags, words):
    code, out, err = run(capfd, *RACE, *flags)
    lines = [line for line in err.splitlines() if line]
    assert (code, out, len(lines)) == (2, "", 1)
    for word in words:
        assert word in lines[0]


def full_disk(path, content):
    raise OSError(28, os.strerror(28))


def test_results_are_printed_where_the_figure_cannot_be_written(
    capfd, tmp_path, monkeypatch, models
):
    """The disk may have become full since it was looked at."""
    monkeypatch.setattr("tfinit.files.put", full_disk)
    plot = ["--plot", str(tmp_path / "a.png")]
    for arguments, told in [
        ([*RACE, "--schemes", "he", "--seeds", "0"], "mlp-2-relu on digits"),
        (["diagnose", str(models / "good.keras")], "Healthy"),
    ]:
        code, out, err = run(capfd, *arguments, *plot)
        assert (code, told in out) == (1, True)
        assert "a.png: No space left on device. The results are those above." in err


def test_what_is_in_the_way_of_a_report_is_known_before_the_training(capfd, tmp_path):
    (tmp_path / "he/layers.png").mkdir(parents=True)
    for arguments, directory in [
        (["lottery"], tmp_path / "he"),
        (["initializations", "--initializations", "he"], tmp_path),
    ]:
        code, out, err = run(capfd, *arguments, *QUICK, "--run-dir", str(directory))
        assert (code, out, err.count("\n")) == (2, "", 1) and "layers.png' is a directory" in err
    (tmp_path / "s/stability.csv").mkdir(parents=True)
    code, out, err = run(capfd, "stability", "--run-dir", str(tmp_path / "s"))
    assert (code, out, err.count("\n")) == (2, "", 1) and "stability.csv' is a directory" in err


def test_compare_that_is_interrupted_leaves_nothing(capfd, tmp_path, monkeypatch):
    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("tfinit.comparison.runs.SharedNetwork.run", interrupt)
    code, out, err = run(capfd, *RACE, "--plot", str(tmp_path / "race.png"))
    assert (code, out) == (130, "")
    assert err.splitlines()[-1] == "tfinit: interrupted. Nothing was written."
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A directory of saved models, and a batch for them."""
    import keras
    import numpy as np

    directory = tmp_path_factory.mktemp("models")
    relus = {"good": "he_normal", "bad": "zeros"}
    for name, initializer in relus.items():
        layers = [
            keras.layers.Dense(16, "relu", kernel_initializer=initializer, name=f"fc{n}")
            for n in range(1, 5)
        ]
        model = keras.Sequential([keras.Input((8,)), *layers, keras.layers.Dense(3, name="out")])
        model.save(directory / f"{name}.keras")
    keras.Sequential(
        [keras.Input((8,)), keras.layers.Lambda(lambda x: x * 2), keras.layers.Dense(3)]
    ).save(directory / "code.keras")
    random = np.random.default_rng(0)
    x, y = random.normal(size=(64, 8)).astype("float32"), random.integers(0, 3, 64)
    np.savez(directory / "data.npz", x=x, y=y)
    np.savez(directory / "other.npz", z=x)
    np.save(directory / "x.npy", x)
    os.mkfifo(directory / "pipe.keras")  # to open it would wait for ever
    return directory


def test_diagnose_says_by_its_exit_code_whether_a_network_will_learn(capfd, models, tmp_path):
    code, out, _ = run(capfd, "diagnose", str(models / "good.keras"))
    assert code == 0
    assert "Healthy" in out
    assert "drawn from N(0, 1)" in out
    plot = tmp_path / "out.png"
    flags = ["--data", str(models / "data.npz"), "--plot", str(plot)]
    code, out, _ = run(capfd, "diagnose", str(models / "bad.keras"), *flags)
    assert code == 3
    assert "twin" in out
    assert plot.read_bytes().startswith(b"\x89PNG")


OWN = """
import keras
import numpy as np

def build(seed):
    keras.utils.set_random_seed(seed)
    layers = [keras.layers.Dense(16, "relu", name=f"fc{n}") for n in range(2)]
    return keras.Sequential([keras.Input((8,)), *layers, keras.layers.Dense(3)])

def load():
    x = np.random.default_rng(0).normal(size=(60, 8)).astype("float32")
    return (x, np.arange(60) % 3), (x, np.arange(60) % 3)

def broken():
    raise RuntimeError("no network here")
"""


def test_diagnose_takes_a_network_and_data_of_ones_own(capfd, tmp_path, monkeypatch):
    (tmp_path / "own.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    flags = ["--data", "own.py:load", "--examples", "20", "--json"]
    code, out, _ = run(capfd, "diagnose", "own.py:build", *flags)
    found = json.loads(out)
    assert (code, found["examples"], found["start"]["classes"]) == (0, 20, 3)
    assert [layer["layer"] for layer in found["layers"][:2]] == ["fc0", "fc1"]
    other = json.loads(run(capfd, "diagnose", "own.py:build", *flags, "--seed", "1")[1])
    assert other["loss"] != found["loss"]
    code, out, err = run(capfd, "diagnose", "own.py:broken")
    assert (code, out) == (2, "")
    assert "MODEL 'own.py:broken'" in err and "no network here" in err


WITH_DATA = """
import keras
import numpy as np

def build():
    x = np.random.default_rng(0).normal(size=(60, 8)).astype("float32")
    y = np.repeat([0, 1, 2], 20)  # in a row
    zeros = dict(kernel_initializer="zeros")
    layers = [keras.layers.Dense(16, "relu", **zeros) for n in range(2)]
    net = keras.Sequential([keras.Input((8,)), *layers, keras.layers.Dense(3)])
    net.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return net, x, y

def without_targets():
    net, x, _ = build()
    return net, x
"""


def test_diagnose_takes_the_data_beside_a_network_and_says_the_lines_to_change(
    capfd, tmp_path, monkeypatch
):
    (tmp_path / "own.py").write_text(WITH_DATA)
    monkeypatch.chdir(tmp_path)
    code, out, _ = run(capfd, "diagnose", "own.py:build", "--examples", "30", "--fix")
    assert code == 3 and (tmp_path / "own.py").read_text() == WITH_DATA
    diff = out[out.index("--- own.py\n+++ own.py\n") :]
    assert '\n+    tfinit.initialize(net, "he")\n     return net, x, y\n' in diff
    assert "\n import numpy as np\n+import tfinit\n" in diff
    assert "\nWith these lines: Healthy: " in diff
    code, out, _ = run(capfd, "diagnose", "own.py:build", "--fix", "--json")
    found = json.loads(out)
    assert (code, found["healthy"], found["fix"]["after"]["healthy"]) == (3, False, True)
    assert (found["examples"], found["start"]["classes"], found["fix"]["left"]) == (60, 3, [])
    code, out, err = run(capfd, "diagnose", "own.py:without_targets", "--loss", "mse")
    assert (code, out) == (2, "")
    assert "--loss needs targets: the function returns none." in err


def test_diagnose_as_json(capfd, models):
    data = str(models / "data.npz")
    code, out, err = run(capfd, "diagnose", str(models / "bad.keras"), "--data", data, "--json")
    assert code == 3
    assert err.startswith("device: ") and err.count("\n") == 1
    found = json.loads(out)
    assert not found["healthy"]
    assert (found["examples"], found["start"]["classes"]) == (64, 3)
    assert found["findings"][0]["kind"] == "twins"
    assert [layer["layer"] for layer in found["layers"]] == ["fc1", "fc2", "fc3", "fc4", "out"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["missing.keras"], ["MODEL", "missing.keras", "does not exist"]),
        (["data.npz"], ["MODEL", "cannot be loaded"]),
        (["code.keras"], ["code.keras", "Lambda", "--allow-lambda"]),
        (["good.keras", "--data", "other.npz"], ["data", "'x'", "['z']"]),
        (["good.keras", "--data", "good.keras"], ["data", "array"]),
        (["good.keras", "--data", "x.npy", "--loss", "mse"], ["loss", "no array 'y'"]),
        (["good.keras", "--fix"], ["--fix", "'good.keras'", "file.py:build"]),
        (["good.keras", "--examples", "1"], ["examples", "at least 2", "1"]),
        (["good.keras", "--plot", "out.pdf"], ["plot", ".png", "out.pdf"]),
        (["good.keras", "--plot", "data.npz/out.png"], ["plot", "Not a directory"]),
        (["pipe.keras"], ["MODEL", "pipe.keras", "something else than a file"]),
        (["n" * 300], ["MODEL", "does not exist"]),
        (["good.keras", "--data", "pipe.keras"], ["data", "something else than a file"]),
    ],
)
def test_diagnose_refuses_in_one_line(capfd, models, monkeypatch, arguments, words):
    monkeypatch.chdir(models)
    code, out, err = run(capfd, "diagnose", *arguments)
    assert (code, out) == (2, "")
    lines = [line for line in err.splitlines() if line]
    assert len(lines) == 1, err
    for word in words:
        assert word in lines[0]


def test_diagnose_runs_code_in_a_file_only_when_told(capfd, models):
    code, _, _ = run(capfd, "diagnose", str(models / "code.keras"), "--allow-lambda")
    assert code == 0
