"""The numbers of a diagnosis against TensorFlow by hand, and against mean-field theory."""

import threading
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfinit.diagnostics import diagnose
from tfinit.diagnostics.measuring.parameters import mean_and_std, norm
from tfinit.diagnostics.measuring.signals import Beside, measure_signal

# They move each entry by itself: of their large weights some entries are tried.
ENTRYWISE = ["SGD", "Adam", "AdamW", "Adamax", "Nadam", "RMSprop", "Adagrad", "Adadelta", "Ftrl"]
ENTRYWISE += ["Lion"]


def of_layer(diagnosis, key):
    return next(layer for layer in diagnosis.layers if layer.key == key)


def test_activations_and_gradients_are_those_of_a_tape():
    random = np.random.default_rng(0)
    x = random.normal(size=(32, 5)).astype("float32")
    y = random.integers(0, 3, 32)
    model = keras.Sequential(
        [
            keras.Input((5,)),
            keras.layers.Dense(7, "tanh", name="a"),
            keras.layers.Dense(6, name="b"),
            keras.layers.ReLU(name="r"),
            keras.layers.Dense(3, name="c"),
        ]
    )
    for variable in model.weights:
        variable.assign(random.normal(size=variable.shape))
    wa, ba, wb, bb, wc, bc = (tf.Variable(v.numpy()) for v in model.weights)
    with tf.GradientTape(persistent=True) as tape:
        za = x @ wa + ba
        a = tf.tanh(za)
        b = a @ wb + bb
        r = tf.nn.relu(b)
        logits = r @ wc + bc
        loss = tf.reduce_mean(
            tf.nn.sparse_softmax_cross_entropy_with_logits(y.astype("int32"), logits)
        )
    diagnosis = diagnose(model, x, y)
    by_hand = {
        "a": (za, a, wa),
        "b": (b, b, wb),
        "r": (r, r, None),
        "c": (logits, logits, wc),
    }
    np.testing.assert_allclose(diagnosis.measurement.loss, loss, rtol=1e-5)
    for key, (linear, output, kernel) in by_hand.items():
        layer = of_layer(diagnosis, key)
        for signal, tensor in (
            (layer.linear, linear),
            (layer.output, output),
            (layer.linear_gradient, tape.gradient(loss, linear)),
            (layer.output_gradient, tape.gradient(loss, output)),
        ):
            values = tensor.numpy().astype(np.float64)
            expected = [
                values.mean(),
                values.std(),
                np.sqrt(values.var(axis=0).mean()),
                np.linalg.norm(values),
            ]
            found = [signal.mean, signal.std, signal.variation, signal.norm]
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-8)
        if key in ("a", "r"):
            assert layer.output.zeros == np.mean(output.numpy() == 0)
        assert layer.output.dead == np.mean(np.all(output.numpy() == 0, axis=0))
        if kernel is not None:
            gradient = tape.gradient(loss, kernel).numpy()
            found = layer.weights[0]
            assert found.gradient_std == pytest.approx(gradient.std(), rel=1e-5)
            assert found.gradient_norm == pytest.approx(np.linalg.norm(gradient), rel=1e-5)
            assert found.std == pytest.approx(kernel.numpy().std(), rel=1e-6)
    saturated = np.mean(np.abs(a.numpy()) > 0.975)
    assert 0 < saturated < 1
    assert of_layer(diagnosis, "a").output.saturated == pytest.approx(saturated)


@pytest.mark.parametrize(
    ("optimizer", "update"),
    [
        (lambda: keras.optimizers.SGD(0.1, momentum=0.9), lambda g: 0.1 * g),
        # The first step of Adam is the sign of the gradient, up to epsilon.
        (lambda: keras.optimizers.Adam(0.01, epsilon=1e-12), lambda g: 0.01 * np.sign(g)),
    ],
)
def test_the_update_ratio_is_the_first_step_of_the_optimizer(optimizer, update):
    random = np.random.default_rng(0)
    x, y = random.normal(size=(16, 4)).astype("float32"), random.normal(size=(16, 2))
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="fc")])
    model.compile(optimizer(), "mse")
    kernel, bias = (v.numpy() for v in model.weights)
    errors = x @ kernel + bias - y
    gradient = x.T @ errors / len(x)  # of the mean over 16 examples and 2 outputs
    ratio = of_layer(diagnose(model, x, y), "fc").weights[0].update_ratio
    expected = np.sqrt(np.mean(update(gradient) ** 2) / np.mean(kernel**2))
    assert ratio == pytest.approx(expected, rel=1e-4)


