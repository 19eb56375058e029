"""What is recommended for which surroundings, by hand; what `apply` and pasted code do."""

import keras
import numpy as np
import pytest
from chains import chain, network
from keras import layers as L

import tfinit
from tests.graph.test_tracing import transformer
from tfinit.diagnostics.advising.advice import recommend
from tfinit.schemes import initialize

Z = np.linspace(-10, 10, 200_001)
NORMAL = np.exp(-(Z**2) / 2) / np.sqrt(2 * np.pi)


def mean_square(values):
    """E[values²] over a normal z, by a sum on a fine grid."""
    return np.sum(values**2 * NORMAL) * (Z[1] - Z[0])


TANH = np.tanh(Z)
XAVIER_TANH = 2 / (20 * mean_square(TANH) + 50 * mean_square(1 - TANH**2))
SILU = Z / (1 + np.exp(-Z))
ELU = np.where(Z > 0, Z, np.expm1(np.minimum(Z, 0)))
CONV, FLAT = (8, 8, 12), (20,)

# The layer, what follows, the input's shape → what is said, the variance.
TABLE = {
    "relu": (L.Dense(50, "relu"), [], FLAT, "He, relu", 2 / 20),
    "relu-layer": (L.Dense(50), [L.Dropout(0.1), L.ReLU()], FLAT, "He, relu", 2 / 20),
    "leaky": (
        *(L.Dense(50), [L.LeakyReLU(negative_slope=0.2)], FLAT),
        *("He, leaky_relu 0.2", 2 / (1 + 0.2**2) / 20),
    ),
    "prelu": (
        *(L.Dense(50), [L.PReLU(alpha_initializer=keras.initializers.Constant(0.5))], FLAT),
        *("He, prelu 0.5", 2 / (1 + 0.5**2) / 20),
    ),
    "silu": (L.Dense(50, "silu"), [], FLAT, "He, silu", 1 / mean_square(SILU) / 20),
    "elu": (L.Dense(50), [L.ELU()], FLAT, "He, elu", 1 / mean_square(ELU) / 20),
    "a function": (
        *(L.Dense(50), [L.Activation(lambda z: 3 * keras.ops.relu(z))], FLAT),
        *("He, <lambda>", 2 / 9 / 20),
    ),
    "selu": (L.Dense(50, "selu"), [], FLAT, "LeCun", 1 / 20),
    "linear": (L.Dense(50), [], FLAT, "LeCun", 1 / 20),
    "tanh": (L.Dense(50, "tanh"), [], FLAT, "Xavier, tanh", XAVIER_TANH),
    "sigmoid": (L.Dense(50, "sigmoid"), [], FLAT, "critical, sigmoid", 16 / 20),
    "hard_sigmoid": (L.Dense(50, "hard_sigmoid"), [], FLAT, "critical, hard_sigmoid", 36 / 20),
    "normalized": (
        *(L.Dense(50), [L.BatchNormalization(), L.Activation("sigmoid")], FLAT),
        *("LeCun", 1 / 20),
    ),
    "conv": (L.Conv2D(32, 3, activation="relu"), [], CONV, "He, relu", 2 / (9 * 12)),
    "groups": (L.Conv2D(32, 3, groups=4, activation="relu"), [], CONV, "He, relu", 2 / (9 * 3)),
    "depthwise": (
        *(L.DepthwiseConv2D(3, depth_multiplier=4, activation="relu"), [], CONV),
        *("He, relu", 2 / 9),
    ),
    "transposed": (
        *(L.Conv2DTranspose(8, 4, strides=2, activation="relu"), [], CONV),
        *("He, relu", 2 / (16 * 12 / 4)),
    ),
    "experts": (
        *(L.EinsumDense("bed,edf->bef", (4, 40), activation="relu"), [], (4, 20)),
        *("He, relu", 2 / 20),
    ),
    "experts, tanh": (
        *(L.EinsumDense("bed,edf->bef", (4, 50), activation="tanh"), [], (4, 20)),
        *("Xavier, tanh", XAVIER_TANH),
    ),
    "heads": (L.EinsumDense("bd,dhk->bhk", (4, 10)), [], FLAT, "LeCun", 1 / 20),
    "embedding": (L.Embedding(60, 25), [], (5,), "N(0, 1/25)", 1 / 25),
}


