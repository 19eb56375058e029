"""The networks of an experiment: tfinit's own and anyone else's, made and initialized alike.

One model is trained again and again; each seed has the weights that it begins with.
"""

import dataclasses
import importlib
import warnings
from typing import Any

import numpy as np

from tfinit import models
from tfinit.array_trees import each
from tfinit.datasets import Dataset
from tfinit.errors import InputError, TfinitWarning, first_line
from tfinit.fingerprint import fingerprint
from tfinit.graph.structure import Structure
from tfinit.lottery.network_config import NetworkConfig
from tfinit.lottery.result import Weights
from tfinit.lottery.schedule import learning_rate
from tfinit.model_builders import ModelBuilder, builder_of
from tfinit.optimizers import OPTIMIZERS
from tfinit.schemes.initialize import initialize
from tfinit.threads import use_threads
from tfinit.training.noise import set_noise
from tfinit.variables import (
    all_weights,
    check_same_keys,
    keras_of,
    prunable_weights,
    read_weights,
    write_weights,
)

_BATCH_FOR_SCHEMES = 256


def network_of(config: NetworkConfig, build_model: Any = None) -> tuple[Any, ModelBuilder | None]:
    """The experiment with the network that it is about, which is tried before anything is written.

    From here on this process computes with the threads of the experiment.

    Args:
        config: The experiment. Its ``model`` may be the place of a function, or a file.
        build_model: As `tfinit.lottery.run` takes it.

    Returns:
        The configuration, in which ``model`` and ``keras`` are those of the network; and what makes
        it. None: a network of tfinit's.

    Raises:
        InputError: as `tfinit.model_builders.ModelBuilder.check` says, the configuration asks for
            something that does not go with a network of the user's own, or this process has begun
            to compute with other threads.
    """
    use_threads(config.threads, config.keras)
    if build_model is None:
        if not config.own_network:
            return config, None
        builder = builder_of(config.model, "model")
    else:
        builder = builder_of(build_model)
        if config.model not in (type(config).model, builder.name):
            raise InputError(
                f"`model` {config.model!r} and `build_model` {builder.name!r} name two networks. "
                "Give one of them."
            )
        config = dataclasses.replace(config, model=builder.name)
    seeds = [*config.seeds[:2], config.seeds[0] + 1][:2]
    model = builder.check([*seeds, *(config.seeds[0] + extra for extra in config.other_seeds)])
    made_by = keras_of(model)
    if config.keras not in ("keras", made_by):
        raise InputError(
            f"`keras` is {config.keras!r}, and {builder.name!r} makes a model of Keras 3. Leave "
            "it out: it is that of the model."
        )
    prunable_weights(model)
    config = dataclasses.replace(config, keras=made_by)
    use_threads(config.threads, config.keras)
    return config, builder


