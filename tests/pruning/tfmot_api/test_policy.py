"""Pruning policies: one table of architectures, decided by ours in Keras 3, TFMOT's in tf_keras."""

import doctest
import re

import keras
import pytest

import tfinit
from tfinit.errors import InputError
from tfinit.pruning.tfmot_api import policy, prunable_layer
from tfinit.pruning.tfmot_api.policy import PruneForLatencyOnXNNPack, PruningPolicy
from tfinit.pruning.tfmot_api.prunable_layer import PrunableLayer
from tfinit.variables import prunable_weights

POLICY = PruneForLatencyOnXNNPack()


def start(k, x, **changed):
    options = {"padding": "valid", "strides": 2, "use_bias": False, "name": "start"} | changed
    padding, size = options.pop("before", 1), options.pop("kernel_size", 3)
    x = k.layers.ZeroPadding2D(padding)(x)
    return k.layers.Conv2D(8, size, **options)(x)


def model(middle=lambda k, x: x, end=None, channels=3, **changed):
    """An architecture from its parts: a function from either Keras to a model."""

    def build(k):
        inputs = k.layers.Input((16, 16, channels))
        x = middle(k, start(k, inputs, **changed))
        x = k.layers.GlobalAveragePooling2D(keepdims=True)(x) if end is None else end(k, x)
        return k.Model(inputs, x)

    return build


def one(name, *args, **kwargs):
    """Only this layer between start and end."""
    return model(lambda k, x: getattr(k.layers, name)(*args, name="it", **kwargs)(x))


def depthwise(size, padding, strides, before=None, **kwargs):
    def middle(k, x):
        if before is not None:
            x = k.layers.ZeroPadding2D(before)(x)
        return k.layers.DepthwiseConv2D(size, strides, padding, name="it", **kwargs)(x)

    return model(middle)


def block(k, x, filters, strides, activation):
    y = k.layers.Conv2D(16, 1, use_bias=False)(x)
    y = activation(k)(k.layers.BatchNormalization()(y))
    y = k.layers.ZeroPadding2D(1)(y)
    y = k.layers.DepthwiseConv2D(3, strides, "valid", use_bias=False)(y)
    y = activation(k)(k.layers.BatchNormalization()(y))
    gate = k.layers.GlobalAveragePooling2D(keepdims=True)(y)
    gate = k.layers.Conv2D(4, 1, activation="relu")(gate)
    gate = k.layers.Activation("sigmoid")(k.layers.Conv2D(16, 1)(gate))
    y = k.layers.Multiply()([y, gate])
    y = k.layers.BatchNormalization()(k.layers.Conv2D(filters, 1, use_bias=False)(y))
    return k.layers.Add()([x, y]) if strides == 1 else y


def mobile(activation, head=True):
    def middle(k, x):
        x = activation(k)(k.layers.BatchNormalization()(x))
        for filters, strides in [(8, 1), (12, 2), (12, 1)]:
            x = block(k, x, filters, strides, activation)
        return x

    def end(k, x):
        x = k.layers.GlobalAveragePooling2D()(x)
        return k.layers.Dense(10, "softmax")(x) if head else x

    return model(middle, end)


def sequential(k):
    return k.Sequential(
        [
            k.layers.Input((16, 16, 3)),
            k.layers.ZeroPadding2D(1),
            k.layers.Conv2D(8, 3, 2),
            k.layers.ReLU(6.0),
            k.layers.Conv2D(12, 1),
            k.layers.GlobalAveragePooling2D(keepdims=True),
            k.layers.Flatten(),
            k.layers.Dense(3),
        ]
    )


def no_end(k):
    inputs = k.layers.Input((16, 16, 3))
    x = k.layers.MaxPooling2D(name="it")(start(k, inputs))
    return k.Model(inputs, k.layers.Flatten()(x))


def one_output_without_end(k):
    inputs = k.layers.Input((16, 16, 3))
    x = k.layers.Conv2D(4, 1)(start(k, inputs))
    return k.Model(inputs, [k.layers.GlobalAveragePooling2D()(x), x])


def two_inputs(k, second_start=True):
    one, two = k.layers.Input((16, 16, 3)), k.layers.Input((16, 16, 3))
    x = start(k, one)
    y = start(k, two, name="second") if second_start else k.layers.Conv2D(8, 1, 2)(two)
    return k.Model([one, two], k.layers.GlobalAveragePooling2D()(k.layers.Add()([x, y])))


