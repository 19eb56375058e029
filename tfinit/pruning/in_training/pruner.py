"""The masks of an optimizer's variables, and what changes them: the pruning in SparseOptimizer."""

import dataclasses
import warnings
from collections.abc import Callable, Container, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from tfinit.errors import InputError, TfinitWarning, first_line
from tfinit.pruning.counting.emptied import warn_of_emptied
from tfinit.pruning.in_training.assigning import (
    grown,
    masked,
    new_mask,
    only_if,
    out_of_the_graph,
    replicas,
)
from tfinit.pruning.in_training.binding import Group, bind
from tfinit.pruning.in_training.fresh import why_not_fresh
from tfinit.pruning.in_training.rules import PruningRule
from tfinit.pruning.in_training.schedule_checks import told_of_timing
from tfinit.pruning.in_training.schedules import PruningSchedule
from tfinit.pruning.in_training.update import State, first_masks, new_masks
from tfinit.pruning.scoring.allocation import is_global
from tfinit.pruning.scoring.scores import Score, check_values

# The share of weights that may be zero without anybody having pruned them.
_BY_CHANCE = 1e-3


class Progress(NamedTuple):
    """How far a pruning is, for another optimizer to go on from; variables by their id.

    Attributes:
        step: The number of steps that were taken.
        masks: id → mask.
        states: id → a score that remembers something of a weight, and what it remembers.
        schedules: id → the schedule by which its mask was taken.
    """

    step: int
    masks: dict[int, Any]
    states: dict[int, tuple[Score, Any]]
    schedules: dict[int, PruningSchedule | None]


def joined(all_of_them: Sequence[Progress]) -> Progress | None:
    """One progress of several; of what two know, the later one counts. None for none."""
    if not all_of_them:
        return None
    step = max(one.step for one in all_of_them)
    masks, states, schedules = (
        {key: value for one in all_of_them for key, value in getattr(one, name).items()}
        for name in ("masks", "states", "schedules")
    )
    return Progress(step, masks, states, schedules)


