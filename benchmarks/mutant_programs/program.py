"""A program that trains a network: all that a mutation may change is a field of it."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import keras
import numpy as np

EPS = 1e-9


@dataclass(frozen=True)
class Program:
    """What somebody wrote.

    Attributes:
        name: What it is.
        build: () → the model, not compiled. Its last layers are called "head" and so on.
        task: ``"classes"`` (numbers from 0 on, or one-hot), ``"binary"``, ``"labels"`` (several),
            ``"numbers"``; by output where it has several.
        loss: A name of Keras's; by output where it has several.
        from_logits: What the cross-entropy is told.
        optimizer: A class of Keras's, and what it is made with.
        rate: Its learning rate.
        x: The inputs.
        y: The targets.
        truth: The targets before any mutation; None: `y`.
        edits: Changes of the configurations of layers: (is it a head, configuration) → None.
        epochs: How long it trains, in batches of 64.
    """

    name: str
    build: Callable[[], Any]
    task: Any
    loss: Any
    x: np.ndarray
    y: Any
    optimizer: Callable[..., Any] = keras.optimizers.Adam
    options: dict[str, Any] = field(default_factory=dict)
    rate: float = 3e-3
    from_logits: bool = False
    truth: Any = None
    edits: tuple[Callable[[bool, dict[str, Any]], None], ...] = ()
    epochs: int = 40

    def edited(self, edit: Callable[[bool, dict[str, Any]], None]) -> "Program":
        return replace(self, edits=(*self.edits, edit))

    def compiled(self, seed: int = 0) -> Any:
        """The model that the program makes."""
        keras.utils.set_random_seed(seed)
        model = self.build()
        if self.edits:
            model = keras.models.clone_model(model, clone_function=self._cloned)
        loss = self.loss
        if isinstance(loss, str) and self.from_logits:
            loss = {
                "binary_crossentropy": keras.losses.BinaryCrossentropy,
                "categorical_crossentropy": keras.losses.CategoricalCrossentropy,
                "sparse_categorical_crossentropy": keras.losses.SparseCategoricalCrossentropy,
            }[loss](from_logits=True)
        model.compile(
            self.optimizer(self.rate, **self.options),
            loss,
            jit_compile=False,
            steps_per_execution=40,
        )
        return model

    def _cloned(self, layer: Any) -> Any:
        configuration = layer.get_config()
        for inner in inside(configuration):
            for edit in self.edits:
                edit(layer.name.startswith("head"), inner)
        return type(layer).from_config(configuration)

    def learned(self, seed: int = 0) -> float:
        """How much it learns, of all there is: 1 is perfect, 0 what a constant would score."""
        model = self.compiled(seed)
        if model.trainable_weights:
            # One long epoch, many steps at once: most of the time would pass between them.
            random = np.random.default_rng(seed)
            order = np.concatenate([random.permutation(len(self.x)) for _ in range(self.epochs)])
            x, y = keras.tree.map_structure(lambda part: part[order], (self.x, self.y))
            model.fit(x, y, batch_size=64, shuffle=False, verbose=0)
        made = keras.tree.map_structure(np.asarray, model(self.x, training=False))
        truth = self.y if self.truth is None else self.truth
        if isinstance(self.task, dict):
            return float(np.mean([score(self.task[k], truth[k], made[k]) for k in self.task]))
        return score(self.task, truth, made)


def inside(configuration: dict[str, Any]) -> list[dict[str, Any]]:
    """A layer's configuration, and those of the layers that it wraps."""
    found = [configuration]
    for value in configuration.values():
        if isinstance(value, dict) and "units" in (value.get("config") or {}):
            found += inside(value["config"])
    return found


def score(task: str, truth: np.ndarray, made: np.ndarray) -> float:
    """Of what there is to learn, the share that was learned: 0 for a constant or for NaN."""
    if not np.all(np.isfinite(made)):
        return 0.0
    if task == "classes":
        if truth.ndim == made.ndim and truth.shape[-1] > 1:
            truth = truth.argmax(-1)
        truth = truth.reshape(made.shape[:-1])
        guessed = made.argmax(-1) if made.shape[-1] > 1 else np.round(made[..., 0])
        chance = np.bincount(truth.astype(int).ravel()).max() / truth.size
        return max(0.0, float((np.mean(guessed == truth) - chance) / (1 - chance)))
    if task == "binary":
        return max(0.0, 2 * above(truth.ravel(), made.reshape(truth.size, -1)[:, -1]) - 1)
    if task == "labels":
        columns = zip(truth.T, made.T, strict=True)
        return float(np.mean([max(0.0, 2 * above(t, m) - 1) for t, m in columns]))
    if made.size != truth.size:
        return 0.0
    truth = truth.reshape(made.shape)
    error, all_of_it = np.mean((truth - made) ** 2), np.mean((truth - truth.mean(0)) ** 2)
    return float(np.clip(1 - error / (all_of_it + EPS), 0, 1))


def above(truth: np.ndarray, made: np.ndarray) -> float:
    """How often a 1 gets more than a 0 (the area under the ROC curve); ties count half."""
    ones, zeros = made[truth > 0.5], made[truth <= 0.5]
    difference = ones[:, None] - zeros[None, :]
    return float(np.mean((difference > 0) + (difference == 0) / 2))
