"""Architectures of the examples about text."""

import keras
import numpy as np
from keras import layers as L
from keras import ops

from ..data import random, tokens

LOGITS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


class Places(L.Layer):
    """Embeddings of ids and of their places, added."""

    def __init__(self, length, vocabulary, width):
        super().__init__()
        self.ids, self.places = L.Embedding(vocabulary, width), L.Embedding(length, width)
        self.length = length

    def build(self, shape):
        self.ids.build(shape)
        self.places.build((self.length,))

    def call(self, x):
        return self.ids(x) + self.places(ops.arange(self.length))


class Block(L.Layer):
    """A transformer block with its normalizations behind the sums."""

    def __init__(self, width, heads, hidden, rate=0.1, causal=False):
        super().__init__()
        self.attention = L.MultiHeadAttention(heads, width)
        self.wide = keras.Sequential([L.Dense(hidden, "relu"), L.Dense(width)])
        self.first, self.second = (L.LayerNormalization(epsilon=1e-6) for _ in range(2))
        self.drop, self.drop_again = L.Dropout(rate), L.Dropout(rate)
        self.causal = causal

    def build(self, shape):
        self.attention.build(shape, shape)
        for part in (self.wide, self.first, self.second):
            part.build(shape)

    def call(self, x):
        made = self.drop(self.attention(x, x, use_causal_mask=self.causal))
        x = self.first(x + made)
        return self.second(x + self.drop_again(self.wide(x)))


def classification_with_a_transformer():
    keras.utils.set_random_seed(3)
    inputs = keras.Input((16,), dtype="int32")
    x = Block(32, 2, 32)(Places(16, 50, 32)(inputs))
    x = L.Dropout(0.1)(L.GlobalAveragePooling1D()(x))
    x = L.Dropout(0.1)(L.Dense(20, "relu")(x))
    model = keras.Model(inputs, L.Dense(2, "softmax")(x))
    model.compile("adam", "sparse_categorical_crossentropy")
    return model, *tokens()


def bidirectional_lstm():
    keras.utils.set_random_seed(3)
    inputs = keras.Input((None,), dtype="int32")
    x = L.Embedding(50, 32)(inputs)
    x = L.Bidirectional(L.LSTM(16, return_sequences=True))(x)
    x = L.Bidirectional(L.LSTM(16))(x)
    model = keras.Model(inputs, L.Dense(1, "sigmoid")(x))
    model.compile("adam", "binary_crossentropy")
    return model, *tokens()


def text_from_scratch():
    """Strided convolutions over embeddings."""
    keras.utils.set_random_seed(3)
    inputs = keras.Input((None,), dtype="int64")
    x = L.Dropout(0.5)(L.Embedding(50, 32)(inputs))
    x = L.Conv1D(32, 3, padding="same", activation="relu", strides=2)(x)
    x = L.Conv1D(32, 3, padding="same", activation="relu", strides=2)(x)
    x = L.Dropout(0.5)(L.Dense(32, "relu")(L.GlobalMaxPooling1D()(x)))
    model = keras.Model(inputs, L.Dense(1, "sigmoid", name="predictions")(x))
    model.compile("adam", "binary_crossentropy")
    return model, *tokens()


def frozen_vectors():
    """Word vectors from elsewhere, frozen."""
    keras.utils.set_random_seed(3)
    vectors = random(70).normal(0, 0.4, (50, 16))
    start = keras.initializers.Constant(vectors)
    inputs = keras.Input((None,), dtype="int32")
    x = L.Embedding(50, 16, embeddings_initializer=start, trainable=False)(inputs)
    x = L.Conv1D(32, 3, activation="relu")(x)
    x = L.Dense(32, "relu")(L.GlobalMaxPooling1D()(x))
    model = keras.Model(inputs, L.Dense(4, "softmax")(L.Dropout(0.5)(x)))
    model.compile("rmsprop", "sparse_categorical_crossentropy")
    return model, *tokens(classes=4)


def several_topics():
    """Bags of words, several topics each, sigmoids."""
    keras.utils.set_random_seed(3)
    x, y = tokens(rows=256, vocabulary=200, classes=4)
    bags = np.stack([np.bincount(row, minlength=200) for row in x]).astype("float32")
    both = np.maximum(np.eye(4)[y], np.eye(4)[x[:, 0] % 4]).astype("float32")
    layers = [L.Dense(64, "relu"), L.Dense(32, "relu"), L.Dense(4, "sigmoid")]
    model = keras.Sequential([keras.Input((200,)), *layers])
    model.compile("adam", "binary_crossentropy")
    return model, bags, both


def miniature_gpt():
    """The next word at each place; the second output, of vectors, has no loss."""
    keras.utils.set_random_seed(3)
    inputs = keras.Input((16,), dtype="int32")
    x = Block(32, 2, 32, causal=True)(Places(16, 50, 32)(inputs))
    model = keras.Model(inputs, [L.Dense(50)(x), x])
    model.compile("adam", loss=[LOGITS, None])
    ids = (np.arange(17)[None] * 3 + random(71).integers(0, 50, (128, 1))) % 50
    return model, ids[:, :-1].astype("int32"), ids[:, 1:].astype("int32")


