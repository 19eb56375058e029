"""Seven small architectures of Keras's own layers, as users write them: nothing of tfinit here.

Each is a function that builds a model with random weights, not compiled.
"""

import keras
from keras import layers, ops

WIDTH, HEADS, WORDS, STEPS = 64, 4, 61, 12


def _mlp(x, hidden=4 * WIDTH):
    width = x.shape[-1]
    return layers.Dense(width)(layers.Dense(hidden, activation="gelu")(x))


def vit():
    """A vision transformer: patches by a convolution, places by a depthwise one, pre-norm."""
    image = keras.Input((32, 32, 3))
    x = layers.Conv2D(WIDTH, 8, strides=8, name="patches")(image)
    x = layers.Add()([x, layers.DepthwiseConv2D(3, padding="same", name="places")(x)])
    x = layers.Reshape((-1, WIDTH))(x)
    for _ in range(2):
        y = layers.LayerNormalization(epsilon=1e-6)(x)
        y = layers.MultiHeadAttention(HEADS, WIDTH // HEADS, dropout=0.1)(y, y)
        x = layers.Add()([x, y])
        y = layers.LayerNormalization(epsilon=1e-6)(x)
        x = layers.Add()([x, layers.Dropout(0.1)(_mlp(y))])
    x = layers.GlobalAveragePooling1D()(layers.LayerNormalization(epsilon=1e-6)(x))
    return keras.Model(image, layers.Dense(10)(x), name="vit")


def _places(tokens):
    """0, 1, 2 … for each token."""
    return ops.cumsum(ops.ones_like(tokens), axis=1) - 1


def gpt():
    """A decoder: causal attention, pre-norm, logits by the embedding's own matrix."""
    tokens = keras.Input((STEPS,), dtype="int32")
    words = layers.ReversibleEmbedding(WORDS, WIDTH, name="words")
    x = words(tokens) + layers.Embedding(STEPS, WIDTH, name="places")(_places(tokens))
    for _ in range(2):
        y = layers.LayerNormalization()(x)
        x = x + layers.MultiHeadAttention(HEADS, WIDTH // HEADS)(y, y, use_causal_mask=True)
        x = x + _mlp(layers.LayerNormalization()(x))
    logits = words(layers.LayerNormalization()(x), reverse=True)
    return keras.Model(tokens, logits, name="gpt")


def bert():
    """An encoder: words, places and segments are added, post-norm, a head on the first word."""
    tokens = keras.Input((STEPS,), dtype="int32", name="tokens")
    segments = keras.Input((STEPS,), dtype="int32", name="segments")
    x = layers.Embedding(WORDS, WIDTH, name="words")(tokens)
    x = x + layers.Embedding(STEPS, WIDTH, name="places")(_places(tokens))
    x = x + layers.Embedding(2, WIDTH, name="kinds")(segments)
    x = layers.Dropout(0.1)(layers.LayerNormalization()(x))
    for _ in range(2):
        y = layers.MultiHeadAttention(HEADS, WIDTH // HEADS, dropout=0.1)(x, x)
        x = layers.LayerNormalization()(x + y)
        x = layers.LayerNormalization()(x + _mlp(x))
    first = layers.Dense(WIDTH, activation="tanh", name="pooled")(x[:, 0])
    outputs = [layers.Dense(2)(first), layers.Dense(WORDS)(x)]
    return keras.Model([tokens, segments], outputs, name="bert")


def unet():
    """Down, and up again by transposed convolutions, with what was left on the way beside it."""

    def block(x, filters):
        for _ in range(2):
            x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
            x = layers.Activation("relu")(layers.BatchNormalization()(x))
        return x

    image = keras.Input((32, 32, 3))
    x, skips = image, []
    for filters in (16, 32):
        skips.append(block(x, filters))
        x = layers.MaxPooling2D()(skips[-1])
    x = block(x, 64)
    for filters, skip in ((32, skips[1]), (16, skips[0])):
        x = layers.Conv2DTranspose(filters, 3, strides=2, padding="same")(x)
        x = block(layers.Concatenate()([x, skip]), filters)
    return keras.Model(image, layers.Conv2D(1, 1, activation="sigmoid")(x), name="unet")


def seq2seq():
    """An LSTM that reads, and one that writes from the states in which the first one ends."""
    read = keras.Input((STEPS,), dtype="int32", name="read")
    written = keras.Input((STEPS,), dtype="int32", name="written")
    words = layers.Embedding(WORDS, WIDTH, mask_zero=True)(read)
    _, h, c = layers.LSTM(WIDTH, return_state=True, name="encoder")(words)
    x = layers.Embedding(WORDS, WIDTH, mask_zero=True)(written)
    x = layers.LSTM(WIDTH, return_sequences=True, name="decoder")(x, initial_state=[h, c])
    logits = layers.Dense(WORDS, name="logits")(x)
    return keras.Model([read, written], logits, name="seq2seq")


def efficientdet():
    """A neck of EfficientDet: maps of three sizes, merged up and down; heads that they share."""

    def conv(x, filters, size=3, strides=1):
        x = layers.Conv2D(filters, size, strides=strides, padding="same", use_bias=False)(x)
        return layers.Activation("swish")(layers.BatchNormalization()(x))

    def merged(*maps):
        x = layers.Activation("swish")(layers.Add()(maps))
        x = layers.SeparableConv2D(WIDTH, 3, padding="same")(x)
        return layers.BatchNormalization()(x)

    image = keras.Input((64, 64, 3))
    x, maps = conv(image, 16, strides=2), []
    for filters in (24, 40, 64):
        x = conv(x, filters, strides=2)
        maps.append(layers.BatchNormalization()(layers.Conv2D(WIDTH, 1)(x)))
    for _ in range(2):
        large, middle, small = maps
        between = merged(middle, layers.UpSampling2D()(small))
        top = merged(large, layers.UpSampling2D()(between))
        middle = merged(middle, between, layers.MaxPooling2D()(top))
        maps = [top, middle, merged(small, layers.MaxPooling2D()(middle))]
    outputs = []
    for name, channels in (("boxes", 9 * 4), ("kinds", 9 * 5)):
        towers = [layers.SeparableConv2D(WIDTH, 3, padding="same") for _ in range(2)]
        last = layers.SeparableConv2D(channels, 3, padding="same", name=name)
        parts = []
        for x in maps:
            for tower in towers:  # the kernels are shared by all sizes, the normalizations are not
                x = layers.Activation("swish")(layers.BatchNormalization()(tower(x)))
            parts.append(layers.Reshape((-1, channels // 9))(last(x)))
        outputs.append(layers.Concatenate(axis=1)(parts))
    return keras.Model(image, outputs, name="efficientdet")


def mixer():
    """An MLP-Mixer: Dense layers over places and over channels in turn."""
    image = keras.Input((32, 32, 3))
    x = layers.Reshape((16, WIDTH))(layers.Conv2D(WIDTH, 8, strides=8, name="patches")(image))
    for _ in range(2):
        y = layers.Permute((2, 1))(layers.LayerNormalization()(x))
        x = x + layers.Permute((2, 1))(_mlp(y, 32))
        x = x + _mlp(layers.LayerNormalization()(x))
    x = layers.GlobalAveragePooling1D()(layers.LayerNormalization()(x))
    return keras.Model(image, layers.Dense(10)(x), name="mixer")


ARCHITECTURES = {f.__name__: f for f in (vit, gpt, bert, unet, seq2seq, efficientdet, mixer)}
