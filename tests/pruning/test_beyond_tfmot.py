"""What TFMOT has not: masks that move, other scores, rules for different layers."""

import itertools
import warnings

import keras
import numpy as np
import pytest
from keras import ops
from pruned_networks import BACKEND, LOSS, ExactZeros, O, compiled, fit, kernels, network, zeros

import tfinit.pruning as sparsity
from tfinit.errors import InputError
from tfinit.pruning import ConstantSparsity, PolynomialDecay, PruningRule, SparseOptimizer

# Each fit is a compilation on JAX: there, and on PyTorch, one test of each kind runs.
backends = pytest.mark.backends


UPDATES = (1, 5, 9, 13)


@backends
@pytest.mark.parametrize("how", ["set", "rigl"])
def test_regrowth_keeps_the_count_and_moves_the_mask(how):
    model = compiled(
        ConstantSparsity(0.8, 0, frequency=4), O.SGD(0.1), regrow=how, allocation="erk"
    )
    masks = []

    class Record(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            masks.append(sparsity.get_masks(self.model)["d1/kernel"])

    fit(model, 16, [Record()])
    counts = {int(m.sum()) for m in masks}
    assert counts == {33}  # 30 * 78 / 71
    # Updates come before steps 4, 8, 12 and 16: at the end of the one before, 0.3 * 33 go.
    moved = [int((a & ~b).sum()) for a, b in itertools.pairwise(masks)]
    assert all(0 < moved[i] <= 10 for i in UPDATES)
    assert all(m == 0 for i, m in enumerate(moved) if i not in UPDATES)
    assert not np.any(kernels(model)["d1/kernel"][~masks[-1]])


@backends
def test_rigl_grows_where_the_gradient_is_largest():
    start = np.array([[0.5, -0.4], [0.3, 0.2], [0.1, 0.6]], "float32")
    weight = keras.Variable(start, name="kernel")
    schedule = ConstantSparsity(0.5, 2, frequency=1)
    settings = {"regrow": "rigl", "drop_fraction": 0.34, "start": "random"}
    sparse = SparseOptimizer(O.SGD(0.0), schedule, **settings)
    sparse.build([weight])
    weight.assign(start)  # the first mask is random
    sparse.assign_masks([(weight, [[1, 1], [1, 0], [0, 0]])])
    sparse.apply([ops.convert_to_tensor([[9.0, 9.0], [9.0, 1.0], [3.0, 2.0]])], [weight])
    # 0.34 * 3 = 1 is dropped, 0.3; of the others its own gradient 9 is the largest: it returns.
    np.testing.assert_array_equal(sparse.get_mask(weight), [[1, 1], [1, 0], [0, 0]])
    sparse.apply([ops.convert_to_tensor([[9.0, 9.0], [0.0, 1.0], [-3.0, 2.0]])], [weight])
    np.testing.assert_array_equal(sparse.get_mask(weight), [[1, 1], [0, 0], [1, 0]])
    np.testing.assert_allclose(ops.convert_to_numpy(weight), [[0.5, -0.4], [0, 0], [0, 0]])


SLOTS = {
    "momentum": lambda: O.SGD(0.1, momentum=0.9),
    "adam": lambda: O.Adam(0.01, amsgrad=True),
    "rmsprop": lambda: O.RMSprop(0.01, momentum=0.9, centered=True),
    "adagrad": lambda: O.Adagrad(0.01, initial_accumulator_value=0.25),
    "ftrl": lambda: O.Ftrl(0.01, initial_accumulator_value=0.25),
    "adamax": lambda: O.Adamax(0.01),
    "loss scale": lambda: O.LossScaleOptimizer(O.Adam(0.01), initial_scale=1.0),
}


def slots_of_what_grew(sparse, weight, masks):
    """The values that the inner optimizer has for what grew in the last step, by slot."""
    new = masks[-1] & ~masks[-2]
    inner = getattr(sparse.inner_optimizer, "inner_optimizer", sparse.inner_optimizer)
    slots = [v for v in inner.variables if v.shape == weight.shape]
    return {v.path: np.array(ops.convert_to_numpy(v))[new] for v in slots}


@backends
@pytest.mark.parametrize("regrow", ["set", "rigl"])
@pytest.mark.parametrize("name", SLOTS)
def test_what_grows_again_has_no_momentum_and_no_second_moment(name, regrow):
    """jaxpruner asserts this of SET and RigL: the optimizer is as at its start for new weights."""
    if name == "loss scale" and BACKEND == "jax":
        pytest.skip("Keras's LossScaleOptimizer.apply cannot run eagerly on JAX")
    rng = np.random.default_rng(3)
    weight = keras.Variable(rng.normal(size=(10, 8)).astype("float32"), name="kernel")
    other = keras.Variable(rng.normal(size=(10, 8)).astype("float32"), name="other")
    each = ConstantSparsity(0.5, 1, frequency=1)
    rule = PruningRule(each, [weight.path], regrow=regrow, drop_fraction=0.5, start="random")
    sparse = SparseOptimizer(SLOTS[name](), rules=[rule])
    sparse.build([weight, other])
    masks, count = [sparse.get_mask(weight)], 0
    for _ in range(6):
        gradients = [ops.convert_to_tensor(rng.normal(size=(10, 8)).astype("f4")) for _ in "ab"]
        sparse.apply(gradients, [weight, other])
        masks.append(sparse.get_mask(weight))
        for path, values in slots_of_what_grew(sparse, weight, masks).items():
            start = 0.25 if "accumulator" in path else 0.0
            if "kernel" in path:
                np.testing.assert_array_equal(values, start, err_msg=path)
                count += values.size
            else:  # of the other weight nothing is forgotten
                assert np.all(values != start), path
    assert count > 20


@backends
def test_in_a_compiled_fit_too_what_grows_again_has_no_momentum():
    seen = []

    class Look(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if BACKEND == "jax":
                self.model.jax_state_sync()
            optimizer = self.model.optimizer
            masks.append(sparsity.get_masks(self.model)["d1/kernel"])
            kernel = self.model.get_layer("d1").kernel
            index = [v is kernel for v in self.model.trainable_variables].index(True)
            if len(masks) > 1:
                new = masks[-1] & ~masks[-2]
                for slots in (
                    optimizer.inner_optimizer._momentums,
                    optimizer.inner_optimizer._velocities,
                ):
                    slot = ops.convert_to_numpy(slots[index])
                    assert not slot[new].any() and slot[masks[-1] & masks[-2]].any()
                seen.append(int(new.sum()))

    masks = []
    half = ConstantSparsity(0.5, 1, frequency=2)
    model = compiled(half, O.Adam(0.01), regrow="rigl", drop_fraction=0.5)
    fit(model, 8, [Look()])
    assert sum(n > 10 for n in seen) >= 3


def magnitude_mask(weight, keep):
    return np.abs(weight) >= np.sort(np.abs(weight), axis=None)[-keep]


@backends
@pytest.mark.parametrize("regrow", ["set", "rigl"])
def test_regrowth_of_trained_weights_starts_where_it_is_told_and_never_in_silence(regrow):
    """A random mask would throw the training away: 95.5% to 18.3% on digits."""
    half = ConstantSparsity(0.5, 1, frequency=100)

    def mask_of(model, **settings):
        sparse = SparseOptimizer("sgd", half, **{"scope": model, **settings}, regrow=regrow)
        sparse.build(model.trainable_variables)
        return sparse.get_mask(model.get_layer("d1").kernel)

    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        fresh = mask_of(network())
        np.testing.assert_array_equal(fresh, mask_of(network(), start="random"))
    assert fresh.sum() == 100

    trained = network()
    for kernel in (layer.kernel for layer in trained.layers):
        kernel.assign(ops.convert_to_numpy(kernel) * 1.5)
    before = kernels(trained)["d1/kernel"]
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        mask = mask_of(trained, start="magnitude")
    np.testing.assert_array_equal(mask, magnitude_mask(before, 100))

    with pytest.warns(
        UserWarning, match=r"d1/kernel.* are not what their initializers drew.*start="
    ):
        np.testing.assert_array_equal(mask_of(trained), fresh)  # the bits of the seed
    with pytest.warns(UserWarning, match="cannot be seen"):
        mask_of(network(), scope=None)
    stepped = O.SGD(0.1)
    kernel = keras.Variable(np.ones((4, 4), "float32"), name="kernel")
    stepped.apply([ops.ones((4, 4))], [kernel])
    with pytest.warns(UserWarning, match="has taken 1 steps"):
        SparseOptimizer(stepped, half, regrow=regrow).build([kernel])


def test_a_rule_of_before_start_is_loaded_and_a_saved_one_is_silent():
    half = ConstantSparsity(0.5, 1)
    config = PruningRule(half, regrow="set").get_config()
    assert PruningRule.from_config({k: v for k, v in config.items() if k != "start"}).start is None
    model = network()
    sparse = SparseOptimizer("sgd", half, scope=model, regrow="rigl")
    sparse.build(model.trainable_variables)
    copy = SparseOptimizer.from_config(sparse.get_config())
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        copy.build(network().trainable_variables)


@backends
def test_movement_keeps_what_moves_away_from_zero():
    weight = keras.Variable(np.array([[1.0, 1.0, -1.0, -1.0]], "float32"), name="kernel")
    sparse = SparseOptimizer(O.SGD(0.1), ConstantSparsity(0.5, 3, frequency=1), score="movement")
    sparse.build([weight])
    for _ in range(2):  # -w·g: the 1st and 4th grow, the others shrink
        sparse.apply([ops.convert_to_tensor([[-1.0, 1.0, -2.0, 3.0]])], [weight])
    np.testing.assert_array_equal(sparse.get_mask(weight), [[1, 0, 0, 1]])


@backends
def test_snip_keeps_what_the_loss_feels():
    weight = keras.Variable(np.array([[5.0, 1.0, -1.0, 3.0]], "float32"), name="kernel")
    sparse = SparseOptimizer(O.SGD(0.0), ConstantSparsity(0.5, 2, frequency=1), score="snip")
    sparse.build([weight])
    sparse.apply([ops.convert_to_tensor([[0.1, 2.0, -3.0, 0.2]])], [weight])
    np.testing.assert_array_equal(sparse.get_mask(weight), [[0, 1, 1, 0]])


@backends
def test_random_masks_are_nested_and_the_same_for_a_seed():
    runs = []
    for seed in (0, 0, 1):
        model = compiled(
            PolynomialDecay(0.3, 0.9, 1, 9, power=1, frequency=4), score="random", seed=seed
        )
        masks = []

        class Record(keras.callbacks.Callback):
            def __init__(self, masks):
                super().__init__()
                self.masks = masks

            def on_train_batch_end(self, batch, logs=None):
                self.masks.append(sparsity.get_masks(self.model)["d1/kernel"])

        fit(model, 16, [Record(masks)])
        runs.append(masks)
        assert all(not np.any(b & ~a) for a, b in itertools.pairwise(masks))
        assert [int(m.sum()) for m in (masks[0], masks[5], masks[-1])] == [140, 80, 20]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert np.any(np.array(runs[0]) != np.array(runs[2]))


@backends
def test_monotone_masks_do_not_grow_when_the_sparsity_falls():
    falling = PolynomialDecay(0.9, 0.1, 1, 9, power=1, frequency=4)
    free, held = compiled(falling), compiled(falling, monotone=True)
    for model in (free, held):
        fit(model, 16)
    assert sparsity.get_masks(free)["d1/kernel"].sum() == 180
    assert sparsity.get_masks(held)["d1/kernel"].sum() == 20


@pytest.mark.parametrize(
    ("make", "shape", "axis"),
    [
        (lambda: keras.layers.Dense(3), (8,), 0),
        (lambda: keras.layers.Conv2D(3, 2), (4, 4, 8), 2),
        (lambda: keras.layers.Conv2DTranspose(3, 2), (4, 4, 8), 3),
        (lambda: keras.layers.EinsumDense("abc,cde->abde", (None, 2, 3)), (5, 8), 0),
        (lambda: keras.layers.EinsumDense("abcd,cde->abe", (None, 3)), (5, 2, 8), 1),
    ],
    ids=["dense", "conv", "transposed", "einsum in", "einsum out"],
)
def test_m_by_n_counts_along_the_inputs(make, shape, axis):
    model = keras.Sequential([keras.Input(shape), make()])
    optimizer = SparseOptimizer("sgd", scope=model, sparsity_m_by_n=(2, 4))
    kernel = model.layers[0].kernel
    before = np.abs(ops.convert_to_numpy(kernel))
    optimizer.build(model.trainable_variables)
    groups = np.moveaxis(before, axis, -1).reshape(-1, 4)
    kept = np.moveaxis(optimizer.get_mask(kernel), axis, -1).reshape(-1, 4)
    assert (kept.sum(1) == 2).all()
    # Each survivor is larger than what was pruned beside it.
    assert (np.where(kept, groups, np.inf).min(1) >= np.where(kept, 0, groups).max(1)).all()


def test_rules_for_different_layers():
    model = network()
    rules = [
        PruningRule(ConstantSparsity(0.5, 1), scope=[model.get_layer("d0")]),
        PruningRule(ConstantSparsity(0.9, 1), scope=lambda v: "d1" in v.path and len(v.shape) == 2),
    ]
    model.compile(SparseOptimizer("sgd", rules=rules), LOSS, run_eagerly=True)
    fit(model, 8)
    assert zeros(model) == {"d0/kernel": 80, "d1/kernel": 180, "head/kernel": 0}


def test_compiled_anew_in_the_middle_it_goes_on_with_its_masks():
    model = sparsity.prune_low_magnitude(network(), ConstantSparsity(0.5, 1))
    model.compile("sgd", LOSS)
    fit(model, 8)
    before = sparsity.get_masks(model)
    model.compile(O.Adam(1e-4), LOSS)
    record = ExactZeros()
    fit(model, 8, [record])
    for key, mask in sparsity.get_masks(model).items():
        np.testing.assert_array_equal(mask, before[key])
    assert record.seen == [195] * 8


@backends
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"schedule": {"target_sparsity": 0.5}}, "dict"),
        ({"schedule": 0.5}, "ConstantSparsity"),
        ({"allocation": "half"}, "allocation"),
        ({"score": "size"}, "`score` must be one of"),
        ({"score": "snip", "schedule": ConstantSparsity(0.5, 1)}, "none before step 1"),
        ({"block_size": (2,)}, "2 whole numbers of at least 1"),
        ({"sparsity_m_by_n": (4, 2)}, "m < n"),
        ({"sparsity_m_by_n": (2, 4), "block_size": (2, 2)}, "exclude each other"),
        ({"regrow": "rigl"}, "needs a `schedule`"),
        ({"regrow": "grow"}, "`regrow` must be one of"),
        ({"drop_fraction": 2.0}, "from 0 to 1"),
        ({"start": "magnitude"}, "a rule with `regrow`"),
        ({"regrow": "set", "start": "best"}, "`start` must be one of"),
        ({"policy": sparsity.PruneForLatencyOnXNNPack()}, "scope=model"),
        ({"scope": 3.5}, "`scope` must be"),
    ],
)
def test_bad_rules(arguments, message):
    with pytest.raises(InputError, match=message):
        SparseOptimizer("sgd", **arguments)


def test_nothing_to_prune():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.trainable = False
    with pytest.raises(InputError, match="Unfreeze a layer"):
        sparsity.prune_low_magnitude(model)
    other = keras.Variable(np.ones((2, 2), "float32"), name="matrix")
    with pytest.raises(InputError, match="nothing to prune"):
        SparseOptimizer("sgd", ConstantSparsity(0.5, 1)).build([other])
