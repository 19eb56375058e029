"""What users of Keras pruning trip over while training: rows 13 to 23 of the acceptance list."""

import itertools
import warnings

import keras
import numpy as np
import pytest
from keras import ops

import tfinit.pruning as sparsity
from tfinit.errors import InputError
from tfinit.pruning import ConstantSparsity, PolynomialDecay, PruningRule, SparseOptimizer
from tfinit.pruning.model_masks import sparse_optimizer_of
from tfinit.variables import prunable_weights

# Each fit is a compilation on JAX: there, and on PyTorch, one test of each kind runs.
backends = pytest.mark.backends
BACKEND = keras.backend.backend()
O = keras.optimizers  # noqa: E741
RNG = np.random.default_rng(5)
X = RNG.normal(size=(64, 8)).astype("float32")
Y = RNG.integers(0, 3, 64)
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def network(widths=(20, 10)):
    layers = [keras.Input((8,))]
    for i, width in enumerate(widths):
        init = keras.initializers.GlorotNormal(i + 1)
        layers.append(keras.layers.Dense(width, "relu", name=f"d{i}", kernel_initializer=init))
    head = keras.initializers.GlorotNormal(9)
    return keras.Sequential([*layers, keras.layers.Dense(3, name="head", kernel_initializer=head)])


def kernels(model):
    return {k: np.array(ops.convert_to_numpy(v)) for k, v in prunable_weights(model).items()}


def zeros(model):
    return {key: int((w == 0).sum()) for key, w in kernels(model).items()}


def fit(model, steps, callbacks=(), **kwargs):
    """Train for ``steps`` batches of 8, eight to an epoch."""
    assert steps % 8 == 0
    return model.fit(
        X,
        Y,
        batch_size=8,
        epochs=steps // 8,
        shuffle=False,
        verbose=0,
        callbacks=list(callbacks),
        **kwargs,
    )


def compiled(schedule, inner="sgd", compile_args=None, build=True, **settings):
    """Built here, since Keras traces every step twice of an optimizer that `fit` has to build."""
    model = network()
    optimizer = SparseOptimizer(inner, schedule, scope=model, **settings)
    model.compile(optimizer, LOSS, **(compile_args or {}))
    if build:
        optimizer.build(model.trainable_variables)
    return model


