"""What takes part in a race: from what a user may call a scheme to what fills a model."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tfinit.arguments import meant
from tfinit.errors import InputError
from tfinit.models import fill, initializations, initializer
from tfinit.schemes.engine.registry import REGISTRY
from tfinit.schemes.initialize import SCHEMES, initialize

# The textbook's "too small" and "too large": normal, with one deviation for every layer.
DEVIATIONS = {"small": 0.01, "large": 1.0}


@dataclass(frozen=True)
class Initialization:
    """One initialization of a race.

    Attributes:
        label: What tables and figures call it.
        initialize: (model, batch of inputs, seed) → sets the weights in place.
        activation: What replaces the hidden activations of the model, a name or a function; None:
            the model's own stay.
    """

    label: str
    initialize: Callable[[Any, Any, int], Any]
    activation: Any = None


def names() -> tuple[str, ...]:
    """The names that a race takes: schemes, initializers, ``"small"`` and ``"large"``."""
    schemes = (name for name in SCHEMES if not REGISTRY[name].of_targets)
    return tuple(dict.fromkeys((*schemes, *initializations(), *DEVIATIONS)))


def read_schemes(schemes: Sequence[Any] | Mapping[str, Any]) -> list[Initialization]:
    """Read what `tfinit.compare` takes as ``schemes``.

    Raises:
        InputError: nothing in it, an entry that is none of what is allowed, or a label twice.
    """
    if isinstance(schemes, str) or not isinstance(schemes, Sequence | Mapping) or not schemes:
        raise InputError(
            "`schemes` must be a list of one or more initializations, or a dictionary of labels "
            f"to them, received {schemes!r}."
        )
    if isinstance(schemes, Mapping):
        return [_read(entry, str(label)) for label, entry in schemes.items()]
    found = [_read(entry) for entry in schemes]
    labels = [initialization.label for initialization in found]
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise InputError(
            f"`schemes` has {', '.join(map(repr, twice))} more than once. Give a dictionary "
            "{label: scheme} to tell them apart."
        )
    return found


def _read(entry: Any, label: str | None = None) -> Initialization:
    activation = None
    if isinstance(entry, tuple) and len(entry) == 2:
        entry, activation = entry
        activation_label = _known_activation(activation)
    name, function = _named_function(entry)
    if activation is not None:
        name = f"{name}, {activation_label}"
    return Initialization(label or name, function, activation)


def _known_activation(activation: Any) -> str:
    import keras

    try:
        function = None if activation is None else keras.activations.get(activation)
    except ValueError:
        function = None
    if function is None:
        raise InputError(
            "`schemes`: the second of a pair (initializer, activation) must be an activation of "
            f"Keras's by its name, or a function, received {activation!r}."
        )
    return activation if isinstance(activation, str) else _name_of(activation)


def _named_function(entry: Any) -> tuple[str, Callable[[Any, Any, int], Any]]:
    """The label of an entry, and what it does."""
    import keras

    if isinstance(entry, str):
        return entry, _of_name(entry)
    kind = keras.initializers.Initializer
    if isinstance(entry, type) and issubclass(entry, kind):
        try:
            return _name_of(entry), _filling(entry())
        except TypeError as error:
            raise InputError(
                f"`schemes`: {_name_of(entry)} needs arguments ({error}). Pass an instance."
            ) from error
    if isinstance(entry, kind):
        return _name_of(type(entry)), _filling(entry)
    if callable(entry) and not isinstance(entry, type):
        _takes_three(entry)
        return _name_of(entry), lambda model, x, seed: entry(model, x, seed)
    raise InputError(
        "`schemes` takes names, initializers of Keras or tfinit, pairs (initializer, activation) "
        f"and functions of (model, x, seed), received {entry!r}."
    )


def _takes_three(function: Callable[..., Any]) -> None:
    """InputError, before anything is trained, unless it can be called as one of a race is."""
    try:
        inspect.signature(function).bind(None, None, 0)
    except TypeError as error:
        raise InputError(
            f"`schemes`: {_name_of(function)} is called as function(model, x, seed), which it does "
            f"not take: {error}."
        ) from error
    except ValueError:  # it does not say what it takes
        return


def _of_name(name: str) -> Callable[[Any, Any, int], Any]:
    if name in SCHEMES and not REGISTRY[name].of_targets:
        # `initialize` refuses data that a scheme does not want.
        wants = REGISTRY[name].needs_data
        # Fail before anything is built, for those that cannot run without options.
        if needed := REGISTRY[name].needed:
            raise InputError(
                f"`schemes`: {name!r} needs options ({', '.join(needed)}). Pass a function: "
                f"lambda model, x, seed: tfinit.initialize(model, {name!r}, seed=seed, "
                f"{needed[0]}=…)."
            )
        return lambda model, x, seed: initialize(model, name, x if wants else None, seed=seed)
    if name in DEVIATIONS:
        import keras

        return _filling(keras.initializers.RandomNormal(stddev=DEVIATIONS[name]))
    if name in initializations():
        return _filling(initializer(name))
    raise InputError(
        f"`schemes` must be among {', '.join(names())}, received {name!r}.{meant(name, names())}"
    )


def _filling(initializer: Any) -> Callable[[Any, Any, int], Any]:
    return lambda model, x, seed: fill(model, initializer, seed)


def _name_of(thing: Any) -> str:
    """The name of a function or class; of tfinit's classes the one that is not for Keras."""
    name = getattr(thing, "__qualname__", None) or type(thing).__name__
    return name.split(".")[-1]
