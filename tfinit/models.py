"""Networks by their names, initialized as published or as asked, for Keras 3 and tf_keras alike."""

import re
from types import ModuleType
from typing import Any

from tfinit import arguments
from tfinit.arguments import instance, meant, one_of, refused, text, whole, wholes
from tfinit.devices import KERASES
from tfinit.errors import InputError
from tfinit.graph.calling import check_data
from tfinit.graph.layer_kinds import KERNEL_NAMES
from tfinit.networks import (  # noqa: F401  (the architectures are found here, too)
    MLP,
    NETWORKS,
    Network,
    conv_2,
    conv_4,
    conv_6,
    lenet_300_100,
    mlp,
    resnet_20,
    vgg_16,
)
from tfinit.schemes.engine.registry import REGISTRY
from tfinit.schemes.initialize import SCHEMES, initialize
from tfinit.streams import seed_of_weight
from tfinit.variables import all_weights, weight_name

__all__ = [
    "NAMES",
    "OF_KERAS",
    "PATTERN",
    "build",
    "check_initialization",
    "fill",
    "initializations",
    "initializer",
    "kernels",
    "needs_data",
    "set_initialization",
]

NAMES: tuple[str, ...]
PATTERN = MLP
# What schemes may be for, of the networks here.
_KINDS = ("", "convolutions", "residual networks")
_MLP = re.compile(r"mlp-(\d{1,4})-(\w+)")

# Without "orthogonal", which is the scheme, and "constant", whose constant would be zero.
OF_KERAS = (
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
_DEFAULTOF_KERAS = "glorot_uniform"


def __getattr__(name: str) -> tuple[str, ...]:
    if name == "NAMES":  # as of now
        return tuple(NETWORKS)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def initializations() -> tuple[str, ...]:
    """What `build` takes as ``initialization``.

    Schemes of `tfinit.schemes` in lower case (``"orthogonal"``, which sees layers and
    activations); then the initializers of `tfinit.initializers` by the names of their classes
    (``"Orthogonal"``, which sees shapes, with its default arguments); then ``"keras"``, which is
    what Keras does by default, and Keras's initializers by their names.
    """
    return (*_schemes(), *_of_tfinit(), "keras", *OF_KERAS)


def _schemes() -> list[str]:
    """Those that draw kernels without options; the layers' own initializers are "keras" here.

    The networks are of Dense layers or convolutions, some of them residual.
    """
    known = {s: REGISTRY[s] for s in SCHEMES if REGISTRY[s].fits in _KINDS}
    return [s for s, f in known.items() if not (f.needed or f.as_built or f.of_targets)]


def _of_tfinit() -> list[str]:
    """Those that need no arguments and fill matrices, which the output layer of each network has.

    The scheme "delta_orthogonal" does for convolutions what those do that are for these alone.
    """
    from tfinit.initializers.registry import of_any_kernel

    return of_any_kernel()


def check_initialization(name: str | None) -> None:
    """Raise InputError unless `build` knows the initialization; None is known."""
    if name is not None:
        cure = "Leave it out for the network's published one."
        one_of("initialization", name, initializations(), cure)


def needs_data(initialization: str | None) -> bool:
    """Whether `build` needs ``x`` for this initialization."""
    return initialization in REGISTRY and REGISTRY[initialization].needs_data


def _network(name: str, keras: ModuleType) -> Network:
    text("name", name)
    if name in NETWORKS:
        return NETWORKS[name]
    known = f"`model` must be one of {', '.join(NETWORKS)}, or {PATTERN} as in mlp-30-relu"
    found = _MLP.fullmatch(name)
    if found is None:
        raise InputError(f"{known}; received {name!r}.{meant(name, NETWORKS)}")
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

    return Network(build_mlp, None, {}, of_images=False)


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
    if getattr(keras, "__name__", "") not in KERASES:
        raise refused("keras", "the module keras or tf_keras", keras)
    network = _network(name, keras)
    input_shape = wholes("input_shape", input_shape, 1)
    classes, seed = whole("classes", classes, 1), arguments.seed("seed", seed)
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
    else:
        set_initialization(model, initialization or "keras", seed, x)
    return model


def set_initialization(model: Any, name: str, seed: int, x: Any = None) -> None:
    """Initialize a built model by one of `initializations`, each kernel from a stream of its own.

    Args:
        model: A built model of either Keras.
        name: The initialization.
        seed: Same seed, same weights, in any process and in both Kerases.
        x: A batch of inputs, for the schemes that look at data; else None.

    Raises:
        InputError: the initialization is unknown, or does not fit the model.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
        >>> set_initialization(model, "ones", seed=1)
        >>> float(model.layers[0].kernel.numpy().sum())
        6.0
    """
    check_initialization(text("name", name))
    seed = arguments.seed("seed", seed)
    if name in _schemes():
        initialize(model, name, None if x is None else check_data(model, x, "x"), seed=seed)
    else:
        fill(model, initializer(name), seed)


def initializer(name: str) -> Any:
    """An initializer with default arguments, by a name in `initializations` that is no scheme."""
    # Keras 3's also for a tf_keras model: both then get the same bits.
    import keras

    from tfinit.initializers.registry import CLASSES, of_any_kernel

    if name in of_any_kernel():
        return CLASSES[name]()
    return keras.initializers.get(_DEFAULTOF_KERAS if name == "keras" else name)


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

    instance("initializer", initializer, keras.initializers.Initializer)
    seed = arguments.seed("seed", seed)
    config = initializer.get_config()
    for key, variable in kernels(model).items():
        own = initializer
        if "seed" in config:
            number = seed_of_weight(seed, key)
            own = type(initializer).from_config({**config, "seed": number})
        variable.assign(keras.ops.convert_to_numpy(own(tuple(variable.shape), "float32")))


def kernels(model: Any) -> dict[str, Any]:
    """The trainable weights that `fill` sets, under their keys."""
    weights = all_weights(model)
    trainable = {id(weight) for weight in model.trainable_weights}
    return {
        key: weight
        for key, weight in weights.items()
        if id(weight) in trainable
        and weight_name(weight) in KERNEL_NAMES
        and len(weight.shape) >= 2
    }
