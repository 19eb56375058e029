"""One compiled network of an architecture, lent in turn to every training that has it.

Compiling takes a second; weights, optimizer state and learning rate are values. So trainings that
differ in initialization, seed or rate alone share one compiled network: each brings its state,
trains some steps, and takes its state away. What they compute does not depend on who else uses it.
"""

import dataclasses
import functools
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfinit import models
from tfinit.demo.initialization import optimizer_of
from tfinit.demo.plane import plane
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


class StateOwner:
    """Whoever has a network's state: the weights and the optimizer's variables.

    They are kept end to end in one tensor for each data type, as a call with dozens of tensors
    costs more than what it does.
    """

    state: list[Any] | None = None


def _nobody() -> None:
    return None


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
        model: The model; its state is that of the owner who uses it at the time.
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
            data.class_count("the page"),
            architecture.depth,
            architecture.activation,
            architecture.width,
        )
        optimizer: Any = optimizer_of(architecture.optimizer, 0.01)
        if architecture.masked:
            from tfinit.pruning.in_training.sparse_optimizer import SparseOptimizer

            optimizer = SparseOptimizer(optimizer, scope=self.model)
        self.model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        # Evaluated at the steps that `training.py` chooses, not where a call begins and ends.
        # Without XLA: compiling takes longer than most of these trainings.
        alone = dataclasses.replace(data, validation=None, test=None)  # type: ignore[arg-type]
        self.loop = CompiledLoop(self.model, alone, xla=False)
        self.evaluate = Evaluator(self.model, self.data, None, jit_compile=False)
        self.weights, self.prunable = all_weights(self.model), prunable_weights(self.model)
        self._dense = [layer for layer in self.model.layers if hasattr(layer, "kernel")]
        self._variables = [v.value for v in (*self.model.variables, *optimizer.variables)]
        # Nothing in them for AutoGraph, whose parser two threads cannot share on Python 3.11.
        self._read = tf.function(self._packed, autograph=False)
        self._write = tf.function(self._unpack, autograph=False)
        self._observe = tf.function(self._look, autograph=False)
        self._lock = threading.Lock()
        # Whose state the variables hold. Weak: a pane that was closed is gone.
        self._inside: Callable[[], StateOwner | None] = _nobody

    @contextmanager
    def with_state_of(self, owner: StateOwner, changes: bool = True) -> Iterator[None]:
        """The network with the owner's state in it; what it becomes is the owner's.

        An owner without a state finds the network as whoever was there last left it, and has to
        set all of it: weights, and ``loop.reset()``.

        Args:
            owner: Whose state.
            changes: Whether what is done changes it.
        """
        with self._lock:
            if owner.state is not None and owner is not self._inside():
                self._write(owner.state)
            self._inside = _nobody  # until all is done
            yield
            if changes:
                owner.state = self._read()
            self._inside = weakref.ref(owner)

    def observe(self) -> Observation:
        """What the network, as it is, makes of the plane and of the first examples."""
        winner, confidence, *rest = self._observe()
        return Observation(
            winner.numpy(),
            confidence.numpy(),
            *([tensor.numpy() for tensor in part] for part in rest),
        )

    def _by_type(self) -> Iterator[list[tf.Variable]]:
        for dtype in sorted({v.dtype.name for v in self._variables}):
            yield [v for v in self._variables if v.dtype.name == dtype]

    def _packed(self) -> list[tf.Tensor]:
        return [tf.concat([tf.reshape(v, [-1]) for v in own], 0) for own in self._by_type()]

    def _unpack(self, packed: list[tf.Tensor]) -> None:
        for own, values in zip(self._by_type(), packed, strict=True):
            sizes = [v.shape.num_elements() for v in own]
            for variable, value in zip(own, tf.split(values, sizes), strict=True):
                variable.assign(tf.reshape(value, variable.shape))

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
