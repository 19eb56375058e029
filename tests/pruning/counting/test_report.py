"""The sparsity report, against counts made by hand. Also runs with KERAS_BACKEND=jax and torch."""

import doctest
import json

import keras
import numpy as np
import pytest
from models_of_ones import on

import tfinit.pruning.counting.report
from tfinit.errors import InputError
from tfinit.pruning import SparseOptimizer, set_masks
from tfinit.pruning.counting.report import LayerSparsity, SparsityReport, sparsity_report
from tfinit.variables import prunable_weights

L = keras.layers


def small_net():
    return on(
        (8, 8, 3),
        L.Conv2D(4, 3, 2, "same", use_bias=False, name="conv"),
        L.BatchNormalization(name="norm"),
        L.DepthwiseConv2D(3, padding="same", name="depth"),
        L.Flatten(),
        L.Dense(10, name="fc"),
        L.Dense(2, name="frozen", trainable=False),
    )


@pytest.mark.backends
def test_lenet():
    model = on((784,), L.Dense(300, "relu"), L.Dense(100, "relu"), L.Dense(10))
    report = sparsity_report(model)
    assert [r.multiply_adds for r in report] == [235_200, 30_000, 1_000]
    assert report.total.multiply_adds == 266_200
    assert report.total.parameters == 266_610


@pytest.mark.backends
def test_zeros_after_masks():
    """Acceptance 29."""
    model = small_net()
    model.compile(SparseOptimizer(keras.optimizers.SGD(0.1)), loss="mse")
    masks = {"conv/kernel": np.zeros((3, 3, 3, 4)), "fc/kernel": np.zeros((64, 10))}
    masks["conv/kernel"][0, 0] = 1  # 12 of 108
    masks["fc/kernel"][:16] = 1  # 160 of 640
    set_masks(model, masks)
    expected = [
        LayerSparsity("conv", "Conv2D", 108, 96, 108, 96, 108 * 16, 12 * 16),
        LayerSparsity("norm", "BatchNormalization", 16, 0, 0, 0, 0, 0, "normalization"),
        LayerSparsity("depth", "DepthwiseConv2D", 40, 0, 0, 0, 36 * 16, 36 * 16, "depthwise"),
        LayerSparsity("fc", "Dense", 650, 480, 640, 480, 640, 160, "bias"),
        LayerSparsity("frozen", "Dense", 22, 0, 0, 0, 20, 20, "frozen"),
    ]
    report = sparsity_report(model)
    assert list(report) == list(report.records) == expected
    assert report.total == LayerSparsity("total", "", 836, 576, 748, 576, 2964, 948)
    assert report["conv"].sparsity == 96 / 108
    assert report["norm"].sparsity is None
    assert report["fc"].sparsity_of_all == 480 / 650
    # The zeros are those of the masks.
    pruned = {key: int(np.sum(mask == 0)) for key, mask in masks.items()}
    assert pruned == {f"{r.key}/kernel": r.prunable_zeros for r in report if r.prunable}


@pytest.mark.backends
def test_the_table():
    model = on((8, 8, 3), L.Conv2D(4, 3, name="conv"), L.Flatten(), L.Dense(2, name="fc"))
    model.name = "net"
    model.get_layer("conv").kernel.assign(np.eye(108, 1).reshape(3, 3, 3, 4))
    assert str(sparsity_report(model)).splitlines() == [
        "net: multiply-adds for one sample of 8×8×3",
        "layer  class   weights  zeros  sparsity  of all  multiply-adds  left  skipped",
        "-----------------------------------------------------------------------------",
        "conv   Conv2D      112    107    99.07%  95.54%          3,888    36  bias",
        "fc     Dense       290      0     0.00%   0.00%            288   288  bias",
        "-----------------------------------------------------------------------------",
        "total              402    107    27.02%  26.62%          4,176   324",
    ]


@pytest.mark.backends
def test_the_table_rounds_to_neither_end():
    model = on((100,), L.Dense(1000, use_bias=False, name="a"), L.Dense(100, name="b"))
    one = np.zeros((100, 1000), "float32")
    one[0, 0] = 1
    model.layers[0].kernel.assign(one)
    model.layers[1].kernel.assign(1 - one.reshape(1000, 100))
    table = str(sparsity_report(model)).splitlines()
    assert ">99.99%" in table[3]
    assert "<0.01%" in table[4]


