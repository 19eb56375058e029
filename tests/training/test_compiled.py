"""The compiled loop against itself: interrupted, begun later, without XLA, and where it ends."""

import keras
import numpy as np
import pytest
from small_networks import DATA, LOSS, L, bits, compiled

from tfinit import datasets
from tfinit.datasets import Dataset
from tfinit.errors import InputError
from tfinit.training import (
    Augment,
    CompiledLoop,
    Diverged,
    Partial,
    batch_indices,
)
from tfinit.variables import all_weights, read_weights, write_weights

BACKEND = keras.backend.backend()
pytestmark = [
    pytest.mark.backends,
    pytest.mark.skipif(BACKEND == "torch", reason="PyTorch trains with fit"),
]
ON_TENSORFLOW = pytest.mark.skipif(BACKEND != "tensorflow", reason="needs TensorFlow")
# As it compiles in the least time: on JAX there is one way.
PLAIN = False if BACKEND == "tensorflow" else None
ENGINES = [True, False] if BACKEND == "tensorflow" else [None]


def programs(loop):
    """How many programs were made for the steps."""
    function = loop._program.function
    if BACKEND == "jax":
        return function._cache_size()
    return function.experimental_get_tracing_count()


def noisy():
    return compiled(
        keras.optimizers.SGD(0.05, momentum=0.9), hidden=[L.BatchNormalization(), L.Dropout(0.5)]
    )


def columns(metrics):
    return {
        "step": metrics.step.tolist(),
        "losses": metrics.losses.tobytes(),
        **{k: v.tobytes() for k, v in metrics.values.items()},
    }


STEPS = 25


# What a call makes is no part of the result.


@pytest.mark.parametrize("xla", ENGINES)
def test_left_at_any_checkpoint_and_taken_up_in_a_fresh_model_it_ends_with_the_same_bits(xla):
    model = noisy()
    partials, marks = [], []
    metrics = CompiledLoop(model, DATA, xla=xla)(
        STEPS,
        8,
        seed=1,
        evaluate_every=7,
        at={9: lambda: marks.append(9)},
        checkpoint=lambda partial: partials.append(partial()),
    )
    steps = [p.step for p in partials]
    assert {7, 9, 14, 21} <= set(steps) <= set(range(1, STEPS))
    other = noisy()  # other weights, and an optimizer with another past
    again = CompiledLoop(other, DATA, xla=xla)
    again(3, 8, seed=9, evaluate_every=3)
    for partial in [Partial(**vars(p)) for p in partials]:
        done = []
        resumed = again(
            STEPS,
            8,
            seed=1,
            evaluate_every=7,
            progress=done.append,
            at={9: lambda step=partial.step: marks.append(step)},
            resume=partial,
        )
        assert bits(other) == bits(model), partial.step
        assert columns(resumed) == columns(metrics), partial.step
        assert (done[0], sum(done)) == (partial.step, STEPS)
    assert marks == [9, *(step for step in steps if step < 9)]


def test_an_interruption_in_the_middle_loses_nothing_that_was_kept():
    model, kept = noisy(), []

    def progress(done):
        if kept:
            raise KeyboardInterrupt

    def keep(partial):
        kept.append(partial())

    start = {v.path: np.array(v) for v in model.variables}
    whole = CompiledLoop(model, DATA, xla=PLAIN)
    metrics = whole(STEPS, 8, 1, evaluate_every=25)
    expected = bits(model)
    for variable in model.variables:
        variable.assign(start[variable.path])
    whole.reset()
    with pytest.raises(KeyboardInterrupt):
        whole(STEPS, 8, 1, evaluate_every=25, progress=progress, checkpoint=keep)
    other = noisy()
    resumed = CompiledLoop(other, DATA, xla=PLAIN)(STEPS, 8, 1, evaluate_every=25, resume=kept[-1])
    assert 0 < kept[-1].step < STEPS
    assert bits(other) == expected
    assert columns(resumed) == columns(metrics)


