"""Schemes that are rules of a paper: literal values on small networks."""

import warnings

import keras
import numpy as np
import pytest
from keras import layers as L

from tests.graph.test_tracing import transformer
from tfinit.errors import InputError
from tfinit.schemes import initialize
from tfinit.variables import all_weights


def residual_mlp(blocks, per_block=3):
    inputs = keras.Input((32,))
    x = L.Dense(32, "relu", name="stem")(inputs)
    for block in range(blocks):
        y = x
        for i in range(per_block - 1):
            y = L.Dense(32, "relu", name=f"b{block}_{i}")(y)
        x = L.Add()([x, L.Dense(32, name=f"b{block}_last")(y)])
    return keras.Model(inputs, L.Dense(4, name="head")(x))


@pytest.mark.parametrize(("per_block", "exponent"), [(2, -1 / 2), (3, -1 / 4)])
def test_fixup_scales_branches_and_zeroes_their_ends_and_the_head(per_block, exponent):
    report = initialize(residual_mlp(9, per_block), "fixup", seed=1)
    he = (2 / 32) ** 0.5
    assert report["stem/kernel"].std == pytest.approx(he)
    assert report["b4_0/kernel"].std == pytest.approx(he * 9**exponent)
    assert report["b4_last/kernel"].std == report["head/kernel"].std == 0
    assert report.notes == ["9 residual branches"]


def test_fixup_starts_as_if_there_were_no_branches():
    model = residual_mlp(4)
    initialize(model, "fixup", seed=1)
    stem = keras.Model(model.inputs, model.get_layer("stem").output)
    body = keras.Model(model.inputs, model.get_layer("head").input)
    x = np.random.default_rng(0).normal(size=(8, 32))
    assert np.array_equal(stem(x), body(x))
    assert not np.any(model(x))


def test_depth_scaled_is_the_rule_of_gpt2():
    model = transformer(depth=3)
    report = initialize(model, "depth_scaled", seed=1)
    small = 0.02 / (2 * 3) ** 0.5
    ends = [r for r in report if r.std == pytest.approx(small)]
    assert [r.key.split("/", 1)[1] for r in ends] == [
        "multi_head_attention/attention_output/kernel",
        "dense_1/kernel",
    ] * 3
    assert all(r.std == 0.02 for r in report if r not in ends)
    assert float(np.std(model.blocks[0].up.kernel)) == pytest.approx(0.02, rel=0.25)


def test_depth_scaled_from_another_start_multiplies_it():
    model, start = residual_mlp(4), residual_mlp(4)
    initialize(model, "depth_scaled", seed=1, start="he")
    initialize(start, "he", seed=1)
    for name, factor in (("b0_0", 1), ("b2_last", 0.5), ("head", 1)):
        kernel = start.get_layer(name).kernel.numpy()
        assert np.allclose(model.get_layer(name).kernel, kernel * factor)


def test_alexnet_sets_the_biases_that_the_paper_names():
    inputs = keras.Input((64, 64, 3))
    x = inputs
    for i in range(1, 6):
        x = L.Conv2D(4, 3, groups=2 if i in (2, 4, 5) else 1, padding="same", name=f"conv{i}")(x)
        x = L.MaxPooling2D()(L.ReLU()(x))
    x = L.Dense(8, "relu", name="fc6")(L.Flatten()(x))
    x = L.Dense(8, "relu", name="fc7")(x)
    model = keras.Model(inputs, L.Dense(10, "softmax", name="fc8")(x))
    initialize(model, "alexnet", seed=1)
    biases = {layer.name: set(layer.bias.numpy()) for layer in model.layers if layer.weights}
    ones = {name for name, values in biases.items() if values == {1}}
    assert ones == {"conv2", "conv4", "conv5", "fc6", "fc7"}
    assert all(values == {0} for name, values in biases.items() if name not in ones)
    assert float(np.std(model.get_layer("conv3").kernel)) == pytest.approx(0.01, rel=0.2)


