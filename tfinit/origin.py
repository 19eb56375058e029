"""What a run is made with: the bytes of its data, and the versions and device that compute it.

A run that is interrupted goes on only with the data it began with; with other versions or on
another device it goes on, and says that the bits may differ.
"""

import dataclasses
import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tfinit import __version__
from tfinit.devices import in_use
from tfinit.errors import MissingPackage

_LENGTH = 12  # of the digits of a digest that are shown


@dataclass(frozen=True)
class Origin:
    """What a file or a directory was made with.

    Attributes:
        data: The `tfinit.datasets.digest` of the data.
        tfinit: The version of tfinit.
        keras: Which Keras, and its version.
        backend: Its backend, and that one's version.
        device: The `tfinit.devices.Device.model` that trains. Empty: an earlier tfinit did not note
            it.

    Example:
        >>> Origin.now("0" * 64).data == "0" * 64
        True
    """

    data: str
    tfinit: str
    keras: str
    backend: str
    device: str = ""

    @classmethod
    def now(cls, data: str, keras: str = "keras") -> "Origin":
        """What is made in this process with data of a digest, by ``"keras"`` or ``"tf_keras"``."""
        try:
            module = importlib.import_module(keras)
        except ModuleNotFoundError as error:
            needed = "tensorflow tf-keras" if keras == "tf_keras" else "keras"
            raise MissingPackage(f"keras {keras!r}", f"the module {keras}", needed) from error
        backend = "tensorflow" if keras == "tf_keras" else module.backend.backend()
        version = getattr(importlib.import_module(backend), "__version__", "")
        device = in_use(keras).model
        versions = f"{keras} {module.__version__}", f"{backend} {version}"
        return cls(data, __version__, *versions, device)

    @classmethod
    def of(cls, values: Any) -> "Origin":
        """What `to_dict` gave, and was read from a file.

        Raises:
            ValueError: it was something else.
        """
        names = [f.name for f in dataclasses.fields(cls)]
        if not isinstance(values, Mapping) or {"device", *values} != set(names):
            raise ValueError(f"it is made with {values!r}, which is not {names}")
        if not all(isinstance(value, str) for value in values.values()):
            raise ValueError(f"it is made with {values!r}, which is not text")
        return cls(**values)

    def to_dict(self) -> dict[str, str]:
        """Name → text, for a file. A device that is not known is left out."""
        values = dataclasses.asdict(self)
        return values if self.device else {k: v for k, v in values.items() if k != "device"}

    def other_versions(self, now: "Origin") -> str:
        """The versions and the device that are others now, in words; empty if none is."""
        pairs = {
            f"tfinit {self.tfinit}": f"tfinit {now.tfinit}",
            self.keras: now.keras,
            self.backend: now.backend,
        }
        if self.device and now.device:
            pairs[self.device] = now.device
        return ", ".join(f"{old} (now {new})" for old, new in pairs.items() if old != new)


def shown(digest: str) -> str:
    """A digest, short."""
    return f"{digest[:_LENGTH]}…"
