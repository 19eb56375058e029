"""Modules under their former names: imported with a warning, and the same module as the new one."""

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import warnings
from collections.abc import Sequence
from types import ModuleType

# Former name → today's, both inside tfinit.
MOVED = {
    "schemes.graph": "graph.tracing",
    "schemes.activations": "graph.activations",
    "schemes.kernels": "graph.kernels",
    "schemes.residual": "graph.residual",
    "schemes.channels": "graph.output_channels",
    "diagnostics.normalization": "graph.normalizations",
    "diagnostics.structure": "graph.structure",
    "diagnostics.surroundings": "graph.structure",
    "pruning.compaction.channels": "graph.channels",
    "pruning.compaction.layer_rules": "graph.channel_rules",
    "pruning.compaction.elementwise": "graph.elementwise",
    "pruning.multiply_adds": "graph.multiply_adds",
    "overlay": "graph.overlay",
    "snapshot": "graph.snapshot",
    "exclusive": "graph.exclusive",
    "pruning.assigning": "pruning.in_training.assigning",
    "pruning.binding": "pruning.in_training.binding",
    "pruning.living": "pruning.in_training.living",
    "pruning.pruner": "pruning.in_training.pruner",
    "pruning.rules": "pruning.in_training.rules",
    "pruning.schedules": "pruning.in_training.schedules",
    "pruning.selection": "pruning.in_training.selection",
    "pruning.patterns": "pruning.in_training.patterns",
    "pruning.sparse_optimizer": "pruning.in_training.sparse_optimizer",
    "pruning.update": "pruning.in_training.update",
    "pruning.wrapping": "pruning.in_training.wrapping",
    "pruning.fresh": "pruning.in_training.fresh",
    "pruning.model_masks": "pruning.in_training.model_masks",
    "pruning.lora": "pruning.in_training.lora",
    "pruning.scores": "pruning.scoring.scores",
    "pruning.criteria": "pruning.scoring.criteria",
    "pruning.allocation": "pruning.scoring.allocation",
    "pruning.masks": "pruning.scoring.masks",
    "pruning.at_initialization": "pruning.scoring.at_initialization",
    "pruning.loss_gradients": "pruning.scoring.loss_gradients",
    "pruning.synaptic_flow": "pruning.scoring.synaptic_flow",
    "pruning.low_magnitude": "pruning.tfmot_api.low_magnitude",
    "pruning.callbacks": "pruning.tfmot_api.callbacks",
    "pruning.policy": "pruning.tfmot_api.policy",
    "pruning.prunable_layer": "pruning.tfmot_api.prunable_layer",
    "pruning.tfmot": "pruning.tfmot_api.tfmot",
    "pruning.marks": "pruning.tfmot_api.marks",
    "pruning.adoption": "pruning.tfmot_api.adoption",
    "pruning.report": "pruning.counting.report",
    "pruning.effective_weights": "pruning.counting.effective_weights",
    "pruning.emptied": "pruning.counting.emptied",
    "schemes.best": "schemes.engine.best",
    "schemes.forward": "schemes.engine.forward",
    "schemes.isometries": "schemes.engine.isometries",
    "schemes.moments": "schemes.engine.moments",
    "schemes.report": "schemes.engine.report",
    "schemes.start": "schemes.engine.start",
    "schemes.streams": "streams",
    "schemes.task": "schemes.engine.task",
    "schemes.unit_means": "schemes.engine.unit_means",
    "diagnostics.batch": "diagnostics.measuring.batch",
    "diagnostics.preprocessing": "diagnostics.measuring.preprocessing",
    "diagnostics.measurement": "diagnostics.measuring.measurement",
    "diagnostics.signals": "diagnostics.measuring.signals",
    "diagnostics.twins": "diagnostics.measuring.twins",
    "diagnostics.updates": "diagnostics.measuring.updates",
    "diagnostics.rules": "diagnostics.judging.rules",
    "diagnostics.scale_rules": "diagnostics.judging.scale_rules",
    "diagnostics.causes": "diagnostics.judging.causes",
    "diagnostics.cures": "diagnostics.judging.cures",
    "diagnostics.findings": "diagnostics.judging.findings",
    "diagnostics.trends": "diagnostics.judging.trends",
    "diagnostics.case": "diagnostics.judging.evidence",
    "diagnostics.advice": "diagnostics.advising.advice",
    "diagnostics.choices": "diagnostics.advising.choices",
    "diagnostics.recommendation": "diagnostics.advising.recommendation",
    "diagnostics.files": "saved_data",
    "diagnostics.nonlinearity": "graph.nonlinearity",
    "diagnostics.plain": "diagnostics.json_values",
    "comparison.track": "comparison.shared_network",
    "comparison.entrants": "comparison.initializations",
    "comparison.named": "comparison.from_config",
    "demo.starts": "demo.initialization",
    "demo.scene": "demo.plane",
    "exporting.making": "exporting.one_file",
    "exporting.shipping": "exporting.export_models",
    "exporting.running": "exporting.isolated_runs",
    "initializers.target": "initializers.current_weight",
    "lottery.resumable": "lottery.stored_training",
    "lottery.parts": "lottery.frameworks",
}


class FormerNames(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds a module of `MOVED` by its former name. Last in `sys.meta_path`: asked if all fail."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The way to the module of today, for a former name; None for any other."""
        package, _, name = fullname.partition(".")
        if package != "tfinit" or name not in MOVED:
            return None
        return importlib.util.spec_from_loader(fullname, self)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        """The module of today; a warning says its name."""
        today = f"tfinit.{MOVED[spec.name.partition('.')[2]]}"
        warnings.warn(
            f"The module {spec.name} is now {today}; import that.", DeprecationWarning, stacklevel=2
        )
        return _Former(spec.name, importlib.import_module(today))

    def exec_module(self, module: ModuleType) -> None:
        """Nothing: it has run under its name of today."""


class _Former(ModuleType):
    """All that is in another module, now and later."""

    def __init__(self, name: str, today: ModuleType) -> None:
        super().__init__(name, today.__doc__)
        self._today = today

    def __getattr__(self, name: str) -> object:
        return getattr(self._today, name)

    def __dir__(self) -> list[str]:
        return dir(self._today)


def install() -> None:
    """Let former names be imported."""
    if not any(isinstance(finder, FormerNames) for finder in sys.meta_path):
        sys.meta_path.append(FormerNames())
