"""The batches of a training, in the form in which `fit` of each backend takes them soonest."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from tfinit.array_trees import each, flat
from tfinit.batch_streams import Stream
from tfinit.training.augment import Augment
from tfinit.training.order import batch_indices


class ArrayBatches:
    """Batches of arrays in memory: the rows of `batch_indices`, the pictures of `Augment`.

    The arrays are converted once: to tensors for TensorFlow and PyTorch, which gather from them;
    JAX takes NumPy's.

    Args:
        train: Arrays, (x, y) or (x, y, weights), with a row for each example.
        augment: Random flips and crops of x.
        backend: ``"tensorflow"``, also for tf_keras; ``"torch"`` or ``"jax"``.
    """

    def __init__(self, train: tuple[Any, ...], augment: Augment | None, backend: str):
        if len(train) == 2 and train[1] is None:  # all loss comes from layers
            train = train[:1]
        self._train, self._augment, self._backend = train, augment, backend
        self.rows = len(flat(train)[0])
        if backend == "tensorflow":
            import tensorflow as tf

            with tf.device("CPU"):  # where tf.data gathers
                self._train = each(tf.constant, _in_tuples(train))
        elif backend == "torch":
            import keras

            # Pictures that are augmented are cut in NumPy.
            done = 0 if augment is None else 1
            self._train = (*train[:done], *each(keras.ops.convert_to_tensor, train[done:]))

    def __call__(self, batch_size: int, start: int, stop: int, seed: int) -> Any:
        """What to give to `fit` for the steps from ``start`` to ``stop``."""
        indices = batch_indices(self.rows, batch_size, stop, seed, start)
        augment, draws = self._augment, None
        if augment is not None:
            draws = augment.draw(batch_size, start, stop, seed)
        if self._backend != "tensorflow":
            return self._generated(indices, draws)
        import tensorflow as tf

        def batch(rows: Any, draws: Any = None) -> tuple[Any, ...]:
            x, *others = each(lambda a: tf.gather(a, rows), self._train)
            return (x if augment is None else augment.apply(x, draws), *others)

        order = (indices,) if draws is None else (indices, draws)
        return tf.data.Dataset.from_tensor_slices(order).map(batch).prefetch(tf.data.AUTOTUNE)

    def _generated(self, indices: np.ndarray, draws: np.ndarray | None) -> Iterator[tuple]:
        for n, rows in enumerate(indices):
            x, *others = each(lambda a, rows=rows: a[rows], self._train)
            if self._augment is not None and draws is not None:
                x = self._augment.apply_numpy(x, draws[n])
            yield (x, *others)


def stream_batches(stream: Stream, start: int, stop: int, backend: str) -> Any:
    """What to give to `fit` for the steps from ``start`` to ``stop``, of a user's own pipeline."""
    found = stream.fits_as(stop, start)
    if backend != "tensorflow" or not isinstance(found, Iterator):
        return found
    import tensorflow as tf

    # With a strategy of tf.distribute, Keras looks into what it is given, then goes through it:
    # an iterator would have lost the batches that it saw.
    few = [_in_tuples(batch) for batch in stream.batches(start + 2, start)]

    def specification(one: Any, other: Any) -> Any:
        same = [a if a == b else None for a, b in zip(one.shape, other.shape, strict=True)]
        return tf.TensorSpec([None, *same[1:]], one.dtype)

    batches = tf.data.Dataset.from_generator(
        lambda: map(_in_tuples, stream.batches(stop, start)),
        output_signature=tf.nest.map_structure(specification, *few),
    )
    return batches.prefetch(tf.data.AUTOTUNE)


def _in_tuples(arrays: Any) -> Any:
    """The same structure with tuples for lists: tf.data would stack the arrays of a list."""
    if isinstance(arrays, tuple | list):
        return tuple(map(_in_tuples, arrays))
    if isinstance(arrays, dict):
        return {name: _in_tuples(part) for name, part in arrays.items()}
    return arrays
