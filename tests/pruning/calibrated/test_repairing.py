"""What repaired layers make has the dense ones' mean and variance, channel by channel."""

import doctest

import keras
import numpy as np
import pytest

from tfinit.errors import InputError
from tfinit.pruning import prune_after_training, prune_channels, repair
from tfinit.pruning.calibrated import repairing as module

L = keras.layers


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("f4")


def array(tensor):
    return keras.ops.convert_to_numpy(tensor)


X = numbers(64, 6, 6, 3) + 0.5


def network(seed=0, batch=True):
    """Every kind of kernel, with an activation behind it or in it."""
    keras.utils.set_random_seed(seed)
    given = keras.Input((6, 6, 3))
    y = L.Conv2D(16, 3, use_bias=not batch, name="conv")(given)
    y = L.BatchNormalization(name="norm")(y) if batch else y
    y = L.SeparableConv2D(16, 2, activation="relu", name="separable")(L.ReLU()(y))
    y = L.Conv2D(8, 2, groups=2, activation=L.ReLU(), name="grouped")(y)
    y = L.Reshape((4, 8))(y)
    y = L.Add()([y, L.MultiHeadAttention(2, 4, name="attention")(y, y)])
    y = L.EinsumDense("abc,cde->abde", (4, 2, 5), activation="tanh", bias_axes="de", name="ein")(y)
    return keras.Model(given, L.Dense(3, name="out")(L.Flatten()(y)), name="network")


def made(model, name, x, axes):
    """Mean and deviation of what a layer makes before its activation."""
    layer = model.get_layer(name)
    activation, layer.activation = layer.activation, None
    values = array(layer(keras.Model(model.input, layer.input)(x, training=False)))
    layer.activation = activation
    return values.mean(axes), values.std(axes)


@pytest.mark.backends
def test_each_channel_has_its_mean_and_deviation_again():
    dense, pruned = network(), network()
    # Of the moving statistics nothing is known but what training left.
    dense.get_layer("norm").moving_mean.assign(numbers(16))
    prune_after_training(pruned, X, 0.6, score="magnitude")
    zeros = [array(w) == 0 for w in pruned.weights if w.path.endswith("kernel")]
    state = [array(w) for w in dense.weights]
    report = repair(pruned, X, like=dense)
    assert all(np.array_equal(a, array(b)) for a, b in zip(state, dense.weights, strict=True))
    after = [array(w) == 0 for w in pruned.weights if w.path.endswith("kernel")]
    assert all(np.array_equal(a, b) for a, b in zip(zeros, after, strict=True))
    for name, axes in (
        ("separable", (0, 1, 2)),
        ("grouped", (0, 1, 2)),
        ("ein", (0, 1)),
        ("out", 0),
    ):
        for found, wanted in zip(
            made(pruned, name, X, axes), made(dense, name, X, axes), strict=True
        ):
            assert np.allclose(found, wanted, rtol=1e-3, atol=1e-3), name
    norm = pruned.get_layer("norm")
    entering = array(keras.Model(pruned.input, norm.input)(X))
    assert np.allclose(array(norm.moving_mean), entering.mean((0, 1, 2)), atol=1e-5)
    assert np.allclose(array(norm.moving_variance), entering.var((0, 1, 2)), rtol=1e-4)
    keys = [one.key for one in report.layers]
    assert keys[:3] == ["conv/kernel", "norm", "separable/pointwise_kernel"]
    assert "attention/attention_output/kernel" in keys and report.skipped == ()


def test_what_was_not_changed_is_left_nearly_as_it_is():
    dense, same = network(batch=False), network(batch=False)
    report = repair(same, X, like=dense)
    for one, other in zip(dense.weights, same.weights, strict=True):
        assert np.allclose(array(one), array(other), rtol=1e-4, atol=1e-5)
    assert all(abs(one.low - 1) < 1e-4 and one.off < 1e-4 for one in report.layers)


