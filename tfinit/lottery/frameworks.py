"""Keras 3, and tf_keras with TFMOT: how an experiment makes, trains and prunes its networks."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol, TypeVar

import numpy as np

from tfinit.array_trees import each
from tfinit.datasets import Dataset
from tfinit.errors import InputError
from tfinit.graph.keras_internals import compiled_with
from tfinit.lottery.config import LotteryConfig
from tfinit.lottery.counts import Counts, fractions_of
from tfinit.lottery.made_networks import Networks
from tfinit.lottery.network_config import NetworkConfig
from tfinit.lottery.result import LevelResult, Weights, rewound
from tfinit.lottery.schedule import ScheduleFrom
from tfinit.lottery.structures import SingleWeights, Structure, WholeChannels
from tfinit.model_builders import ModelBuilder
from tfinit.moved import former_names
from tfinit.pruning.scoring.masks import Masks
from tfinit.renamed import renamed
from tfinit.training.augment import Augment
from tfinit.training.checks import overridden
from tfinit.training.engine import trainer
from tfinit.training.fit import FitLoop
from tfinit.training.judged import AUTO, JudgedMetric, judged, measured
from tfinit.training.metrics import (
    Checkpoint,
    Metrics,
    Partial,
    Progress,
    has_classes,
    no_checkpoint,
)
from tfinit.training.noise import set_noise, torch_seeded
from tfinit.variables import all_weights, prunable_weights, read_weights, write_weights

# What scores at initialization look at: of each class, as published; of what has no classes.
_EXAMPLES_A_CLASS = 10
_EXAMPLES = 100
_Config = TypeVar("_Config", bound=NetworkConfig)


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

    @property
    def structure(self) -> Structure:
        """What is pruned: single weights, or whole channels."""

    def judged(self) -> JudgedMetric:
        """What its networks are judged by, of what is measured of them."""

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

    def prune_by_data(self, score: str, trained: LevelResult, counts: Counts) -> Masks:
        """The mask with so many survivors, by what enters each kernel of a dense network."""

    def prune_at_initialization(self, score: str, initial: Weights, keep: int, seed: int) -> Masks:
        """The mask with so many survivors in all, before training."""


def examples_for_scores(data: Dataset, seed: int) -> tuple[Any, Any]:
    """Training examples for scores at initialization: inputs and targets.

    Ten of each class, as published for SNIP and GraSP; where there are no classes, a hundred; of a
    pipeline its first hundred.
    """
    if data.rows is None:
        x, y = data.first(_EXAMPLES)[:2]
        return x, y
    x, y = data.train[:2]
    order = np.random.default_rng(seed).permutation(data.rows)
    if data.classes is not None and has_classes(y):
        of_each = [order[y[order] == c][:_EXAMPLES_A_CLASS] for c in range(data.classes)]
        chosen = np.concatenate(of_each)
    else:
        chosen = order[:_EXAMPLES]
    return each(lambda a: a[chosen], x), each(lambda a: a[chosen], y)


def _make_sparse(model: Any) -> ScheduleFrom:
    """Let a fresh optimizer of the model's kind hold masks; returns what its schedule begins at."""
    import keras

    from tfinit.pruning.in_training.model_masks import (
        ensure_sparse_optimizer,
        find_sparse_optimizer,
    )
    from tfinit.pruning.in_training.rules import PruningRule
    from tfinit.pruning.in_training.wrapping import innermost

    sparse = find_sparse_optimizer(model.optimizer)
    if sparse is not None and any(rule.prunes for rule in sparse.rules):
        raise InputError(
            "`build_model` must return a model that does not prune by itself: the experiment does. "
            "Compile it with the optimizer inside the SparseOptimizer."
        )
    if innermost(model.optimizer).built and int(innermost(model.optimizer).iterations) > 0:
        # Saved in the middle of a training: averages and steps are not to be gone on from.
        model.optimizer = type(model.optimizer).from_config(model.optimizer.get_config())
    rate = ScheduleFrom(keras, innermost(model.optimizer))
    ensure_sparse_optimizer(model, [PruningRule(scope=model)])
    return rate


def _check_loss(model: Any, weights: Mapping[str, Any]) -> None:
    """Raise InputError if a model that was just called has nothing to train by, or new weights."""
    if all_weights(model).keys() != weights.keys():
        raise InputError(
            f"`build_model` must return a built model: {model.name!r} made more weights as it was "
            "called. Call it on a batch before it is returned."
        )
    own = overridden(model, "train_step") or overridden(model, "compute_loss")
    if model.loss is None and not (model.losses or own):
        raise InputError(
            "`build_model` must return a model that was compiled with a loss: "
            "model.compile(optimizer, loss)."
        )


def _judged(config: NetworkConfig, loop: Any, model: Any) -> JudgedMetric:
    return judged(measured(loop.names), config.metric, config.metric_direction, model)


def with_direction(config: _Config, framework: Framework) -> _Config:
    """A configuration that says which way its metric is better, as the model has it.

    So its directory says it to whoever reads it without the model. Where the metric is chosen by
    tfinit, its name says it.

    Raises:
        InputError: the metric is not measured, or nothing says which way it is better.
    """
    direction = framework.judged().direction
    return config if config.metric == AUTO else replace(config, metric_direction=direction)


