"""A network of the user's own: the function or file that makes it, and what it returns, checked."""

import functools
import inspect
import os
import random
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfinit.arguments import refused
from tfinit.errors import InputError, reason
from tfinit.fingerprint import fingerprint
from tfinit.named_functions import is_named, is_own_model, load_named
from tfinit.own_code import OwnCode, of_user
from tfinit.saved_model import load_model
from tfinit.variables import keras_of

__all__ = ["ModelBuilder", "builder_of"]

_WANTED = (
    "a function that returns a built and compiled model, with or without the argument `seed`; its "
    'place, as "path/to/file.py:build" or "package.module:build"; or the path of a .keras file'
)


@dataclass(frozen=True)
class ModelBuilder:
    """Makes compiled networks, each a new one.

    What the function draws without a seed, also by Keras's initializers, is drawn from the seed: it
    is the same in every process. Of a function that takes none it is always the same.

    Attributes:
        name: What results and files call the network: the place of the function, or the file.
        call: (seed) → the model, not checked.
        takes_seed: Whether the weights are those of a seed. Else each model has those that it is
            built or saved with, and who wants those of a seed draws them.
        argument: The argument that named it, for errors.
        of_file: Whether it is a file: always of the same network.
        given: What the user named it by. Other processes get that with its source, and make the
            same of it.
    """

    name: str
    call: Callable[[int], Any]
    takes_seed: bool
    argument: str = "build_model"
    of_file: bool = False
    given: Any = None

    def __reduce__(self) -> Any:
        return _unpickled, (OwnCode(self.given), self.argument)

    def model(self, seed: int, *, compiled: bool = True) -> Any:
        """A new model: built, of Keras 3 or tf_keras, and compiled unless that is not needed.

        Raises:
            InputError: the function raises, or returns something else.
        """
        return self._checked(self._called(seed), compiled)

    def program(self, seed: int) -> tuple[Any, Any, Any]:
        """A new model, compiled or not, with the data that the function returns beside it.

        Returns:
            The model, inputs and targets: of a function that returns (model, x, y) or (model, x);
            None for what it does not.

        Raises:
            InputError: as `model` says.
        """
        made = self._called(seed)
        parts = made if isinstance(made, tuple) and len(made) in (2, 3) else (made,)
        model, x, y = (*parts, None, None)[:3]
        return self._checked(model, compiled=False), x, y

    def _called(self, seed: int) -> Any:
        try:
            with _drawn_from(seed if self.takes_seed else 0):
                return self.call(seed)
        except InputError as error:
            if self.of_file:
                raise
            raise self._raised(seed, error) from error
        except Exception as error:  # it is the user's code
            raise self._raised(seed, error) from error

    def _checked(self, model: Any, compiled: bool) -> Any:
        if keras_of(model) is None or not hasattr(model, "compile"):
            raise InputError(
                f"{self._named} must return a model of Keras 3 or tf_keras, received "
                f"{_article(model)}. Let it end with `return model`."
            )
        if compiled and getattr(model, "optimizer", None) is None:
            cure = "call model.compile(optimizer, loss) before it is " + (
                "saved" if self.of_file else "returned"
            )
            raise InputError(f"{self._named} must {self._give} a compiled model: {cure}.")
        if not model.built or not model.weights:
            raise InputError(
                f"{self._named} must {self._give} a built model, {model.name!r} has no weights "
                "yet: begin it with keras.Input(shape), call model.build(input_shape), or call it "
                "on a batch."
            )
        return model

    def check(self, seeds: Sequence[int]) -> Any:
        """See that each call makes a new model of the same network; nothing is trained for it.

        Args:
            seeds: With which it is called. A function that takes none is called twice.

        Returns:
            The first of the models.

        Raises:
            InputError: as `model` says, or two models are one, or of different networks.
        """
        first = self.model(seeds[0])
        if self.of_file:
            return first
        told = fingerprint(first)
        others = (
            [s for s in dict.fromkeys(seeds) if s != seeds[0]] if self.takes_seed else seeds[:1]
        )
        for seed in others:
            model = self.model(seed)
            if model is first:
                raise InputError(
                    f"{self._named} returned the same model twice. Build a new one in it at each "
                    "call, as it is trained; one that is there already can be saved as a .keras "
                    "file, and the path given."
                )
            there, here = "at the first call", "at the second"
            if self.takes_seed:
                there, here = f"with seed {seeds[0]}", f"with seed {seed}"
            differing = told.difference(fingerprint(model), there, here, drawn=False)
            if differing:
                raise InputError(
                    f"{self._named} must return the same network at each call, only its weights "
                    f"may differ: {differing}. Let nothing else depend on "
                    f"{'the seed' if self.takes_seed else 'what was called before'}."
                )
        return first

    @property
    def _named(self) -> str:
        return f"`{self.argument}` {self.name!r}"

    @property
    def _give(self) -> str:
        return "hold" if self.of_file else "return"

    def _raised(self, seed: int, error: Exception) -> InputError:
        """The error, with the last line of the user's that it came from."""
        called = f"with seed {seed}" if self.takes_seed else "without arguments"
        frames = [f for f in traceback.extract_tb(error.__traceback__) if of_user(f.filename)]
        line = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
        return InputError(
            f"{self._named}, called {called}, raises {type(error).__name__}: {reason(error)}"
            f"{line}. Mend it so that it returns a model."
        )


