"""The weights that a scheme starts from before it rescales them."""

from tfinit.arguments import one_of
from tfinit.schemes.engine.task import Task
from tfinit.schemes.orthogonal import delta_orthogonal, orthogonal
from tfinit.schemes.variance import he, lecun, xavier

_STARTS = {scheme.__name__: scheme for scheme in (orthogonal, delta_orthogonal, he, xavier, lecun)}


def start_from(task: Task, name: str | None, **options: float | str) -> None:
    """Run a scheme that needs no data; None leaves the weights as they are.

    Raises:
        InputError: an unknown name.
    """
    if name is None:
        return
    one_of("start", name, (*_STARTS, None))
    _STARTS[name](task, **options)
