"""PiSSA: the adapters against NumPy's singular values, and outputs that stay."""

import keras
import numpy as np
import pytest
from keras import layers as L

from tfinit.errors import InputError
from tfinit.schemes import initialize

IDS = np.arange(12).reshape(2, 6) % 9


def network(rank=2, alpha=None):
    keras.utils.set_random_seed(0)
    ids = keras.Input((6,), dtype="int32")
    table = L.Embedding(9, 12, name="table")
    x = L.Conv1D(10, 3, padding="same", name="conv")(table(ids))
    x = L.EinsumDense("abc,cde->abde", output_shape=(None, 2, 5), name="einsum")(x)
    model = keras.Model(ids, L.Dense(7, name="dense")(L.Reshape((6, 10))(x)))
    for name in ("table", "conv", "einsum", "dense"):
        model.get_layer(name).enable_lora(rank, lora_alpha=alpha)
    return model


def array(variable):
    return np.asarray(keras.ops.convert_to_numpy(variable), np.float64)


@pytest.mark.parametrize("iterations", [0, 8, None])
def test_outputs_stay_and_adapters_can_learn(iterations):
    model = network(alpha=3)
    before = array(model(IDS))
    report = initialize(model, "pissa", seed=1, iterations=iterations)
    assert np.abs(array(model(IDS)) - before).max() < 1e-5
    assert [record.action for record in report] == ["set"] * 4
    assert all(array(w).any() for w in model.trainable_variables if "lora" in w.name)


@pytest.mark.parametrize("iterations", [12, None])
def test_the_adapters_are_the_greatest_part(iterations):
    keras.utils.set_random_seed(0)
    layer = L.Dense(30)
    layer.build((None, 40))
    layer.enable_lora(3, lora_alpha=6)
    matrix = array(layer.kernel)
    u, s, v = np.linalg.svd(matrix)
    initialize(
        keras.Sequential([keras.Input((40,)), layer]), "pissa", seed=1, iterations=iterations
    )
    a, b = array(layer.lora_kernel_a), array(layer.lora_kernel_b)
    best = (u[:, :3] * s[:3]) @ v[:3]
    assert np.abs(2 * a @ b - best).max() < (1e-5 if iterations is None else 0.02)
    # The root of each singular value on either side.
    assert np.allclose(np.linalg.norm(a, axis=0), np.sqrt(s[:3] / 2), rtol=1e-2)
    assert np.allclose(np.linalg.norm(b, axis=1), np.sqrt(s[:3] / 2), rtol=1e-2)
    assert np.abs(array(layer._kernel) + 2 * a @ b - matrix).max() < 1e-6


def test_trained_adapters_are_part_of_the_kernel_and_more_ranks_than_the_kernel_has_are_zeros():
    model = network(rank=16)
    for weight in model.trainable_variables:
        weight.assign(np.random.default_rng(0).normal(0, 0.3, weight.shape))
    before = array(model(IDS))
    initialize(model, "pissa", seed=1)
    assert np.abs(array(model(IDS)) - before).max() < 1e-4 * np.abs(before).max()


def test_without_a_place_for_it_it_says_so():
    model = keras.Sequential([keras.Input((3,)), L.Dense(2)])
    with pytest.raises(InputError, match=r"has none\. Call layer\.enable_lora"):
        initialize(model, "pissa")
    model.layers[0].enable_lora(1, lora_alpha=-1)
    with pytest.raises(InputError, match="lora_alpha is -1, not positive"):
        initialize(model, "pissa")
    adapted = network()
    adapted.get_layer("conv").trainable = False
    report = initialize(adapted, "pissa", seed=1)
    assert report["conv/kernel"].note == "frozen"
