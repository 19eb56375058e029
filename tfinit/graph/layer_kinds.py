"""What each kind of layer and operation is: one row for each class of Keras 3 and tf_keras.

`kind_of` finds the row of a layer or operation along its class's bases, by the name and the home
of each class, so that a subclass counts as its parent; ``exactly=True`` asks for Keras's own class
alone, as a subclass may compute anything. Rules are named here and written where they are used:

================= ======================================
field             its rules are the functions of
================= ======================================
``multiply_adds`` `tfinit.graph.weight_uses`
``channels``      `tfinit.graph.channel_rules`
``moments``       `tfinit.schemes.engine.moments`
================= ======================================

No Keras is imported here. KerasHub's layers have rows of their own where they compute by
themselves; most of them only call Keras's.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple

from tfinit.graph.einsum import kernel_letters


class Axes(NamedTuple):
    """What the axes of a kernel are, and how fans and pruning see it.

    Attributes:
        letters: A letter for each axis: ``*`` the axes of a window, ``i`` inputs, ``o`` outputs,
            ``c`` channels that are each treated by themselves, ``m`` the outputs of each of those,
            ``v`` the rows of a table of which one is looked up, ``e`` maps side by side (experts).
            ``=``: the layer's ``equation`` says it. See `letters_of`.
        strided: The side on which strides leave products out: ``"i"``, ``"o"``, or ``""`` where
            the layer has none.
        prunable: Whether pruning may set its entries to zero.
        inside: What reads it, where it does not make the layer's output: ``"activation"``, the
            layer's own, or ``"product"``, nothing before another kernel of the layer.
    """

    letters: str
    strided: str = ""
    prunable: bool = True
    inside: str = ""


@dataclass(frozen=True)
class LayerKind:
    """What is to know about a class of layers, or of operations.

    Attributes:
        kernels: Name of a weight → what its axes are; see `axes_of`, which knows the usual names
            in other layers too.
        gates: Of a recurrent cell: a letter for each gate, in the order of its kernels' columns;
            ``c`` is the candidate, which has the cell's own activation.
        linear: Whether the output is φ(W∗x + b).
        convolution: Whether it slides a window with weights.
        activation: The activation that it is, ``"relu"``; ``"given"`` for the one that its
            attribute ``activation`` holds.
        normalization: What it normalizes over: ``"batch"``, ``"layer"``, ``"group"``, ``"rms"``,
            ``"unit"``, or ``"own"`` for a layer of somebody's own that is named so.
        merge: How it joins several signals: ``"add"``, ``"subtract"``, ``"multiply"``,
            ``"divide"``, ``"average"``, ``"maximum"``, ``"minimum"``, ``"concatenate"`` or
            ``"dot"``.
        keeps_mean: Whether the mean of its output is that of its input, or nearly.
        attention: Whether it lets positions attend to others.
        projections: What an attention layer calls the layers in it that make queries, keys and
            values of its inputs.
        recurrent: Whether it calls a cell in a loop over time.
        wrapper: Whether it wraps the one layer in its attribute ``layer``.
        opaque: Whether it calls what is inside it in a loop of its own, so that probes see it from
            outside only.
        own_code: Whether what it computes is a function of the user's.
        preprocessing: What it does to data before a network: ``"rescaling"``,
            ``"normalization"``, ``"lookup"`` (of words and the like) or ``"other"``.
        model: ``"functional"`` or ``"sequential"``.
        left_alone: Why its own weights are not pruned: ``"normalization"`` or ``"depthwise"``.
        positions: Whether what it makes depends on positions alone, not on the values it is given.
        carries: Whether it hands some of its input's entries on as they are, in another order.
        masks: Whether its own weights are masks for those of the layer in it.
        width: Of a whole transformer block: the argument that is its feed-forward width.
        multiply_adds: The rule that counts them.
        channels: The rule for the channels through it; for Keras's own class only.
        moments: The rule for mean and variance through it; for Keras's own class only.
    """

    kernels: Mapping[str, Axes] = field(default_factory=lambda: MappingProxyType({}))
    gates: str = ""
    linear: bool = False
    convolution: bool = False
    activation: str = ""
    normalization: str = ""
    merge: str = ""
    keeps_mean: bool = False
    attention: bool = False
    projections: tuple[str, ...] = ()
    recurrent: bool = False
    wrapper: bool = False
    opaque: bool = False
    own_code: bool = False
    preprocessing: str = ""
    model: str = ""
    left_alone: str = ""
    positions: bool = False
    carries: bool = False
    masks: bool = False
    width: str = ""
    multiply_adds: str = ""
    channels: str = ""
    moments: str = ""

    @property
    def looks_up(self) -> bool:
        """Whether it looks rows of a table up."""
        return any(axes.letters == "vo" for axes in self.kernels.values())


DEFAULT = LayerKind()
"""The row of whatever has none."""

# Weights that are kernels by their names, in layers of any class. Depthwise kernels are not pruned,
# as in TFMOT's registry: they hold few weights, and each feeds a channel of its own.
_USUAL = {
    "kernel": Axes("*io"),
    "depthwise_kernel": Axes("*cm", prunable=False),
    "pointwise_kernel": Axes("*io"),
    "recurrent_kernel": Axes("*io"),
    "embeddings": Axes("*io"),
    "reverse_embeddings": Axes("io"),
}


def kind_of(op: Any, exactly: bool = False) -> LayerKind:
    """The row of a layer or operation.

    Args:
        op: A layer, model or operation of either Keras, or of anybody.
        exactly: Only if its class is itself in the table; the default row for a subclass.

    Returns:
        The row of the first class along the bases that has one, or `DEFAULT`. A class of one's own
        whose name ends in Norm or Normalization is a normalization.
    """
    cls = type(op)
    if cls.__name__ == "TFOpLambda":  # tf_keras's record of a call of a TensorFlow function
        return _OPERATIONS.get(op.symbol.split(".")[-1], DEFAULT)
    return kind_of_class(cls, exactly)


@lru_cache(1024)
def kind_of_class(cls: type, exactly: bool = False) -> LayerKind:
    """The row of a class, see `kind_of`."""
    if exactly:
        return _row(cls) or DEFAULT
    rows = {base: _row(base) for base in cls.__mro__}
    found = next((row for row in rows.values() if row), DEFAULT)
    # Of a layer of one's own nothing is known but what it is called.
    own = [base.__name__ for base, row in rows.items() if not row]
    if found is DEFAULT:
        keeps = re.search("Dropout|Pool|UpSampling|Cropping", cls.__name__) is not None
        found = replace(found, keeps_mean=keeps, convolution="Conv" in cls.__name__)
    if not (found.normalization or found.preprocessing or found.wrapper) and any(
        name.endswith(("Normalization", "Norm")) for name in own
    ):
        found = replace(found, normalization="own", left_alone="normalization")
    return found


def axes_of(layer: Any, name: str) -> Axes | None:
    """What the axes of a layer's weight are, by its name; None of what is no kernel."""
    return kind_of(layer).kernels.get(name) or _USUAL.get(name)