def shipped(config: NetworkConfig, data: Dataset) -> ModelBuilder:
    """What makes a network of tfinit's, compiled and initialized as the configuration says."""
    keras = importlib.import_module(config.keras)
    asks = f"`model` {config.model!r}"
    shape, classes = data.example_shape(asks), data.class_count(asks)
    chosen = _chosen(config)
    # What a user's own leaves as it was is a function of the seed, too.
    named = "keras" if _is_own(chosen) else chosen

    def build(seed: int) -> Any:
        model = models.build(config.model, keras, shape, classes, seed, named, x=_batch(data, seed))
        if config.weight_decay:
            for weight in prunable_weights(model).values():
                weight.regularizer = keras.regularizers.L2(config.weight_decay / 2)
        model.compile(
            OPTIMIZERS[config.optimizer].make(keras, learning_rate(keras, config)),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
        return model

    return ModelBuilder(config.model, build, takes_seed=True, argument="model")


class Networks:
    """Makes the networks of an experiment.

    What a seed means: ``initial(seed)`` are the weights that the builder gives for it. Of a builder
    without a seed, and of a file, trainable kernels are drawn from the initializers of their
    layers, each from a stream of its own by the seed; all else is as built: frozen kernels, biases,
    normalization. A scheme of the configuration is applied after that.

    Args:
        config: The experiment.
        data: What it trains on: shipped networks have its shapes, some schemes look at it.
        builder: What makes the user's own network. None: the configuration names one of tfinit's.

    Attributes:
        model: A compiled model, to be trained from any of the weights.
        weights: Its variables by their keys.
        fingerprint: What identifies the network.
    """

    def __init__(self, config: NetworkConfig, data: Dataset, builder: ModelBuilder | None = None):
        self._data = data
        chosen = _chosen(config)
        self._scheme = chosen if builder is not None or _is_own(chosen) else None
        self._builder = builder or shipped(config, data)
        self.model = self._builder.model(config.seeds[0])
        self.fingerprint = fingerprint(self.model)
        self.weights = all_weights(self.model)
        self._told = False
        self._given = {} if self._builder.takes_seed else read_weights(self.weights)

    def initial(self, seed: int) -> Weights:
        """All weights of a newly initialized network, a function of ``seed``.

        Raises:
            InputError: the builder's network for this seed is another one, or a scheme does not
                fit it.
        """
        model, weights = self.model, self.weights
        if self._builder.takes_seed:
            model = self._builder.model(seed)
            weights = all_weights(model)
            found = read_weights(weights)
            check_same_keys(f"build_model(seed={seed})", found, self.weights)
        else:
            found = self._drawn(seed)
        if self._scheme is None:
            return found
        write_weights(weights, found)
        set_noise(model, seed, 0)
        _initialize(model, self._scheme, seed, self._data)
        return read_weights(weights)

    def _drawn(self, seed: int) -> dict[str, np.ndarray]:
        write_weights(self.weights, self._given)
        report = initialize(self.model, "reinitialize", seed=seed)
        drawn = models.kernels(self.model)
        kept = [r.key for r in report.records if r.action == "kept" and r.key in drawn]
        if kept and not self._told:
            self._told = True
            warnings.warn(
                f"The weights of {', '.join(kept)} are the same for every seed: the layer does not "
                "say how they were initialized. Let build_model take the seed, and draw them.",
                TfinitWarning,
                stacklevel=2,
            )
        return {k: np.array(drawn[k].numpy()) if k in drawn else w for k, w in self._given.items()}

    def outputs(self) -> list[str]:
        """The keys of the prunable weights of the output layers; of a graph that is not known, the
        last one."""
        keys = list(prunable_weights(self.model))
        structure = Structure.of(self.model, _batch(self._data, 0))
        found = [] if structure.graph.guessed else [k for k in keys if k in structure.outputs]
        return found or keys[-1:]


def _chosen(config: NetworkConfig) -> Any:
    """The initialization that takes the place of the network's own; None: none does."""
    chosen = config.initialization
    return None if isinstance(chosen, str) and chosen == "published" else chosen


def _is_own(chosen: Any) -> bool:
    return chosen is not None and not isinstance(chosen, str)


def _initialize(model: Any, chosen: Any, seed: int, data: Dataset) -> None:
    """Initialize a model by a name, an initializer, or a function of the user's.

    Raises:
        InputError: it does not fit the model, or raises.
    """
    if isinstance(chosen, str):
        x = _batch(data, seed) if models.needs_data(chosen) else None
        models.set_initialization(model, chosen, seed, x)
        return
    import keras

    try:
        if isinstance(chosen, keras.initializers.Initializer):
            models.fill(model, chosen, seed)
        else:
            chosen(model, _batch(data, seed), seed)
    except Exception as error:  # it is the user's code
        raise InputError(
            f"`initialization` {getattr(chosen, '__name__', type(chosen).__name__)!r} raises "
            f"{type(error).__name__}: {first_line(error)} Mend it, or choose another."
        ) from error


def _batch(data: Dataset, seed: int) -> Any:
    """Some training inputs, for schemes that look at data."""
    if data.rows is None:
        return data.first(_BATCH_FOR_SCHEMES)[0]
    x = data.train[0]
    drawn = np.random.default_rng(seed).permutation(data.rows)[:_BATCH_FOR_SCHEMES]
    return each(lambda a: a[drawn], x)
