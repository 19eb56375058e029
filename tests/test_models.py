"""Sizes by hand, published initialization, and every initialization on a network it fits."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tf_keras

import tfinit.initializers as initializers
from tfinit import models
from tfinit.errors import InputError
from tfinit.schemes import SCHEMES
from tfinit.variables import all_weights, prunable_weights, read_weights

LIBRARIES = {"keras": keras, "tf_keras": tf_keras}

# By hand for 32×32×3 and 10 classes; a 3×3 convolution has 9·in·out weights (+ out biases), a
# dense layer in·out + out, a normalization 2·channels to train and 2·channels of statistics.
#
# convolutions  64, 64     1,792 + 36,928                       =    38,720
#             128, 128    73,856 + 147,584                      =   221,440
#             256, 256   295,168 + 590,080                      =   885,248
# dense    after conv-2   16·16·64·256 + 256                    = 4,194,560
#          after conv-4     8·8·128·256 + 256                   = 2,097,408
#          after conv-6     4·4·256·256 + 256                   = 1,048,832
#          256 and 10       65,792 + 2,570                      =    68,362
# resnet-20: stem 432; stage 1: 6·2,304 = 13,824; stage 2: 4,608 + 5·9,216 = 50,688 and shortcut
#   512; stage 3: 18,432 + 5·36,864 = 202,752 and shortcut 2,048; dense 650  → 270,906
#   normalized channels: 16·7 + 32·7 + 64·7 = 784                            → 1,568 and 1,568
# vgg-16: 9·(3·64 + 64² + 64·128 + 128² + 128·256 + 2·256² + 256·512 + 5·512²) = 14,710,464
#   dense 5,130; normalized channels: 2·64 + 2·128 + 3·256 + 6·512 = 4,224    → 8,448 and 8,448
# lenet: 3,072·300 + 300 + 300·100 + 100 + 100·10 + 10
#
# name: (builder, to train, statistics, prunable tensors)
NETWORKS = {
    "lenet-300-100": (models.lenet_300_100, 953_010, 0, 3),
    "conv-2": (models.conv_2, 38_720 + 4_194_560 + 68_362, 0, 5),
    "conv-4": (models.conv_4, 38_720 + 221_440 + 2_097_408 + 68_362, 0, 7),
    "conv-6": (models.conv_6, 38_720 + 221_440 + 885_248 + 1_048_832 + 68_362, 0, 9),
    "resnet-20": (models.resnet_20, 270_906 + 1_568, 1_568, 22),
    "vgg-16": (models.vgg_16, 14_710_464 + 5_130 + 8_448, 8_448, 14),
}


def weights(model):
    return read_weights(all_weights(model))


def same(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[key], b[key]) for key in a)


def test_the_table_has_every_network():
    assert tuple(NETWORKS) == models.NAMES


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("name", NETWORKS)
def test_sizes(name, library):
    builder, trained, statistics, tensors = NETWORKS[name]
    model = builder(LIBRARIES[library], (32, 32, 3), 10)
    assert sum(int(np.prod(w.shape)) for w in model.trainable_weights) == trained
    assert sum(int(np.prod(w.shape)) for w in model.non_trainable_weights) == statistics
    keys = list(prunable_weights(model))
    assert len(keys) == tensors
    assert keys[-1] == "output/kernel"
    assert all(layer.name.split("_")[-1] not in ("2d", "dense") for layer in model.layers)


@pytest.mark.parametrize("library", LIBRARIES)
def test_mlp_of_any_depth_and_activation(library):
    model = models.build("mlp-5-tanh", LIBRARIES[library], (8, 8, 1), 10, seed=0)
    assert list(prunable_weights(model)) == [
        *(f"fc{number}/kernel" for number in (1, 2, 3, 4)),
        "output/kernel",
    ]
    # 64·64 + 64 four times, the first from 64 pixels; 64·10 + 10.
    assert model.count_params() == 4 * 4160 + 650
    activations = [layer.activation.__name__ for layer in model.layers if layer.count_params()]
    assert activations == ["tanh"] * 4 + ["linear"]
    # Keras's default, with the same bits in both Kerases.
    default = weights(models.build("mlp-5-tanh", keras, (8, 8, 1), 10, 0, "keras"))
    assert same(weights(model), default)
    assert abs(default["fc2/kernel"]).max() == pytest.approx(np.sqrt(6 / 128), rel=1e-2)


def test_mlp_takes_examples_of_any_shape_and_every_initialization():
    model = models.build("mlp-2-leaky_relu", keras, (7,), 3, 1, "he")
    assert model.output_shape == (None, 3)
    assert tuple(model.get_layer("fc1").kernel.shape) == (7, 64)


def test_fill_gives_each_kernel_its_stream_and_leaves_the_rest():
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((8, 8, 2)),
            layers.Conv2D(2, 3, name="frozen", trainable=False),
            layers.DepthwiseConv2D(3, name="depthwise"),
            layers.SeparableConv2D(3, 3, name="separable"),
            layers.Flatten(),
            layers.Dense(4, bias_initializer="ones", name="fc"),
        ]
    )
    before = weights(model)
    models.fill(model, keras.initializers.RandomNormal(stddev=1.0, seed=3), seed=5)
    after = weights(model)
    changed = {key for key in after if not np.array_equal(before[key], after[key])}
    assert changed == {
        "depthwise/kernel",
        "separable/depthwise_kernel",
        "separable/pointwise_kernel",
        "fc/kernel",
    }
    assert not np.array_equal(after["depthwise/kernel"], after["separable/depthwise_kernel"])
    models.fill(model, keras.initializers.RandomNormal(stddev=1.0, seed=4), seed=5)
    assert same(after, weights(model))


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(
    ("library", "shape"), [*((one, (8, 8, 1)) for one in LIBRARIES), ("keras", (28, 28, 1))]
)
def test_small_images_fit_and_the_output_is_logits(name, shape, library):
    model = NETWORKS[name][0](LIBRARIES[library], shape, 7)
    assert tuple(model.output_shape) == (None, 7)
    assert list(prunable_weights(model))[-1] == "output/kernel"
    assert np.isfinite(np.asarray(model(np.ones((2, *shape), np.float32)))).all()
    # Logits, whatever was drawn: with the opposite head the outputs are the opposite numbers, which
    # those of a softmax or a ReLU are not.
    head = model.get_layer("output")
    images = np.random.default_rng(0).random((2, *shape), np.float32)
    out = np.asarray(model(images))
    head.set_weights([-w for w in head.get_weights()])
    np.testing.assert_allclose(np.asarray(model(images)), -out, rtol=1e-5, atol=1e-7)
    assert np.abs(out).max() > 0


def test_keys_are_the_layers_names():
    model = models.resnet_20(keras, (8, 8, 1), 10)
    keys = list(prunable_weights(model))
    assert keys[0] == "stem_conv/kernel"
    assert "stage2_block1_shortcut_conv/kernel" in keys
    assert "stage3_block3_2_conv/kernel" in keys
    shortcut = model.get_layer("stage2_block1_shortcut_conv")
    assert (shortcut.kernel_size, shortcut.strides) == ((1, 1), (2, 2))


@pytest.mark.parametrize("name", ["lenet-300-100", "conv-2", "resnet-20"])
def test_same_seed_same_weights_in_both_kerases_and_another_seed_others(name):
    a, b = (weights(models.build(name, k, (8, 8, 1), 10, seed=3)) for k in (keras, tf_keras))
    assert same(a, b)
    other = weights(models.build(name, keras, (8, 8, 1), 10, seed=4))
    assert not any(np.array_equal(a[key], other[key]) for key in a if key.endswith("/kernel"))


def test_lenet_is_xavier_cut_at_two_deviations_as_before():
    from tfinit.schemes import initialize

    model = models.lenet_300_100(keras, (8, 8, 1), 10)
    initialize(model, "xavier", distribution="truncated_normal", seed=3)
    built = models.build("lenet-300-100", keras, (8, 8, 1), 10, seed=3)
    assert same(weights(model), weights(built))


@pytest.mark.parametrize(
    ("name", "key", "variance", "cut"),
    [
        ("conv-2", "conv2/kernel", 2 / (9 * 64 + 9 * 64), True),
        ("conv-2", "fc1/kernel", 2 / (4 * 4 * 64 + 256), True),
        ("resnet-20", "stage3_block2_1_conv/kernel", 2 / (9 * 64), False),
        ("vgg-16", "block5_3_conv/kernel", 2 / (9 * 512), False),
        ("vgg-16", "output/kernel", 2 / 512, False),
    ],
)
def test_published_initialization(name, key, variance, cut):
    values = weights(models.build(name, keras, (8, 8, 1), 10, seed=0))
    kernel = values[key]
    # Of n squares of normal numbers, the mean is off by √(2/n) of it; four of those.
    assert kernel.var() == pytest.approx(variance, rel=4 * np.sqrt(2 / kernel.size))
    # Cut at two deviations of the normal before the cut, which are 2 / 0.8796 after it.
    assert (abs(kernel).max() <= 2.28 * np.sqrt(variance)) == cut
    for other, value in values.items():
        if other.endswith(("/bias", "/beta", "/moving_mean")):
            assert not value.any()
        if other.endswith(("/gamma", "/moving_variance")):
            assert (value == 1).all()


# Residual branches are asked for by two; matrices by one; metainit takes a hundred second
# derivatives of the convolutions. The rest runs on these.
NETWORK_OF = {
    "fixup": "resnet-20",
    "depth_scaled": "resnet-20",
    "Identity": "lenet-300-100",
    "metainit": "mlp-3-tanh",
    "grad_init": "mlp-3-tanh",
}


@pytest.mark.parametrize("initialization", models.initializations())
def test_every_initialization_runs_and_is_a_function_of_the_seed(initialization):
    name = NETWORK_OF.get(initialization, "conv-2")
    x = np.random.default_rng(0).random((32, 8, 8, 1), np.float32)
    a, b, c = (
        weights(models.build(name, keras, (8, 8, 1), 10, seed, initialization, x))
        for seed in (1, 1, 2)
    )
    assert all(np.isfinite(value).all() for value in a.values())
    fixed = {"ones", "zeros", "Identity", "ZerO"}
    assert same(a, c) == (initialization in fixed)
    assert same(a, b)


def test_what_is_left_out():
    assert set(SCHEMES) - set(models.initializations()) == {
        "completep",  # needs the depth that the rate was tuned at
        *("chrono", "forget_bias", "irnn"),  # are for recurrent networks
        *("embeddings", "pissa"),  # for tables of vectors, for LoRA
        *("t_fixup", "deepnorm", "small_init", "mimetic", "gpt2", "bert"),  # for transformers
        *("zero_gamma", "layer_scale", "skipinit", "rezero"),  # for scales at ends of branches
        "siren",  # is for networks of sines
        "mup",  # needs a base model
        "output_bias",  # needs targets, and draws no kernel
        "pretrained",  # needs a file
        "weight_selection",  # needs a larger network
        "reinitialize",  # is "keras" here
    }
    classes = {name for name in initializers.__all__ if name[0].isupper()} - {"CriticalPoint"}
    assert classes - set(models.initializations()) == {
        *("Chrono", "ForgetBias", "RecurrentOrthogonal"),  # are for recurrent layers
        "ConvolutionOrthogonal",  # these three cannot fill the dense output layer
        "DeltaOrthogonal",
        "Dirac",
        "Pretrained",  # needs a file
        "SparseOrthogonal",  # these two need a density
        "SparseScaling",
    }


@pytest.mark.parametrize("initialization", ["orthogonal", "Orthogonal", "keras", "he_normal"])
def test_initializations_have_the_same_bits_in_both_kerases(initialization):
    a, b = (
        weights(models.build("conv-2", k, (8, 8, 1), 10, 5, initialization))
        for k in (keras, tf_keras)
    )
    assert same(a, b)


def test_keras_is_its_default_and_names_tell_scheme_from_initializer():
    built = {
        i: weights(models.build("conv-2", keras, (8, 8, 1), 10, 0, i))["conv2/kernel"]
        for i in ("keras", "glorot_uniform", "Xavier", "orthogonal", "Orthogonal")
    }
    assert np.array_equal(built["keras"], built["glorot_uniform"])
    limit = np.sqrt(6 / (9 * 64 + 9 * 64))
    for uniform in ("keras", "Xavier"):
        assert abs(built[uniform]).max() == pytest.approx(limit, rel=1e-3)
    # The scheme sees that a ReLU follows, the initializer sees a shape only.
    for name, square in (("orthogonal", 2), ("Orthogonal", 1)):
        matrix = built[name].reshape(-1, 64)
        np.testing.assert_allclose(matrix.T @ matrix, square * np.eye(64), atol=1e-4)


def test_kernels_of_one_shape_get_different_values():
    values = weights(models.build("conv-6", keras, (16, 16, 1), 256, 0, "keras"))
    assert values["fc2/kernel"].shape == values["output/kernel"].shape
    assert not np.array_equal(values["fc2/kernel"], values["output/kernel"])


def test_the_bits_do_not_depend_on_the_process():
    code = (
        "import keras; from tfinit import models; "
        "keras.layers.Dense(3).build((2, 3)); "
        "m = models.build('lenet-300-100', keras, (4, 4, 1), 3, 9, 'Xavier'); "
        "print(float(m.get_layer('fc2').kernel.numpy().sum(dtype='float64')))"
    )
    there = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    here = models.build("lenet-300-100", keras, (4, 4, 1), 3, 9, "Xavier")
    assert float(there) == float(here.get_layer("fc2").kernel.numpy().sum(dtype="float64"))


def test_lsuv_sees_the_batch():
    x = np.random.default_rng(0).random((64, 8, 8, 1), np.float32)
    model = models.build("lenet-300-100", keras, (8, 8, 1), 10, 0, "lsuv", x)
    assert float(np.std(np.asarray(model(x)))) == pytest.approx(1, rel=1e-3)
    assert models.needs_data("lsuv")
    assert not models.needs_data("he")
    assert not models.needs_data(None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("conv-3", (8, 8, 1)), "`model` must be one of lenet-300-100, conv-2, .*'conv-3'"),
        (("conv-3", (8, 8, 1)), "or mlp-<depth>-<activation> as in mlp-30-relu; received"),
        (("mlp-1-relu", (8,)), "depth counts all dense layers and is at least 2; .*'mlp-1-relu'"),
        (("mlp-x-relu", (8,)), "mlp-<depth>-<activation> as in mlp-30-relu; .*'mlp-x-relu'"),
        (("mlp-5-rellu", (8,)), "an activation that Keras knows by its name.*'mlp-5-rellu'"),
        (("conv-2", (8, 8)), r"`model` 'conv-2' takes images .*received .*\(8, 8\)"),
        (("conv-2", (8, 8, 1), "hee"), "`initialization` must be one of xavier, .*'hee'.*Leave"),
        (("conv-2", (8, 8, 1), "lsuv"), "`initialization` 'lsuv' looks at data: pass `x`"),
        (("conv-2", (8, 8, 1), "fixup"), "residual"),
        (("conv-2", (8, 8, 1), "Identity"), "Identity is for matrices"),
    ],
)
def test_errors(arguments, message):
    name, shape, *initialization = arguments
    with pytest.raises(InputError, match=message):
        models.build(name, keras, shape, 10, 0, *initialization)


def test_checking_a_name_alone():
    for name in (None, "he", "He", "keras", "zeros"):
        models.check_initialization(name)
    with pytest.raises(InputError, match=r"EdgeOfChaos.*received 'mup'"):
        models.check_initialization("mup")


def test_data_schemes_are_of_keras_3():
    x = np.ones((4, 8, 8, 1), np.float32)
    with pytest.raises(InputError, match="tf_keras"):
        models.build("conv-2", tf_keras, (8, 8, 1), 10, 0, "lsuv", x)


def test_examples():
    import doctest

    failed, tried = doctest.testmod(models, extraglobs={"keras": keras})
    assert (failed, tried > 0) == (0, True)
