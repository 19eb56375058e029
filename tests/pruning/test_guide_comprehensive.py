"""TFMOT's comprehensive guide on Keras 3; see `test_guides.py`."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from guide_tools import get_gzipped_model_size, scalars, zeros

import tfinit.pruning as sparsity

# The guides name the input shape in the first layer, of which Keras 3 says that an Input is better.
pytestmark = [
    # They prune from step 100 on and train less.
    pytest.mark.filterwarnings("ignore:The first pruning comes before training step"),
    pytest.mark.filterwarnings("ignore:Do not pass an `input_shape`:UserWarning"),
    pytest.mark.filterwarnings("ignore:Argument `input_shape` is deprecated:UserWarning"),
    pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5:UserWarning"),
    pytest.mark.filterwarnings(r"ignore:\s+Warning. tf.lite.Interpreter is deprecated:UserWarning"),
]

prune_low_magnitude = sparsity.prune_low_magnitude


input_shape = [20]
# By default ConstantSparsity(0.5, 0) updates at step 100. The guide trains for two steps, and
# prunes nothing; with batches of one, a hundred rows are a hundred steps.
x_train = np.random.default_rng(0).normal(size=(100, 20)).astype("float32")
y_train = keras.utils.to_categorical(np.random.default_rng(1).integers(0, 20, 100), num_classes=20)


def setup_model():
    return keras.Sequential(
        [keras.layers.Dense(20, input_shape=input_shape), keras.layers.Flatten()]
    )


@pytest.fixture(scope="module")
def pretrained_weights(tmp_path_factory):
    model = setup_model()
    model.compile(
        loss=keras.losses.categorical_crossentropy, optimizer="adam", metrics=["accuracy"]
    )
    model.fit(x_train, y_train, verbose=0)
    # Keras 3 wants this ending.
    path = tmp_path_factory.mktemp("weights") / "pretrained.weights.h5"
    model.save_weights(path)
    return path


def fit_as_in_the_guide(model_for_pruning, log_dir, epochs=2):
    callbacks = [
        sparsity.UpdatePruningStep(),
        sparsity.PruningSummaries(log_dir=log_dir),
    ]
    model_for_pruning.compile(
        loss=keras.losses.categorical_crossentropy, optimizer="adam", metrics=["accuracy"]
    )
    model_for_pruning.fit(
        x_train, y_train, callbacks=callbacks, epochs=epochs, batch_size=1, verbose=0
    )


def test_comprehensive_prune_whole_model_and_fit(pretrained_weights, tmp_path):
    base_model = setup_model()
    base_model.load_weights(pretrained_weights)
    before = base_model.get_weights()
    model_for_pruning = prune_low_magnitude(base_model)
    model_for_pruning.summary()
    for new, old in zip(model_for_pruning.get_weights(), before, strict=True):
        np.testing.assert_array_equal(new, old)
    fit_as_in_the_guide(model_for_pruning, str(tmp_path))
    dense = model_for_pruning.layers[0]
    assert zeros(dense.kernel) == 200  # of 400
    assert zeros(dense.bias) == 0
    logged = scalars(tmp_path)
    assert logged[f"{dense.kernel.path}/mask/sparsity"] == [0.5, 0.5]
    assert len(logged["epoch_loss"]) == 2  # one of TensorBoard's usual curves
    threshold = np.min(np.abs(dense.kernel.numpy()[dense.kernel.numpy() != 0]))
    assert logged[f"{dense.kernel.path}/mask/threshold"][-1] == threshold


def test_comprehensive_prune_some_layers_by_clone_model(pretrained_weights, tmp_path):
    base_model = keras.Sequential(
        [
            keras.layers.Dense(20, input_shape=input_shape),
            keras.layers.Flatten(),
            keras.layers.Reshape((20, 1)),
            keras.layers.Conv1D(1, 1, name="spared"),
            keras.layers.Flatten(),
        ]
    )
    before = base_model.get_weights()

    def apply_pruning_to_dense(layer):
        if isinstance(layer, keras.layers.Dense):
            return prune_low_magnitude(layer)
        return layer

    model_for_pruning = keras.models.clone_model(
        base_model,
        clone_function=apply_pruning_to_dense,
    )
    model_for_pruning.summary()
    for new, old in zip(model_for_pruning.get_weights(), before, strict=True):
        np.testing.assert_array_equal(new, old)
    fit_as_in_the_guide(model_for_pruning, str(tmp_path), epochs=1)
    assert zeros(model_for_pruning.layers[0].kernel) == 200
    assert zeros(model_for_pruning.get_layer("spared").kernel) == 0


def test_comprehensive_functional_example(tmp_path):
    i = keras.Input(shape=(20,))
    x = prune_low_magnitude(keras.layers.Dense(10))(i)
    x = keras.layers.Dense(20)(x)  # not pruned; the guide has none
    o = keras.layers.Flatten()(x)
    model_for_pruning = keras.Model(inputs=i, outputs=o)
    model_for_pruning.summary()
    fit_as_in_the_guide(model_for_pruning, str(tmp_path), epochs=1)
    assert zeros(model_for_pruning.layers[1].kernel) == 100
    assert zeros(model_for_pruning.layers[2].kernel) == 0


def test_comprehensive_sequential_example(tmp_path):
    model_for_pruning = keras.Sequential(
        [
            prune_low_magnitude(keras.layers.Dense(20, input_shape=input_shape)),
            keras.layers.Flatten(),
        ]
    )
    model_for_pruning.summary()
    fit_as_in_the_guide(model_for_pruning, str(tmp_path), epochs=1)
    assert zeros(model_for_pruning.layers[0].kernel) == 200


def test_comprehensive_custom_layer(tmp_path):
    class MyDenseLayer(keras.layers.Dense, sparsity.PrunableLayer):
        def get_prunable_weights(self):
            # Prune bias also, though that usually harms model accuracy too much.
            return [self.kernel, self.bias]

    model_for_pruning = keras.Sequential(
        [
            prune_low_magnitude(MyDenseLayer(20, input_shape=input_shape)),
            keras.layers.Flatten(),
        ]
    )
    model_for_pruning.summary()
    fit_as_in_the_guide(model_for_pruning, str(tmp_path), epochs=1)
    dense = model_for_pruning.layers[0]
    assert zeros(dense.kernel) == 200
    assert zeros(dense.bias) == 10


def test_comprehensive_custom_training_loop(pretrained_weights, tmp_path):
    base_model = setup_model()
    base_model.load_weights(pretrained_weights)
    model_for_pruning = prune_low_magnitude(base_model)

    loss = keras.losses.categorical_crossentropy
    optimizer = keras.optimizers.Adam()
    log_dir = str(tmp_path)
    unused_arg = -1
    batches_of_epochs = [100, 20]  # one each in the guide, which prunes nothing then

    model_for_pruning.optimizer = optimizer
    step_callback = sparsity.UpdatePruningStep()
    step_callback.set_model(model_for_pruning)
    log_callback = sparsity.PruningSummaries(log_dir=log_dir)
    log_callback.set_model(model_for_pruning)

    kernel = model_for_pruning.layers[0].kernel
    zeros_at_step = {}
    step = 0
    step_callback.on_train_begin()
    for batches in batches_of_epochs:
        log_callback.on_epoch_begin(epoch=unused_arg)
        for _ in range(batches):
            step_callback.on_train_batch_begin(batch=unused_arg)
            step += 1
            zeros_at_step[step] = zeros(kernel)

            with tf.GradientTape() as tape:
                logits = model_for_pruning(x_train, training=True)
                loss_value = loss(y_train, logits)
                grads = tape.gradient(loss_value, model_for_pruning.trainable_variables)
                optimizer.apply_gradients(
                    zip(grads, model_for_pruning.trainable_variables, strict=True)
                )

        step_callback.on_epoch_end(batch=unused_arg)
        assert zeros(kernel) == 200

    # In each step, as the gradient is taken; not before step 100, as TFMOT counts them.
    assert zeros_at_step == {s: 200 if s >= 100 else 0 for s in range(1, 121)}
    # Logged as the two epochs begin.
    assert scalars(log_dir)[f"{kernel.path}/mask/sparsity"] == [0.0, 0.5]


@pytest.mark.parametrize("ending", ["h5", "keras"])
def test_comprehensive_checkpoint_and_deserialize(pretrained_weights, tmp_path, ending):
    base_model = setup_model()
    base_model.load_weights(pretrained_weights)
    model_for_pruning = prune_low_magnitude(base_model)
    fit_as_in_the_guide(model_for_pruning, str(tmp_path), epochs=1)
    keras_model_file = tmp_path / f"checkpoint.{ending}"
    model_for_pruning.save(keras_model_file, include_optimizer=True)

    with sparsity.prune_scope():
        loaded_model = keras.models.load_model(keras_model_file)
    loaded_model.summary()
    kernel = loaded_model.layers[0].kernel
    np.testing.assert_array_equal(kernel, model_for_pruning.layers[0].kernel)
    zero = kernel.numpy() == 0
    assert zero.sum() == 200
    # It goes on with its masks: not one of the zeros is trained away.
    callbacks = [sparsity.UpdatePruningStep(), sparsity.PruningSummaries(log_dir=str(tmp_path))]
    before = kernel.numpy()
    loaded_model.fit(x_train, y_train, epochs=1, callbacks=callbacks, verbose=0)
    assert not np.array_equal(before, kernel.numpy())
    np.testing.assert_array_equal(kernel.numpy() == 0, zero)


def test_comprehensive_checkpoint_before_training(pretrained_weights, tmp_path):
    # As the guide has it: saved before `compile`, whatever there is of the optimizer.
    base_model = setup_model()
    base_model.load_weights(pretrained_weights)
    model_for_pruning = prune_low_magnitude(base_model)
    keras_model_file = tmp_path / "model.h5"
    model_for_pruning.save(keras_model_file, include_optimizer=True)
    with sparsity.prune_scope():
        loaded_model = keras.models.load_model(keras_model_file)
    for new, old in zip(loaded_model.get_weights(), base_model.get_weights(), strict=True):
        np.testing.assert_array_equal(new, old)


def test_comprehensive_export_with_size_compression(pretrained_weights, tmp_path):
    def get_gzipped_size(model, name):
        keras_file = tmp_path / name
        model.save(keras_file, include_optimizer=False)
        return get_gzipped_model_size(keras_file)

    base_model = setup_model()
    base_model.load_weights(pretrained_weights)
    dense = get_gzipped_size(base_model, "dense.h5")
    model_for_pruning = prune_low_magnitude(base_model)
    fit_as_in_the_guide(model_for_pruning, str(tmp_path), epochs=1)
    model_for_export = sparsity.strip_pruning(model_for_pruning)
    model_for_export.summary()
    without_stripping = get_gzipped_size(model_for_pruning, "pruned.h5")
    with_stripping = get_gzipped_size(model_for_export, "stripped.h5")
    # Nothing wraps the layers: other than in TFMOT, stripping takes no weights away, but the marks.
    assert with_stripping < 0.85 * dense
    assert with_stripping < without_stripping < 0.95 * dense
    assert zeros(model_for_export.layers[0].kernel) == 200
    assert len(model_for_export.weights) == 2


def test_comprehensive_block_size(tmp_path):
    base_model = setup_model()
    pruning_params = {"block_size": [1, 16]}
    model_for_pruning = prune_low_magnitude(base_model, **pruning_params)
    model_for_pruning.summary()
    fit_as_in_the_guide(model_for_pruning, str(tmp_path), epochs=1)
    # 20 columns are a block of 16 and one of 4, which is as a whole zero or not.
    zero = model_for_pruning.layers[0].kernel.numpy() == 0
    for row in zero:
        assert row[:16].all() or not row[:16].any()
        assert row[16:].all() or not row[16:].any()
    blocks = zero[:, 0].sum() + zero[:, 16].sum()
    assert blocks == 20  # of 40
