"""A marked model that a loop or a model of somebody's own trains."""

import warnings

import keras
import numpy as np
import pytest
from keras import ops
from marked_networks import HALF, compiled, fit, network, step_by, zeros

from tfinit.errors import InputError
from tfinit.pruning import (
    SparseOptimizer,
    UpdatePruningStep,
    get_masks,
    prune_low_magnitude,
    sparsity_report,
    strip_pruning,
)

pytestmark = pytest.mark.backends


class Adversary(keras.Model):
    """Trains another model, with an optimizer of its own."""

    def __init__(self, generator, optimizer):
        super().__init__()
        self.generator, self.by = generator, optimizer

    def call(self, x):
        return self.generator(x)

    def train_step(self, data):
        step_by(self.by, self.generator, 1)
        return {"loss": ops.zeros(())}


not_jax = pytest.mark.skipif(
    keras.backend.backend() == "jax", reason="train_step is another one on JAX"
)


@not_jax
def test_a_generator_that_another_models_optimizer_trains():
    """Torch-Pruning#94, M#271."""
    generator = prune_low_magnitude(network(), HALF)
    with pytest.warns(UserWarning, match="fit: .*trained by an optimizer that prunes nothing"):
        fit(compiled(Adversary(generator, keras.optimizers.SGD())), 4)
    before = generator.get_weights()
    with pytest.raises(InputError, match=r"they are dense.*SparseOptimizer\(optimizer"):
        strip_pruning(generator)
    assert all(np.array_equal(a, b) for a, b in zip(generator.get_weights(), before, strict=True))


@not_jax
@pytest.mark.parametrize("marked", [True, False])
def test_a_generator_whose_zeros_another_models_optimizer_keeps(marked):
    generator = network()
    if marked:
        prune_low_magnitude(generator, HALF)
    optimizer = SparseOptimizer("sgd", HALF, scope=generator)
    fit(compiled(Adversary(generator, optimizer)), 4)
    assert {key: int((~m).sum()) for key, m in get_masks(generator).items()} == {
        "a/kernel": 24,
        "out/kernel": 8,
    }
    assert zeros(strip_pruning(generator)) == [24, 8]


def test_a_loop_with_a_plain_optimizer_is_found_when_saved_reported_or_stripped(tmp_path):
    model = prune_low_magnitude(network(), HALF)
    step_by(keras.optimizers.SGD(), model)  # the optimizer itself is gone then
    with pytest.warns(UserWarning, match="being saved or copied.*they are dense"):
        model.save(tmp_path / "m.keras")
    with pytest.warns(UserWarning, match="trained by an optimizer that prunes nothing"):
        sparsity_report(model)
    with pytest.raises(InputError, match="trained by an optimizer that prunes nothing"):
        strip_pruning(model)


def test_a_loop_with_a_plain_optimizer_after_the_pruning(tmp_path):
    """The file would be of a dense model, and a copy go on from there: `strip_pruning` mends it."""
    model = compiled(prune_low_magnitude(network(), HALF))
    fit(model, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        model.save(tmp_path / "m.keras")
    step_by(keras.optimizers.SGD(), model)
    with pytest.warns(UserWarning, match="being saved or copied .* pruned are not zero"):
        model.save(tmp_path / "m.keras")
    with pytest.warns(UserWarning, match="reported on .* pruned are not zero"):
        sparsity_report(model)
    with pytest.warns(UserWarning, match="32 weights that are pruned were not zero"):
        assert zeros(strip_pruning(model)) == [24, 8]


def test_what_a_plain_optimizer_did_before_the_model_was_marked_does_not_count():
    model = network()
    optimizer = keras.optimizers.SGD()
    prune_low_magnitude(network(), HALF)
    step_by(optimizer, model)
    prune_low_magnitude(model, HALF)
    with pytest.warns(UserWarning, match="is dense: it took 0 training steps"):
        assert zeros(strip_pruning(model)) == [0, 0]


@pytest.mark.parametrize("given", ["compiled", "before", "after"])
def test_the_callback_counts_the_steps_of_any_optimizer(given):
    """M#271: TFMOT's loop; `model.optimizer` is another one than steps, or is set later."""
    model, optimizer = prune_low_magnitude(network(), HALF), keras.optimizers.SGD()
    if given == "compiled":
        compiled(model, "adam")
    if given == "before":
        model.optimizer = optimizer
    callback = UpdatePruningStep()
    callback.set_model(model)
    if given == "after":
        model.optimizer = optimizer
    callback.on_train_begin()
    seen = []
    for _ in range(6):
        callback.on_train_batch_begin(batch=-1)
        seen.append(zeros(model))
        step_by(optimizer, model, 1)
    callback.on_epoch_end(batch=-1)
    assert seen == [[0, 0], *[[24, 8]] * 5]
    assert zeros(model) == zeros(strip_pruning(model)) == [24, 8]
