"""`diagnose` among threads: what it says, what it leaves, and what a `fit` beside it becomes."""

import json
import threading

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfinit
from tfinit.diagnostics import diagnose
from tfinit.errors import InputError
from tfinit.graph.snapshot import _read, apart
from tfinit.probes import probing
from tfinit.pruning import sparsity_report
from tfinit.pruning.scoring.before_training import snip as scores_of
from tfinit.pruning.scoring.before_training import synflow
from tfinit.variables import prunable_weights

X = np.random.default_rng(0).normal(size=(32, 8)).astype("float32")
Y = [
    np.random.default_rng(1).integers(0, 4, 32),
    np.random.default_rng(2).normal(size=(32, 2)).astype("float32"),
]
WAIT = 120  # of a thread that never comes; no test takes as long


@keras.saving.register_keras_serializable("of_tests")
def odd_activation(x):
    return keras.ops.tanh(x)


def everything(rate=0.2):
    """All that a step in training mode changes, and what is made in the first one."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((8,))
    h = keras.layers.Dense(8, "relu", activity_regularizer="l2", kernel_regularizer="l2")(inputs)
    h = keras.layers.Dropout(rate)(keras.layers.BatchNormalization()(h))
    h = keras.layers.SpectralNormalization(keras.layers.Dense(8))(h)
    outputs = [keras.layers.Dense(4)(h), keras.layers.Dense(2, odd_activation)(h)]
    model = keras.Model(inputs, outputs)
    cross = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), [cross, "mse"], jit_compile=False)
    return model


def bits(model):
    optimizer = getattr(model, "optimizer", None)
    own = optimizer.variables if optimizer else []
    return [v.numpy().tobytes() for v in [*model.variables, *own]]


def attributes(model):
    return [dict(vars(layer)) for layer in model._flatten_layers()]


def said(model, *batch):
    return json.dumps(diagnose(model, *batch).to_dict())


def in_threads(*functions):
    """Call them all at once; their results. An error in one is an error here."""
    together = threading.Barrier(len(functions))
    found = {}

    def run(n, function):
        together.wait(WAIT)
        try:
            found[n] = function()
        except Exception as error:
            found[n] = error

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(functions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    for result in found.values():
        if isinstance(result, Exception):
            raise result
    return [found[n] for n in range(len(functions))]


def fit(model, *callbacks):
    model.fit(X, Y, batch_size=8, epochs=2, shuffle=False, verbose=0, callbacks=[*callbacks])
    return bits(model)


@pytest.fixture(scope="module")
def trained_alone():
    return fit(everything())


def test_four_threads_say_what_one_says_and_leave_nothing():
    model = everything(rate=0.5)  # steps are tried without so much
    before = bits(model), attributes(model), {c: dict(vars(c)) for c in map(type, model.layers)}
    alone = said(model, X, Y)
    assert in_threads(*[lambda: said(model, X, Y)] * 4) == [alone] * 4
    assert bits(model) == before[0]
    assert attributes(model) == before[1]
    assert {c: dict(vars(c)) for c in map(type, model.layers)} == before[2]


class Twice(keras.Model):
    """Traced by calling it on symbols, which Keras records on its layers."""

    def __init__(self, shared):
        super().__init__(name="twice")
        self.shared = shared
        self.last = keras.layers.Dense(4, name="last")

    def call(self, x):
        return self.last(self.shared(self.shared(x)))


def test_models_that_share_a_layer():
    shared = keras.layers.Dense(8, "tanh", name="shared")
    one, two = Twice(shared), Twice(shared)
    one(X), two(X)
    before = bits(one), attributes(one), len(shared._inbound_nodes)
    alone = [said(model, X, Y[0]) for model in (one, two)]
    together = in_threads(*[lambda m=m: said(m, X, Y[0]) for m in (one, two)] * 2)
    assert together == alone * 2
    assert (bits(one), attributes(one), len(shared._inbound_nodes)) == before


def test_a_fit_that_is_traced_and_run_while_a_probe_is_open(trained_alone):
    model = everything()
    before, serial, config = bits(model), said(model, X, Y), model.get_config()
    seen = []
    with apart(model), probing(model, lambda *_: seen.append(threading.get_ident())):
        (result,) = in_threads(lambda: fit(model))
        # What is written to a file beside it has nothing of the probe either.
        assert in_threads(model.get_config)[0] == config
        # This thread still has the model that it began with.
        assert bits(model)[: len(model.variables)] == before[: len(model.variables)]
        assert not seen
        model(X)
        assert set(seen) == {threading.get_ident()}
    assert result == trained_alone == bits(model)
    assert said(model, X, Y) != serial


def test_a_fit_that_is_diagnosed_from_a_callback_and_from_another_thread(trained_alone):
    model = everything()
    found = []

    def at_batch(batch, logs=None):
        if batch == 2:
            here = said(model, X, Y)  # in the thread of the fit
            found.append([here, *in_threads(*[lambda: said(model, X, Y)] * 2)])

    callback = keras.callbacks.LambdaCallback(on_train_batch_begin=at_batch)
    assert fit(model, callback) == trained_alone
    assert len(found) == 2
    assert all(result == results[0] for results in found for result in results)
    assert found[0] != found[1]


def test_a_fit_that_is_diagnosed_at_any_moment(trained_alone):
    model = everything()
    done = threading.Event()
    losses = []

    def again_and_again():
        while not done.is_set():
            try:
                losses.append(diagnose(model, X, Y).measurement.loss)
            except InputError as error:
                assert "is being trained by another thread" in str(error)

    def train():
        try:
            return fit(model)
        finally:
            done.set()

    assert in_threads(train, again_and_again)[0] == trained_alone
    assert np.all(np.isfinite(losses))


class Counter:
    """A variable that is assigned to between any two readings."""

    def __init__(self, until):
        self.n, self.until = 0, until

    @property
    def value(self):
        self.n = min(self.n + 1, self.until)
        return tf.constant(self.n)


def test_values_are_of_one_moment_or_the_model_is_refused():
    model = everything()

    def read(until):
        return [int(value) for _, value in _read(model, [Counter(until), Counter(until)])]

    assert in_threads(lambda: read(5)) == [[5, 5]]
    with pytest.raises(InputError, match="being trained by another thread: its weights changed"):
        in_threads(lambda: read(10**6))


class Graphs(keras.Model):
    """A `call` that is a tf.function, or one inside it, with a state."""

    def __init__(self):
        super().__init__()
        self.hidden = keras.layers.Dense(8, "relu", name="hidden")
        self.normal = keras.layers.BatchNormalization(name="normal")
        self.last = keras.layers.Dense(4, name="last")
        for layer, size in ((self.hidden, 8), (self.normal, 8), (self.last, 8)):
            layer.build((None, size))
        self.built = True

    @tf.function
    def call(self, x, training=False):
        return self.last(self.normal(self.hidden(x), training=training))


class Inside(Graphs):
    def __init__(self):
        super().__init__()
        self.inner = tf.function(lambda h: self.normal(self.hidden(h), training=True))

    def call(self, x, training=False):
        return self.last(self.inner(x))


@pytest.mark.parametrize(("kind", "layers"), [(Graphs, ["hidden", "last"]), (Inside, ["last"])])
def test_graphs_in_a_model_have_its_variables_and_none_of_ours(kind, layers):
    model = kind()
    before = bits(model)
    diagnosis = diagnose(model, X, Y[0])
    assert [layer.key for layer in diagnosis.layers] == layers
    assert diagnosis.layers[-1].weights[0].gradient_norm > 0
    assert bits(model) == before
    plain = model(X).numpy()
    # What was traced in the diagnosis is not of the weights that there were then.
    model.hidden.kernel.assign(-model.hidden.kernel)
    assert not np.allclose(model(X).numpy(), plain)


class Interrupted(keras.layers.Layer):
    armed = False

    def call(self, x):
        if self.armed:
            raise KeyboardInterrupt
        return x


def test_an_interrupt_in_the_middle_leaves_nothing():
    layers = [keras.layers.Dense(8, "relu"), keras.layers.BatchNormalization(), Interrupted()]
    model = keras.Sequential([keras.Input((8,)), *layers, keras.layers.Dense(4)])
    layers[-1].armed = True
    classes = [type(layer) for layer in (model, *model.layers)]
    before = bits(model), attributes(model), [dict(vars(c)) for c in classes]
    with pytest.raises(KeyboardInterrupt):
        diagnose(model, X, Y[0])
    assert (bits(model), attributes(model), [dict(vars(c)) for c in classes]) == before
    layers[-1].armed = False
    # The next one has not to wait for anything.
    assert in_threads(lambda: diagnose(model, X, Y[0]).layers[0].weights[0].gradient_norm > 0)[0]


def test_initializations_of_one_model_take_turns():
    model = everything()
    seeds = range(4)
    alone = []
    for seed in seeds:
        tfinit.initialize(model, "lsuv", X, seed=seed)
        alone.append(bits(model))
    before = attributes(model)
    calls = [lambda s=s: tfinit.initialize(model, "lsuv", X, seed=s) for s in seeds]
    in_threads(*calls, lambda: diagnose(model, X, Y))
    assert bits(model) in alone
    assert attributes(model) == before


def test_scores_are_taken_beside_a_diagnosis_and_write_nothing(rng):
    model = everything()
    cross = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    masks = {key: rng.random(w.shape) < 0.5 for key, w in prunable_weights(model).items()}

    def scores():
        return scores_of(model, X, Y, masks=masks, loss=lambda y, z: cross(Y[0], z[0]))

    before, alone, plain = bits(model), scores(), said(model, X, Y)
    *together, beside = in_threads(scores, scores, lambda: said(model, X, Y))
    assert beside == plain
    for found in together:
        for key, score in alone.items():
            np.testing.assert_array_equal(found[key], score)
            assert not found[key][~masks[key]].any()
    assert bits(model) == before


def test_scores_do_not_pass_over_weights_in_a_graph_of_the_models_own():
    with pytest.raises(InputError, match=r"in a tf\.function inside it"):
        scores_of(Inside(), X, Y[0], loss="sparse_categorical_crossentropy")
    # A `call` that is one runs as Python.
    found = scores_of(Graphs(), X, Y[0], loss="sparse_categorical_crossentropy")
    assert all(score.any() for score in found.values())


def test_what_else_looks_into_layers_has_them_to_itself():
    layers = [keras.layers.Dense(8, "relu", name="one"), keras.layers.Dense(4, "tanh", name="two")]
    model = keras.Sequential([keras.Input((8,)), *layers])
    expected = model(X).numpy()
    before = bits(model), attributes(model)
    # Ones through |W|, with the identity for the activations.
    (w1, _, w2, _) = [np.abs(v.numpy()) for v in model.weights]
    flow = {"one/kernel": w1 * w2.sum(1), "two/kernel": w2 * w1.sum(0)[:, None]}

    def outputs():
        return [model(X).numpy() for _ in range(5)]

    looks = [lambda: synflow(model), lambda: sparsity_report(model), lambda: diagnose(model, X)]
    found, report, _, *plain = in_threads(*looks, *[outputs] * 2, *looks)[:5]
    for key, score in flow.items():
        np.testing.assert_allclose(found[key], score, rtol=1e-5)
    assert [row.multiply_adds for row in report if row.multiply_adds] == [8 * 8, 8 * 4]
    np.testing.assert_array_equal(plain, np.broadcast_to(expected, np.shape(plain)))
    assert (bits(model), attributes(model)) == before


def test_a_convolution_that_keras_compiles_computes_with_the_copies():
    grouped = keras.layers.Conv2D(4, 1, groups=2, use_bias=False)
    model = keras.Sequential([keras.Input((3, 3, 4)), grouped])
    x, kernel = np.ones((2, 3, 3, 4), "f4"), np.array(grouped.kernel)
    before = np.array(model(x))
    with apart(model):
        grouped.kernel.assign(2 * kernel)
        assert np.allclose(model(x), 2 * before)
    assert np.array_equal(model(x), before)
    model.compile("sgd", "mse")
    scores = scores_of(model, x, np.zeros((2, 3, 3, 4)))
    [found] = scores.values()
    assert found.shape == kernel.shape and found.min() > 0
