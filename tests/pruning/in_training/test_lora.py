"""LoRA on pruned layers: zeros under adapters. Also runs with KERAS_BACKEND=jax and torch."""

import copy
import doctest
import json
import warnings
import zipfile

import keras
import numpy as np
import pytest
from keras import ops

import tfinit.pruning.in_training.lora
from tfinit.errors import InputError
from tfinit.pruning import mask_lora, merge_lora, sparsity_report

L = keras.layers
KINDS = ("emb", "conv", "einsum", "fc")  # a layer of each kind that has LoRA


def numbers(tensor):
    return np.array(ops.convert_to_numpy(tensor))


def network(rank=2, **lora):
    """Every second weight of each kernel is zero."""
    tokens = keras.Input((6,), dtype="int32")
    x = L.Embedding(10, 8, name="emb")(tokens)
    x = L.Conv1D(5, 3, name="conv")(x)
    x = L.EinsumDense("abc,cde->abde", output_shape=(4, 2, 3), name="einsum")(x)
    x = L.Dense(3, name="fc")(L.Flatten()(x))
    model = keras.Model(tokens, x)
    for name in KINDS:
        kernel = model.get_layer(name).weights[0]
        values = numbers(kernel)
        values.flat[::2] = 0
        kernel.assign(values)
        if rank:
            model.get_layer(name).enable_lora(rank, lora_alpha=3, **lora)
    return model


def data():
    random = np.random.default_rng(0)
    return random.integers(0, 10, (16, 6)), random.normal(size=(16, 3)).astype("float32")


def fitted(model, epochs=2):
    model.compile(keras.optimizers.Adam(0.05), "mse", jit_compile=False)
    model.fit(*data(), epochs=epochs, verbose=0)
    return model


def kernels(model):
    return {name: numbers(model.get_layer(name).weights[0]) for name in KINDS}


def by_hand(layer):
    """The masked sum of kernel and adapters, in NumPy."""
    stored = {w.name.split("/")[-1]: numbers(w) for w in layer.weights}
    kernel = numbers(layer.weights[0])
    [a] = [v for name, v in stored.items() if name.startswith("lora") and name.endswith("_a")]
    [b] = [v for name, v in stored.items() if name.startswith("lora") and name.endswith("_b")]
    return np.where(kernel == 0, 0, kernel + layer.lora_alpha / layer.lora_rank * a @ b)


