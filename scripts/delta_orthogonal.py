"""Xiao et al. 2018, in small: a tanh conv net of 200 layers without normalization or skips.

    python scripts/delta_orthogonal.py --figure docs/figures/delta_orthogonal.png

Delta-orthogonal kernels against Gaussian ones, both on the same critical line, by SGD on
scikit-learn's digits.
"""

import keras
from _figure import parsed, save
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from tfinit.cli.signals import heard
from tfinit.initializers import DeltaOrthogonal, EdgeOfChaos, Orthogonal, critical_point
from tfinit.plots.style import panels

DEPTH = 200
CHANNELS = 8
EPOCHS = 12
RATE = 0.004
BIAS_VARIANCE = 2.01e-5


def tanh_net(kernels: keras.Initializer) -> keras.Model:
    biases = EdgeOfChaos("tanh", BIAS_VARIANCE, seed=1)
    layers = [
        keras.layers.Conv2D(
            CHANNELS,
            3,
            padding="same",
            activation="tanh",
            kernel_initializer=kernels,
            bias_initializer=biases,
        )
        for _ in range(DEPTH)
    ]
    stem = keras.layers.Conv2D(
        CHANNELS, 2, strides=2, activation="tanh", kernel_initializer=Orthogonal(seed=2)
    )
    head = [keras.layers.Flatten(), keras.layers.Dense(10)]
    return keras.Sequential([keras.Input((8, 8, 1)), stem, *layers, *head])


def train(kernels: keras.Initializer) -> dict[str, list[float]]:
    keras.utils.clear_session()
    keras.utils.set_random_seed(0)
    x, y = load_digits(return_X_y=True)
    x = ((x - x.mean()) / x.std()).astype("float32").reshape(-1, 8, 8, 1)
    x, x_test, y, y_test = train_test_split(x, y, test_size=360, random_state=0, stratify=y)
    model = tanh_net(kernels)
    model.compile(
        keras.optimizers.SGD(RATE, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model.fit(x, y, 128, EPOCHS, validation_data=(x_test, y_test), verbose=0).history


def main() -> None:
    target = parsed(__doc__).figure
    gain = critical_point("tanh", BIAS_VARIANCE).weight_variance ** 0.5
    histories = {
        "delta-orthogonal": train(DeltaOrthogonal(gain, seed=0)),
        "Gaussian": train(EdgeOfChaos("tanh", BIAS_VARIANCE, seed=0)),
    }
    figure, (left, right) = panels("", 2, (8, 3.2))
    for name, history in histories.items():
        print(
            f"{name}: loss {history['loss'][0]:.3f} → {history['loss'][-1]:.3f}, "
            f"test accuracy {history['val_accuracy'][-1]:.1%}"
        )
        left.plot(history["loss"], label=name)
        right.plot(history["val_accuracy"], label=name)
    left.set(title=f"{DEPTH}-layer tanh conv net", xlabel="epoch", ylabel="training loss")
    right.set(title="digits", xlabel="epoch", ylabel="test accuracy", ylim=(0, 1))
    right.legend(frameon=False)
    for axes in (left, right):
        axes.grid(alpha=0.3)
    save(figure, target)


if __name__ == "__main__":
    with heard():
        main()
