"""The networks of the experiments, for Keras 3 and tf_keras alike.

Every layer has a name, the last one with weights is ``output``, a dense layer of logits. Pooling
and convolutions pad to "same", so that images of 8×8 pass through four poolings too.
"""

import math
import re
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

from tfinit.errors import InputError
from tfinit.schemes.initialize import SCHEMES, WITH_DATA, initialize
from tfinit.schemes.streams import digest
from tfinit.variables import PRUNABLE_NAMES, all_weights, weight_name

# PyTorch's, with which the published numbers of these networks were made. Keras's own momentum of
# 0.99 needs hundreds of steps before the moving statistics are of any use.
_NORMALIZATION = {"momentum": 0.9, "epsilon": 1e-5}


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


def conv_2(keras: ModuleType, input_shape: tuple[int, ...], classes: int) -> Any:
    """Conv 64, 64, pool; dense 256, 256, classes. 4,301,642 parameters on CIFAR-10.

    3×3 convolutions with bias and ReLU, 2×2 max pooling, no normalization. Arguments as for
    `lenet_300_100`; ``input_shape`` is (height, width, channels).

    Frankle & Carbin, The Lottery Ticket Hypothesis, ICLR 2019, figure 2; scaled-down VGGs.
    """
    return _conv(keras, input_shape, classes, "conv_2", (64,))


def conv_4(keras: ModuleType, input_shape: tuple[int, ...], classes: int) -> Any:
    """Conv 64, 64, pool, 128, 128, pool; dense as `conv_2`. 2,425,930 parameters on CIFAR-10."""
    return _conv(keras, input_shape, classes, "conv_4", (64, 128))


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


class _Network(NamedTuple):
    build: Callable[..., Any]
    scheme: str | None  # with which it was published, and its options; None: Keras's default
    options: dict[str, Any]
    of_images: bool = True


_XAVIER = ("xavier", {"distribution": "truncated_normal"})
_HE = ("he", {"gain": math.sqrt(2)})  # also in the output layer, as the published code has it
_NETWORKS = {
    "lenet-300-100": _Network(lenet_300_100, *_XAVIER, of_images=False),
    "conv-2": _Network(conv_2, *_XAVIER),
    "conv-4": _Network(conv_4, *_XAVIER),
    "conv-6": _Network(conv_6, *_XAVIER),
    "resnet-20": _Network(resnet_20, *_HE),
    "vgg-16": _Network(vgg_16, *_HE),
}
NAMES = tuple(_NETWORKS)
PATTERN = "mlp-<depth>-<activation>"
_MLP = re.compile(r"mlp-(\d{1,4})-(\w+)")

# Two cannot run without options; "reinitialize" draws from the layers' own initializers, which
# here are Keras's default: "keras", but with other bits in tf_keras.
_SCHEMES = tuple(name for name in SCHEMES if name not in ("mup", "pretrained", "reinitialize"))
# Those that fill any kernel and need no arguments. The ones for convolutions alone (Dirac,
# DeltaOrthogonal, ConvolutionOrthogonal) fit no network here, as the output layer is dense; the
# scheme "delta_orthogonal" does that for convolutions.
_OF_TFINIT = ("EdgeOfChaos", "He", "Identity", "LeCun", "Orthogonal", "Sparse", "Xavier", "ZerO")
# Without "orthogonal", which is the scheme, and "constant", whose constant would be zero.
_OF_KERAS = (
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "lecun_normal",
    "lecun_uniform",
    "ones",
    "random_normal",
    "random_uniform",
    "truncated_normal",
    "zeros",
)
_DEFAULT_OF_KERAS = "glorot_uniform"


def initializations() -> tuple[str, ...]:
    """What `build` takes as ``initialization``.

    Schemes of `tfinit.schemes` in lower case (``"orthogonal"``, which sees layers and
    activations); then the initializers of `tfinit.initializers` by the names of their classes
    (``"Orthogonal"``, which sees shapes, with its default arguments); then ``"keras"``, which is
    what Keras does by default, and Keras's initializers by their names.
    """
    return (*_SCHEMES, *_OF_TFINIT, "keras", *_OF_KERAS)


def check_initialization(name: str | None) -> None:
    """Raise InputError unless `build` knows the initialization; None is known."""
    if name is not None and name not in initializations():
        raise InputError(
            f"`initialization` must be one of {', '.join(initializations())}, received {name!r}. "
            "Leave it out for the network's published one."
        )


def needs_data(initialization: str | None) -> bool:
    """Whether `build` needs ``x`` for this initialization."""
    return any(initialization == scheme.__name__ for scheme in WITH_DATA)


def _network(name: str, keras: ModuleType) -> _Network:
    if name in _NETWORKS:
        return _NETWORKS[name]
    known = f"`model` must be one of {', '.join(NAMES)}, or {PATTERN} as in mlp-30-relu"
    found = _MLP.fullmatch(name)
    if found is None:
        raise InputError(f"{known}; received {name!r}.")
    depth, activation = int(found[1]), found[2]
    if depth < 2:
        raise InputError(
            f"{known}, where depth counts all dense layers and is at least 2; received {name!r}."
        )
    try:
        keras.activations.get(activation)
    except ValueError as error:
        raise InputError(
            f"{known}, with an activation that Keras knows by its name, as relu, tanh or selu; "
            f"received {name!r}."
        ) from error

    def build_mlp(keras: ModuleType, input_shape: tuple[int, ...], classes: int) -> Any:
        return mlp(keras, input_shape, classes, depth, activation)

    return _Network(build_mlp, None, {}, of_images=False)


