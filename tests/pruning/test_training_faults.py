"""What users of Keras pruning trip over while training: rows 13 to 23 of the acceptance list."""

import warnings

import keras
import numpy as np
import pytest
from keras import ops
from pruned_networks import BACKEND, LOSS, ExactZeros, O, compiled, fit, kernels, network, zeros

import tfinit.pruning as sparsity
from tfinit.errors import InputError
from tfinit.pruning import ConstantSparsity, PolynomialDecay, SparseOptimizer

# Each fit is a compilation on JAX: there, and on PyTorch, one test of each kind runs.
backends = pytest.mark.backends


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
    model, plain = network(), network()
    plain.set_weights(model.get_weights())
    for one in (model, plain):
        one.compile("sgd", LOSS)
    with pytest.warns(UserWarning, match="is not being pruned, and this callback does nothing"):
        fit(model, 8, [sparsity.UpdatePruningStep()])
    fit(plain, 8)
    for key, values in kernels(model).items():
        np.testing.assert_array_equal(values, kernels(plain)[key])


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
