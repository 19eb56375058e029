"""Which schemes there are. Each is declared in its own file; nothing here knows their names."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tfinit.arguments import one_of
from tfinit.errors import InputError
from tfinit.schemes.engine.report import Report
from tfinit.schemes.engine.task import Task

Function = Callable[..., Report]


@dataclass(frozen=True)
class Scheme:
    """A scheme, and what others have to know of it.

    Attributes:
        function: Called with a `Task` and the options; its name is the scheme's, its docstring
            says what the scheme does.
        label: What menus call it.
        needs_data: Whether it looks at a batch.
        fits: ``"convolutions"``, ``"recurrent networks"``, ``"residual networks"``, ``"residual
            networks with scales"``, ``"transformers"``, ``"sine networks"``, ``"networks with
            embeddings"`` or ``"layers with LoRA"`` where it is only for these; "" for all.
        slow: Whether it takes seconds on a small network.
        is_start: Whether other schemes may rescale what it draws.
        as_built: Whether it draws from the initializers that the layers were built with.
        of_targets: Whether it looks at a batch's targets, and sets biases by them after the
            kernels: none that a network can start from alone.
    """

    function: Function
    label: str
    needs_data: bool = False
    fits: str = ""
    slow: bool = False
    is_start: bool = False
    as_built: bool = False
    of_targets: bool = False

    @property
    def options(self) -> list[str]:
        """The names of its options."""
        return [p.name for p in self._parameters()]

    @property
    def needed(self) -> list[str]:
        """The options that it cannot run without."""
        return [p.name for p in self._parameters() if p.default is p.empty]

    def _parameters(self) -> Iterator[inspect.Parameter]:
        parameters = inspect.signature(self.function).parameters.values()
        return (p for p in parameters if p.kind is p.KEYWORD_ONLY)


REGISTRY: dict[str, Scheme] = {}


def scheme(label: str, **facts: Any) -> Callable[[Function], Function]:
    """Decorator: the function is a scheme under its name.

    Args:
        label: What menus call it.
        **facts: The other attributes of `Scheme`.
    """

    def declare(function: Function) -> Function:
        name = getattr(function, "__name__", "")
        REGISTRY[name] = Scheme(function, label, **facts)
        return function

    return declare


class Functions(Mapping[str, Function]):
    """The registered schemes, as of now: name → function.

    Those that need no data come first, and of these the ones that others start from.
    """

    def __getitem__(self, name: str) -> Function:
        return REGISTRY[name].function

    def __iter__(self) -> Iterator[str]:
        def place(name: str) -> tuple[bool, bool, str]:
            found = REGISTRY[name]
            return (
                found.needs_data or found.of_targets,
                not found.is_start,
                "" if found.is_start else name,
            )

        return iter(sorted(REGISTRY, key=place))

    def __len__(self) -> int:
        return len(REGISTRY)

    def __repr__(self) -> str:
        return f"<schemes: {', '.join(self)}>"


def chosen_scheme(name: str, options: Mapping[str, Any]) -> Scheme:
    """The scheme of a name, if it takes these options.

    Raises:
        InputError: an unknown name or option, or one that is missing.
    """
    found = REGISTRY[one_of("scheme", name, Functions())]
    unknown = sorted(options.keys() - {*found.options})
    missing = [option for option in found.needed if option not in options]
    if unknown:
        raise InputError(f"Scheme {name!r} has options {found.options}, received {unknown}.")
    if missing:
        raise InputError(f"Scheme {name!r} needs {missing}: pass {missing[0]}=….")
    return found


def start_from(task: Task, name: str | None, **options: float | str) -> None:
    """Draw the weights that a scheme then rescales; None leaves them as they are.

    Raises:
        InputError: no scheme that others start from has this name.
    """
    if name is not None:
        starts = {known: one for known, one in REGISTRY.items() if one.is_start}
        starts[one_of("start", name, (*starts, None))].function(task, **options)
