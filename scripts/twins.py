"""Symmetry breaking: units that start equal stay twins, however long the network trains.

    python scripts/twins.py --figure docs/figures/twins.png

A 64-unit hidden layer on scikit-learn's digits from all zeros, from one constant, and from Xavier.
After training, the different columns of its kernel are counted.
"""

import keras
import numpy as np
from _figure import parsed, save
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from tfinit.cli.signals import heard
from tfinit.initializers import Xavier
from tfinit.plots.style import panels

UNITS = 64
EPOCHS = 40


def train(initializer: keras.Initializer) -> tuple[int, int, list[float]]:
    """The different units before and after training, and the test accuracy of every epoch."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(0)
    x, y = load_digits(return_X_y=True)
    x, x_test, y, y_test = train_test_split(x / 16, y, test_size=360, random_state=0, stratify=y)
    hidden = keras.layers.Dense(UNITS, "tanh", kernel_initializer=initializer, name="hidden")
    head = keras.layers.Dense(10, "softmax", kernel_initializer=initializer, name="head")
    model = keras.Sequential([keras.Input((64,)), hidden, head])
    model.compile(
        keras.optimizers.SGD(0.3), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    before = different_units(hidden.kernel.numpy())
    history = model.fit(x, y, 64, EPOCHS, validation_data=(x_test, y_test), verbose=0).history
    return before, different_units(hidden.kernel.numpy()), history["val_accuracy"]


def different_units(kernel: np.ndarray) -> int:
    return len(np.unique(kernel, axis=1).T)


def main() -> None:
    target = parsed(__doc__).figure
    starts = {
        "zeros": keras.initializers.Zeros(),
        "constant 0.1": keras.initializers.Constant(0.1),
        "Xavier": Xavier("tanh", seed=0),
    }
    figure, (axes,) = panels("", 1, (6, 3.4))
    for name, initializer in starts.items():
        before, after, accuracy = train(initializer)
        print(
            f"{name}: {before} different units of {UNITS} before, {after} after {EPOCHS} epochs, "
            f"test accuracy {accuracy[-1]:.1%}"
        )
        axes.plot(accuracy, label=f"{name}: {after} of {UNITS} units differ")
    axes.set(title="Twins stay twins", xlabel="epoch", ylabel="test accuracy", ylim=(0, 1))
    axes.legend(frameon=False)
    axes.grid(alpha=0.3)
    save(figure, target)


if __name__ == "__main__":
    with heard():
        main()
