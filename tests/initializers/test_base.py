"""The seed rule: one stream per weight, the same in any process and any order."""

import copy
import itertools
import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tf_keras

from tfinit.initializers import He, Orthogonal, SparseOrthogonal
from tfinit.schemes import initialize

KERASES = pytest.mark.parametrize("library", [keras, tf_keras], ids=["keras", "tf_keras"])


def kernels(model):
    return {
        w.path if hasattr(w, "path") else w.name: w.numpy()
        for w in model.weights
        if "kernel" in w.name
    }


def assert_all_differ(arrays):
    for a, b in itertools.combinations(arrays, 2):
        assert not np.isin(a, b).any()


def mlp(library, initializer, order=()):
    layers = library.layers
    dense = [layers.Dense(4, kernel_initializer=initializer, name=f"fc{i}") for i in range(3)]
    for i in order:
        dense[i].build((None, 4))
    return library.Sequential([library.Input((4,)), *dense], name="mlp")


def subclassed(library, initializer):
    class Net(library.Model):
        def __init__(self):
            super().__init__(name="net")
            layers = library.layers
            self.a = layers.Dense(4, kernel_initializer=initializer, name="a")
            self.b = layers.Dense(4, kernel_initializer=initializer, name="b")

        def call(self, x):
            return self.b(self.a(x))

    return Net()


def test_a_call_by_hand_is_pure():
    he = He(seed=7)
    first = np.asarray(he((4, 4)))
    with keras.name_scope("somewhere"):
        assert np.array_equal(he((4, 4)), first)
    assert np.array_equal(He(seed=7)((4, 4)), first)
    assert_all_differ([first, np.asarray(He(seed=8)((4, 4))), np.asarray(he((4, 5)))])


@KERASES
def test_a_shared_instance_fills_every_layer_differently(library):
    assert_all_differ(kernels(mlp(library, He(seed=7))).values())


@KERASES
def test_equal_seeds_in_several_instances_fill_every_layer_differently(library):
    layers = library.layers
    model = library.Sequential(
        [library.Input((4,))]
        + [layers.Dense(4, kernel_initializer=He(seed=7), name=f"fc{i}") for i in range(3)]
    )
    assert_all_differ(kernels(model).values())


@KERASES
def test_the_order_of_building_does_not_matter(library):
    forward, backward = (kernels(mlp(library, He(seed=7), o)) for o in ((0, 1, 2), (2, 1, 0)))
    assert forward.keys() == backward.keys()
    for name in forward:
        assert np.array_equal(forward[name], backward[name])


@KERASES
def test_kernels_of_one_shape_in_one_cell_differ(library):
    layer = library.layers.SimpleRNN(
        4, kernel_initializer=He(seed=7), recurrent_initializer=He(seed=7)
    )
    layer.build((None, 3, 4))
    assert_all_differ([layer.cell.kernel.numpy(), layer.cell.recurrent_kernel.numpy()])


@KERASES
def test_attention_projections_differ_although_keras_clones_the_initializer(library):
    layer = library.layers.MultiHeadAttention(2, 2, kernel_initializer=He(seed=7))
    x = library.Input((3, 4))
    layer(x, x)
    found = kernels(layer)
    assert len(found) == 4
    assert_all_differ(found.values())


@KERASES
def test_every_way_to_build_a_subclassed_model_gives_the_same_bits(library):
    def by_call(net):
        net(np.ones((2, 4), "float32"))

    def by_symbol(net):
        net(library.Input((4,)))

    def by_fit(net):
        net.compile(library.optimizers.SGD(0.0), "mse")
        net.fit(np.ones((2, 4)), np.ones((2, 4)), verbose=0)

    results = []
    for build in (by_call, by_symbol, by_fit):
        net = subclassed(library, He(seed=7))
        build(net)
        results.append([net.a.kernel.numpy(), net.b.kernel.numpy()])
    assert_all_differ(results[0])
    for result in results[1:]:
        assert np.array_equal(result, results[0])


def test_two_towers_with_the_same_layer_names_differ():
    he = He(seed=7)
    towers = [mlp(keras, he), mlp(keras, he)]
    assert_all_differ([w for tower in towers for w in kernels(tower).values()])


@KERASES
def test_a_clone_starts_from_the_same_bits(library):
    model = mlp(library, He(seed=7))
    clone = library.models.clone_model(model)
    for a, b in zip(kernels(model).values(), kernels(clone).values(), strict=True):
        assert np.array_equal(a, b)


def test_an_unseeded_instance_is_pure_but_its_copy_by_config_is_new():
    he = He()
    copied = He.from_config(he.get_config())
    assert he.get_config()["seed"] is None
    assert np.array_equal(he((4, 4)), he((4, 4)))
    assert_all_differ([np.asarray(he((4, 4))), np.asarray(copied((4, 4)))])


def test_keras_random_seed_repeats_unseeded_instances():
    values = []
    for _ in range(2):
        keras.utils.set_random_seed(3)
        values.append(np.asarray(He()((4, 4))))
    assert np.array_equal(*values)


def test_an_instance_that_filled_a_layer_can_be_copied():
    he = He(seed=7)
    mlp(keras, he)
    assert np.array_equal(copy.deepcopy(he)((4, 4)), he((4, 4)))


def test_classes_do_not_share_streams():
    dense, sparse = Orthogonal(seed=7)((6, 6)), SparseOrthogonal(1.0, seed=7)((6, 6))
    assert_all_differ([np.asarray(dense), np.asarray(sparse)])


# What is asked of another process, all in one: each has to load TensorFlow. tfinit before Keras is
# the order in which Keras's hook imports the package in the middle.
ELSEWHERE = """
import json, sys
import tfinit.initializers as it
import keras
from keras import layers as L
it.He
registered = type(keras.initializers.get("tfinit>he")).__name__
tf_keras = any(m.split(".")[0] == "tf_keras" for m in sys.modules)
for _ in range(3):
    L.Dense(2)  # the names of layers depend on what was made before
dense = [L.Dense(4, kernel_initializer=it.He(seed=7), name=f"fc{i}") for i in range(3)]
model = keras.Sequential([keras.Input((4,)), *dense], name="mlp")
drawn = {v.path: v.numpy().tolist() for v in model.weights if "kernel" in v.name}
model = keras.Sequential([keras.Input((8,)), L.Dense(8), L.Dense(4)])
from tfinit.schemes import initialize
initialize(model, "he", seed=3)
scheme = [w.numpy().tolist() for w in model.weights]
print(json.dumps([registered, tf_keras, drawn, scheme]))
"""


@pytest.fixture(scope="module")
def elsewhere():
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "5"},
    )
    return json.loads(done.stdout.splitlines()[-1])


def test_another_process_draws_the_same_bits(elsewhere):
    _, _, drawn, scheme = elsewhere
    here = kernels(mlp(keras, He(seed=7)))
    assert {k: v.tolist() for k, v in here.items()} == drawn
    layers = keras.layers
    model = keras.Sequential([keras.Input((8,)), layers.Dense(8), layers.Dense(4)])
    initialize(model, "he", seed=3)
    assert [w.numpy().tolist() for w in model.weights] == scheme


def test_importing_tfinit_first_registers_and_leaves_tf_keras_unloaded(elsewhere):
    registered, tf_keras_loaded, _, _ = elsewhere
    assert registered == "He"
    assert not tf_keras_loaded
