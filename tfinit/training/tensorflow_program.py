"""Many training steps as one TensorFlow program, compiled by XLA or not."""

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from tfinit.array_trees import each
from tfinit.errors import MissingPackage
from tfinit.graph.layer_kinds import kind_of
from tfinit.training.augment import Augment
from tfinit.variables import walk_layers

try:
    import tensorflow as tf
except ModuleNotFoundError as error:
    raise MissingPackage("tfinit.training's compiled loop", "TensorFlow", "tensorflow") from error

# What XLA says to a model that it cannot compile.
REJECTED = (
    tf.errors.InvalidArgumentError,
    tf.errors.UnimplementedError,
    tf.errors.NotFoundError,
    tf.errors.InternalError,
    tf.errors.FailedPreconditionError,
)


def warm_up() -> None:
    """Find the devices, ask a GPU for deterministic kernels, and compile once."""
    if tf.config.list_physical_devices("GPU"):
        tf.config.experimental.enable_op_determinism()
        # XLA has a switch of its own, and reads it when it first compiles. Without it, each process
        # times XLA's kernels and may choose others. A network with overlapping max-pooling cannot
        # be compiled so: it trains without XLA.
        flags = os.environ.get("XLA_FLAGS", "")
        if "deterministic_ops" not in flags:
            os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true"
    tf.function(lambda: tf.zeros(()), jit_compile=True)()


def choose_xla(model: Any) -> tuple[bool, str]:
    """Whether XLA should compile a model's training, and why: see `compiled.choose_xla`."""
    if tf.config.list_logical_devices("GPU"):
        return True, "a GPU"
    for _, layer in walk_layers(model):
        if kind_of(layer).convolution:
            return False, "convolutions on CPU, which XLA makes slower"
    return True, "no convolutions"


class TensorFlowProgram:
    """The steps of a model, on data that lie on the device.

    Args:
        model: A compiled Keras 3 model with a built optimizer.
        train: The training split, arrays.
        augment: Of the training images, or None.
        xla: Whether XLA compiles it.

    Attributes:
        function: The program.
        xla: Whether XLA compiles it.
    """

    def __init__(self, model: Any, train: tuple, augment: Augment | None, xla: bool):
        self.xla = xla
        self._model, self._augment = model, augment
        self._train = each(tf.constant, tuple(train))
        self.function = self._compiled()

    def without_xla(self) -> None:
        """Run the same program as a graph from now on."""
        self.xla = False
        self.function = self._compiled()

    def _compiled(self) -> Callable[..., tf.Tensor]:
        program = _program(self._model, self._train, self._augment)
        # Keras's own `fit` rewrites no code of layers either; it takes seconds.
        return tf.function(program, jit_compile=self.xla, autograph=False)

    def __call__(self, rows: np.ndarray, count: int, draws: np.ndarray | None) -> np.ndarray:
        """Train on the first ``count`` of the rows of indices; their losses."""
        arguments = [tf.constant(rows), tf.constant(count)]
        if draws is not None:
            arguments.append(tf.constant(draws))
        return self.function(*arguments).numpy()[:count]


def _program(model: Any, train: tuple, augment: Augment | None) -> Callable[..., tf.Tensor]:
    """The program: trains on the first ``count`` of the rows of indices, returns their losses."""
    optimizer = model.optimizer

    def run(indices: Any, count: Any, draws: Any = None) -> tf.Tensor:
        def one(step: Any, losses: Any) -> tuple[Any, Any]:
            rows = indices[step]
            batch = each(lambda a: tf.gather(a, rows), train)
            x, y, weight = (*batch, None)[:3]
            if draws is not None and augment is not None:
                x = augment.apply(x, draws[step])
            with tf.GradientTape() as tape:
                predictions = model(x, training=True)
                loss = model.compute_loss(
                    x=x, y=y, y_pred=predictions, sample_weight=weight, training=True
                )
                scaled = optimizer.scale_loss(loss)
            weights = model.trainable_variables
            optimizer.apply(tape.gradient(scaled, [w.value for w in weights]), weights)
            return step + 1, losses.write(step, tf.cast(loss, tf.float32))

        losses = tf.TensorArray(tf.float32, size=indices.shape[0], element_shape=())
        # Up to a tensor: XLA would compile a program for each number of steps that it knows.
        _, losses = tf.while_loop(lambda step, _: step < count, one, (tf.constant(0), losses))
        return losses.stack()

    return run