def letters_of(layer: Any, name: str, rank: int) -> str:
    """What each of the `rank` axes of a layer's weight is, in the letters of `Axes`.

    Returns:
        A letter for each axis, the window's repeated; "" of what is no kernel, or has other axes
        than the kernel that it is named for.

    Example:
        >>> letters_of(keras.layers.Conv2DTranspose(8, 3), "kernel", 4)
        '**oi'
    """
    axes = axes_of(layer, name)
    if axes is None:
        return ""
    letters = kernel_letters(layer.equation) if axes.letters == "=" else axes.letters
    if letters.startswith("*") and rank >= 2:
        letters = letters.replace("*", "*" * (rank - 2))
    return letters if len(letters) == rank else ""


def keras_of(obj: Any) -> str | None:
    """``"keras"`` for a Keras 3 layer or model, ``"tf_keras"`` for a legacy one, else None."""
    for cls in type(obj).__mro__:
        if cls.__name__ == "Layer":
            package = _home(cls)
            if package in ("keras", "tf_keras"):
                return package
    return None


def _home(cls: type) -> str:
    """The package of a class that may have a row, else ""."""
    package = cls.__module__.split(".")[0]
    return package if package in _HOMES else ""


def _row(cls: type) -> LayerKind | None:
    """The row of exactly this class."""
    home = _home(cls)
    if not home:
        return None
    if home == "keras" and ".ops." in cls.__module__:
        return _OPERATIONS.get(snake(cls.__name__))
    return _HOMES[home].get(cls.__name__)


