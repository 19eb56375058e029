"""What only TensorFlow has: loss scaling by policy, sparse gradients, tf.function, strategies."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfinit.errors import InputError
from tfinit.pruning import ConstantSparsity, SparseOptimizer, get_masks, set_masks
from tfinit.variables import prunable_weights


def assert_zeros(model, masks):
    for key, variable in prunable_weights(model).items():
        value = variable.numpy()
        assert np.all(value[~masks[key]] == 0), key
        assert np.any(value[masks[key]] != 0), key


@pytest.fixture(params=["mixed_float16", "mixed_bfloat16"])
def policy(request):
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_dtype_policy("float32")


def test_acceptance_16_mixed_precision(policy, tmp_path, rng):
    """Under mixed_float16, `compile` puts a LossScaleOptimizer around the SparseOptimizer."""
    model = keras.Sequential(
        [
            keras.layers.Input((8,)),
            keras.layers.Dense(16, "relu", name="a"),
            keras.layers.Dense(3, name="b"),
        ]
    )
    model.compile(SparseOptimizer(keras.optimizers.Adam(0.01)), "mse")
    wrapped = isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert wrapped == (policy == "mixed_float16")
    masks = {k: rng.random(v.shape) < 0.5 for k, v in prunable_weights(model).items()}
    set_masks(model, masks)
    x, y = rng.normal(size=(64, 8)).astype("f4"), rng.normal(size=(64, 3)).astype("f4")
    before = {k: v.numpy() for k, v in prunable_weights(model).items()}
    model.fit(x, y, epochs=3, verbose=0)
    assert_zeros(model, masks)
    assert all(not np.array_equal(before[k], v.numpy()) for k, v in prunable_weights(model).items())
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    for key, mask in get_masks(loaded).items():
        np.testing.assert_array_equal(mask, masks[key])


def test_sparse_gradients_of_an_embedding(rng):
    model = keras.Sequential(
        [
            keras.layers.Input((5,)),
            keras.layers.Embedding(20, 6, name="words"),
            keras.layers.Flatten(),
            keras.layers.Dense(2, name="out"),
        ]
    )
    model.compile(SparseOptimizer(keras.optimizers.SGD(0.5, momentum=0.9)), "mse")
    masks = {k: rng.random(v.shape) < 0.5 for k, v in prunable_weights(model).items()}
    set_masks(model, masks)
    x = rng.integers(0, 20, (64, 5))
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(model(x) ** 2)
    gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
    assert isinstance(gradients[0], tf.IndexedSlices)  # or this test tests nothing
    before = model.layers[0].embeddings.numpy()
    model.fit(x, np.ones((64, 2)), epochs=2, verbose=0)
    assert_zeros(model, masks)
    assert not np.array_equal(before, model.layers[0].embeddings.numpy())


@pytest.mark.parametrize("jit", [True, False])
def test_a_sparse_gradient_under_plain_sgd_writes_the_rows_that_it_names(jit):
    """By NumPy; and the masks move in between."""
    words = keras.layers.Embedding(20, 6)
    model = keras.Sequential([keras.layers.Input((2,)), words, keras.layers.Flatten()])
    sparse = SparseOptimizer(
        keras.optimizers.SGD(0.5), ConstantSparsity(0.5, 3, 3, frequency=1), scope=model
    )
    sparse.build(model.trainable_variables)
    x = tf.constant([[1, 2], [2, 2], [7, 1]])

    @tf.function(jit_compile=jit)
    def step():
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model(x) ** 2) / 10
        sparse.apply(tape.gradient(loss, [words.embeddings.value]), [words.embeddings])

    w, mask = words.embeddings.numpy(), np.ones((20, 6), bool)
    times = np.bincount(x.numpy().ravel(), minlength=20)[:, None]
    for i in range(5):
        step()
        w = np.where(mask, w - 0.5 * times * (2 * w / 10), 0)
        if i == 1:  # before step 3
            mask = np.abs(w) >= np.sort(np.abs(w), axis=None)[-60]
            w = np.where(mask, w, 0)
        np.testing.assert_array_equal(sparse.get_mask(words.embeddings), mask)
        np.testing.assert_allclose(words.embeddings.numpy(), w, rtol=1e-5, atol=1e-7)
        assert not words.embeddings.numpy()[~mask].any()


def test_acceptance_19_a_custom_loop_needs_nothing_but_apply(rng):
    model = keras.Sequential([keras.layers.Input((8,)), keras.layers.Dense(3, name="a")])
    optimizer = SparseOptimizer(keras.optimizers.Adam(0.01))
    optimizer.build(model.trainable_variables)
    mask = rng.random((8, 3)) < 0.5
    optimizer.assign_masks([(model.layers[0].kernel, mask)])
    x, y = rng.normal(size=(16, 8)).astype("f4"), rng.normal(size=(16, 3)).astype("f4")

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(x) - y) ** 2)
        weights = model.trainable_variables
        optimizer.apply(tape.gradient(loss, [w.value for w in weights]), weights)
        return loss

    losses = [float(step()) for _ in range(20)]
    assert losses[-1] < losses[0]
    assert np.all(model.layers[0].kernel.numpy()[~mask] == 0)
    # A mask set after the function was traced takes effect.
    mask = mask & (rng.random(mask.shape) < 0.5)
    optimizer.assign_masks([(model.layers[0].kernel, mask)])
    step()
    assert np.all(model.layers[0].kernel.numpy()[~mask] == 0)


def test_swap_ema_weights_sees_pruned_averages(rng):
    model = keras.Sequential([keras.layers.Input((8,)), keras.layers.Dense(3, name="a")])
    # Momentum from before the masks: without masking, the averages would keep what it moved.
    inner = keras.optimizers.SGD(0.1, momentum=0.9, use_ema=True)
    model.compile(SparseOptimizer(inner), "mse")
    model.fit(np.ones((32, 8)), np.ones((32, 3)), verbose=0)
    masks = {"a/kernel": rng.random((8, 3)) < 0.5}
    set_masks(model, masks)
    swap = keras.callbacks.SwapEMAWeights(swap_on_epoch=True)
    model.fit(np.ones((32, 8)), np.ones((32, 3)), epochs=2, verbose=0, callbacks=[swap])
    assert_zeros(model, masks)


def test_an_h5_file_restores_the_masks_and_the_state_of_the_optimizer(tmp_path, rng):
    model = keras.Sequential([keras.layers.Input((8,)), keras.layers.Dense(3, name="a")])
    half = ConstantSparsity(0.5, begin_step=3, frequency=100)
    model.compile(SparseOptimizer(keras.optimizers.Adam(), half, scope=model), "mean_squared_error")
    x, y = rng.normal(size=(64, 8)).astype("f4"), rng.normal(size=(64, 3)).astype("f4")
    model.fit(x, y, batch_size=16, verbose=0)
    model.save(tmp_path / "m.h5")
    loaded = keras.saving.load_model(tmp_path / "m.h5")
    model.fit(x, y, epochs=2, batch_size=16, verbose=0, shuffle=False)
    loaded.fit(x, y, epochs=2, batch_size=16, verbose=0, shuffle=False)
    assert int(np.sum(loaded.layers[0].kernel.numpy() == 0)) == 12
    np.testing.assert_array_equal(loaded.layers[0].kernel, model.layers[0].kernel)
    for new, old in zip(loaded.optimizer.variables, model.optimizer.variables, strict=True):
        np.testing.assert_array_equal(new, old)


def test_setting_the_state_of_another_optimizer_changes_nothing():
    model = keras.Sequential([keras.layers.Input((8,)), keras.layers.Dense(3, name="a")])
    optimizer = SparseOptimizer(keras.optimizers.Adam())
    optimizer.build(model.trainable_variables)
    before = [np.array(v) for v in optimizer.variables]
    with pytest.raises(InputError, match="weights"):
        optimizer.set_weights([np.ones(v.shape) for v in optimizer.variables[:-1]])
    for variable, value in zip(optimizer.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)
