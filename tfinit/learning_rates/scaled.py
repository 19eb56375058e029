"""ScaledLearningRates: each weight moves by its own multiple of what another optimizer does."""

from collections.abc import Iterable, Mapping
from typing import Any

import keras
from keras import ops

from tfinit.arguments import instance, listed, number, text
from tfinit.errors import InputError
from tfinit.learning_rates.wrapping import WrappingOptimizer, by_name
from tfinit.variables import all_weights


@keras.saving.register_keras_serializable("tfinit")
class ScaledLearningRates(WrappingOptimizer):
    """Trains with another optimizer, with a learning rate for each weight: rate × multiplier.

    Each step, for a weight w with multiplier m::

        w  <-  w + m · (inner(w, g) - w)

    which is a step at the rate m · η wherever a step is proportional to the rate η: in all of
    Keras's optimizers but Ftrl, with momentum, weight decay (which is scaled, too), clipping,
    accumulation, loss scaling and schedules. ``learning_rate`` is the inner optimizer's, so
    callbacks that change it work. Weights whose multiplier is 1 cost nothing.

    It works compiled, on TensorFlow, JAX and PyTorch, is saved in the ``.keras`` file with the
    model and loaded with it, and may be the inner optimizer of a `SparseOptimizer`.

    When it helps: for what changes with a layer's sizes, as in μP and CompleteP, and for smaller
    rates in pretrained layers. When not: weights of 16 bits lose the digits of a large inner step
    before it is scaled.

    Args:
        inner_optimizer: A `keras.optimizers.Optimizer` of Keras 3, or its name.
        multipliers: A number of 0 or more for each of the trainable weights of the model, in their
            order: `scaled_learning_rates` makes it of names.
        name: Name of the optimizer.

    Raises:
        InputError: no optimizer, or one that keeps averages of the weights (``use_ema``), which
            would be those of other weights; multipliers that are no numbers of 0 or more; when
            built, for a model with another number of trainable weights.

    Example:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="fc")])
        >>> optimizer = ScaledLearningRates(keras.optimizers.SGD(0.1), [0.5, 1.0])
        >>> model.compile(optimizer, loss="mse")  # kernel at 0.05, bias at 0.1
    """

    def __init__(
        self,
        inner_optimizer: keras.optimizers.Optimizer,
        multipliers: Iterable[float],
        name: str | None = None,
    ) -> None:
        text("name", name, none=True)
        inner_optimizer = by_name(inner_optimizer)
        instance("inner_optimizer", inner_optimizer, keras.optimizers.Optimizer)
        if getattr(inner_optimizer, "use_ema", False):
            raise InputError(
                "`inner_optimizer` keeps averages of the weights, which would be of weights that "
                "moved by other steps. Leave out `use_ema`, or use the callback "
                "keras.callbacks.SwapEMAWeights with an optimizer without multipliers."
            )
        checked = tuple(
            number("multipliers", one, least=0)
            for one in listed("multipliers", multipliers, object)
        )
        super().__init__(inner_optimizer, name)
        self.multipliers = checked

    def build(self, variables: list[Any]) -> None:
        """Create the inner optimizer's state."""
        variables = list(variables)
        if self.built or not variables:  # Keras builds with none when it loads an .h5 file
            return
        if len(variables) != len(self.multipliers):
            raise InputError(
                f"`multipliers` are {len(self.multipliers)} numbers, but the optimizer is built "
                f"for {len(variables)} trainable weights. Make them anew after layers are frozen "
                "or added: scaled_learning_rates(optimizer, model, report)."
            )
        if not self.inner_optimizer.built:
            self.inner_optimizer.build(variables)
        super().build(variables)

    def apply(self, grads: list[Any], trainable_variables: list[Any] | None = None) -> None:
        """Let the inner optimizer step, and take each weight its part of the way."""
        if len(grads) == 0:
            return
        variables = (
            self._trainable_variables if trainable_variables is None else trainable_variables
        )
        variables = list(variables)
        if not self.built:
            self.build(variables)
        self._check_variables_are_known(variables)
        scaled = [
            (variable, multiplier, ops.copy(variable))
            for variable, gradient in zip(variables, grads, strict=True)
            if gradient is not None
            and (multiplier := self.multipliers[self._get_variable_index(variable)]) != 1
        ]
        self.inner_optimizer.apply(list(grads), variables)
        for variable, multiplier, before in scaled:
            moved = ops.convert_to_tensor(variable) - before
            value = before + ops.cast(multiplier, moved.dtype) * moved
            if variable.constraint is not None:
                value = variable.constraint(value)
            variable.assign(value)

    def get_config(self) -> dict[str, Any]:
        """The inner optimizer's configuration and the multipliers."""
        return {
            "name": self.name,
            "inner_optimizer": keras.saving.serialize_keras_object(self.inner_optimizer),
            "multipliers": list(self.multipliers),
        }

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None
    ) -> "ScaledLearningRates":
        """Make the optimizer that `get_config` described."""
        inner = keras.saving.deserialize_keras_object(
            config["inner_optimizer"], custom_objects=custom_objects
        )
        return cls(inner, config["multipliers"], name=config["name"])


def scaled_learning_rates(
    inner_optimizer: keras.optimizers.Optimizer, model: Any, multipliers: Any
) -> ScaledLearningRates:
    """An optimizer with the learning rates that a scheme gives to the weights of a model.

    Args:
        inner_optimizer: As `ScaledLearningRates` takes it.
        model: A built model; its trainable weights are those that will be trained.
        multipliers: The report of `tfinit.initialize`, of "mup" or "completep" (its records'
            ``multiplier``); or keys of weights (`tfinit.variables`) → numbers. All other weights
            have 1.

    Raises:
        InputError: a model that is not built, a key that is no weight of it, a report without
            multipliers, or what `ScaledLearningRates` refuses.

    Example:
        >>> def network(width):
        ...     layers = [keras.layers.Dense(n) for n in (width, width, 2)]
        ...     return keras.Sequential([keras.Input((4,)), *layers])
        >>> model = network(256)
        >>> report = initialize(model, "mup", seed=1, base=network(64))
        >>> optimizer = scaled_learning_rates(keras.optimizers.Adam(1e-3), model, report)
        >>> [round(m, 2) for m in optimizer.multipliers]
        [1.0, 1.0, 0.25, 1.0, 0.25, 1.0]
    """
    weights = all_weights(model)
    if isinstance(multipliers, Mapping):
        given = dict(multipliers)
    else:
        records = listed("multipliers", multipliers, object, cure="Pass the report of a scheme.")
        given = {
            record.key: record.multiplier
            for record in records
            if getattr(record, "multiplier", None) is not None
        }
        if not given:
            raise InputError(
                "`multipliers` is a report that gives no learning rates; those of the schemes "
                '"mup" and "completep" do.'
            )
    unknown = [key for key in given if key not in weights]
    if unknown:
        raise InputError(
            f"`multipliers` has {unknown[0]!r}, which is no weight of `model` {model.name!r}; it "
            f"has {list(weights)}."
        )
    keys = {id(variable): key for key, variable in weights.items()}
    in_order = [given.get(keys[id(variable)], 1.0) for variable in model.trainable_variables]
    return ScaledLearningRates(inner_optimizer, in_order)
