"""Marks: that a layer or model is to be pruned, said in its configuration.

A mark has to reach every copy of a layer: that of `clone_model`, of `copy.deepcopy`, of
`from_config`, the one in a file. The one setting that every Keras layer hands to all of them is
its dtype policy. So a mark is a dtype policy: the layer's own one, with the `PruningRule` beside
it. The configuration of a Sequential or functional model is that of its layers; so the mark of a
model is on its layers too.
"""

import hashlib
import weakref
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from tfinit.graph.keras_internals import set_dtype_policy
from tfinit.pruning.in_training.pruner import Progress
from tfinit.pruning.in_training.rules import PruningRule
from tfinit.pruning.tfmot_api.policy import PruningPolicy
from tfinit.variables import find_prunable, walk_layers


@keras.saving.register_keras_serializable("tfinit")
class PruningMark(keras.dtype_policies.DTypePolicyMap):
    """The dtype policy of a layer that `prune_low_magnitude` marked.

    A map of policies, since of single ones Keras's `from_config` keeps nothing but the name. It
    answers as the policy of the layer does: for every path alike, unless that is a map too.

    Args:
        default_policy: The dtype policy that the layer would have without the mark.
        rule: How it is pruned, without a scope.
        model: The name of the model that was marked as a whole; None: the layer was.
        whole: Whether this is the mark of that model itself, not of a layer in it.
        policy: Which layers of that model are pruned. Saved are those that it allows.
        step: How many steps were taken with pruning when the mark was copied or saved.
        weights: The digest of the layer's weights then: a copy with them goes on from there.
        layers: The keys of the layers that the policy allowed then; None: there was none.
    """

    def __init__(
        self,
        default_policy: Any,
        rule: PruningRule,
        model: str | None = None,
        whole: bool = False,
        policy: PruningPolicy | None = None,
        step: int = 0,
        weights: str | None = None,
        layers: Sequence[str] | None = None,
    ) -> None:
        is_map = isinstance(default_policy, keras.dtype_policies.DTypePolicyMap)
        super().__init__(default_policy.default_policy if is_map else default_policy)
        self._map = default_policy if is_map else None
        self.rule, self.model, self.whole, self.policy = rule, model, whole, policy
        self._step, self._weights, self._layers = step, weights, layers
        self._part: Any = lambda: None
        self._optimizer: Any = None

    # -- a dtype policy --------------------------------------------------------------------------

    @property
    def unmarked(self) -> Any:
        """The policy that the layer would have without the mark."""
        return self.default_policy if self._map is None else self._map

    @property
    def name(self) -> str:
        """The name of that policy."""
        return self.unmarked.name

    def __getitem__(self, key: str) -> Any:
        return self.default_policy if self._map is None else self._map[key]

    def __setitem__(self, key: str, policy: Any) -> None:
        # So `layer.dtype_policy = …` and `layer.quantize(…)` leave the mark where it is.
        if self._map is None:
            self._default_policy = keras.dtype_policies.get(policy)
            return
        if key in self._map:
            del self._map[key]
        self._map[key] = policy

    def __contains__(self, key: object) -> bool:
        return False

    def __bool__(self) -> bool:
        return True  # an empty map is not no policy

    def get_config(self) -> dict[str, Any]:
        """The policy, the rule, and how far the pruning is."""
        from tfinit.pruning.tfmot_api.adoption import warn_of_dense_copy

        part, optimizer = self._part(), self._optimizer
        if part is not None:
            warn_of_dense_copy(part)
        step, weights = self._step, self._weights
        now = None if part is None or optimizer is None else optimizer.progress()
        if now is not None:
            step, weights = max(optimizer.steps_taken, now.step), _digest(part)
        return {
            "default_policy": keras.dtype_policies.serialize(self.unmarked),
            "rule": keras.saving.serialize_keras_object(self.rule),
            "model": self.model,
            "whole": self.whole,
            "step": step,
            "weights": weights if step else None,
            "layers": self._allowed(),
        }

    def _allowed(self) -> Sequence[str] | None:
        part = self._part()
        if self.policy is None or part is None:
            return self._layers
        return [k for k, inner in walk_layers(part) if k and self.policy.allow_pruning(inner)]

    def __reduce__(self) -> Any:
        return keras.dtype_policies.deserialize, (keras.dtype_policies.serialize(self),)

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None
    ) -> "PruningMark":
        """Make the mark that `get_config` described."""
        config = dict(config)
        for key in ("default_policy", "rule"):
            config[key] = keras.saving.deserialize_keras_object(
                config[key], custom_objects=custom_objects
            )
        from tfinit.pruning.tfmot_api.adoption import (
            watch,
        )  # what compiles or trains the copy is watched

        watch()
        return cls(**config)

    # -- what it marks ---------------------------------------------------------------------------

    @property
    def optimizer(self) -> Any:
        """The `SparseOptimizer` that prunes the layer at present; None: none does."""
        return self._optimizer

    def adopted_by(self, optimizer: Any) -> None:
        """Remember which `SparseOptimizer` prunes the layer, and keep it: its model may go first.

        The layer may be in another model then, or frozen for a while, and go on from there.
        """
        self._optimizer = optimizer

    def belongs_to(self, part: Any) -> None:
        """Remember the layer, unless it is one in a layer that is known: they may share a mark."""
        if self._part() is None:
            self._part = weakref.ref(part)

    def policy_of(self, part: Any) -> Any:
        """What chooses among the layers of the model, also where it was loaded from a file."""
        if self.policy is None and self._layers is not None:
            return _Chosen(part, self._layers)
        return self.policy

    def is_whole(self, part: Any) -> bool:
        """Whether it marks this model as a whole. A model may hand its dtype policy to layers."""
        return self.whole and self._part() is part

    def masks_of_copy(self) -> dict[int, np.ndarray]:
        """id → mask for the weights of a layer that has those of the marked one: its zeros."""
        part = self._part()
        if not self._step or part is None or _digest(part) != self._weights:
            return {}
        arrays = {id(v): ops.convert_to_numpy(v) != 0 for v in _matrices(part)}
        return {key: mask for key, mask in arrays.items() if mask.any()}

    @property
    def step_of_copy(self) -> int:
        """The step at which a copy goes on."""
        return self._step


