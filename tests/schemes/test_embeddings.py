"""Tables of vectors: their deviations, tied heads and rows that stand for nothing."""

import keras
import numpy as np
import pytest
from keras import layers as L

from tfinit.errors import InputError
from tfinit.schemes import initialize

IDS = np.arange(1, 13).reshape(2, 6)


def network(tied):
    ids = keras.Input((6,), dtype="int32")
    words = L.ReversibleEmbedding(400, 64, tie_weights=tied, name="words", mask_zero=True)
    kinds = L.Embedding(300, 64, name="kinds")
    h = L.LayerNormalization(name="norm")(L.Add()([words(ids), kinds(ids)]))
    return keras.Model(ids, words(h, reverse=True))


@pytest.mark.parametrize(("tied", "std"), [(True, 1 / 8), (False, 1)])
def test_logits_have_variance_one_however_the_head_is_made(tied, std):
    model = network(tied)
    norm = [w.numpy() for w in model.get_layer("norm").weights]
    report = initialize(model, "embeddings", seed=1)
    table = model.get_layer("words").embeddings.numpy()
    # Of n numbers; four standard errors.
    assert table[1:].std() == pytest.approx(std, rel=4 / np.sqrt(2 * table.size))
    assert not table[0].any()
    assert report["words/embeddings"].std == std and report["kinds/embeddings"].std == 1
    assert model.get_layer("kinds").embeddings.numpy()[0].any()
    if not tied:
        back = model.get_layer("words").reverse_embeddings.numpy()
        assert back.shape == (64, 400) and back.std() == pytest.approx(1 / 8, rel=0.02)
    logits = np.array(model(IDS))
    assert 0.7 < logits[..., 1:].std() < 1.4
    assert all(
        np.array_equal(a, b)
        for a, b in zip(norm, model.get_layer("norm").get_weights(), strict=True)
    )


def test_options():
    model = network(True)
    initialize(model, "embeddings", seed=1, std=0.02)
    assert model.get_layer("words").embeddings.numpy()[1:].std() == pytest.approx(0.02, rel=0.05)
    initialize(model, "embeddings", seed=1, tied=False)
    assert model.get_layer("words").embeddings.numpy()[1:].std() == pytest.approx(1, rel=0.05)
    with pytest.raises(InputError, match="`tied`"):
        initialize(model, "embeddings", tied=3)
    plain = keras.Sequential([keras.Input((3,)), L.Dense(2)])
    with pytest.raises(InputError, match="is for Embedding layers"):
        initialize(plain, "embeddings")
