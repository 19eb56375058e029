"""Every public function of tfinit with a call that works, and values that should not.

`public` finds the functions, from ``__all__`` and their signatures; `samples` has a valid call for
each of them; `odd_values` is what takes the place of one of its arguments; `attempt` makes the call
and says what is wrong with what came of it. tests/test_public_surface.py and
scripts/_attack_surface.py go through them.
"""

import importlib
import inspect
import os
import re
import typing
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import tfinit
from tfinit.errors import InputError, MissingPackage

# Beside the packages that `tfinit.__all__` names.
_BESIDE = (
    "lottery.linear_connectivity",
    "lottery.stability_experiment",
    "lottery.report",
    "pruning.channels",
    "pruning.compaction",
    "pruning.scoring.before_training",
)
PUBLIC_MODULES = (
    *(name for name in tfinit.__all__ if isinstance(getattr(tfinit, name), ModuleType)),
    *_BESIDE,
)
# What tfinit makes and hands out: nobody is asked to make one. Their methods are tried.
MADE_HERE = {
    *("initializers.CriticalPoint", "gains.Sinusoid", "schemes.Record", "schemes.Report"),
    "probes.Point",
    *("pruning.AtInitialization", "pruning.Compaction", "pruning.LayerSparsity"),
    *("pruning.AfterTraining", "pruning.Repair", "pruning.Sensitivity"),
    *("pruning.ChannelPlan", "pruning.ChannelPruning", "pruning.channels.GroupPlan"),
    "pruning.channels.Skipped",
    *("pruning.SparsityReport", "training.Diverged", "training.Metrics", "training.Partial"),
    *("lottery.Branch", "lottery.Conclusion", "lottery.LevelResult", "lottery.StabilityResult"),
    *(
        "lottery.linear_connectivity.StabilityRow",
        "lottery.report.LevelSummary",
        "datasets.Dataset",
    ),
    *("comparison.Comparison", "comparison.Ranking", "comparison.Row", "comparison.Run"),
    *("diagnostics.Diagnosis", "diagnostics.Finding", "diagnostics.Recommendation"),
    *("diagnostics.InitializationReport", "diagnostics.WeightState"),
    *("diagnostics.CoordinateCheck", "diagnostics.LayerCoordinates"),
    *("exporting.Choice", "exporting.ExportReport", "exporting.FileReport", "exporting.Latency"),
    *("exporting.LayerNote", "fine_tuning.FineTuned", "spread.Spread"),
    *("errors.InputError", "errors.WorkError", "errors.MissingPackage"),
    "lottery.Sweep",
    *("pruning.compaction.Kept", "pruning.compaction.Removed", "devices.Device"),
}
# Bases to derive from; and what the rest of tfinit, Keras or a layer calls, not a user.
NOT_CALLED = {
    *("pruning.PruningSchedule", "pruning.PruningPolicy", "pruning.PrunableLayer"),
    "pruning.Score",
    *("datasets.NamedDataset", "datasets.named", "datasets.at_hand", "datasets.data_help"),
    "datasets.datasets_help",
    *("plots.Interpolation", "lottery.Tracker"),
    *("errors.reason", "errors.first_line", "errors.of_system", "errors.one_line"),
    *("training.check_batch_size", "variables.put_back"),
    *("errors.TfinitWarning", "errors.TfinitDeprecationWarning"),
    *("fans.check_shape", "gains.config_of", "gains.evaluate", "lottery.lottery"),
    *("lottery.stability_experiment.copy_seed", "probes.require_tensorflow"),
    *(
        "lottery.stability_experiment.branch_of",
        "models.check_initialization",
        "models.initializer",
    ),
    *("models.needs_data", "variables.children", "variables.keras_of", "variables.own_weights"),
    *("variables.weight_name", "variables.check_same_keys", "lottery.report.percent"),
    *("models.kernels", "probes.seen_layers", "variables.find_prunable", "variables.check_built"),
    *("variables.unique_name", "variables.automatic_stem"),
    # The parts of an experiment: `lottery.run` makes and calls them.
    *("lottery.KerasFramework", "lottery.Framework", "lottery.TfmotFramework", "lottery.Store"),
}
METHODS_NOT_CALLED = re.compile(
    r"\.(values|draw|stream|variance|get_config|from_config|on_\w+|set_model|set_params|apply_numpy|check|build|"
    r"set_weights|apply|stateless_apply|finalize_variable_values|scale_loss|with_scope|"
    r"exclude_from_weight_decay|load_own_variables|begin_with|compiled_for|catch_up|with_paths|fits|rules_by_path|revived|"
    r"started|logged|finished|to_json|from_json|differences|obstacles|get_prunable_weights)$"
)