def mlp(last=None):
    widths = (50, 100, 30, 80, 10)
    return keras.Sequential(
        [keras.Input((20,)), *[L.Dense(w, "relu") for w in widths[:-1]], L.Dense(widths[-1], last)]
    )


def normal(*shape):
    return np.random.default_rng(1).normal(size=shape).astype("float32")


def channels(model, x):
    """Mean and std of every channel of every pre-activation, in NumPy alone."""
    found = []
    for layer in model.layers:
        z = x @ layer.kernel.numpy() + layer.bias.numpy()
        found.append((z.mean(axis=0), z.std(axis=0)))
        x = np.maximum(z, 0)
    return found


@pytest.mark.backends
def test_weightnorm_data_gives_every_unit_mean_0_and_variance_1():
    model, x = mlp(), normal(256, 20)
    initialize(model, "weightnorm_data", x, seed=1)
    for mean, std in channels(model, x):
        assert np.abs(mean).max() < 1e-4
        assert np.abs(std - 1).max() < 1e-4


def test_means_that_hide_what_varies_are_told_where_biases_cannot_take_them_out_for_good():
    far = L.Dense(16, bias_initializer=keras.initializers.Constant(1e3), trainable=False)
    without = L.Dense(4, use_bias=False, name="b")
    model = keras.Sequential([keras.Input((20,)), L.Dense(16, name="a"), far, without])
    with pytest.warns(UserWarning) as seen:
        report = initialize(model, "weightnorm_data", 2000 + 10 * normal(64, 20), seed=1)
    told = [str(w.message) for w in seen if str(w.message).startswith('"weightnorm_data": ')]
    assert [f'"weightnorm_data": {note}' for note in report.notes] == told
    inputs, hidden = report.notes
    assert "'a/kernel'" in inputs
    assert "training brings it back: standardize the inputs" in inputs
    assert "'b/kernel'" in hidden
    assert "no bias" in hidden
    with pytest.warns(UserWarning, match="'b/kernel'"):
        assert initialize(model, "weightnorm_data", normal(64, 20), seed=1).notes == [hidden]


@pytest.mark.parametrize(
    ("layer", "shape", "axes"),
    [
        (L.Conv2D(6, 3, groups=2), (8, 8, 4), (0, 1, 2)),
        (L.DepthwiseConv2D(3, depth_multiplier=2), (8, 8, 4), (0, 1, 2)),
        (L.SeparableConv2D(6, 3), (8, 8, 4), (0, 1, 2)),
        (L.Conv2DTranspose(6, 3), (8, 8, 4), (0, 1, 2)),
        pytest.param(
            L.EinsumDense("abc,cde->abde", (5, 2, 3), bias_axes="de"),
            (5, 4),
            (0, 1),
            marks=pytest.mark.backends,
        ),
        (L.EinsumDense("abc,dec->abed", (5, 2, 3), bias_axes="ed"), (5, 4), (0, 1)),
        (L.EinsumDense("...c,cd->...d", (5, 3), bias_axes="d"), (5, 4), (0, 1)),
    ],
)
def test_channels_of_every_kind_of_layer(layer, shape, axes):
    model, x = keras.Sequential([keras.Input(shape), layer]), normal(32, *shape)
    initialize(model, "weightnorm_data", x, seed=1)
    y = keras.ops.convert_to_numpy(model(x))
    assert np.abs(y.mean(axis=axes)).max() < 1e-5
    assert np.abs(y.std(axis=axes) - 1).max() < 1e-5


@pytest.mark.backends
def test_constant_channels_are_counted_and_left():
    model = keras.Sequential([keras.Input((3,)), L.Embedding(4, 2), L.Flatten(), L.Dense(3)])
    x = np.zeros((16, 3), "int32")
    report = initialize(model, "weightnorm_data", x, seed=1)
    assert report[0].note == "2 of 2 channels are constant over the batch"
    assert report[1].note == "3 of 3 channels are constant over the batch"
    assert all(np.all(np.isfinite(w)) for w in model.weights)