def snake(name: str) -> str:
    """The name of a class in small letters: ``"LeakyRelu"`` as ``"leaky_relu"``."""
    return re.sub("(?<!^)(?=[A-Z])", "_", name).lower()


def _each(names: str, row: LayerKind, dimensions: tuple[int, ...] = ()) -> dict[str, LayerKind]:
    """The same row for several names, parted by spaces, and each number of dimensions."""
    ends = [f"{n}D" for n in dimensions] or [""]
    return {f"{name}{end}": row for name in names.split() for end in ends}


def _kernels(**axes: Axes) -> Mapping[str, Axes]:
    return MappingProxyType(axes)


def _attending(called: str, *names: str) -> LayerKind:
    """A row of attention by projections, which are called so, with the names in it."""
    made = tuple(called.format(name) for name in names or ("query", "key", "value"))
    return LayerKind(attention=True, projections=made, multiply_adds="products")


_DENSE = LayerKind(
    kernels=_kernels(kernel=Axes("io")), linear=True, multiply_adds="dense", channels="mixing"
)
_CONV = LayerKind(
    kernels=_kernels(kernel=Axes("*io", strided="o")),
    linear=True,
    convolution=True,
    multiply_adds="conv",
    channels="mixing",
)
_CONV_TRANSPOSE = LayerKind(
    kernels=_kernels(kernel=Axes("*oi", strided="i")),
    linear=True,
    convolution=True,
    multiply_adds="conv_transpose",
    channels="transposed",
)
_WINDOWS = Axes("*cm", strided="o", prunable=False)
_DEPTHWISE = LayerKind(
    # The second is tf_keras's name.
    kernels=_kernels(kernel=_WINDOWS, depthwise_kernel=_WINDOWS),
    linear=True,
    convolution=True,
    left_alone="depthwise",
    multiply_adds="depthwise",
    channels="depthwise",
)
_SEPARABLE = LayerKind(
    kernels=_kernels(
        depthwise_kernel=_WINDOWS._replace(inside="product"), pointwise_kernel=Axes("*io")
    ),
    linear=True,
    convolution=True,
    multiply_adds="conv",
    channels="separable",
)
_EINSUM = LayerKind(
    kernels=_kernels(kernel=Axes("=")), linear=True, multiply_adds="einsum", channels="einsum"
)
_EMBEDDING = LayerKind(
    kernels=_kernels(embeddings=Axes("vo"), reverse_embeddings=Axes("io")),
    linear=True,
    multiply_adds="embedding",
    channels="embedding",
)
_CELL = LayerKind(
    kernels=_kernels(kernel=Axes("io"), recurrent_kernel=Axes("io")), multiply_adds="cell"
)
_CONV_CELL = LayerKind(
    # The recurrent convolution keeps the size of the state.
    kernels=_kernels(kernel=Axes("*io", strided="o"), recurrent_kernel=Axes("*io")),
    gates="ifco",
    convolution=True,
)
_RECURRENT = LayerKind(recurrent=True, opaque=True, multiply_adds="recurrent")
_WRAPPER = LayerKind(wrapper=True, opaque=True)
_NORMALIZING = LayerKind(left_alone="normalization", multiply_adds="free")
_POOL = LayerKind(keeps_mean=True, channels="pooling")
_DROPOUT = LayerKind(keeps_mean=True, channels="same", moments="dropout")
_RESHAPING = LayerKind(keeps_mean=True, moments="same")
_CARRYING = replace(_RESHAPING, carries=True)
_LOOKUP = LayerKind(preprocessing="lookup")
_ADD = LayerKind(merge="add", channels="add", moments="add")
_MULTIPLY = LayerKind(merge="multiply", channels="multiply", moments="multiply")
_CONCATENATE = LayerKind(
    merge="concatenate", keeps_mean=True, channels="concatenate", moments="concatenate"
)
_ALL = (1, 2, 3)