def public() -> dict[str, Any]:
    """Name, without ``tfinit.`` → function or class, each once."""
    found: dict[int, tuple[str, Any]] = {}
    for module in PUBLIC_MODULES:
        home = importlib.import_module(f"tfinit.{module}")
        for name in home.__all__:
            thing = getattr(home, name)
            if callable(thing) and typing.get_origin(thing) is None:  # which a type has
                found.setdefault(id(thing), (f"{module}.{name}", thing))
    return dict(found.values())


def methods(name: str, thing: Any) -> Iterator[str]:
    """The public methods of a class, itself or by inheritance from tfinit, that take arguments."""
    if not inspect.isclass(thing) or name in NOT_CALLED:
        return
    for method, value in inspect.getmembers(thing, callable):
        module = getattr(value, "__module__", None) or ""
        is_public = not method.startswith("_") and module.startswith("tfinit.")
        if is_public and not METHODS_NOT_CALLED.search(f".{method}") and arguments(value):
            yield f"{name}.{method}"


def arguments(call: Callable[..., Any]) -> list[str]:
    """The arguments that a call can be given by name."""
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    parameters = inspect.signature(call).parameters.values()
    return [p.name for p in parameters if p.kind in named and p.name != "self"]


@dataclass
class Sample:
    """A valid call.

    Attributes:
        call: The function, class or method.
        make: Makes its arguments.
        odd: Argument → the labels of `odd_values` that are right for it, separated by spaces.
        costly: Whether a call that works takes long: then only what must be refused is tried.
        also: Argument → others that it needs to be looked at.
        more: Arguments that the signature has as ``**options``.
        said: Argument → what its errors call it, where that is another name.
    """

    call: Callable[..., Any]
    make: Callable[[], dict[str, Any]]
    odd: dict[str, str] = field(default_factory=dict)
    costly: bool = False
    also: dict[str, dict[str, Any]] = field(default_factory=dict)
    more: tuple[str, ...] = ()
    said: dict[str, str] = field(default_factory=dict)

    def arguments(self) -> list[str]:
        """What can be replaced."""
        return [*arguments(self.call), *self.more]

    def right(self, argument: str) -> set[str]:
        """The labels that may pass: those of ``odd``, None where it is the default, a flag's."""
        labels = set(self.odd.get(argument, "").split())
        if "all" in labels:
            labels |= set(odd_values(np.zeros(1)))
        parameter = inspect.signature(self.call).parameters.get(argument)
        if parameter is not None and parameter.default is None:
            labels.add("None")
        if parameter is not None and isinstance(parameter.default, bool):
            labels.add("True")
        return labels


