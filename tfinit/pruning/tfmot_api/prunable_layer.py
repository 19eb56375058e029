"""PrunableLayer: how a layer of your own says which of its weights may be pruned."""

import abc
from typing import Any


class PrunableLayer(abc.ABC):
    """A layer that names its prunable weights. Mix it into a Keras layer.

    `tfinit.variables.prunable_weights` takes what `get_prunable_weights` returns, in place of the
    rule by names; any layer with that method counts, and this class makes forgetting it an error.

    Raises:
        TypeError: a class that does not define `get_prunable_weights` is instantiated.

    Example:
        >>> class Scaled(keras.layers.Dense, PrunableLayer):
        ...     def get_prunable_weights(self):
        ...         return [self.kernel, self.bias]
        >>> model = keras.Sequential([keras.Input((4,)), Scaled(2, name="fc")])
        >>> list(tfinit.variables.prunable_weights(model))
        ['fc/kernel', 'fc/bias']
    """

    @abc.abstractmethod
    def get_prunable_weights(self) -> list[Any]:
        """The weights of the built layer that pruning may set to zero."""