class _Chosen:
    """A `PruningPolicy` that was saved: it allows the layers of these keys."""

    def __init__(self, model: Any, keys: Sequence[str]) -> None:
        self._model, self._keys = model, frozenset(keys)

    def allow_pruning(self, layer: Any) -> bool:
        return any(inner is layer and key in self._keys for key, inner in walk_layers(self._model))

    def ensure_model_supports_pruning(self, model: Any) -> None:
        """It was asked when the model was marked."""


def _matrices(part: Any) -> list[Any]:
    return [v for v in part.weights if len(v.shape) >= 2]


def _digest(part: Any) -> str:
    found = hashlib.sha256()
    for v in _matrices(part):
        found.update(np.ascontiguousarray(ops.convert_to_numpy(v)).tobytes())
    return found.hexdigest()


def mark(part: Any, rule: PruningRule, policy: PruningPolicy | None = None) -> None:
    """Mark a layer or model, and in a model what is in it.

    A mark that was there is replaced, but for those that layers and models inside got themselves:
    the rule of the model is for the rest.
    """
    rule = rule.with_scope(None)
    if not isinstance(part, keras.Model):
        _put(part, PruningMark(_unmarked(part), rule))
        return
    below = [layer for _, layer in walk_layers(part) if layer is not part]
    if policy is not None:
        allowed = [layer for layer in below if policy.allow_pruning(layer)]
        below = [inner for layer in allowed for _, inner in walk_layers(layer)]
    marks = [(layer, own) for layer in below if (own := mark_of(layer)) is not None]
    wholes = [layer for layer, own in marks if own.is_whole(layer)]
    apart = {id(inner) for layer in wholes for _, inner in walk_layers(layer)}
    apart |= {id(layer) for layer, own in marks if own.model is None}
    for layer in below:
        if id(layer) not in apart and not isinstance(layer, keras.layers.InputLayer):
            _put(layer, PruningMark(_unmarked(layer), rule, model=part.name))
    _put(part, PruningMark(_unmarked(part), rule, model=part.name, whole=True, policy=policy))


