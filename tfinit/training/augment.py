"""Random flips and crops of images: drawn from numbers, applied inside the compiled program."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tfinit.arguments import check_fields, whole
from tfinit.errors import InputError


@dataclass(frozen=True)
class Augment:
    """Mirror images at random and shift them at random, as published networks for CIFAR do.

    Each image of each step is mirrored left to right with probability 1/2 (``flip``), padded by
    ``crop`` zeros on every side and cut back to its size at a random place. What is drawn is a
    function of (seed, step), so every engine and every repetition sees the same pictures.

    Args:
        flip: Whether to mirror.
        crop: Pixels of padding, 0 for none.

    Raises:
        InputError: ``crop`` is no whole number of at least 0.

    Example:
        >>> Augment(flip=True, crop=4).draw(batch_size=128, start=0, stop=10, seed=0).shape
        (10, 128, 3)

    References:
        He et al., *Deep Residual Learning*, 2016, section 4.2, https://arxiv.org/abs/1512.03385.
    """

    flip: bool = True
    crop: int = 4

    def __post_init__(self) -> None:
        check_fields(self)
        whole("crop", self.crop, 0)

    def check(self, x: Any) -> None:
        """Raise InputError unless ``x`` is an array of images."""
        if getattr(x, "ndim", None) != 4:
            raise InputError(
                "`augment` needs images of shape (rows, height, width, channels), received "
                f"{getattr(x, 'shape', type(x).__name__)}. Leave it out for other data."
            )

    def draw(self, batch_size: int, start: int, stop: int, seed: int) -> np.ndarray:
        """(mirror, down, right) for each image: int32, shape (stop - start, batch_size, 3)."""
        draws = np.zeros((stop - start, batch_size, 3), np.int32)
        for n, step in enumerate(range(start, stop)):
            # The stream of a step is not that of an epoch's order, which has two numbers.
            rng = np.random.default_rng([seed, step, 1])
            if self.flip:
                draws[n, :, 0] = rng.integers(0, 2, batch_size)
            if self.crop:
                draws[n, :, 1:] = rng.integers(0, 2 * self.crop + 1, (batch_size, 2))
        return draws

    def apply(self, x: Any, draws: Any) -> Any:
        """The augmented images, in a program of TensorFlow or JAX. Same shape as ``x``."""
        import keras

        return self._in_jax(x, draws) if keras.backend.backend() == "jax" else self._in_tf(x, draws)

    def _in_tf(self, x: Any, draws: Any) -> Any:
        import tensorflow as tf

        height, width, pad = x.shape[1], x.shape[2], self.crop
        if pad:
            x = tf.pad(x, [[0, 0], [pad, pad], [pad, pad], [0, 0]])
        across = tf.range(width)[None]
        across = tf.where(draws[:, :1] > 0, width - 1 - across, across)
        x = tf.gather(x, draws[:, 1:2] + tf.range(height)[None], batch_dims=1, axis=1)
        return tf.gather(x, draws[:, 2:3] + across, batch_dims=1, axis=2)

    def _in_jax(self, x: Any, draws: Any) -> Any:
        import jax
        from jax import numpy as jnp

        pad, shape = self.crop, x.shape[1:]
        if pad:
            padded = jnp.pad(x, [(0, 0), (pad, pad), (pad, pad), (0, 0)])

            def window(image: Any, draw: Any) -> Any:
                return jax.lax.dynamic_slice(image, (draw[1], draw[2], 0), shape)

            x = jax.vmap(window)(padded, draws)
        return jnp.where(draws[:, :1, None, None] > 0, x[:, :, ::-1], x)

    def apply_numpy(self, x: np.ndarray, draws: np.ndarray) -> np.ndarray:
        """The same in NumPy, for training with ``fit``."""
        height, width, pad = x.shape[1], x.shape[2], self.crop
        x = np.pad(x, [(0, 0), (pad, pad), (pad, pad), (0, 0)])
        across = np.arange(width)[None]
        across = np.where(draws[:, :1] > 0, width - 1 - across, across)
        down = draws[:, 1:2] + np.arange(height)[None]
        image = np.arange(len(x))[:, None, None]
        return x[image, down[:, :, None], (draws[:, 2:3] + across)[:, None, :]]
