"""How what makes work goes to another process: its arrays apart, so that each is sent once."""

import hashlib
from dataclasses import dataclass
from typing import Any

from tfinit.errors import InputError
from tfinit.executors.job import told
from tfinit.executors.workers import Workers


@dataclass(frozen=True)
class Packed:
    """A setup as it is sent.

    Attributes:
        key: The same for equal setups.
        pickled: All of it but its arrays.
        arrays: SHA-256 of each array → its bytes, which are not copied; in their order.
    """

    key: str
    pickled: bytes
    arrays: list[tuple[str, memoryview]]


def check_sent(workers: Workers | None, setup: Any) -> None:
    """See that a setup can be sent to workers, before anything is written.

    Args:
        workers: Where it would go; None: nowhere.
        setup: What makes work there.

    Raises:
        InputError: it cannot.
    """
    if workers is not None:
        _pickled(setup)


def pack(setup: Any) -> Packed:
    """A setup as it is sent.

    Raises:
        InputError: it cannot be pickled.
    """
    pickled, views = _pickled(setup)
    arrays = [(hashlib.sha256(view).hexdigest(), view) for view in views]
    found = hashlib.sha256(pickled)
    found.update("".join(digest for digest, _ in arrays).encode())
    return Packed(found.hexdigest(), pickled, arrays)


def _pickled(setup: Any) -> tuple[bytes, list[memoryview]]:
    from ray import cloudpickle

    arrays: list[Any] = []
    try:
        pickled = cloudpickle.dumps(setup, protocol=5, buffer_callback=arrays.append)
    except Exception as error:  # of whatever the user's objects raise
        raise InputError(
            f"`workers`: what trains cannot be sent to another process: {told(error)} Give `data` "
            "as arrays, and your own network as `file.py:build`; or train without workers."
        ) from error
    return pickled, [array.raw() for array in arrays]