def rates(model, x):
    """C of each layer by Krähenbühl's definition: backpropagation in NumPy, example by example."""
    inputs, slopes = [], []
    for layer in model.layers:
        inputs.append(x)
        z = x @ layer.kernel.numpy() + layer.bias.numpy()
        slopes.append(z > 0)
        x = np.maximum(z, 0)
    slopes[-1] = np.ones_like(slopes[-1])
    squares = [[] for _ in model.layers]
    noise = np.random.default_rng(9)
    for _ in range(20):
        delta = noise.normal(size=x.shape)
        for i in reversed(range(len(model.layers))):
            delta = delta * slopes[i]
            # E over examples of (input · δ)², entry by entry
            squares[i].append(np.mean((inputs[i] ** 2).T @ (delta**2)) / len(delta))
            delta = delta @ model.layers[i].kernel.numpy().T
    return [
        (np.mean(s) / np.mean(layer.kernel.numpy() ** 2)) ** 0.5
        for s, layer in zip(squares, model.layers, strict=True)
    ]


@pytest.mark.backends
def test_krahenbuhl_makes_all_layers_learn_at_one_rate():
    model, x = mlp(), normal(256, 20)
    initialize(model, "krahenbuhl", x, seed=1, iterations=0)
    before = rates(model, x)
    report = initialize(model, "krahenbuhl", x, seed=1)
    after = rates(model, x)
    assert max(before) / min(before) > 2
    # Both sides estimate C from random η: 256 examples leave it some percent of error.
    assert max(after) / min(after) < 1.25
    product = np.prod([record.scale for record in report])
    assert product == pytest.approx(1, rel=1e-4)
    for mean, _ in channels(model, x):
        assert np.abs(mean).max() < 1e-3


def test_data_that_overflows_is_an_error():
    model = mlp()
    with pytest.raises(InputError, match="infinite or NaN"):
        initialize(model, "weightnorm_data", np.full((4, 20), 3e38, "float32"), seed=1)