def build(
    name: str,
    keras: ModuleType,
    input_shape: tuple[int, ...],
    classes: int,
    seed: int,
    initialization: str | None = None,
    x: Any = None,
) -> Any:
    """Build a network by its name, with weights that are a function of ``seed``.

    Unless told otherwise, kernels are drawn as published: of LeNet and the Conv networks as in
    Frankle & Carbin (2019), Xavier, normal, cut at two deviations; of ResNet and VGG as in Frankle
    et al. (2020), N(0, 2 / fan_in); of the others as Keras does by default. Biases are zero;
    normalization starts as the identity.

    Args:
        name: One of `NAMES`; or ``"mlp-<depth>-<activation>"``, as ``"mlp-30-relu"``: `mlp` with
            so many dense layers, of 64 units but for the output, and any activation of Keras's by
            its name.
        keras: The module ``keras`` or ``tf_keras``.
        input_shape: Shape of one example; (height, width, channels) but for ``"lenet-300-100"``
            and the ``"mlp-"`` ones, which take any.
        classes: Number of classes; the output is their logits.
        seed: Same seed, same weights, in any process and in both Kerases.
        initialization: One of `initializations`, applied to every kernel with a stream of its own
            from the seed and the kernel's key. None: the published one.
        x: A batch of inputs, some dozens of examples, for the schemes that look at data (see
            `needs_data`; Keras 3 only). The others ignore it.

    Raises:
        InputError: the network or the initialization is unknown, the examples are no images, a
            scheme has no ``x`` to look at, or the initialization does not fit the network
            (``"fixup"`` needs residual branches, ``"Identity"`` matrices).

    Example:
        >>> model = build("lenet-300-100", keras, (8, 8, 1), 10, seed=1)
        >>> list(kernels(model))
        ['fc1/kernel', 'fc2/kernel', 'output/kernel']
    """
    network = _network(name, keras)
    check_initialization(initialization)
    if network.of_images and len(input_shape) != 3:
        raise InputError(
            f"`model` {name!r} takes images of shape (height, width, channels), received examples "
            f"of shape {tuple(input_shape)}. Reshape them, or choose lenet-300-100."
        )
    if needs_data(initialization):
        if x is None:
            raise InputError(
                f"`initialization` {initialization!r} looks at data: pass `x`, a batch of inputs."
            )
    else:
        x = None
    model = network.build(keras, input_shape, classes)
    if initialization is None and network.scheme is not None:
        initialize(model, network.scheme, seed=seed, **network.options)
    elif initialization in _SCHEMES:
        initialize(model, initialization, x, seed=seed)
    else:
        fill(model, initializer(initialization or "keras"), seed)
    return model


def initializer(name: str) -> Any:
    """An initializer with default arguments, by a name in `initializations` that is no scheme."""
    # Keras 3's also for a tf_keras model: both then get the same bits.
    import keras

    from tfinit import initializers

    if name in _OF_TFINIT:
        return getattr(initializers, name)()
    return keras.initializers.get(_DEFAULT_OF_KERAS if name == "keras" else name)


def fill(model: Any, initializer: Any, seed: int) -> None:
    """Set every trainable kernel of a model by one initializer, each from a stream of its own.

    The stream of a kernel is a function of ``seed`` and of the kernel's key (`tfinit.variables`);
    a seed that the initializer has is not used. Kernels are also recurrent, pointwise and
    depthwise ones, and embeddings. Biases, normalization and frozen layers stay as they are.

    Args:
        model: A built model of either Keras.
        initializer: An initializer of Keras 3, tfinit's among them.
        seed: Same seed, same weights, in any process and in both Kerases.

    Raises:
        InputError: the model is not built, or as the initializer says of shapes that do not fit.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
        >>> fill(model, keras.initializers.Constant(0.5), seed=1)
        >>> float(model.layers[0].kernel.numpy().sum())
        3.0
    """
    import keras

    config = initializer.get_config()
    for key, variable in kernels(model).items():
        own = initializer
        if "seed" in config:
            # 31 bits, as Keras takes them.
            number = int.from_bytes(digest(seed, key)[:4], "big") >> 1
            own = type(initializer).from_config({**config, "seed": number})
        variable.assign(keras.ops.convert_to_numpy(own(tuple(variable.shape), "float32")))


def kernels(model: Any) -> dict[str, Any]:
    """The trainable weights that `fill` sets, under their keys."""
    names = (*PRUNABLE_NAMES, "depthwise_kernel")
    trainable = {id(weight) for weight in model.trainable_weights}
    return {
        key: weight
        for key, weight in all_weights(model).items()
        if id(weight) in trainable and weight_name(weight) in names and len(weight.shape) >= 2
    }
