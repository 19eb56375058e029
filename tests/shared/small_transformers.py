"""Transformers of a few units, of Keras's layers: encoders, decoders, with and without norms."""

import keras
from keras import layers as L

WIDTH, LENGTH, WORDS = 16, 6, 20


def _embedded(tokens, name):
    positions = 0 * tokens + keras.ops.arange(LENGTH)
    places = L.Embedding(LENGTH, WIDTH, name=f"{name}_places")(positions)
    return L.Add()([L.Embedding(WORDS, WIDTH, name=f"{name}_words")(tokens), places])


def blocks(x, count, norm="post", memory=None, name="enc", heads=2):
    """Layers of attention and feed-forward; `norm` is "pre", "post" or ""."""

    def branch(x, function):
        y = L.LayerNormalization()(x) if norm == "pre" else x
        x = L.Add()([x, function(y)])
        return L.LayerNormalization()(x) if norm == "post" else x

    def attention(title, *read):
        made = L.MultiHeadAttention(heads, WIDTH // heads, name=title)
        return lambda y: made(y, *(read or (y,)))

    for n in range(count):
        x = branch(x, attention(f"{name}{n}_self"))
        if memory is not None:
            x = branch(x, attention(f"{name}{n}_cross", memory))
        up = L.Dense(4 * WIDTH, "relu", name=f"{name}{n}_up")
        down = L.Dense(WIDTH, name=f"{name}{n}_down")
        x = branch(x, lambda y, up=up, down=down: down(up(y)))
    return x


def encoder(count=2, norm="post", heads=2):
    """Words to 3 classes."""
    tokens = keras.Input((LENGTH,), dtype="int32")
    x = blocks(_embedded(tokens, "enc"), count, norm, heads=heads)
    return keras.Model(tokens, L.Dense(3, name="head")(L.GlobalAveragePooling1D()(x)))


def translator(encoders=3, decoders=2, norm="post"):
    """An encoder, and a decoder that attends to it."""
    source, target = (keras.Input((LENGTH,), dtype="int32") for _ in range(2))
    memory = blocks(_embedded(source, "enc"), encoders, norm)
    x = blocks(_embedded(target, "dec"), decoders, norm, memory, "dec")
    return keras.Model([source, target], L.Dense(WORDS, name="head")(x))
