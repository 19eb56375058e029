import keras
import pytest
import tf_keras
from keras_hub_backbones import BACKBONES

from tfinit.errors import InputError
from tfinit.fans import fans
from tfinit.variables import walk_layers

IMAGE = (None, 9, 9, 6)
SERIES = (None, 9, 6)
VOLUME = (None, 5, 5, 5, 6)

# layer, input shape, weight, fans worked out by hand. Both Kerases.
LAYERS = [
    ("Dense", (8,), {}, (None, 6), None, (6, 8)),
    ("Conv1D", (8, 3), {}, SERIES, None, (18, 24)),
    ("Conv2D", (8, 3), {}, IMAGE, None, (54, 72)),
    ("Conv3D", (8, 3), {}, VOLUME, None, (162, 216)),
    ("Conv2D", (8, 3), {"groups": 2}, IMAGE, None, (27, 36)),
    ("Conv2D", (8, 3), {"dilation_rate": 2}, IMAGE, None, (54, 72)),
    ("Conv2D", (8, 3), {"strides": 2}, IMAGE, None, (54, 18)),
    ("Conv2D", (8, (3, 2)), {"strides": (3, 1)}, IMAGE, None, (36, 16)),
    ("DepthwiseConv1D", (3,), {"depth_multiplier": 2}, SERIES, None, (3, 6)),
    ("DepthwiseConv1D", (4,), {"strides": 2}, SERIES, None, (4, 2)),
    ("DepthwiseConv2D", (3,), {"depth_multiplier": 2}, IMAGE, None, (9, 18)),
    ("DepthwiseConv2D", (4,), {"strides": 2}, IMAGE, None, (16, 4)),
    ("SeparableConv1D", (8, 3), {}, SERIES, "depthwise_kernel", (3, 3)),
    ("SeparableConv2D", (8, 3), {"depth_multiplier": 2}, IMAGE, "depthwise_kernel", (9, 18)),
    ("SeparableConv2D", (8, 3), {"depth_multiplier": 2}, IMAGE, "pointwise_kernel", (12, 8)),
    ("Conv1DTranspose", (8, 4), {"strides": 2}, SERIES, None, (12, 32)),
    ("Conv2DTranspose", (8, 3), {}, IMAGE, None, (54, 72)),
    ("Conv2DTranspose", (8, 3), {"strides": 2}, IMAGE, None, (13.5, 72)),
    ("Conv3DTranspose", (8, 2), {"strides": 2}, VOLUME, None, (6, 64)),
    ("Embedding", (50, 7), {}, (None, 3), None, (1, 7)),
    ("SimpleRNN", (5,), {}, SERIES, "kernel", (6, 5)),
    ("LSTM", (5,), {}, SERIES, "kernel", (6, 5)),
    ("LSTM", (5,), {}, SERIES, "recurrent_kernel", (5, 5)),
    ("GRU", (5,), {}, SERIES, "kernel", (6, 5)),
    ("GRU", (5,), {}, SERIES, "recurrent_kernel", (5, 5)),
    ("ConvLSTM1D", (5, 3), {}, (None, 4, 9, 6), "kernel", (18, 15)),
    ("ConvLSTM2D", (5, 3), {"strides": 3}, (None, 4, 9, 9, 6), "kernel", (54, 5)),
    ("ConvLSTM2D", (5, 3), {"strides": 3}, (None, 4, 9, 9, 6), "recurrent_kernel", (45, 45)),
]
EINSUMS = [
    ("abc,cde->abde", (None, 3, 4), (None, 2, 6), (4, 12)),
    ("abde,dec->abc", (None, 3, 2, 6), (None, 5), (12, 5)),
    ("...x,xy->...y", (None, 3, 4), 6, (4, 6)),
    # One matrix for each of the 3 experts.
    ("bec,ecd->bed", (None, 3, 4), (3, 6), (4, 6)),
]
KERASES = pytest.mark.parametrize("library", [keras, tf_keras], ids=["keras", "tf_keras"])


