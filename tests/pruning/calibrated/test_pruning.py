"""Whole models: what enters each layer, what is left out and why, odd data, what is refused."""

import doctest
import json

import keras
import numpy as np
import one_shot_papers as papers
import pytest
from keras_hub_backbones import BACKBONES, batch_for

from tfinit.errors import InputError
from tfinit.graph import input_rows, kernels
from tfinit.pruning import Score, hold_zeros, prune_after_training
from tfinit.pruning.calibrated import allocating, patterns
from tfinit.pruning.calibrated import pruning as module
from tfinit.variables import all_weights

L = keras.layers


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("f4")


def array(tensor):
    return keras.ops.convert_to_numpy(tensor)


def mlp(**options):
    keras.utils.set_random_seed(0)
    layers = [
        L.Dense(16, "relu", name="one", **options),
        L.Dense(12, "tanh", name="two", **options),
        L.Dense(3, name="out", **options),
    ]
    return keras.Sequential([keras.Input((8,)), *layers], name="mlp")


def bits(model):
    return [array(w).tobytes() for w in model.weights]


@pytest.mark.backends
def test_each_layer_is_pruned_for_what_the_pruned_ones_before_it_make():
    model, x = mlp(), numbers(64, 8)
    dense = {layer.name: array(layer.kernel) for layer in model.layers}
    report = prune_after_training(model, x, 0.5)
    entering = x
    for layer in model.layers:
        wanted = papers.sparsegpt(dense[layer.name], entering.astype("f8"), 0.5)
        assert np.allclose(array(layer.kernel), wanted, rtol=0, atol=1e-4)
        entering = array(layer(entering))
    assert [one.key for one in report.weights] == ["one/kernel", "two/kernel", "out/kernel"]
    assert report.sparsity == 0.5 and report.skipped == ()


class Own(keras.Model):
    """A subclassed model that calls its layers in another order than it has them."""

    def __init__(self):
        super().__init__()
        self.last = L.Dense(2, name="last")
        self.first = mlp()
        self.unused = L.Dense(2, name="unused")
        self.unused.build((None, 3))

    def call(self, x):
        return self.last(self.first(x))


def test_models_of_ones_own_are_pruned_in_the_order_of_the_data():
    model = Own()
    model(numbers(2, 8))
    report = prune_after_training(model, numbers(64, 8), 0.5, score="wanda")
    assert [one.key.split("/")[-2] for one in report.weights] == ["one", "two", "out", "last"]
    assert [one.key for one in report.skipped] == ["unused/kernel"]
    assert report.skipped[0].reason.startswith("no data reach its layer")


def test_a_shared_layer_is_pruned_by_the_inputs_of_all_its_calls():
    keras.utils.set_random_seed(0)
    shared, between = L.Dense(6, name="shared"), L.Dense(6, "relu", name="between")
    given = keras.Input((6,))
    model = keras.Model(given, shared(between(shared(given))))
    x, kernel = numbers(32, 6) * np.linspace(0.1, 3, 6).astype("f4"), array(shared.kernel)
    first = array(between(shared(x)))  # between is not pruned yet when shared is
    prune_after_training(model, x, 0.5, score="wanda")
    wanted = papers.wanda(kernel, np.concatenate([x, first]), 0.5)
    assert np.array_equal(array(shared.kernel), wanted)
    assert not np.array_equal(papers.wanda(kernel, x, 0.5), wanted)


def test_attention_is_pruned_in_all_of_its_projections():
    keras.utils.set_random_seed(0)
    given = keras.Input((5, 8))
    y = L.MultiHeadAttention(2, 4, name="mha")(given, given)
    y = L.GroupQueryAttention(4, 4, 2, name="gqa")(y, y)
    report = prune_after_training(keras.Model(given, y), numbers(32, 5, 8), 0.5)
    names = ("query", "key", "value", "attention_output")
    assert [one.key for one in report.weights] == [
        f"{layer}/{name}/kernel" for layer in ("mha", "gqa") for name in names
    ]
    assert {one.sparsity for one in report.weights} == {0.5}
    assert all(one.error < one.error_before for one in report.weights)


def test_a_separable_convolution_is_pruned_by_what_its_depthwise_kernel_makes():
    keras.utils.set_random_seed(0)
    layer = L.SeparableConv2D(4, 2, strides=2, depth_multiplier=2, name="separable")
    model = keras.Sequential([keras.Input((6, 6, 3)), layer])
    x, kernel = numbers(16, 6, 6, 3) * [0.1, 1, 3], array(layer.pointwise_kernel)
    depthwise = keras.ops.depthwise_conv(x.astype("f4"), layer.depthwise_kernel, strides=2)
    prune_after_training(model, x, 0.5, score="wanda")
    wanted = papers.wanda(kernel[0, 0], array(depthwise).reshape(-1, 6), 0.5)
    assert np.array_equal(array(layer.pointwise_kernel)[0, 0], wanted)


