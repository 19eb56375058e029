"""The parts of an experiment that differ between Keras 3 and tf_keras with TFMOT."""

from typing import Any, Protocol

import numpy as np

from tfinit import models
from tfinit.datasets import Dataset
from tfinit.errors import InputError
from tfinit.lottery.config import LotteryConfig
from tfinit.lottery.result import Weights, rewound
from tfinit.pruning.masks import Masks, prune_globally, prune_layerwise
from tfinit.training import CompiledLoop, FitLoop, Metrics, Progress
from tfinit.variables import all_weights, prunable_weights, read_weights, write_weights


class Parts(Protocol):
    """What `iterative_magnitude_pruning` is made of."""

    def initial(self, seed: int) -> Weights:
        """All weights of a newly initialized network, a function of ``seed``."""

    def full_mask(self) -> Masks:
        """The mask that prunes nothing."""

    def train(
        self, rewind: Weights, mask: Masks, seed: int, progress: Progress
    ) -> tuple[Weights, Metrics]:
        """Train from mask × rewind with a fresh optimizer; return the final weights."""

    def prune(self, final: Weights, mask: Masks) -> Masks:
        """The next mask, inside ``mask``, by the magnitudes of the trained weights."""


def fractions_of(config: LotteryConfig, keys: list[str]) -> dict[str, float]:
    """The fraction to prune in each weight; the last of ``keys`` is the output layer's."""
    unknown = sorted(config.layer_prune_fractions.keys() - set(keys))
    if unknown:
        raise InputError(f"`layer_prune_fractions` names {unknown}; the weights are {keys}.")
    fractions = dict.fromkeys(keys, config.prune_fraction)
    fractions[keys[-1]] = config.output_prune_fraction
    return fractions | config.layer_prune_fractions


def next_mask(config: LotteryConfig, final: Weights, mask: Masks) -> Masks:
    """Prune the trained weights as the configuration says."""
    if config.allocation == "global":
        return prune_globally(final, mask, config.prune_fraction)
    return prune_layerwise(final, mask, fractions_of(config, list(mask)))


def _optimizer(keras: Any, config: LotteryConfig) -> Any:
    if config.optimizer == "adam":
        return keras.optimizers.Adam(config.learning_rate)
    momentum = {"sgd": 0.0, "momentum": 0.9}[config.optimizer]
    return keras.optimizers.SGD(config.learning_rate, momentum=momentum)


def _build(keras: Any, config: LotteryConfig, data: Dataset, seed: int) -> Any:
    return models.build(config.model, keras, data.train[0].shape[1:], data.classes, seed)


class KerasParts:
    """Keras 3: `SparseOptimizer` holds the masks, the compiled loop trains."""

    def __init__(self, config: LotteryConfig, data: Dataset):
        import keras

        from tfinit.pruning.sparse_optimizer import SparseOptimizer

        self._keras, self._config, self._data = keras, config, data
        self._model = _build(keras, config, data, seed=0)
        self._model.compile(
            SparseOptimizer(_optimizer(keras, config)),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
        self._weights = all_weights(self._model)
        self._prunable = prunable_weights(self._model)
        fractions_of(config, list(self._prunable))
        self._loop = CompiledLoop(self._model, data)

    def initial(self, seed: int) -> Weights:
        """All weights of a newly initialized network, a function of ``seed``."""
        return read_weights(all_weights(_build(self._keras, self._config, self._data, seed)))

    def full_mask(self) -> Masks:
        """The mask that prunes nothing."""
        return {key: np.ones(v.shape, bool) for key, v in self._prunable.items()}

    def train(
        self, rewind: Weights, mask: Masks, seed: int, progress: Progress
    ) -> tuple[Weights, Metrics]:
        """Train from mask × rewind with a fresh optimizer; return the final weights."""
        from tfinit.pruning.model_masks import set_masks

        config = self._config
        self._loop.reset()
        set_masks(self._model, mask)
        write_weights(self._weights, rewound(rewind, mask))
        metrics = self._loop(config.steps, config.batch_size, seed, config.evaluate_every, progress)
        return read_weights(self._weights), metrics

    def prune(self, final: Weights, mask: Masks) -> Masks:
        """The next mask, inside ``mask``, by the magnitudes of the trained weights."""
        return next_mask(self._config, final, mask)


class TfmotParts:
    """tf_keras: TFMOT's wrappers hold and compute the masks, ``fit`` trains."""

    def __init__(self, config: LotteryConfig, data: Dataset):
        import tf_keras

        from tfinit.pruning.tfmot import TfmotPruner

        self._keras, self._config, self._data = tf_keras, config, data
        self._pruner = TfmotPruner(_build(tf_keras, config, data, seed=0))
        self._pruner.model.compile(
            _optimizer(tf_keras, config),
            tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
        fractions_of(config, list(self._pruner.weights))
        self._loop = FitLoop(
            self._pruner.model,
            data,
            callbacks=lambda: [self._pruner.callback()],
            before_evaluation=self._pruner.apply_masks,
        )

    def initial(self, seed: int) -> Weights:
        """All weights of a newly initialized network, a function of ``seed``."""
        return read_weights(all_weights(_build(self._keras, self._config, self._data, seed)))

    def full_mask(self) -> Masks:
        """The mask that prunes nothing."""
        return {key: np.ones(v.shape, bool) for key, v in self._pruner.weights.items()}

    def train(
        self, rewind: Weights, mask: Masks, seed: int, progress: Progress
    ) -> tuple[Weights, Metrics]:
        """Train from mask × rewind with a fresh optimizer; return the final weights."""
        config = self._config
        self._loop.reset()
        self._pruner.set_masks(mask)
        write_weights(self._pruner.variables, rewound(rewind, mask))
        metrics = self._loop(config.steps, config.batch_size, seed, config.evaluate_every, progress)
        # Strips TFMOT's wrappers: what is kept is a plain network with zeros in it.
        return read_weights(all_weights(self._pruner.strip())), metrics

    def prune(self, final: Weights, mask: Masks) -> Masks:
        """The next mask, computed by TFMOT to the counts that Keras 3 would prune to."""
        keep = {k: int(m.sum()) for k, m in next_mask(self._config, final, mask).items()}
        write_weights(self._pruner.variables, final)
        self._pruner.set_masks(mask)
        return self._pruner.prune(keep)


def parts_of(config: LotteryConfig, data: Dataset) -> Parts:
    """The parts for the Keras that the configuration names."""
    return KerasParts(config, data) if config.keras == "keras" else TfmotParts(config, data)
