"""Experiments on networks that are not tfinit's, from Python and by command."""

import dataclasses
import json
import re

import keras
import numpy as np
import pytest
from bare_runs import measure_stability, run

from tfinit.cli import main
from tfinit.errors import InputError, TfinitWarning
from tfinit.lottery import LotteryConfig, StabilityConfig, compare_initializations
from tfinit.lottery.config import REINIT_SEED
from tfinit.lottery.frameworks import framework_of
from tfinit.lottery.made_networks import Networks, network_of
from tfinit.model_builders import builder_of
from tfinit.splits import from_arrays

L = keras.layers
X = np.random.default_rng(0).normal(size=(60, 4)).astype("float32")
Y = (X[:, 0] > 0).astype("int32") + (X[:, 1] > 0)
CLASSES = from_arrays((X, Y), (X, Y), (X, Y))
SIZES = from_arrays(*(((X, X @ np.ones((4, 1), "float32")),) * 3))
TWO = from_arrays(*(((X, {"kind": Y, "size": X[:, :1]}),) * 3))
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def small(path, cls=LotteryConfig, **changes):
    given = {"steps": 6, "batch_size": 10, "evaluate_every": 3, "seeds": (0,), "run_dir": path}
    given |= {"levels": 2} if cls is LotteryConfig else {"spawn_steps": (0, 2), "points": 3}
    return cls(**{**given, **changes})


def dense(seed):
    """Weights of a seed, a frozen layer, a falling rate, averages and clipping of its own."""
    keras.utils.set_random_seed(seed)
    x = inputs = keras.Input((4,))
    x = L.Dense(6, "relu", name="frozen", trainable=False)(x)
    x = L.Dropout(0.2)(L.Dense(6, "relu")(x))
    model = keras.Model(inputs, L.Dense(3, kernel_regularizer="l2")(x))
    rate = keras.optimizers.schedules.ExponentialDecay(0.1, 2, 0.5)
    model.compile(
        keras.optimizers.Adam(rate, use_ema=True, clipnorm=1.0), LOSS, metrics=["accuracy"]
    )
    return model


def unseeded():
    return dense(7)


def two_outputs():
    x = L.Dense(6, "relu", name="body")(inputs := keras.Input((4,)))
    outputs = {"kind": L.Dense(3, name="kind")(x), "size": L.Dense(1, name="size")(x)}
    model = keras.Model(inputs, outputs)
    losses = {"kind": LOSS, "size": "mse"}
    weights = {"kind": 1.0, "size": 0.5}
    model.compile("adam", losses, loss_weights=weights, metrics={"size": ["mae"]})
    return model


class Penalized(L.Layer):
    def call(self, x):
        self.add_loss(0.1 * keras.ops.mean(x**2))
        return x


def with_losses():
    layers = [keras.Input((4,)), L.Dense(5, "tanh"), Penalized(), L.Dense(1)]
    model = keras.Sequential(layers)
    model.compile(keras.optimizers.SGD(0.05, gradient_accumulation_steps=2), "mae")
    return model


class Stepped(keras.Model):
    """Counts its steps, and trains by the loss times two."""

    def __init__(self):
        super().__init__()
        self.first, self.last = L.Dense(5, "relu"), L.Dense(3)

    def call(self, x):
        return self.last(self.first(x))

    def compute_loss(self, *args, **kwargs):
        return 2 * super().compute_loss(*args, **kwargs)

    def train_step(self, *args):
        return super().train_step(*args)


def subclassed():
    model = Stepped()
    model(X[:1])
    model.compile("sgd", LOSS)
    return model


def files(path):
    kept = {p for p in path.rglob("*") if p.is_file() and p.name != ".lock"}
    return {str(p.relative_to(path)): p.read_bytes() for p in kept}


# What a seed means.


def test_a_builder_with_a_seed_makes_the_weights_of_each_seed(tmp_path):
    networks = Networks(small(tmp_path), CLASSES, builder_of(dense))
    for seed in (0, 5, REINIT_SEED):
        made = dense(seed).get_weights()
        for one, other in zip(made, networks.initial(seed).values(), strict=True):
            np.testing.assert_array_equal(one, other)