class Doubled(L.Dense):
    def call(self, x):
        return 2 * super().call(x)


@pytest.mark.parametrize(
    ("layer", "shape", "reason"),
    [
        (lambda: L.Embedding(5, 4), (3,), "an embedding, of which rows are looked up"),
        (lambda: L.LSTM(4), (3, 2), "of a recurrent layer, which computes its inputs in a loop"),
        (lambda: L.Conv1DTranspose(4, 2), (3, 2), "a transposed convolution"),
        (lambda: L.DepthwiseConv1D(2), (3, 2), "depthwise: few weights"),
        (lambda: Doubled(4), (3,), "the `call` of its layer is not Keras's own: Doubled"),
        (lambda: L.Dense(4, trainable=False), (3,), "frozen"),
        (lambda: L.EinsumDense("abb,bc->ac", 4), (3, 3), "no matrix product: abb,bc->ac"),
    ],
)
def test_what_is_left_has_a_reason(layer, shape, reason):
    tested = layer()
    y = tested(given := keras.Input(shape))
    y = L.Dense(2, name="out")(L.Flatten()(y) if len(y.shape) > 2 else y)
    model = keras.Model(given, y)
    before = [array(w) for w in tested.weights]
    x = numbers(8, *shape)
    if isinstance(tested, L.Embedding):
        x = np.abs(x).astype("i4")
    report = prune_after_training(model, x, 0.5)
    assert [one.key for one in report.weights] == ["out/kernel"]
    assert all(one.reason.startswith(reason) for one in report.skipped) and report.skipped
    assert all(np.array_equal(a, array(b)) for a, b in zip(before, tested.weights, strict=True))


def test_filters_choose_layers_by_path_or_name_and_depthwise_ones_too():
    given = keras.Input((6, 6, 4))
    inner = keras.Sequential([L.Conv2D(4, 1, name="conv"), L.DepthwiseConv2D(2, name="depth")])
    inner.name = "inner"
    model = keras.Model(given, L.Conv2D(2, 1, name="last")(inner(given)))
    x = numbers(4, 6, 6, 4)
    report = prune_after_training(model, x, 0.5, filters=["inner/c.*", "depth"])
    assert [one.key for one in report.weights] == ["inner/conv/kernel", "inner/depth/kernel"]
    assert [(one.key, one.reason) for one in report.skipped] == [
        ("last/kernel", "left out by `filters`")
    ]
    with pytest.raises(InputError, match="`filters` has 'conv_9', which matches no layer"):
        prune_after_training(model, x, 0.5, filters="conv_9")


def test_zeros_are_held_in_later_training():
    model, x = mlp(), numbers(64, 8)
    prune_after_training(model, x, 0.7)
    zeros = {k: array(v) == 0 for k, v in all_weights(model).items() if "kernel" in k}
    model.compile(hold_zeros(model, "adam"), "mse")
    model.fit(x, numbers(64, 3, seed=1), verbose=0)
    for key, variable in all_weights(model).items():
        if key in zeros:
            assert np.array_equal(array(variable) == 0, zeros[key])


@pytest.mark.backends
def test_weights_of_sixteen_bits_keep_their_type_and_their_zeros():
    model, x = mlp(dtype="bfloat16"), numbers(64, 8)
    report = prune_after_training(model, x, 0.5)
    assert {str(keras.backend.standardize_dtype(w.dtype)) for w in model.weights} == {"bfloat16"}
    assert [one.sparsity for one in report.weights] == [0.5] * 3
    # The errors are of what is stored.
    assert all(0 < one.error < one.error_before for one in report.weights)


# What is odd about data, and about models.


@pytest.mark.parametrize("x", [numbers(1, 8), np.ones((50, 8), "f4"), np.eye(8, dtype="f4")[:2]])
def test_inputs_that_depend_on_each_other_are_damped(x):
    model = mlp()
    before = array(model(x))
    report = prune_after_training(model, x, 0.5)
    assert report.sparsity == 0.5
    assert np.abs(array(model(x)) - before).max() < 0.1 * np.abs(before).max()
    undamped = mlp()
    state = bits(undamped)
    with pytest.raises(InputError, match="`damping` 0 is too little for 'one/kernel'"):
        prune_after_training(undamped, x, 0.5, damping=0)
    assert bits(undamped) == state


