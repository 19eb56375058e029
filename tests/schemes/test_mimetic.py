"""The products of attention's kernels, against the multiples of the identity that are asked for."""

import keras
import numpy as np
import pytest
from keras import layers as L
from small_transformers import encoder, translator

from tfinit.errors import InputError
from tfinit.schemes import initialize


def attending(layer, width):
    inputs = keras.Input((5, width))
    model = keras.Model(inputs, layer(inputs, inputs))
    return model, initialize(model, "mimetic", seed=1)


def products(layer):
    """QKᵀ of each head, and the sum of VO, of a layer of Keras's."""
    query, key, value, output = (
        np.asarray(getattr(layer, f"_{name}_dense").kernel, "float64")
        for name in ("query", "key", "value", "output")
    )
    shared = query.shape[1] // key.shape[1]
    key, value = np.repeat(key, shared, axis=1), np.repeat(value, shared, axis=1)
    return np.einsum("dhk,ehk->hde", query, key), np.einsum("dhk,hke->de", value, output)


def check(matrix, alpha, beta):
    """αZ + βI, Z ~ N(0, 1/d): four standard errors of each moment."""
    d = len(matrix)
    off = matrix[~np.eye(d, dtype=bool)]
    assert np.diag(matrix).mean() == pytest.approx(beta, abs=4 * alpha / d)
    assert off.std() == pytest.approx(alpha / d**0.5, rel=4 / (2 * off.size) ** 0.5)
    assert off.mean() == pytest.approx(0, abs=4 * alpha / d**1.5)


def test_with_one_head_both_products_are_the_ones_of_the_paper():
    layer = L.MultiHeadAttention(1, 64)
    attending(layer, 64)
    scores, moved = products(layer)
    check(scores[0], 0.7, 0.7)
    check(moved, 0.4, -0.4)


@pytest.mark.parametrize(("heads", "size"), [(4, 16), (2, 64)])
def test_all_heads_together_move_by_the_product_of_the_paper(heads, size):
    """Exactly, also where heads are larger than their share of the width."""
    layer = L.MultiHeadAttention(heads, size)
    attending(layer, 64)
    check(products(layer)[1], 0.4, -0.4)


def truncated(width, rank, draws=40):
    """Mean trace of the best approximation of 0.7 (Z + I), by NumPy's decomposition."""
    z = np.random.default_rng(0).normal(size=(draws, width, width)) / width**0.5
    u, s, w = np.linalg.svd(0.7 * (z + np.eye(width)))
    traces = np.einsum("ndr,nr,nrd->n", u[..., :rank], s[:, :rank], w[:, :rank])
    return traces.mean(), traces.std()


def test_each_head_has_the_best_approximation_of_its_rank():
    layer = L.MultiHeadAttention(4, 16)
    attending(layer, 64)
    mean, deviation = truncated(64, 16)
    for head, scores in enumerate(products(layer)[0]):
        assert np.trace(scores) == pytest.approx(mean, abs=4 * deviation)
        query, key = (np.asarray(layer.query_dense.kernel), np.asarray(layer.key_dense.kernel))
        # UΣ^½ and WΣ^½: both have Σ as their product with themselves.
        of_query, of_key = (w[:, head].T @ w[:, head] for w in (query, key))
        np.testing.assert_allclose(of_query, of_key, atol=1e-4)
        np.testing.assert_allclose(of_query, np.diag(np.diag(of_query)), atol=1e-4)


def searched(width, rank):
    """The greatest singular values of 0.7 (Z + I), and its trace, in a block Krylov space."""
    random = np.random.default_rng(0)
    matrix = 0.7 * (random.normal(size=(width, width)) / width**0.5 + np.eye(width))
    blocks = [random.normal(size=(width, 5 * rank // 8))]
    for _ in range(3):
        blocks.append(np.linalg.qr(matrix.T @ (matrix @ blocks[-1]))[0])
    basis = np.linalg.qr(np.concatenate(blocks, axis=1))[0]
    u, s, w = np.linalg.svd(matrix @ basis, full_matrices=False)
    best = np.linalg.svd(matrix, compute_uv=False)[:rank]
    return s[:rank], np.trace((u[:, :rank] * s[:rank]) @ (w[:rank] @ basis.T)), best


def test_of_large_matrices_nearly_the_best_is_found():
    layer = L.MultiHeadAttention(1, 32, value_dim=32)
    attending(layer, 512)
    singular = np.linalg.svd(products(layer)[0][0], compute_uv=False)[:32]
    expected, trace, best = searched(512, 32)
    assert singular == pytest.approx(expected, rel=0.06)
    assert np.trace(products(layer)[0][0]) == pytest.approx(trace, rel=0.06)
    assert singular.sum() > 0.9 * best.sum()


@pytest.mark.parametrize(("alpha", "beta"), [(0, 0), (0.05, 0.7), (0.1, 0.7), (0.7, 0)])
def test_of_large_matrices_any_multiples_are_possible(alpha, beta):
    layer = L.MultiHeadAttention(1, 32, value_dim=32)
    inputs = keras.Input((5, 512))
    model = keras.Model(inputs, layer(inputs, inputs))
    initialize(model, "mimetic", seed=1, query_key_alpha=alpha, query_key_beta=beta)
    singular = np.linalg.svd(products(layer)[0][0], compute_uv=False)
    assert singular[32:] == pytest.approx(0, abs=1e-5)
    if beta:
        assert singular[:32] == pytest.approx(beta, abs=2.1 * alpha)
    else:  # the singular values of Z are up to 2
        assert 1.5 * alpha <= singular[0] <= 2.1 * alpha


def test_heads_that_share_keys_get_the_best_queries_for_them():
    layer = L.GroupQueryAttention(16, 4, 2)
    attending(layer, 64)
    scores, moved = products(layer)
    assert np.linalg.matrix_rank(moved, tol=1e-4) == 32
    mean, deviation = truncated(64, 16)
    for head, each in enumerate(scores):
        trace = np.trace(each)
        if head % 2:  # of 48 of 64 directions the keys have nothing
            assert 0.15 * 64 * 0.7 < trace < mean
        else:
            assert trace == pytest.approx(mean, abs=4 * deviation)


def test_only_self_attention_is_set_and_the_rest_as_asked():
    model = translator(1, 1)
    before = model.get_layer("dec0_cross").query_dense.kernel.numpy()
    report = initialize(model, "mimetic", seed=1)
    assert report.notes == ["2 layers of self-attention"]
    assert {record.key.split("/")[0] for record in report if record.action == "set"} == {
        "enc0_self",
        "dec0_self",
    }
    assert np.array_equal(model.get_layer("dec0_cross").query_dense.kernel, before)
    report = initialize(model, "mimetic", seed=1, start="xavier")
    assert {record.action for record in report} == {"set"}
    assert not np.array_equal(model.get_layer("dec0_cross").query_dense.kernel, before)


def test_errors_say_what_is_wanted_and_change_nothing():
    model = encoder(1)
    model.get_layer("enc0_self").trainable = False
    before = model.get_weights()
    with pytest.raises(InputError, match="are not frozen"):
        initialize(model, "mimetic", seed=1, start="he")
    narrow = L.MultiHeadAttention(2, 8, output_shape=12)
    with pytest.raises(InputError, match="keep its width"):
        attending(narrow, 16)
    with pytest.raises(InputError, match="`query_key_alpha`"):
        initialize(encoder(1), "mimetic", query_key_alpha=-1)
    assert all(map(np.array_equal, model.get_weights(), before))
