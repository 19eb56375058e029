"""Whole channels masked by `SparseOptimizer`, against literal tables and a ranking in NumPy."""

import keras
import numpy as np
import pytest
from architectures import gpt
from channel_cuts import check_same
from keras import ops

from tfinit.errors import InputError
from tfinit.pruning import (
    ConstantSparsity,
    PolynomialDecay,
    PruningPolicy,
    PruningRule,
    SparseOptimizer,
    channel_plan,
    compact,
    get_masks,
    set_masks,
)
from tfinit.pruning.channels.zeroed import removing_zeros
from tfinit.pruning.in_training.update import first_masks
from tfinit.pruning.in_training.whole_channels import (
    ChannelGroups,
    Channels,
    MaskedAxis,
    MaskedGroup,
)
from tfinit.variables import all_weights

pytestmark = pytest.mark.backends

HALF = ConstantSparsity(0.5, 1)
TILED = np.tile(np.arange(4), 4)  # the channels of 4 positions, flattened


def network(seed=0):
    """Conv, BatchNormalization, a residual branch, Flatten, two Dense."""
    keras.utils.set_random_seed(seed)
    layers = keras.layers
    given = keras.Input((2, 2, 2))
    x = layers.Conv2D(4, 2, padding="same", name="c1")(given)
    x = layers.ReLU()(layers.BatchNormalization(name="bn")(x))
    x = layers.Add()([x, layers.Conv2D(4, 1, name="c2")(x)])
    x = layers.Dense(6, "tanh", name="d1")(layers.Flatten()(x))
    model = keras.Model(given, layers.Dense(3, name="d2")(x))
    for key, weight in all_weights(model).items():  # those that are 0 and 1 at first, too
        if not key.endswith(("mean", "variance")):
            noise = np.random.default_rng([seed, *key.encode()]).normal(0, 0.2, weight.shape)
            weight.assign(ops.convert_to_numpy(weight) + noise)
    model.get_layer("bn").gamma.assign([3.0, 3.2, 2.8, 0.1])
    return model


def data(rows=24):
    rng = np.random.default_rng(1)
    return rng.normal(size=(rows, 2, 2, 2)).astype("float32"), rng.integers(0, 3, rows)


def compiled(model, schedule, inner=None, **settings):
    inner = inner or keras.optimizers.SGD(0.05, momentum=0.9)
    optimizer = SparseOptimizer(inner, schedule, scope=model, structure="channels", **settings)
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def trained(model, epochs=1, first=0):
    x, y = data()
    model.fit(
        *(x, y), batch_size=8, epochs=first + epochs, initial_epoch=first, shuffle=False, verbose=0
    )
    return model


def values_of(model):
    return {key: ops.convert_to_numpy(w) for key, w in all_weights(model).items()}


def squares_of(weights):
    """By hand: Σ w² of each channel of the two groups, over kernels and γ."""
    w = {key: value.astype("float64") ** 2 for key, value in weights.items()}
    of_row = w["d1/kernel"].sum(axis=1)
    first = (
        w["c1/kernel"].sum(axis=(0, 1, 2))
        + w["bn/gamma"]
        + w["c2/kernel"].sum(axis=(0, 1, 3))
        + w["c2/kernel"].sum(axis=(0, 1, 2))
        + np.array([of_row[channel == TILED].sum() for channel in range(4)])
    )
    return first, w["d1/kernel"].sum(axis=0) + w["d2/kernel"].sum(axis=1)


def masks_of(first, second):
    """By hand: the masks of all weights, of which channels stay of the two groups."""
    rows = first[TILED]
    return {
        "c1/kernel": np.broadcast_to(first, (2, 2, 2, 4)),
        "c1/bias": first,
        "bn/gamma": first,
        "bn/beta": first,
        "c2/kernel": np.broadcast_to(np.outer(first, first), (1, 1, 4, 4)),
        "c2/bias": first,
        "d1/kernel": np.outer(rows, second),
        "d1/bias": second,
        "d2/kernel": np.broadcast_to(second[:, None], (6, 3)),
    }


def best(scores, count):
    keep = np.zeros(len(scores), bool)
    keep[np.argsort(-scores, kind="stable")[:count]] = True
    return keep


def all_masks(model):
    found = {key: model.optimizer.get_mask(w) for key, w in all_weights(model).items()}
    return {key: mask for key, mask in found.items() if mask is not None}


