"""One learning rate for all depths: pre-norm residual networks of 2 to 32 blocks on digits.

Dey et al. (NeurIPS 2025): in the standard parametrization the best learning rate falls with the
depth; with CompleteP the rate that was tuned on a shallow network serves the deep ones. Each cell
is the training loss of the last epoch, mean over seeds, all at one network, one order of batches
and Adam. Run: python scripts/completep.py [--epochs 12] [--seeds 2] [--figure completep.png]
"""

import argparse
import math

import keras
import numpy as np
from _figure import parsed, save
from keras import layers as L
from sklearn.datasets import load_digits

from tfinit.cli.signals import heard
from tfinit.learning_rates import scaled_learning_rates
from tfinit.plots.style import blank, sequential
from tfinit.schemes import initialize

BASE, WIDTH = 2, 48
DEPTHS = (2, 4, 8, 16, 32)
RATES = tuple(2.0**-power for power in range(3, 13))


def network(blocks):
    inputs = keras.Input((64,))
    x = L.Dense(WIDTH)(inputs)
    for _ in range(blocks):
        y = L.Dense(2 * WIDTH, "relu")(L.LayerNormalization()(x))
        x = L.Add()([x, L.Dense(WIDTH)(y)])
    return keras.Model(inputs, L.Dense(10)(L.LayerNormalization()(x)))


def digits():
    x, y = load_digits(return_X_y=True)
    return ((x - x.mean()) / x.std()).astype("float32"), y


def losses(scheme, blocks, rates, epochs, seeds):
    """The loss of the last epoch at each rate; infinite where training diverged."""
    x, y = digits()
    model = network(blocks)
    options = {"depth": BASE} if scheme == "completep" else {}
    report = initialize(model, scheme, seed=0, gain=1.0, **options)
    adam = keras.optimizers.Adam(rates[0], epsilon=1e-12)
    if scheme == "completep":
        adam = scaled_learning_rates(adam, model, report)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(adam, loss, jit_compile=False)
    adam.build(model.trainable_variables)
    state = [keras.ops.convert_to_numpy(variable) for variable in adam.variables]
    weights = model.get_weights()
    found = np.zeros((seeds, len(rates)))
    for seed in range(seeds):
        for place, rate in enumerate(rates):
            model.set_weights(weights)
            initialize(model, scheme, seed=seed, gain=1.0, **options)
            for variable, value in zip(adam.variables, state, strict=True):
                variable.assign(value)
            adam.learning_rate = rate
            keras.utils.set_random_seed(seed)  # the order of the batches
            history = model.fit(x, y, batch_size=128, epochs=epochs, verbose=0).history["loss"]
            last = history[-1]
            found[seed, place] = last if math.isfinite(last) else math.inf
    return found.mean(axis=0)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seeds", type=int, default=2)
    arguments = parsed(__doc__, parser)
    curves = {}
    head = "  ".join(f"2^{math.log2(rate):+.0f}".rjust(7) for rate in RATES)
    print(f"scheme     blocks  {head}  best  loss at the rate of {BASE} blocks / least")
    for scheme in ("completep", "lecun"):
        tuned = None
        for blocks in DEPTHS:
            found = losses(scheme, blocks, RATES, arguments.epochs, arguments.seeds)
            curves[scheme, blocks] = found
            best = int(np.argmin(found))
            tuned = best if tuned is None else tuned
            cells = "  ".join(f"{one:7.4f}" for one in found)
            print(
                f"{scheme:9}  {blocks:6}  {cells}  2^{math.log2(RATES[best]):+.0f}  "
                f"{found[tuned] / found[best]:.2f}",
                flush=True,
            )
    save(drawn(curves), arguments.figure)


def drawn(curves):
    figure = blank("", (9, 4))
    panels = figure.subplots(1, 2, sharey=True)
    colours = sequential()(np.linspace(0, 1, len(DEPTHS)))
    told = {"completep": "CompleteP", "lecun": "standard (LeCun)"}
    for (scheme, blocks), found in curves.items():
        axes = panels[list(told).index(scheme)]
        finite = np.where(np.isfinite(found), found, np.nan)
        colour = colours[DEPTHS.index(blocks)]
        axes.loglog(RATES, finite, "o-", base=2, color=colour, label=f"{blocks} blocks")
        axes.set(xlabel="learning rate", title=told[scheme])
    panels[0].set_ylabel("training loss after the last epoch")
    panels[0].legend(frameon=False)
    return figure


if __name__ == "__main__":
    with heard():
        main()