def test_marks_see_the_weights_after_their_step_and_change_nothing():
    model = noisy()
    loop, weights = CompiledLoop(model, DATA, xla=PLAIN), all_weights(model)
    start, seen = read_weights(weights), {}

    def train(steps, **kwargs):
        write_weights(weights, start)
        loop.reset()
        metrics = loop(steps, 8, seed=1, evaluate_every=10, **kwargs)
        return bits(model), columns(metrics)

    plain = train(STEPS)
    marks = {k: (lambda k=k: seen.update({k: bits(model)})) for k in (0, 1, 10, 13, STEPS)}
    assert train(STEPS, at=marks, checkpoint=lambda partial: partial()) == plain
    assert list(seen) == [0, 1, 10, 13, STEPS]
    assert seen[STEPS] == plain[0]
    for k in (1, 10, 13):
        assert train(k)[0] == seen[k], k
    assert programs(loop) == 1


def test_from_a_later_step_the_data_goes_on():
    whole, parts = compiled(), compiled()
    write_weights(all_weights(parts), read_weights(all_weights(whole)))
    expected = CompiledLoop(whole, DATA, xla=PLAIN)(STEPS, 8, seed=2, evaluate_every=5)
    loop = CompiledLoop(parts, DATA, xla=PLAIN)
    first = loop(9, 8, seed=2, evaluate_every=5)
    second = loop(STEPS, 8, seed=2, evaluate_every=5, start=9)
    assert bits(parts) == bits(whole)
    assert first.step.tolist() == [0, 5, 9]
    assert second.step.tolist() == [9, 10, 15, 20, 25]
    assert (first.losses.tobytes() + second.losses.tobytes()) == expected.losses.tobytes()


def test_reset_and_the_same_weights_give_the_same_bits_and_another_seed_others():
    model = noisy()
    loop, weights = CompiledLoop(model, DATA, xla=PLAIN), all_weights(model)
    start, trained = read_weights(weights), []
    for seed in (1, 1, 2):
        write_weights(weights, start)
        loop.reset()
        loop(steps=20, batch_size=8, seed=seed, evaluate_every=20)
        trained.append(bits(model))
    assert trained[0] == trained[1] != trained[2]
    assert all(not np.array_equal(v, start[key]) for key, v in read_weights(weights).items())


def test_without_reset_the_optimizer_goes_on():
    model = compiled()
    loop = CompiledLoop(model, DATA, xla=PLAIN)
    loop(steps=5, batch_size=8, seed=1, evaluate_every=5)
    loop(steps=5, batch_size=8, seed=1, evaluate_every=5)
    assert int(model.optimizer.iterations.numpy()) == 10
    loop.reset()
    assert int(model.optimizer.iterations.numpy()) == 0


def test_training_again_with_other_numbers_traces_nothing_new():
    loop = CompiledLoop(compiled(), DATA, xla=PLAIN)
    loop(steps=10, batch_size=8, seed=1, evaluate_every=5)
    loop(steps=23, batch_size=8, seed=2, evaluate_every=7, start=2)
    assert programs(loop) == 1


# Where it ends early.


def test_the_first_step_whose_loss_is_not_finite_is_named_with_what_was_before():
    """What the network makes of a row that is reached at step 14 is not finite."""
    x, y = DATA.train
    order = batch_indices(100, 6, 30, seed=6)
    late = next(r for r in order[13] if r not in order[:13])
    wide, labels = np.concatenate([x, x]), np.concatenate([y, y])
    # Infinity behind the ReLU, which on some processors makes 0 of NaN.
    poisoned = wide.copy()
    poisoned[late, 0] = 3e38
    runs = []
    for inputs in (wide, poisoned):
        data = Dataset("poisoned", (inputs, labels), DATA.validation, DATA.test, 3)
        keras.utils.set_random_seed(0)
        done = []
        loop = CompiledLoop(compiled(hidden=[L.Rescaling(1e3)]), data, xla=PLAIN)
        try:
            runs.append(loop(30, 6, seed=6, evaluate_every=5, progress=done.append))
        except Diverged as error:
            runs.append(error.metrics)
            assert error.step == 14
            assert sum(done) <= 13
    whole, before = runs
    assert before.step.tolist() == [0, 5, 10]
    for name, column in before.values.items():
        assert column.tobytes() == whole.values[name][:3].tobytes()
    assert len(before.losses) <= 13
    assert before.losses.tobytes() == whole.losses[: len(before.losses)].tobytes()