def check_masks(model, expected):
    found = all_masks(model)
    assert found.keys() == expected.keys()
    for key, mask in found.items():
        np.testing.assert_array_equal(mask, expected[key], err_msg=key)
        assert not ops.convert_to_numpy(all_weights(model)[key])[~mask].any()


class TestMasks:
    def test_a_channel_is_masked_at_each_of_its_entries(self):
        group = MaskedGroup(
            3,
            (
                MaskedAxis(0, 1, ((0, 3),), True, True),
                MaskedAxis(1, 0, ((-1, 2), (2, 1), (0, 3)), True, True),  # _ _ 2 0 1 2
            ),
        )
        channels = Channels([group], [(2, 3), (6,)])
        weights = {0: ops.array([[1.0, 2, 4], [8, 16, 32]]), 1: ops.array([9.0, 9, 1, 2, 3, 5])}
        [scores] = channels.scores(weights)
        assert ops.convert_to_numpy(scores).tolist() == [11, 21, 42]
        masks = channels.masks([ops.array([True, False, True])])
        assert [ops.convert_to_numpy(m).astype(int).tolist() for m in masks] == [
            [[1, 0, 1], [1, 0, 1]],
            [1, 1, 1, 1, 0, 1],
        ]
        [living] = channels.living([ops.zeros((2, 3)), ops.array([1.0, 1, 1, 0, 0, 0])])
        assert ops.convert_to_numpy(living).tolist() == [False, False, True]

    def test_the_first_are_those_of_a_ranking_in_numpy(self):
        model = network()
        first, second = squares_of(values_of(model))
        compiled(model, HALF, score="l2").optimizer.build(model.trainable_variables)
        check_masks(model, masks_of(best(first, 2), best(second, 3)))

    def test_those_of_a_step_are_those_of_a_ranking_in_numpy(self):
        dense = network()
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        dense.compile(keras.optimizers.SGD(0.05, momentum=0.9), loss)
        first, second = squares_of(values_of(trained(dense)))
        shares = np.concatenate([scores / scores.mean() for scores in (first, second)])
        kept = np.split(best(shares, 5), [4])
        assert kept[0].sum() not in (0, 2, 4)
        later = ConstantSparsity(0.5, 4, frequency=100)
        model = compiled(network(), later, score="l2", allocation="global")
        check_masks(trained(model), masks_of(*kept))

    def test_one_channel_of_each_group_stays(self):
        model = network()
        for layer in ("d1", "d2"):
            kernel = model.get_layer(layer).kernel
            kernel.assign(kernel * 1e3)
        model.get_layer("d1").kernel.assign(ops.zeros((16, 6)))
        compiled(model, ConstantSparsity(0.95, 1), allocation="global")
        model.optimizer.build(model.trainable_variables)
        masks = all_masks(model)
        assert masks["c1/bias"].sum() == masks["d1/bias"].sum() == 1

    def test_a_mapping_gives_each_group_its_own_share(self):
        schedule = PolynomialDecay(0.0, 0.4, 0, 8, frequency=2)
        model = network()
        compiled(model, schedule, score="l2", allocation={"c2": 0.5, "d1": 0.5})
        model.optimizer.build(model.trainable_variables)
        first, second = squares_of(values_of(model))
        again = SparseOptimizer.from_config(model.optimizer.get_config())
        assert again.rules[0].allocation == {"c2": 0.5, "d1": 0.5}
        [bound] = model.optimizer._pruner.groups
        weights = [ops.convert_to_tensor(v) for v in model.optimizer.masked_variables()]
        for sparsity, (a, b) in {0.0: (4, 6), 0.2: (3, 4), 0.4: (2, 3)}.items():
            masks = first_masks(bound, sparsity, weights)
            expected = masks_of(best(first, a), best(second, b)).values()
            for one, other in zip(masks, expected, strict=True):
                np.testing.assert_array_equal(ops.convert_to_numpy(one), other)

    def test_of_the_score_of_batch_normalization_only_what_it_is_behind_is_pruned(self):
        model = network()
        gamma = model.get_layer("bn").gamma
        gamma.assign([0.5, -2.0, 0.1, 1.0])
        compiled(model, HALF, score="batchnorm").optimizer.build(model.trainable_variables)
        masks = all_masks(model)
        assert masks["bn/gamma"].tolist() == [False, True, False, True]
        assert "d2/kernel" not in masks