class ExactZeros(keras.callbacks.Callback):
    """After every batch, weights are zero exactly where their mask says so."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        optimizer = sparse_optimizer_of(self.model)
        for variable in prunable_weights(self.model).values():
            mask = optimizer.get_mask(variable)
            assert not np.any(ops.convert_to_numpy(variable)[~mask])
        self.seen.append(sum(zeros(self.model).values()))


# -- the schedule --------------------------------------------------------------------------------


def test_acceptance_13_a_short_run_prunes_or_says_before_that_it_will_not():
    quick = compiled(PolynomialDecay(0.0, 0.5, 0, 24, frequency=1), build=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        # Step 1 prunes already, to 0.5 - 0.5 * (23/24)**3.
        fit(quick, 24)
    assert zeros(quick) == {"d0/kernel": 80, "d1/kernel": 100, "head/kernel": 15}

    slow = compiled(ConstantSparsity(0.5, 0), build=False)  # TFMOT's default frequency of 100
    with pytest.warns(UserWarning, match="before training step 100: shorter training prunes no"):
        fit(slow, 32)
    assert sum(zeros(slow).values()) == 0

    never = compiled(ConstantSparsity(0.0, 0), build=False)
    with pytest.warns(UserWarning, match="never prunes"):
        fit(never, 8)


def test_the_mask_changes_before_the_steps_that_the_schedule_names():
    model = compiled(PolynomialDecay(0.25, 0.75, 4, 12, power=1, frequency=4))
    record = ExactZeros()
    fit(model, 16, [record])
    # 390 kernel entries. After step 3 the mask of step 4 is taken: 25 %; of step 8: 50 %.
    shares = np.array(record.seen) / 390
    np.testing.assert_allclose(
        shares, [0, 0] + [0.25] * 4 + [0.5] * 4 + [0.75] * 6, atol=0.5 / 30 + 1e-9
    )


@backends
def test_acceptance_14_zeros_are_exact_after_every_step():
    model = compiled(PolynomialDecay(0.1, 0.8, 1, 20, frequency=3), O.SGD(0.5, momentum=0.9))
    record = ExactZeros()
    fit(model, 24, [record])
    assert record.seen[0] < record.seen[-1] == 312


INNER = {
    "momentum": lambda: O.SGD(0.1, momentum=0.9, nesterov=True),
    "adam": lambda: O.Adam(0.01),
    "adamw": lambda: O.AdamW(0.01, weight_decay=0.1),
    "lion": lambda: O.Lion(0.005),
    "ema": lambda: O.Adam(0.01, use_ema=True, ema_momentum=0.8, ema_overwrite_frequency=3),
    "accumulation": lambda: O.Adam(0.01, gradient_accumulation_steps=2),
    "clipping": lambda: O.SGD(0.1, momentum=0.9, global_clipnorm=0.05),
}


@pytest.mark.parametrize("name", INNER)
def test_acceptance_15_nothing_revives_a_pruned_weight_on_a_schedule(name):
    model = compiled(PolynomialDecay(0.2, 0.9, 1, 16, frequency=2), INNER[name]())
    record = ExactZeros()
    fit(model, 24, [record])
    assert record.seen[-1] == 144 + 180 + 27


@backends
@pytest.mark.parametrize(
    "sparsity_, left", [(0.0, (1, 2, 10)), (0.99, (1, 1, 1)), (1.0, (1, 1, 1))]
)
def test_acceptance_17_small_tensors_and_ties(sparsity_, left):
    shapes = [(1, 1), (2, 1), (2, 5)]
    variables = [keras.Variable(np.ones(s, "float32"), name="kernel") for s in shapes]
    schedule = ConstantSparsity(sparsity_, 1)
    sparse = SparseOptimizer(O.SGD(0.1), schedule)
    if sparsity_:
        sparse.build(variables)
    else:
        with pytest.warns(UserWarning, match="never prunes"):
            sparse.build(variables)
    for _ in range(2):
        sparse.apply([ops.ones(s) for s in shapes], variables)
    counts = tuple(int(np.count_nonzero(ops.convert_to_numpy(v))) for v in variables)
    assert counts == left


@backends
def test_acceptance_17_equal_weights_are_pruned_to_the_exact_count():
    variable = keras.Variable(np.ones((30, 10), "float32"), name="kernel")
    SparseOptimizer(O.SGD(0.1), ConstantSparsity(0.9, 1)).build([variable])
    values = ops.convert_to_numpy(variable)
    assert np.count_nonzero(values) == 30
    assert np.count_nonzero(values.ravel()[:30]) == 30  # the first ones of the flattened tensor


@backends
def test_acceptance_18_no_callback_is_needed_and_tfmots_does_no_harm():
    results = []
    for callbacks in ([], [sparsity.UpdatePruningStep()]):
        model = sparsity.prune_low_magnitude(network(), ConstantSparsity(0.5, 2, frequency=3))
        model.compile("sgd", LOSS)
        fit(model, 16, callbacks)
        results.append(kernels(model))
        assert zeros(model) == {"d0/kernel": 80, "d1/kernel": 100, "head/kernel": 15}
    for key, values in results[0].items():
        np.testing.assert_array_equal(values, results[1][key])


def test_acceptance_18_the_callback_on_a_model_that_is_not_pruned_says_so_at_once():
    model = network()
    model.compile("sgd", LOSS)
    before = kernels(model)
    with pytest.raises(InputError, match="not being pruned"):
        fit(model, 8, [sparsity.UpdatePruningStep()])
    for key, values in kernels(model).items():
        np.testing.assert_array_equal(values, before[key])


def masks_after_24_steps(**compile_args):
    decay, inner = PolynomialDecay(0.1, 0.8, 1, 20, frequency=3), O.SGD(0.05, momentum=0.9)
    model = compiled(decay, inner, compile_args)
    fit(model, 24)
    return sparsity.get_masks(model)


@pytest.fixture(scope="module")
def masks_of_single_steps():
    return masks_after_24_steps(jit_compile=False)


@pytest.mark.skipif(BACKEND == "torch", reason="PyTorch has neither")
@pytest.mark.parametrize(
    "mode",
    [
        {"steps_per_execution": 8},
        {"jit_compile": True},
        {"steps_per_execution": 4, "jit_compile": True},
    ],
    ids=str,
)
def test_acceptance_21_compiled_steps_take_the_same_masks_as_single_ones(
    mode, masks_of_single_steps
):
    masks = masks_after_24_steps(**mode)
    for key, mask in masks_of_single_steps.items():
        assert 0.1 < mask.mean() < 0.3
        np.testing.assert_array_equal(mask, masks[key])


def test_acceptance_22_early_stopping_that_restores_a_denser_epoch():
    model = sparsity.prune_low_magnitude(
        network(), PolynomialDecay(0.0, 0.9, 0, 24, power=1, frequency=2)
    )
    model.compile(O.SGD(1e-4), LOSS)

    class Best(keras.callbacks.EarlyStopping):
        def get_monitor_value(self, logs):
            return float(self.model.optimizer.iterations)  # the first epoch is the best

    fit(model, 32, [Best(monitor="loss", mode="min", patience=9, restore_best_weights=True)])
    assert sum(zeros(model).values()) < 0.5 * 390
    with pytest.warns(UserWarning, match="weights that are pruned were not zero"):
        stripped = sparsity.strip_pruning(model)
    assert zeros(stripped) == {"d0/kernel": 144, "d1/kernel": 180, "head/kernel": 27}


@backends
def test_acceptance_23_sparsity_for_each_layer():
    named = compiled(
        PolynomialDecay(0.0, 0.8, 0, 16, frequency=1),
        allocation={"d0/kernel": 0.9, "head/kernel": 0.5},
    )
    fit(named, 24)
    assert zeros(named) == {"d0/kernel": 144, "d1/kernel": 0, "head/kernel": 15}

    called = compiled(
        ConstantSparsity(0.8, 1), allocation=lambda key, shape, s: s if shape[1] > 3 else s / 2
    )
    fit(called, 8)
    assert zeros(called) == {"d0/kernel": 128, "d1/kernel": 160, "head/kernel": 12}

    everywhere = compiled(ConstantSparsity(0.8, 1), build=False, allocation="global")
    before = {k: np.abs(v) for k, v in kernels(everywhere).items()}
    fit(everywhere, 8)
    threshold = np.sort(np.concatenate([w.ravel() for w in before.values()]))[-78]
    assert zeros(everywhere) == {k: int((w < threshold).sum()) for k, w in before.items()}

    erk = compiled(ConstantSparsity(0.8, 1), allocation="erk")
    fit(erk, 8)
    # ε·(in+out) weights each: ε = 78 / (28 + 30 + 13), but the head has 30 places only.
    epsilon = 78 / 71
    assert zeros(erk) == {
        "d0/kernel": 160 - round(28 * epsilon),
        "d1/kernel": 200 - round(30 * epsilon),
        "head/kernel": 30 - round(13 * epsilon),
    }


def test_acceptance_23_an_unknown_layer_is_named():
    model = compiled(ConstantSparsity(0.8, 1), build=False, allocation={"d7/kernel": 0.9})
    with pytest.raises(InputError, match=r"d7/kernel.*d0/kernel"):
        model.optimizer.build(model.trainable_variables)


# -- what TFMOT has not --------------------------------------------------------------------------


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
        ({"block_size": (2,)}, "two positive integers"),
        ({"sparsity_m_by_n": (4, 2)}, "m < n"),
        ({"sparsity_m_by_n": (2, 4), "block_size": (2, 2)}, "exclude each other"),
        ({"regrow": "rigl"}, "needs a `schedule`"),
        ({"regrow": "grow"}, "`regrow` must be one of"),
        ({"drop_fraction": 2.0}, "between 0 and 1"),
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
