"""Tallec & Ollivier 2018: an LSTM that must copy over 500 steps, with chrono and as Keras makes it.

    python scripts/chrono.py --figure docs/figures/chrono.png

A symbol of eight, then 500 blanks, then a marker, at which the network has to say the symbol again.
Without memory it can only guess: log 8 = 2.08 nats. Both networks have the same
kernels, data and optimizer; chrono sets the gates' biases alone, for lifetimes of up to 500 steps.
Keras's LSTM starts with forget gates of 0.73 (b = 1), of which nothing is left after 500 steps:
0.73⁵⁰⁰ = 10⁻⁶⁸. On two cores it takes minutes, with KERAS_BACKEND=jax the fewest.
"""

import keras
import numpy as np
from _figure import parsed, save

import tfinit
from tfinit.cli.signals import heard
from tfinit.plots.style import NEUTRAL, panels, styles

BLANKS = 500
LENGTH, SYMBOLS = 1, 8  # what is to be copied
UNITS, BATCH = 32, 32
STEPS, SHOWN = 1000, 50
SEEDS = (0, 1)
SOLVED = 0.1  # nats


def task(rng: np.random.Generator, examples: int) -> tuple[np.ndarray, np.ndarray]:
    """Sequences of symbols, with SYMBOLS for a blank and SYMBOLS + 1 for the marker; the copies."""
    symbols = rng.integers(0, SYMBOLS, (examples, LENGTH))
    x = np.full((examples, LENGTH + BLANKS + LENGTH), SYMBOLS, "int32")
    x[:, :LENGTH] = symbols
    x[:, LENGTH + BLANKS] = SYMBOLS + 1
    return x, symbols


def network() -> keras.Model:
    x = keras.Input((LENGTH + BLANKS + LENGTH,), dtype="int32")
    h = keras.layers.Embedding(SYMBOLS + 2, SYMBOLS + 2, embeddings_initializer="identity")(x)
    h = keras.layers.LSTM(UNITS, return_sequences=True)(h)
    h = keras.layers.Dense(SYMBOLS)(h[:, -LENGTH:])
    return keras.Model(x, h)


def train(start: str, seed: int) -> list[float]:
    """The mean loss of every SHOWN steps, in nats; it ends where the task is solved."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    model, rng = network(), np.random.default_rng(seed)
    if start == "chrono":
        tfinit.initialize(model, "chrono", longest=BLANKS, seed=seed)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01, clipnorm=1.0), loss, jit_compile=True)
    losses: list[float] = []
    while len(losses) * SHOWN < STEPS and (not losses or losses[-1] > SOLVED):
        history = model.fit(*task(rng, SHOWN * BATCH), BATCH, verbose=0, shuffle=False).history
        losses += history["loss"]
    return losses


def main() -> None:
    target = parsed(__doc__).figure
    figure, (axes,) = panels("", 1, (6, 3.4))
    looks = styles(["keras", "chrono"])
    for start, label in {"keras": "as Keras makes it", "chrono": "chrono"}.items():
        for seed in SEEDS:
            losses = train(start, seed)
            solved = losses[-1] < SOLVED
            print(
                f"{label}, seed {seed}: {losses[-1]:.3f} nats after {len(losses) * SHOWN} steps, "
                f"{'solved' if solved else 'not solved'} (guessing: {np.log(SYMBOLS):.3f})",
                flush=True,
            )
            at = SHOWN * (1 + np.arange(len(losses)))
            axes.plot(at, losses, **looks[start], markersize=4, label=None if seed else label)
    axes.axhline(np.log(SYMBOLS), color=NEUTRAL, linewidth=1, label="guessing")
    axes.set(title=f"Copying a symbol over {BLANKS} steps", xlabel="step", ylabel="loss, nats")
    axes.legend(frameon=False)
    axes.grid(alpha=0.3)
    save(figure, target)


if __name__ == "__main__":
    with heard():
        main()