# Once: an eigenvalue problem.
NODES, SHARES = np.polynomial.hermite_e.hermegauss(201)


def expectation(function, q):
    """E f(z), z ~ N(0, q)."""
    return float(SHARES @ function(np.sqrt(q) * NODES) / np.sqrt(2 * np.pi))


@pytest.mark.parametrize(("weight", "bias"), [(1.0, 0.3), (1.5, 0.3), (2.0, 0.5)])
def test_wide_tanh_networks_are_as_mean_field_theory_says(weight, bias):
    """Fixed point q* of the length, χ₁ and the depth scale; ordered phase and chaotic."""
    q = 1.0
    for _ in range(500):
        q = weight**2 * expectation(lambda z: np.tanh(z) ** 2, q) + bias**2
    chi = weight**2 * expectation(lambda z: (1 - np.tanh(z) ** 2) ** 2, q)
    width, depth = 1000, 14
    layers = [
        keras.layers.Dense(
            width,
            "tanh",
            kernel_initializer=keras.initializers.RandomNormal(0, weight / width**0.5, seed=n),
            bias_initializer=keras.initializers.RandomNormal(0, bias, seed=100 + n),
        )
        for n in range(depth)
    ]
    model = keras.Sequential([keras.Input((width,)), *layers])
    x = np.random.default_rng(0).normal(size=(100, width)).astype("float32")
    diagnosis = diagnose(model, x * np.sqrt(expectation(lambda z: np.tanh(z) ** 2, q)))
    lengths = [layer.linear.rms**2 for layer in diagnosis.layers[4:]]
    assert np.mean(lengths) == pytest.approx(q, rel=0.05)
    assert diagnosis.trends.backward_factor**2 == pytest.approx(chi, rel=0.05)
    # ξ = 1/|ln χ₁| amplifies what χ₁ is off by near 1, so its tolerance is χ₁'s.
    off = 0.05 / abs(np.log(chi))
    assert diagnosis.trends.depth_scale == pytest.approx(1 / abs(np.log(chi)), rel=max(0.05, off))


@pytest.mark.filterwarnings("error")
def test_an_update_whose_square_float32_cannot_hold():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, name="fc")])
    model.layers[-1].kernel.assign([[3.0], [4.0]])
    model.compile(keras.optimizers.SGD(1.0), "mae")
    x = np.array([[3e25, 4e25]], "f4")
    weights = of_layer(diagnose(model, x, np.zeros((1, 1))), "fc").weights[0]
    assert weights.update_ratio == pytest.approx(1e25, rel=1e-5)  # Δw = x


@pytest.mark.parametrize(
    ("optimizer", "inputs"),
    # Each makes a step on copies: with state or without, of the whole tensor or of all of them.
    [(name, 12) for name in ("SGD", "AdamW", "Ftrl", "Adafactor", "Lamb", "Muon", "clipped")]
    # 700 × 200 entries are more than are tried, where each moves by itself.
    + [(name, 700) for name in ("SGD", "Adam", "Adafactor", "clipped")],
)
def test_update_ratios_are_what_training_then_does(optimizer, inputs):
    random = np.random.default_rng(0)
    layers = [keras.layers.Dense(200, "tanh", name="a"), keras.layers.Dense(3, name="b")]
    model = keras.Sequential([keras.Input((inputs,)), *layers])
    made = {"clipped": lambda: keras.optimizers.Adam(0.01, global_clipnorm=0.1)}
    make = made.get(optimizer) or (lambda: getattr(keras.optimizers, optimizer)(0.01))
    model.compile(make(), "mse")
    x, y = random.normal(size=(64, inputs)), random.normal(size=(64, 3))
    found = diagnose(model, x.astype("f4"), y.astype("f4"))
    before = {layer.name: layer.kernel.numpy() for layer in model.layers}
    model.optimizer.build(model.trainable_variables)  # else Keras traces the step twice
    model.fit(x, y, batch_size=64, verbose=0)
    for layer in model.layers:
        w = before[layer.name]
        moved = np.linalg.norm(layer.kernel.numpy() - w) / np.linalg.norm(w)
        ratio = of_layer(found, layer.name).weights[0].update_ratio
        sampled = optimizer in ENTRYWISE and w.size > 2**16
        assert ratio == pytest.approx(moved, rel=0.02 if sampled else 1e-3)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize(("shape", "channel"), [((300, 30, 16), -1), ((300, 16, 30), 1)])