# By the name of the class. A line that names several ends in their base class, of Keras 3 and of
# tf_keras, from which some derive.
_LAYERS: dict[str, LayerKind] = {
    "Dense": _DENSE,
    **_each("Conv", _CONV, _ALL),
    **_each("BaseConv Conv", _CONV),
    **{f"Conv{n}DTranspose": _CONV_TRANSPOSE for n in _ALL},
    "BaseConvTranspose": _CONV_TRANSPOSE,
    **_each("DepthwiseConv", _DEPTHWISE, (1, 2)),
    **_each("BaseDepthwiseConv DepthwiseConv", _DEPTHWISE),
    **_each("SeparableConv", _SEPARABLE, (1, 2)),
    **_each("BaseSeparableConv SeparableConv", _SEPARABLE),
    "EinsumDense": _EINSUM,
    **_each("Embedding ReversibleEmbedding", _EMBEDDING),
    # Attention; the kernels are those of layers inside.
    "MultiHeadAttention": replace(_attending("_{}_dense"), channels="heads"),
    "GroupedQueryAttention": replace(_attending("_{}_dense"), channels="shared_heads"),
    "Attention": LayerKind(attention=True, multiply_adds="attention", channels="attention"),
    "AdditiveAttention": LayerKind(attention=True, multiply_adds="additive", channels="attention"),
    # Loops and wrappers.
    "SimpleRNNCell": replace(_CELL, gates="c"),
    "GRUCell": replace(_CELL, gates="zrc"),
    "LSTMCell": replace(_CELL, gates="ifco"),
    "ConvLSTMCell": _CONV_CELL,
    **_each("SimpleRNN GRU LSTM", replace(_RECURRENT, channels="recurrent")),
    "RNN": _RECURRENT,
    **_each("ConvLSTM", _RECURRENT, _ALL),
    "Bidirectional": LayerKind(multiply_adds="bidirectional", channels="bidirectional"),
    "TimeDistributed": replace(_WRAPPER, channels="each_step"),
    "Wrapper": _WRAPPER,
    "SpectralNormalization": replace(_NORMALIZING, wrapper=True, opaque=True),
    # Activations.
    "Activation": LayerKind(activation="given", channels="activation"),
    "ReLU": LayerKind(activation="relu", channels="activation"),
    "LeakyReLU": LayerKind(activation="leaky_relu", channels="activation"),
    "ELU": LayerKind(activation="elu", channels="activation"),
    "PReLU": LayerKind(activation="prelu", multiply_adds="free", channels="prelu"),
    "Softmax": LayerKind(activation="softmax", channels="softmax"),
    # Normalizations.
    "BatchNormalization": replace(
        _NORMALIZING, normalization="batch", channels="batch_normalization", moments="standard"
    ),
    "BatchNormalizationBase": replace(_NORMALIZING, normalization="batch"),
    "LayerNormalization": replace(
        _NORMALIZING, normalization="layer", channels="over_axes", moments="standard"
    ),
    "GroupNormalization": replace(
        _NORMALIZING, normalization="group", channels="group_normalization", moments="standard"
    ),
    "RMSNormalization": replace(
        _NORMALIZING, normalization="rms", channels="over_axes", moments="rms"
    ),
    "UnitNormalization": replace(_NORMALIZING, normalization="unit", channels="over_axes"),
    # γ · x, and what leaves whole branches out in training: of Keras's ConvNeXt.
    "LayerScale": LayerKind(channels="layer_scale"),
    "StochasticDepth": LayerKind(channels="same"),
    # What joins signals. The last is of Keras's Inception-ResNet: x + scale · y.
    "Add": _ADD,
    "Subtract": LayerKind(merge="subtract", channels="subtract"),
    "Multiply": _MULTIPLY,
    "Average": LayerKind(merge="average", channels="average", moments="average"),
    "Maximum": LayerKind(merge="maximum", channels="maximum"),
    "Minimum": LayerKind(merge="minimum", channels="minimum"),
    "Concatenate": _CONCATENATE,
    "Dot": LayerKind(merge="dot"),
    "CustomScaleLayer": LayerKind(merge="add", channels="scaled_sum"),
    # Dropout, noise and pooling.
    "Dropout": _DROPOUT,
    **_each("SpatialDropout", _DROPOUT, _ALL),
    **_each("AlphaDropout GaussianDropout", replace(_POOL, channels="same")),
    "GaussianNoise": LayerKind(channels="same", moments="noise"),
    "ActivityRegularization": replace(_RESHAPING, channels="same"),
    **_each("MaxPooling", replace(_POOL, moments="max_pool"), _ALL),
    **_each("AveragePooling", replace(_POOL, moments="average_pool"), _ALL),
    **_each("GlobalMaxPooling", _POOL, _ALL),
    **_each("GlobalAveragePooling", replace(_POOL, moments="global_average"), _ALL),
    **_each("AdaptiveMaxPooling AdaptiveAveragePooling", _POOL, _ALL),
    # Shapes.
    "Reshape": replace(_CARRYING, channels="reshape"),
    "Permute": replace(_CARRYING, channels="moving"),
    "RepeatVector": replace(_RESHAPING, channels="repeating"),
    "Flatten": replace(_CARRYING, channels="flatten"),
    "Identity": replace(_CARRYING, channels="same"),
    **_each("UpSampling Cropping", replace(_RESHAPING, channels="pooling"), _ALL),
    **_each("ZeroPadding", LayerKind(channels="zero_padding", moments="pad"), _ALL),
    **_each("Masking InputLayer", LayerKind(moments="same")),
    "Lambda": LayerKind(own_code=True),
    # What data pass before a network.
    "Rescaling": LayerKind(preprocessing="rescaling", channels="rescaling", moments="rescale"),
    "Normalization": replace(_NORMALIZING, preprocessing="normalization", channels="standardizing"),
    **_each("TextVectorization StringLookup IntegerLookup IndexLookup Hashing", _LOOKUP),
    **_each("HashedCrossing Discretization CategoryEncoding", _LOOKUP),
    **_each(
        "BaseImagePreprocessingLayer MelSpectrogram STFTSpectrogram Pipeline",
        LayerKind(preprocessing="other"),
    ),
    # Models.
    "Functional": LayerKind(model="functional"),
    "Sequential": LayerKind(model="sequential"),
}
# Where a class of tf_keras is another thing than that of its name in Keras 3.
_LEGACY = _LAYERS | {"Bidirectional": _WRAPPER}

