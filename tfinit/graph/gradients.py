"""What a gradient of Keras's variables is. TensorFlow."""

from typing import Any


def dense(gradients: list[Any], variables: list[Any]) -> list[Any]:
    """Gradients as tensors: zeros where there is none, and an embedding's whole table."""
    import tensorflow as tf

    return [
        tf.zeros_like(v) if g is None else tf.convert_to_tensor(g)
        for g, v in zip(gradients, variables, strict=True)
    ]