@KERASES
@pytest.mark.parametrize(("name", "args", "kwargs", "shape", "weight", "expected"), LAYERS)
def test_the_fans_of_every_layer_kind(library, name, args, kwargs, shape, weight, expected):
    layer = getattr(library.layers, name)(*args, **kwargs)
    layer.build(shape)
    assert fans(layer, weight) == expected


@KERASES
@pytest.mark.parametrize(("equation", "shape", "output", "expected"), EINSUMS)
def test_an_einsum_is_read(library, equation, shape, output, expected):
    layer = library.layers.EinsumDense(equation, output_shape=output)
    layer.build(shape)
    assert fans(layer) == expected


@KERASES
def test_attention_has_the_fans_of_its_projections(library):
    layer = library.layers.MultiHeadAttention(num_heads=3, key_dim=4, value_dim=5)
    x = library.Input((7, 6))
    layer(x, x)
    assert [fans(layer, w) for w in ("query", "key", "value", "attention_output")] == [
        (6, 12),
        (6, 12),
        (6, 15),
        (15, 6),
    ]


def test_grouped_query_attention_has_fewer_key_heads():
    layer = keras.layers.GroupQueryAttention(4, num_query_heads=6, num_key_value_heads=2)
    layer.build((None, 7, 10), (None, 7, 10))
    assert [fans(layer, w) for w in ("query", "key", "attention_output")] == [
        (10, 24),
        (10, 8),
        (24, 10),
    ]


def test_the_way_back_of_an_embedding_is_a_matrix():
    layer = keras.layers.ReversibleEmbedding(50, 7, tie_weights=False)
    layer.build((None, 3))
    assert fans(layer, "embeddings") == (1, 7)
    assert fans(layer, "reverse_embeddings") == (7, 50)


def test_an_expert_has_the_fans_of_its_own_matrix():
    models = pytest.importorskip("keras_hub").models
    model = BACKBONES["Mixtral"](models)
    bank = next(layer for _, layer in walk_layers(model) if layer.name == "experts")
    assert fans(bank, "expert_feedforward_gate_dense") == (16, 24)
    assert fans(bank, "expert_feedforward_output_dense") == (24, 16)


def test_subclasses_wrappers_and_variables_count_as_what_they_hold():
    class Mine(keras.layers.DepthwiseConv2D):
        pass

    mine = Mine(3)
    mine.build(IMAGE)
    wrapped = keras.layers.TimeDistributed(keras.layers.Conv2D(8, 2, strides=2))
    wrapped.build((None, 4, *IMAGE[1:]))
    separable = keras.layers.SeparableConv2D(8, 3)
    separable.build(IMAGE)
    assert fans(mine) == (9, 9)
    assert fans(wrapped) == (24, 8)
    assert fans(separable, separable.pointwise_kernel) == (6, 8)


def test_a_layer_of_the_users_own_gets_kerass_rule_though_its_name_is_in_the_table():
    class Conv(keras.layers.Layer):
        def build(self, shape):
            self.w = self.add_weight(shape=(2, shape[-1], 5), name="w")

    layer = Conv()
    layer.build((None, 3))
    assert fans(layer) == (6, 10)


@pytest.mark.parametrize(
    ("shape", "expected"), [((7,), (7, 7)), ((3, 4), (3, 4)), ((2, 3, 4, 5), (24, 30))]
)
def test_a_plain_shape_gets_kerass_rule(shape, expected):
    assert fans(shape) == expected


@pytest.mark.parametrize("shape", [(), (3, 0), (-1, 4), (None, 3), "ab", 3.5])
def test_a_shape_without_fans_is_refused(shape):
    with pytest.raises(InputError, match="whole numbers of at least 1"):
        fans(shape)


def test_what_is_wrong_with_a_layer_is_said():
    with pytest.raises(InputError, match="not built"):
        fans(keras.layers.Dense(3))
    lstm = keras.layers.LSTM(3)
    lstm.build((None, 4, 2))
    with pytest.raises(InputError, match=r"\['kernel', 'recurrent_kernel'\]"):
        fans(lstm)
    with pytest.raises(InputError, match="received 'weights'"):
        fans(lstm, "weights")
    with pytest.raises(InputError, match="only for a layer"):
        fans((3, 4), "kernel")