def wide(width):
    inputs = keras.Input((5,))
    x = L.Embedding(11, width, name="table")(inputs)
    x = L.MultiHeadAttention(2, width // 2, name="attention")(x, x)
    x = L.Dense(4 * width, "relu", name="hidden")(x)
    return keras.Model(inputs, L.Dense(3, name="head")(x))


def test_mup_is_table_3_of_the_paper():
    adam = initialize(wide(64), "mup", seed=1, base=wide(16))
    sgd = initialize(wide(64), "mup", seed=1, base=wide(16), optimizer="sgd")
    expected = {
        "table/embeddings": ("input", 1, 1, 4),
        "attention/query/kernel": ("hidden", 64**-0.5, 1 / 4, 1),
        "attention/attention_output/kernel": ("hidden", 64**-0.5, 1 / 4, 1),
        "hidden/kernel": ("hidden", 64**-0.5, 1 / 4, 1),
        "head/kernel": ("output", (256 * 4) ** -0.5, 1 / 4, 1 / 4),
    }
    for key, (kind, std, with_adam, with_sgd) in expected.items():
        assert (adam[key].note, adam[key].multiplier, sgd[key].multiplier) == (
            kind,
            with_adam,
            with_sgd,
        )
        assert adam[key].std == pytest.approx(std)


def test_mup_at_the_base_width_is_plain():
    report = initialize(wide(16), "mup", seed=1, base=wide(16))
    assert {(record.note, record.multiplier) for record in report} == {("other", 1.0)}


def test_mup_refuses_another_architecture():
    with pytest.raises(InputError, match="same architecture"):
        initialize(wide(16), "mup", seed=1, base=mlp())


def post_norm(blocks):
    """Transformers' blocks with the normalization behind the sum."""
    inputs = keras.Input((6,))
    x = L.Embedding(20, 16)(inputs)
    for _ in range(blocks):
        x = L.LayerNormalization()(L.Add()([x, L.MultiHeadAttention(2, 8)(x, x)]))
        x = L.LayerNormalization()(L.Add()([x, L.Dense(16)(L.Dense(64, "gelu")(x))]))
    return keras.Model(inputs, L.Dense(5)(L.GlobalAveragePooling1D()(x)))


def test_krahenbuhl_keeps_the_best_turn_and_the_first_pass_is_one():
    """In post-norm blocks turns drive the rates apart: normalizations undo them, one by one."""
    model, x = post_norm(6), np.random.default_rng(0).integers(0, 20, (32, 6))
    drawn = model.get_weights()

    def run(turns, damping):
        model.set_weights(drawn)
        report = initialize(model, "krahenbuhl", x, seed=1, iterations=turns, damping=damping)
        spread = [float(part) for part in report.notes[0].split(": ")[1].split(" → ")]
        return model.get_weights(), spread, report

    def same(a, b):
        return all(map(np.array_equal, a, b))

    first, (start, _), _ = run(0, 1.0)
    with pytest.warns(
        UserWarning, match=r'^"krahenbuhl": the turns did not help: .*after turn 1\.'
    ):
        kept, spread, report = run(1, 1.0)
    assert same(kept, first)
    assert spread == [start, start]
    assert {record.scale for record in report} == {1.0}
    # With smaller steps the first helps, and the second does not.
    kept, spread, report = run(2, 0.5)
    assert report.notes[1].startswith("turn 1 of 2 was the best and was kept; the last had ")
    assert spread[1] < start < float(report.notes[1].split()[-1])
    assert same(kept, run(1, 0.5)[0])


# Scheme → σ of a recurrent kernel of n units.
RECURRENT = {
    **dict.fromkeys(("xavier", "he", "lecun", "orthogonal", "fixup"), lambda n: n**-0.5),
    "alexnet": lambda n: 0.01,
    "depth_scaled": lambda n: 0.02,
    "weightnorm_data": lambda n: 0.05,
    "lsuv": lambda n: n**-0.5,
}


@pytest.fixture(scope="module")
def recurrent():
    inputs = keras.Input((3, 8))
    x = L.Add()([inputs, L.Dense(8)(L.Dense(8)(inputs))])
    x = L.Bidirectional(L.LSTM(6, return_sequences=True))(x)
    x = L.SimpleRNN(5)(L.GRU(4, return_sequences=True)(x))
    return keras.Model(inputs, L.Dense(2)(x))


@pytest.mark.parametrize("scheme", RECURRENT)
def test_recurrent_kernels_are_orthogonal_gate_by_gate(scheme, recurrent):
    """As Keras draws them: powers of a Gaussian matrix stretch some directions, and lose others."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        report = initialize(
            recurrent,
            scheme,
            normal(16, 3, 8) if scheme in ("lsuv", "weightnorm_data") else None,
            seed=1,
        )
    found = {k: w.numpy() for k, w in all_weights(recurrent).items() if "recurrent_kernel" in k}
    assert sorted(w.shape for w in found.values()) == [(4, 12), (5, 5), (6, 24), (6, 24)]
    for key, kernel in found.items():
        n = len(kernel)
        for gate in np.split(kernel, kernel.shape[1] // n, axis=1):
            assert np.allclose(
                gate.T @ gate / (n * RECURRENT[scheme](n) ** 2), np.eye(n), atol=1e-5
            )
        if report[key].std is not None:
            assert report[key].std == pytest.approx(RECURRENT[scheme](n))


def test_the_recurrent_kernel_of_a_convolution_is_orthogonal_from_window_to_channels():
    model = keras.Sequential([keras.Input((2, 6, 6, 1)), L.ConvLSTM2D(3, 3, padding="same")])
    initialize(model, "lecun", seed=1)
    for gate in np.split(model.layers[0].cell.recurrent_kernel.numpy(), 4, axis=-1):
        gate = gate.reshape(27, 3)
        assert np.allclose(gate.T @ gate, np.eye(3), atol=1e-5)