def test_a_dead_input_goes_first_and_layers_of_dead_inputs_go_by_magnitude():
    model, x = mlp(), numbers(64, 8)
    x[:, :4] = 0
    one = model.layers[0]
    kernel = array(one.kernel)
    prune_after_training(model, x, 0.5, score="wanda")
    assert not array(one.kernel)[:4].any() and np.array_equal(array(one.kernel)[4:], kernel[4:])
    one.kernel.assign(kernel)
    report = prune_after_training(model, np.zeros((4, 8), "f4"), 0.5, filters="one")
    assert np.array_equal(array(one.kernel), papers.sparsegpt(kernel, np.eye(8), 0.5))
    assert report.weights[0].error == 0


def nan_in_a_weight(model):
    kernel = array(model.layers[1].kernel).copy()
    kernel[2, 2] = np.nan
    model.layers[1].kernel.assign(kernel)


def huge(model):
    model.layers[0].kernel.assign(array(model.layers[0].kernel) * 1e30)


@pytest.mark.parametrize(
    ("change", "given", "message"),
    [
        (None, {"x": np.full((4, 8), np.nan, "f4")}, "`x` has NaN or infinite values"),
        (None, {"x": numbers(4, 7)}, "`x` has shape"),
        (None, {"x": numbers(0, 8)}, "`x` must have one example or more"),
        (nan_in_a_weight, {}, "'two/kernel' has NaN or infinite values"),
        (huge, {}, "'one/kernel' has NaN or infinite values, or squares"),
        (None, {"x": 1e19 * numbers(4, 8)}, "What enters 'one' is not finite, or its squares"),
        (lambda m: setattr(m, "trainable", False), {}, "nothing to prune: one/kernel: frozen"),
        (None, {"sparsity": 1.0}, "`sparsity` must be"),
        (None, {"sparsity": None}, "`sparsity` must be"),
        (None, {"structure": "1:3"}, '`structure` must be None, "2:4", "4:8"'),
        (None, {"structure": (0, 1)}, "`structure` must be None"),
        (None, {"structure": "2:4", "sparsity": 0.7}, "prunes half of the weights"),
        (None, {"structure": "2:4", "allocation": "erk"}, "does not ask `allocation`"),
        (None, {"allocation": "layers"}, "`allocation` must be one of uniform, erk, global, by"),
        (None, {"allocation": {"three/kernel": 0.5}}, "`allocation` names"),
        (None, {"score": "snip"}, "`score` must be one of sparsegpt, magnitude, random, wanda"),
        (None, {"score": lambda gradients: gradients}, "needs `gradients`"),
        (None, {"score": lambda weights: weights * np.nan}, "has NaN"),
        (None, {"damping": -1}, "`damping` must be"),
    ],
)
def test_the_model_is_as_it_was_after_an_error(change, given, message):
    model = mlp()
    if change:
        change(model)
    before = bits(model)
    with pytest.raises(InputError, match=message):
        prune_after_training(model, **{"x": numbers(16, 8), "sparsity": 0.5, **given})
    assert bits(model) == before


def test_moving_statistics_and_seeds_are_left():
    layers = [L.Dense(8), L.BatchNormalization(), L.Dropout(0.5, seed=1), L.Dense(2)]
    model = keras.Sequential([keras.Input((8,)), *layers])
    others = [w for w in model.variables if "kernel" not in w.path]
    before = [array(w) for w in others]
    prune_after_training(model, numbers(32, 8), 0.5)
    assert all(np.array_equal(a, array(b)) for a, b in zip(before, others, strict=True))


# Scores, patterns, allocations.


class ByOutput(Score):
    name, by_output = "by output", True

    def __call__(self, weights, input_norms):
        return abs(weights) * input_norms**2


def test_scores_of_ones_own_rank_the_kernel_or_each_output():
    model, x = mlp(), numbers(32, 8) * np.linspace(0.1, 3, 8).astype("f4")
    one, norms = model.layers[0], np.linalg.norm(x, axis=0)[:, None]
    kernel = array(one.kernel)
    report = prune_after_training(
        model,
        x,
        0.5,
        score=lambda weights, input_norms: abs(weights) * input_norms**2,
        filters="one",
    )
    scores = np.abs(kernel) * norms**2
    assert np.array_equal(array(one.kernel) != 0, papers.kept(scores, 64))
    assert report.score == "<lambda>"
    one.kernel.assign(kernel)
    prune_after_training(model, x, 0.5, score=ByOutput(), filters="one")
    wanted = np.stack([papers.kept(column, 4) for column in scores.T], axis=1)
    assert np.array_equal(array(one.kernel) != 0, wanted)
    one.kernel.assign(kernel)
    prune_after_training(model, x, 0.5, score="magnitude", filters="one")
    assert np.array_equal(array(one.kernel) != 0, papers.kept(np.abs(kernel), 64))


