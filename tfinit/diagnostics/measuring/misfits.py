"""Targets in another form than their loss takes, in words: Keras's own are of ranks and shapes."""

import math

from tfinit.diagnostics.measuring.outputs import Loss

_NUMBERS, _ROWS = "sparse_categorical_crossentropy", "categorical_crossentropy"


def misfit(loss: Loss | None, given: tuple[int, ...], made: tuple[int, ...]) -> str:
    """What is wrong with targets of a shape, and what to write; "" where that cannot be said.

    Args:
        loss: Which compares the two.
        given: The shape of the targets.
        made: That of the outputs.

    Example:
        >>> told = Loss("categorical_crossentropy", True, False, 0.0, 1.0, None)
        >>> misfit(told, (32,), (32, 10)).split(":")[0]
        '`y` holds class numbers, and categorical_crossentropy takes a row of 10 for each example'
    """
    if loss is None or not loss.is_keras or len(made) < 2 or not given:
        return ""
    units = made[-1]
    column = given[:-1] if given[-1] == 1 and len(given) == len(made) else given
    if loss.name == _ROWS and column == made[:-1]:
        return (
            f"`y` holds class numbers, and {_ROWS} takes a row of {units} for each example: "
            f'compile with loss="{_NUMBERS}", or pass keras.utils.to_categorical(y, {units}).'
        )
    if loss.name == _NUMBERS and len(given) == len(made) and given[:-1] == made[:-1]:
        rows = f"`y` has {given[-1]} numbers for each example, and {_NUMBERS} takes the number of a"
        if given[-1] == units:
            return f'{rows} class: for one-hot rows compile with loss="{_ROWS}".'
        return f"{rows} class: pass y.argmax(-1), which needs Dense({given[-1]}) last."
    if len(given) == len(made) and given[:-1] == made[:-1] and given[-1] != units:
        return (
            f"`y` has {given[-1]} numbers for each example and the network {units}: write "
            f"Dense({given[-1]}) last, or pass the targets of its {units} outputs."
        )
    if len(made) > len(given) and math.prod(made[1:-1]) > 1 and given[0] == made[0]:
        return (
            f"The network gives {made[1:-1]} answers for each example and `y` has one: put "
            "Flatten, a global pooling or return_sequences=False before the last layer."
        )
    return ""