_EXPERTS = Axes("eio")
_KERAS_HUB: dict[str, LayerKind] = {
    "PositionEmbedding": LayerKind(
        kernels=_kernels(embeddings=Axes("vo")),
        positions=True,
        multiply_adds="free",
        channels="places",
    ),
    "TokenAndPositionEmbedding": LayerKind(channels="words_and_places"),
    "ViTPatchingAndEmbedding": LayerKind(multiply_adds="free"),  # a token, beside layers in it
    "ReversibleEmbedding": _EMBEDDING,
    "DropPath": LayerKind(keeps_mean=True),
    # Whole blocks of transformers, and an encoder of many.
    **_each(
        "TransformerEncoder TransformerDecoder WhisperEncoder WhisperDecoder "
        "LlamaTransformerDecoder MistralTransformerDecoder QwenTransformerDecoder "
        "Qwen3TransformerDecoder Phi3Decoder GPTNeoXDecoder BloomDecoder CLIPEncoderLayer "
        "SigLIPEncoderLayer",
        LayerKind(width="intermediate_dim", channels="feed_forward"),
    ),
    "ViTEncoder": LayerKind(width="mlp_dim", channels="feed_forward"),
    # Einsums, each of all tokens with all experts. Qwen's gate is two matrices side by side.
    "MixtralMoeExperts": LayerKind(
        kernels=_kernels(
            expert_feedforward_gate_dense=_EXPERTS._replace(inside="activation"),
            expert_feedforward_intermediate_dense=_EXPERTS._replace(inside="product"),
            expert_feedforward_output_dense=_EXPERTS,
        ),
        multiply_adds="experts",
    ),
    **_each(
        "QwenMoeExperts Qwen3MoeExperts Qwen3_5MoeExperts",
        LayerKind(
            kernels=_kernels(
                expert_feedforward_gate_dense=_EXPERTS._replace(inside="activation"),
                expert_feedforward_output_dense=_EXPERTS,
            ),
            multiply_adds="experts",
        ),
    ),
    **_each(
        "LlamaAttention CachedMistralAttention QwenAttention Qwen3Attention Qwen3MoeAttention "
        "BloomAttention",
        _attending("_{}_dense"),
    ),
    **_each(
        "CachedMixtralAttention CachedGemmaAttention CachedGemma3Attention QwenMoeAttention "
        "Phi3Attention FalconAttention",
        _attending("{}_dense"),
    ),
    "T5MultiHeadAttention": replace(
        # What it looks up is a bias for each distance.
        _attending("{}_projector"),
        kernels=_kernels(embeddings=Axes("vo")),
    ),
    "SegFormerMultiheadAttention": _attending("{}", "q", "k", "v"),
}