@pytest.mark.parametrize("xla", ENGINES)
def test_weights_that_are_lost_are_found_where_no_loss_tells_of_them(xla):
    """As with TensorFlow's ReLU on some processors: NaN becomes 0, and the loss is a number."""
    x, y = DATA.train
    x = x.copy()
    x[batch_indices(50, 8, 4, seed=6)[3][0], 0] = 3e38  # in the 4th batch, or before
    data = Dataset("poisoned", (x, y), DATA.validation, DATA.test, 3)
    blind = L.Activation(lambda z: keras.ops.where(keras.ops.abs(z) < 1e30, z, 0.0))
    model = keras.Sequential([L.Input((5,)), L.Rescaling(10.0), L.Dense(8), blind, L.Dense(3)])
    model.compile("sgd", LOSS)
    with pytest.raises(Diverged, match="weights are not finite after step 4") as error:
        CompiledLoop(model, data, xla=xla)(10, 8, seed=6, evaluate_every=4)
    assert error.value.metrics.step.tolist() == [0]
    assert np.isfinite(error.value.metrics.losses).all()
    with pytest.raises(Diverged, match="weights are not finite after step 7"):  # lost since then
        CompiledLoop(model, data, xla=xla)(10, 8, seed=6, evaluate_every=10, at={7: pytest.fail})


@pytest.mark.parametrize(
    ("model", "kwargs", "message"),
    [
        (lambda: keras.Sequential([L.Input((5,)), L.Dense(3)]), {}, r"must be compiled: call"),
        (compiled, {"augment": Augment()}, r"`augment` needs images of shape"),
    ],
)
def test_what_cannot_be_trained(model, kwargs, message):
    with pytest.raises(InputError, match=message):
        CompiledLoop(model(), DATA, **kwargs)


def test_a_batch_that_is_too_large():
    with pytest.raises(InputError, match=r"`batch_size` must be in 1\.\.50"):
        CompiledLoop(compiled(), DATA)(5, 51, seed=0, evaluate_every=5)


# What is evaluated.


def test_a_loss_of_the_models_own_that_looks_at_the_inputs():
    class Reconstruction(keras.Sequential):
        def compute_loss(self, x, y, y_pred, sample_weight=None, training=True):
            return keras.ops.mean((x - y_pred) ** 2)

    model = Reconstruction([L.Input((5,)), L.Dense(5)])
    model.compile(keras.optimizers.SGD(0.1))
    metrics = CompiledLoop(model, DATA, xla=PLAIN)(3, 8, seed=0, evaluate_every=3)
    x = DATA.test[0]
    kernel, bias = (w.numpy() for w in model.weights)
    expected = np.mean((x - x @ kernel - bias) ** 2)
    assert metrics.values["test_loss"][-1] == pytest.approx(expected, rel=1e-5)


def test_one_output_has_no_largest_one_and_so_no_accuracy():
    model = keras.Sequential([L.Input((5,)), L.Dense(1, activation="sigmoid")])
    model.compile("sgd", "binary_crossentropy")
    halves = [(x, (y > 0).astype("i4")) for x, y in (DATA.train, DATA.validation, DATA.test)]
    metrics = CompiledLoop(model, Dataset("halves", *halves, 2), xla=PLAIN)(1, 8, 0, 1)
    assert set(metrics.values) == {"validation_loss", "test_loss"}


# Which engine.


def through_strings(x):
    """The same numbers on a way that XLA does not know."""
    import tensorflow as tf

    return tf.strings.to_number(tf.strings.as_string(x, precision=9, scientific=True))


@keras.saving.register_keras_serializable("test_compiled")
class Detour(L.Layer):
    def __init__(self, only_in_training):
        super().__init__()
        self.only_in_training = only_in_training

    def call(self, x, training=False):
        if self.only_in_training and not training:
            return x
        return x + keras.ops.stop_gradient(through_strings(x) - x)