@keras.saving.register_keras_serializable("tests")
def squared(y, output):
    """A loss, that counts how often Python computes it."""
    squared.calls += 1
    return ops.mean(ops.square(output - ops.one_hot(ops.cast(y, "int32"), 3)))


def in_part(model):
    """Compiled to lose half of its channels over 8 steps."""
    schedule = PolynomialDecay(0.0, 0.5, 0, 8, frequency=2)
    compiled(model, schedule, score="l2", monotone=True)
    model.compile(model.optimizer, squared)
    return model


@pytest.fixture(scope="module")
def whole():
    """A network that was trained for 4 epochs of 3 steps."""
    squared.calls = 0
    model = trained(in_part(network()))
    model.calls_first = squared.calls
    trained(model, epochs=3, first=1)
    model.calls_after = squared.calls
    return model


class TestTraining:
    def test_the_schedule_is_met_and_what_is_left_is_exact(self, whole):
        masks = all_masks(whole)
        first, second = masks["c1/bias"], masks["d1/bias"]
        assert first.sum() == 2 and second.sum() == 3
        check_masks(whole, masks_of(first, second))
        small = compact(whole).model
        assert small.get_layer("c1").filters == 2 and small.get_layer("d1").units == 3
        x, _ = data()
        expected, found = (ops.convert_to_numpy(m(x, training=False)) for m in (whole, small))
        assert np.abs(expected - found).max() <= 1e-5 * np.abs(expected).max()
        assert np.ptp(expected, axis=0).max() > 0

    def test_a_plan_takes_out_what_is_masked_too(self, whole):
        plan = removing_zeros(channel_plan(network(), target={"channels": 0.6}, round_to=1), whole)
        assert [group.left for group in plan.groups] == [2, 3]
        small = plan.apply(whole).model
        assert isinstance(small.optimizer, keras.optimizers.SGD)
        x, _ = data()
        expected, found = (ops.convert_to_numpy(m(x, training=False)) for m in (whole, small))
        assert np.abs(expected - found).max() <= 1e-5 * np.abs(expected).max()

    @pytest.mark.skipif(
        keras.backend.backend() == "torch", reason="PyTorch calls the loss in every step"
    )
    def test_an_update_traces_nothing_anew(self, whole):
        assert whole.calls_first == whole.calls_after > 0

    def test_a_saved_one_goes_on_to_the_same(self, whole, tmp_path):
        half = trained(in_part(network()), epochs=2)
        half.save(tmp_path / "half.keras")
        loaded = keras.saving.load_model(tmp_path / "half.keras")
        for key, mask in all_masks(half).items():
            np.testing.assert_array_equal(loaded.optimizer.get_mask(all_weights(loaded)[key]), mask)
        trained(loaded, epochs=2, first=2)
        for key, value in values_of(whole).items():
            np.testing.assert_allclose(values_of(loaded)[key], value, rtol=1e-5, atol=1e-6)
        for key, mask in get_masks(whole).items():
            np.testing.assert_array_equal(get_masks(loaded)[key], mask)

    def test_a_target_is_what_is_left_in_the_end(self, tmp_path):
        """Of each group as many as a plan leaves; which ones, training says."""
        keras.utils.set_random_seed(0)
        layers = [keras.layers.Dense(n, "relu", name=f"d{n}") for n in (32, 16)]
        model = keras.Sequential([keras.Input((6,)), *layers, keras.layers.Dense(3)])
        plan = channel_plan(model, target={"macs": 0.5}, allocation="global")
        fraction = {"d32": plan.groups[0].left, "d16": plan.groups[1].left}
        schedule = PolynomialDecay(0.0, 0.9, 0, 6, frequency=2)
        compiled(
            model, schedule, keras.optimizers.Adam(), target={"macs": 0.5}, allocation="global"
        )
        x = np.random.default_rng(0).normal(size=(64, 6))
        model.fit(x, np.arange(64) % 3, batch_size=8, verbose=0)
        small = compact(model).model
        assert {name: small.get_layer(name).units for name in fraction} == fraction
        rule = PruningRule.from_config(model.optimizer.rules[0].get_config())
        assert rule.allocation == {n: 1 - left / int(n[1:]) for n, left in fraction.items()}

    def test_masks_go_from_one_model_to_another(self):
        model = compiled(network(), HALF)
        model.optimizer.build(model.trainable_variables)
        other = compiled(network(seed=1), HALF)
        set_masks(other, get_masks(model))
        for key, mask in get_masks(other).items():
            np.testing.assert_array_equal(mask, get_masks(model)[key])

    def test_a_model_that_is_compiled_anew_goes_on(self):
        model = compiled(network(), HALF)
        model.optimizer.build(model.trainable_variables)
        masks = all_masks(model)
        model.compile("sgd", "mse")
        model.optimizer.build(model.trainable_variables)
        assert masks.keys() == all_masks(model).keys()
        assert all((all_masks(model)[key] == mask).all() for key, mask in masks.items())


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="it compiles each operation by itself")
def test_heads_and_hidden_widths_of_a_transformer_go_as_a_whole():
    keras.utils.set_random_seed(0)
    model = gpt()
    compiled(model, HALF, score="l2").optimizer.build(model.trainable_variables)
    compacted = compact(model)
    removed = sorted(compacted.removed.values())
    assert removed == [(2, 4), (2, 4), (128, 256), (128, 256)]
    check_same(model, compacted.model)


