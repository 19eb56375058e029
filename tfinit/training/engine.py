"""Which loop trains a model: the compiled one where it can, else ``fit``, and it says which."""

import warnings
from typing import Any

from tfinit.arguments import instance, one_of
from tfinit.batch_streams import Stream
from tfinit.datasets import Dataset
from tfinit.errors import TfinitWarning
from tfinit.training.augment import Augment
from tfinit.training.checks import check_kinds, overridden
from tfinit.training.fit import FitLoop
from tfinit.training.judged import EVALUATE_TEST
from tfinit.variables import keras_of


def trainer(
    model: Any,
    data: Dataset,
    augment: Augment | None = None,
    evaluate_test: str = "always",
) -> Any:
    """A loop that trains a compiled model: ``loop(steps, batch_size, seed, evaluate_every)``.

    Args:
        model: A compiled model of Keras 3, on any backend, or of tf_keras. One that is not built
            is built here.
        data: Training, validation and test split; see `tfinit.datasets.from_arrays`. The training
            split may be a ``tf.data.Dataset`` of batches.
        augment: Random flips and crops of the training images.
        evaluate_test: ``"always"``: every evaluation is on the test split too. ``"needed"``: the
            first, the last and that of the smallest validation loss; others have NaN there.

    Returns:
        A `CompiledLoop`, or a `FitLoop` with a warning that says why. Both give `Metrics`, and
        tell themselves apart by ``engine`` (``"xla"``, ``"graph"`` or ``"fit"``) and ``why``.

    Raises:
        InputError: ``model`` is no Keras model or not compiled, or the data does not fit it.

    Example:
        >>> data = tfinit.datasets.load("digits")
        >>> layers = [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(10)]
        >>> model = keras.Sequential(layers)
        >>> loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        >>> model.compile("adam", loss)
        >>> loop = trainer(model, data)
        >>> loop.engine
        'xla'
    """
    check_kinds(model, data)
    instance("augment", augment, Augment, none=True)
    one_of("evaluate_test", evaluate_test, EVALUATE_TEST)
    why = _why_fit(model, data)
    if why is None:
        from tfinit.training.compiled import CompiledLoop

        return CompiledLoop(model, data, augment, evaluate_test=evaluate_test)
    warnings.warn(
        f"Training with fit, not with the compiled loop: {why}.", TfinitWarning, stacklevel=2
    )
    return FitLoop(model, data, augment, why=why, evaluate_test=evaluate_test)


def _why_fit(model: Any, data: Dataset) -> str | None:
    if keras_of(model) == "tf_keras":
        return "a tf_keras model"
    import keras

    backend = keras.backend.backend()
    if backend not in ("tensorflow", "jax"):
        return f"the {backend} backend"
    if isinstance(data.train, Stream):
        return f"the training data is a {data.train.kind}, not arrays"
    if overridden(model, "train_step"):
        return f"{type(model).__name__} has a train_step of its own"
    if model.run_eagerly:
        return "the model was compiled with run_eagerly"
    if backend == "jax":
        distributed = keras.distribution.distribution() is not None
        return "the model is distributed by keras.distribution" if distributed else None
    if type(model.distribute_strategy).__name__ != "_DefaultDistributionStrategy":
        return "the model is distributed by a tf.distribute strategy"
    return None