@pytest.mark.parametrize("name", TABLE)
def test_the_table_by_hand_is_what_apply_sets_and_what_pasted_code_gives(name):
    layer, after, shape, text, variance = TABLE[name]
    model = network(layer, *after, shape=shape)
    advice = recommend(model)[0]
    assert advice.initializer == text
    assert advice.std == pytest.approx(variance**0.5, rel=1e-4)

    kernel = layer.weights[0]
    error = 5 * advice.std / (2 * np.prod(kernel.shape)) ** 0.5
    recommend(model).apply(seed=1)
    assert np.std(kernel) == pytest.approx(advice.std, abs=error)

    keras.utils.set_random_seed(1)
    argument, expression = advice.code.split("=", 1)
    given = eval(expression, {"keras": keras, "tfinit": tfinit})
    pasted = type(layer).from_config({**layer.get_config(), argument: given})
    pasted.build(layer.get_build_config()["input_shape"])
    assert np.std(pasted.weights[0]) == pytest.approx(advice.std, abs=error)


def test_the_last_layer_is_the_output_unless_something_scales_it():
    def last(*steps):
        return recommend(chain(L.Dense(8, "relu"), *steps))[-1]

    for steps in ([L.Dense(4, "softmax")], [L.Dense(4, "sigmoid")], [L.Dense(4)]):
        assert "the output layer" in last(*steps).why
        assert (last(*steps).std, last(*steps).bias) == (8**-0.5, 0.0)
    features = last(L.Dense(4, use_bias=False), L.BatchNormalization(), L.ReLU())
    assert (features.initializer, features.bias) == ("He, relu", None)
    assert "normalization behind it" in features.why


@pytest.mark.parametrize(("kind", "gates"), [(L.LSTM, 4), (L.GRU, 3), (L.SimpleRNN, 1)])
def test_recurrent_kernels_are_told_gate_by_gate_and_the_bias_stays(kind, gates):
    layer = kind(30, name="rnn")
    model = chain(layer, L.Dense(2), shape=(5, 20))
    before = layer.cell.bias.numpy()
    found = recommend(model)
    assert [a.std for a in found[:2]] == pytest.approx([(2 / 50) ** 0.5, (gates * 30) ** -0.5])
    found.apply(seed=1)
    state = layer.cell.recurrent_kernel.numpy()
    assert np.allclose(state @ state.T, np.eye(30), atol=1e-5)
    assert np.array_equal(layer.cell.bias, before)
    scope = {}
    exec(found.code, scope)
    pasted = kind(30, **scope["arguments"]["rnn"])
    pasted.build((None, 5, 20))
    for ours, theirs in zip(layer.weights[:2], pasted.weights[:2], strict=True):
        assert np.std(theirs) == pytest.approx(np.std(ours), rel=0.1)


def residual(blocks, norm_in=False, norm_out=False, norm_sum=False):
    inputs = keras.Input((16,))
    x = L.Dense(16, "relu", name="stem")(inputs)
    for i in range(blocks):
        y = L.LayerNormalization()(x) if norm_in else x
        y = L.Dense(16, name=f"last{i}")(L.Dense(16, "relu", name=f"first{i}")(y))
        y = L.BatchNormalization()(y) if norm_out else y
        x = L.Add()([x, y])
        x = L.LayerNormalization()(x) if norm_sum else x
    return keras.Model(inputs, L.Dense(4, name="head")(x))


@pytest.mark.parametrize("norm_in", [False, True])
def test_ends_of_branches_shrink_with_the_number_of_additions(norm_in):
    found = recommend(residual(9, norm_in=norm_in))
    he, lecun = (2 / 16) ** 0.5, 16**-0.5
    assert [found[f"{k}/kernel"].std for k in ("stem", "first3", "last3", "head")] == pytest.approx(
        [he, he, lecun / 3, lecun]
    )
    assert found["last3/kernel"].initializer == "LeCun / √9"


def test_ends_of_branches_that_are_normalized_stay_and_gamma_is_named():
    found = recommend(residual(9, norm_out=True))["last3/kernel"]
    assert found.std == 16**-0.5
    assert "gamma = 0" in found.why
    found = recommend(residual(9, norm_sum=True))["last3/kernel"]
    assert found.std == 16**-0.5
    assert "sum is normalized" in found.why


def test_a_residual_network_without_normalization_keeps_its_signal():
    model = residual(24)
    recommend(model).apply(seed=1)
    x = np.random.default_rng(0).normal(size=(64, 16)).astype("float32")
    assert 0.3 < np.std(model(x)) < 6


