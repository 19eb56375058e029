"""Parts that are a user's own: saved by name and fingerprint; a run goes on with the same."""

import dataclasses
import functools
import json
import re
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
from bare_runs import measure_stability, run

from tfinit import datasets
from tfinit.errors import InputError
from tfinit.lottery import LotteryConfig, StabilityConfig, load
from tfinit.lottery.controls import CONTROLS, Control
from tfinit.lottery.own_parts import OwnPart, fingerprint
from tfinit.pruning import Score
from tfinit.pruning.scoring.scores import SCORES, Formula, register

X, Y = np.random.default_rng(0).random((40, 4), np.float32), np.arange(40) % 2
DATA = datasets.from_arrays((X, Y), (X, Y), name="noise")
SMALL = {"model": "mlp-2-relu", "steps": 2, "evaluate_every": 2, "batch_size": 4, "levels": 1}
SMALL |= {"seeds": (0,), "controls": ()}
FACTOR = 2
# On PyTorch it is `fit` that trains.
pytestmark = pytest.mark.filterwarnings("ignore:Training with fit:tfinit.errors.TfinitWarning")


class Powers(Score):
    """|w|ᵖ."""

    def __init__(self, power=2):
        self.power = power

    def __call__(self, weights):
        return abs(weights) ** self.power


class Holds:
    """An object that is no Score."""

    def __init__(self, factor):
        self.factor = factor

    def __call__(self, weights):
        return self.factor * abs(weights)


@dataclasses.dataclass
class Fields:
    factor: float = 1.0

    def __call__(self, weights):
        return self.factor * abs(weights)


def helper(weights):
    return FACTOR * abs(weights)


def calls_a_helper(weights):
    return helper(weights)


def closed(factor):
    def score(weights):
        return factor * abs(weights)

    return score


def kept(table):
    return lambda key, shape, sparsity: table[key]


@pytest.mark.parametrize(
    ("one", "same", "others"),
    [
        (closed(2), closed(2), [closed(3), closed(2.0), closed("2")]),
        (kept({"a": 0.5}), kept({"a": 0.5}), [kept({"a": 0.25}), kept({"b": 0.5}), kept([0.5])]),
        (kept(np.ones(3)), kept(np.ones(3)), [kept(np.zeros(3)), kept(np.ones((3, 1)))]),
        (closed(closed(2)), closed(closed(2)), [closed(closed(3)), closed(helper)]),
        (functools.partial(pow, 2), functools.partial(pow, 2), [functools.partial(pow, 3)]),
        (Powers(2), Powers(2), [Powers(3), Holds(2)]),
        (Holds(2).__call__, Holds(2).__call__, [Holds(3).__call__, Holds(2)]),
        (Fields(), Fields(1.0), [Fields(2.0)]),
        (lambda w: w, lambda w: w, [lambda w: -w, lambda v: v]),
        (keras.initializers.HeNormal(), keras.initializers.HeNormal(), [keras.initializers.Ones()]),
        (Formula(closed(2)), Formula(closed(2)), [Formula(closed(3))]),
    ],
    ids=lambda part: "",
)
def test_the_same_source_and_values_are_the_same_part_and_others_are_not(one, same, others):
    digests = [fingerprint(part).digest for part in (one, *others)]
    assert len(set(digests)) == len(digests)
    assert fingerprint(same) == fingerprint(one)


def test_a_function_changes_with_the_functions_and_numbers_of_its_module_that_it_uses(monkeypatch):
    before = fingerprint(calls_a_helper)
    monkeypatch.setitem(globals(), "FACTOR", 3)
    after = fingerprint(calls_a_helper)
    monkeypatch.setitem(globals(), "helper", closed(2))
    assert len({before, after, fingerprint(calls_a_helper)}) == 3
    monkeypatch.undo()
    assert fingerprint(calls_a_helper) == before == fingerprint(calls_a_helper)
    assert before.by == "source"


def test_it_is_the_same_in_every_process_and_wherever_the_function_stands(tmp_path):
    """But for what is written on the command line, of which the source is not known."""
    part = "def part(weights):\n    return abs(weights)  # |w|\n"
    end = "from tfinit.lottery.own_parts import fingerprint\nprint(repr(fingerprint(part)))\n"
    programs = [
        part + end,
        f"import numpy\n\n\nif True:\n    {part.replace('    ', '        ')}{end}",
    ]
    said = []
    for n, text in enumerate(programs):
        (tmp_path / f"{n}.py").write_text(text)
        said.append(subprocess.check_output([sys.executable, tmp_path / f"{n}.py"], text=True))
    assert said[0] == said[1] and "'part' (SHA-256 of its source " in said[0]
    unknown = [sys.executable, "-c", part + end]
    assert "of its bytecode of Python 3." in subprocess.check_output(unknown, text=True)


