"""Schemes for transformers: the factors of their papers, by which row a kernel stands in."""

import keras
import numpy as np
import pytest
from keras import layers as L
from small_transformers import WIDTH, WORDS, encoder, translator

from tests.graph.test_tracing import transformer
from tfinit.errors import InputError
from tfinit.graph.structure import Structure
from tfinit.schemes import initialize
from tfinit.variables import all_weights, read_weights

SCHEMES = ("t_fixup", "deepnorm", "small_init", "gpt2", "bert", "mimetic")
# √(2 / (fan_in + fan_out)) of kernels of 16 units: attention's, and a feed-forward layer's.
SQUARE, FORWARD = (2 / 32) ** 0.5, (2 / 80) ** 0.5


@pytest.mark.parametrize("norm", ["pre", "post", ""])
def test_an_encoder_and_a_decoder_are_two_rows_of_additions(norm):
    streams = Structure.of(translator(3, 2, norm)).streams
    assert {(s.additions, s.reads_another) for s in streams} == {(6, False), (6, True)}
    # Of attention a step, of a feed-forward layer two.
    for stream in streams:
        pattern = [1, 1, 2] * 2 if stream.reads_another else [1, 2] * 3
        assert [len(branch.steps) for branch in stream.branches] == pattern


def test_t_fixup_is_the_rule_of_the_paper():
    report = initialize(translator(3, 2, ""), "t_fixup", seed=1)
    encoding, decoding, embedding = 0.67 * 3**-0.25, 18**-0.25, 27**-0.25
    expected = {
        "enc0_self/query/kernel": (SQUARE, 1),
        "enc0_self/key/kernel": (SQUARE, 1),
        "enc0_self/value/kernel": (SQUARE, encoding),
        "enc2_self/attention_output/kernel": (SQUARE, encoding),
        "enc1_up/kernel": (FORWARD, encoding),
        "enc1_down/kernel": (FORWARD, encoding),
        "dec0_self/value/kernel": (SQUARE, decoding),
        "dec1_cross/value/kernel": (SQUARE, decoding),
        "dec1_cross/query/kernel": (SQUARE, 1),
        "dec1_down/kernel": (FORWARD, decoding),
        "enc_words/embeddings": (WIDTH**-0.5, embedding),
        "dec_places/embeddings": (WIDTH**-0.5, embedding),
        "head/kernel": ((2 / (WIDTH + WORDS)) ** 0.5, 1),
    }
    for key, (std, scale) in expected.items():
        assert (report[key].scale, report[key].std) == pytest.approx((scale, std * scale)), key
    assert sorted(report.notes) == ["2 layers", "3 layers"]


def test_t_fixup_says_where_normalization_undoes_it():
    assert "undoes these scales" in initialize(encoder(2), "t_fixup", seed=1).notes[-1]


def test_deepnorm_is_the_table_of_the_paper():
    def betas(model):
        report = initialize(model, "deepnorm", seed=1)
        return {r.key: r.scale for r in report}, report.notes

    both = (3**4 * 2) ** (1 / 16)
    found, notes = betas(translator(3, 2))
    assert found["enc1_self/value/kernel"] == pytest.approx(0.87 / both)
    assert found["dec1_cross/attention_output/kernel"] == pytest.approx(24**-0.25)
    assert found["dec1_cross/key/kernel"] == found["head/kernel"] == 1
    assert sorted(note.split(",")[0] for note in notes) == [
        f"2 layers: α = {6**0.25:.3f}",
        f"3 layers: α = {0.81 * both:.3f}",
    ]
    found, notes = betas(encoder(4))
    assert found["enc3_down/kernel"] == pytest.approx(32**-0.25)
    assert notes == [f"4 layers: α = {8**0.25:.3f}, β = {32**-0.25:.3f}"]


