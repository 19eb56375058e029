"""What is said of a network does not hang on the backend: the same verdicts, NumPy's numbers."""

import keras
import numpy as np
import pytest

import tfinit
from tfinit.diagnostics import diagnose
from tfinit.errors import InputError

pytestmark = pytest.mark.backends
L = keras.layers
VECTORS = np.random.default_rng(0).normal(size=(32, 16)).astype("float32")
CLASSES = np.arange(32) % 4
IMAGES = np.random.default_rng(1).normal(size=(16, 8, 8, 3)).astype("float32")
WORDS = np.random.default_rng(2).integers(1, 20, (8, 6))


def filled(model, scale=1.0):
    """He's weights from NumPy, which draws the same on each backend."""
    random = np.random.default_rng(3)
    for weight in model.trainable_weights:
        if len(weight.shape) > 1:
            fan_in = np.prod(tuple(weight.shape)[:-1])
            weight.assign(scale * np.sqrt(2 / fan_in) * random.normal(size=tuple(weight.shape)))
    return model


def mlp(scale=1.0, activation="relu", bias=0.0, depth=5, policy="float32"):
    def layer(n):
        return L.Dense(
            16, activation, bias_initializer=keras.initializers.Constant(bias), name=f"fc{n}"
        )

    keras.config.set_dtype_policy(policy)
    try:
        layers = [layer(n) for n in range(1, depth)]
        model = keras.Sequential([keras.Input((16,)), *layers, L.Dense(4, name="output")])
    finally:
        keras.config.set_dtype_policy("float32")
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return filled(model, scale)


def residual():
    x = keras.Input((8, 8, 3))
    h = L.ReLU()(L.BatchNormalization()(L.Conv2D(6, 3, padding="same", name="first")(x)))
    h = L.Add()([h, L.Conv2D(6, 3, padding="same", activation="relu", name="branch")(h)])
    return filled(keras.Model(x, L.Dense(4, "softmax")(L.GlobalAveragePooling2D()(h))))


def recurrent():
    words = keras.Input((6,), dtype="int32")
    h = L.LSTM(8, return_sequences=True, name="lstm")(L.Embedding(20, 8, mask_zero=True)(words))
    return filled(keras.Model(words, L.Dense(3, name="tag")(h)))


# What is severe, and where; or nothing.
TABLE = {
    "relu, he": (mlp, (VECTORS, CLASSES), []),
    "residual": (residual, (IMAGES, CLASSES[:16]), []),
    "recurrent": (recurrent, (WORDS, None), []),
    "half": (lambda: mlp(policy="mixed_float16"), (VECTORS, CLASSES), []),
    "too small": (lambda: mlp(0.1), (VECTORS, CLASSES), [("vanishing", "fc2")]),
    "too large": (lambda: mlp(6.0), (VECTORS, CLASSES), [("exploding", "fc2")]),
    "zeros": (lambda: mlp(0.0), (VECTORS, CLASSES), [("twins", "fc1")]),
    "saturated": (lambda: mlp(8.0, "tanh"), (VECTORS, CLASSES), [("saturated", "fc1")]),
    "cut off": (lambda: mlp(bias=-10.0), (VECTORS, CLASSES), [("bias off", "fc1")]),
    "half overflows": (
        lambda: mlp(40.0, policy="mixed_float16"),
        (VECTORS, CLASSES),
        [("not finite", "fc3")],
    ),
}


def state(model):
    variables = [*model.variables, *(model.optimizer.variables if model.compiled else ())]
    return [np.asarray(variable.numpy()).tobytes() for variable in variables]


@pytest.mark.parametrize("name", TABLE)
def test_verdicts_are_the_same_and_nothing_changes(name):
    build, batch, expected = TABLE[name]
    model = build()
    before = state(model)
    diagnosis = diagnose(model, *batch)
    found = [(finding.kind, finding.layer) for finding in diagnosis.severe]
    assert found[: len(expected) or None] == expected
    assert diagnosis.healthy == (not expected)
    assert state(model) == before