def test_a_file_that_was_changed_since_it_was_imported_is_not_taken_for_what_runs(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("def part(weights):\n    return weights\n")
    namespace = {}
    exec(compile(path.read_text(), str(path), "exec"), namespace)
    path.write_text("def part(weights):\n    return -weights\n")
    assert fingerprint(namespace["part"]).by.startswith("bytecode")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run by parts of which Keras knows none."""
    config = LotteryConfig(
        **SMALL,
        score=Powers(3),
        allocation=kept({"fc1/kernel": 0.5, "output/kernel": 0.25}),
        run_dir=tmp_path_factory.mktemp("own") / "r",
    )
    return config, run(config, progress=None, data=DATA)


def files(directory):
    return {
        p: (p.read_bytes(), p.stat().st_mtime_ns)
        for p in directory.rglob("*")
        if p.is_file() and p.name != ".lock"
    }


@pytest.mark.backends
def test_a_run_goes_on_with_the_same_part(whole):
    config, results = whole
    assert [r.alive for r in results] == [
        {"fc1/kernel": 256, "output/kernel": 128},
        {"fc1/kernel": 128, "output/kernel": 96},
    ]
    before = files(config.run_dir)
    again = dataclasses.replace(
        config, score=Powers(3), allocation=kept({"fc1/kernel": 0.5, "output/kernel": 0.25})
    )
    assert len(run(again, progress=None, data=DATA)) == 2
    assert files(config.run_dir) == before


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"score": Powers(2)},
            r"score \(there 'Powers' \(SHA-256 of its configuration \w+…\), asked 'Powers' \(SHA",
        ),
        ({"score": "magnitude"}, r"score \(there 'Powers' \(.*\), asked 'magnitude'\)"),
        (
            {"allocation": kept({"fc1/kernel": 0.5, "output/kernel": 0.5})},
            r"allocation \(there '<lambda>' \(SHA-256 of its source \w+…\), asked '<lambda>' \(SHA",
        ),
    ],
)
def test_with_another_part_it_does_not_go_on_and_says_what_differs(whole, changes, says):
    config, _ = whole
    before = files(config.run_dir)
    with pytest.raises(InputError, match=f"holds another experiment; differing: {says}"):
        run(dataclasses.replace(config, **changes), progress=None, data=DATA)
    assert files(config.run_dir) == before


def test_what_a_directory_has_of_it_is_a_name_which_cannot_be_trained_by(whole):
    config, _ = whole
    text = (config.run_dir / "config.json").read_text()
    read = LotteryConfig.from_json(text, config.run_dir)
    assert isinstance(read.score, OwnPart) and read.score.name == "Powers"
    assert read.own_parts() == config.own_parts()
    assert read.identity() == config.identity()
    assert json.loads(read.to_json()) == json.loads(config.to_json())
    with pytest.raises(InputError, match=r"`score` is 'Powers' \(SHA.*Give the part itself"):
        run(read, progress=None, data=DATA)


@keras.saving.register_keras_serializable("tests_own_parts")
class Registered(Powers):
    def get_config(self):
        return {"power": self.power}


def test_what_keras_has_registered_is_compared_too_and_earlier_directories_take_what_is_there(
    tmp_path,
):
    config = LotteryConfig(**SMALL, score=Registered(3), run_dir=tmp_path / "r")
    identity = config.identity()
    run(config, progress=None, data=DATA)
    path = config.run_dir / "config.json"
    values = json.loads(path.read_text())
    assert values["score"]["function"]["config"] == {"power": 3}
    noted = values.pop("own_parts")
    # As the same class with another source would have it.
    other = {"score": noted["score"] | {"sha256": "0" * 64}}
    path.write_text(json.dumps(values | {"own_parts": other}))
    with pytest.raises(InputError, match=r"score \(there 'Registered' \(SHA-256 .* 000000000000…"):
        run(config, progress=None, data=DATA)
    path.write_text(json.dumps(values))
    run(config, progress=None, data=DATA)
    assert json.loads(path.read_text())["own_parts"] == noted
    assert LotteryConfig.from_json(json.dumps(values), tmp_path).identity() == identity


def test_what_is_registered_by_name_counts_as_well(tmp_path):
    try:
        register(Formula(lambda weights: weights**2, "energy"))
        config = LotteryConfig(
            **SMALL | {"controls": ("energy-shuffle",)}, score="energy", run_dir=tmp_path / "r"
        )
        run(config, progress=None, data=DATA)
        SCORES["energy"] = Formula(lambda weights: weights**4, "energy")
        other = dataclasses.replace(config)
        with pytest.raises(
            InputError, match=r"score \(there 'energy' .*control energy \(there 'en"
        ):
            run(other, progress=None, data=DATA)
    finally:
        del SCORES["energy"]


def doubled(own, other, keys):
    return {key: 2 * w if key in keys else w for key, w in own.items()}


def made_smaller(own, other, keys):
    return {key: w / 2 if key in keys else w for key, w in own.items()}


@pytest.fixture
def no_controls():
    yield
    for name in ("scaled", "scaled-too"):
        CONTROLS.pop(name, None)


def test_a_control_may_be_given_itself(no_controls, tmp_path):
    control = Control("scaled", "twice", "all weights doubled", weights=doubled)
    also = Control("scaled-too", "twice", "the same", weights="scaled")
    config = LotteryConfig(**SMALL | {"controls": (control,)}, run_dir=tmp_path / "r")
    assert config.controls == ("scaled",)
    results = run(config, progress=None, data=DATA)
    ticket, mine = results[-2:]
    assert mine.branch == "scaled"
    for key in mine.mask:
        np.testing.assert_array_equal(mine.rewind[key], 2 * ticket.rewind[key])
    # The same again, as a notebook makes it; with another description, and beside another.
    same = dataclasses.replace(control, description="others")
    larger = dataclasses.replace(config, controls=(same, also))
    assert len(run(larger, progress=None, data=DATA)) == 4
    with pytest.raises(InputError, match=r"`controls` has 'scaled', and there is another control"):
        dataclasses.replace(config, controls=(dataclasses.replace(control, late=False),))
    CONTROLS["scaled"] = dataclasses.replace(control, weights=made_smaller)
    with pytest.raises(InputError, match=r"differing: control scaled.* \(there 'scaled"):
        run(dataclasses.replace(larger), progress=None, data=DATA)


class Steps(keras.initializers.Initializer):
    """0, s, 2s, …"""

    def __init__(self, step=0.01):
        self.step = step

    def __call__(self, shape, dtype=None):
        return keras.ops.reshape(
            self.step * keras.ops.arange(np.prod(shape), dtype="float32"), shape
        )

    def get_config(self):
        return {"step": self.step}


def all_of_the_seed(model, x, seed):
    for layer in model.layers:
        for weight in layer.weights:
            weight.assign(keras.ops.full(weight.shape, seed + len(x) / 1000))


@pytest.mark.backends
def test_the_initialization_may_be_an_initializer_or_a_function(tmp_path):
    config = LotteryConfig(
        **SMALL | {"controls": ("reinit",)}, initialization=Steps(), run_dir=tmp_path / "r"
    )
    results = run(config, progress=None, data=DATA)
    kernel = results[0].initial["output/kernel"]
    np.testing.assert_allclose(kernel.ravel(), 0.01 * np.arange(128), rtol=1e-6)
    assert len(run(dataclasses.replace(config), progress=None, data=DATA)) == 3
    with pytest.raises(InputError, match=r"initialization \(there 'Steps' \(SHA.*asked 'Steps'"):
        run(dataclasses.replace(config, initialization=Steps(0.1)), progress=None, data=DATA)
    line = StabilityConfig(
        **{name: SMALL[name] for name in SMALL if name not in ("levels", "controls")},
        initialization=all_of_the_seed,
        spawn_steps=(0,),
        points=3,
        run_dir=tmp_path / "line",
    )
    measure_stability(dataclasses.replace(line, seeds=(3,)), progress=None, data=DATA)
    initial = dict(np.load(tmp_path / "line/seed-3/trunk/initial.npz"))
    weights = [value for name, value in initial.items() if name.startswith("initial/")]
    assert len(weights) == 4 and all(np.allclose(w, 3.036) for w in weights)
    loaded = load(line.run_dir)
    assert loaded.finished and loaded.config.initialization.name == "all_of_the_seed"


def test_an_initialization_that_raises_is_named(tmp_path):
    config = LotteryConfig(
        **SMALL, initialization=lambda model, x, seed: 1 // 0, run_dir=tmp_path / "r"
    )
    with pytest.raises(InputError, match=r"`initialization` '<lambda>' raises ZeroDivisionError: "):
        run(config, progress=None, data=DATA)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (Steps, r"received the class Steps\. Make one: Steps\(\)"),
        (3, "received 3"),
        (lambda model: None, "It takes others: too many positional arguments"),
    ],
)
def test_what_is_no_initialization_is_refused(value, says):
    with pytest.raises(InputError, match=rf"`initialization` must be a name, an init.*{says}"):
        LotteryConfig(initialization=value)


def test_its_file_may_not_be_anything(whole, tmp_path):
    place = shutil.copytree(whole[0].run_dir, tmp_path / "r")
    config = dataclasses.replace(whole[0], run_dir=place)
    values = json.loads((place / "config.json").read_text())
    for field, damaged in (
        ("score", {"own": "Powers"}),
        ("score", {"own": 1, "by": "source", "sha256": ""}),
        ("own_parts", []),
        ("own_parts", {"score": {"own": "Powers", "by": "source"}}),
    ):
        (place / "config.json").write_text(json.dumps(values | {field: damaged}))
        with pytest.raises(InputError, match=r"config\.json cannot be read") as error:
            run(config, progress=None, data=DATA)
        assert "\n" not in str(error.value)


def test_the_block_of_the_docs_is_an_experiment(pytestconfig):
    docs = (pytestconfig.rootpath / "docs/lottery.md").read_text(encoding="utf-8")
    [block] = [b for b in re.findall(r"^```python\n(.*?)^```", docs, re.M | re.S) if "halved" in b]
    namespace = {}
    try:
        exec(compile(block, "lottery.md", "exec"), namespace)
        parts = namespace["config"].own_parts()
    finally:
        CONTROLS.pop("halved", None)
    assert {which: part.name for which, part in parts.items()} == {
        "score": "<lambda>",
        "allocation": "<lambda>",
        "control halved": "halved",
    }