def test_after_channels_are_removed_the_plan_says_which_are_meant():
    dense = network(batch=False)
    cut = prune_channels(dense, target={"params": 0.6}, round_to=1)
    small = cut.model
    assert {"conv", "separable"} <= cut.removed.keys()
    repair(small, X, dense, cut.plan)
    masks = cut.plan.masks(dense)
    left = masks["conv/kernel"].any(axis=(0, 1, 2))
    for found, wanted in zip(
        made(small, "conv", X, (0, 1, 2)), made(dense, "conv", X, (0, 1, 2)), strict=True
    ):
        assert np.allclose(found, wanted[left], rtol=1e-3, atol=1e-3)
    for found, wanted in zip(made(small, "out", X, 0), made(dense, "out", X, 0), strict=True):
        assert np.allclose(found, wanted, rtol=1e-3, atol=1e-3)
    again = prune_channels(dense, target={"params": 0.6}, round_to=1).model
    before = again.get_weights()
    with pytest.raises(InputError, match="Pass the `plan` by which channels were removed"):
        repair(again, X, dense)
    assert all(np.array_equal(a, b) for a, b in zip(before, again.get_weights(), strict=True))


def test_a_channel_that_does_not_vary_is_shifted_only():
    dense, pruned = (keras.Sequential([keras.Input((4,)), L.Dense(3, name="fc")]) for _ in "ab")
    kernel = numbers(4, 3)
    dense.set_weights([kernel, np.ones(3)])
    kernel = kernel.copy()
    kernel[:, 1] = 0
    pruned.set_weights([kernel, np.ones(3)])
    x = numbers(32, 4) + 1
    repair(pruned, x, dense)
    found = array(pruned(x))
    assert np.allclose(found.mean(0), array(dense(x)).mean(0), atol=1e-5)
    assert not array(pruned.layers[0].kernel)[:, 1].any() and found[:, 1].std() < 1e-6


def test_frozen_and_shared_layers_are_left_with_the_reason():
    def build():
        keras.utils.set_random_seed(0)
        given = keras.Input((4,))
        shared = L.Dense(4, "tanh", name="shared")
        frozen = L.Dense(4, name="frozen", trainable=False)
        norm = L.BatchNormalization(name="norm", trainable=False)
        return keras.Model(given, L.Dense(2, name="out")(norm(frozen(shared(shared(given))))))

    dense, pruned = build(), build()
    prune_after_training(pruned, numbers(32, 4), 0.5)
    report = repair(pruned, numbers(32, 4), dense)
    assert [one.key for one in report.layers] == ["out/kernel"]
    reasons = {one.key: one.reason for one in report.skipped}
    assert reasons == {
        "shared/kernel": "its layer is called several times",
        "frozen/kernel": "frozen",
        "norm": "frozen",
    }


def test_without_a_dense_model_batch_normalization_is_recalibrated():
    model = network()
    kernels = [array(w) for w in model.trainable_weights]
    report = repair(model, X)
    assert [(one.key, one.kind) for one in report.layers] == [("norm", "batch normalization")]
    assert all(
        np.array_equal(a, array(b)) for a, b in zip(kernels, model.trainable_weights, strict=True)
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"model": network(batch=False)}, "'network' has nothing to repair"),
        ({"x": X * np.nan, "like": network()}, "`x` has NaN or infinite values"),
        ({"x": X[..., :2]}, "`x` has shape"),
        ({"like": 3}, "`like` must be a Keras layer or model"),
        ({"plan": "all"}, "`plan` must be a ChannelPlan or None"),
    ],
)
def test_what_cannot_be_is_refused(given, message):
    with pytest.raises(InputError, match=message):
        repair(**{"model": network(), "x": X, **given})


def test_an_overflow_on_the_way_leaves_the_model_as_it_was():
    dense, pruned = network(batch=False), network(batch=False)
    out = pruned.get_layer("out")
    out.kernel.assign(array(out.kernel) * 1e30)
    before = pruned.get_weights()
    with pytest.raises(InputError, match="The statistics of 'out/kernel' are not finite"):
        repair(pruned, X, dense)
    assert all(np.array_equal(a, b) for a, b in zip(before, pruned.get_weights(), strict=True))


def test_examples():
    result = doctest.testmod(module, extraglobs={"keras": keras, "np": np})
    assert result.attempted and not result.failed