class KerasFramework:
    """Keras 3: `SparseOptimizer` holds the masks, the compiled loop trains."""

    def __init__(self, config: NetworkConfig, data: Dataset, networks: Networks | None = None):
        self._config, self._data = config, data
        self.networks = networks or Networks(config, data)
        self._model, self._weights = self.networks.model, self.networks.weights
        self._prunable = prunable_weights(self._model)
        self._rate = _make_sparse(self._model)
        if isinstance(config, LotteryConfig):
            fractions_of(config, list(self._prunable))
        augment = Augment() if config.augment else None
        self._loop = trainer(self._model, data, augment, config.evaluate_test)
        _check_loss(self._model, self._weights)

    def initial(self, seed: int) -> Weights:
        """All weights of a newly initialized network, a function of ``seed``."""
        return self.networks.initial(seed)

    @property
    def engine(self) -> str:
        """What trains: see `tfinit.training.trainer`."""
        return self._loop.engine

    def full_mask(self) -> Masks:
        """The mask that prunes nothing."""
        return {key: np.ones(v.shape, bool) for key, v in self._prunable.items()}

    @cached_property
    def structure(self) -> Structure:
        """What is pruned: single weights, or whole channels."""
        if isinstance(self._config, LotteryConfig) and self._config.structure == "channels":
            return WholeChannels(self._model, self._prunable)
        return SingleWeights(self.full_mask())

    def judged(self) -> JudgedMetric:
        """What its networks are judged by, of what is measured of them."""
        return _judged(self._config, self._loop, self._model)

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
        return self.structure.choose(self._config, trained, counts)

    def prune_by_data(self, score: str, trained: LevelResult, counts: Counts) -> Masks:
        """The mask with so many survivors, by what enters each kernel of a dense network."""
        from tfinit.lottery.data_masks import mask_by_data

        self._prepare(trained.final, self.full_mask())
        return mask_by_data(self._model, self._data, score, counts, trained.seed)

    @renamed(method="score")
    def prune_at_initialization(self, score: str, initial: Weights, keep: int, seed: int) -> Masks:
        """The mask with so many survivors in all, before training."""
        self._prepare(initial, self.full_mask())
        set_noise(self._model, seed, 0)  # whatever was trained before
        x, y = examples_for_scores(self._data, seed)
        with torch_seeded(False, seed, 0):
            return self.structure.at_initialization(self._model, score, keep, (x, y), seed)


class TfmotFramework:
    """tf_keras: TFMOT's wrappers hold and compute the masks, ``fit`` trains."""

    def __init__(self, config: NetworkConfig, data: Dataset, networks: Networks | None = None):
        import tf_keras

        from tfinit.pruning.tfmot_api.tfmot import TfmotPruner

        self._config, self._data = config, data
        self.networks = networks or Networks(config, data)
        self._pruner = TfmotPruner(self.networks.model)
        compiled = compiled_with(self.networks.model)
        compiled["optimizer"] = self.networks.model.optimizer
        self._rate = ScheduleFrom(tf_keras, compiled["optimizer"])
        self._pruner.model.compile(**compiled)
        if isinstance(config, LotteryConfig):
            fractions_of(config, list(self._pruner.weights))
        self._loop = FitLoop(
            self._pruner.model,
            data,
            callbacks=lambda: [self._pruner.callback()],
            before_evaluation=self._pruner.apply_masks,
            evaluate_test=config.evaluate_test,
        )

    def initial(self, seed: int) -> Weights:
        """All weights of a newly initialized network, a function of ``seed``."""
        return self.networks.initial(seed)

    @property
    def engine(self) -> str:
        """What trains: ``"fit"``."""
        return self._loop.engine

    def full_mask(self) -> Masks:
        """The mask that prunes nothing."""
        return {key: np.ones(v.shape, bool) for key, v in self._pruner.weights.items()}

    @cached_property
    def structure(self) -> Structure:
        """What is pruned: single weights."""
        return SingleWeights(self.full_mask())

    def judged(self) -> JudgedMetric:
        """What its networks are judged by, of what is measured of them."""
        return _judged(self._config, self._loop, self._pruner.model)

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
            chosen = self.structure.choose(self._config, trained, counts)
            counts = self.structure.alive(chosen)
        write_weights(self._pruner.variables, dict(trained.final))
        self._pruner.set_masks(dict(trained.mask))
        return self._pruner.prune(counts)

    def prune_by_data(self, score: str, trained: LevelResult, counts: Counts) -> Masks:
        """Not for tf_keras, and its configuration says so."""
        raise InputError(f"{score!r} needs keras 'keras'.")

    @renamed(method="score")
    def prune_at_initialization(self, score: str, initial: Weights, keep: int, seed: int) -> Masks:
        """Not for tf_keras, and its configuration says so."""
        raise InputError(f"{score!r} needs keras 'keras'.")


def framework_of(
    config: NetworkConfig, data: Dataset, builder: ModelBuilder | None = None
) -> KerasFramework | TfmotFramework:
    """That of the Keras that the configuration names.

    Args:
        config: The experiment.
        data: What it trains on.
        builder: What makes the user's own network; None: the configuration names one of tfinit's.
    """
    networks = Networks(config, data, builder)
    kind = KerasFramework if config.keras == "keras" else TfmotFramework
    return kind(config, data, networks)


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
