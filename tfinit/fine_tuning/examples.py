"""Whether a model can be trained on some examples, seen before it is."""

from typing import Any

import keras

from tfinit.array_trees import each
from tfinit.errors import InputError, reason
from tfinit.fine_tuning.objective import check_has_loss
from tfinit.graph.keras_internals import losses_of
from tfinit.named_arrays import ends
from tfinit.training.checks import overridden, told
from tfinit.variables import put_back, walk_layers


def check_trains(model: Any, x: Any, y: Any, weights: Any, data: str, batch_size: int) -> None:
    """Raise InputError unless loss and metrics of a compiled model can be computed.

    On the first batch, eagerly: what Keras says of a whole step ends in a trace of its own. What a
    ``train_step`` of the model's own does is not tried.
    """
    x, y, weights = (
        each(lambda part: keras.ops.convert_to_tensor(part[:batch_size]), part)
        for part in (x, y, weights)
    )
    # Training begins where it would have begun. Keras does not count an RNN's states among these.
    kept = [getattr(layer, "states", None) or [] for _, layer in walk_layers(model)]
    outputs = None
    try:
        with put_back([*model.non_trainable_variables, *keras.tree.flatten(kept)]):
            outputs = model(x, training=False)
            if losses_of(model) is None:
                check_has_loss(model, ends(model, "outputs"))
            if overridden(model, "train_step"):
                return
            model.compute_loss(x=x, y=y, y_pred=outputs, sample_weight=weights, training=False)
            model.compute_metrics(x, y, outputs, sample_weight=weights)
            model.reset_metrics()
    except InputError:
        raise
    # A loss or a metric may raise anything.
    except Exception as error:
        of_y, of_outputs = (each(lambda part: tuple(part.shape), one) for one in (y, outputs))
        raise InputError(
            f"`data` {data!r} does not fit the model, its loss {told(model.loss)} and its metrics: "
            f"{reason(error)} A batch of targets has the shape {of_y}, of outputs {of_outputs}. "
            "Give other targets, or another --loss."
        ) from error