def test_without_a_seed_trainable_kernels_are_drawn_and_all_else_is_as_built(tmp_path):
    given = unseeded()
    biases = [np.random.default_rng(1).normal(size=b.shape) for b in given.weights[1::2]]

    def build():
        model = unseeded()
        for bias, value in zip(model.weights[1::2], biases, strict=True):
            bias.assign(value)
        return model

    build().save(tmp_path / "net.keras")
    for own in (build, str(tmp_path / "net.keras")):
        made = [Networks(small(tmp_path), CLASSES, builder_of(own)) for _ in range(2)]
        one, again = made[0].initial(1), made[1].initial(1)
        other = made[0].initial(2)
        assert list(one) == ["frozen/kernel", "frozen/bias"] + [
            f"{layer}/{name}" for layer in ("dense", "dense_1") for name in ("kernel", "bias")
        ]
        for key, value in one.items():
            np.testing.assert_array_equal(value, again[key])
            drawn = key in ("dense/kernel", "dense_1/kernel")
            assert np.array_equal(value, other[key]) != drawn
        np.testing.assert_array_equal(one["frozen/kernel"], given.get_layer("frozen").kernel)
        np.testing.assert_array_equal(one["dense/bias"], biases[1].astype("float32"))


def test_what_a_builder_draws_without_its_seed_is_the_same_in_every_process():
    class Positions(L.Layer):
        def build(self, shape):
            self.vectors = self.add_weight(shape=shape[1:], initializer="random_normal")

        def call(self, x):
            return x + self.vectors

    def build(seed=0):
        model = keras.Sequential([keras.Input((4,)), Positions(), L.Dense(3)])
        model.compile("sgd", LOSS)
        return model

    state = np.random.get_state()[1].tolist()
    builder = builder_of(build)
    builder.check([0, 1])
    one, other, again = (builder.model(seed).get_weights()[0] for seed in (3, 4, 3))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)
    assert np.random.get_state()[1].tolist() == state


# Experiments.


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "r"
    config = small(path, controls=("reinit", "one-shot", "snip", "lr-rewind"), rewind_step=2)
    results = run(config, build_model=dense, data=CLASSES)
    return path, config, results


def test_a_whole_experiment_prunes_what_is_trainable(whole):
    _, _, results = whole
    assert len(results) == 1 + 2 * 5
    for result in results:
        assert list(result.mask) == ["dense/kernel", "dense_1/kernel"]
        assert result.diverged_at is None
        np.testing.assert_array_equal(result.final["frozen/kernel"], result.rewind["frozen/kernel"])
        for key, mask in result.mask.items():
            assert (result.final[key][~mask] == 0).all() and (result.final[key][mask] != 0).all()
    # 36 · 0.8 and 18 · 0.9, the output's own fraction.
    assert {r.survivors for r in results if r.level == 1} == {29 + 16}


@pytest.mark.parametrize("after", [4, 6 + 4 + 4])
def test_left_in_the_middle_it_goes_on_to_the_same_bits(whole, tmp_path, after):
    path, config, _ = whole
    config = dataclasses.replace(config, run_dir=tmp_path / "r")
    told = []

    def progress(done):
        told.append(done)
        if sum(told) >= after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(config, progress, build_model=dense, data=CLASSES, checkpoint_every=0)
    assert len(list(tmp_path.rglob("partial-*.npz"))) == 1
    unseeded()  # Keras's automatic names count on
    run(config, build_model=dense, data=CLASSES)
    assert files(tmp_path / "r") == files(path)


def test_its_schedule_goes_on_at_the_step_that_a_training_begins_at(tmp_path):
    framework = framework_of(small(tmp_path), CLASSES, builder_of(dense))
    schedule = framework._model.optimizer.inner_optimizer._learning_rate
    rates = []
    for step in (0, 4, 0):
        framework._rate.begin_at(step)
        rates.append(float(schedule(0)))
    np.testing.assert_allclose(rates, [0.1, 0.025, 0.1], rtol=1e-6)


def test_two_outputs_have_the_fraction_of_outputs(tmp_path):
    config = small(tmp_path / "r", metric="size_mae", output_prune_fraction=0.5, controls=("snip",))
    results = run(config, build_model=two_outputs, data=TWO)
    assert {key: alive for key, (alive, _) in results[1].counts.items()} == {
        "body/kernel": 19,  # 24 · 0.8
        "kind/kernel": 9,
        "size/kernel": 3,
    }
    assert results[1].metrics.values["test_size_mae"].shape == (3,)


def test_losses_of_layers_and_accumulated_gradients(tmp_path):
    results = run(small(tmp_path / "r", controls=("snip",)), build_model=with_losses, data=SIZES)
    assert results[-1].survivors == 13 + 5
    losses = results[0].metrics.values["test_loss"]
    assert losses[-1] < losses[0]


def test_a_train_step_of_its_own_is_called_by_fit(tmp_path):
    with pytest.warns(TfinitWarning, match="train_step of its own"):
        config = small(tmp_path / "r", rewind_step=1, controls=("reinit", "snip"))
        results = run(config, build_model=subclassed, data=CLASSES)
    assert len(results) == 7
    assert (tmp_path / "r/seed-0/ticket/rewind.npz").exists()