def operators(k, x):
    return (x + 1.0) * 2.0 - k.layers.Conv2D(8, 1)(x)


def nested(kind, inner):
    """`inner(k)` are the layers of a nested model of a kind, between start and end."""

    def middle(k, x):
        layers = inner(k)
        if kind == "Sequential":
            return k.Sequential([k.layers.Input(x.shape[1:]), *layers], name="it")(x)
        y = inputs = k.layers.Input(x.shape[1:])
        for layer in layers:
            y = layer(y)
        return k.Model(inputs, y, name="it")(x)

    return middle


def good(k):
    return [k.layers.Conv2D(8, 1), k.layers.ReLU()]


def bad(k):
    return [k.layers.Conv2D(8, 1), k.layers.Conv2D(8, 3, name="inner")]


def nested_whole(kind):
    """A backbone with the start, and a head outside of it."""

    def build(k):
        inputs = k.layers.Input((16, 16, 3))

        def layers(k):
            return [k.layers.ZeroPadding2D(1), k.layers.Conv2D(8, 3, 2), *good(k)]

        x = nested(kind, layers)(k, inputs)
        return k.Model(inputs, k.layers.GlobalAveragePooling2D()(k.layers.Conv2D(8, 1)(x)))

    return build


def twice_nested(k, x):
    inner = k.Sequential([k.layers.Input((8, 8, 8)), *good(k)])
    return k.Sequential([k.layers.Input((8, 8, 8)), inner])(x)


def nested_end(k, x):
    layers = [k.layers.Input((8, 8, 8)), k.layers.GlobalAveragePooling2D(), k.layers.Dense(3)]
    return k.Sequential(layers)(x)


def subclassed(k):
    class Own(k.Model):
        def __init__(self):
            super().__init__()
            self.layer = k.layers.Conv2D(4, 1)

        def call(self, x):
            return self.layer(x)

    return Own()


def unbuilt(k):
    return k.Sequential([k.layers.Conv2D(4, 1)])


