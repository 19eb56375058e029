"""The names of a package, loaded when they are used; modules and names as they were called."""

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

import lazy_loader

from tfinit.errors import TfinitDeprecationWarning

_PASSED_BY = ("importlib", __name__)  # on the way from a line to the warning

# Room → the modules that have their names there and were elsewhere; then those with other names.
_ROOMS = {
    "graph": """
        schemes.activations schemes.kernels schemes.residual diagnostics.structure
        pruning.compaction.channels pruning.compaction.elementwise pruning.multiply_adds overlay
        snapshot exclusive diagnostics.nonlinearity
    """,
    "pruning.in_training": """
        pruning.assigning pruning.binding pruning.living pruning.pruner pruning.rules
        pruning.schedules pruning.selection pruning.patterns pruning.sparse_optimizer
        pruning.update pruning.wrapping pruning.fresh pruning.model_masks pruning.lora
    """,
    "pruning.scoring": """
        pruning.allocation pruning.masks pruning.at_initialization pruning.loss_gradients
        pruning.synaptic_flow
    """,
    "pruning.tfmot_api": """
        pruning.low_magnitude pruning.callbacks pruning.policy pruning.prunable_layer
        pruning.tfmot pruning.marks pruning.adoption
    """,
    "pruning.counting": """
        pruning.report pruning.effective_weights pruning.emptied
    """,
    "schemes.engine": """
        schemes.best schemes.forward schemes.isometries schemes.moments schemes.report
        schemes.task schemes.unit_means
    """,
    "diagnostics.measuring": """
        diagnostics.batch diagnostics.preprocessing diagnostics.measurement diagnostics.signals
        diagnostics.twins diagnostics.updates
    """,
    "diagnostics.judging": """
        diagnostics.rules diagnostics.causes diagnostics.cures
        diagnostics.findings diagnostics.trends
    """,
    "diagnostics.advising": """
        diagnostics.advice diagnostics.choices diagnostics.recommendation
    """,
}
_RENAMED = {
    "schemes.graph": "graph.tracing",
    "schemes.channels": "graph.output_channels",
    "diagnostics.normalization": "graph.normalizations",
    "diagnostics.surroundings": "graph.structure",
    "pruning.compaction.layer_rules": "graph.channel_rules",
    "pruning.scores": "pruning.scoring.before_training",
    "pruning.criteria": "pruning.scoring.after_training",
    "schemes.streams": "streams",
    "schemes.start": "schemes.engine.registry",
    "diagnostics.case": "diagnostics.judging.evidence",
    "diagnostics.scale_rules": "diagnostics.judging.rules.scale",
    "diagnostics.judging.scale_rules": "diagnostics.judging.rules.scale",
    "diagnostics.files": "saved_data",
    "diagnostics.plain": "results",
    "comparison.track": "comparison.shared_network",
    "comparison.entrants": "comparison.initializations",
    "comparison.named": "comparison.from_config",
    "demo.starts": "demo.initialization",
    "demo.scene": "demo.plane",
    "demo.choices": "demo.settings",
    "exporting.making": "exporting.one_file",
    "exporting.shipping": "exporting.export_models",
    "exporting.running": "exporting.isolated_runs",
    "exporting.suffixes": "exporting.formats",
    "exporting.classes": "exporting.accuracy",
    "exporting.command": "exporting.from_files",
    "initializers.target": "initializers.base",
    "lottery.resumable": "lottery.stored_training",
    "initializers.haar": "haar",
    "lottery.parts": "lottery.frameworks",
    "lottery.stability": "lottery.stability_experiment",
}
# Former name → today's, both inside tfinit.
MOVED = _RENAMED | {
    former: f"{room}.{former.rpartition('.')[2]}"
    for room, modules in _ROOMS.items()
    for former in modules.split()
}
# What was in one of them and is not in the module of today.
ELSEWHERE = {
    "comparison.entrants.Entrant": "comparison.initializations.Initialization",
    "comparison.entrants.entrants": "comparison.initializations.read_schemes",
    "comparison.track.Track": "comparison.shared_network.SharedNetwork",
    "diagnostics.case.Case": "diagnostics.judging.evidence.Evidence",
    "diagnostics.plain.plain": "results.json_ready",
    "initializers.target.target_of_call": "initializers.base.weight_being_filled",
    "pruning.allocation.allocation_config": "pruning.scoring.configured.allocation_config",
    "pruning.allocation.allocation_from_config": (
        "pruning.scoring.configured.allocation_from_config"
    ),
    "pruning.allocation.floor_counts": "pruning.scoring.sparsities.floor_counts",
    "pruning.allocation.sparsities": "pruning.scoring.sparsities.sparsities",
    "pruning.at_initialization.METHODS": "pruning.scoring.scores.names(BEFORE)",
    "pruning.criteria.CRITERIA": "pruning.scoring.scores.names(AFTER)",
    "pruning.criteria.keep_globally": "pruning.scoring.masks.keep_globally",
    "pruning.criteria.keep_layerwise": "pruning.scoring.masks.keep_layerwise",
    "pruning.criteria.score": "pruning.scoring.after_training.score_trained",
    "pruning.criteria.stream": "streams.stream_for",
    "pruning.rules.SCORES": "pruning.scoring.scores.names(STEP)",
    "pruning.schedules.check_schedule": "pruning.in_training.schedule_checks.check_schedule",
    "pruning.schedules.falls_short": "pruning.in_training.schedule_checks.falls_short",
    "pruning.schedules.late": "pruning.in_training.schedule_checks.late",
    "pruning.schedules.never_prunes": "pruning.in_training.schedule_checks.never_prunes",
    "schemes.isometries.haar": "haar.haar_matrices",
    "schemes.kernels.KERNEL_NAMES": "graph.layer_kinds.KERNEL_NAMES",
}
# Of these a function of the package has the name today. It has the module's names as attributes,
# and stays what the name means in the package.
FUNCTIONS = ("lottery.stability",)


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
        warn_where_it_is_used(f"The module {spec.name} is now {today}; import that.")
        return _Former(spec.name, importlib.import_module(today))

    def exec_module(self, module: ModuleType) -> None:
        """Nothing: it has run under its name of today. One of `FUNCTIONS` takes its place."""
        former = module.__name__.partition(".")[2]
        if former in FUNCTIONS:
            # What is here is what is imported, and what the package has by the name.
            sys.modules[module.__name__] = getattr(module, former.rpartition(".")[2])


