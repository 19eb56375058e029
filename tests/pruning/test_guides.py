"""TFMOT's four pruning guides on Keras 3: their code, with another import and other data.

The guides are those of tensorflow.org/model_optimization/guide/pruning: `pruning_with_keras`,
`comprehensive_guide`, `pruning_with_sparsity_2_by_4` and `pruning_for_on_device_inference`. What is
changed is the import (``import tfinit.pruning as sparsity``, for ``tfmot.sparsity.keras``), the
data with the number of epochs, where files go, and what Keras 3 itself does in another way.
"""

import gzip
import os
import tempfile
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfinit.pruning as sparsity
from tfinit.datasets import load

# The guides name the input shape in the first layer, of which Keras 3 says that an Input is better.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Do not pass an `input_shape`:UserWarning"),
    pytest.mark.filterwarnings("ignore:Argument `input_shape` is deprecated:UserWarning"),
    pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5:UserWarning"),
    pytest.mark.filterwarnings(r"ignore:\s+Warning. tf.lite.Interpreter is deprecated:UserWarning"),
]

prune_low_magnitude = sparsity.prune_low_magnitude


@pytest.fixture(autouse=True)
def repeatable():
    keras.utils.set_random_seed(0)


def zeros(variable):
    return int(np.sum(variable.numpy() == 0))


def get_gzipped_model_size(file):
    zipped_file = f"{file}.zip"
    with zipfile.ZipFile(zipped_file, "w", compression=zipfile.ZIP_DEFLATED) as f:
        f.write(file)
    return os.path.getsize(zipped_file)


def scalars(log_dir):
    """tag → values, in the order of their steps, of what was logged for TensorBoard."""
    found = {}
    for directory, _, files in os.walk(log_dir):
        for file in files:
            for event in tf.compat.v1.train.summary_iterator(os.path.join(directory, file)):
                for value in event.summary.value:
                    if value.metadata.plugin_data.plugin_name == "scalars":
                        number = float(tf.make_ndarray(value.tensor))
                        found.setdefault(value.tag, []).append((event.step, number))
    return {tag: [number for _, number in sorted(pairs)] for tag, pairs in found.items()}


def tensor_of(interpreter, shape):
    """The weights of this shape in a TFLite model: the names there differ from TensorFlow's."""
    found = [d for d in interpreter.get_tensor_details() if tuple(d["shape"]) == shape]
    return interpreter.get_tensor(found[0]["index"])


def interpreted(content):
    interpreter = tf.lite.Interpreter(model_content=content)
    interpreter.allocate_tensors()
    return interpreter


def predicted_digits(interpreter, test_images):
    input_index = interpreter.get_input_details()[0]["index"]
    output_index = interpreter.get_output_details()[0]["index"]
    prediction_digits = []
    for test_image in test_images:
        test_image = np.expand_dims(test_image, axis=0).astype(np.float32)
        interpreter.set_tensor(input_index, test_image)
        interpreter.invoke()
        prediction_digits.append(np.argmax(interpreter.tensor(output_index)()[0]))
    return np.array(prediction_digits)


@pytest.fixture(scope="module")
def mnist():
    """The digits of scikit-learn as (28, 28), in place of MNIST's."""
    data = load("digits")

    def images(x):
        return np.kron(x[..., 0], np.ones((4, 4), "float32"))[:, 2:-2, 2:-2]

    (x, y), (x_test, y_test) = data.train, data.test
    return (images(x), y), (images(x_test), y_test)


# -- pruning_with_keras ----------------------------------------------------------------------------


