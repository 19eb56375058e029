"""`tfinit prune`: a model is trained on while it is pruned, and saved without the pruning."""

import json
import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from tfinit.arguments import function, instance
from tfinit.array_trees import each, flat
from tfinit.devices import announce
from tfinit.errors import InputError
from tfinit.files import check_writable, remove, write_whole
from tfinit.fine_tuning.at_once import pruned_at_once
from tfinit.fine_tuning.config import PruneConfig
from tfinit.fine_tuning.examples import check_trains
from tfinit.fine_tuning.kept import alone, as_json, kept_file, read_kept, save
from tfinit.fine_tuning.measured import compile_with, digest_of, evaluated, has_loss
from tfinit.fine_tuning.network import network_of
from tfinit.fine_tuning.objective import (
    complete,
    loss_of,
    settings_of,
    untrained,
)
from tfinit.fine_tuning.result import FineTuned
from tfinit.fine_tuning.whole_channels import by_and_by, planned
from tfinit.graph.keras_internals import seed_generators_of
from tfinit.named_arrays import ends
from tfinit.origin import Origin
from tfinit.progress import as_warning, check_progress, following
from tfinit.pruning.channels.zeroed import removing_zeros
from tfinit.pruning.counting.report import sparsity_report
from tfinit.pruning.in_training.schedules import PolynomialDecay
from tfinit.pruning.in_training.selection import keep_count
from tfinit.pruning.in_training.sparse_optimizer import SparseOptimizer
from tfinit.pruning.scoring.sparsities import sparsities
from tfinit.pruning.tfmot_api.low_magnitude import strip_pruning
from tfinit.renamed import renamed
from tfinit.saved_data import read_examples
from tfinit.training.noise import seed_torch, torch_seeded
from tfinit.training.order import epoch_order
from tfinit.variables import prunable_weights, walk_layers

_RAMP = 0.75  # of the training; the rest is for the survivors to settle in