def test_stability_and_the_comparison_of_initializations(tmp_path):
    config = small(tmp_path / "line", StabilityConfig)
    results = measure_stability(config, build_model=unseeded, data=CLASSES)
    assert [r.k for r in results] == [0, 2]
    config = small(tmp_path / "inits", levels=1, controls=())
    found = compare_initializations(
        config, ["published", "lsuv"], False, data=CLASSES, build_model=dense, reports=False
    )
    first = {name: results[0].initial for name, results in found.items()}
    np.testing.assert_array_equal(first["published"]["dense/kernel"], dense(0).weights[2])
    frozen = [weights["frozen/kernel"] for weights in first.values()]
    assert all(np.array_equal(frozen[0], other) for other in frozen)
    assert len({w["dense/kernel"].tobytes() for w in first.values()}) == 2


def test_tf_keras_goes_through_tfmot(tmp_path):
    tf_keras = pytest.importorskip("tf_keras")

    def build(seed):
        tf_keras.utils.set_random_seed(seed)
        layers = [tf_keras.layers.Dense(6, "relu", input_shape=(4,)), tf_keras.layers.Dense(3)]
        model = tf_keras.Sequential(layers)
        loss = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(tf_keras.optimizers.Adam(0.05), loss)
        return model

    results = run(small(tmp_path / "r"), build_model=build, data=CLASSES)
    assert json.loads((tmp_path / "r/config.json").read_text())["keras"] == "tf_keras"
    assert [r.survivors for r in results if r.branch == "ticket"] == [24 + 18, 19 + 16, 15 + 14]
    np.testing.assert_array_equal(results[0].initial["dense/kernel"], build(0).weights[0])


# What identifies a network.


def test_another_network_in_the_directory_is_refused_with_what_differs(whole, tmp_path):
    path, config, _ = whole
    before = files(path)

    def changed(**changes):
        def build(seed):
            model = dense(seed)
            model.compile(**{"optimizer": model.optimizer, "loss": LOSS, **changes})
            return model

        return build

    def wider():
        model = keras.Sequential([keras.Input((4,)), L.Dense(7), L.Dense(3)])
        model.compile("sgd", LOSS)
        return model

    for build, said in (
        (wider, "dense/kernel: float32 .6, 6. there, float32 .4, 7. now"),
        (changed(loss_weights=[2.0]), "loss_weights"),
        (changed(optimizer=keras.optimizers.SGD(0.1)), "optimizer class: Adam there, SGD now"),
    ):
        with pytest.raises(InputError, match=f"of another network; differing: .*{said}"):
            run(config, build_model=build, data=CLASSES)
    assert files(path) == before


def test_it_is_the_same_network_wherever_its_builder_is(whole, tmp_path):
    path, config, results = whole
    before = files(path)

    def elsewhere(seed):
        return dense(seed)

    assert len(run(config, build_model=elsewhere, data=CLASSES)) == len(results)
    after = files(path)
    assert before.pop("config.json") != after.pop("config.json")  # the name of the builder
    assert before == after


# What cannot be done.


def _model(**compiled):
    model = keras.Sequential([keras.Input((4,)), L.Dense(3)])
    if compiled:
        model.compile(**compiled)
    return model


def _raises():
    raise KeyError("no such thing")


def _unbuilt():
    model = keras.Sequential([L.Dense(3)])
    model.compile("sgd", LOSS)
    return model


def _deeper(seed):
    layers = [keras.Input((4,)), *(L.Dense(4) for _ in range(seed % 2 + 1)), L.Dense(3)]
    model = keras.Sequential(layers)
    model.compile("sgd", LOSS)
    return model


def _other_rates(seed):
    model = keras.Sequential([keras.Input((4,)), L.Dropout(0.1 * (1 + seed % 3)), L.Dense(3)])
    model.compile("sgd", LOSS)
    return model


def _growing(made=[]):  # noqa: B006
    made.append(1)
    model = keras.Sequential([keras.Input((4,)), L.Dense(len(made)), L.Dense(3)])
    model.compile("sgd", LOSS)
    return model