def test_pruning_with_keras(mnist, tmp_path):
    (train_images, train_labels), (test_images, test_labels) = mnist

    model = keras.Sequential(
        [
            keras.layers.InputLayer(input_shape=(28, 28)),
            keras.layers.Reshape(target_shape=(28, 28, 1)),
            keras.layers.Conv2D(filters=12, kernel_size=(3, 3), activation="relu"),
            keras.layers.MaxPooling2D(pool_size=(2, 2)),
            keras.layers.Flatten(),
            keras.layers.Dense(10),
        ]
    )
    model.compile(
        optimizer="adam",
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(train_images, train_labels, epochs=4, validation_split=0.1, verbose=0)
    _, baseline_model_accuracy = model.evaluate(test_images, test_labels, verbose=0)
    keras_file = tmp_path / "dense.h5"
    keras.models.save_model(model, keras_file, include_optimizer=False)

    batch_size = 128
    epochs = 2
    validation_split = 0.1
    # More of the same data: the schedule updates every hundred steps, which are to be reached.
    train_images, train_labels = np.tile(train_images, (13, 1, 1)), np.tile(train_labels, 13)
    num_images = train_images.shape[0] * (1 - validation_split)
    end_step = np.ceil(num_images / batch_size).astype(np.int32) * epochs
    assert end_step == 202
    pruning_params = {
        "pruning_schedule": sparsity.PolynomialDecay(
            initial_sparsity=0.50, final_sparsity=0.80, begin_step=0, end_step=end_step
        )
    }
    model_for_pruning = prune_low_magnitude(model, **pruning_params)
    model_for_pruning.compile(
        optimizer="adam",
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model_for_pruning.summary()
    logdir = tempfile.mkdtemp(dir=tmp_path)
    callbacks = [
        sparsity.UpdatePruningStep(),
        sparsity.PruningSummaries(log_dir=logdir),
    ]
    model_for_pruning.fit(
        train_images,
        train_labels,
        batch_size=batch_size,
        epochs=epochs,
        validation_split=validation_split,
        callbacks=callbacks,
        verbose=0,
    )
    _, model_for_pruning_accuracy = model_for_pruning.evaluate(test_images, test_labels, verbose=0)
    # The updates are those of the steps 100 and 200, where 80% is reached but for 3e-7.
    sparsity_at = {
        tag.split("/", 1)[1]: values
        for tag, values in scalars(logdir).items()
        if tag.endswith("mask/sparsity")
    }
    first = 0.8 - 0.3 * (1 - 100 / 202) ** 3
    assert len(sparsity_at) == 2
    for values in sparsity_at.values():  # as the second epoch begins, and at the end
        assert values == pytest.approx([first, 0.8], abs=0.01)
    conv, dense = model_for_pruning.layers[1], model_for_pruning.layers[-1]
    assert zeros(conv.kernel) == 86  # of 108
    assert zeros(dense.kernel) == 16224  # of 20280: 80%
    assert zeros(conv.bias) == zeros(dense.bias) == 0
    assert baseline_model_accuracy > 0.7
    assert model_for_pruning_accuracy > 0.8

    model_for_export = sparsity.strip_pruning(model_for_pruning)
    pruned_keras_file = tmp_path / "pruned.h5"
    keras.models.save_model(model_for_export, pruned_keras_file, include_optimizer=False)
    converter = tf.lite.TFLiteConverter.from_keras_model(model_for_export)
    pruned_tflite_model = converter.convert()
    pruned_tflite_file = tmp_path / "pruned.tflite"
    pruned_tflite_file.write_bytes(pruned_tflite_model)

    size = get_gzipped_model_size(keras_file)
    # "Create 3x smaller models from pruning"
    assert size > 3 * get_gzipped_model_size(pruned_keras_file)
    assert size > 3 * get_gzipped_model_size(pruned_tflite_file)
    loaded = keras.models.load_model(pruned_keras_file, compile=False)
    np.testing.assert_array_equal(loaded.layers[-1].kernel, dense.kernel)

    converter = tf.lite.TFLiteConverter.from_keras_model(model_for_export)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    quantized_and_pruned_tflite_model = converter.convert()
    quantized_and_pruned_tflite_file = tmp_path / "quantized.tflite"
    quantized_and_pruned_tflite_file.write_bytes(quantized_and_pruned_tflite_model)
    # "Create a 10x smaller model": 8.9x here, TensorFlow 2.21 writes more than the guide's did.
    assert size > 8 * get_gzipped_model_size(quantized_and_pruned_tflite_file)

    for content, least in [(pruned_tflite_model, 1.0), (quantized_and_pruned_tflite_model, 0.98)]:
        found = predicted_digits(interpreted(content), test_images)
        expected = np.argmax(model_for_export.predict(test_images, verbose=0), axis=1)
        assert np.mean(found == expected) >= least


# -- comprehensive_guide ---------------------------------------------------------------------------

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
    # Nothing wraps the layers: other than in TFMOT, stripping takes no weights away.
    assert max(with_stripping, without_stripping) < 0.85 * dense
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


# -- pruning_with_sparsity_2_by_4 ------------------------------------------------------------------


def has_two_zeros_in_four(kernel):
    """Of four weights along the last axis, as TFLite has the inputs, two or more are zero."""
    groups = kernel.reshape(-1, 4)
    return bool(np.all(np.sum(groups == 0, axis=1) == 2))


def test_pruning_with_sparsity_2_by_4(mnist, tmp_path):
    (train_images, train_labels), (test_images, _) = mnist
    pruning_params_2_by_4 = {
        "sparsity_m_by_n": (2, 4),
    }
    pruning_params_unstructured = {
        "pruning_schedule": sparsity.ConstantSparsity(
            target_sparsity=0.5, begin_step=0, frequency=10
        )
    }
    model = keras.Sequential(
        [
            prune_low_magnitude(
                keras.layers.Conv2D(
                    32,
                    5,
                    padding="same",
                    activation="relu",
                    input_shape=(28, 28, 1),
                    name="unstructured_pruning",
                ),
                **pruning_params_unstructured,
            ),
            keras.layers.MaxPooling2D((2, 2), (2, 2), padding="same"),
            prune_low_magnitude(
                keras.layers.Conv2D(64, 5, padding="same", name="structural_pruning"),
                **pruning_params_2_by_4,
            ),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
            keras.layers.MaxPooling2D((2, 2), (2, 2), padding="same"),
            keras.layers.Flatten(),
            prune_low_magnitude(
                keras.layers.Dense(128, activation="relu", name="structural_pruning_dense"),
                **pruning_params_2_by_4,
            ),
            keras.layers.Dropout(0.4),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(
        optimizer="adam",
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.summary()
    model.fit(
        train_images[:320],
        train_labels[:320],
        batch_size=16,
        epochs=1,
        verbose=0,
        callbacks=sparsity.UpdatePruningStep(),
        validation_split=0.1,
    )
    before = model.predict(test_images[:32], verbose=0)
    kernels = {
        layer.name: layer.kernel.numpy() for layer in model.layers if hasattr(layer, "kernel")
    }
    model = sparsity.strip_pruning(model)
    np.testing.assert_array_equal(model.predict(test_images[:32], verbose=0), before)
    assert np.sum(kernels["unstructured_pruning"] == 0) == 400  # of 800
    assert np.sum(kernels["structural_pruning"] == 0) == 25 * 32 * 64 // 2
    assert np.sum(kernels["structural_pruning_dense"] == 0) == 7 * 7 * 64 * 128 // 2
    assert np.sum(kernels[model.layers[-1].name] == 0) == 0

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    tflite_model = converter.convert()
    interpreter = interpreted(tflite_model)

    # TFLite has the inputs last, (out, in) and (out, height, width, in).
    tensor_data = tensor_of(interpreter, (128, 7 * 7 * 64))
    np.testing.assert_array_equal(tensor_data, kernels["structural_pruning_dense"].T)
    assert has_two_zeros_in_four(tensor_data)
    tensor_data = tensor_of(interpreter, (64, 5, 5, 32))
    assert has_two_zeros_in_four(tensor_data)
    tensor_data = tensor_of(interpreter, (32, 5, 5, 1))
    assert np.sum(tensor_data == 0) == 400
    assert not has_two_zeros_in_four(tensor_data)


# -- pruning_for_on_device_inference ---------------------------------------------------------------


def network(keepdims):
    return keras.Sequential(
        [
            keras.layers.InputLayer(input_shape=(32, 32, 3)),
            keras.layers.ZeroPadding2D(padding=1),
            keras.layers.Conv2D(filters=8, kernel_size=(3, 3), strides=(2, 2), padding="valid"),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
            keras.layers.DepthwiseConv2D(kernel_size=(3, 3), padding="same"),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
            keras.layers.Conv2D(filters=16, kernel_size=(1, 1)),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
            keras.layers.ZeroPadding2D(padding=1),
            keras.layers.DepthwiseConv2D(kernel_size=(3, 3), strides=(2, 2), padding="valid"),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
            keras.layers.Conv2D(filters=32, kernel_size=(1, 1)),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
            keras.layers.GlobalAveragePooling2D(keepdims=keepdims),
            keras.layers.Flatten(),
            keras.layers.Dense(10),
        ]
    )


def test_pruning_for_on_device_inference(tmp_path):
    rng = np.random.default_rng(0)
    images, labels = rng.random((100, 32, 32, 3), dtype="float32"), rng.integers(0, 10, 100)
    ds_train = tf.data.Dataset.from_tensor_slices((images, labels)).cache().shuffle(100).batch(2)
    ds_val = ds_test = tf.data.Dataset.from_tensor_slices((images[:20], labels[:20])).batch(20)

    dense_model = network(keepdims=False)
    dense_model.compile(
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        optimizer="adam",
        metrics=["accuracy"],
    )
    dense_model.fit(ds_train, epochs=1, validation_data=ds_val, verbose=0)

    end_epoch = 2  # 100 steps
    num_iterations_per_epoch = len(ds_train)
    end_step = num_iterations_per_epoch * end_epoch
    pruning_params = {
        "pruning_schedule": sparsity.PolynomialDecay(
            initial_sparsity=0.25, final_sparsity=0.75, begin_step=0, end_step=end_step
        ),
        "pruning_policy": sparsity.PruneForLatencyOnXNNPack(),
    }
    try:
        prune_low_magnitude(dense_model, **pruning_params)
    except ValueError as e:
        # Other than the guide says, TFMOT 0.8.1 accepts this model, and so it is here.
        pytest.fail(str(e))

    fixed_dense_model = network(keepdims=True)
    fixed_dense_model.set_weights(dense_model.get_weights())
    model_for_pruning = prune_low_magnitude(fixed_dense_model, **pruning_params)

    callbacks = [
        sparsity.UpdatePruningStep(),
        sparsity.PruningSummaries(log_dir=str(tmp_path)),
    ]
    model_for_pruning.compile(
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        optimizer="adam",
        metrics=["accuracy"],
    )
    model_for_pruning.fit(
        ds_train, epochs=end_epoch, validation_data=ds_val, callbacks=callbacks, verbose=0
    )
    # The 1 x 1 convolutions only: not the first one, the depthwise ones or the Dense one.
    pruned = {
        layer.name: zeros(layer.kernel) / layer.kernel.numpy().size
        for layer in model_for_pruning.layers
        if hasattr(layer, "kernel")
    }
    assert list(pruned.values()) == [0, 0, 0.75, 0, 0.75, 0]
    loss, pruned_model_accuracy = model_for_pruning.evaluate(ds_test, verbose=0)
    assert np.isfinite(loss) and 0 <= pruned_model_accuracy <= 1  # the data is random

    dense_tflite_model = tf.lite.TFLiteConverter.from_keras_model(dense_model).convert()
    model_for_export = sparsity.strip_pruning(model_for_pruning)
    converter = tf.lite.TFLiteConverter.from_keras_model(model_for_export)
    converter.optimizations = [tf.lite.Optimize.EXPERIMENTAL_SPARSITY]
    pruned_tflite_model = converter.convert()
    interpreter = interpreted(pruned_tflite_model)
    found = predicted_digits(interpreter, images[:20])
    expected = np.argmax(model_for_export.predict(images[:20], verbose=0), axis=1)
    assert np.mean(found == expected) == 1
    # TFLite stores the two kernels, and nothing else, as sparse tensors.
    stored = [
        tuple(d["shape"]) for d in interpreter.get_tensor_details() if d["sparsity_parameters"]
    ]
    assert sorted(stored) == [(16, 1, 1, 8), (32, 1, 1, 16)]
    assert len(gzip.compress(pruned_tflite_model)) < len(gzip.compress(dense_tflite_model))
