"""What TFMOT has not: masks that move, other scores, rules for different layers."""

import itertools

import keras
import numpy as np
import pytest
from keras import ops
from pruned_networks import LOSS, ExactZeros, O, compiled, fit, kernels, network, zeros

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
    sparse = SparseOptimizer(O.SGD(0.0), schedule, regrow="rigl", drop_fraction=0.34)
    sparse.build([weight])
    weight.assign(start)  # the first mask is random
    sparse.assign_masks([(weight, [[1, 1], [1, 0], [0, 0]])])
    sparse.apply([ops.convert_to_tensor([[9.0, 9.0], [9.0, 1.0], [3.0, 2.0]])], [weight])
    # 0.34 * 3 = 1 is dropped, 0.3; of the others its own gradient 9 is the largest: it returns.
    np.testing.assert_array_equal(sparse.get_mask(weight), [[1, 1], [1, 0], [0, 0]])
    sparse.apply([ops.convert_to_tensor([[9.0, 9.0], [0.0, 1.0], [-3.0, 2.0]])], [weight])
    np.testing.assert_array_equal(sparse.get_mask(weight), [[1, 1], [0, 0], [1, 0]])
    np.testing.assert_allclose(ops.convert_to_numpy(weight), [[0.5, -0.4], [0, 0], [0, 0]])


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