@pytest.mark.backends
def test_as_a_sequence_and_as_json():
    report = sparsity_report(small_net())
    assert isinstance(report, SparsityReport)
    assert len(report) == 5
    assert report[0] is report["conv"]
    assert [r.key for r in report[1:3]] == ["norm", "depth"]
    with pytest.raises(KeyError):
        report["flatten"]
    loaded = json.loads(json.dumps(report.to_dict()))
    assert loaded["records"][3]["key"] == "fc"
    assert loaded["records"][3]["sparsity"] == 0
    assert loaded["total"]["multiply_adds"] == 2964
    assert loaded["input_shapes"] == [[8, 8, 3]]
    assert str(report) == repr(report)


@pytest.mark.backends
def test_nothing_prunable_is_a_report_too():
    model = on((4,), L.Dense(3, name="fc"), L.LayerNormalization(name="norm"))
    model.trainable = False
    report = sparsity_report(model)
    assert [r.skipped for r in report] == ["frozen", "normalization"]
    assert report.total.prunable == 0
    assert report.total.sparsity is None


@pytest.mark.backends
def test_wrong_models():
    with pytest.raises(InputError, match="not its output"):
        sparsity_report(keras.KerasTensor((None, 3)))
    with pytest.raises(InputError, match="not built"):
        sparsity_report(keras.Sequential([L.Dense(3)]))


@pytest.mark.backends
def test_half_precision_and_negative_zero():
    model = on((4,), L.Dense(2, name="fc", dtype="bfloat16"))
    model.layers[0].kernel.assign([[1, 0], [-0.0, -1], [0, 0], [2, 3]])
    assert sparsity_report(model)["fc"].prunable_zeros == 4


def legacy(k):
    layers = k.layers
    return k.Sequential(
        [
            layers.Input((4, 4, 2)),
            layers.Conv2D(3, 3, name="conv"),
            layers.BatchNormalization(name="norm"),
            layers.Flatten(),
            layers.Dense(2, name="fc"),
        ]
    )


def test_tf_keras():
    import tf_keras

    from tfinit.pruning import TfmotPruner

    model = legacy(tf_keras)
    for weight in model.weights:
        weight.assign(np.ones(weight.shape))
    dense = sparsity_report(model)
    assert [(r.key, r.parameters, r.zeros, r.skipped) for r in dense] == [
        ("conv", 57, 0, "bias"),
        ("norm", 12, 0, "normalization"),
        ("fc", 26, 0, "bias"),
    ]
    assert dense.total.multiply_adds is None
    assert dense.notes == ("Multiply-adds are unknown: they are counted for Keras 3 models.",)
    pruner = TfmotPruner(model)
    # Not all equal: TFMOT keeps all that tie.
    for weight in pruner.weights.values():
        size = int(np.prod(weight.shape))
        weight.assign(np.arange(1, size + 1, dtype="float32").reshape(weight.shape))
    pruner.prune({"conv/kernel": 20, "fc/kernel": 6})
    wrapped = sparsity_report(pruner.model)
    assert [(r.layer, r.parameters, r.zeros) for r in wrapped] == [
        ("Conv2D", 57, 34),
        ("BatchNormalization", 12, 0),
        ("Dense", 26, 18),
    ]
    stripped = sparsity_report(pruner.strip())
    assert [(r.key, r.parameters, r.prunable_zeros) for r in stripped] == [
        ("conv", 57, 34),
        ("norm", 12, 0),
        ("fc", 26, 18),
    ]


@pytest.mark.backends
def test_the_keys_are_those_of_the_masks():
    model = small_net()
    keys = {r.key for r in sparsity_report(model) if r.prunable}
    assert keys == {key.rpartition("/")[0] for key in prunable_weights(model)}


@pytest.mark.backends
def test_the_example_runs():
    failed, tried = doctest.testmod(tfinit.pruning.counting.report, extraglobs={"keras": keras})
    assert tried
    assert not failed


