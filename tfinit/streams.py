"""Random numbers that are a function of what they are for, by SHA-256.

A weight has a stream of its own: a function of the seed and of the weight's key
(`tfinit.variables`). So the same seed gives the same bits in any process, in whatever order a model
is built or walked, on every backend; and two weights never share a stream, however they were made.
What else is drawn for a weight, such as a mask, has a use, which makes its stream another one.

NumPy is loaded where a stream is made: what names streams is read by configurations.
"""

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def number(told: str, size: int = 32) -> int:
    """The first ``size`` bytes of SHA-256 of a text, as a whole number.

    Example:
        >>> number("1/fc/kernel", 3)
        641457
    """
    return int.from_bytes(hashlib.sha256(told.encode()).digest()[:size], "big")


def stream(seed: int, key: str) -> "np.random.Generator":
    """The generator that draws one weight.

    Args:
        seed: The seed that the user gave.
        key: The weight's stable key.

    Example:
        >>> bool(stream(1, "fc/kernel").normal() == stream(1, "fc/kernel").normal())
        True
    """
    import numpy as np

    return np.random.Generator(np.random.SFC64(number(f"{int(seed)}/{key}")))


def seed_of_weight(seed: int, key: str) -> int:
    """A seed of 31 bits for one weight, as initializers of Keras take it.

    Example:
        >>> seed_of_weight(1, "fc/kernel") == seed_of_weight(2, "fc/kernel")
        False
    """
    return number(f"{int(seed)}/{key}", 4) >> 1


def stream_for(use: str, seed: int, key: str) -> "np.random.Generator":
    """The generator for another use of a weight: what it draws is independent of the weight.

    Example:
        >>> a, b = (stream_for(use, 1, "fc/kernel") for use in ("shuffled mask", "random score"))
        >>> bool(a.random() == b.random())
        False
    """
    import numpy as np

    return np.random.default_rng(number(f"{use}/{int(seed)}/{key}"))
