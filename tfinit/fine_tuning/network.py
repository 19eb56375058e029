"""The network that `tfinit prune` is given: in a file, or made by a function of the user's."""

import hashlib
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from tfinit.errors import InputError, of_system, reason
from tfinit.files import read_regular
from tfinit.fine_tuning.config import PruneConfig
from tfinit.fingerprint import fingerprint
from tfinit.model_builders import builder_of
from tfinit.named_functions import is_named
from tfinit.saved_model import load_model
from tfinit.variables import keras_of


@dataclass(frozen=True)
class Network:
    """A network, as often as it is needed.

    Attributes:
        model: Makes it, with the weights that it begins with: the same each time.
        identity: Bytes that say which network it is, with these weights.
        made: Whether a function makes it: it may be of classes that no file can bring back.
    """

    model: Callable[[], Any]
    identity: Callable[[], bytes]
    made: bool


def network_of(config: PruneConfig) -> Network:
    """The network that a configuration names.

    Raises:
        InputError: there is no such function. What `Network.model` makes is checked there.
    """
    name = str(config.model)
    if not is_named(name):
        return Network(lambda: load_model(config.model), lambda: _content(config), made=False)
    builder = builder_of(name, "model")

    def model() -> Any:
        # A function without a seed draws from Python's stream or NumPy's, as Keras's layers do.
        with _streams_at(config.seed):
            made = builder.model(config.seed)
        if keras_of(made) != "keras":
            raise InputError(
                f"`model` {name!r} must return a model of Keras 3, received one of tf_keras. Build "
                "it with `keras`."
            )
        try:
            keras.saving.serialize_keras_object(made)
        except Exception as error:  # a class may raise anything
            raise InputError(
                f"`model` {name!r} returns a model that cannot be saved: {reason(error)} Give its "
                "class get_config."
            ) from error
        return made

    return Network(model, lambda: _described(model()), made=True)


def _content(config: PruneConfig) -> bytes:
    try:
        return read_regular(config.model)
    except OSError as error:
        raise InputError(
            f"`model` {str(config.model)!r} cannot be read: {of_system(error)}. Pass a .keras file."
        ) from error


def _described(model: Any) -> bytes:
    weights = hashlib.sha256()
    for weight in model.weights:
        weights.update(np.ascontiguousarray(weight.numpy()).tobytes())
    return f"{fingerprint(model).digest()} {weights.hexdigest()}".encode()


@contextmanager
def _streams_at(seed: int) -> Iterator[None]:
    """Python's and NumPy's streams begun at a seed in the block; after it they are what they were.

    They are the process's: it is done where a command builds its model, before anything trains.
    """
    streams = random.getstate(), np.random.get_state()
    try:
        random.seed(seed)
        np.random.seed(seed)
        yield
    finally:
        random.setstate(streams[0])
        np.random.set_state(streams[1])
