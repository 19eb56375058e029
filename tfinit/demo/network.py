"""One compiled network of an architecture, lent in turn to every training that has it.

Compiling takes a second; weights, optimizer state and learning rate are values. So trainings that
differ in initialization, seed or rate alone share one compiled network: each brings its state,
trains some steps, and takes its state away. What they compute does not depend on who else uses it.
"""

import dataclasses
import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfinit import models
from tfinit.demo.scene import plane
from tfinit.demo.settings import Settings
from tfinit.training.compiled import CompiledLoop, Evaluator
from tfinit.variables import all_weights, prunable_weights

_KEPT = 8  # networks that stay compiled; the one used longest ago goes
_PROBE = 128  # examples whose activations and gradients are shown


class Architecture(NamedTuple):
    """What must be compiled anew when it changes."""

    dataset: str
    depth: int
    width: int
    activation: str
    optimizer: str
    masked: bool


class Guest:
    """Whoever has a network's state: the weights and the optimizer's variables, as tensors."""

    state: list[Any] | None = None


class Observation(NamedTuple):
    """What a network makes of the plane and of some examples, as arrays.

    Attributes:
        winner: (squares,) the class of the largest probability.
        confidence: (squares,) that probability.
        activations: Of each dense layer, its outputs (`_PROBE`, units), the last one's logits.
        gradients: Of the loss, summed over the examples, with respect to each of them.
        kernels: Of each dense layer (inputs, units).
        biases: (units,).
    """

    winner: np.ndarray
    confidence: np.ndarray
    activations: list[np.ndarray]
    gradients: list[np.ndarray]
    kernels: list[np.ndarray]
    biases: list[np.ndarray]


class Network:
    """A compiled network of an architecture.

    Attributes:
        model: The model; its state belongs to the guest that it is lent to at the time.
        loop: Trains it: `tfinit.training.CompiledLoop`, without evaluations.
        data: The data set; ``validation`` is the training split.
        weights: Key → variable, and ``prunable`` those that masks are for.
    """

    def __init__(self, architecture: Architecture):
        self.plane = plane(architecture.dataset)
        data = self.plane.data
        self.data = dataclasses.replace(data, validation=data.train)
        self.model = models.mlp(
            keras,
            data.train[0].shape[1:],
            data.classes,
            architecture.depth,
            architecture.activation,
            architecture.width,
        )
        optimizer: Any = optimizer_of(architecture.optimizer, 0.01)
        if architecture.masked:
            from tfinit.pruning.sparse_optimizer import SparseOptimizer

            optimizer = SparseOptimizer(optimizer, scope=self.model)
        self.model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        # Evaluated at the steps that `training.py` chooses, not where a call begins and ends.
        # Without XLA: compiling takes longer than most of these trainings.
        alone = dataclasses.replace(data, validation=None, test=None)  # type: ignore[arg-type]
        self.loop = CompiledLoop(self.model, alone, xla=False)
        self.evaluate = Evaluator(
            self.model,
            self.data,
            lambda y, p, w: self.model.compute_loss(y=y, y_pred=p, sample_weight=w, training=False),
            jit_compile=False,
        )
        self.weights, self.prunable = all_weights(self.model), prunable_weights(self.model)
        self._dense = [layer for layer in self.model.layers if hasattr(layer, "kernel")]
        self._variables = [v.value for v in (*self.model.variables, *optimizer.variables)]
        self._read = tf.function(lambda: [tf.identity(v) for v in self._variables])
        self._write = tf.function(self._assign)
        self._observe = tf.function(self._look)
        self._lock = threading.Lock()
        self._guest: Guest | None = None

    @contextmanager
    def lent_to(self, guest: Guest) -> Iterator[None]:
        """The network with the guest's state in it; what it becomes is the guest's.

        A guest without a state finds the network as whoever was there last left it, and has to
        set all of it: weights, and ``loop.reset()``.
        """
        with self._lock:
            if guest.state is not None:
                self._write(guest.state)
            yield
            guest.state = self._read()

    def observe(self) -> Observation:
        """What the network, as it is, makes of the plane and of the first examples."""
        winner, confidence, *rest = self._observe()
        return Observation(
            winner.numpy(),
            confidence.numpy(),
            *([tensor.numpy() for tensor in part] for part in rest),
        )

    def _assign(self, values: list[tf.Tensor]) -> None:
        for variable, value in zip(self._variables, values, strict=True):
            variable.assign(value)

    def _look(self) -> tuple[Any, ...]:
        chances = tf.nn.softmax(self.model(self.plane.grid, training=False))
        x, y = (tf.constant(a[:_PROBE]) for a in self.data.train)
        activations: list[tf.Tensor] = []
        with tf.GradientTape() as tape:
            tape.watch(x)
            for layer in self.model.layers:
                x = layer(x)
                if hasattr(layer, "kernel"):
                    activations.append(x)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(y, x)
            loss = tf.reduce_sum(losses)
        gradients = tape.gradient(loss, activations)
        kernels = [tf.identity(layer.kernel.value) for layer in self._dense]
        biases = [tf.identity(layer.bias.value) for layer in self._dense]
        return (
            tf.argmax(chances, axis=-1),
            tf.reduce_max(chances, axis=-1),
            activations,
            gradients,
            kernels,
            biases,
        )


def optimizer_of(name: str, rate: float) -> Any:
    """An optimizer of Keras by the page's name for it."""
    if name == "momentum":
        return keras.optimizers.SGD(rate, momentum=0.9)
    kinds = {"sgd": "SGD", "rmsprop": "RMSprop", "adam": "Adam"}
    return getattr(keras.optimizers, kinds[name])(rate)


_making = threading.Lock()


def network(settings: Settings, masked: bool = False) -> Network:
    """The network of these settings, compiled once."""
    with _making:  # two panes that come at once would both compile it
        return _network(
            Architecture(
                settings.dataset,
                settings.depth,
                settings.width,
                settings.activation,
                settings.optimizer,
                masked,
            )
        )


@functools.lru_cache(maxsize=_KEPT)
def _network(architecture: Architecture) -> Network:
    return Network(architecture)
