"""The architectures of the experiments, for Keras 3 and tf_keras alike.

Every layer has a name, the last one with weights is ``output``, a dense layer of logits. Pooling
and convolutions pad to "same", so that images of 8×8 pass through four poolings too. The weights
are Keras's default ones: `tfinit.models.build` draws them as published.

A function with `network` above it is all that a new one needs: flags, help and errors list it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

Builder = Callable[[ModuleType, tuple[int, ...], int], Any]


@dataclass(frozen=True)
class Network:
    """An architecture under a name.

    Attributes:
        build: (keras, input shape, classes) → the model.
        scheme: With which it was published; None: as Keras initializes by default.
        options: Of the scheme.
        of_images: Whether it takes (height, width, channels) only.
    """

    build: Builder
    scheme: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    of_images: bool = True


NETWORKS: dict[str, Network] = {}
MLP = "mlp-<depth>-<activation>"


def network(
    name: str,
    scheme: str | None = None,
    options: dict[str, Any] | None = None,
    of_images: bool = True,
) -> Callable[[Builder], Builder]:
    """Let `tfinit.models.build` build what a function builds, by a name: see `Network`."""

    def named(build: Builder) -> Builder:
        NETWORKS[name] = Network(build, scheme, options or {}, of_images)
        return build

    return named


def models_help() -> str:
    """The networks by their names, in a sentence for ``--help``."""
    return (
        f"Network: {', '.join(NETWORKS)}, or {MLP}, as mlp-30-relu: so many dense layers, of 64 "
        "units but for the last."
    )


def networks_help() -> str:
    """What a command is given as its network, in sentences for ``--help``."""
    return (
        "Your network: path/to/file.py:build or package.module:build, a function that returns a "
        "built, compiled model, for a seed if it takes one; or a .keras file. Or one of tfinit's. "
        f"{models_help()}"
    )


# PyTorch's, with which the published numbers of these networks were made. Keras's own momentum of
# 0.99 needs hundreds of steps before the moving statistics are of any use.
_NORMALIZATION = {"momentum": 0.9, "epsilon": 1e-5}
# With which they were published.
_XAVIER = ("xavier", {"distribution": "truncated_normal"})
# Also in the output layer, as the published code has it.
_HE = ("he", {"gain": math.sqrt(2)})


@network("lenet-300-100", *_XAVIER, of_images=False)
def lenet_300_100(keras: ModuleType, input_shape: tuple[int, ...], classes: int) -> Any:
    """Two hidden ReLU layers of 300 and 100 units, the MLP of LeCun et al. (1998).

    Args:
        keras: The module ``keras`` or ``tf_keras``.
        input_shape: Shape of one example.
        classes: Number of classes; the output is their logits.
    """
    layers = keras.layers
    return keras.Sequential(
        [
            layers.Input(shape=input_shape),
            layers.Flatten(name="flatten"),
            layers.Dense(300, activation="relu", name="fc1"),
            layers.Dense(100, activation="relu", name="fc2"),
            layers.Dense(classes, name="output"),
        ],
        name="lenet_300_100",
    )


@network("conv-2", *_XAVIER)
def conv_2(keras: ModuleType, input_shape: tuple[int, ...], classes: int) -> Any:
    """Conv 64, 64, pool; dense 256, 256, classes. 4,301,642 parameters on CIFAR-10.

    3×3 convolutions with bias and ReLU, 2×2 max pooling, no normalization. Arguments as for
    `lenet_300_100`; ``input_shape`` is (height, width, channels).

    Frankle & Carbin, The Lottery Ticket Hypothesis, ICLR 2019, figure 2; scaled-down VGGs.
    """
    return _conv(keras, input_shape, classes, "conv_2", (64,))


@network("conv-4", *_XAVIER)
def conv_4(keras: ModuleType, input_shape: tuple[int, ...], classes: int) -> Any:
    """Conv 64, 64, pool, 128, 128, pool; dense as `conv_2`. 2,425,930 parameters on CIFAR-10."""
    return _conv(keras, input_shape, classes, "conv_4", (64, 128))


@network("conv-6", *_XAVIER)
def conv_6(keras: ModuleType, input_shape: tuple[int, ...], classes: int) -> Any:
    """As `conv_4`, then 256, 256, pool before the dense layers. 2,262,602 parameters on CIFAR-10.

    The paper's figure 2 says 1.7M; its layers, 32 pixels halved three times, have 2.3M.
    """
    return _conv(keras, input_shape, classes, "conv_6", (64, 128, 256))


def _conv(
    keras: ModuleType,
    input_shape: tuple[int, ...],
    classes: int,
    name: str,
    widths: tuple[int, ...],
) -> Any:
    layers = keras.layers
    stack = [layers.Input(shape=input_shape)]
    for block, width in enumerate(widths, 1):
        for conv in (2 * block - 1, 2 * block):
            stack.append(
                layers.Conv2D(width, 3, padding="same", activation="relu", name=f"conv{conv}")
            )
        stack.append(layers.MaxPooling2D(padding="same", name=f"pool{block}"))
    return keras.Sequential(
        [
            *stack,
            layers.Flatten(name="flatten"),
            layers.Dense(256, activation="relu", name="fc1"),
            layers.Dense(256, activation="relu", name="fc2"),
            layers.Dense(classes, name="output"),
        ],
        name=name,
    )


@network("resnet-20", *_HE)
def resnet_20(keras: ModuleType, input_shape: tuple[int, ...], classes: int) -> Any:
    """Nine residual blocks of two 3×3 convolutions, 16, 32 and 64 channels: 272,474 to train.

    The form for CIFAR: one convolution first, no pooling; the first block of the second and third
    stage has stride 2, and a 1×1 convolution with normalization as its shortcut; global average
    pooling. Normalization after each convolution, which has no bias. Arguments as for `conv_2`.

    He, Zhang, Ren & Sun, Deep Residual Learning, CVPR 2016, section 4.2; shortcuts as in the code
    of Frankle et al., Linear Mode Connectivity and the Lottery Ticket Hypothesis, ICML 2020.
    """
    layers = keras.layers

    def convolved(x: Any, width: int, name: str, size: int = 3, stride: int = 1) -> Any:
        x = layers.Conv2D(width, size, stride, padding="same", use_bias=False, name=f"{name}_conv")(
            x
        )
        return layers.BatchNormalization(**_NORMALIZATION, name=f"{name}_norm")(x)

    image = layers.Input(shape=input_shape)
    x = layers.Activation("relu", name="stem_relu")(convolved(image, 16, "stem"))
    for stage, width in enumerate((16, 32, 64), 1):
        for block in (1, 2, 3):
            name = f"stage{stage}_block{block}"
            changes = stage > 1 and block == 1
            stride = 2 if changes else 1
            branch = convolved(x, width, f"{name}_1", stride=stride)
            branch = layers.Activation("relu", name=f"{name}_1_relu")(branch)
            branch = convolved(branch, width, f"{name}_2")
            if changes:
                x = convolved(x, width, f"{name}_shortcut", size=1, stride=stride)
            x = layers.Add(name=f"{name}_add")([x, branch])
            x = layers.Activation("relu", name=f"{name}_relu")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, layers.Dense(classes, name="output")(x), name="resnet_20")


@network("vgg-16", *_HE)
def vgg_16(keras: ModuleType, input_shape: tuple[int, ...], classes: int) -> Any:
    """13 convolutions, 4 poolings, one dense layer: 14,724,042 parameters to train on CIFAR-10.

    The form for CIFAR: 3×3 convolutions of 64, 64, pool, 128, 128, pool, three of 256, pool, three
    of 512, pool, three of 512; global average pooling. Normalization after each convolution, which
    has no bias: the normalization would subtract it. Arguments as for `conv_2`.

    Simonyan & Zisserman, Very Deep Convolutional Networks, ICLR 2015, changed as in the code of
    Frankle et al., ICML 2020.
    """
    layers = keras.layers
    stack = [layers.Input(shape=input_shape)]
    for block, widths in enumerate(((64,) * 2, (128,) * 2, (256,) * 3, (512,) * 3, (512,) * 3), 1):
        if block > 1:
            stack.append(layers.MaxPooling2D(padding="same", name=f"pool{block - 1}"))
        for conv, width in enumerate(widths, 1):
            name = f"block{block}_{conv}"
            stack += [
                layers.Conv2D(width, 3, padding="same", use_bias=False, name=f"{name}_conv"),
                layers.BatchNormalization(**_NORMALIZATION, name=f"{name}_norm"),
                layers.Activation("relu", name=f"{name}_relu"),
            ]
    return keras.Sequential(
        [
            *stack,
            layers.GlobalAveragePooling2D(name="pool"),
            layers.Dense(classes, name="output"),
        ],
        name="vgg_16",
    )


def mlp(
    keras: ModuleType,
    input_shape: tuple[int, ...],
    classes: int,
    depth: int,
    activation: str,
    width: int = 64,
) -> Any:
    """A plain deep network of dense layers: where initialization decides whether it trains.

    Args:
        keras: The module ``keras`` or ``tf_keras``.
        input_shape: Shape of one example; it is flattened.
        classes: Number of classes; the output is their logits.
        depth: Dense layers in all, the output layer among them; at least 2.
        activation: Name of the activation of all but the output layer.
        width: Units of each of them.
    """
    layers = keras.layers
    hidden = [
        layers.Dense(width, activation=activation, name=f"fc{number}") for number in range(1, depth)
    ]
    return keras.Sequential(
        [
            layers.Input(shape=input_shape),
            layers.Flatten(name="flatten"),
            *hidden,
            layers.Dense(classes, name="output"),
        ],
        name=f"mlp_{depth}_{activation}",
    )
