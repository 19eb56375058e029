"""What three papers claim of their initializations, in small: T-Fixup, SIREN and mimetic.

- ``t_fixup``: a transformer of 12 layers without normalization, at full rate from the first step,
  on the rows of scikit-learn's digits. Huang et al. (ICML 2020): Xavier diverges, T-Fixup trains.
- ``siren``: four layers of sin(30z) that fit a photograph of 64 by 64 pixels. Sitzmann et al.
  (NeurIPS 2020): with usual weights sines fail, with theirs they fit.
- ``mimetic``: a vision transformer on 500 of the digits. Trockman & Kolter (ICML 2023): on little
  data it gains some percent over usual weights.

In each comparison networks, data, order of batches, optimizer and rate are the same.

Run: python scripts/new_initializations.py [--only siren] [--seeds 3] [--figure …]
"""

import argparse
import math
import time

import keras
import numpy as np
from _figure import parsed, save
from keras import layers as L
from sklearn.datasets import load_digits, load_sample_image

from tfinit import initialize
from tfinit.cli.signals import heard
from tfinit.plots.style import panels

LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def digits(examples):
    """Standardized digits of 8 by 8 pixels: so many to learn from, 500 to test on."""
    x, y = load_digits(return_X_y=True)
    x = ((x.reshape(-1, 8, 8) - x.mean()) / x.std()).astype("float32")
    order = np.random.default_rng(0).permutation(len(x))
    learned, tested = order[500:][:examples], order[:500]
    return x[learned], y[learned], x[tested], y[tested]