def unmark(part: Any) -> None:
    """Take the mark off a layer or model."""
    if mark_of(part) is not None:
        set_dtype_policy(part, _unmarked(part))


def _put(part: Any, new: PruningMark) -> None:
    new.belongs_to(part)
    set_dtype_policy(part, new)


def _unmarked(part: Any) -> Any:
    policy = part.dtype_policy
    return policy.unmarked if isinstance(policy, PruningMark) else policy


def mark_of(part: Any) -> PruningMark | None:
    """The mark of a layer or model."""
    policy = getattr(part, "dtype_policy", None)
    return policy if isinstance(policy, PruningMark) else None


def marked_parts(model: Any) -> list[tuple[Any, PruningMark]]:
    """(layer or model, its mark) for all in a model that are marked, parents first."""
    found = []
    for _, part in walk_layers(model):
        own = mark_of(part)
        if own is not None:
            own.belongs_to(part)
            found.append((part, own))
    return found


def marked_rules(model: Any) -> list[PruningRule]:
    """The rules of a model's marks: layers before the models that hold them, equal ones joined."""
    parts = marked_parts(model)
    # By the layers and not by the name alone: two models that were loaded may be called alike.
    in_wholes = {
        (own.model, id(inner))
        for part, own in parts
        if own.is_whole(part)
        for _, inner in walk_layers(part)
    }
    joined: dict[str, PruningRule] = {}
    for part, own in reversed(parts):
        rule = own.rule
        if own.is_whole(part):
            settings = {name: getattr(rule, name) for name in rule.SETTINGS}
            joined[f"model {id(part)}"] = PruningRule(
                rule.schedule, part, own.policy_of(part), **settings
            )
        elif (own.model, id(part)) not in in_wholes:
            config = {k: v for k, v in vars(rule).items() if k not in ("scope", "schedule")}
            schedule = None if rule.schedule is None else rule.schedule.get_config()
            key = f"{own.model} {type(rule.schedule)} {schedule} {config}"
            # Some layers have nothing to prune (a Flatten); all together must have something.
            joined.setdefault(key, rule.with_scope([])).scope.append(part)
    rules = list(joined.values())
    # A frozen layer is left as it is, until it is unfrozen and the model is compiled anew.
    trained = [rule for rule in rules if not is_frozen(rule.scope)]
    if trained or (model.built and find_prunable(model)):  # a new head on a base that waits
        return trained
    return rules


def is_frozen(scope: Any) -> bool:
    """Whether a layer, or a list of them, has weights to prune and trains none of them."""
    layers = scope if isinstance(scope, list) else [scope]
    if not all(layer.built for layer in layers):
        return False
    return not any(map(find_prunable, layers)) and any(
        find_prunable(s, frozen=True) for s in layers
    )


def progress_of_copy(model: Any) -> Progress | None:
    """How far the pruning was of what a model was copied or loaded from; None: nothing is known.

    Only weights that are those of then go on; new ones, as `clone_model` makes, begin anew.
    """
    parts = marked_parts(model)
    marks = {id(own): own for _, own in parts}.values()
    masks = {key: mask for own in marks for key, mask in own.masks_of_copy().items()}
    if not masks:
        return None
    step = max(own.step_of_copy for own in marks)
    schedules = {id(v): own.rule.schedule for part, own in reversed(parts) for v in _matrices(part)}
    return Progress(step, masks, {}, schedules)