def test_small_init_gives_attention_the_variance_of_feed_forward_layers():
    report = initialize(encoder(2), "small_init", seed=1)
    for key in ("enc_words/embeddings", "enc0_self/query/kernel", "enc1_down/kernel"):
        assert report[key].std == pytest.approx(FORWARD)
    assert report["head/kernel"].std == pytest.approx((2 / 19) ** 0.5)
    wang = initialize(encoder(3), "small_init", seed=1, wang=True)
    assert wang["enc0_self/attention_output/kernel"].std == pytest.approx(2 / (3 * 4))
    assert wang["enc0_up/kernel"].std == pytest.approx(FORWARD)


def test_gpt2_and_bert_are_their_papers_and_set_biases_to_zero():
    for scheme in ("gpt2", "bert"):
        model = encoder(2)
        for weight in model.weights:
            weight.assign(np.ones(weight.shape))
        report = initialize(model, scheme, seed=1)
        values = read_weights(all_weights(model))
        words = values["enc_words/embeddings"]
        if scheme == "gpt2":
            assert report["enc0_down/kernel"].std == pytest.approx(0.02 / 2)
            assert report["enc0_up/kernel"].std == report["enc_words/embeddings"].std == 0.02
            assert abs(words).max() > 0.04
        else:
            assert {round(r.std, 5) for r in report} == {0.01759}
            assert abs(words).max() <= 0.04
        assert not any(v.any() for k, v in values.items() if k.endswith("bias"))
        assert all((v == 1).all() for k, v in values.items() if "normalization" in k)


def test_the_weights_have_the_moments_of_the_report():
    model = encoder(1, "pre")
    for scheme in SCHEMES:
        report = initialize(model, scheme, seed=1)
        values = read_weights(all_weights(model))
        for record in report:
            if record.action == "set":
                # A sample deviation of n normal numbers is off by 1/√(2n) of it; four of those.
                assert values[record.key].std() == pytest.approx(
                    record.std, rel=4 / (2 * values[record.key].size) ** 0.5
                ), (scheme, record.key)


@pytest.fixture(scope="module")
def half_frozen():
    model = encoder(2)
    model.get_layer("enc1_self").trainable = False
    return model


@pytest.mark.backends
@pytest.mark.parametrize("scheme", SCHEMES)
def test_same_seed_same_bits_and_frozen_layers_stay(scheme, half_frozen):
    def made(seed):
        frozen = half_frozen.get_layer("enc1_self").query_dense.kernel
        before = keras.ops.convert_to_numpy(frozen)
        report = initialize(half_frozen, scheme, seed=seed)
        assert np.array_equal(keras.ops.convert_to_numpy(frozen), before)
        assert report["enc1_self/query/kernel"].note == "frozen"
        return read_weights(all_weights(half_frozen))

    first, other, again = made(7), made(8), made(7)
    chosen = [f"enc0_self/{part}/kernel" for part in ("query", "value", "attention_output")]
    assert all(np.array_equal(first[key], again[key]) for key in chosen)
    assert not any(np.array_equal(first[key], other[key]) for key in chosen)


def test_composites_are_transformers_too():
    model = transformer(depth=2)
    for scheme in SCHEMES:
        report = initialize(model, scheme, seed=1)
        assert sum("query" in record.key for record in report if record.action == "set") == 2


@pytest.mark.parametrize("scheme", [name for name in SCHEMES if name != "bert"])
def test_errors_where_the_model_is_no_transformer(scheme):
    inputs = keras.Input((WIDTH,))
    residual = keras.Model(inputs, L.Add()([inputs, L.Dense(WIDTH, name="fc")(inputs)]))
    before = residual.get_weights()
    with pytest.raises(InputError, match=f'Scheme .{scheme}. .*[Uu]se "') as raised:
        initialize(residual, scheme, seed=1)
    assert scheme == "mimetic" or "the model has no attention" in str(raised.value)
    assert all(map(np.array_equal, residual.get_weights(), before))