class _Former(ModuleType):
    """All that is in another module, now and later."""

    def __init__(self, name: str, today: ModuleType) -> None:
        super().__init__(name, today.__doc__)
        self._today = today
        places = {f"tfinit.{then}": f"tfinit.{now}" for then, now in ELSEWHERE.items()}
        names = {
            then[len(name) + 1 :]: now
            for then, now in places.items()
            if then.startswith(f"{name}.")
        }
        self._find = former_names(name, names, lambda asked: getattr(today, asked))

    def __getattr__(self, name: str) -> object:
        return self._find(name)

    def __dir__(self) -> list[str]:
        return dir(self._today)


def install() -> None:
    """Let former names be imported."""
    if not any(isinstance(finder, FormerNames) for finder in sys.meta_path):
        sys.meta_path.append(FormerNames())


def former_names(
    module: str, names: Mapping[str, str], otherwise: Callable[[str], Any] | None = None
) -> Callable[[str], Any]:
    """The ``__getattr__`` of a module that still has some former names.

    Args:
        module: Its ``__name__``.
        names: Former name → today's in the same module, or with the module that it is in; or such
            a function with its argument, a name of that module too: ``tfinit.place.names(AFTER)``.
        otherwise: Asked for every other name, as the ``__getattr__`` that the module has.

    Example:
        >>> get = former_names("tfinit.errors", {"BadInput": "InputError"})
        >>> get("BadInput").__name__
        'InputError'
    """

    def get(name: str) -> Any:
        if name in names:
            today = names[name] if "." in names[name] else f"{module}.{names[name]}"
            warn_where_it_is_used(f"{module}.{name} is now {today}.")
            path, _, argument = today.rstrip(")").partition("(")
            home = importlib.import_module(path.rpartition(".")[0])
            found = getattr(home, path.rpartition(".")[2])
            return found(getattr(home, argument)) if argument else found
        if otherwise is not None:
            return otherwise(name)
        raise AttributeError(f"module {module!r} has no attribute {name!r}")

    return get


def warn_where_it_is_used(text: str) -> None:
    """A DeprecationWarning at the line that asks for a name, whatever way of importing it goes."""
    frame = sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__", "").startswith(_PASSED_BY):
        frame = frame.f_back
    where = frame.f_globals
    warnings.warn_explicit(
        text,
        TfinitDeprecationWarning,
        frame.f_code.co_filename,
        frame.f_lineno,
        module=where.get("__name__", "<string>"),
        registry=where.setdefault("__warningregistry__", {}),
    )


Attached = tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]


def attach(package: str, file: str, former: Mapping[str, str] | None = None) -> Attached:
    """The ``__getattr__``, ``__dir__`` and ``__all__`` of a package.

    Its names are those of the stub beside it, ``__init__.pyi``, where type checkers and editors
    read them too (SPEC 1 of Scientific Python). A name of the stub is never taken by a module of
    the same name. Modules of the package, under their names of today and former ones, are found as
    attributes without being imported first.

    Args:
        package: ``__name__``.
        file: ``__file__``.
        former: Former name → today's in the package: found with a warning.
    """
    load, names, public = lazy_loader.attach_stub(package, file)

    def get(name: str) -> Any:
        if name in public:
            value = load(name)
            if not isinstance(value, ModuleType):
                # Not kept, as lazy_loader does: lists of what is registered are as of now.
                vars(sys.modules[package]).pop(name, None)
            return value
        module = f"{package}.{name}"
        if name.startswith("_") or importlib.util.find_spec(module) is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return importlib.import_module(module)

    return former_names(package, former or {}, get), names, public