def test_numbers_are_those_of_numpy():
    """Two outputs with weights, a penalty on the weights, a layer that is called twice."""
    shared = L.Dense(5, "tanh", kernel_regularizer=keras.regularizers.L2(0.1), name="shared")
    x = keras.Input((5,), name="x")
    h = shared(shared(x))
    model = keras.Model(
        {"x": x}, {"kind": L.Dense(3, name="kind")(h), "size": L.Dense(2, name="size")(h)}
    )
    cross = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(
        keras.optimizers.SGD(0.5),
        {"kind": cross, "size": "mse"},
        loss_weights={"kind": 2.0, "size": 0.5},
    )
    filled(model)
    w, k, s = (model.get_layer(name).kernel.numpy() for name in ("shared", "kind", "size"))
    inputs, kinds, sizes = VECTORS[:, :5], CLASSES % 3, VECTORS[:, 5:7]

    one = np.tanh(inputs @ w)
    two = np.tanh(one @ w)
    logits = two @ k
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    off = two @ s - sizes
    loss = 2 * -np.log(shares[range(32), kinds]).mean() + 0.5 * (off**2).mean()
    by_logits = 2 * (shares - np.eye(3)[kinds]) / 32
    by_size = 0.5 * 2 * off / off.size
    by_two = by_logits @ k.T + by_size @ s.T
    by_z2 = by_two * (1 - two**2)
    by_one = by_z2 @ w.T
    by_w = inputs.T @ (by_one * (1 - one**2)) + one.T @ by_z2 + 2 * 0.1 * w

    diagnosis = diagnose(model, {"x": inputs}, {"kind": kinds, "size": sizes})
    layers = {layer.key: layer for layer in diagnosis.layers}
    assert diagnosis.measurement.loss == pytest.approx(loss + 0.1 * (w**2).sum(), rel=1e-5)
    for signal, values in (
        (layers["shared"].linear, inputs @ w),
        (layers["shared"].output, one),
        (layers["shared#2"].output, two),
        (layers["kind"].output_gradient, by_logits),
        (layers["size"].output_gradient, by_size),
        (layers["shared#2"].output_gradient, by_two),
        (layers["shared#2"].linear_gradient, by_z2),
        (layers["shared"].output_gradient, by_one),
    ):
        found = signal.mean, signal.std, signal.variation, signal.norm
        within, norm = np.sqrt(values.var(0).mean()), np.linalg.norm(values)
        expected = values.mean(), values.std(), within, norm
        assert found == pytest.approx(expected, rel=1e-4, abs=1e-7)
    weights = layers["shared"].weights[0]
    assert weights.gradient_norm == pytest.approx(np.linalg.norm(by_w), rel=1e-4)
    ratio = 0.5 * np.linalg.norm(by_w) / np.linalg.norm(w)
    assert weights.update_ratio == pytest.approx(ratio, rel=1e-4)


class Variational(keras.layers.Layer):
    """It adds a loss of its own, and draws."""

    def __init__(self):
        super().__init__(name="variational")
        self.noise = keras.random.SeedGenerator(7)

    def call(self, x):
        self.add_loss(keras.ops.mean(keras.ops.square(x)))
        return x + 0.1 * keras.random.normal(keras.ops.shape(x), seed=self.noise)


def test_losses_that_layers_add_are_in_it_and_streams_are_left():
    x = keras.Input((16,))
    model = keras.Model(x, L.Dense(16, name="out")(Variational()(L.Dense(4, name="code")(x))))
    model.compile("adam", "mse")
    filled(model)
    before = state(model)
    first, again = (diagnose(model, VECTORS, VECTORS) for _ in range(2))
    assert str(first) == str(again)
    assert state(model) == before
    code = VECTORS @ model.get_layer("code").kernel.numpy()
    own = model.evaluate(VECTORS, VECTORS, batch_size=32, verbose=0)
    assert first.measurement.loss == pytest.approx(own, rel=1e-4)
    assert own > (code**2).mean()


