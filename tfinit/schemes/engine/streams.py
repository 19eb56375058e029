"""Random numbers of a scheme: one stream for each weight of a model.

The stream of a weight is a function of the seed and of the weight's key (`tfinit.variables`), by
SHA-256. So the same seed gives the same bits in any process, in whatever order a model is built or
walked, on every backend; and two weights never share a stream, however they were made.
"""

import hashlib

import numpy as np


def digest(seed: int, key: str) -> bytes:
    """SHA-256 of a seed and a key: 32 bytes."""
    return hashlib.sha256(f"{int(seed)}/{key}".encode()).digest()


def stream(seed: int, key: str) -> np.random.Generator:
    """The generator of one weight.

    Args:
        seed: The seed that the user gave.
        key: The weight's stable key.

    Example:
        >>> bool(stream(1, "fc/kernel").normal() == stream(1, "fc/kernel").normal())
        True
    """
    return np.random.Generator(np.random.SFC64(int.from_bytes(digest(seed, key), "big")))
