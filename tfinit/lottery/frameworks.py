"""Keras 3, and tf_keras with TFMOT: how an experiment makes, trains and prunes its networks."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from tfinit import models
from tfinit.arguments import instance
from tfinit.datasets import Dataset
from tfinit.errors import InputError
from tfinit.lottery.config import LotteryConfig
from tfinit.lottery.counts import Counts, fractions_of
from tfinit.lottery.network_config import NetworkConfig
from tfinit.lottery.result import LevelResult, Weights, rewound
from tfinit.lottery.schedule import LearningRate
from tfinit.moved import former_names
from tfinit.optimizers import OPTIMIZERS
from tfinit.pruning.scoring.after_training import score_trained
from tfinit.pruning.scoring.masks import Masks, keep_globally, keep_layerwise
from tfinit.renamed import renamed
from tfinit.training.augment import Augment
from tfinit.training.compiled import CompiledLoop
from tfinit.training.fit import FitLoop
from tfinit.training.metrics import Checkpoint, Metrics, Partial, Progress, no_checkpoint
from tfinit.variables import all_weights, prunable_weights, read_weights, write_weights

# SNIP and GraSP look at ten examples of each class, as published.
_EXAMPLES_A_CLASS = 10
_BATCH_FOR_SCHEMES = 256


@dataclass(frozen=True)
class TrainingPlan:
    """Where one training of an experiment starts and ends.

    Attributes:
        weights: Where it starts, dense.
        mask: What is pruned of it.
        seed: Decides the order of the data.
        start: The step it starts at.
        rate_from: The step of the learning-rate schedule it starts at.
        stop: The step it ends at. None: the configuration's last.
        at: Step → called with the weights once that step is done.
        resume: Where it was left.
    """

    weights: Weights
    mask: Mapping[str, np.ndarray]
    seed: int
    start: int = 0
    rate_from: int = 0
    stop: int | None = None
    at: Mapping[int, Any] | None = None
    resume: Partial | None = None


class Framework(Protocol):
    """What an experiment asks of a framework."""

    def initial(self, seed: int) -> Weights:
        """All weights of a newly initialized network, a function of ``seed``."""

    def full_mask(self) -> Masks:
        """The mask that prunes nothing."""

    def train(
        self, training: TrainingPlan, progress: Progress, checkpoint: Checkpoint = no_checkpoint
    ) -> Metrics:
        """Train from mask × weights with a fresh optimizer."""

    def fits(self, partial: Partial) -> bool:
        """Whether a training can go on from a checkpoint: it is of this network."""

    def final(self) -> Weights:
        """The weights after the last training."""

    def prune(self, trained: LevelResult, counts: Counts) -> Masks:
        """The mask with so many survivors, inside the result's, by its trained weights."""

    def prune_at_initialization(self, score: str, initial: Weights, keep: int, seed: int) -> Masks:
        """The mask with so many survivors in all, before training."""


def choose(config: NetworkConfig, trained: LevelResult, counts: Counts) -> Masks:
    """The mask of the largest scores, by the configuration's, inside the result's."""
    mask, score = dict(trained.mask), instance("config", config, LotteryConfig).score
    scores = score_trained(score, trained.rewind, trained.final, mask, trained.seed)
    if isinstance(counts, int):
        return keep_globally(scores, mask, counts)
    return keep_layerwise(scores, mask, counts)


def _build(keras: Any, config: NetworkConfig, data: Dataset, seed: int) -> Any:
    chosen = None if config.initialization == "published" else config.initialization
    x = data.train[0]
    batch = x[np.random.default_rng(seed).permutation(len(x))[:_BATCH_FOR_SCHEMES]]
    classes = data.class_count(f"`model` {config.model!r}")
    return models.build(config.model, keras, x.shape[1:], classes, seed, chosen, x=batch)