class Pruner:
    """The rules of an optimizer, bound to its variables, with their masks.

    Its own variables are the optimizer's, which saves them. Weights and gradients are named by
    their place among what the optimizer trains.

    Attributes:
        rules: What is pruned, when, how.
        groups: The rules, bound.
        masks: For each variable its mask, a boolean variable, or None.
        states: Place → what the score of its rule remembers of a weight: for scores with a state.
        step: The number of steps that were taken, if a rule has a schedule, else None.
    """

    def __init__(self, rules: Iterable[PruningRule]) -> None:
        self.rules = tuple(rules)
        self.groups: list[Group] = []
        self.masks: list[Any] = []
        self.states: dict[int, Any] = {}
        self._scores: dict[int, Score] = {}
        self.step: Any = None
        self._trained: list[Any] = []

    def build(self, optimizer: Any, variables: list[Any], eligible: list[bool]) -> None:
        """Bind the rules, and add masks of ones and the rest to the optimizer's variables."""
        with out_of_the_graph():  # a schedule may be asked for its last sparsity
            self.groups = bind(self.rules, variables, eligible)
        self._trained = variables
        masked = {i for group in self.groups for i in group.indices}
        self.masks = [
            new_mask(optimizer, v) if i in masked else None for i, v in enumerate(variables)
        ]
        for group in self.groups:
            self._scores |= dict.fromkeys(group.indices, group.rule.scoring)
            if "state" in group.rule.scoring.needs:
                for i in group.indices:
                    self.states[i] = group.rule.scoring.new_state(optimizer, variables[i])
        if any(rule.schedule is not None for rule in self.rules):
            self.step = optimizer.add_variable(
                shape=(),
                dtype="int",  # as the iterations: int32 would be beyond the reach of XLA on a GPU
                initializer="zeros",
                name="pruning_step",
                aggregation="only_first_replica",
            )

    def start(self, steps: int = 0) -> None:
        """Take the masks of step 1, where a rule wants one, and zero what they prune.

        Reads weights only: variables that are made while a function is traced have no values yet.

        Args:
            steps: How many the inner optimizer has taken.
        """
        for told in dict.fromkeys(told_of_timing(self.rules)):
            warnings.warn(told, TfinitWarning, stacklevel=5)
        for group in self.groups:
            self._look_for_zeros(group)
            if group.rule.regrow and group.rule.start is None:
                why = why_not_fresh(group, self._trained, steps)
                if why is not None:
                    warnings.warn(
                        f"`regrow={group.rule.regrow!r}` starts from a random mask, and {why}: of "
                        "trained weights it keeps large and small alike. Set start='magnitude' to "
                        "begin with the largest, or start='random' if this is meant.",
                        TfinitWarning,
                        stacklevel=5,
                    )
            if group.rule.first_step() == 1:
                schedule = group.rule.schedule
                sparsity = 0.0 if schedule is None else schedule(1)[1]
                weights = [ops.convert_to_tensor(self._trained[i]) for i in group.indices]
                self._assign(group, first_masks(group, sparsity, weights))
                self._zero(group.indices)
            if group.rule.keep_zeros:
                self._assign(group, [ops.not_equal(self._trained[i], 0) for i in group.indices])

    def _look_for_zeros(self, group: Group) -> None:
        """Say so where zeros that are there will be trained away, or none are there to be kept."""
        rule = group.rule
        # A tensor that is zero as a whole was made so, as the last one of a residual branch is.
        arrays = [_array(self._trained[i]) for i in group.indices]
        arrays = [array for array in arrays if rule.keep_zeros or np.any(array)]
        zeros = sum(array.size - np.count_nonzero(array) for array in arrays)
        if rule.keep_zeros and not zeros:
            paths = [self._trained[i].path for i in group.indices]
            warnings.warn(
                f"`keep_zeros`: there are no zeros to keep in {paths}.", TfinitWarning, stacklevel=6
            )
        size = sum(array.size for array in arrays)
        first = rule.first_step()
        if rule.keep_zeros or not rule.prunes or first == 1 or zeros <= _BY_CHANCE * size:
            return
        then = "and no update prunes them"
        if first is not None and rule.schedule is not None:
            then = f"until step {first}, which prunes {float(rule.schedule(first)[1]):.1%}"
        warnings.warn(
            f"{zeros / size:.1%} of the weights to be pruned are zero already. They train from the "
            f"first step on, {then}. To keep what is zero, say `keep_zeros=True`.",
            TfinitWarning,
            stacklevel=6,
        )

    def steps_done(self) -> int:
        """How many steps were taken with this pruner."""
        return 0 if self.step is None else int(ops.convert_to_numpy(self.step))

    def mask_of(self, variable: Any) -> Any:
        """The mask of a variable; None if it has none, or is not trained here."""
        return next((m for v, m in self.masked() if v is variable), None)

    def masked(self) -> list[tuple[Any, Any]]:
        """(variable, mask) for all that carry one."""
        pairs = zip(self._trained, self.masks, strict=True)
        return [(v, mask) for v, mask in pairs if mask is not None]

    def pruned(self) -> int:
        """How many weights the masks prune."""
        return sum(int(np.sum(~_array(mask))) for _, mask in self.masked())

    def revived(self, among: Container[int] | None = None) -> int:
        """How many weights that the masks prune are not zero, of all or of these variables."""
        looked_at = [(v, m) for v, m in self.masked() if among is None or id(v) in among]
        return sum(int(np.count_nonzero(_array(v)[~_array(m)])) for v, m in looked_at)

    def progress(self) -> Progress:
        """How far the pruning is."""
        schedules = {
            id(self._trained[i]): group.rule.schedule
            for group in self.groups
            for i in group.indices
        }
        masks = {id(v): mask for v, mask in self.masked()}
        states = {
            id(self._trained[i]): (self._scores[i], value) for i, value in self.states.items()
        }
        return Progress(self.steps_done(), masks, states, schedules)

    def take_over(self, before: Progress) -> int:
        """Go on from another's masks and step; variables match by identity. Returns the step.

        What it did not prune yet, or by another schedule, gets the mask that its own schedule would
        have given it by now: there may be no update to come that would.
        """
        for i, variable in enumerate(self._trained):
            # Copies: `fit` on JAX gives the arrays of an optimizer away, and the other's are its.
            if self.masks[i] is not None and id(variable) in before.masks:
                self.masks[i].assign(ops.copy(before.masks[id(variable)]))
                self._zero([i])
            score, state = before.states.get(id(variable), (None, None))
            if i in self.states and score == self._scores[i]:
                self.states[i].assign(ops.copy(state))
        step = 0 if self.step is None else before.step
        if step:
            self.step.assign(step)
        for group in self.groups:
            others = [i for i in group.indices if not self._is_as_before(group, i, before)]
            if others:
                self._take_masks_in_force(group, others, step)
            if group.rule.keep_zeros:  # also of a layer that was frozen before
                for i in others:
                    self.masks[i].assign(
                        ops.logical_and(self.masks[i], ops.not_equal(self._trained[i], 0))
                    )
        return step

    def _is_as_before(self, group: Group, i: int, before: Progress) -> bool:
        key = id(self._trained[i])
        return key in before.masks and before.schedules.get(key) == group.rule.schedule

    def _take_masks_in_force(self, group: Group, places: Sequence[int], step: int) -> None:
        rule = group.rule
        if not rule.prunes:
            return
        sparsity = 0.0
        if not rule.sparsity_m_by_n and rule.schedule is not None:
            sparsity = rule.schedule.in_force(step + 1)
            if sparsity is None and not rule.regrow:
                return
        if rule.scoring.needs_steps:  # of which there is nothing yet
            group = dataclasses.replace(group, rule=rule.with_scope(rule.scope, score="magnitude"))
        weights = [ops.convert_to_tensor(self._trained[i]) for i in group.indices]
        masks = first_masks(group, sparsity or 0.0, weights)
        for i, mask in zip(group.indices, masks, strict=True):
            if i in places or rule.channels or rule.allocation == "global":
                self.masks[i].assign(mask)
                self._zero([i])

    def warn_of_emptied(self) -> None:
        """Warn of the weights of which a global choice left nothing; other rules leave one entry.

        At the end of a `fit`, say: a compiled step cannot.
        """
        masks = {
            self._trained[i].path: ops.convert_to_numpy(self.masks[i])
            for group in self.groups
            if is_global(group.rule.allocation)
            for i in group.indices
        }
        warn_of_emptied(masks, stacklevel=4)

    def mask_weights(self) -> None:
        """Zero the weights that are pruned."""
        self._zero([i for i, mask in enumerate(self.masks) if mask is not None])

    def _zero(self, places: Iterable[int]) -> None:
        for i in places:
            self._trained[i].assign(masked(self._trained[i], self.masks[i]))

    def gradients_for_scores(self, gradients: dict[int, Any]) -> dict[int, Any]:
        """Those of the gradients, not masked yet, that some rule ranks by, as dense tensors."""
        needed = {
            i
            for group in self.groups
            if group.rule.scoring.needs_steps or group.rule.regrow == "rigl"
            for i in group.indices
        }
        # Dense: that of an embedding may be tf.IndexedSlices.
        return {
            i: ops.convert_to_tensor(g)
            for i, g in gradients.items()
            if i in needed and g is not None
        }

    def weights_for_states(self, gradients: dict[int, Any]) -> dict[int, Any]:
        """The weights before they change, those of which a score remembers something."""
        return {i: ops.copy(self._trained[i]) for i in self.states if i in gradients}

    def updated_state(self, i: int, state: Any, weights: Any, gradients: Any) -> Any:
        """What the score of a weight remembers after a step."""
        state, score = ops.convert_to_tensor(state), self._scores[i]
        after = score.update(state, weights, ops.cast(gradients, weights.dtype))
        return ops.cast(check_values(score, after, state.shape, "update"), state.dtype)

    def after_step(
        self,
        gradients: dict[int, Any],
        before: dict[int, Any],
        forget: Callable[[int, Any], None],
    ) -> None:
        """Count a step, and take new masks for the next one where a rule says so.

        Then the weights that they prune are zeroed.

        Args:
            gradients: What `gradients_for_scores` returned.
            before: What `weights_for_states` returned.
            forget: Called with the place of a weight and what of it grows again.
        """
        self.step.assign_add(1)
        self._update_states(gradients, before)

        def update(group: Group, sparsity: Any) -> None:
            masks = {i: ops.copy(self.masks[i]) for i in group.indices if group.rule.regrow}
            self._prune(group, sparsity, gradients)
            for i, mask in masks.items():
                forget(i, grown(mask, self.masks[i]))
            self._zero(group.indices)

        for group, due, sparsity in self.due(self.step):
            only_if(due, lambda group=group, sparsity=sparsity: update(group, sparsity))

    def _update_states(self, gradients: dict[int, Any], before: dict[int, Any]) -> None:
        for i, weights in before.items():
            state = self.states[i]
            state.assign(self.updated_state(i, state, weights, gradients[i]))

    def after_step_in_replicas(self, gradients: dict[int, Any], before: dict[int, Any]) -> None:
        """As `after_step`, in a replica of a TensorFlow strategy; weights are not zeroed."""
        self.step.assign_add(1)

        def ask(call: Callable[..., Any], gradients: dict[int, Any]) -> None:
            for group, due, sparsity in self.due(self.step):
                arguments = (group, sparsity, gradients)
                ops.cond(due, lambda a=arguments: call(self._prune, args=a), lambda: None)

        def in_all_replicas(
            strategy: Any, gradients: dict[int, Any], before: dict[int, Any]
        ) -> None:
            # Here, since a condition inside of a replica may not synchronize, and assigning does.
            each = strategy.experimental_local_results
            totals = {i: sum(each(gradient)) for i, gradient in gradients.items()}
            self._update_states(totals, {i: each(weights)[0] for i, weights in before.items()})
            ask(strategy.extended.call_for_each_replica, totals)

        replicas().merge_call(in_all_replicas, args=(gradients, before))

    def due(self, steps_done: Any) -> list[tuple[Group, Any, Any]]:
        """(rule, is an update due, sparsity) for the step after ``steps_done``."""
        step = ops.convert_to_tensor(steps_done) + 1
        return [(group, *_asked(group.rule.schedule, step)) for group in self.scheduled]

    @property
    def scheduled(self) -> list[Group]:
        """The groups whose masks may change while the optimizer trains."""
        return [g for g in self.groups if g.rule.schedule and not g.rule.sparsity_m_by_n]

    @property
    def regrowing(self) -> list[int]:
        """The places of the weights that may grow again where they were pruned."""
        return [i for group in self.groups if group.rule.regrow for i in group.indices]

    def _prune(self, group: Group, sparsity: Any, gradients: dict[int, Any]) -> None:
        state = State(
            # Zero where pruned, which in the midst of a step the variable is not yet.
            weights=[masked(self._trained[i], self.masks[i]) for i in group.indices],
            masks=[ops.convert_to_tensor(self.masks[i]) for i in group.indices],
            gradients=[gradients.get(i) for i in group.indices],
            states=[self.states.get(i) for i in group.indices],
        )
        self._assign(group, new_masks(group, self.step + 1, sparsity, state))

    def _assign(self, group: Group, masks: list[Any]) -> None:
        for i, mask in zip(group.indices, masks, strict=True):
            self.masks[i].assign(mask)

    def stateless_after_step(
        self,
        state: dict[int, Any],
        weights: list[Any],
        masks: list[Any],
        gradients: list[Any],
    ) -> list[Any]:
        """As `after_step` on JAX, from and to tensors.

        Args:
            state: id of each variable made here → its value; updated in place.
            weights: What the optimizer trains, after the step, masked.
            masks: Their masks in this step.
            gradients: Their gradients, not masked.

        Returns:
            The masks of the next step.
        """
        done = state[id(self.step)] = state[id(self.step)] + 1
        masks = list(masks)
        for group, due, sparsity in self.due(done):
            now = State(
                weights=[weights[i] for i in group.indices],
                masks=[masks[i] for i in group.indices],
                gradients=[gradients[i] for i in group.indices],
                states=[
                    state[id(self.states[i])] if i in self.states else None for i in group.indices
                ],
            )
            taken = ops.cond(
                due,
                lambda group=group, sparsity=sparsity, now=now: new_masks(
                    group, done + 1, sparsity, now
                ),
                lambda now=now: now.masks,
            )
            for i, mask in zip(group.indices, taken, strict=True):
                masks[i] = state[id(self.masks[i])] = mask
        return masks


def _array(variable: Any) -> np.ndarray:
    return ops.convert_to_numpy(variable)


def _asked(schedule: Any, step: Any) -> tuple[Any, Any]:
    try:
        return schedule(step)
    except (TypeError, NotImplementedError) as error:  # what TensorFlow and JAX raise
        raise InputError(
            f"The schedule {type(schedule).__name__} failed on a step that is a tensor, in a "
            f"compiled training step maybe: {first_line(error).split('. ')[0]}. Write it "
            "with `keras.ops` (`ops.where` in place of `if`), or compile with run_eagerly=True."
        ) from error
