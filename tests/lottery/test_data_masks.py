"""Masks of trained networks by what enters their layers, with exact counts."""

import keras
import numpy as np
import pytest

from tfinit.datasets import from_arrays
from tfinit.errors import InputError
from tfinit.lottery import LotteryConfig
from tfinit.lottery.data_masks import _examples, mask_by_data
from tfinit.pruning import prune_after_training

L = keras.layers
DATA = from_arrays(
    (
        np.random.default_rng(0).integers(0, 9, (300, 5)),
        np.random.default_rng(1).integers(0, 2, 300),
    ),
    (np.ones((4, 5)), [0] * 4),
)


def network():
    keras.utils.set_random_seed(0)
    layers = [L.Embedding(9, 6, name="table"), L.Flatten(), L.Dense(7, "relu", name="fc")]
    return keras.Sequential([keras.Input((5,)), *layers, L.Dense(2, name="out")])


@pytest.mark.parametrize("score", ["sparsegpt", "wanda"])
@pytest.mark.parametrize(
    "counts", [{"table/embeddings": 20, "fc/kernel": 101, "out/kernel": 9}, 130]
)
def test_as_many_survive_as_are_asked_for_and_they_are_those_of_the_score(score, counts):
    model, same = network(), network()
    masks = mask_by_data(model, DATA, score, counts, seed=1)
    found = {key: int(mask.sum()) for key, mask in masks.items()}
    if isinstance(counts, int):
        assert sum(found.values()) == counts
        return
    assert found == counts
    table = np.abs(same.layers[0].embeddings.numpy())
    assert np.array_equal(masks["table/embeddings"], table >= np.sort(table.ravel())[-20])
    sparsities = {"fc/kernel": 1 - 101 / 210, "out/kernel": 1 - 9 / 14}
    prune_after_training(same, _examples(DATA, 1), 0.0, score=score, allocation=sparsities)
    kept = same.get_layer("fc").kernel.numpy() != 0
    # Of each of 7 outputs 14 or 15 stay there: 98 or 105, of which the least go.
    assert np.sum(kept != masks["fc/kernel"]) == abs(int(kept.sum()) - 101)


def test_they_are_of_single_weights_and_of_keras_3():
    with pytest.raises(InputError, match="`controls` 'wanda-reinit' prunes single weights, and"):
        LotteryConfig(structure="channels", controls=("wanda-reinit",))
    with pytest.raises(InputError, match="sparsegpt"):
        LotteryConfig(keras="tf_keras", controls=("sparsegpt",))
