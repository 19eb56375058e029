"""SparseOptimizer: an optimizer around an optimizer that keeps pruned weights at zero."""

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
from keras import ops

from tfinit.errors import InputError
from tfinit.pruning.masks import check_mask

# What Keras's base class would add to the wrapper belongs to the inner optimizer.
_INNER_ARGUMENTS = (
    "learning_rate",
    "weight_decay",
    "clipnorm",
    "clipvalue",
    "global_clipnorm",
    "use_ema",
    "ema_momentum",
    "ema_overwrite_frequency",
    "loss_scale_factor",
    "gradient_accumulation_steps",
)


@keras.saving.register_keras_serializable("tfinit")
class SparseOptimizer(keras.optimizers.Optimizer):
    """Trains with another optimizer and keeps the pruned weights at exactly zero.

    Each step, for a weight w with mask m (1 = survives, 0 = pruned), gradient g::

        g  <- m * g
        w  <- inner(w, g)
        w  <- m * w            (and m * average, where the inner optimizer keeps one)

    so the pruned weights are zero after *every* step, whatever the inner optimizer does (momentum,
    weight decay, averaging, the orthogonalized updates of Muon), and the survivors move as if the
    gradient itself had been masked. It works compiled, with ``steps_per_execution``, gradient
    accumulation, clipping and loss scaling, on the TensorFlow, JAX and PyTorch backends.

    The masks are variables of the optimizer: they are saved in the ``.keras`` file with it and
    loaded with it, and need no wrapper layer and no callback. They start at all ones, which
    changes nothing. `tfinit.pruning.set_masks(model, masks)` sets them by the keys of the model's
    weights; `assign_masks` does it variable by variable, without a model.

    Args:
        inner_optimizer: A `keras.optimizers.Optimizer`, new or already built. Arguments such as
            ``weight_decay`` or ``use_ema`` are set on it.
        masked: Which variables carry a mask: a list of variable paths, as `keras.Variable.path`
            gives them. By default, every variable of rank 2 or more. A mask takes a byte a weight.
        name: Name of the optimizer.

    Raises:
        InputError: ``inner_optimizer`` is not a Keras optimizer, or is one of tf_keras.

    Example:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="fc")])
        >>> model.compile(SparseOptimizer(keras.optimizers.Adam(1e-3)), loss="mse")
        >>> mask = np.eye(4, 3)
        >>> tfinit.pruning.set_masks(model, {"fc/kernel": mask})
        >>> _ = model.fit(np.ones((8, 4)), np.ones((8, 3)), verbose=0)
        >>> bool(np.all(model.layers[0].kernel.numpy()[mask == 0] == 0))
        True

    References:
        Lee et al., *JaxPruner: A concise library for sparsity research*, 2023, keeps masks in the
        optimizer's state in the same way.
    """

    def __init__(
        self,
        inner_optimizer: keras.optimizers.Optimizer,
        masked: Iterable[str] | None = None,
        name: str | None = None,
        **kwargs: Any,
    ):
        misplaced = [key for key in kwargs if key in _INNER_ARGUMENTS]
        if misplaced:
            raise InputError(
                f"SparseOptimizer does not take {misplaced}. Set them on `inner_optimizer`, "
                f"as in SparseOptimizer(Adam({misplaced[0]}=...))."
            )
        if kwargs:
            raise InputError(f"SparseOptimizer does not take the arguments {sorted(kwargs)}.")
        if isinstance(inner_optimizer, str):
            inner_optimizer = keras.optimizers.get(inner_optimizer)
        if not isinstance(inner_optimizer, keras.optimizers.Optimizer):
            raise InputError(
                "`inner_optimizer` must be a keras.optimizers.Optimizer of Keras 3, received "
                f"{type(inner_optimizer).__module__}.{type(inner_optimizer).__name__}. "
                "For a tf_keras model use TFMOT, through tfinit.pruning.TfmotPruner."
            )
        if isinstance(masked, str):
            raise InputError(f"`masked` must be a list of variable paths, received {masked!r}.")
        super().__init__(learning_rate=0.0, name=name)
        self.inner_optimizer = inner_optimizer
        self.masked = None if masked is None else tuple(masked)
        self._masks: list[Any] = []

    # -- state ---------------------------------------------------------------------------------

    def build(self, variables: list[Any]) -> None:
        """Create a mask of ones for each chosen variable, and the inner optimizer's state."""
        if self.built:
            return
        if self.masked is not None:
            unknown = sorted(set(self.masked) - {v.path for v in variables})
            if unknown:
                raise InputError(
                    f"`masked` names {unknown}, which this optimizer does not train. "
                    f"Its variables are {[v.path for v in variables]}."
                )
        if not self.inner_optimizer.built:
            self.inner_optimizer.build(variables)
        # One entry a variable, None where it carries no mask, in the order of `variables`.
        self._masks = [self._new_mask(v) if self._carries_mask(v) else None for v in variables]
        super().build(variables)

    def _carries_mask(self, variable: Any) -> bool:
        if self.masked is not None:
            return variable.path in self.masked
        return len(variable.shape) >= 2 and not self._overwrite_variable_with_gradient(variable)

    def _new_mask(self, variable: Any) -> Any:
        # Not `add_variable_from_reference`: it would take the dtype of the variable.
        return self.add_variable(
            shape=variable.shape,
            initializer="ones",
            dtype="bool",
            aggregation="only_first_replica",
            layout=getattr(variable, "_layout", None),
            name=f"{variable.path.replace('/', '_')}_mask",
        )

    def _mask_of(self, variable: Any) -> Any:
        return self._masks[self._get_variable_index(variable)]

    @property
    def variables(self) -> list[Any]:
        """The masks, then everything that the inner optimizer keeps."""
        return self._variables + self.inner_optimizer.variables

    def get_mask(self, variable: Any) -> np.ndarray | None:
        """The mask of a variable as a boolean array; None if it carries none."""
        self._check_built("get_mask")
        mask = self._mask_of(variable)
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
        for variable, mask in masks:
            self._check_variables_are_known([variable])
            if self._mask_of(variable) is None:
                raise InputError(
                    f"The variable {variable.path!r} carries no mask in this optimizer. "
                    "Those of rank 2 or more do, or those named in `masked`."
                )
            checked.append((variable, check_mask(variable.path, mask, variable.shape)))
        for variable, mask in checked:
            self._mask_of(variable).assign(mask)
        self._mask_weights([variable for variable, _ in checked])
        self._mask_averages()

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
        grads = self._masked_gradients(grads, trainable_variables)
        self.inner_optimizer.apply(grads, trainable_variables)
        # All variables, not only those with a gradient: an average may overwrite any of them.
        self._mask_weights(self._trainable_variables)
        self._mask_averages()

    def _masked_gradients(self, grads: list[Any], variables: list[Any]) -> list[Any]:
        return [
            g if g is None or self._mask_of(v) is None else _masked(g, self._mask_of(v))
            for g, v in zip(grads, variables, strict=True)
        ]

    def _mask_weights(self, variables: list[Any]) -> None:
        for variable in variables:
            mask = self._mask_of(variable)
            if mask is not None:
                variable.assign(_masked(variable, mask))

    def _averages(self) -> list[tuple[Any, Any]]:
        """(average, mask) for every masked variable of which an optimizer keeps an average."""
        optimizer = self.inner_optimizer
        while hasattr(optimizer, "inner_optimizer"):  # under a LossScaleOptimizer
            optimizer = optimizer.inner_optimizer
        if not optimizer.use_ema:
            return []
        pairs = zip(optimizer._model_variables_moving_average, self._masks, strict=True)
        return [(a, m) for a, m in pairs if a is not None and m is not None]

    def _mask_averages(self) -> None:
        # Callbacks such as SwapEMAWeights put the averages into the model.
        for average, mask in self._averages():
            average.assign(_masked(average, mask))

    def stateless_apply(
        self, optimizer_variables: list[Any], grads: list[Any], trainable_variables: list[Any]
    ) -> tuple[list[Any], list[Any]]:
        """As `apply`, from and to tensors: what Keras calls on JAX."""
        if keras.backend.backend() == "tensorflow":
            # Raises, saying that TensorFlow has no stateless apply.
            return super().stateless_apply(optimizer_variables, grads, trainable_variables)
        self._check_built("stateless_apply")
        own = optimizer_variables[: len(self._variables)]
        state = dict(zip(map(id, self._variables), own, strict=True))
        masks = [None if m is None else state[id(m)] for m in self._masks]
        grads = [
            g if g is None or m is None else _masked(g, m)
            for g, m in zip(grads, masks, strict=True)
        ]
        # Not through `apply` in a scope: the inner optimizer may have a stateless form of its own.
        weights, inner = self.inner_optimizer.stateless_apply(
            optimizer_variables[len(own) :], grads, trainable_variables
        )
        weights = [w if m is None else _masked(w, m) for w, m in zip(weights, masks, strict=True)]
        averaged = {id(average): state[id(mask)] for average, mask in self._averages()}
        inner = [
            _masked(value, averaged[id(v)]) if id(v) in averaged else value
            for value, v in zip(inner, self.inner_optimizer.variables, strict=True)
        ]
        return weights, [*own, *inner]

    def finalize_variable_values(self, var_list: list[Any]) -> None:
        """Let the inner optimizer put its averages into the weights, then mask the weights."""
        self.inner_optimizer.finalize_variable_values(var_list)
        self._mask_weights(self._trainable_variables)

    # -- everything else is the inner optimizer's ----------------------------------------------

    def scale_loss(self, loss: Any) -> Any:
        """Scale the loss as the inner optimizer does."""
        return self.inner_optimizer.scale_loss(loss)

    def exclude_from_weight_decay(self, *args: Any, **kwargs: Any) -> None:
        """Exclude variables from the inner optimizer's weight decay."""
        self.inner_optimizer.exclude_from_weight_decay(*args, **kwargs)

    @property
    def learning_rate(self) -> Any:
        """The inner optimizer's learning rate; setting it sets that one."""
        return self.inner_optimizer.learning_rate

    @learning_rate.setter
    def learning_rate(self, learning_rate: Any) -> None:
        self.inner_optimizer.learning_rate = learning_rate

    @property
    def iterations(self) -> Any:
        """The inner optimizer's count of steps."""
        return self.inner_optimizer.iterations

    @property
    def loss_scale_factor(self) -> float | None:
        """The inner optimizer's factor; a LossScaleOptimizer outside sets it to None."""
        inner = vars(self).get("inner_optimizer")  # Keras's base class asks before it is there
        return None if inner is None else inner.loss_scale_factor

    @loss_scale_factor.setter
    def loss_scale_factor(self, factor: float | None) -> None:
        if "inner_optimizer" in vars(self):
            self.inner_optimizer.loss_scale_factor = factor

    def get_config(self) -> dict[str, Any]:
        """The inner optimizer's configuration and which variables carry a mask.

        The masks themselves are state, saved with the optimizer's variables.
        """
        return {
            "name": self.name,
            "inner_optimizer": keras.saving.serialize_keras_object(self.inner_optimizer),
            "masked": None if self.masked is None else list(self.masked),
        }

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None
    ) -> "SparseOptimizer":
        """Make the optimizer that `get_config` described, with masks of ones once built."""
        config = dict(config)
        inner = keras.saving.deserialize_keras_object(
            config.pop("inner_optimizer"), custom_objects=custom_objects
        )
        return cls(inner, **config)


def _masked(value: Any, mask: Any) -> Any:
    """``value`` where the mask is true, else 0. Not a product: NaN times 0 is NaN."""
    if hasattr(value, "dense_shape"):
        # A sparse gradient of TensorFlow (tf.IndexedSlices), as embeddings have.
        rows = ops.take(ops.convert_to_tensor(mask), value.indices, axis=0)
        return type(value)(_masked(value.values, rows), value.indices, value.dense_shape)
    # JAX wants arrays, not the variables that hold them.
    mask, value = ops.convert_to_tensor(mask), ops.convert_to_tensor(value)
    return ops.where(mask, value, ops.zeros((), dtype=value.dtype))
