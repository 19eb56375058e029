"""What assigns to masks and weights in a training step, on each backend, compiled or not."""

import contextlib
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from tfinit.graph.keras_internals import layout_of


def grown(before: Any, after: Any) -> Any:
    """What a mask prunes and the next one does not."""
    before, after = ops.convert_to_tensor(before), ops.convert_to_tensor(after)
    return ops.logical_and(after, ops.logical_not(before))


def assign(variable: Any, value: Any) -> None:
    """Assign to a variable of an optimizer, also in one replica of a TensorFlow strategy."""
    replica = replicas()
    if replica is None:
        variable.assign(value)
        return

    def in_all_replicas(strategy: Any, variable: Any, value: Any) -> None:
        strategy.extended.update(variable, lambda v, x: v.assign(x), args=(value,))

    replica.merge_call(in_all_replicas, args=(variable.value, value))


def factor_of(mask: Any, value: Any) -> Any:
    """A mask in the form in which `masked` is fastest where it is used several times.

    TensorFlow's processors multiply in three quarters of the time that they select in. A sparse
    gradient takes some rows of the mask: all of it shall not be converted for those.
    """
    if keras.backend.backend() != "tensorflow" or hasattr(value, "dense_shape"):
        return mask
    if value.dtype not in ("float32", "float64"):
        return mask
    return ops.cast(ops.convert_to_tensor(mask), value.dtype)


def masked(value: Any, mask: Any) -> Any:
    """``value`` where the mask is true, else 0. Not a mere product: NaN times 0 is NaN."""
    if hasattr(value, "dense_shape"):
        # A sparse gradient of TensorFlow (tf.IndexedSlices), as embeddings have.
        rows = ops.take(ops.convert_to_tensor(mask), value.indices, axis=0)
        return type(value)(masked(value.values, rows), value.indices, value.dense_shape)
    # JAX wants arrays, not the variables that hold them.
    mask, value = ops.convert_to_tensor(mask), ops.convert_to_tensor(value)
    if mask.dtype == value.dtype:
        import tensorflow as tf

        return tf.math.multiply_no_nan(value, mask)
    return ops.where(mask, value, ops.zeros((), dtype=value.dtype))


def out_of_the_graph() -> contextlib.AbstractContextManager:
    """Where what is read and assigned is meant now, also while TensorFlow traces a function."""
    if keras.backend.backend() != "tensorflow":
        return contextlib.nullcontext()
    import tensorflow as tf

    return tf.init_scope()


def new_mask(optimizer: Any, variable: Any) -> Any:
    """A mask of ones for a variable, among the variables of an optimizer."""
    # Not `add_variable_from_reference`: it would take the dtype of the variable.
    return optimizer.add_variable(
        shape=variable.shape,
        initializer="ones",
        dtype="bool",
        aggregation="only_first_replica",
        layout=layout_of(variable),
        name=f"{variable.path.replace('/', '_')}_mask",
    )


def only_if(condition: Any, action: Callable[[], None]) -> None:
    """Run what assigns to variables, once or not at all.

    In a graph of TensorFlow by a loop: XLA copies what a condition may write, in every step, but
    what a loop writes stays where it is.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        if not tf.executing_eagerly():

            def once(_: Any) -> Any:
                action()
                return tf.constant(False)

            tf.while_loop(lambda go: go, once, [ops.cast(condition, "bool")])
            return
    if condition:
        action()


def replicas() -> Any:
    """The replica context of a TensorFlow strategy that must synchronize to assign, if in one."""
    if keras.backend.backend() != "tensorflow":
        return None
    import tensorflow as tf

    if not tf.distribute.has_strategy() or tf.distribute.in_cross_replica_context():
        return None
    return tf.distribute.get_replica_context()