@keras.saving.register_keras_serializable("test_compiled")
class Python(L.Layer):
    def call(self, x):
        import tensorflow as tf

        return tf.ensure_shape(tf.py_function(lambda a: a * 1, [x], x.dtype), x.shape)


@ON_TENSORFLOW
@pytest.mark.parametrize(
    "layer",
    [lambda: Detour(False), lambda: Detour(True), Python],
    ids=["everywhere", "only in training", "py_function"],
)
def test_what_xla_rejects_runs_as_a_graph_with_the_same_result(layer):
    plain, odd = compiled(), compiled(hidden=[layer()])
    write_weights(all_weights(odd), read_weights(all_weights(plain)))
    expected = CompiledLoop(plain, DATA, xla=PLAIN)(12, 8, seed=2, evaluate_every=5)
    loop = CompiledLoop(odd, DATA)
    assert loop.engine == "xla"
    metrics = loop(12, 8, seed=2, evaluate_every=5)
    assert loop.engine == "graph"
    assert loop.why.startswith("XLA rejects the model: ")
    for mine, other in zip(odd.weights, plain.weights, strict=True):
        np.testing.assert_allclose(np.array(mine), np.array(other), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(metrics.losses, expected.losses, rtol=1e-5)
    assert metrics.step.tolist() == expected.step.tolist()
    assert int(odd.optimizer.iterations.numpy()) == 12


@ON_TENSORFLOW
def test_convolutions_on_cpu_run_as_a_graph_and_learn():
    data = datasets.load("digits")
    model = keras.Sequential(
        [
            L.Input((8, 8, 1)),
            L.Conv2D(4, 3, activation="relu"),
            L.Flatten(),
            L.Dense(10),
        ]
    )
    model.compile(keras.optimizers.Adam(0.01), LOSS)
    loop = CompiledLoop(model, data)
    import tensorflow as tf

    if not tf.config.list_logical_devices("GPU"):
        assert (loop.engine, loop.why) == (
            "graph",
            "convolutions on CPU, which XLA makes slower",
        )
    metrics = loop(60, 60, seed=0, evaluate_every=30)
    assert metrics.values["test_accuracy"][-1] > 0.7


@pytest.mark.parametrize("xla", ENGINES)
def test_augmented_pictures_are_those_of_numpy_at_each_step(xla):
    """What a network sees: it adds up pictures times a weight for each of them."""
    rng = np.random.default_rng(0)
    pictures = rng.normal(size=(100, 8, 8, 1)).astype("f4"), np.zeros(100, "i4")
    data = Dataset("pictures", pictures, None, None, 1)
    augment, order = Augment(crop=2), batch_indices(len(data.train[0]), 16, 12, seed=5)
    total = L.Flatten()
    model = keras.Sequential([L.Input((8, 8, 1)), total, L.Dense(1, use_bias=False)])
    model.compile(keras.optimizers.SGD(1.0), lambda y, p: -p[:, 0])
    model.layers[-1].kernel.assign(np.zeros((64, 1)))
    CompiledLoop(model, data, augment, xla=xla)(12, 16, seed=5, evaluate_every=12)
    draws = augment.draw(16, 0, 12, seed=5)
    seen = [augment.apply_numpy(data.train[0][r], d) for r, d in zip(order, draws, strict=True)]
    # The gradient of the loss is minus the mean picture.
    expected = np.sum([pictures.mean(0) for pictures in seen], axis=0).reshape(64, 1)
    np.testing.assert_allclose(np.array(model.layers[-1].kernel), expected, rtol=1e-5, atol=1e-6)


@ON_TENSORFLOW
def test_the_number_of_steps_is_no_part_of_what_xla_compiles():
    """XLA would compile a program for each number of steps if one was built into it."""
    import tensorflow as tf

    loop = CompiledLoop(compiled("sgd"), DATA, xla=True)
    buffer = tf.zeros((8, 4), tf.int32)
    one, two = (
        loop._program.function.experimental_get_compiler_ir(buffer, tf.constant(count), None)(
            stage="hlo"
        )
        for count in (1, 3)
    )
    assert one == two