def test_a_model_that_is_compiled_without_a_loss_has_those_of_its_layers():
    x = keras.Input((16,))
    code = L.Dense(4, kernel_regularizer="l2", name="code")(x)
    model = filled(keras.Model(x, L.Dense(2, name="out")(Variational()(code))))
    kernel = model.get_layer("code").kernel.numpy()
    # Not compiled, it is judged by random sums of its outputs.
    assert any("no targets" in note for note in diagnose(model, VECTORS).measurement.notes)
    model.compile("sgd")
    diagnosis = diagnose(model, VECTORS)
    loss = ((VECTORS @ kernel) ** 2).mean() + 0.01 * (kernel**2).sum()
    assert diagnosis.measurement.loss == pytest.approx(loss, rel=1e-5)
    assert not any("no targets" in note for note in diagnosis.measurement.notes)
    by_kernel = VECTORS.T @ (2 * (VECTORS @ kernel) / (32 * 4)) + 2 * 0.01 * kernel
    layers = {layer.key: layer for layer in diagnosis.layers}
    norm = layers["code"].weights[0].gradient_norm
    assert norm == pytest.approx(np.linalg.norm(by_kernel), rel=1e-4)
    assert layers["out"].weights[0].gradient_norm is None


WEIGHTS = np.arange(32) / 8.0


@pytest.mark.parametrize("loss", ["compiled", "guessed", "by name", "object"])
def test_examples_count_by_their_weights(loss):
    model = filled(keras.Sequential([keras.Input((16,)), L.Dense(2, name="out")]))
    targets = VECTORS[:, :2]
    if loss == "compiled":
        model.compile("sgd", "mse")
    given = {"by name": "mse", "object": keras.losses.MeanSquaredError()}.get(loss)
    diagnosis = diagnose(model, VECTORS, targets, given, sample_weight=WEIGHTS)
    off = VECTORS @ model.layers[0].kernel.numpy() - targets
    weighted = WEIGHTS[:, None] * off
    assert diagnosis.measurement.loss == pytest.approx((weighted * off).mean(), rel=1e-5)
    back = np.linalg.norm(2 * weighted / off.size)
    assert diagnosis.layers[0].output_gradient.norm == pytest.approx(back, rel=1e-4)


@pytest.mark.parametrize(
    ("y", "loss", "weights", "message"),
    [
        (None, None, WEIGHTS, "`sample_weight` was given without `y`"),
        (CLASSES, None, WEIGHTS[:5], "`x` has 32 examples and `sample_weight` has 5"),
        (CLASSES, None, -WEIGHTS, "`sample_weight` must be numbers of 0 or more"),
        (CLASSES, lambda y, z: keras.ops.mean(z), WEIGHTS, r"`sample_weight` \(\(32,\)\) does not"),
    ],
)
def test_weights_that_do_not_fit_are_refused(y, loss, weights, message):
    model = keras.Sequential([keras.Input((16,)), L.Dense(4)])
    with pytest.raises(InputError, match=message):
        diagnose(model, VECTORS, y, loss, sample_weight=weights)


def test_a_kernel_that_no_gradient_reaches():
    x = keras.Input((16,))
    h = keras.ops.stop_gradient(L.Dense(8, name="cut")(x))
    diagnosis = diagnose(keras.Model(x, L.Dense(4, name="output")(h)), VECTORS, CLASSES)
    assert [layer.weights[0].gradient_norm is None for layer in diagnosis.layers] == [True, False]
    assert (diagnosis.findings[0].kind, diagnosis.findings[0].layer) == ("vanishing", "cut")


def test_what_cannot_be_called_is_named():
    model = keras.Sequential([keras.Input((16,)), L.Dense(4), L.Dense(2)])
    with pytest.raises(InputError, match=r"`x` has shape \(8, 3\), the model's input"):
        diagnose(model, VECTORS[:8, :3])
    with pytest.raises(InputError, match="The loss cannot be computed from `y`"):
        diagnose(model, VECTORS, VECTORS, "mse")


def test_what_is_recommended_is_drawn():
    model = keras.Sequential(
        [keras.Input((16,)), L.Dense(64, "relu"), L.PReLU(name="p"), L.Dense(4, name="output")]
    )
    model.get_layer("p").alpha.assign(np.full(64, 0.25))
    advice = tfinit.recommend(model)
    report = advice.apply(seed=1)
    assert [one.initializer for one in advice] == ["He, relu", "LeCun"]
    kernel = model.layers[0].kernel.numpy()
    assert report["dense/kernel"].std == pytest.approx(np.sqrt(2 / 16), rel=1e-3)
    assert kernel.std() == pytest.approx(np.sqrt(2 / 16), rel=0.1)
