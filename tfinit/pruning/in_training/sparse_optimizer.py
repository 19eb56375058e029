"""SparseOptimizer: an optimizer around an optimizer that prunes, and keeps zeros at zero."""

import importlib
import warnings
import weakref
from collections.abc import Callable, Container, Iterable
from typing import Any

import keras
import numpy as np
from keras import ops

from tfinit.arguments import instance, listed, refused, text, whole
from tfinit.errors import InputError
from tfinit.graph.keras_internals import holds_a_value
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
from tfinit.pruning.in_training.pruner import Progress, Pruner
from tfinit.pruning.in_training.rules import PruningRule, is_layers
from tfinit.pruning.in_training.schedules import PruningSchedule
from tfinit.pruning.in_training.wrapping import (
    INNER_ARGUMENTS,
    WrappingOptimizer,
    averages,
    chain,
    slots,
    writes_nothing_but_rows,
)
from tfinit.pruning.scoring.masks import check_mask
from tfinit.pruning.tfmot_api.policy import PruningPolicy


@keras.saving.register_keras_serializable("tfinit")
class SparseOptimizer(WrappingOptimizer):
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
            ``block_size``, ``block_pooling_type``, ``sparsity_m_by_n``, ``monotone``, ``regrow``,
            ``drop_fraction``, ``start``, ``seed``.

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
        unknown = sorted(settings.keys() - PruningRule.SETTINGS)
        if unknown:
            raise InputError(
                f"SparseOptimizer does not take the arguments {unknown}; it takes "
                f"{sorted(PruningRule.SETTINGS)}."
            )
        text("name", name, none=True)
        if isinstance(inner_optimizer, str):
            try:
                inner_optimizer = keras.optimizers.get(inner_optimizer)
            except ValueError as error:
                wanted = "an optimizer of Keras 3 or its name"
                raise refused("inner_optimizer", wanted, inner_optimizer) from error
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
        super().__init__(inner_optimizer, name)
        self.rules = tuple(rules)
        self._pruner = Pruner(self.rules)
        self._before: Callable[[], Progress | None] | None = None
        self._loaded: list[Any] | None = None
        self._model: Callable[[], Any] = lambda: None
        self._shapes: list[list[int]] | None = None
        self._forgot = False
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

    def _begin(self) -> bool:
        before, self._before = self.progress_to_begin_with(), None
        if before is not None:
            self._steps_before -= self._pruner.take_over(before)
        return before is not None

    def _eligible(self, variables: list[Any]) -> list[bool]:
        return [
            len(v.shape) >= 2 and not self._overwrite_variable_with_gradient(v) for v in variables
        ]

    def compiled_for(self, model: Any) -> None:
        """Remember the model, without keeping it alive: what is saved before it is built."""
        self._model = weakref.ref(model)

    def set_weights(self, weights: list[Any]) -> None:
        """Set `variables`; those of an optimizer that is not built yet, as soon as it is.

        Raises:
            InputError: their number or a shape differs. Nothing was changed.
        """
        # Keras loads an .h5 file so, where it builds no optimizer: its own lose their state.
        if not self.built:
            self._loaded = [np.array(weight) for weight in weights]  # the file will be closed
            return
        shapes, received = _shapes(self.variables), _shapes(weights)
        if shapes != received:
            raise InputError(
                f"`weights` must have the shapes of this optimizer's variables, {shapes}; "
                f"received {received}."
            )
        for variable, weight in zip(self.variables, weights, strict=True):
            variable.assign(weight)

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
            now = other.progress()
            return now if from_step is None else now._replace(step=from_step)

        self.begin_with(progress)

    def progress(self) -> Progress | None:
        """Its masks and its step; before it is built, those that it will begin with, or None."""
        model = self._model()
        if not self.built and self._loaded is not None and model is not None and model.built:
            self.build(model.trainable_variables)
        return self._pruner.progress() if self.built else self.progress_to_begin_with()

    @property
    def waits(self) -> bool:
        """Whether it is not built yet, and was told with what to begin then."""
        return not self.built and self._before is not None

    def begin_with(self, progress: Callable[[], Progress | None]) -> None:
        """Begin, once built, with the masks and at the step that are asked for then."""
        self._before = progress
        if self.built:
            self._begin()

    @property
    def progress_to_begin_with(self) -> Callable[[], Progress | None]:
        """What `begin_with` was given; else what returns None."""
        return self._before or (lambda: None)

    def rules_by_path(self, but_for: Iterable[Any] = ()) -> list[PruningRule]:
        """The rules, with weights by their paths where they are named by their place.

        Args:
            but_for: Layers; without the rules that have no other weights than theirs.
        """
        if not self.built:
            return [rule for rule in self.rules if not _has_no_other(rule.scope, but_for)]
        theirs = {id(v) for layer in but_for for v in layer.weights}
        trained = self._trainable_variables
        paths = [v.path for v in trained]
        return [
            group.rule.with_paths(paths)
            for group in self._pruner.groups
            if not group.indices or not theirs.issuperset(id(trained[i]) for i in group.indices)
        ]

    def load_own_variables(self, store: Any) -> None:
        """Load what a file of Keras holds of this optimizer; if it is not built yet, once it is."""
        if self._shapes == []:  # it was saved before there was anything
            return
        saved = [store[str(i)] for i in range(len(store.keys()))]
        if not self.built:
            # Its own are among them; Keras would warn that it has none to load them into.
            self.inner_optimizer.load_own_variables = lambda store: None
        if not self.built or self._fits(saved):
            self.set_weights(saved)

    def _fits(self, saved: list[Any]) -> bool:
        if self._forgot or _shapes(saved) == _shapes(self.variables):
            return not self._forgot
        warnings.warn(
            f"What was saved of an optimizer does not fit {self.name!r}: {len(saved)} variables of "
            f"other shapes than its {len(self.variables)}. Masks and step were not loaded, and "
            "zeros are not kept. Compile with the SparseOptimizer that was saved before you load, "
            "or keep what is zero: compile with tfinit.pruning.hold_zeros(model, optimizer).",
            stacklevel=4,
        )
        return False

    def _forget_rules(self, variables: list[Any]) -> None:
        """A saved model may train other weights than the one that was pruned: it is quantized."""
        warnings.warn(
            f"{self.name!r} was saved for weights of the shapes {self._shapes}, and the model "
            f"trains others: {[v.path for v in variables]}. It was quantized or changed after it "
            "was pruned, and nothing prunes it or keeps its zeros now. Strip a model before you "
            "quantize it: tfinit.pruning.strip_pruning(model).",
            stacklevel=4,
        )
        self.rules = (PruningRule(scope=[]),)
        self._pruner = Pruner(self.rules)
        self._forgot = True

    @property
    def steps_taken(self) -> int:
        """How many training steps it took, those of what it continued from among them."""
        return max(self._steps_of_inner(), self._pruner.steps_done()) if self.built else 0

    def _steps_of_inner(self) -> int:
        return int(ops.convert_to_numpy(self.iterations)) - self._steps_before

    @property
    def variables(self) -> list[Any]:
        """The masks, then everything that the inner optimizer keeps."""
        return self._variables + self.inner_optimizer.variables

    def get_mask(self, variable: Any) -> np.ndarray | None:
        """The mask of a variable as a boolean array; None if it carries none here."""
        self._check_built("get_mask")
        instance("variable", variable, keras.Variable)
        mask = self._pruner.mask_of(variable)
        return None if mask is None else np.array(ops.convert_to_numpy(mask), dtype=bool)

    def assign_masks(self, masks: Iterable[tuple[Any, np.ndarray]]) -> None:
        """Set the masks of some variables, and zero the weights that they prune.

        Args:
            masks: Pairs of a variable and an array of its shape with entries 0 and 1 (or
                booleans). Variables that are not named keep their mask.

        Raises:
            InputError: The optimizer is not built, a variable carries no mask, a shape differs or
                an entry is neither 0 nor 1. Nothing was changed.
        """
        self._check_built("assign_masks")
        checked = []
        for variable, mask in _pairs(masks):
            self._check_variables_are_known([variable])
            if self._pruner.mask_of(variable) is None:
                raise InputError(
                    f"The variable {variable.path!r} carries no mask in this optimizer. "
                    "Those that a rule's `scope` names do; without it kernels and embeddings, if "
                    "the rule has a schedule, else all of rank 2 or more."
                )
            checked.append((variable, check_mask(variable.path, mask, variable.shape)))
        for variable, mask in checked:
            self._pruner.mask_of(variable).assign(mask)
        self.mask_weights()

    def mask_weights(self) -> None:
        """Set every weight that is pruned to zero, and its average: after weights were loaded."""
        self._check_built("mask_weights")
        self._pruner.mask_weights()
        self._mask_averages()

    def masked_variables(self) -> list[Any]:
        """The variables that carry a mask."""
        return [variable for variable, _ in self._pruner.masked()]

    def pruned(self) -> int:
        """How many weights are pruned by the masks."""
        return self._pruner.pruned()

    def revived(self, among: Container[int] | None = None) -> int:
        """How many weights that the masks prune are not zero, as something else wrote them.

        Args:
            among: The ids of the variables to look at; None: all.
        """
        return self._pruner.revived(among)

    def warn_of_emptied(self) -> None:
        """Warn of the weights of which a global choice left nothing."""
        self._pruner.warn_of_emptied()

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

    def _check_built(self, what: str) -> None:
        if not self.built:
            raise InputError(
                f"`{what}` needs the optimizer's variables. Call "
                "`optimizer.build(model.trainable_variables)` first."
            )

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
        moved = self._pruner.moved(gradients)
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
            self._after_step_in_replicas(gradients, moved)
        else:
            for i, mask in in_step.items():
                self._mask_after_step(self._trainable_variables[i], mask, given.get(i))
            if self._pruner.step is not None:
                self._pruner.after_step(gradients, moved, self._forget)
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

    def _after_step_in_replicas(self, gradients: dict[int, Any], moved: dict[int, Any]) -> None:
        """By the masks of this step and of the next: what grows again begins at zero."""
        in_step = self._pruner.masks
        masks = {i: ops.copy(m) for i, m in enumerate(in_step) if m is not None}
        if self._pruner.step is not None:
            self._pruner.after_step_in_replicas(gradients, moved)
            for group in self._pruner.scheduled:
                for i in group.indices:
                    if group.rule.regrow:
                        self._forget(i, grown(masks[i], in_step[i]))
                    masks[i] = ops.logical_and(masks[i], in_step[i])
        for i, mask in masks.items():
            variable = self._trainable_variables[i]
            variable.assign(masked(variable, mask))

    def _averages(self) -> list[tuple[Any, Any]]:
        """(average, mask) for every masked variable of which an optimizer keeps an average."""
        pairs = zip(averages(self.inner_optimizer), self._pruner.masks, strict=False)
        return [(a, m) for a, m in pairs if a is not None and m is not None]

    def _slots(self) -> dict[int, list[tuple[Any, float]]]:
        return slots(self.inner_optimizer, self._trainable_variables, self._pruner.regrowing)

    def _forget(self, place: int, entries: Any) -> None:
        """Put what the inner optimizer keeps of some entries of a weight back to its start."""
        for slot, at_first in self._slots()[place]:
            value = ops.convert_to_tensor(slot)
            assign(slot, ops.where(entries, ops.cast(at_first, value.dtype), value))

    def _mask_averages(self) -> None:
        # Callbacks such as SwapEMAWeights put the averages into the model.
        for average, mask in self._averages():
            average.assign(masked(average, mask))

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
        for i, movement in self._pruner.movement.items():
            if grads[i] is not None:
                state[id(movement)] -= trainable_variables[i] * grads[i]
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


def _shapes(values: Iterable[Any]) -> list[tuple[int, ...]]:
    return [tuple(v.shape) for v in values]


def _has_no_other(scope: Any, layers: Iterable[Any]) -> bool:
    """Whether a scope is of some of these layers only."""
    ids = {id(layer) for layer in layers}
    return is_layers(scope) and all(
        id(part) in ids for part in (scope if isinstance(scope, list) else [scope])
    )


def _all_masked(weights: list[Any], masks: list[Any]) -> list[Any]:
    return [w if m is None else masked(w, m) for w, m in zip(weights, masks, strict=True)]


def _pairs(masks: Any) -> list[tuple[Any, Any]]:
    pairs = listed("masks", masks, object, empty=True)
    for pair in pairs:
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise refused("masks", "a list of pairs (variable, mask)", pair)
        instance("masks", pair[0], keras.Variable)
    return pairs