def odd_values(valid: Any) -> dict[str, Any]:
    """Label → what takes the place of a valid value: of any kind, and made from it."""
    values = {
        "None": None,
        "text": "no",
        "empty-text": "",
        "bytes": b"no",
        "True": True,
        "-1": -1,
        "0": 0,
        "1.5": 1.5,
        "2**63": 2**63,
        "nan": float("nan"),
        "inf": float("inf"),
        "complex": 1j,
        "list": [],
        "floats": (1.5,),
        "dict": {},
        "set": {1},
        "object": object(),
        "class": int,
        "function": lambda *values: values,
        "array": np.array([1.5, 2.5]),
        "empty-array": np.zeros(0),
        "texts": np.array(["a", "b"]),
        "tensor": tf.constant([[1.0, 2.0]]),
    }
    if _arrays(valid):
        values |= {
            "masked": _mapped(valid, lambda a: np.ma.masked_array(a, np.zeros(a.shape, bool))),
            "own-complex": _mapped(valid, lambda a: a.astype("complex64")),
            "own-empty": _mapped(valid, lambda a: a[:0]),
            "own-texts": _mapped(valid, lambda a: a.astype(str)),
            "own-objects": _mapped(valid, lambda a: a.astype(object)),
            "own-nan": _mapped(valid, lambda a: np.full(a.shape, np.nan, "float32")),
        }
    return values


def same_values(valid: Any) -> dict[str, Any]:
    """Label → the same value in another form, which must be taken as well."""
    if isinstance(valid, bool):
        return {"numpy's": np.bool_(valid)}
    if isinstance(valid, int):
        return {"numpy's": np.int64(valid), "array": np.array(valid)}
    if isinstance(valid, float):
        return {"numpy's": np.float32(valid), "array": np.array(valid)}
    if isinstance(valid, tuple) and valid and all(type(n) is int for n in valid):
        return {"array": np.array(valid), "list": list(valid)}
    if isinstance(valid, os.PathLike):
        return {"text": str(valid)}
    return {"numpy's": np.str_(valid)} if isinstance(valid, str) else {}


def _arrays(value: Any) -> bool:
    """Whether there is an array of numbers in it."""
    if isinstance(value, tuple | list):
        return any(map(_arrays, value))
    if isinstance(value, dict):
        return any(map(_arrays, value.values()))
    return isinstance(value, np.ndarray) and value.ndim > 0


def _mapped(value: Any, change: Callable[[np.ndarray], Any]) -> Any:
    if isinstance(value, tuple | list):
        return type(value)(_mapped(part, change) for part in value)
    if isinstance(value, dict):
        return {key: _mapped(part, change) for key, part in value.items()}
    return change(value) if isinstance(value, np.ndarray) else value


def state(value: Any) -> Any:
    """What can be compared of an argument: the weights of models, the bytes of arrays."""
    if isinstance(value, tuple | list):
        return [state(part) for part in value]
    if isinstance(value, dict):
        return {key: state(part) for key, part in value.items()}
    if isinstance(value, np.ndarray):
        return value.tobytes()
    if isinstance(value, keras.Model):
        weights = [np.asarray(w).tobytes() for w in value.weights]
        return weights, id(value.optimizer), sorted(vars(value))
    return None


def attempt(sample: Sample, given: dict[str, Any], odd: dict[str, str]) -> tuple[bool, str]:
    """Call with some arguments replaced: whether it went through, and what is wrong, if anything.

    Args:
        sample: What is called.
        given: All arguments.
        odd: Those that were replaced → the labels of what they are now.
    """
    before = state(given)
    right = all(label in sample.right(argument) for argument, label in odd.items())
    names = "|".join(name for a in odd for name in (a, sample.said.get(a, a)))
    said = ", ".join(f"{argument}={label}" for argument, label in odd.items())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            sample.call(**given)
        except (InputError, MissingPackage) as error:
            text = str(error)
            if not right and not re.search(rf"\b({names})\b", text):
                return False, f"{said}: the error does not name it: {text}"
        except Exception as error:
            if right and {"function", "class"} & set(odd.values()):  # what the user's own raises
                return True, ""
            return False, f"{said}: {type(error).__name__}: {str(error)[:200]}"
        else:
            return True, "" if right else f"{said}: went through"
    if state(given) != before:
        return True, f"{said}: refused, but something was changed"
    return False, ""