@pytest.mark.backends
def test_masked_training_merges_to_the_same_function_with_the_same_zeros(tmp_path):
    model = mask_lora(network())
    before = kernels(model)
    fitted(model)
    x, _ = data()
    outputs = numbers(model(x))
    assert {name: numbers(k).tolist() for name, k in kernels(model).items()} == {
        name: k.tolist()
        for name, k in before.items()  # frozen
    }
    wanted = {name: by_hand(model.get_layer(name)) for name in KINDS}
    moved = {name: (wanted[name] != before[name]).sum() for name in KINDS}
    assert all(moved.values())

    model.save(tmp_path / "masked.keras")
    loaded = keras.models.load_model(tmp_path / "masked.keras")
    deep = copy.deepcopy(model)
    assert set(merge_lora(model).values()) == {0.0}
    for made in (loaded, deep, model):
        for name, kernel in kernels(made).items():
            np.testing.assert_array_equal(kernel == 0, before[name] == 0)
            np.testing.assert_allclose(kernel, wanted[name], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(numbers(made(x)), outputs, atol=1e-5)

    with zipfile.ZipFile(tmp_path / "masked.keras") as file:
        config = json.loads(file.read("config.json"))
    assert {layer["module"] for layer in config["config"]["layers"]} == {"keras.layers"}

    # What was merged is ordinary again.
    plain = network(rank=0)
    assert [w.path for w in model.weights] == [w.path for w in plain.weights]
    assert [type(layer) for layer in model.layers] == [type(layer) for layer in plain.layers]
    assert all(w.trainable for w in model.weights)
    assert not any(layer.get_config().get("lora_rank") for layer in model.layers)
    with pytest.raises(ValueError, match="compile"):
        model.fit(*data(), verbose=0)
    fitted(model, epochs=1)


@pytest.mark.backends
def test_gradients_are_those_of_the_masked_function():
    """One step of SGD by hand: ∂A = s·∂K·Bᵀ and ∂B = s·Aᵀ·∂K, with ∂K masked."""
    model = keras.Sequential([keras.Input((3,)), L.Dense(2, use_bias=False, name="fc")])
    layer = model.layers[0]
    kernel = np.array([[1, 0], [0, 2], [3, 0]], "float32")
    layer.kernel.assign(kernel)
    layer.enable_lora(1, lora_alpha=2)
    a, b = np.array([[1], [2], [-1]], "float32"), np.array([[0.5, 1]], "float32")
    layer.lora_kernel_a.assign(a)
    layer.lora_kernel_b.assign(b)
    x, y = np.array([[1, 2, 3], [0, -1, 1]], "float32"), np.ones((2, 2), "float32")
    mask_lora(model).compile(keras.optimizers.SGD(0.1), "mse")
    model.fit(x, y, verbose=0)
    mask = kernel != 0
    outputs = x @ (mask * (kernel + 2 * a @ b))
    upstream = mask * (x.T @ (2 * (outputs - y) / y.size))
    np.testing.assert_allclose(layer.lora_kernel_a, a - 0.1 * 2 * upstream @ b.T, rtol=1e-5)
    np.testing.assert_allclose(layer.lora_kernel_b, b - 0.1 * 2 * a.T @ upstream, rtol=1e-5)


@pytest.mark.backends
def test_what_unmasked_adapters_put_on_zeros_is_dropped_with_a_warning():
    model = network(b_initializer="random_normal")
    before = kernels(model)
    delta = {
        name: numbers(layer.embeddings if name == "emb" else layer.kernel) - before[name]
        for name, layer in ((name, model.get_layer(name)) for name in KINDS)
    }
    with pytest.warns(UserWarning, match=r"\d+% of what it added to '\w+/\w+' fell on pruned"):
        dropped = merge_lora(model)
    assert list(dropped) == ["emb/embeddings", "conv/kernel", "einsum/kernel", "fc/kernel"]
    for name, share in zip(KINDS, dropped.values(), strict=True):
        lost = delta[name][before[name] == 0]
        assert share == pytest.approx(np.linalg.norm(lost) / np.linalg.norm(delta[name]), rel=1e-4)
        np.testing.assert_array_equal(kernels(model)[name] == 0, before[name] == 0)


@pytest.mark.backends
def test_a_model_that_ran_before_it_was_masked_does_not_go_on_dense():
    """What was compiled before would compute with the kernels of before."""
    model = keras.Sequential([keras.Input((2,)), L.Dense(2, name="fc")])
    layer = model.layers[0]
    layer.kernel.assign([[1, 0], [0, 1]])
    layer.enable_lora(1, a_initializer="ones", b_initializer="ones")
    x = np.array([[1, 2]], "float32")
    assert model.predict(x, verbose=0).tolist() == [[4, 5]]
    mask_lora(mask_lora(model))  # twice is once
    assert model.predict(x, verbose=0).tolist() == [[2, 4]]
    merge_lora(model)
    assert model.predict(x, verbose=0).tolist() == [[2, 4]]


@pytest.mark.backends
def test_nan_and_half_precision_leave_zeros_zero():
    """Not by a product: 0 · NaN is NaN."""
    model = keras.Sequential([keras.Input((2,)), L.Dense(2, name="fc", dtype="mixed_bfloat16")])
    layer = model.layers[0]
    layer.kernel.assign([[1, 0], [0, 1]])
    layer.enable_lora(1)
    layer.lora_kernel_b.assign([[np.nan, np.nan]])
    mask_lora(model)
    kernel = numbers(ops.cast(layer.kernel, "float32"))
    np.testing.assert_array_equal(np.isnan(kernel), [[True, False], [False, True]])
    layer.lora_kernel_b.assign([[1, 1]])
    merge_lora(model)
    assert keras.backend.standardize_dtype(layer.kernel.dtype) == "float32"
    np.testing.assert_array_equal(numbers(layer.kernel) == 0, [[False, True], [True, False]])


@pytest.mark.backends
def test_the_report():
    """75% of zeros, says the kernel; the merged file has none."""
    model = keras.Sequential([keras.Input((4,)), L.Dense(2, name="fc")])
    layer = model.layers[0]
    layer.kernel.assign([[1, 0], [0, 1], [0, 0], [0, 0]])
    layer.bias.assign([1, 1])
    layer.enable_lora(1, a_initializer="ones", b_initializer="ones")
    record = sparsity_report(model)["fc"]
    assert (record.parameters, record.zeros, record.multiply_adds_left) == (10, 0, 8)
    assert record.skipped == "LoRA"
    assert record.note == "LoRA: its 6 zeros are dense once merged; see mask_lora"
    record = sparsity_report(mask_lora(model))["fc"]
    assert (record.parameters, record.zeros, record.multiply_adds_left) == (10, 6, 2)
    assert record.note == ""
    merge_lora(model)
    record = sparsity_report(model)["fc"]
    assert (record.prunable, record.prunable_zeros, record.skipped) == (8, 6, "bias")


@pytest.mark.backends
@pytest.mark.parametrize("function", [mask_lora, merge_lora])
def test_what_cannot_be_masked_is_refused(function):
    with pytest.raises(InputError, match=r"no layer with LoRA. Call layer.enable_lora\(rank\)"):
        function(network(rank=0))
    with pytest.raises(InputError, match=r"received builtins\.int"):
        function(3)
    model = keras.Sequential([keras.Input((4,)), L.Dense(2, name="fc")])
    model.layers[0].quantize("int8")
    model.layers[0].enable_lora(1)
    with pytest.raises(InputError, match=r"\{'fc': 'int8'\}.*merge_lora\(model\), then quantize"):
        function(model)
    dense = keras.Sequential([keras.Input((4,)), L.Dense(2, name="fc")])
    dense.layers[0].enable_lora(1)
    if function is mask_lora:
        with pytest.raises(InputError, match="no zero there to keep"):
            mask_lora(dense)
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            assert merge_lora(dense) == {"fc/kernel": 0.0}


@pytest.mark.backends
def test_the_examples_run():
    failed, tried = doctest.testmod(
        tfinit.pruning.in_training.lora, extraglobs={"keras": keras, "ops": ops}
    )
    assert tried
    assert not failed
