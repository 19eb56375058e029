"""SparseOptimizer: an optimizer around an optimizer that prunes, and keeps zeros at zero."""

import importlib
from collections.abc import Iterable
from typing import Any

import keras
from keras import ops

from tfinit.arguments import instance, listed, text, whole
from tfinit.errors import InputError
from tfinit.graph.keras_internals import holds_a_value
from tfinit.learning_rates.wrapping import INNER_ARGUMENTS, by_name
from tfinit.pruning.in_training.assigning import (
    assign,
    factor_of,
    grown,
    masked,
    out_of_the_graph,
    replicas,
)
from tfinit.pruning.in_training.binding import bind
from tfinit.pruning.in_training.living import note_built, note_inner
from tfinit.pruning.in_training.mask_keeper import MaskKeeper
from tfinit.pruning.in_training.pruner import Progress
from tfinit.pruning.in_training.rules import PruningRule
from tfinit.pruning.in_training.schedules import PruningSchedule
from tfinit.pruning.in_training.wrapping import (
    averages,
    chain,
    slots,
    writes_nothing_but_rows,
)
from tfinit.pruning.tfmot_api.policy import PruningPolicy


@keras.saving.register_keras_serializable("tfinit")
class SparseOptimizer(MaskKeeper):
    """Trains with another optimizer, prunes on a schedule, keeps pruned weights at exactly zero.

    Each step, for a weight w with mask m (1 = survives, 0 = pruned), gradient g::

        g  <- m * g
        w  <- inner(w, g)
        w  <- m * w            (and m * average, where the inner optimizer keeps one)
        m  <- the new mask, if the schedule says so for the next step; then w <- m * w

    so the pruned weights are zero after *every* step, whatever the inner optimizer does (momentum,
    weight decay, averaging, the orthogonalized updates of Muon), and the survivors move as if the
    gradient itself had been masked. It works compiled, with ``steps_per_execution``, gradient
    accumulation, clipping and loss scaling, on the TensorFlow, JAX and PyTorch backends.

    On several devices, under TensorFlow's ``MirroredStrategy`` or, on JAX, under
    ``keras.distribution.DataParallel`` and ``ModelParallel``, it takes the masks that one device
    would take, on all at the same step. A mask and all else that is kept for a weight are spread
    over the devices as the weight is. To rank weights that lie in parts, in one tensor or in all of
    them together, each device counts in its own part, and only sums of counts go between devices.
    What is saved loads on any number of devices. Begin the patterns of a ``LayoutMap`` with
    ``.*``: the paths of a loaded `keras.Sequential` lack its name.

    Of an embedding with a sparse gradient under plain SGD only the rows of the batch are masked: no
    other row changes. So after weights were loaded in the middle of training, call `mask_weights`.

    Training steps count from 1, as TFMOT counts them: the update of step s is made from the weights
    after s - 1 steps, so that step s runs with the new mask. That of step 1 is made when the
    optimizer is built, which `fit` does as it starts: load weights before. (On PyTorch the first
    gradient is taken just before.) A schedule whose first update comes after step 10 says so in a
    warning. A step is a call of the optimizer, which is a batch, also where
    ``gradient_accumulation_steps=k`` makes one change of the weights from k of them: multiply the
    steps of the schedule by k to count changes, as for Keras's learning rate schedules.

    The masks and the count of steps are variables of the optimizer: they are saved in the
    ``.keras`` file with it and loaded with it, and need no wrapper layer and no callback.
    Without a schedule the masks start at all ones, which changes nothing;
    `tfinit.pruning.set_masks(model, masks)` sets them by the keys of the model's weights,
    `assign_masks` variable by variable.

    Args:
        inner_optimizer: A `keras.optimizers.Optimizer`, new or already built. Arguments such as
            ``weight_decay`` or ``use_ema`` are set on it.
        schedule: A `PruningSchedule`, such as ``PolynomialDecay(0, 0.9, 0, 1000)``.
        scope: Which weights: a model, a layer, a list of layers or of variable paths, a function
            of a variable. Give the model to leave depthwise kernels alone and to honour
            ``get_prunable_weights()`` of custom layers. A mask takes a byte a weight.
        policy: A `PruningPolicy` that chooses among the layers of ``scope``.
        rules: In place of the arguments above: a list of `PruningRule`, for weights that are
            pruned differently. The first rule that names a weight has it.
        name: Name of the optimizer.
        settings: What else `PruningRule` takes: ``allocation``, ``min_density``, ``score``,
            ``structure``, ``target``, ``block_size``, ``block_pooling_type``, ``sparsity_m_by_n``,
            ``monotone``, ``keep_zeros``, ``regrow``, ``drop_fraction``, ``start``, ``seed``.

    Raises:
        InputError: ``inner_optimizer`` is not a Keras optimizer, or is one of tf_keras; an
            argument is not one of those above; when built, there is nothing to prune.

    Example:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="fc")])
        >>> half = ConstantSparsity(0.5, begin_step=1)
        >>> model.compile(SparseOptimizer(keras.optimizers.Adam(), half, scope=model), loss="mse")
        >>> _ = model.fit(np.ones((8, 4)), np.ones((8, 3)), verbose=0)
        >>> int(np.count_nonzero(model.layers[0].kernel))
        6

    References:
        Zhu & Gupta, *To prune, or not to prune*, 2017, https://arxiv.org/abs/1710.01878.
        Lee et al., *JaxPruner: A concise library for sparsity research*, 2023, keeps masks in the
        optimizer's state in the same way.
    """

    def __init__(
        self,
        inner_optimizer: keras.optimizers.Optimizer,
        schedule: PruningSchedule | None = None,
        scope: Any = None,
        policy: PruningPolicy | None = None,
        *,
        rules: Iterable[PruningRule] | None = None,
        name: str | None = None,
        **settings: Any,
    ):
        misplaced = [key for key in settings if key in INNER_ARGUMENTS]
        if misplaced:
            raise InputError(
                f"SparseOptimizer does not take {misplaced}. Set them on `inner_optimizer`, "
                f"as in SparseOptimizer(Adam({misplaced[0]}=...))."
            )
        unknown = sorted(settings.keys() - PruningRule.ARGUMENTS)
        if unknown:
            raise InputError(
                f"SparseOptimizer does not take the arguments {unknown}; it takes "
                f"{sorted(PruningRule.ARGUMENTS)}."
            )
        text("name", name, none=True)
        inner_optimizer = by_name(inner_optimizer)
        if not isinstance(inner_optimizer, keras.optimizers.Optimizer):
            raise InputError(
                "`inner_optimizer` must be a keras.optimizers.Optimizer of Keras 3, received "
                f"{type(inner_optimizer).__module__}.{type(inner_optimizer).__name__}. "
                "A tf_keras model is pruned by TFMOT: prune_low_magnitude(model) hands it over."
            )
        if rules is None:
            rules = [PruningRule(schedule, scope, policy, **settings)]
        elif settings or any(a is not None for a in (schedule, scope, policy)):
            raise InputError("Give `rules`, or `schedule`, `scope` and the rest, not both.")
        rules = listed("rules", rules, PruningRule)
        super().__init__(inner_optimizer, rules, name)
        note_inner(inner_optimizer)
        # A model that is compiled anew, with another optimizer, shall not lose this one's masks.
        importlib.import_module("tfinit.pruning.tfmot_api.adoption").watch()

    # -- state ---------------------------------------------------------------------------------

    def build(self, variables: list[Any]) -> None:
        """Create the masks and the inner optimizer's state; prune for step 1 if that is due."""
        variables = list(variables)
        if self.built or not variables:  # Keras builds with none when it loads an .h5 file
            return
        if self._shapes and self._shapes != [list(v.shape) for v in variables]:
            self._forget_rules(variables)
        # First, as it may raise.
        self._pruner.build(self, variables, self._eligible(variables))
        if not self.inner_optimizer.built:
            self.inner_optimizer.build(variables)
        super().build(variables)
        note_built(self)
        # The values now, also where a custom loop is just being traced.
        with out_of_the_graph():
            # What the inner optimizer had done before it was wrapped; see `catch_up`.
            self._steps_before = int(ops.convert_to_numpy(self.inner_optimizer.iterations))
            vars(self.inner_optimizer).pop("load_own_variables", None)
            loaded, self._loaded = self._loaded, None
            if loaded is not None and self._fits(loaded):
                self.set_weights(loaded)
                return
            if not self._begin():
                self._pruner.start(self._steps_before)

    def _eligible(self, variables: list[Any]) -> list[bool]:
        return [
            len(v.shape) >= 2 and not self._overwrite_variable_with_gradient(v) for v in variables
        ]

    def continue_from(self, other: "SparseOptimizer", from_step: int | None = None) -> None:
        """Begin, once built, with the masks and at the step of another, built optimizer.

        For a model that is compiled anew in the middle of pruning, say with another learning rate:
        ``new.continue_from(model.optimizer)``; `compile` does so by itself where it is given an
        optimizer that does not prune. Variables are matched by identity. Those that the other one
        did not prune, or by another schedule, are pruned as the new schedule would have by then.

        Args:
            other: The optimizer.
            from_step: At which step to begin; None: the other's. 0 lets a new schedule begin.
        """
        instance("other", other, SparseOptimizer)
        whole("from_step", from_step, 0, none=True)
        other._check_built("continue_from")

        def progress() -> Progress:
            now: Any = other.progress()  # it is built
            return now if from_step is None else now._replace(step=from_step)

        self.begin_with(progress)

    def catch_up(self, steps_done: int = 0) -> None:
        """Prune for the steps that were taken with another optimizer, such as the inner one.

        A training loop that was written for TFMOT calls the plain optimizer and lets a callback do
        the pruning, which is this. Steps through `apply` need it not: it masks the weights then.

        Args:
            steps_done: How many steps there were, if the inner optimizer did not count them.
        """
        self._check_built("catch_up")
        self.mask_weights()
        if self._pruner.step is None:
            return
        for _ in range(max(steps_done, self._steps_of_inner()) - self._pruner.steps_done()):
            self._pruner.after_step({}, {}, self._forget)
            self.mask_weights()

    # -- the step ------------------------------------------------------------------------------

    def apply(self, grads: list[Any], trainable_variables: list[Any] | None = None) -> None:
        """Mask the gradients, let the inner optimizer step, mask the weights."""
        if len(grads) == 0:
            return
        if trainable_variables is None:
            self._check_built("apply(grads)")
            trainable_variables = self._trainable_variables
        trainable_variables = list(trainable_variables)
        if not self.built:
            self.build(trainable_variables)
        self._check_variables_are_known(trainable_variables)
        places = [self._get_variable_index(v) for v in trainable_variables]
        gradients = self._pruner.gradients_for_scores(dict(zip(places, grads, strict=True)))
        before = self._pruner.weights_for_states(gradients)
        given = dict(zip(places, grads, strict=True))
        # Those of this step, of all variables: an average may overwrite one without a gradient.
        in_step = {
            i: factor_of(mask, self._trainable_variables[i] if given.get(i) is None else given[i])
            for i, mask in enumerate(self._pruner.masks)
            if mask is not None
        }
        given |= {
            i: masked(given[i], mask) for i, mask in in_step.items() if given.get(i) is not None
        }
        self.inner_optimizer.apply([given[i] for i in places], trainable_variables)
        if replicas() is not None:
            self._after_step_in_replicas(gradients, before)
        else:
            for i, mask in in_step.items():
                self._mask_after_step(self._trainable_variables[i], mask, given.get(i))
            if self._pruner.step is not None:
                self._pruner.after_step(gradients, before, self._forget)
        self._mask_averages()

    def _mask_after_step(self, variable: Any, mask: Any, gradient: Any) -> None:
        rows = getattr(gradient, "indices", None)
        if rows is None or not writes_nothing_but_rows(self.inner_optimizer, variable):
            variable.assign(masked(variable, mask))
            return
        # The step wrote those rows only: with an embedding of many rows, much less than all.
        values = variable.value.sparse_read(rows)
        values = masked(values, ops.take(ops.convert_to_tensor(mask), rows, axis=0))
        variable.value.scatter_update(type(gradient)(values, rows))

    def _after_step_in_replicas(self, gradients: dict[int, Any], before: dict[int, Any]) -> None:
        """Mask by the masks of this step and of the next: what grows again begins at zero."""
        in_step = self._pruner.masks
        masks = {i: ops.copy(m) for i, m in enumerate(in_step) if m is not None}
        if self._pruner.step is not None:
            self._pruner.after_step_in_replicas(gradients, before)
            for group in self._pruner.scheduled:
                for i in group.indices:
                    if group.rule.regrow:
                        self._forget(i, grown(masks[i], in_step[i]))
                    masks[i] = ops.logical_and(masks[i], in_step[i])
        for i, mask in masks.items():
            variable = self._trainable_variables[i]
            variable.assign(masked(variable, mask))

    def _slots(self) -> dict[int, list[tuple[Any, float]]]:
        return slots(self.inner_optimizer, self._trainable_variables, self._pruner.regrowing)

    def _forget(self, place: int, entries: Any) -> None:
        """Put what the inner optimizer keeps of some entries of a weight back to its start."""
        for slot, at_first in self._slots()[place]:
            value = ops.convert_to_tensor(slot)
            assign(slot, ops.where(entries, ops.cast(at_first, value.dtype), value))

    def stateless_apply(
        self, optimizer_variables: list[Any], grads: list[Any], trainable_variables: list[Any]
    ) -> tuple[list[Any], list[Any]]:
        """As `apply`, from and to tensors: what Keras calls on JAX."""
        if keras.backend.backend() == "tensorflow":
            # Raises, saying that TensorFlow has no stateless apply.
            return super().stateless_apply(optimizer_variables, grads, trainable_variables)
        self._check_built("stateless_apply")
        # A LossScaleOptimizer passes the variables themselves, in a scope with their values.
        optimizer_variables = [ops.convert_to_tensor(v) for v in optimizer_variables]
        own = optimizer_variables[: len(self._variables)]
        state = dict(zip(map(id, self._variables), own, strict=True))
        masks = [None if m is None else state[id(m)] for m in self._pruner.masks]
        for i, kept in self._pruner.states.items():
            if grads[i] is not None:
                state[id(kept)] = self._pruner.updated_state(
                    i, state[id(kept)], trainable_variables[i], grads[i]
                )
        # Not through `apply` in a scope: the inner optimizer may have a stateless form of its own.
        weights, inner = self.inner_optimizer.stateless_apply(
            optimizer_variables[len(own) :],
            [
                g if g is None or m is None else masked(g, m)
                for g, m in zip(grads, masks, strict=True)
            ],
            trainable_variables,
        )
        weights = _all_masked(weights, masks)
        inner = dict(zip(map(id, self.inner_optimizer.variables), inner, strict=True))
        if self._pruner.step is not None:
            before = masks
            masks = self._pruner.stateless_after_step(state, weights, masks, grads)
            weights = _all_masked(weights, masks)
            for i, kept in self._slots().items():
                for slot, at_first in kept:
                    value = inner[id(slot)]
                    start = ops.cast(at_first, value.dtype)
                    inner[id(slot)] = ops.where(grown(before[i], masks[i]), start, value)
        averaged = {id(average): state[id(mask)] for average, mask in self._averages()}
        inner = [
            masked(value, averaged[v]) if v in averaged else value for v, value in inner.items()
        ]
        return weights, [*(state[id(v)] for v in self._variables), *inner]

    def finalize_variable_values(self, var_list: list[Any]) -> None:
        """Let the inner optimizer put its averages into the weights, then mask the weights."""
        if not all(map(holds_a_value, self._trainable_variables)):
            # `fit` on JAX, which holds the values meanwhile, ends in an error: let it be seen.
            return
        self.inner_optimizer.finalize_variable_values(var_list)
        if keras.backend.backend() == "jax" and averages(self.inner_optimizer):
            # Keras put the very arrays of the averages into the weights; the next `fit` would give
            # each of them away twice, which JAX refuses, or crashes on where there are devices.
            for variable in var_list:
                variable.assign(ops.copy(variable))
        self._pruner.mask_weights()
        self._pruner.warn_of_emptied()

    def get_config(self) -> dict[str, Any]:
        """The inner optimizer's configuration and the rules.

        The masks themselves are state, saved with the optimizer's variables.
        """
        model = self._model()
        waits = not self.built and model is not None and model.built
        if waits and self.progress() is not None and not self.built:
            # Now, or what it is to go on from would not be in the file. Around it may be another.
            whole = model.optimizer if self in chain(model.optimizer) else self
            whole.build(model.trainable_variables)
        groups = self._pruner.groups
        if waits and not self.built:
            # What it would be bound to: paths may be others where it is loaded.
            variables = model.trainable_variables
            groups = bind(self.rules, variables, self._eligible(variables))
        rules = [group.by_index() for group in groups] or self.rules
        shapes = [list(v.shape) for v in self._trainable_variables] if self.built else []
        return {
            "name": self.name,
            "inner_optimizer": keras.saving.serialize_keras_object(self.inner_optimizer),
            "rules": [keras.saving.serialize_keras_object(rule) for rule in rules],
            "shapes": shapes,
        }

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None
    ) -> "SparseOptimizer":
        """Make the optimizer that `get_config` described, with masks of ones once built."""
        config = dict(config)
        inner, *rules = (
            keras.saving.deserialize_keras_object(part, custom_objects=custom_objects)
            for part in (config["inner_optimizer"], *config["rules"])
        )
        made = cls(inner, rules=rules, name=config["name"])
        # Of the weights, which rules name by their place. Older files have none.
        made._shapes = config.get("shapes")
        return made


def _all_masked(weights: list[Any], masks: list[Any]) -> list[Any]:
    return [w if m is None else masked(w, m) for w, m in zip(weights, masks, strict=True)]
