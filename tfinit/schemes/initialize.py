"""The one entrance: which scheme, checked; and the model as it was, if anything fails."""

import inspect
import random
import warnings
from collections.abc import Callable
from typing import Any

from tfinit import arguments
from tfinit.arguments import one_of
from tfinit.errors import InputError
from tfinit.graph.exclusive import alone
from tfinit.renamed import renamed
from tfinit.schemes.alexnet import alexnet
from tfinit.schemes.autoinit import autoinit
from tfinit.schemes.depth_scaled import depth_scaled
from tfinit.schemes.engine.report import Report
from tfinit.schemes.engine.task import Task
from tfinit.schemes.fixup import fixup
from tfinit.schemes.krahenbuhl import krahenbuhl
from tfinit.schemes.lsuv import lsuv
from tfinit.schemes.metainit import metainit
from tfinit.schemes.mup import mup
from tfinit.schemes.orthogonal import delta_orthogonal, orthogonal
from tfinit.schemes.pretrained import pretrained
from tfinit.schemes.reinitialize import reinitialize
from tfinit.schemes.variance import he, lecun, xavier
from tfinit.schemes.weightnorm import weightnorm_data
from tfinit.variables import all_weights

WITHOUT_DATA = (
    xavier,
    he,
    lecun,
    orthogonal,
    delta_orthogonal,
    alexnet,
    autoinit,
    depth_scaled,
    fixup,
    mup,
    pretrained,
    reinitialize,
)
WITH_DATA = (lsuv, krahenbuhl, weightnorm_data, metainit)
SCHEMES: dict[str, Callable[..., Report]] = {
    scheme.__name__: scheme for scheme in (*WITHOUT_DATA, *WITH_DATA)
}


@renamed(data="x")
def initialize(
    model: Any, scheme: str, x: Any = None, *, seed: int | None = None, **options: Any
) -> Report:
    """Initialize the weights of a built model in place, by a scheme that knows its layers.

    A scheme never touches frozen layers or normalization, nor biases unless it is about them or
    is asked to. Recurrent kernels are drawn orthogonal, gate by gate, with the standard deviation
    that the scheme has for them, by all but those that leave them or have values of their own
    ("autoinit", "reinitialize", "pretrained"). Each weight has a random stream of its own, made
    from the seed and the weight's key: same seed, same bits, in any process.

    Threads: calls that share layers wait for each other, so that the weights are those of one of
    them. What trains the model in another thread is not waited for.

    Args:
        model: A built model of Keras 3; of tf_keras for the schemes that need no data.
        scheme: One of `SCHEMES`; the docstring of each says what it does and which options it has
            (``help(tfinit.schemes.SCHEMES["he"])``).
        x: A batch as the model takes it: an array, or a list or dict of arrays. For the schemes
            that look at activations.
        seed: An integer. None draws one from Python's ``random``, as Keras's initializers do, so
            that ``keras.utils.set_random_seed`` makes it repeatable.
        **options: What the scheme takes.

    Returns:
        One record for each kernel: what was done to it and why. It prints as a table. What a
        scheme could not do is in its notes, and a warning.

    Raises:
        InputError: an unknown scheme or option, a model that is not built, data that is missing,
            not wanted, not finite or does not fit. The model is unchanged, as after any error.

    Example:
        >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(2, "relu", name="fc")])
        >>> print(initialize(model, "he", seed=1))
        he: 1 of 1 weights initialized
        key        layer  shape  action  activation  fan_in  fan_out  std
        fc/kernel  Dense  8×2    set     relu        8       2        0.5
    """
    chosen = _scheme(scheme, options)
    seed = arguments.seed("seed", seed, none=True)
    if seed is None:
        seed = random.randrange(2**31)
    weights = all_weights(model)  # refuses a model that is not built
    if not weights:
        raise InputError(f"`model` {model.name!r} has no weights, so there is nothing to do.")
    if chosen in WITH_DATA and x is None:
        raise InputError(f"Scheme {scheme!r} needs `x`: pass a batch as the model takes it.")
    if chosen not in WITH_DATA and x is not None:
        raise InputError(
            f"Scheme {scheme!r} uses no data, but `x` was passed. Leave it out, or choose "
            f"one of {[s.__name__ for s in WITH_DATA]}."
        )
    with alone(model):
        task = Task(model, seed, x)
        try:
            report = chosen(task, **options)
        except BaseException:
            task.undo()
            raise
    for text in task.warnings:
        warnings.warn(f'"{scheme}": {text}', stacklevel=3)
    return report


def _scheme(name: str, options: dict[str, Any]) -> Callable[..., Report]:
    one_of("scheme", name, SCHEMES)
    parameters = inspect.signature(SCHEMES[name]).parameters.values()
    allowed = [p.name for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY]
    needed = [p.name for p in parameters if p.name in allowed and p.default is p.empty]
    unknown = sorted(options.keys() - set(allowed))
    missing = [option for option in needed if option not in options]
    if unknown:
        raise InputError(f"Scheme {name!r} has options {allowed}, received {unknown}.")
    if missing:
        raise InputError(f"Scheme {name!r} needs {missing}: pass {missing[0]}=….")
    return SCHEMES[name]