START, END, OTHER = "meets no layer where", "without a GlobalAveragePooling2D", "'it' "
# Architecture → None where it is supported, or what the message says.
ARCHITECTURES = {
    "mobile": (mobile(lambda k: k.layers.ReLU()), None),
    "mobile relu6": (mobile(lambda k: k.layers.ReLU(6.0)), None),
    "mobile without head": (mobile(lambda k: k.layers.ReLU(), head=False), None),
    "mobile swish": (mobile(lambda k: k.layers.Activation("swish")), r"\(Activation\)"),
    "sequential": (sequential, None),
    "nothing between": (model(), None),
    "two inputs": (two_inputs, None),
    "second input without start": (lambda k: two_inputs(k, False), START),
    "start same": (model(padding="same"), START),
    "start stride 1": (model(strides=1), START),
    "start 5x5": (model(kernel_size=5, before=2), START),
    "start padding 2": (model(before=2), START),
    "start without padding": (model(before=0), START),
    "start of 4 channels": (model(channels=4), START),
    "no end": (no_end, END),
    "max pooling end": (model(end=lambda k, x: k.layers.GlobalMaxPooling2D()(x)), END),
    "one output without end": (one_output_without_end, END),
    "operators": (model(operators), None),
    "division": (model(lambda k, x: x / 2.0), r"\((True)?Div(ide)?\)|TFOpLambda"),
    "conv 1x1": (one("Conv2D", 4, 1, activation="swish"), None),
    "conv 1x1 stride 2": (one("Conv2D", 4, 1, strides=2), OTHER),
    "conv 1x1 groups": (one("Conv2D", 4, 1, groups=2), OTHER),
    "conv 3x3": (one("Conv2D", 4, 3), OTHER),
    "separable": (one("SeparableConv2D", 4, 3), OTHER),
    "depthwise same": (depthwise(3, "same", 1), None),
    "depthwise same stride 2": (depthwise(3, "same", 2), OTHER),
    "depthwise valid": (depthwise(3, "valid", 2, 1), None),
    "depthwise valid unpadded": (depthwise(3, "valid", 2), OTHER),
    "depthwise valid padding 2": (depthwise(3, "valid", 2, 2), OTHER),
    "depthwise 5x5 same": (depthwise(5, "same", 1), None),
    "depthwise 5x5 valid": (depthwise(5, "valid", 2, 2), None),
    "depthwise 5x5 valid stride 3": (depthwise(5, "valid", 3, 2), OTHER),
    "depthwise 7x7": (depthwise(7, "same", 1), OTHER),
    "depthwise 3x5": (depthwise((3, 5), "same", 1), OTHER),
    "depthwise multiplier": (depthwise(3, "same", 1, depth_multiplier=2), OTHER),
    "depthwise dilated": (depthwise(3, "same", 1, dilation_rate=2), OTHER),
    "norm": (one("BatchNormalization"), None),
    "norm of rows": (one("BatchNormalization", axis=1), OTHER),
    "layer norm": (one("LayerNormalization"), OTHER),
    "elu": (one("ELU"), None),
    "leaky relu": (one("LeakyReLU"), None),
    "prelu": (one("PReLU"), OTHER),
    "activation elu": (one("Activation", "elu"), None),
    "activation tanh": (one("Activation", "tanh"), OTHER),
    "dropout": (one("Dropout", 0.1), None),
    "spatial dropout": (one("SpatialDropout2D", 0.1), None),
    "gaussian dropout": (one("GaussianDropout", 0.1), OTHER),
    "bilinear": (one("UpSampling2D", interpolation="bilinear"), None),
    "nearest": (one("UpSampling2D"), OTHER),
    "max pooling": (one("MaxPooling2D"), OTHER),
    "rescaling": (one("Rescaling", 0.1), OTHER),
    "subtract layer": (
        model(lambda k, x: k.layers.Subtract(name="it")([x, k.layers.ReLU()(x)])),
        OTHER,
    ),
    "concatenate": (model(lambda k, x: k.layers.Concatenate(name="it")([x, x])), OTHER),
    "gate without keepdims": (
        model(
            lambda k, x: k.layers.Multiply()(
                [
                    x,
                    k.layers.Reshape((1, 1, 8), name="reshape")(
                        k.layers.GlobalAveragePooling2D(name="it")(x)
                    ),
                ]
            )
        ),
        "'it' |'reshape' ",
    ),
    "nested sequential": (model(nested("Sequential", good)), None),
    "nested sequential, unsupported": (model(nested("Sequential", bad)), "'inner' "),
    "nested functional": (model(nested("Model", good)), OTHER),
    "nested sequential backbone": (nested_whole("Sequential"), None),
    "nested functional backbone": (nested_whole("Model"), START),
    "twice nested": (model(twice_nested), None),
    "nested end": (model(end=nested_end), END),
    "subclassed": (subclassed, "subclassed"),
    "unbuilt": (unbuilt, "not built"),
}


# TFMOT refuses them, as it opens no functional model and finds no end inside a model.
OPENED = ("nested functional", "nested functional backbone", "nested end")


@pytest.mark.backends
@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name not in OPENED])
def test_decision(name):
    build, message = ARCHITECTURES[name]
    if message is None:
        POLICY.ensure_model_supports_pruning(build(keras))
    else:
        with pytest.raises(InputError, match=message):
            POLICY.ensure_model_supports_pruning(build(keras))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_tfmot_decides_alike(name):
    import tf_keras

    from tfinit.pruning.tfmot_api.tfmot import load_tfmot

    build, message = ARCHITECTURES[name]
    theirs = load_tfmot().sparsity.keras.PruneForLatencyOnXNNPack()
    legacy = build(tf_keras)
    if message is None:
        theirs.ensure_model_supports_pruning(legacy)
    else:
        with pytest.raises(ValueError):
            theirs.ensure_model_supports_pruning(legacy)


def test_the_same_layers_are_pruned():
    import tf_keras

    from tfinit.pruning.tfmot_api.tfmot import load_tfmot

    theirs = load_tfmot().sparsity.keras.PruneForLatencyOnXNNPack()
    build = ARCHITECTURES["mobile"][0]
    decisions = [
        [(type(layer).__name__, own.allow_pruning(layer)) for layer in build(k).layers]
        for k, own in [(tf_keras, theirs), (keras, POLICY)]
    ]
    assert decisions[0] == decisions[1]
    # 4 in each of 3 blocks.
    assert sum(allowed for _, allowed in decisions[1]) == 12


@pytest.mark.backends
def test_after_a_nested_sequential_the_check_goes_on():
    """TFMOT stops there, and accepts."""

    def middle(k, x):
        return k.layers.Conv2D(8, 3, name="after")(nested("Sequential", good)(k, x))

    with pytest.raises(InputError, match="'after'"):
        POLICY.ensure_model_supports_pruning(model(middle)(keras))