def masked_words():
    """A BERT of one block: words that are masked, with weights for those alone (see the loss)."""
    keras.utils.set_random_seed(3)
    inputs = keras.Input((16,), dtype="int64")
    x = Places(16, 52, 32)(inputs)
    made = L.MultiHeadAttention(4, 8)(x, x, x)
    x = L.LayerNormalization(epsilon=1e-6)(x + L.Dropout(0.1)(made))
    wide = keras.Sequential([L.Dense(32, "relu"), L.Dense(32)])(x)
    x = L.LayerNormalization(epsilon=1e-6)(x + L.Dropout(0.1)(wide))
    model = keras.Model(inputs, L.Dense(52, "softmax")(x))
    loss = keras.losses.SparseCategoricalCrossentropy(ignore_class=-1)
    model.compile(keras.optimizers.Adam(1e-3), loss)
    ids = (np.arange(16)[None] * 3 + random(72).integers(0, 50, (128, 1))) % 50
    hidden = random(73).uniform(size=ids.shape) < 0.15
    return model, np.where(hidden, 51, ids), np.where(hidden, ids, -1)


def translation_by_characters():
    """Two LSTMs, the second of which begins with the states of the first; one-hot characters."""
    keras.utils.set_random_seed(3)
    given, told = keras.Input((None, 20)), keras.Input((None, 20))
    _, *states = L.LSTM(64, return_state=True)(given)
    x, *_ = L.LSTM(64, return_sequences=True, return_state=True)(told, initial_state=states)
    model = keras.Model([given, told], L.Dense(20, "softmax")(x))
    model.compile("rmsprop", "categorical_crossentropy")
    eye = np.eye(20, dtype="float32")
    ids = random(74).integers(1, 20, (128, 6))
    wanted = ids[:, ::-1]
    start = np.concatenate([np.zeros((128, 1), int), wanted[:, :-1]], 1)
    return model, [eye[ids], eye[start]], eye[wanted]


def translation_by_a_transformer():
    """An encoder and a decoder with causal and cross attention."""
    keras.utils.set_random_seed(3)
    given, told = keras.Input((8,), dtype="int64"), keras.Input((8,), dtype="int64")
    encoded = Block(32, 2, 64)(Places(8, 30, 32)(given))
    x = Places(8, 30, 32)(told)
    x = L.LayerNormalization()(x + L.MultiHeadAttention(2, 32)(x, x, use_causal_mask=True))
    x = L.LayerNormalization()(x + L.MultiHeadAttention(2, 32)(x, encoded))
    x = L.LayerNormalization()(x + L.Dense(32)(L.Dense(64, "relu")(x)))
    model = keras.Model([given, told], L.Dense(30, "softmax")(L.Dropout(0.5)(x)))
    model.compile("rmsprop", LOGITS.__class__(ignore_class=0))
    ids = random(75).integers(1, 30, (128, 8))
    wanted = ids[:, ::-1]
    start = np.concatenate([np.ones((128, 1), int), wanted[:, :-1]], 1)
    return model, [ids, start], wanted


def addition_of_numbers():
    """Digits in, digits out: LSTM, RepeatVector, LSTM."""
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [
            keras.Input((5, 12)),
            L.LSTM(64),
            L.RepeatVector(3),
            L.LSTM(64, return_sequences=True),
            L.Dense(12, activation="softmax"),
        ]
    )
    model.compile("adam", "categorical_crossentropy")
    a, b = random(76).integers(0, 100, (2, 256))
    symbols = {c: n for n, c in enumerate("0123456789+ ")}
    eye = np.eye(12, dtype="float32")

    def coded(texts):
        return np.stack([eye[[symbols[c] for c in text]] for text in texts])

    x = coded(f"{m}+{n}".ljust(5)[::-1] for m, n in zip(a, b, strict=True))
    return model, x, coded(f"{n}".ljust(3) for n in a + b)


def named_entities():
    keras.utils.set_random_seed(3)
    inputs = keras.Input((16,), dtype="int32")
    x = Block(32, 4, 64)(Places(16, 50, 32)(inputs))
    x = L.Dropout(0.1)(L.Dense(32, "relu")(L.Dropout(0.1)(x)))
    model = keras.Model(inputs, L.Dense(5, "softmax")(x))
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(ignore_class=0))
    x, _ = tokens()
    x[:, 12:] = 0
    return model, x, np.where(x > 0, 1 + x % 4, 0)


def two_sentences():
    """Do two sentences follow from each other? One encoder, difference and product of both."""
    keras.utils.set_random_seed(3)
    a, b = keras.Input((16,), dtype="int32"), keras.Input((16,), dtype="int32")
    encoder = keras.Sequential([L.Embedding(50, 32), L.Bidirectional(L.GRU(16))])
    u, v = encoder(a), encoder(b)
    x = L.Concatenate()([u, v, ops.abs(u - v), u * v])
    model = keras.Model([a, b], L.Dense(2, "softmax")(L.Dense(32, "relu")(x)))
    model.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy")
    x, y = tokens()
    order = random(77).permutation(len(x))
    return model, [x, x[order]], (y == y[order]).astype("int32")


def skip_grams():
    """word2vec: which of five words stood near another? Dot products of embeddings, logits."""
    keras.utils.set_random_seed(3)
    word, near = keras.Input((1,), dtype="int32"), keras.Input((5,), dtype="int32")
    dots = ops.einsum("bie,bje->bj", L.Embedding(50, 16)(word), L.Embedding(50, 16)(near))
    model = keras.Model([word, near], dots)
    model.compile(keras.optimizers.Adam(1e-2), LOGITS)
    rng = random(78)
    words = rng.integers(0, 50, (256, 1))
    others = rng.integers(0, 50, (256, 5))
    place = rng.integers(0, 5, 256)
    others[np.arange(256), place] = (words[:, 0] + 1) % 50
    return model, [words, others], place