# Of keras.ops by the names of their classes, and of TensorFlow in tf_keras's graphs, in snake case.
_OPERATIONS: dict[str, LayerKind] = {
    **{
        name: LayerKind(activation=name, channels="activation")
        for name in (
            *("relu", "relu6", "elu", "selu", "celu", "gelu", "silu", "swish", "mish", "softplus"),
            *("softsign", "sigmoid", "hard_sigmoid", "hard_silu", "log_sigmoid", "tanh"),
            *("hard_tanh", "tanh_shrink", "soft_shrink", "squareplus", "leaky_relu"),
        )
    },
    **{name: LayerKind(activation=name, channels="softmax") for name in ("softmax", "log_softmax")},
    **_each(
        "absolute abs negative square sqrt exp expm1 log1p sin cos atan arctan erf sign clip cast",
        LayerKind(channels="activation"),
    ),
    **_each("mean max min amax amin sum", LayerKind(channels="reduction")),
    "power": LayerKind(channels="power"),
    **_each(
        "equal not_equal greater greater_equal less less_equal "
        "logical_and logical_or logical_not logical_xor any all isfinite isnan",
        LayerKind(channels="deciding"),
    ),
    "add": _ADD,
    "subtract": LayerKind(merge="subtract", channels="subtract"),
    "multiply": _MULTIPLY,
    **_each("divide true_divide", LayerKind(merge="divide", channels="divide")),
    "maximum": LayerKind(merge="maximum", channels="maximum"),
    "minimum": LayerKind(merge="minimum", channels="minimum"),
    "concatenate": _CONCATENATE,
    **_each("dot matmul einsum tensordot inner vdot", LayerKind(merge="dot")),
    **_each("zeros_like ones_like full_like", LayerKind(positions=True)),
    "dot_product_attention": LayerKind(attention=True, merge="dot"),
    "reshape": replace(_CARRYING, channels="reshape"),
    "squeeze": LayerKind(channels="flatten", carries=True),
    "get_item": LayerKind(channels="slicing", carries=True),
    "transpose": replace(_CARRYING, channels="moving"),
    **_each("swapaxes moveaxis expand_dims", LayerKind(channels="moving", carries=True)),
    "identity": replace(_CARRYING, channels="same"),
    **_each("max_pool average_pool", LayerKind(keeps_mean=True)),
}
_HOMES: dict[str, dict[str, LayerKind]] = {
    "keras": _LAYERS,
    "tf_keras": _LEGACY,
    "keras_hub": _KERAS_HUB,
    "tensorflow_model_optimization": {
        "PruneLowMagnitude": LayerKind(wrapper=True, opaque=True, masks=True)
    },
}

_NAMED = [
    pair
    for kernels in (_USUAL, *(row.kernels for rows in _HOMES.values() for row in rows.values()))
    for pair in kernels.items()
]
KERNEL_NAMES = tuple(dict.fromkeys(name for name, _ in _NAMED))
"""What kernels are called, where a weight is met without its layer."""
PRUNABLE_NAMES = tuple(dict.fromkeys(name for name, axes in _NAMED if axes.prunable))
"""What those are called that pruning may set to zero, in some layer."""
