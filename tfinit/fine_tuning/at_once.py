"""`tfinit prune --after-training`: a model pruned by calibration data, and saved."""

import json
from collections.abc import Callable
from typing import Any

from tfinit.devices import announce
from tfinit.files import write_whole
from tfinit.fine_tuning.config import PruneConfig
from tfinit.fine_tuning.kept import alone, as_json, save
from tfinit.fine_tuning.measured import compile_with, digest_of, evaluated, has_loss
from tfinit.fine_tuning.network import Network
from tfinit.fine_tuning.objective import complete, loss_of, settings_of, untrained
from tfinit.fine_tuning.result import FineTuned
from tfinit.named_arrays import ends
from tfinit.origin import Origin
from tfinit.progress import following
from tfinit.pruning.calibrated.names import N_M
from tfinit.pruning.calibrated.pruning import prune_after_training
from tfinit.pruning.calibrated.repairing import repair
from tfinit.pruning.counting.report import sparsity_report
from tfinit.pruning.tfmot_api.low_magnitude import uncompiled
from tfinit.saved_data import Examples, load_batch, read_test


def pruned_at_once(
    config: PruneConfig, network: Network, progress: bool | Callable[[int], None] | None
) -> FineTuned:
    """Do what a configuration with ``after_training`` says.

    Raises:
        InputError: as `tfinit.fine_tuning.fine_tune` and `prune_after_training`. Nothing was
            written.
    """
    model = network.model()
    batch = load_batch(config.data, model, config.examples)
    x = batch[0]
    test = _measurable(config, model)
    report_file = config.out.with_suffix(".json")
    with alone(config.out), following(progress, f"pruning to {config.goal}"):
        announce()
        before = evaluated(model, test)
        found = prune_after_training(
            model,
            x,
            None if config.structure in N_M else config.sparsity,
            score=config.score,
            structure=config.structure,
            allocation=config.allocation,
            filters=list(config.filters) or None,
            damping=config.damping,
            seed=config.seed,
        )
        repaired = repair(model, x, like=network.model()) if config.repair else None
        after = evaluated(model, test)
        plain = uncompiled(model)
        plain = model if plain is None else plain
        report = sparsity_report(plain)
        save(plain, config.out)
        result = FineTuned(
            report,
            before,
            after,
            plain,
            config.out,
            report_file,
            after_training=found,
            repaired=repaired,
        )
        told: dict[str, Any] = result.to_dict() | {
            "config": as_json(config),
            "made_with": Origin.now(digest_of(batch, test)).to_dict(),
        }
        write_whole(report_file, (json.dumps(told, indent=2) + "\n").encode())
    return result


def _measurable(config: PruneConfig, model: Any) -> Examples | None:
    """Test data, and the model compiled with the loss for them; None without one of the two."""
    outputs = ends(model, "outputs")
    loss = loss_of(model, config.loss, outputs)
    without = outputs.names if loss is None else untrained(loss, outputs)
    test = read_test(config.data, model, without)
    if test is None:
        return None
    settings = settings_of(model, config.loss is None, test[1])
    compile_with(model, None, complete(loss, outputs), settings)
    return test if has_loss(model) else None
