"""What an optimizer with masks holds of a training: read, set, saved, loaded, and gone on from."""

import warnings
import weakref
from collections.abc import Callable, Container, Iterable
from typing import Any

import keras
import numpy as np
from keras import ops

from tfinit.arguments import instance, listed, refused
from tfinit.errors import InputError, TfinitWarning
from tfinit.learning_rates.wrapping import WrappingOptimizer
from tfinit.pruning.in_training.assigning import masked
from tfinit.pruning.in_training.pruner import Progress, Pruner
from tfinit.pruning.in_training.rules import PruningRule, is_layers
from tfinit.pruning.in_training.wrapping import averages
from tfinit.pruning.scoring.masks import check_mask


class MaskKeeper(WrappingOptimizer):
    """An optimizer around another one, with masks and a count of steps among its variables.

    Args:
        inner_optimizer: What takes the steps.
        rules: What is pruned.
        name: Name of the optimizer.
    """

    def __init__(
        self,
        inner_optimizer: keras.optimizers.Optimizer,
        rules: Iterable[PruningRule],
        name: str | None,
    ) -> None:
        super().__init__(inner_optimizer, name)
        self.rules = tuple(rules)
        self._pruner = Pruner(self.rules)
        self._before: Callable[[], Progress | None] | None = None
        self._loaded: list[Any] | None = None
        self._model: Callable[[], Any] = lambda: None
        self._shapes: list[list[int]] | None = None
        self._forgot = False
        self._steps_before = 0  # what the inner optimizer had done before it was wrapped

    # -- the masks -------------------------------------------------------------------------------

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

    def places(self) -> dict[int, int]:
        """Id of each mask, and of what a score remembers → the place of its weight."""
        masks = {id(mask): i for i, mask in enumerate(self._pruner.masks) if mask is not None}
        return masks | {id(state): i for i, state in self._pruner.states.items()}

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

    def _averages(self) -> list[tuple[Any, Any]]:
        """(average, mask) for every masked variable of which an optimizer keeps an average."""
        pairs = zip(averages(self.inner_optimizer), self._pruner.masks, strict=False)
        return [(a, m) for a, m in pairs if a is not None and m is not None]

    def _mask_averages(self) -> None:
        # Callbacks such as SwapEMAWeights put the averages into the model.
        for average, mask in self._averages():
            average.assign(masked(average, mask))

    @property
    def steps_taken(self) -> int:
        """How many training steps it took, those of what it continued from among them."""
        return max(self._steps_of_inner(), self._pruner.steps_done()) if self.built else 0

    def _steps_of_inner(self) -> int:
        return int(ops.convert_to_numpy(self.iterations)) - self._steps_before

    def _check_built(self, what: str) -> None:
        if not self.built:
            raise InputError(
                f"`{what}` needs the optimizer's variables. Call "
                "`optimizer.build(model.trainable_variables)` first."
            )

    # -- what is saved, loaded and gone on from --------------------------------------------------

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
            TfinitWarning,
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
            TfinitWarning,
            stacklevel=4,
        )
        self.rules = (PruningRule(scope=[]),)
        self._pruner = Pruner(self.rules)
        self._forgot = True

    def _begin(self) -> bool:
        before, self._before = self.progress_to_begin_with(), None
        if before is not None:
            self._steps_before -= self._pruner.take_over(before)
        return before is not None


def _shapes(values: Iterable[Any]) -> list[tuple[int, ...]]:
    return [tuple(v.shape) for v in values]


def _has_no_other(scope: Any, layers: Iterable[Any]) -> bool:
    """Whether a scope is of some of these layers only."""
    ids = {id(layer) for layer in layers}
    return is_layers(scope) and all(
        id(part) in ids for part in (scope if isinstance(scope, list) else [scope])
    )


def _pairs(masks: Any) -> list[tuple[Any, Any]]:
    pairs = listed("masks", masks, object, empty=True)
    for pair in pairs:
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise refused("masks", "a list of pairs (variable, mask)", pair)
        instance("masks", pair[0], keras.Variable)
    return pairs
