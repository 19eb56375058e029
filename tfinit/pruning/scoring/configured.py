"""Scores and allocations in a configuration: names as they are, what a user made by Keras's name.

Keras is loaded for what a user made only: a configuration of names needs nothing heavy.
"""

from collections.abc import Mapping
from typing import Any

from tfinit.errors import InputError
from tfinit.pruning.scoring.allocation import Allocation
from tfinit.pruning.scoring.scores import SCORES, AnyScore, Score


def score_config(score: AnyScore) -> Any:
    """What a configuration holds of a score.

    Raises:
        InputError: it is a user's own that Keras could not find again, as it is not registered.
    """
    if isinstance(score, Score) and SCORES.get(score.name) is score:
        return score.name
    return score if isinstance(score, str) else _own("score", score)


def allocation_config(allocation: Allocation) -> Any:
    """What a configuration holds of an allocation.

    Raises:
        InputError: as for `score_config`.
    """
    if isinstance(allocation, str):
        return allocation
    return dict(allocation) if isinstance(allocation, Mapping) else _own("allocation", allocation)


def is_registered(part: Any) -> bool:
    """Whether a score or allocation can be found again by what a configuration holds of it."""
    if isinstance(part, str | Mapping) or (
        isinstance(part, Score) and SCORES.get(part.name) is part
    ):
        return True
    import keras

    named = part if hasattr(part, "__name__") else type(part)
    return keras.saving.get_registered_object(keras.saving.get_registered_name(named)) is named


def _own(name: str, value: Any) -> dict[str, Any]:
    import keras

    named = value if hasattr(value, "__name__") else type(value)
    if not is_registered(value):
        also = " or a mapping" if name == "allocation" else ""
        shown = repr(value if named is not value else value.__name__)
        raise InputError(
            f"`{name}` {shown} cannot be saved: Keras does not know its name. Decorate "
            f"{'it' if named is value else 'its class'} with "
            f"@keras.saving.register_keras_serializable(), or use a name{also}."
        )
    return {"function": keras.saving.serialize_keras_object(value)}


def score_from_config(
    config: Any, custom_objects: dict[str, Any] | None = None, known: bool = False
) -> AnyScore:
    """The score that `score_config` described.

    Args:
        config: What it returned.
        custom_objects: Name → class or function, beside those that are registered.
        known: Whether to take only what is registered, and import nothing that the file names.

    Raises:
        InputError: a user's own is not registered, and ``known``.
    """
    return _from_config("score", config, custom_objects, known)


def allocation_from_config(
    config: Any, custom_objects: dict[str, Any] | None = None, known: bool = False
) -> Allocation:
    """The allocation that `allocation_config` described; arguments as for `score_from_config`."""
    return _from_config("allocation", config, custom_objects, known)


def name_in(config: Any) -> str:
    """The name of a score or allocation in a configuration."""
    if not isinstance(config, Mapping):
        return str(config)
    own = config["function"]
    return str(own["config" if own["class_name"] == "function" else "registered_name"])


def _from_config(name: str, config: Any, custom_objects: dict[str, Any] | None, known: bool) -> Any:
    if not isinstance(config, Mapping) or not isinstance(config.get("function"), Mapping):
        return config
    import keras

    own = config["function"]
    if not known:
        return keras.saving.deserialize_keras_object(own, custom_objects=custom_objects)
    registered = name_in(config)
    found = keras.saving.get_registered_object(registered, custom_objects)
    if found is None:
        raise InputError(
            f"`{name}` is {registered!r}, which Keras does not know. Import what "
            "registers it before."
        )
    return found.from_config(own["config"]) if isinstance(found, type) else found
