"""One forward and one backward pass that are looked into, on each backend of Keras.

A file for each backend, of which nothing else knows. Each has the same functions:

* `forward_and_backward`: a model's outputs, its loss, and the gradients by its weights;
* `here`: where a probe is opened, so that `shown` knows what belongs there;
* `shown`: a layer's tensor as it is handed over, or None where it is of a graph of somebody else;
* `tapped`: the same tensor, which hands over its gradient on the way back;
* `array`: a tensor's numbers, without a copy where they are in the memory of the host.
"""

import importlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

from tfinit.errors import InputError
from tfinit.graph.snapshot import Snapshot

_FILES = {"tensorflow": "in_tensorflow", "jax": "in_jax", "torch": "in_torch"}

See = Callable[[Any, Any], None]
"""Called with the point and the tensor."""


class Work(NamedTuple):
    """What is to be run.

    Attributes:
        compute: (x, y) → the model's outputs and the scalar whose gradient is taken.
        x: What the model is called with.
        y: What else its loss takes: targets, weights of the examples, None.
        weights: The variables that activations may depend on: where a gradient goes back to.
        asked: Those of them whose gradients are wanted.
        probe: Opens a probe (`tfinit.probes.probing`) with two functions, for values and gradients.
        scale: What the scalar is multiplied by before its gradient is taken.
    """

    compute: Callable[[Any, Any], tuple[Any, Any]]
    x: Any
    y: Any
    weights: list[Any]
    asked: list[Any]
    probe: Callable[[See, See], AbstractContextManager[Any]]
    scale: float


class Passed(NamedTuple):
    """What came out, as tensors.

    Attributes:
        outputs: The model's.
        number: The scalar, not scaled.
        gradients: Of the scaled scalar, by each variable that was asked for; None where there is
            none.
    """

    outputs: Any
    number: Any
    gradients: list[Any]


Programs = dict[Any, Any]
"""What `forward_and_backward` keeps for the next time: on JAX, the compiled program by the shapes
that it is for. It is one model's, as it was at the first pass."""


def forward_and_backward(
    snapshot: Snapshot, work: Work, value: See, gradient: See, kept: Programs | None = None
) -> Passed:
    """Run a model forward and backward once, and hand over what its probe sees.

    On JAX the two passes are one program, compiled as a whole; values and gradients are handed over
    when it has run. Elsewhere they are handed over as the passes reach them.

    Args:
        snapshot: The model's variables (`tfinit.graph.snapshot.apart`), which is open.
        work: What to run.
        value: Called with each tensor that the probe sees.
        gradient: Called with the gradient of the scaled scalar by each of these, if there is one.
        kept: What an earlier pass over the same model and loss left.
    """
    return backend().forward_and_backward(snapshot, work, value, gradient, kept)


def backend() -> Any:
    """The file of the backend that Keras runs on.

    Raises:
        InputError: it is one that has no gradients.
    """
    import keras

    name = keras.backend.backend()
    if name not in _FILES:
        raise InputError(
            f"Gradients are taken on TensorFlow, JAX and PyTorch, and Keras runs on {name!r}. Set "
            'KERAS_BACKEND to "tensorflow", "jax" or "torch".'
        )
    return importlib.import_module(f"{__name__}.{_FILES[name]}")
