"""What the league races on: networks, their data, and the initializations that fit each.

Everything is here or inside scikit-learn; sequences are generated and the image is drawn.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from tfinit.splits import Dataset

GENERAL = ("keras", "he", "xavier", "lecun", "orthogonal", "lsuv", "autoinit")
SINES = 30.0  # the frequency of the sine network, as published with SIREN
_RECALLED = 100  # steps over which the recurrent network has to remember
# Of the schemes that cannot be called without.
_OPTIONS: dict[str, dict[str, Any]] = {
    "chrono": {"longest": _RECALLED},
    "forget_bias": {"value": 3.0},
}
_SGD = (0.001, 0.003, 0.01, 0.03, 0.1)
_ADAM = (0.0001, 0.0003, 0.001, 0.003, 0.01)


@dataclass(frozen=True)
class Setting:
    """One network with its data.

    Attributes:
        group: Which of the eight settings it belongs to; of some there are several networks.
        build: Makes the network, not compiled.
        data: Makes the data.
        more: What fits it beside `GENERAL` and what `recommend` chooses.
        optimizer: ``"sgd"``, with momentum 0.9, or ``"adam"``.
        loss: ``"classes"``, cross-entropy of logits, or ``"squares"``.
        steps: Training steps of each run.
        batch_size: Examples a step.
        rates: The learning rates that are tried.
        seconds: About how long a training takes on one core: the longest begin first.
        held_out: Whether `recommend` was left as it was, whatever came out here.
    """

    group: str
    build: Callable[[], Any]
    data: Callable[[], "Dataset"]
    more: tuple[str, ...] = ()
    optimizer: str = "sgd"
    loss: str = "classes"
    steps: int = 300
    batch_size: int = 64
    rates: tuple[float, ...] = _SGD
    seconds: float = 1.0
    held_out: bool = False

    @property
    def initializations(self) -> tuple[str, ...]:
        """Those that race here."""
        return (*GENERAL, *self.more, "recommend")


def initialization(name: str) -> Any:
    """What a name of the league is to `tfinit.compare`."""
    from tfinit import initialize, recommend

    if name == "recommend":
        return lambda model, x, seed: recommend(model).apply(seed=seed)
    if name in _OPTIONS:
        return lambda model, x, seed: initialize(model, name, seed=seed, **_OPTIONS[name])
    return "reinitialize" if name == "keras" else name


# -- data


def digits() -> "Dataset":
    """The digits of scikit-learn with mean 0 and deviation 1."""
    from tfinit.datasets import load

    data = load("digits")
    x, y = data.train
    mean, deviation = x.mean(), x.std()
    test_x, test_y = data.test
    return replace(
        data,
        train=((x - mean) / deviation, y),
        validation=None,
        test=((test_x - mean) / deviation, test_y),
    )


def rows_of_digits() -> "Dataset":
    """The same, an image as eight rows."""
    data = digits()
    (x, y), (test_x, test_y) = data.train, data.test
    return replace(data, train=(x[..., 0], y), test=(test_x[..., 0], test_y))


def recalled(length: int = _RECALLED, symbols: int = 8) -> "Dataset":
    """One of eight symbols, then noise of one number a step; at the end it is asked for."""
    from tfinit.splits import Dataset

    random = np.random.default_rng(0)

    def sequences(count: int) -> tuple[np.ndarray, np.ndarray]:
        y = random.integers(0, symbols, count).astype(np.int32)
        x = np.zeros((count, length, symbols + 1), np.float32)
        x[np.arange(count), 0, y] = 1
        x[:, 1:, -1] = random.normal(0, 1, (count, length - 1))
        return x, y

    return Dataset("recall", sequences(2000), None, sequences(400), symbols)


def sums(length: int = 12, modulus: int = 11) -> "Dataset":
    """Each number of a sequence is the sum of the two before it, modulo eleven: what comes next?"""
    from tfinit.splits import Dataset

    random = np.random.default_rng(0)

    def sequences(count: int) -> tuple[np.ndarray, np.ndarray]:
        rows = random.integers(0, modulus, (count, 2))
        while rows.shape[1] <= length:
            rows = np.column_stack([rows, rows[:, -2:].sum(axis=1) % modulus])
        rows = rows.astype(np.int32)
        # The second number of each is chance: it is not asked for.
        return rows[:, :-1], rows[:, 2:]

    return Dataset("sums", sequences(2000), None, sequences(400), None)


def image(size: int = 48) -> "Dataset":
    """A drawn image: rings that get finer outwards, a disk and a bar; coordinates → brightness."""
    from tfinit.splits import Dataset

    x, y = np.meshgrid(*(np.linspace(-1, 1, size),) * 2)
    brightness = 0.5 * np.sin(24 * (x**2 + y**2))
    brightness[(x - 0.4) ** 2 + (y + 0.4) ** 2 < 0.06] = 1.0
    brightness[(np.abs(x + 0.5) < 0.08) & (np.abs(y - 0.2) < 0.5)] = -1.0
    places = np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float32)
    values = brightness.reshape(-1, 1).astype(np.float32)
    return Dataset("image", (places, values), None, None, None)


# -- networks


def _mlp(depth: int, activation: str) -> Any:
    import keras

    from tfinit.networks import mlp

    return mlp(keras, (8, 8, 1), 10, depth, activation)


def _conv(residual: bool, normalized: bool, layers: int = 12, width: int = 16) -> Any:
    """A stem that halves the image, then so many 3×3 convolutions, in pairs where residual."""
    import keras
    from keras import layers as L

    def convolved(x: Any, name: str, strides: int = 1) -> Any:
        conv = L.Conv2D(
            width, 3, strides, padding="same", use_bias=not normalized, name=f"{name}_conv"
        )
        x = conv(x)
        if normalized:
            x = L.BatchNormalization(momentum=0.9, name=f"{name}_norm")(x)
        return x

    inputs = keras.Input((8, 8, 1))
    x = L.ReLU(name="stem_relu")(convolved(inputs, "stem", 2))
    if residual:
        for block in range(1, layers // 2 + 1):
            branch = L.ReLU(name=f"block{block}_relu")(convolved(x, f"block{block}_1"))
            branch = convolved(branch, f"block{block}_2")
            x = L.ReLU(name=f"block{block}_out")(L.Add(name=f"block{block}_add")([x, branch]))
    else:
        for n in range(1, layers + 1):
            x = L.ReLU(name=f"relu{n}")(convolved(x, f"layer{n}"))
    x = L.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, L.Dense(10, name="output")(x))


def _lstm(length: int = _RECALLED, symbols: int = 8, units: int = 32) -> Any:
    import keras
    from keras import layers as L

    return keras.Sequential(
        [
            keras.Input((length, symbols + 1)),
            L.LSTM(units, name="lstm"),
            L.Dense(symbols, name="output"),
        ]
    )


def _positions(length: int, width: int) -> Any:
    """A layer that adds a learned vector of each position."""
    import keras

    class Positions(keras.layers.Layer):
        def build(self, shape: Any) -> None:
            small = keras.initializers.RandomNormal(stddev=0.02)
            self.vectors = self.add_weight(name="vectors", shape=(length, width), initializer=small)

        def call(self, x: Any) -> Any:
            return x + self.vectors

    return Positions(name="positions")


def _blocks(x: Any, pre_norm: bool, causal: bool, blocks: int, width: int, heads: int) -> Any:
    from keras import layers as L

    for n in range(1, blocks + 1):

        def norm(y: Any, name: str, n: int = n) -> Any:
            return L.LayerNormalization(epsilon=1e-5, name=f"block{n}_{name}_norm")(y)

        def attended(y: Any, n: int = n) -> Any:
            attention = L.MultiHeadAttention(heads, width // heads, name=f"block{n}_attention")
            return attention(y, y, use_causal_mask=causal)

        def fed(y: Any, n: int = n) -> Any:
            y = L.Dense(4 * width, activation="gelu", name=f"block{n}_wide")(y)
            return L.Dense(width, name=f"block{n}_narrow")(y)

        for name, branch in (("attention", attended), ("mlp", fed)):
            add = L.Add(name=f"block{n}_{name}_add")
            x = add([x, branch(norm(x, name))]) if pre_norm else norm(add([x, branch(x)]), name)
    return L.LayerNormalization(epsilon=1e-5, name="last_norm")(x) if pre_norm else x


def _encoder(pre_norm: bool, blocks: int = 6, width: int = 32, heads: int = 4) -> Any:
    import keras
    from keras import layers as L

    inputs = keras.Input((8, 8))
    x = _positions(8, width)(L.Dense(width, name="embed")(inputs))
    x = _blocks(x, pre_norm, False, blocks, width, heads)
    x = L.GlobalAveragePooling1D(name="pool")(x)
    return keras.Model(inputs, L.Dense(10, name="output")(x))


def _decoder(
    pre_norm: bool, length: int = 12, blocks: int = 6, width: int = 32, heads: int = 4
) -> Any:
    import keras
    from keras import layers as L

    tokens = keras.Input((length,), dtype="int32")
    x = L.Embedding(11, width, name="embed")(tokens)
    x = _blocks(_positions(length, width)(x), pre_norm, True, blocks, width, heads)
    x = L.Dense(11, name="output")(x)
    return keras.Model(tokens, L.Cropping1D((1, 0), name="asked")(x))


def _sine(z: Any) -> Any:
    from keras import ops

    return ops.sin(SINES * z)


def _sines(hidden: int = 3, width: int = 64) -> Any:
    import keras
    from keras import layers as L

    layers = [L.Dense(width, activation=_sine, name=f"sine{n}") for n in range(1, hidden + 1)]
    return keras.Sequential([keras.Input((2,)), *layers, L.Dense(1, name="output")])


def _settings() -> dict[str, Setting]:
    found = {}
    for depth, seconds in ((10, 0.3), (30, 0.7), (100, 2.0)):
        found[f"relu-mlp-{depth}"] = Setting(
            f"ReLU MLP, {depth} layers",
            lambda depth=depth: _mlp(depth, "relu"),
            digits,
            seconds=seconds,
            held_out=depth == 100,
        )
    found["tanh-mlp-30"] = Setting(
        "tanh MLP, 30 layers", lambda: _mlp(30, "tanh"), digits, ("EdgeOfChaos",)
    )
    for residual, kind in ((False, "plain"), (True, "residual")):
        for normalized, told in ((False, ""), (True, "-normalized")):
            more = ("delta_orthogonal", *("fixup", "depth_scaled") * residual)
            more += ("zero_gamma",) * (residual and normalized)
            found[f"{kind}-conv{told}"] = Setting(
                "convolutions",
                lambda residual=residual, normalized=normalized: _conv(residual, normalized),
                digits,
                more,
                steps=200,
                batch_size=32,
                rates=_SGD[1:],
                seconds=6.0,
            )
    recurrent = ("chrono", "forget_bias")
    adam = Setting("LSTM", _lstm, recalled, recurrent, "adam", batch_size=32, rates=_ADAM)
    found["lstm-recall"] = replace(adam, steps=1500, seconds=8.0, held_out=True)
    transformers = ("fixup", "depth_scaled", "mimetic", "t_fixup", "small_init")
    transformer = replace(adam, group="transformers", more=transformers)
    for make, data, name, steps in (
        (_encoder, rows_of_digits, "encoder", 300),
        (_decoder, sums, "decoder", 200),
    ):
        for pre_norm in (True, False):
            found[f"{name}-{'pre' if pre_norm else 'post'}-norm"] = replace(
                transformer,
                build=lambda make=make, pre_norm=pre_norm: make(pre_norm),
                data=data,
                steps=steps,
                seconds=4.0,
            )
    found["sine-image"] = replace(
        adam,
        group="sine network",
        more=("siren",),
        build=_sines,
        data=image,
        loss="squares",
        steps=1000,
        batch_size=256,
        seconds=2.0,
        held_out=True,
    )
    return found


SETTINGS: Mapping[str, Setting] = _settings()