def builder_of(model: Any, argument: str = "build_model") -> ModelBuilder:
    """The builder that a user names.

    Args:
        model: A function that returns a built and compiled model of Keras 3 or tf_keras, called
            with ``seed`` if it has a parameter of that name, or one without a default; the place
            of such a function, ``"path/to/file.py:build"`` or ``"package.module:build"``; or the
            path of a ``.keras`` file.
        argument: The argument that names it, for errors.

    Raises:
        InputError: it is none of these, cannot be imported, or needs other arguments.

    Example:
        >>> def build(seed):
        ...     keras.utils.set_random_seed(seed)
        ...     model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
        ...     model.compile("sgd", "mse")
        ...     return model
        >>> builder = builder_of(build)
        >>> builder.takes_seed, builder.model(seed=1).count_params()
        (True, 9)
    """
    if isinstance(model, ModelBuilder):
        return model
    if isinstance(model, str | os.PathLike):
        name = os.fspath(model)
        if not isinstance(name, str) or not is_own_model(name):
            raise refused(argument, _WANTED, model)
        if not is_named(name):
            path = Path(name)
            return ModelBuilder(
                name, lambda seed: load_model(path, argument), False, argument, True, model
            )
        function = load_named(name, argument)
    elif callable(model) and keras_of(model) is None:
        function, name = model, _place(model)
    else:
        cure = ""
        if keras_of(model) is not None:
            cure = "A model that is there can be saved as a .keras file, and the path given."
        raise refused(argument, _WANTED, model, cure)
    seed_as = _seed_of(function, f"`{argument}` {name!r}")
    if seed_as is None:
        return ModelBuilder(name, lambda seed: function(), False, argument, given=model)
    if seed_as == "":
        return ModelBuilder(name, lambda seed: function(seed), True, argument, given=model)
    return ModelBuilder(name, lambda seed: function(**{seed_as: seed}), True, argument, given=model)


def _unpickled(code: OwnCode, argument: str) -> ModelBuilder:
    return builder_of(code.given, argument)


def _seed_of(function: Callable[..., Any], named: str) -> str | None:
    """By which name a function takes its seed; empty: by its place; None: it takes none.

    It is called ``seed``, or is the one parameter without a default.
    """
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # of C: it does not say what it takes
        return None
    given = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    needed = [p for p in given if p.default is p.empty]
    found = next((p for p in given if p.name == "seed"), needed[0] if len(needed) == 1 else None)
    others = [p.name for p in needed if p is not found]
    if others:
        raise InputError(
            f"{named} must work without arguments, or with the argument `seed`; it also needs "
            f"{', '.join(others)}. Give them defaults, or wrap it in a function."
        )
    if found is None:
        return None
    return "" if found.kind is found.POSITIONAL_ONLY else found.name


@contextmanager
def _drawn_from(seed: int) -> Iterator[None]:
    """The random numbers of Python and NumPy are a seed's here, and afterwards as they were before.

    Keras's initializers without a seed draw one from Python's.
    """
    kept = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    try:
        yield
    finally:
        random.setstate(kept[0])
        np.random.set_state(kept[1])


def _place(function: Any) -> str:
    """The name of a function, as `load_named` writes places: the module's, then its own."""
    while isinstance(function, functools.partial):
        function = function.func
    named = function if hasattr(function, "__name__") else type(function)
    module = getattr(named, "__module__", None) or "python"
    if module == "__main__":
        import __main__

        module = Path(getattr(__main__, "__file__", None) or "__main__").name
    return f"{module}:{named.__name__.strip('<>')}"


def _article(thing: Any) -> str:
    return "None" if thing is None else f"{type(thing).__module__}.{type(thing).__name__}"