class KerasFramework:
    """Keras 3: `SparseOptimizer` holds the masks, the compiled loop trains."""

    def __init__(self, config: NetworkConfig, data: Dataset):
        import keras

        from tfinit.pruning.in_training.sparse_optimizer import SparseOptimizer

        self._keras, self._config, self._data = keras, config, data
        self._rate = LearningRate(keras, config)
        self._model = _build(keras, config, data, seed=0)
        self._weights = all_weights(self._model)
        self._prunable = prunable_weights(self._model)
        if config.weight_decay:
            for weight in self._prunable.values():
                weight.regularizer = keras.regularizers.L2(config.weight_decay / 2)
        self._model.compile(
            SparseOptimizer(
                OPTIMIZERS[config.optimizer].make(keras, self._rate.value), scope=self._model
            ),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
        if isinstance(config, LotteryConfig):
            fractions_of(config, list(self._prunable))
        self._loop = CompiledLoop(self._model, data, Augment() if config.augment else None)

    def initial(self, seed: int) -> Weights:
        """All weights of a newly initialized network, a function of ``seed``."""
        return read_weights(all_weights(_build(self._keras, self._config, self._data, seed)))

    def full_mask(self) -> Masks:
        """The mask that prunes nothing."""
        return {key: np.ones(v.shape, bool) for key, v in self._prunable.items()}

    def train(
        self, training: TrainingPlan, progress: Progress, checkpoint: Checkpoint = no_checkpoint
    ) -> Metrics:
        """Train from mask × weights with a fresh optimizer."""
        config = self._config
        self._prepare(training.weights, training.mask)
        self._rate.begin_at(training.rate_from)
        return self._loop(
            training.stop or config.steps,
            config.batch_size,
            training.seed,
            config.evaluate_every,
            progress,
            start=training.start,
            at={s: lambda k=keep: k(self.final()) for s, keep in (training.at or {}).items()},
            resume=training.resume,
            checkpoint=checkpoint,
        )

    def fits(self, partial: Partial) -> bool:
        """Whether a training can go on from a checkpoint: it is of this network."""
        return self._loop.fits(partial)

    def _prepare(self, weights: Weights, mask: Mapping[str, np.ndarray]) -> None:
        from tfinit.pruning.in_training.model_masks import set_masks

        self._loop.reset()
        set_masks(self._model, mask)
        write_weights(self._weights, rewound(weights, mask))

    def final(self) -> Weights:
        """The weights after the last training."""
        return read_weights(self._weights)

    def prune(self, trained: LevelResult, counts: Counts) -> Masks:
        """The mask with so many survivors, inside the result's, by its trained weights."""
        return choose(self._config, trained, counts)

    @renamed(method="score")
    def prune_at_initialization(self, score: str, initial: Weights, keep: int, seed: int) -> Masks:
        """The mask with so many survivors in all, before training."""
        from tfinit.pruning.scoring.at_initialization import prune_at_initialization

        full = self.full_mask()
        self._prepare(initial, full)
        x, y = self._data.train[:2]
        order = np.random.default_rng(seed).permutation(len(y))
        classes = range(self._data.class_count(f"`score` {score!r}"))
        rows = np.concatenate([order[y[order] == c][:_EXAMPLES_A_CLASS] for c in classes])
        sparsity = 1 - keep / sum(m.size for m in full.values())
        return prune_at_initialization(
            self._model, sparsity, score, x[rows], y[rows], seed=seed
        ).masks


class TfmotFramework:
    """tf_keras: TFMOT's wrappers hold and compute the masks, ``fit`` trains."""

    def __init__(self, config: NetworkConfig, data: Dataset):
        import tf_keras

        from tfinit.pruning.tfmot_api.tfmot import TfmotPruner

        self._keras, self._config, self._data = tf_keras, config, data
        self._rate = LearningRate(tf_keras, config)
        self._pruner = TfmotPruner(_build(tf_keras, config, data, seed=0))
        self._pruner.model.compile(
            OPTIMIZERS[config.optimizer].make(tf_keras, self._rate.value),
            tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
        if isinstance(config, LotteryConfig):
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
        self, training: TrainingPlan, progress: Progress, checkpoint: Checkpoint = no_checkpoint
    ) -> Metrics:
        """Train from mask × weights with a fresh optimizer."""
        config = self._config
        self._loop.reset()
        self._rate.begin_at(training.rate_from)
        self._pruner.set_masks(dict(training.mask))
        write_weights(self._pruner.variables, rewound(training.weights, training.mask))
        variables = self._pruner.variables
        return self._loop(
            training.stop or config.steps,
            config.batch_size,
            training.seed,
            config.evaluate_every,
            progress,
            start=training.start,
            at={s: lambda k=k: k(read_weights(variables)) for s, k in (training.at or {}).items()},
            resume=training.resume,
            checkpoint=checkpoint,
        )

    def fits(self, partial: Partial) -> bool:
        """Whether a training can go on from a checkpoint: it is of this network."""
        return self._loop.fits(partial)

    def final(self) -> Weights:
        """The weights after the last training."""
        # Strips TFMOT's wrappers: what is kept is a plain network with zeros in it.
        return read_weights(all_weights(self._pruner.strip()))

    def prune(self, trained: LevelResult, counts: Counts) -> Masks:
        """The mask, computed by TFMOT to the counts that Keras 3 would prune to."""
        if isinstance(counts, int):
            counts = {k: int(m.sum()) for k, m in choose(self._config, trained, counts).items()}
        write_weights(self._pruner.variables, dict(trained.final))
        self._pruner.set_masks(dict(trained.mask))
        return self._pruner.prune(counts)

    @renamed(method="score")
    def prune_at_initialization(self, score: str, initial: Weights, keep: int, seed: int) -> Masks:
        """Not for tf_keras, and its configuration says so."""
        raise InputError(f"{score!r} needs keras 'keras'.")


def framework_of(config: NetworkConfig, data: Dataset) -> Framework:
    """That of the Keras that the configuration names."""
    return KerasFramework(config, data) if config.keras == "keras" else TfmotFramework(config, data)


__getattr__ = former_names(
    __name__,
    {
        "Parts": "Framework",
        "KerasParts": "KerasFramework",
        "TfmotParts": "TfmotFramework",
        "Training": "TrainingPlan",
        "parts_of": "framework_of",
    },
)
