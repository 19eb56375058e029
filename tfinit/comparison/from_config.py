"""The race of a configuration: network, data and optimizer by their names."""

from collections.abc import Callable
from typing import Any

from tfinit import models
from tfinit.arguments import instance
from tfinit.comparison.config import CompareConfig
from tfinit.comparison.race import compare
from tfinit.comparison.result import Comparison, Run
from tfinit.datasets import Dataset
from tfinit.model_builders import builder_of
from tfinit.named_functions import is_own_model
from tfinit.optimizers import OPTIMIZERS
from tfinit.saved_data import read_data
from tfinit.threads import use_threads
from tfinit.training.metrics import Progress


def compare_named(
    config: CompareConfig,
    progress: bool | Progress | None = True,
    finished: Callable[[Run], None] = lambda run: None,
    workers: Any = None,
) -> Comparison:
    """Do what a `CompareConfig` says; what `tfinit compare` runs.

    Args:
        config: The network, its data, and the schemes.
        progress: As for `tfinit.compare`.
        finished: Called with each run.
        workers: As for `tfinit.compare`.

    Raises:
        InputError: as `compare` says, or a name is unknown.
    """
    instance("config", config, CompareConfig)
    use_threads(config.threads)
    data = read_data(config.dataset, "dataset")
    own = is_own_model(config.model)
    return compare(
        builder_of(config.model, "model") if own else _shipped(config, data),
        data,
        config.schemes,
        steps=config.steps,
        seeds=config.seeds,
        batch_size=config.batch_size,
        title=f"{config.model} on {config.dataset}",
        metric=config.metric,
        metric_direction=config.metric_direction,
        progress=progress,
        finished=finished,
        workers=workers,
    )


def _shipped(config: CompareConfig, data: Dataset) -> Callable[[], Any]:
    """What builds a network of tfinit's."""
    asks = f"`model` {config.model!r}"
    shape, classes = data.example_shape(asks), data.class_count(asks)

    def build_model() -> Any:
        import keras

        # Of the seed nothing is left: the race draws all kernels.
        model = models.build(config.model, keras, shape, classes, seed=0)
        optimizer = OPTIMIZERS[config.optimizer].make(keras, config.learning_rate)
        model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        return model

    build_model()  # an unknown name is told of here, as that and not as a fault of a builder
    return build_model
