"""He et al. 2015, figure 3, in small: a 30-layer plain ReLU conv net with He and with Xavier.

    python scripts/he2015.py --figure docs/figures/he2015.png

No normalization, no skips, plain SGD with momentum, scikit-learn's digits. Xavier's variance halves
the signal in every layer, 2^-15 in all; He's keeps it.
"""

import keras
import numpy as np
from _figure import parsed, save
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from tfinit.cli.signals import heard
from tfinit.initializers import He, Xavier
from tfinit.plots.style import panels

DEPTH = 30
CHANNELS = 16
EPOCHS = 30
RATE = 0.02


def digits() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    x, y = load_digits(return_X_y=True)
    x = ((x - x.mean()) / x.std()).astype("float32").reshape(-1, 8, 8, 1)
    return train_test_split(x, y, test_size=360, random_state=0, stratify=y)


def plain_net(initializer: keras.Initializer) -> keras.Model:
    layers = [
        keras.layers.Conv2D(
            CHANNELS, 3, padding="same", activation="relu", kernel_initializer=initializer
        )
        for _ in range(DEPTH - 1)
    ]
    head = [keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(10)]
    return keras.Sequential([keras.Input((8, 8, 1)), *layers, *head])


def train(initializer: keras.Initializer) -> dict[str, list[float]]:
    keras.utils.clear_session()
    keras.utils.set_random_seed(0)
    x, x_test, y, y_test = digits()
    model = plain_net(initializer)
    model.compile(
        keras.optimizers.SGD(RATE, momentum=0.9, clipnorm=1.0),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model.fit(x, y, 64, EPOCHS, validation_data=(x_test, y_test), verbose=0).history


def main() -> None:
    target = parsed(__doc__).figure
    histories = {
        "He, 2 / fan_in": train(He(seed=0)),
        "Xavier, 2 / (fan_in + fan_out)": train(Xavier(distribution="normal", seed=0)),
    }
    figure, (left, right) = panels("", 2, (8, 3.2))
    for name, history in histories.items():
        print(
            f"{name}: loss {history['loss'][0]:.3f} → {history['loss'][-1]:.3f}, "
            f"test accuracy {history['val_accuracy'][-1]:.1%}"
        )
        left.plot(history["loss"], label=name)
        right.plot(history["val_accuracy"], label=name)
    left.set(title=f"{DEPTH}-layer plain ReLU conv net", xlabel="epoch", ylabel="training loss")
    right.set(title="digits", xlabel="epoch", ylabel="test accuracy", ylim=(0, 1))
    right.legend(frameon=False)
    for axes in (left, right):
        axes.grid(alpha=0.3)
    save(figure, target)


if __name__ == "__main__":
    with heard():
        main()