class TestWhatMayGo:
    def test_a_group_with_a_frozen_kernel_stays(self):
        model = network()
        model.get_layer("d2").trainable = False
        compiled(model, HALF).optimizer.build(model.trainable_variables)
        assert set(all_masks(model)) == set(masks_of(np.ones(4, bool), np.ones(6, bool))) - {
            *("d1/bias", "d2/kernel")
        }

    def test_a_policy_keeps_layers(self):
        class AllButDense2(PruningPolicy):
            def allow_pruning(self, layer):
                return layer.name != "d2"

            def ensure_model_supports_pruning(self, model):
                pass

        model = network()
        rule = PruningRule(HALF, model, AllButDense2(), structure="channels")
        optimizer = SparseOptimizer("sgd", rules=[rule])
        optimizer.build(model.trainable_variables)
        assert optimizer.get_mask(model.get_layer("d2").kernel) is None
        assert optimizer.get_mask(model.get_layer("c1").kernel) is not None

    @pytest.mark.parametrize(
        "settings, told",
        [
            ({"scope": None}, "scope=model"),
            ({"allocation": "erk"}, "'uniform' and 'global'"),
            ({"allocation": {"c1": 1.5}}, r"allocation\['c1'\]"),
            ({"regrow": "set"}, "`regrow` exclude"),
            ({"target": {"macs": 0.001}}, "0.001 of the multiply-adds cannot be reached"),
            ({"target": {"macs": 0.5}, "min_density": 0.1, "allocation": "global"}, "by name with"),
            ({"block_size": (4, 1)}, "`block_size` exclude"),
            ({"keep_zeros": True}, "`keep_zeros` exclude"),
            ({"structure": "filters"}, "must be one of weights, channels"),
            ({"score": "l3"}, "l2"),
        ],
    )
    def test_what_does_not_go_together_is_told(self, settings, told):
        settings = {"scope": network(), "structure": "channels"} | settings
        with pytest.raises(InputError, match=told):
            PruningRule(HALF, **settings)

    @pytest.mark.parametrize(
        "allocation, told",
        [({"d2": 0.5}, "'d2'.*'d1'"), ({"c1": 0.5, "c2": 0.25}, "Give them the same")],
    )
    def test_a_mapping_that_does_not_fit_is_told(self, allocation, told):
        model = compiled(network(), HALF, allocation=allocation)
        with pytest.raises(InputError, match=told):
            model.optimizer.build(model.trainable_variables)

    def test_nothing_to_prune_is_told(self):
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
        with pytest.raises(InputError, match="channel_plan says"):
            compiled(model, HALF).optimizer.build(model.trainable_variables)

    @pytest.mark.parametrize(
        "runs, size", [(((0, 3),), 3), (((0, 4),), 2), (((-1, 4),), 10**9), (((0, 10**12),), 4)]
    )
    def test_a_file_of_other_weights_is_refused(self, runs, size):
        groups = ChannelGroups((MaskedGroup(size, (MaskedAxis(0, 1, runs, True, True),)),))
        rule = PruningRule(HALF, [0], structure=groups)
        dense = keras.layers.Dense(4)
        dense.build((None, 2))
        with pytest.raises(InputError, match="`structure`"):
            SparseOptimizer("sgd", rules=[rule]).build(dense.trainable_variables)