@pytest.mark.backends
@pytest.mark.parametrize("name", OPENED)
def test_nested_models_are_opened(name):
    POLICY.ensure_model_supports_pruning(ARCHITECTURES[name][0](keras))


@pytest.mark.backends
def test_what_is_in_a_nested_functional_model_is_judged():
    with pytest.raises(InputError, match="'inner'"):
        POLICY.ensure_model_supports_pruning(model(nested("Model", bad))(keras))


class Opaque(keras.layers.Layer):
    """Its call takes numbers only."""

    def build(self, shape):
        self.inner = keras.layers.Conv2D(8, 1)
        self.inner.build(shape)

    def call(self, x):
        return self.inner(keras.ops.convert_to_numpy(x))

    def compute_output_shape(self, shape):
        return shape


@pytest.mark.backends
def test_a_layer_that_cannot_be_traced_is_refused():
    with pytest.raises(InputError, match="has a layer, 'opaque', whose layers have no order"):
        POLICY.ensure_model_supports_pruning(model(lambda k, x: Opaque(name="opaque")(x))(keras))


@pytest.mark.backends
def test_a_transposed_convolution_is_no_convolution():
    """In tf_keras it inherits from Conv2D, so TFMOT accepts it; XNNPACK has no sparse one."""
    assert not POLICY.allow_pruning(keras.layers.Conv2DTranspose(4, 1))
    with pytest.raises(InputError, match="'it'"):
        POLICY.ensure_model_supports_pruning(one("Conv2DTranspose", 4, 1)(keras))


@pytest.mark.backends
def test_the_message_names_the_layer_and_the_cure():
    with pytest.raises(InputError) as error:
        POLICY.ensure_model_supports_pruning(one("Conv2D", 4, 3)(keras))
    assert re.search(
        r"Layer 'it' \(Conv2D\) of `model` '\w+' is not supported by PruneForLatencyOnXNNPack: "
        r"a Conv2D must be 1×1 with strides=1, no dilation and groups=1\. "
        r"Replace it, or prune without this policy\.",
        str(error.value),
    )


@pytest.mark.backends
def test_a_layer_used_outside_the_model_is_judged_inside_it():
    network = sequential(keras)
    keras.layers.Conv2D(4, 3)(network.layers[2].output)
    POLICY.ensure_model_supports_pruning(network)


@pytest.mark.backends
def test_wrong_objects():
    tensor = keras.KerasTensor((None, 3))
    for call in (POLICY.allow_pruning, POLICY.ensure_model_supports_pruning):
        with pytest.raises(InputError, match="not its output"):
            call(tensor)


def test_tf_keras_is_sent_to_tfmot():
    import tf_keras

    with pytest.raises(InputError, match=r"Keras 3 layer.*tfmot\.sparsity"):
        POLICY.allow_pruning(tf_keras.layers.Conv2D(4, 1))
    with pytest.raises(InputError, match=r"Keras 3 model.*tfmot\.sparsity"):
        POLICY.ensure_model_supports_pruning(sequential(tf_keras))


@pytest.mark.backends
def test_policies_are_abstract():
    class Half(PruningPolicy):
        def allow_pruning(self, layer):
            return True

    with pytest.raises(TypeError, match="ensure_model_supports_pruning"):
        Half()


def check_prunable_layer(k):
    class Own(k.layers.Dense, PrunableLayer):
        def get_prunable_weights(self):
            return [self.bias]

    layer = Own(3, name="own")
    built = k.Sequential([k.layers.Input((2,)), layer])
    assert isinstance(layer, PrunableLayer)
    assert list(prunable_weights(built)) == ["own/bias"]

    class Forgetful(k.layers.Dense, PrunableLayer):
        pass

    with pytest.raises(TypeError, match="get_prunable_weights"):
        Forgetful(3)


@pytest.mark.backends
def test_prunable_layer():
    check_prunable_layer(keras)


def test_prunable_layer_of_tf_keras():
    import tf_keras

    check_prunable_layer(tf_keras)


@pytest.mark.backends
@pytest.mark.parametrize("module", [policy, prunable_layer])
def test_the_examples_run(module):
    failed, tried = doctest.testmod(module, extraglobs={"keras": keras, "tfinit": tfinit})
    assert tried
    assert not failed