@pytest.mark.parametrize("score", ["sparsegpt", "wanda", "magnitude"])
@pytest.mark.parametrize("structure", ["2:4", "litert", (2, 3)])
def test_survivors_lie_in_the_pattern(score, structure):
    """Of convolutions too, whose groups and blocks end where a place of the window does."""
    keras.utils.set_random_seed(0)
    layers = [L.Conv2D(8, 2, name="a"), L.Conv2D(6, 2, name="b"), L.Flatten(), L.Dense(4, name="c")]
    model = keras.Sequential([keras.Input((5, 5, 6)), *layers])
    given = {} if structure == "2:4" else {"sparsity": 0.5}
    prune_after_training(model, numbers(8, 5, 5, 6), structure=structure, score=score, **given)
    for name in "abc":
        kernel = array(model.get_layer(name).kernel)
        flat = kernel.reshape(-1, *kernel.shape[-2:]) != 0  # places, channels, outputs
        if structure == "2:4":
            cut = [flat[:, i : i + 4] for i in range(0, flat.shape[1], 4)]
            assert all((part.sum(axis=1) == 2).all() for part in cut)
            continue
        height, width = (4, 1) if structure == "litert" else structure
        blocks = [
            place[i : i + height, j : j + width]
            for place in flat
            for i in range(0, place.shape[0], height)
            for j in range(0, place.shape[1], width)
        ]
        assert all(block.all() or not block.any() for block in blocks)
        if score != "sparsegpt":  # which counts blocks of 128 inputs
            assert sum(block.any() for block in blocks) == round(len(blocks) / 2)


def test_sparsities_of_several_kernels():
    model, x = mlp(), numbers(64, 8)
    before = model.get_weights()

    def found(allocation, score="magnitude"):
        model.set_weights(before)
        report = prune_after_training(model, x, 0.5, score=score, allocation=allocation)
        return {one.key: one.sparsity for one in report.weights}

    assert found({"two/kernel": 0.75}) == {"one/kernel": 0, "two/kernel": 0.75, "out/kernel": 0}
    relative = {
        key: np.abs(array(v)) / np.abs(array(v)).mean()
        for key, v in zip(("one", "two", "out"), before[::2], strict=True)
    }
    pooled = np.sort(np.concatenate([v.ravel() for v in relative.values()]))
    least = pooled[len(pooled) // 2]
    for key, value in found("global").items():
        assert value == pytest.approx(np.mean(relative[key.split("/")[0]] < least))
    sizes = {"one/kernel": 128, "two/kernel": 192, "out/kernel": 36}
    for score in ("sparsegpt", "wanda"):
        values = found("by error", score)
        zeros = sum(values[key] * n for key, n in sizes.items())
        assert zeros == pytest.approx(0.5 * 356, abs=20)  # each output has whole weights
        assert len(set(values.values())) > 1


def test_the_sum_of_the_errors_is_least():
    """Beside every choice of three kernels' sparsities in hundredths of convex errors."""
    levels = np.array(allocating.LEVELS)
    errors = {"a": levels**2, "b": 0.3 * levels, "c": 2 * levels**4}
    sizes = {"a": 100, "b": 100, "c": 100}
    found = allocating.of_errors({k: list(v) for k, v in errors.items()}, sizes, 0.6)

    def cost(a, b, c):
        return sum(np.interp(s, levels, e) for s, e in zip((a, b, c), errors.values(), strict=True))

    grid = np.linspace(0, 1, 101)
    a, b = np.meshgrid(grid, grid)
    c = 1.8 - a - b
    some = (c >= 0) & (c <= 1)
    least = min(cost(a[some], b[some], c[some]))
    assert sum(found.values()) == pytest.approx(1.8)
    assert cost(*found.values()) <= least + 1e-9


def test_a_report_says_it_all():
    model = mlp()
    model.layers[2].trainable = False
    report = prune_after_training(model, numbers(16, 8), 0.5, score="wanda")
    text = str(report).splitlines()
    assert text[0] == "wanda after training: 50.00% zeros"
    assert text[1].split() == ["weight", "shape", "sparsity", "error", "before", "error"]
    assert text[-1] == "out/kernel  not touched: frozen"
    told = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert told["sparsity"] == 0.5 and told["weights"][0]["rows"] == 16


def test_a_backbone_of_keras_hub():
    models = pytest.importorskip("keras_hub").models
    model = BACKBONES["GPT2"](models)
    report = prune_after_training(model, batch_for(model, rows=2), 0.5)
    layers = [one.key for one in report.weights if one.key.startswith("transformer_layer_1/")]
    assert len(layers) == 6 and len(report.weights) == 12
    assert {one.reason for one in report.skipped} == {"an embedding, of which rows are looked up"}


@pytest.mark.parametrize("where", [module, allocating, patterns, input_rows])
def test_examples(where):
    names = {"keras": keras, "np": np, "matrices_of": kernels.matrices_of}
    result = doctest.testmod(where, extraglobs=names)
    assert result.attempted and not result.failed
