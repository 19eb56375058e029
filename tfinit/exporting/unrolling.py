"""Recurrent layers in a .tflite file, written step by step: LiteRT has no loop that Keras uses."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import keras

from tfinit.errors import InputError, WorkError
from tfinit.exporting.formats import FORMATS
from tfinit.graph.overlay import overlaid
from tfinit.variables import walk_layers

LOG = logging.getLogger(__name__)
"""Says, at level INFO, before a long layer is written out. The command prints it."""

_EXAMPLE = 20  # a length, in a cure
_LONG = 100  # steps from which on one waits for a file


@dataclass
class Unrolled:
    """What was unrolled while a file was written.

    Attributes:
        steps: Recurrent layers by their keys → the number of steps that each was given.
        free: Keys of those that were given a sequence whose length is not known.
    """

    steps: dict[str, int] = field(default_factory=dict)
    free: list[str] = field(default_factory=list)

    @property
    def notes(self) -> tuple[str, ...]:
        """A sentence for the report; none if nothing was unrolled."""
        if not self.steps:
            return ()
        told = [f"{key or 'the model itself'} ({n})" for key, n in self.steps.items()]
        return (
            f"Unrolled in the file, by so many steps: {', '.join(told)}. LiteRT has no loop for "
            "recurrent layers, so each step is written out: it computes the same, for sequences of "
            "this length only, and file and time to write it grow with the steps.",
        )


@contextmanager
def unrolled(model: Any, format: str) -> Iterator[Unrolled]:
    """While this is open, all recurrent layers compute as with ``unroll=True``, in this thread.

    Keras's loop over time is a ``tf.while_loop`` on lists of tensors, which LiteRT runs by the Flex
    delegate only. It covers what derives from `keras.layers.RNN` (LSTM, GRU, SimpleRNN, ConvLSTM,
    RNN around cells), wherever it is in the model, and TimeDistributed as far as its length has to
    be known. Other formats have loops: there it does nothing.

    Args:
        model: A built Keras model; it is left as it was.
        format: A word of `tfinit.exporting.formats.FORMATS`.

    Yields:
        What was unrolled, filled as the model is called.

    Raises:
        InputError: in place of a WorkError of the block, if a length is not known.
    """
    found = Unrolled()
    if FORMATS[format].has_loops:
        yield found
        return
    with overlaid() as put:
        for key, layer in walk_layers(model):
            if isinstance(layer, keras.layers.RNN) and not layer.unroll:
                put(layer, "unroll", True)
                put(layer, "call", _noting(key, layer.call, found))
            elif isinstance(layer, keras.layers.TimeDistributed):
                # Keras itself writes it out where the length is known, and maps over it otherwise.
                put(layer, "call", _noting(key, layer.call, Unrolled(free=found.free)))
        try:
            yield found
        except WorkError as error:
            if not found.free:
                raise
            raise InputError(
                f"`model` has a layer, {found.free[0]!r}, that goes over sequences of any length. "
                "LiteRT has no loop for it, so that it is written step by step, for one length. "
                f"{_cure(model)}, or export it to onnx, which takes any length."
            ) from error


def _noting(key: str, call: Callable[..., Any], found: Unrolled) -> Callable[..., Any]:
    """The layer's call, which notes the length of what it is given."""

    def noted(*args: Any, **kwargs: Any) -> Any:
        steps = keras.tree.flatten((args, kwargs))[0].shape[1]
        if steps is None:
            found.free.append(key)
            # Keras makes another error of it; `unrolled` says what to do.
            raise ValueError("the length is not known")
        if steps >= _LONG:
            LOG.info("Writing out the %d steps of %r: this may take minutes.", steps, key)
        found.steps[key] = max(steps, found.steps.get(key, 0))
        return call(*args, **kwargs)

    return noted


def _cure(model: Any) -> str:
    """How this model gets a fixed length."""
    inputs = getattr(model, "inputs", None) or []
    if not any(None in tuple(spec.shape)[1:] for spec in inputs):
        return "Make the length known where the layer is called, as keras.ops.reshape does"
    structure = inputs[0] if isinstance(model, keras.Sequential) else model.input
    return (
        f"Give a length, such as {_EXAMPLE}: fixed = keras.models.clone_model(model, "
        f"input_tensors={_told(structure)}); fixed.set_weights(model.get_weights())"
    )


def _told(inputs: Any) -> str:
    """Inputs with fixed lengths in Python, in the structure that the model takes them in."""
    if isinstance(inputs, dict):
        return f"{{{', '.join(f'{name!r}: {_told(one)}' for name, one in inputs.items())}}}"
    if isinstance(inputs, list | tuple):
        return f"[{', '.join(map(_told, inputs))}]"
    shape = tuple(_EXAMPLE if n is None else n for n in tuple(inputs.shape)[1:])
    kind = "" if inputs.dtype == "float32" else f", dtype={inputs.dtype!r}"
    return f"keras.Input({shape}, name={inputs.name!r}{kind})"
