"""`tfinit prune`: a saved model is trained on while it is pruned, and saved without the pruning."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfinit.arguments import function, instance
from tfinit.datasets import digest
from tfinit.devices import announce
from tfinit.errors import InputError
from tfinit.files import check_writable, remove, write_whole
from tfinit.fine_tuning.config import PruneConfig
from tfinit.fine_tuning.kept import alone, as_json, kept_file, read_kept, save
from tfinit.origin import Origin
from tfinit.pruning.low_magnitude import strip_pruning
from tfinit.pruning.report import SparsityReport, sparsity_report
from tfinit.pruning.schedules import PolynomialDecay
from tfinit.pruning.sparse_optimizer import SparseOptimizer
from tfinit.saved_data import read_splits
from tfinit.saved_model import load_model
from tfinit.training.fit import torch_seeded
from tfinit.variables import prunable_weights, walk_layers

_RAMP = 0.75  # of the training; the rest is for the survivors to settle in


@dataclass(frozen=True)
class FineTuned:
    """What `fine_tune` did.

    Attributes:
        report: The sparsity of the saved model.
        before: Metrics of the given model on the test data, empty without test data.
        after: The same of the pruned model.
        model: The pruned model, stripped.
        out: Its file.
        report_file: The file of the report.
    """

    report: SparsityReport
    before: dict[str, float]
    after: dict[str, float]
    model: Any
    out: Path
    report_file: Path


def fine_tune(
    config: PruneConfig,
    started: Callable[[int, int], None] = lambda done, steps: None,
    stepped: Callable[[], None] = lambda: None,
    warn: Callable[[str], None] = lambda line: None,
) -> FineTuned:
    """Do what a `PruneConfig` says. An interrupted run goes on at its last whole epoch.

    It ends as if it had not been interrupted: the order of the data and the noise of layers without
    a seed are functions of the seed and the epoch, and all else is in the file that is kept beside
    ``out`` until the end. With other data it begins again.

    Args:
        config: What to do.
        started: Called with the number of steps that are done already and of all steps.
        stepped: Called after each step.
        warn: Called with a line about a file of an interrupted run that cannot be used, or was made
            with other versions.

    Raises:
        InputError: A file cannot be read, data do not fit the model, there is nothing to prune or
            no loss, ``out`` cannot be written or another process works on it. Nothing was written.
        WorkError: A file cannot be written.
    """
    instance("config", config, PruneConfig)
    function("started", started, "steps done and all steps")
    function("stepped", stepped)
    function("warn", warn, "a line")
    report_file = config.out.with_suffix(".json")
    for path in (config.out, report_file):
        check_writable("out", path, "Choose another with --out.")
    model = load_model(config.model)
    train, test = read_splits(config.data)
    _check_fits(model, config.data, *train)
    loss = config.loss or _loss_of(model)
    prunable_weights(model)
    origin = Origin.now(digest(*train, *(test or (None, None))))
    kept = kept_file(config, origin.data)
    metrics = ["accuracy"] if np.issubdtype(train[1].dtype, np.integer) else None
    per_epoch = -(-len(train[0]) // config.batch_size)
    steps = per_epoch * config.epochs
    frequency = max(1, steps // 100)
    end = max(frequency, int(_RAMP * steps) // frequency * frequency)
    schedule = PolynomialDecay(0.0, config.sparsity, 0, end, frequency=frequency)

    with alone(config.out):
        announce()
        model.compile(loss=loss, metrics=metrics)
        before = _evaluate(model, test)
        unfinished = read_kept(kept, origin, warn)
        if unfinished is not None:
            model = unfinished
        else:
            optimizer = SparseOptimizer(
                keras.optimizers.Adam(config.learning_rate),
                schedule,
                scope=model,
                allocation=config.allocation,
                block_size=config.blocks or (1, 1),
                keep_zeros=config.keep_zeros,
            )
            model.compile(optimizer, loss, metrics=metrics)
            optimizer.build(model.trainable_variables)
        done = int(model.optimizer.iterations)
        started(done, steps)
        on_batch = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: stepped())
        for epoch in range(done // per_epoch, config.epochs):
            order = np.random.default_rng([config.seed, epoch]).permutation(len(train[0]))
            x, y = (part[order] for part in train)
            _set_noise(model, config.seed, epoch)
            with torch_seeded(False, config.seed, epoch):
                model.fit(
                    x,
                    y,
                    batch_size=config.batch_size,
                    shuffle=False,
                    verbose=0,
                    callbacks=[on_batch],
                )
            save(model, kept, origin)
        stripped = strip_pruning(model)
        report = sparsity_report(stripped)
        after = _evaluate(model, test)  # the stripped one has the same weights, and no loss
        save(stripped, config.out)
        summary = {
            "sparsity": report.to_dict(),
            "before": before,
            "after": after,
            "config": as_json(config),
            "made_with": origin.to_dict(),
        }
        write_whole(report_file, (json.dumps(summary, indent=2) + "\n").encode())
        remove(kept)
    return FineTuned(report, before, after, stripped, config.out, report_file)


def _set_noise(model: Any, seed: int, epoch: int) -> None:
    """Let the noise of an epoch depend on its number: Keras does not save where dropout is.

    Nor does it save the seed of a layer that has none of its own: that is drawn when the model is
    loaded. It is a function of the run's seed here.
    """
    generators = {id(g.state): g for _, layer in walk_layers(model) for g in _generators(layer)}
    states = [v for v in model.variables if v.path.endswith("seed_generator_state")]
    for n, state in enumerate(states):
        own = generators[id(state)].get_config()["seed"] if id(state) in generators else None
        if own is None:
            own = int(np.random.SeedSequence([seed, n]).generate_state(1)[0] >> 1)
        state.assign(np.array([own, epoch * 2**20], "int64"))


def _generators(layer: Any) -> list[Any]:
    return getattr(layer, "_seed_generators", [])


def _check_fits(model: Any, name: str, x: np.ndarray, y: np.ndarray) -> None:
    shape = model.input_shape
    if isinstance(shape, list | dict):
        raise InputError("`model` has several inputs; train it with SparseOptimizer in Python.")
    wanted = tuple(shape[1:])
    if len(wanted) != x.ndim - 1 or any(
        n is not None and n != m for n, m in zip(wanted, x.shape[1:], strict=True)
    ):
        raise InputError(
            f"`data` {name!r} has examples of shape {x.shape[1:]}, the model takes {wanted}."
        )


def _loss_of(model: Any) -> Any:
    loss = getattr(model, "loss", None)
    if loss is None:
        raise InputError(
            "`model` was saved without a loss. Name one: --loss sparse_categorical_crossentropy."
        )
    return loss


def _evaluate(model: Any, test: tuple[np.ndarray, np.ndarray] | None) -> dict[str, float]:
    if test is None:
        return {}
    found = model.evaluate(*test, verbose=0, return_dict=True)
    return {name: float(value) for name, value in found.items()}
