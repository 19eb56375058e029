"""The one entrance: which scheme, checked; and the model as it was, if anything fails."""

import importlib
import pkgutil
import random
import warnings
from collections.abc import Mapping
from typing import Any

import tfinit.schemes
from tfinit import arguments
from tfinit.errors import InputError, TfinitWarning
from tfinit.graph.exclusive import alone
from tfinit.renamed import renamed
from tfinit.schemes.engine.registry import REGISTRY, Function, Functions, chosen_scheme
from tfinit.schemes.engine.report import Report
from tfinit.schemes.engine.task import Task
from tfinit.variables import all_weights

SCHEMES: Mapping[str, Function] = Functions()

# Each file of the package declares its schemes.
for _module in pkgutil.iter_modules(tfinit.schemes.__path__, "tfinit.schemes."):
    importlib.import_module(_module.name)


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
            that look at activations. For "output_bias" the targets, as `fit` takes them.
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
    chosen = chosen_scheme(scheme, options)
    seed = arguments.seed("seed", seed, none=True)
    if seed is None:
        seed = random.randrange(2**31)
    weights = all_weights(model)  # refuses a model that is not built
    if not weights:
        raise InputError(f"`model` {model.name!r} has no weights, so there is nothing to do.")
    if chosen.needs_data and x is None:
        raise InputError(f"Scheme {scheme!r} needs `x`: pass a batch as the model takes it.")
    if chosen.of_targets and x is None:
        raise InputError(
            f"Scheme {scheme!r} needs the targets in place of `x`: "
            f'tfinit.initialize(model, "{scheme}", y).'
        )
    if not (chosen.needs_data or chosen.of_targets) and x is not None:
        raise InputError(
            f"Scheme {scheme!r} uses no data, but `x` was passed. Leave it out, or choose "
            f"one of {[name for name in SCHEMES if REGISTRY[name].needs_data]}."
        )
    with alone(model):
        task = Task(model, seed, None, x) if chosen.of_targets else Task(model, seed, x)
        try:
            report = chosen.function(task, **options)
        except BaseException:
            task.undo()
            raise
    for text in task.warnings:
        warnings.warn(f'"{scheme}": {text}', TfinitWarning, stacklevel=3)
    return report
