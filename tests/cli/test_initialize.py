"""`tfinit initialize` and `tfinit recommend`: a saved model, or a function's, with new weights."""

import json

import keras
import numpy as np
import pytest

import tfinit
from tfinit.cli import main


def run(capfd, *arguments):
    """Exit code and the two outputs of ``tfinit`` with some arguments."""
    try:
        main([*map(str, arguments)])
        code = 0
    except SystemExit as stop:
        code = stop.code
    out, err = capfd.readouterr()
    return code, out, err


def network():
    dense = [
        keras.layers.Dense(16, "relu", name="first"),
        keras.layers.Dense(10, name="last", bias_initializer="ones"),
    ]
    model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), *dense])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A model that has been trained for a step."""
    model = network()
    model.fit(np.ones((4, 8, 8, 1)), np.zeros(4), verbose=0)
    path = tmp_path_factory.mktemp("initialize") / "model.keras"
    model.save(path)
    return path


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")  # tables are not folded
    monkeypatch.chdir(tmp_path)
    return tmp_path


def weights_of(path):
    return [weight.numpy() for weight in keras.saving.load_model(path).weights]


def all_equal(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_scheme_draws_what_it_draws_in_python(capfd, here, saved):
    code, out, err = run(capfd, "initialize", saved, "he", "--out", "he.keras", "--seed", 3)
    model = keras.saving.load_model(saved)
    report = tfinit.initialize(model, "he", seed=3)
    assert (code, out) == (0, f"{report}\nModel: he.keras\n")
    assert all_equal(weights_of("he.keras"), [w.numpy() for w in model.weights])
    assert err.startswith("device: ") and err.count("\n") == 1


def test_the_optimizer_begins_anew_with_the_weights(capfd, here, saved):
    assert keras.saving.load_model(saved).optimizer.iterations.numpy() == 1
    assert run(capfd, "initialize", saved, "he", "--out", "he.keras")[0] == 0
    optimizer = keras.saving.load_model("he.keras").optimizer
    assert isinstance(optimizer, keras.optimizers.Adam)
    assert optimizer.iterations.numpy() == 0


def test_schemes_that_look_at_data_and_at_targets(capfd, here, saved):
    flags = ["--data", "digits", "--examples", 100]
    code, out, _ = run(capfd, "initialize", saved, "lsuv", *flags, "--out", "lsuv.keras")
    assert code == 0 and "lsuv: 2 of 2 weights initialized" in out
    x = tfinit.saved_data.read_data("digits").first(100)[0]
    z = x.reshape(100, -1) @ weights_of("lsuv.keras")[0]
    assert np.std(z) == pytest.approx(1, abs=0.05)
    code, out, _ = run(capfd, "initialize", saved, "output_bias", *flags, "--json")
    told = json.loads(out)
    assert (code, told["scheme"], told["file"]) == (0, "output_bias", "initialized.keras")
    assert run(capfd, "initialize", saved, "lsuv")[::2] == (
        2,
        "tfinit: --out 'initialized.keras' is there already. Choose another, or add --overwrite.\n",
    )


def test_options_numbers_and_models(capfd, here, saved):
    flags = ["--out", "a.keras", "--options"]
    code, out, _ = run(capfd, "initialize", saved, "lecun", *flags, "gain=2", "mode=fan_out")
    model = keras.saving.load_model(saved)
    told = str(tfinit.initialize(model, "lecun", gain=2, mode="fan_out", seed=0))
    assert (code, out) == (0, f"{told}\nModel: a.keras\n")
    flags = ["--overwrite", *flags]
    code, out, _ = run(capfd, "initialize", saved, "pretrained", *flags, f"source={saved}")
    assert code == 0 and all_equal(weights_of("a.keras"), weights_of(saved))
    code, out, _ = run(capfd, "initialize", saved, "mup", *flags, f"base={saved}")
    assert code == 0 and "mup: 2 of 2 weights initialized" in out


def test_a_function_that_returns_data_beside_its_model(capfd, here):
    (here / "own.py").write_text(
        "import keras, numpy as np\n"
        "def build(seed):\n"
        "    net = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name=str(seed))])\n"
        "    return net, np.random.default_rng(0).normal(size=(50, 4))\n"
    )
    flags = ["--out", "out.keras", "--overwrite", "--seed", "7"]
    for scheme in ("lsuv", "he"):  # which looks at no data
        code, out, _ = run(capfd, "initialize", "own.py:build", scheme, *flags)
        assert code == 0 and "\n7/kernel " in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["initialize", "model.keras", "he", "--out", "a.h5"], "--out must end in .keras"),
        (["initialize", "model.keras", "he", "--options", "gain"], "--options must be as gain=1.5"),
        (["initialize", "model.keras", "he", "--options", "gian=1"], "received ['gian']"),
        (["initialize", "model.keras", "he", "--out", "/proc/a.keras"], "--out '/proc/a.keras' c"),
        (["initialize", "model.keras", "lsuv"], "Scheme 'lsuv' needs --data: pass a batch"),
        (["initialize", "model.keras", "lsuv", "--data", "moons"], "--data has shape (256, 2), "),
        (["initialize", "model.keras", "lsuv", "--data", "no.npz"], "--data must be digits, mnist"),
        (["initialize", "model.keras", "fixup"], "Scheme 'fixup' needs a residual network"),
        (["initialize", "none.keras", "he"], "MODEL 'none.keras' does not exist"),
        (["recommend", "model.keras", "--seed", "0"], "--seed is of what is written: name the"),
        (["recommend", "model.keras", "--code", "--json"], "--code is printed alone"),
        (["recommend", "model.keras", "--apply", "model.keras"], "--apply 'model.keras' is there"),
        (["recommend", "model.keras", "--apply", "a.keras", "--only", "b"], "--only must be among"),
    ],
)
def test_what_cannot_be_is_one_line_and_nothing_is_written(capfd, here, saved, arguments, words):
    (here / "model.keras").write_bytes(saved.read_bytes())
    code, out, err = run(capfd, *arguments)
    lines = [line for line in err.splitlines() if not line.startswith("device: ")]
    assert (code, out, len(lines)) == (2, "", 1) and words in lines[0], err
    assert [path.name for path in here.iterdir()] == ["model.keras"]
    assert (here / "model.keras").read_bytes() == saved.read_bytes()


def test_a_recommendation_is_printed_and_applied(capfd, here, saved):
    model = keras.saving.load_model(saved)
    advice = tfinit.recommend(model)
    assert run(capfd, "recommend", saved)[:2] == (0, f"{advice}\n")
    assert run(capfd, "recommend", saved, "--code")[:2] == (0, f"{advice.code}\n")
    told = json.loads(run(capfd, "recommend", saved, "--json")[1])
    assert told == json.loads(json.dumps(advice.to_dict() | {"file": None}))
    assert [*here.iterdir()] == []
    flags = ["--apply", "out.keras", "--only", "first/kernel", "--seed", "2"]
    code, out, _ = run(capfd, "recommend", saved, *flags)
    report = advice.apply(seed=2, only="first/kernel")
    assert (code, out) == (0, f"{report}\nModel: out.keras\n")
    assert all_equal(weights_of("out.keras"), [w.numpy() for w in model.weights])
    flags = ["--apply", "out.keras", "--overwrite", "--bias", "0.5"]
    assert run(capfd, "recommend", saved, *flags)[0] == 0
    assert set(weights_of("out.keras")[3]) == {0.5}