ONE = _model(optimizer="sgd", loss=LOSS)
FROZEN = keras.Sequential([keras.Input((4,)), L.Dense(3, trainable=False)])
FROZEN.compile("sgd", LOSS)
REFUSED = {
    "raises": (
        _raises,
        r"called without arguments, raises KeyError: .*no such thing.* \(.*test_own",
    ),
    "none": (lambda: None, "must return a model of Keras 3 or tf_keras, received None"),
    "uncompiled": (_model, r"must return a compiled model: call model.compile\(optimizer, loss\)"),
    "unbuilt": (_unbuilt, "must return a built model, .* begin it with keras.Input"),
    "without a loss": (lambda: _model(optimizer="sgd"), "loss"),
    "the same": (lambda: ONE, "returned the same model twice. Build a new one"),
    "other shapes": (_deeper, "same network at each call.* with seed 0, .* with seed 1"),
    "other settings": (_other_rates, r"dropout rate: 0.1 with seed 0, 0.2 with seed 1"),
    "another each time": (_growing, "at the first call, .* at the second"),
    "a model": (ONE, "must be a function that returns .* received Sequential. A model that is"),
    "arguments": (lambda width, depth: None, "it also needs width, depth. Give them defaults"),
    "no place": ("nothing", "must be a function .*received 'nothing'"),
    "no file": ("none.py:build", "there is no file none.py"),
    "no model file": ("none.keras", "'none.keras' does not exist"),
    "no module": ("no_such_module:build", "cannot be imported: ModuleNotFoundError"),
    "nothing to prune": (lambda: keras.models.clone_model(FROZEN), "has nothing to prune"),
}


@pytest.mark.parametrize("which", REFUSED)
def test_what_is_no_builder_is_refused_in_a_line_before_anything_is_written(which, tmp_path):
    build, said = REFUSED[which]
    with pytest.raises(InputError, match=f"^`(build_model|model)`.*{said}") as error:
        run(small(tmp_path / "r"), build_model=build, data=CLASSES)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    "field",
    [
        {"optimizer": "sgd"},
        {"learning_rate": 0.5},
        {"warmup_steps": 2},
        {"learning_rate_drops": (3,)},
        {"weight_decay": 0.1},
    ],
)
def test_settings_of_shipped_networks_are_refused_with_ones_own(field, tmp_path):
    [(name, _)] = field.items()
    with pytest.raises(InputError, match=f"`{name}` .* is for tfinit's networks: your own"):
        run(small(tmp_path / "r", **field), build_model=dense, data=CLASSES)
    with pytest.raises(InputError, match=f"`{name}`"):
        small(tmp_path / "r", model="nets.py:build", **field)


def test_two_networks_are_refused(tmp_path):
    with pytest.raises(
        InputError, match=r"`model` 'conv-2' and `build_model` .* name two networks"
    ):
        run(small(tmp_path / "r", model="conv-2"), build_model=dense, data=CLASSES)


def test_a_network_that_differs_at_a_seed_of_a_control_is_refused_before_it_begins(tmp_path):
    config = small(tmp_path / "r", seeds=(0, 2))
    with pytest.raises(InputError, match=f"with seed 0, .* with seed {REINIT_SEED}"):
        run(config, build_model=_deeper, data=CLASSES)
    assert network_of(small(tmp_path / "r", seeds=(0, 2), controls=()), _deeper)[1] is not None


def test_shipped_networks_say_what_data_they_take(tmp_path):
    several = from_arrays(*((({"a": X, "b": X}, Y),) * 3))
    with pytest.raises(InputError, match="`model` 'lenet-300-100' needs one array"):
        run(small(tmp_path / "r"), data=several)
    with pytest.raises(InputError, match="`model` 'lenet-300-100' needs one class number"):
        run(small(tmp_path / "r"), data=SIZES)


# By command.


def test_the_network_of_the_guide_is_one(pytestconfig):
    guide = (pytestconfig.rootpath / "docs/lottery.md").read_text(encoding="utf-8")
    [block] = re.findall(r"^```python\n(# nets.py\n.*?)^```", guide, re.M | re.S)
    namespace = {}
    exec(compile(block, "lottery.md", "exec"), namespace)
    assert builder_of(namespace["build"]).check([0, 1]).output_shape == (None, 10)


SCRIPT = """
import keras
import numpy as np

def build(seed):
    keras.utils.set_random_seed(seed)
    layers = [keras.layers.Dense(6, "relu"), keras.layers.Dense(1)]
    model = keras.Sequential([keras.Input((4,)), *layers])
    model.compile("adam", "mse", metrics=["mae"])
    return model

def load():
    x = np.random.default_rng(0).normal(size=(60, 4)).astype("float32")
    return (x, x[:, :1]), (x, x[:, :1])
"""


def test_by_command_a_script_is_an_experiment(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text(SCRIPT)
    flags = "--model nets.py:build --dataset nets.py:load --steps 6 --batch-size 10 --seeds 0"
    commands = ["lottery --levels 1 --metric mae", "stability --spawn-steps 0 --points 3"]
    commands += ["initializations --levels 1 --initializations published he"]
    for command in commands:
        main([*command.split(), *flags.split()])
        assert "nets.py:build on" in capsys.readouterr().out
    config = json.loads((tmp_path / "runs/lottery/config.json").read_text())
    assert config["model"] == "nets.py:build"
    assert LotteryConfig.from_json(json.dumps(config), tmp_path).own_network
