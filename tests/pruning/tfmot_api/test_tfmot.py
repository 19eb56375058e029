"""The bridge to the real TFMOT, and that both engines compute the same masks."""

from itertools import pairwise

import keras
import numpy as np
import pytest
import tf_keras

from tfinit.errors import InputError
from tfinit.pruning import TfmotPruner, top_mask
from tfinit.variables import all_weights, read_weights


def network(k=tf_keras):
    layers = k.layers
    return k.Sequential(
        [
            layers.Input((6, 6, 2)),
            layers.Conv2D(5, 3, activation="relu", name="conv"),
            layers.BatchNormalization(name="norm"),
            layers.Flatten(name="flat"),
            layers.Dense(7, activation="relu", name="fc"),
            layers.Dense(3, name="out"),
        ]
    )


KEYS = ["conv/kernel", "fc/kernel", "out/kernel"]
SIZES = {"conv/kernel": 90, "fc/kernel": 560, "out/kernel": 21}


def test_wrapping_keeps_the_weights_and_the_outputs(rng):
    """Acceptance 12."""
    model = network()
    x = rng.normal(size=(4, 6, 6, 2)).astype("f4")
    before = model(x).numpy()
    pruner = TfmotPruner(model)
    np.testing.assert_array_equal(pruner.model(x).numpy(), before)
    assert list(pruner.weights) == KEYS
    assert pruner.variables.keys() == all_weights(model).keys()
    for key, value in read_weights(all_weights(model)).items():
        np.testing.assert_array_equal(value, pruner.variables[key].numpy())


@pytest.mark.parametrize("share", [0.0, 0.013, 0.2, 0.5, 0.77, 0.99])
def test_from_equal_weights_both_engines_give_identical_masks(share):
    model = network()
    pruner = TfmotPruner(model)
    keep = {key: max(1, size - round(share * size)) for key, size in SIZES.items()}
    theirs = pruner.prune(keep)
    for key, weight in read_weights(all_weights(model)).items():
        if key in KEYS:
            np.testing.assert_array_equal(theirs[key], top_mask(np.abs(weight), keep[key]))
            assert int(theirs[key].sum()) == keep[key]
            np.testing.assert_array_equal(pruner.weights[key].numpy(), weight * theirs[key])


def test_a_later_mask_lies_inside_an_earlier_one():
    pruner = TfmotPruner(network())
    masks = [pruner.get_masks()]
    for share in (0.8, 0.5, 0.2, 0.05):
        masks.append(pruner.prune({k: round(share * s) for k, s in SIZES.items()}))
    for before, after in pairwise(masks):
        assert all((before[k] | ~after[k]).all() for k in KEYS)


def test_training_keeps_the_zeros_and_stripping_leaves_a_plain_model(rng):
    """Acceptance 26: no extra variable, identical predictions."""
    model = network()
    pruner = TfmotPruner(model)
    masks = pruner.prune({k: s // 4 for k, s in SIZES.items()})
    loss = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    pruner.model.compile(tf_keras.optimizers.Adam(0.01), loss)
    before = {k: v.numpy() for k, v in pruner.weights.items()}
    x, y = rng.normal(size=(32, 6, 6, 2)).astype("f4"), rng.integers(0, 3, 32)
    pruner.model.fit(x, y, epochs=2, verbose=0, callbacks=[pruner.callback()])
    stripped = pruner.strip()
    for key, mask in masks.items():
        np.testing.assert_array_equal(pruner.get_masks()[key], mask)
        value = all_weights(stripped)[key].numpy()
        assert np.all(value[~mask] == 0)
        assert not np.array_equal(value, before[key])
    assert len(stripped.weights) == len(model.weights)
    np.testing.assert_array_equal(stripped(x).numpy(), pruner.model(x).numpy())


def test_the_original_is_left_as_it_was():
    model = network()
    before = read_weights(all_weights(model))
    TfmotPruner(model).prune(dict.fromkeys(SIZES, 1))
    for key, value in read_weights(all_weights(model)).items():
        np.testing.assert_array_equal(value, before[key])


def test_set_masks_checks_both_ways():
    pruner = TfmotPruner(network())
    full = pruner.get_masks()
    for masks, message in (
        ({k: full[k] for k in KEYS[:2]}, r"missing \['out/kernel'\]"),
        ({**full, "x": full["out/kernel"]}, r"unknown \['x'\]"),
        ({**full, "out/kernel": np.ones((3, 7))}, r"shape \(3, 7\)"),
        ({**full, "out/kernel": np.full((7, 3), 2)}, "other than 0 and 1"),
    ):
        with pytest.raises(InputError, match=message):
            pruner.set_masks(masks)
    assert all(mask.all() for mask in pruner.get_masks().values())


@pytest.mark.parametrize("keep", [{}, {"conv/kernel": 3}, {**SIZES, "conv/kernel": 91}])
def test_prune_checks_the_counts(keep):
    with pytest.raises(InputError, match="`keep`"):
        TfmotPruner(network()).prune(keep)


def test_acceptance_2_the_error_says_which_keras_is_meant():
    with pytest.raises(InputError, match=r"tf_keras model, received keras\..*Sequential.*Keras 3"):
        TfmotPruner(network(keras))
    with pytest.raises(InputError, match="must be a tf_keras model"):
        TfmotPruner(None)


def test_nested_models_are_refused_by_name():
    inner = tf_keras.Sequential([tf_keras.layers.Dense(4, name="deep")], name="inner")
    x = tf_keras.layers.Input((4,))
    model = tf_keras.Model(x, tf_keras.layers.Dense(2, name="out")(inner(x)))
    with pytest.raises(InputError, match=r"\['inner/deep/kernel'\], which are inside nested"):
        TfmotPruner(model)


def test_a_layer_that_tfmot_refuses():
    class Mine(tf_keras.layers.Dense):
        pass

    model = tf_keras.Sequential([tf_keras.layers.Input((4,)), Mine(3, name="mine")])
    with pytest.raises(InputError, match="TFMOT cannot prune"):
        TfmotPruner(model)