def coded(layer, shape, mode, **config):
    """A built layer, six in ten of its weights zero, quantized."""
    random = np.random.default_rng(1)
    layer.build(shape)
    for weight in layer.weights:
        values = random.normal(size=weight.shape) * (random.random(weight.shape) < 0.4)
        weight.assign(values.astype("float32"))
    grouped = keras.quantizers.Int4QuantizationConfig(**config) if config else None
    layer.quantize(mode, config=grouped)
    return layer


ONE_HOT = np.eye(7, dtype="float32")
CODED = {
    "int8": (L.Dense(5, use_bias=False), (None, 7), "int8", {}, {"inputs": ONE_HOT}),
    "int4": (L.Dense(5, use_bias=False), (None, 7), "int4", {}, {"inputs": ONE_HOT}),
    "int4 in groups": (
        L.Dense(5, use_bias=False),
        (None, 7),
        "int4",
        {"block_size": 3},
        {"inputs": ONE_HOT},
    ),
    "int4 einsum": (
        L.EinsumDense("ac,cde->ade", (3, 5)),
        (None, 7),
        "int4",
        {"block_size": 2},
        {"inputs": ONE_HOT},
    ),
    "int4 embedding": (
        L.Embedding(9, 7),
        (None, 3),
        "int4",
        {"block_size": 3},
        {"inputs": np.arange(9)},
    ),
}


@pytest.mark.backends
@pytest.mark.parametrize("case", CODED)
def test_zeros_of_codes_are_those_that_the_layer_computes_with(case):
    """What it answers to one-hot vectors are its weights, whatever it stores."""
    layer, shape, mode, config, inputs = CODED[case]
    layer = coded(type(layer).from_config(layer.get_config()), shape, mode, **config)
    answers = np.array(keras.ops.convert_to_numpy(layer(**inputs)))
    [record] = sparsity_report(layer)
    assert (record.parameters, record.zeros) == (answers.size, int(np.sum(answers == 0)))
    assert 0 < record.zeros < record.parameters
    assert (record.prunable, record.skipped) == (0, mode)


@pytest.mark.backends
def test_zeros_of_codes_of_an_output_embedding():
    layer = coded(L.ReversibleEmbedding(9, 7, tie_weights=False), (None, 3), "int4", block_size=2)
    answers = [layer(np.arange(9)), layer(ONE_HOT, reverse=True)]
    zeros = sum(int(np.sum(np.array(keras.ops.convert_to_numpy(a)) == 0)) for a in answers)
    [record] = sparsity_report(layer)
    assert (record.parameters, record.zeros) == (2 * 63, zeros)


@pytest.mark.backends
@pytest.mark.parametrize("mode", ["gptq", "awq"])
def test_zeros_of_calibrated_codes(mode):
    """Codes of 4 bits are two in a byte; the zero point is none of them but 3."""
    configs = {"gptq": keras.quantizers.GPTQConfig, "awq": keras.quantizers.AWQConfig}
    layer = L.Dense(5, use_bias=False)
    layer.build((None, 7))
    layer.kernel.assign(np.eye(7, 5))
    config = configs[mode](dataset=[""], tokenizer=str, weight_bits=4, group_size=7)
    layer.quantize(mode, config=config)
    [record] = sparsity_report(layer)
    assert (record.parameters, record.zeros) == (35, 30)  # not calibrated yet: the kernel is there
    codes = np.random.default_rng(0).integers(2, 5, (5, 7)).astype("uint8")
    packed, *_ = keras.quantizers.pack_int4(codes, axis=0, dtype="uint8")
    layer.quantized_kernel.assign(packed)
    layer.kernel_zero.assign(np.full(layer.kernel_zero.shape, 3, "uint8"))
    setattr(layer, f"is_{mode}_calibrated", True)
    del layer._kernel  # as Keras does once it is calibrated
    answers = np.array(keras.ops.convert_to_numpy(layer(ONE_HOT)))
    [record] = sparsity_report(layer)
    assert (record.parameters, record.zeros) == (35, int(np.sum(answers == 0)))
    assert record.zeros == int(np.sum(codes == 3))