@renamed(("config", "started", "stepped", "warn", "progress"))
def fine_tune(
    config: PruneConfig,
    *,
    progress: bool | Callable[[int], None] | None = True,
    warn: Callable[[str], None] = as_warning,
    started: Callable[[int, int], None] = lambda done, steps: None,
    stepped: Callable[[], None] = lambda: None,
) -> FineTuned:
    """Do what a `PruneConfig` says. An interrupted run goes on at its last whole epoch.

    It ends as if it had not been interrupted: the order of the data and the noise of layers without
    a seed are functions of the seed and the epoch, and all else is in the file that is kept beside
    ``out`` until the end. With other data it begins again. Any model of Keras 3 is taken, on any
    backend, with a ``train_step`` or ``compile`` of its own, too; what trains it is Adam.

    Args:
        config: What to do.
        progress: True: a bar with the time that is left, on a terminal or in a notebook. False or
            None: nothing. Or a function, called with the number of steps done, or found done, since
            the last call.
        warn: Called with a line about a file of an interrupted run that cannot be used, or was made
            with other versions or on another device. By default it is Python's warning.
        started: Called with the number of steps that are done already and of all steps.
        stepped: Called after each step.

    Raises:
        InputError: A file cannot be read, data do not fit the model, there is nothing to prune or
            no loss, ``out`` cannot be written or another process works on it. Nothing was written.
        WorkError: A file cannot be written.
    """
    instance("config", config, PruneConfig)
    function("started", started, "steps done and all steps")
    function("stepped", stepped)
    function("warn", warn, "a line")
    check_progress(progress)
    report_file = config.out.with_suffix(".json")
    for path in (config.out, report_file):
        check_writable("out", path, "Choose another with --out.")
    network = network_of(config)
    if config.after_training:
        return pruned_at_once(config, network, progress)
    model = network.model()
    outputs = ends(model, "outputs")
    loss = loss_of(model, config.loss, outputs)
    without = outputs.names if loss is None else untrained(loss, outputs)
    train, test = read_examples(config.data, model, without, need_targets=loss is not None)
    loss = complete(loss, outputs)
    settings = settings_of(model, config.loss is None, train[1])
    if not config.channels:
        _check_prunes(config, prunable_weights(model))
    compile_with(model, None, loss, settings)
    check_trains(model, *train, config.data, config.batch_size)
    plan = planned(config, model, train) if config.channels else None
    removed = None if plan is None or config.gradual else plan.apply(model)
    origin = Origin.now(digest_of(train, test))
    kept = kept_file(config, origin.data, network.identity())
    test = test if has_loss(model) else None
    examples = len(flat(train[0])[0])
    per_epoch = -(-examples // config.batch_size)
    steps = per_epoch * config.epochs
    frequency = max(1, steps // 100)
    end = max(frequency, int(_RAMP * steps) // frequency * frequency)
    rule: dict[str, Any] = {}
    if plan is not None and config.gradual:
        rule = by_and_by(plan, config, end, frequency)
    elif plan is None:
        schedule = PolynomialDecay(0.0, config.sparsity, 0, end, frequency=frequency)
        rule = {"schedule": schedule, "allocation": config.allocation}
        rule |= {"block_size": config.blocks or (1, 1), "keep_zeros": config.keep_zeros}

    def pruning(model: Any) -> Any:
        """The model, with the optimizer that prunes it; where channels are gone, nothing more."""
        adam = keras.optimizers.Adam(config.learning_rate)
        optimizer = SparseOptimizer(adam, scope=model, **rule)
        compile_with(model, optimizer, loss, settings)
        optimizer.build(model.trainable_variables)
        return model

    def fresh() -> Any:
        made = network.model()
        if config.channels and not config.gradual:
            compile_with(made, None, loss, settings)
            made = planned(config, made, train).apply(made).model
        return pruning(made)

    with (
        alone(config.out),
        following(progress, f"pruning to {config.goal}") as follower,
    ):
        announce()
        follower.expect(steps)
        before = evaluated(model, test)
        unfinished = read_kept(kept, origin, warn, fresh if network.made else None)
        smaller = model if removed is None else removed.model
        model = pruning(smaller) if unfinished is None else unfinished
        done = int(model.optimizer.iterations)
        started(done, steps)
        follower(done)

        def on_step(batch: int, logs: Any) -> None:
            stepped()
            follower(1)

        # Not by `tfinit.training`, whose loops leave out what is less than a batch, begin the noise
        # of layers at other seeds, and stop where XLA cannot train a model: here any model of a
        # file is trained, on all of its examples, and a run that was kept goes on to the same bits.
        on_batch = keras.callbacks.LambdaCallback(on_train_batch_end=on_step)
        for epoch in range(done // per_epoch, config.epochs):
            order = epoch_order(examples, config.seed, epoch)
            x, y, weights = (each(lambda part, at=order: part[at], parts) for parts in train)
            _set_noise(model, config.seed, epoch)
            # Once it has begun: before, Keras calls the model to build what is not built yet.
            noise = keras.callbacks.LambdaCallback(
                on_epoch_begin=lambda *_, epoch=epoch: seed_torch(config.seed, epoch)
            )
            with torch_seeded(False, config.seed, epoch):
                model.fit(
                    x,
                    y,
                    sample_weight=weights,
                    batch_size=config.batch_size,
                    shuffle=False,
                    verbose=0,
                    callbacks=[on_batch, noise],
                )
            save(model, kept, origin)
        after = evaluated(model, test)  # the stripped one has the same weights, and no loss
        stripped = strip_pruning(model)
        if plan is not None and config.gradual:
            removed = removing_zeros(plan, stripped).apply(stripped)
            stripped = removed.model
        report = sparsity_report(stripped)
        save(stripped, config.out)
        summary = {
            "sparsity": report.to_dict(),
            **({} if removed is None else {"channels": removed.to_dict()}),
            "before": before,
            "after": after,
            "config": as_json(config),
            "made_with": origin.to_dict(),
        }
        write_whole(report_file, (json.dumps(summary, indent=2) + "\n").encode())
        remove(kept)
    return FineTuned(report, before, after, stripped, config.out, report_file, removed)


def _set_noise(model: Any, seed: int, epoch: int) -> None:
    """Let the noise of an epoch depend on its number: Keras does not save where dropout is.

    Nor does it save the seed of a layer that has none of its own: that is drawn when the model is
    loaded. It is a function of the run's seed here.
    """
    layers = [layer for _, layer in walk_layers(model)]
    generators = {id(g.state): g for layer in layers for g in seed_generators_of(layer)}
    states = [v for v in model.variables if v.path.endswith("seed_generator_state")]
    for n, state in enumerate(states):
        own = generators[id(state)].get_config()["seed"] if id(state) in generators else None
        if own is None:
            own = int(np.random.SeedSequence([seed, n]).generate_state(1)[0] >> 1)
        state.assign(np.array([own, epoch * 2**20], "int64"))


def _check_prunes(config: PruneConfig, weights: dict[str, Any]) -> None:
    """A low sparsity of small layers rounds to no weight at all."""
    if config.blocks is not None:  # whose counts are of blocks
        return
    shapes = {key: tuple(weight.shape) for key, weight in weights.items()}
    # Globally as many are pruned as uniformly.
    allocation = "uniform" if config.allocation == "global" else config.allocation
    sizes = {key: math.prod(shape) for key, shape in shapes.items()}
    parts = sparsities(allocation, config.sparsity, shapes)
    if all(int(keep_count(sizes[key], part)) == sizes[key] for key, part in parts.items()):
        raise InputError(
            f"`sparsity` {config.sparsity:g} rounds to none of the {max(sizes.values())} weights "
            "of the largest layer, so nothing would be pruned. Ask for more."
        )