def encoder(inputs, tokens, layers, width, heads, norm):
    """Tokens with fixed positions, layers of attention and feed-forward, the mean, 10 classes."""
    length = tokens.shape[1]
    angles = np.arange(length)[:, None] / 100 ** (np.arange(width // 2) / (width // 2))
    places = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
    x = tokens + places.astype("float32")

    def branch(x, function):
        made = x + function(L.LayerNormalization()(x) if norm == "pre" else x)
        return L.LayerNormalization()(made) if norm == "post" else made

    for _ in range(layers):
        attention = L.MultiHeadAttention(heads, width // heads)
        x = branch(x, lambda y, attention=attention: attention(y, y))
        x = branch(x, lambda y: L.Dense(width)(L.Dense(4 * width, "gelu")(y)))
    x = L.GlobalAveragePooling1D()(L.LayerNormalization()(x) if norm == "pre" else x)
    return keras.Model(inputs, L.Dense(10)(x))


class Network:
    """A model that is trained from several initializations, compiled once."""

    def __init__(self, model, loss):
        model.compile(keras.optimizers.Adam(), loss)
        model.optimizer.build(model.trainable_variables)
        self.model = model
        self.start = [
            keras.ops.convert_to_numpy(v) for v in (*model.variables, *model.optimizer.variables)
        ]

    def losses(self, scheme, data, rate, batch, epochs, seed=1, **options):
        """The loss after each epoch of a training that begins with the scheme."""
        variables = (*self.model.variables, *self.model.optimizer.variables)
        for variable, value in zip(variables, self.start, strict=True):
            variable.assign(value)
        initialize(self.model, scheme, seed=seed, **options)
        self.model.optimizer.learning_rate = rate
        keras.utils.set_random_seed(seed)  # the order of the batches
        stop = keras.callbacks.TerminateOnNaN()
        return self.model.fit(*data, batch, epochs, verbose=0, callbacks=[stop]).history["loss"]

    def accuracy(self, x, y):
        return float(np.mean(self.model.predict(x, verbose=0).argmax(1) == y))


def t_fixup(seeds):
    """Training loss and test accuracy, without normalization and, to compare, behind the sums."""
    x, y, test_x, test_y = digits(1200)
    curves = {}
    for norm, schemes in (("", ("t_fixup", "xavier")), ("post", ("xavier",))):
        inputs = keras.Input((8, 8))
        tokens = L.Dense(32)(inputs)
        network = Network(encoder(inputs, tokens, 12, width=32, heads=4, norm=norm), LOSS)
        for scheme in schemes:
            losses = network.losses(scheme, (x, y), rate=1e-3, batch=50, epochs=15)
            right = network.accuracy(test_x, test_y)
            name = f"{scheme}, {norm + '-norm' if norm else 'no norm'}"
            curves[name] = losses
            print(f"  {name:20} loss {losses[-1]:8.3g}  test accuracy {right:.3f}", flush=True)
    return curves, "training loss"


def photograph(size):
    """Coordinates in [-1, 1] and gray values in [-1, 1] of a part of a photograph."""
    image = load_sample_image("china.jpg").mean(axis=2)[: 6 * size, : 6 * size]
    image = image.reshape(size, 6, size, 6).mean(axis=(1, 3)) / 127.5 - 1
    axis = np.linspace(-1, 1, size)
    places = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    return places.astype("float32"), image.reshape(-1, 1).astype("float32")


def siren(seeds):
    """Peak signal-to-noise ratio of the fit, in decibels; the best of three rates for each."""
    x, y = photograph(64)
    curves = {}
    for omega, schemes in ((30, ("siren", "xavier")), (1, ("xavier",))):

        def sine(z, omega=omega):
            return keras.ops.sin(omega * z)

        layers = [L.Dense(64, sine) for _ in range(4)]
        network = Network(keras.Sequential([keras.Input((2,)), *layers, L.Dense(1)]), "mse")
        for scheme in schemes:
            fits = []
            for rate in (1e-4, 1e-3, 1e-2):
                losses = network.losses(scheme, (x, y), rate, batch=1024, epochs=150)
                fits.append((losses[-1], rate, losses))
            _, rate, losses = min(fit for fit in fits if math.isfinite(fit[0]))
            name = f"{scheme}, sin({omega}z)"
            curves[name] = losses
            ratio = 10 * math.log10(4 / losses[-1])
            print(f"  {name:20} {ratio:5.1f} dB at rate {rate:g}", flush=True)
    return curves, "mean square of the error"


def mimetic(seeds):
    """Test accuracy of a small vision transformer: mean and standard error over the seeds."""
    x, y, test_x, test_y = digits(500)
    inputs = keras.Input((8, 8))
    patches = keras.ops.reshape(inputs, (-1, 4, 2, 4, 2))
    patches = keras.ops.reshape(keras.ops.swapaxes(patches, 2, 3), (-1, 16, 4))
    model = encoder(inputs, L.Dense(48)(patches), layers=4, width=48, heads=3, norm="pre")
    network = Network(model, LOSS)
    curves = {}
    for scheme in ("mimetic", "xavier", "bert"):
        options = {"start": "xavier"} if scheme == "mimetic" else {}
        losses, right = [], []
        for seed in range(seeds):
            losses.append(
                network.losses(scheme, (x, y), 1e-3, batch=50, epochs=20, seed=seed, **options)
            )
            right.append(network.accuracy(test_x, test_y))
        curves[scheme] = np.mean(losses, axis=0)
        error = np.std(right, ddof=1) / seeds**0.5 if seeds > 1 else math.nan
        print(f"  {scheme:20} test accuracy {np.mean(right):.3f} ± {error:.3f}", flush=True)
    return curves, "training loss"


CLAIMS = {"t_fixup": t_fixup, "siren": siren, "mimetic": mimetic}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", nargs="+", choices=CLAIMS, default=[*CLAIMS])
    parser.add_argument("--seeds", type=int, default=3, help="of the vision transformers; 3")
    arguments = parsed(__doc__, parser)
    drawn = {}
    for name in arguments.only:
        print(name, flush=True)
        start = time.process_time()
        drawn[name] = CLAIMS[name](arguments.seeds)
        print(f"  {time.process_time() - start:.0f} seconds of processor time", flush=True)
    save(figure_of(drawn), arguments.figure)


def figure_of(drawn):
    figure, all_axes = panels("", len(drawn), (4 * len(drawn), 4))
    for axes, (name, (curves, label)) in zip(all_axes, drawn.items(), strict=True):
        for scheme, losses in curves.items():
            axes.semilogy(losses, label=scheme)
        axes.set(xlabel="epoch", ylabel=label, title=name)
        axes.legend(frameon=False)
    return figure


if __name__ == "__main__":
    with heard():
        main()
