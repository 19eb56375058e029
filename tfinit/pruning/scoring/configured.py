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


def _own(name: str, value: Any) -> dict[str, Any]:
    import keras

    named = value if hasattr(value, "__name__") else type(value)
    if keras.saving.get_registered_object(keras.saving.get_registered_name(named)) is not named:
        also = " or a mapping" if name == "allocation" else ""
        raise InputError(
            f"`{name}` {value!r} cannot be saved: Keras does not know its name. Decorate "
            f"{'it' if named is value else 'its class'} with "
            f"@keras.saving.register_keras_serializable(), or use a name{also}."
        )
    return {"function": keras.saving.serialize_keras_object(value)}


def score_from_config(config: Any, custom_objects: dict[str, Any] | None = None) -> AnyScore:
    """The score that `score_config` described."""
    return _from_config(config, custom_objects)


def allocation_from_config(config: Any, custom_objects: dict[str, Any] | None = None) -> Allocation:
    """The allocation that `allocation_config` described."""
    return _from_config(config, custom_objects)


def _from_config(config: Any, custom_objects: dict[str, Any] | None) -> Any:
    if isinstance(config, Mapping) and isinstance(config.get("function"), Mapping):
        import keras

        return keras.saving.deserialize_keras_object(
            config["function"], custom_objects=custom_objects
        )
    return config