def test_a_projection_on_a_shortcut_keeps_the_scale():
    inputs = keras.Input((16,))
    y = L.Dense(32, name="last")(L.Dense(32, "relu")(inputs))
    x = L.ReLU()(L.Add()([L.Dense(32, name="shortcut")(inputs), y]))
    found = recommend(keras.Model(inputs, L.Dense(4)(x)))["shortcut/kernel"]
    assert found.std == 16**-0.5
    assert "shortcut" in found.why


def test_deep_tanh_gets_its_critical_point_and_short_or_normalized_its_gain():
    def second(depth, *between):
        kinds = [lambda: L.Dense(16, "tanh"), *between] * depth
        return recommend(chain(*(kind() for kind in kinds), L.Dense(3)))[1]

    both = 16 * (mean_square(TANH) + mean_square(1 - TANH**2)) / 2
    assert second(9).std == pytest.approx(both**-0.5, rel=1e-4)
    assert second(10).std == pytest.approx(0.25, rel=1e-3)
    assert second(10).initializer == "orthogonal, critical tanh"
    wider = recommend(chain(*(L.Dense(16, "tanh") for _ in range(10)), shape=(8,)))[0]
    assert (wider.initializer, wider.std) == ("critical, tanh", pytest.approx(8**-0.5, rel=1e-3))
    assert second(10, L.LayerNormalization).initializer == "Xavier, tanh"


def rectified(depth, *between):
    """A chain of so many ReLU layers of 16 units that read 8 inputs."""
    kinds = [lambda: L.Dense(16, "relu"), *between] * depth
    return chain(*(kind() for kind in kinds), L.Dense(3), shape=(8,))


def test_square_kernels_of_deep_rectifiers_keep_lengths():
    model = rectified(8)
    found = recommend(model)
    kinds = [advice.initializer for advice in found]
    assert kinds == ["He, relu", *["orthogonal, relu"] * 7, "LeCun"]
    assert [advice.std for advice in found[1:8]] == pytest.approx([(2 / 16) ** 0.5] * 7, rel=1e-4)
    found.apply(seed=1)
    for layer in model.layers[1:8]:
        matrix = layer.kernel.numpy()
        assert np.allclose(matrix.T @ matrix, 2 * np.eye(16), atol=1e-4)
    given = eval(found[1].code.split("=", 1)[1], {"tfinit": tfinit})
    matrix = np.array(given((16, 16)))
    assert np.allclose(matrix.T @ matrix, 2 * np.eye(16), atol=1e-4)


def test_shallow_normalized_and_residual_rectifiers_stay_independent():
    for model in (rectified(7), rectified(12, L.LayerNormalization)):
        assert recommend(model)[1].initializer == "He, relu"
    inputs = x = keras.Input((16,))
    for _ in range(8):
        x = L.Add()([x, L.Dense(16)(L.Dense(16, "relu")(x))])
    assert not any("orthogonal" in a.initializer for a in recommend(keras.Model(inputs, x)))


@pytest.mark.parametrize(
    ("layer", "read"),
    [
        (lambda: L.Conv2D(8, 3, padding="same"), (4, 4, 3)),
        (lambda: L.Conv2D(8, 3, padding="same", strides=2), (5, 4, 3)),
        (lambda: L.Conv2D(8, (5, 1), padding="same", dilation_rate=(2, 1)), (7, 3, 3)),
        (lambda: L.Conv1D(8, 4, padding="causal"), (9, 3)),
        (lambda: L.DepthwiseConv2D(3, padding="same"), (6, 6, 3)),
    ],
)
def test_a_window_that_sees_padding_sums_what_is_inside(layer, read):
    made = layer()
    advice = recommend(chain(made, L.ReLU(), L.Flatten(), L.Dense(2), shape=read))[0]
    before, fan_in = made.get_weights(), np.prod(made.weights[0].shape[:-2])
    fan_in *= 1 if "Depthwise" in type(made).__name__ else read[-1]
    made.set_weights([np.ones_like(w) * (w.ndim > 1) for w in before])
    products = np.mean(made(np.ones((1, *read), "float32")))  # ones summed: counted
    assert products < 0.95 * fan_in
    assert advice.std == pytest.approx((2 / products) ** 0.5, rel=1e-4)
    assert f"the layer sums {products:g} products, not" in advice.why


