"""What tables and figures say of an experiment, noted in its directory to make them again there."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from tfinit.lottery.network_config import NetworkConfig
from tfinit.results import json_ready

if TYPE_CHECKING:
    from tfinit.datasets import Dataset


@dataclass(frozen=True)
class Subject:
    """The network and the data that an experiment is about.

    Attributes:
        network: What titles call the network.
        data: What they call the data.
        example: The shape of one example; None where examples are no single array each, or an
            earlier tfinit did not note it.
        levels: The last level at which a weight is pruned; None: of an experiment without, or an
            earlier tfinit did not note it.
        ends: That and why it ends before the last level that was asked for.

    Example:
        >>> Subject("lenet-300-100", "digits", (8, 8, 1)).title(seeds=3)
        'lenet-300-100 on digits, 3 seeds'
    """

    network: str
    data: str
    example: tuple[int, ...] | None = None
    levels: int | None = None
    ends: str = ""

    @classmethod
    def of(cls, config: NetworkConfig, data: "Dataset | None" = None) -> "Subject":
        """That of an experiment, and of what it trains on; None: what its configuration names."""
        if data is None:
            return cls(config.model, config.dataset)
        x = data.train[0] if isinstance(data.train, tuple) else None
        shape = getattr(x, "shape", None)
        return cls(config.model, data.name, None if shape is None else tuple(shape[1:]))

    @classmethod
    def read(cls, values: Any) -> "Subject":
        """What `to_dict` gave, and was read from a file.

        Raises:
            ValueError: it was something else.
        """
        names = [f.name for f in fields(cls)]
        if not isinstance(values, Mapping) or not {*names[:3]} <= values.keys() <= {*names}:
            raise ValueError(f"it describes {values!r}, which is no network and data")
        shape, levels = values["example"], values.get("levels")
        return cls(
            str(values["network"]),
            str(values["data"]),
            None if shape is None else tuple(int(n) for n in shape),
            None if levels is None else int(levels),
            str(values.get("ends", "")),
        )

    def first(self, there: "Subject | None") -> "Subject":
        """This one under the names that a directory has had from its beginning."""
        if there is None:
            return self
        return replace(there, levels=self.levels, ends=self.ends)

    def to_dict(self) -> dict[str, Any]:
        """As JSON can have it."""
        return json_ready(asdict(self))

    def named(self) -> str:
        """Network and data."""
        return f"{self.network} on {self.data}"

    def title(self, seeds: int) -> str:
        """Network, data, and how many replicates."""
        return f"{self.named()}, {'1 seed' if seeds == 1 else f'{seeds} seeds'}"