def test_large_signals_are_those_of_numpy(shape, channel, dtype):
    """Of units that vary little around large means too."""
    random = np.random.default_rng(0)
    offsets = np.array([0.0, 1.0, 10.0, 200.0] * 4).reshape((16, 1) if channel == 1 else 16)
    drawn = random.normal(size=shape) * (random.random(shape) < 0.5) + offsets
    signal = measure_signal(tf.constant(drawn, dtype), channel)
    values = tf.cast(tf.constant(drawn, dtype), tf.float64).numpy()
    within = values.var(axis=tuple({0, 1, 2} - {channel % 3})).mean()
    assert signal.mean == pytest.approx(values.mean(), rel=1e-5)
    assert signal.std == pytest.approx(values.std(), rel=1e-5)
    assert signal.variation == pytest.approx(np.sqrt(within), rel=1e-5)
    assert signal.zeros == (values == 0).mean()
    assert signal.sample.dtype == np.float32
    assert np.isin(signal.sample, values.astype("f4")).all()


# Small tensors are measured in float64, large ones in blocks of rows.
@pytest.mark.parametrize("rows", [50, 20000])
def test_signals_of_any_size_and_of_broken_ones(rows):
    values = np.random.default_rng(0).normal(size=(rows, 8))
    values[:, 3] = 0
    for scale in (1e-30, 1.0, 1e30):
        signal = measure_signal(tf.constant(values * scale, tf.float32))
        assert signal.std == pytest.approx(values.std() * scale, rel=1e-5)
        assert (signal.zeros, signal.dead, signal.finite) == (1 / 8, 1 / 8, True)
    constant = measure_signal(tf.fill((rows, 8), 3.0))
    assert (constant.std, constant.variation, constant.rms) == (0, 0, 3)
    for bad in (np.nan, np.inf):
        values[7, 1] = bad
        assert not measure_signal(tf.constant(values, tf.float32)).finite


def test_few_tensors_wait_for_the_other_thread_and_the_rest_is_measured_at_once():
    large = [np.full((300, 300), n, "float32") for n in range(6)]
    free = threading.Event()
    with ThreadPoolExecutor(1) as thread:
        thread.submit(free.wait)
        beside = Beside(thread)
        signals = [beside.measure(tf.constant(values)) for values in large]
        waiting = sum(not signal.done() for signal in signals)
        free.set()
        assert [signal.result().mean for signal in signals] == [0, 1, 2, 3, 4, 5]
    assert 0 < waiting <= 2


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1.0, 1e30])
def test_norms_of_numbers_of_any_size(scale):
    values = np.random.default_rng(0).normal(size=(400, 300)) * scale
    assert norm(values.astype("f4")) == pytest.approx(np.linalg.norm(values), rel=1e-6)
    assert np.isnan(norm(np.array([1.0, np.nan], "f4")))
    assert norm(np.array([1.0, -np.inf], "f4")) == np.inf


@pytest.mark.parametrize("offset", [0.0, 1.0, 1e4])
def test_means_and_deviations_are_those_of_numpy(offset):
    values = (np.random.default_rng(0).normal(size=(400, 300)) + offset).astype("f4")
    wide = values.astype("f8")
    expected = pytest.approx((wide.mean(), wide.std()), rel=1e-5, abs=1e-6)
    assert mean_and_std(values) == expected