def test_a_deep_network_of_small_padded_maps_keeps_its_signal():
    layers = [L.Conv2D(32, 3, padding="same", activation="relu") for _ in range(12)]
    model = chain(*layers, shape=(4, 4, 16))
    x = np.random.default_rng(0).normal(size=(64, 4, 4, 16)).astype("float32")
    initialize(model, "he", seed=1)
    assert np.mean(np.square(model(x))) < 0.2
    recommend(model).apply(seed=1)
    assert 0.3 < np.mean(np.square(model(x))) < 15
    for free in (L.Conv2D(8, 3, padding="valid"), L.Conv2D(8, 3, padding="same")):
        shape = (4, 4, 3) if free.padding == "valid" else (64, 64, 3)
        found = recommend(chain(free, L.ReLU(), L.Flatten(), L.Dense(2), shape=shape))[0]
        assert found.std == pytest.approx((2 / 27) ** 0.5)


def test_biases_behind_sigmoids_cancel_their_mean():
    inputs = keras.Input((8, 8, 3))
    x = L.Conv2D(6, 3, activation="sigmoid", name="first")(inputs)
    x = L.Conv2D(8, 3, groups=2, activation="relu", name="second")(L.Dropout(0.5)(x))
    x = L.Dense(12, "sigmoid", name="third")(L.Flatten()(x))
    model = keras.Model(inputs, L.Dense(4, name="out")(x))
    found = recommend(model)
    assert [a.cancels for a in found] == [None, 0.5, None, 0.5]
    assert [a.bias for a in found] == [0.0, None, 0.0, None]
    found.apply(seed=1)
    for name, inputs_of in (("second", (1, 6, 6, 6)), ("out", (1, 12))):
        layer = model.get_layer(name)
        # All sigmoids at their mean.
        assert np.allclose(layer(np.full(inputs_of, 0.5, "float32")), 0, atol=1e-5)
        assert np.any(layer.bias)
    assert not np.any(model.get_layer("third").bias)
    assert "apply(only=['second/kernel', 'out/kernel'])" in found.code

    unbiased = chain(L.Dense(8, "sigmoid"), L.Dense(8, "relu", use_bias=False), L.Dense(2))
    assert "give it a bias" in recommend(unbiased)[1].why


def test_a_deep_sigmoid_network_tells_its_inputs_apart_as_it_did_not_before():
    model = chain(*(L.Dense(100, "sigmoid") for _ in range(20)), L.Dense(10), shape=(64,))
    x = np.random.default_rng(0).normal(size=(64, 64)).astype("float32")
    initialize(model, "xavier", seed=1)
    assert np.std(model(x), axis=0).max() < 1e-6
    recommend(model).apply(seed=1)
    assert np.std(model(x), axis=0).min() > 0.01


def test_a_sigmoid_that_gates_starts_half_open():
    inputs = keras.Input((16,))
    gate = L.Dense(16, "sigmoid", name="gate")(inputs)
    x = L.Dense(8, "relu", name="next")(L.Multiply()([inputs, gate]))
    found = recommend(keras.Model(inputs, L.Dense(2)(x)))
    assert (found["gate/kernel"].std, found["next/kernel"].cancels) == (0.25, None)


def test_post_norm_attention_is_told_of_mimetic_and_the_rest_is_not():
    def notes(post_norm):
        inputs = keras.Input((6, 16))
        norm, attention = L.LayerNormalization(), L.MultiHeadAttention(2, 8)
        if post_norm:
            x = norm(L.Add()([inputs, attention(inputs, inputs)]))
        else:
            y = norm(inputs)
            x = L.Add()([inputs, attention(y, y)])
        return recommend(keras.Model(inputs, L.Dense(2)(x))).notes

    assert '"mimetic"' in notes(True)[0]
    assert notes(False) == []


def test_attention_has_one_argument_for_all_its_kernels():
    model = transformer(depth=2)
    found = recommend(model)
    keys = [f"block/multi_head_attention/{part}/kernel" for part in ("query", "attention_output")]
    assert [found[key].std for key in keys] == pytest.approx([8**-0.5, 8**-0.5 / 2])
    drawn = found[keys[0]].code.removeprefix("kernel_initializer=")
    assert found[keys[1]].code == f'tfinit.recommend(model).apply(only="{keys[1]}")'
    attention = L.MultiHeadAttention(16, 4, kernel_initializer=eval(drawn))
    attention.build((None, 3, 8), (None, 3, 8))
    query = keras.ops.convert_to_numpy(attention.weights[0])
    assert query.std() == pytest.approx(8**-0.5, rel=0.3)  # whichever code an older Keras needs
    lines = found.code.splitlines()
    said = f"dict(kernel_initializer={drawn})"
    assert f'    "block/multi_head_attention": {said},' in lines
    assert keys[1] in lines[-1]
    raw = recommend(transformer(depth=2, raw=True))
    assert any("could not be traced" in note for note in raw.notes)
    assert "could not be traced" in str(raw)
