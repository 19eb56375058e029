"""TFMOT's callbacks. Keras 3 models need none to be pruned; these let its code run as it is."""

import importlib.util
import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from tfinit.arguments import path, whole
from tfinit.errors import InputError, MissingPackage, TfinitWarning
from tfinit.pruning.in_training.model_masks import pruning_optimizer
from tfinit.pruning.in_training.sparse_optimizer import SparseOptimizer
from tfinit.pruning.tfmot_api.adoption import adopt
from tfinit.pruning.tfmot_api.marks import marked_parts
from tfinit.variables import keras_of

_HOOKS = [name for name in dir(keras.callbacks.Callback) if name.startswith("on_")]


class _Either(keras.callbacks.Callback):
    """Passes every call to a callback that is made once the model is known: Keras 3's or TFMOT's.

    Only then it is clear which of the two Kerases it is for.
    """

    def __init__(self) -> None:
        super().__init__()
        self._callback: Any = None

    def _make(self, model: Any) -> Any:
        raise NotImplementedError

    def set_model(self, model: Any) -> None:
        """Choose by the Keras of the model."""
        super().set_model(model)
        if self._callback is None:
            self._callback = self._make(model)
            if self.params:
                self._callback.set_params(self.params)
        self._callback.set_model(model)

    def set_params(self, params: dict[str, Any]) -> None:
        """Pass on what `fit` says about itself."""
        super().set_params(params)
        if self._callback is not None:
            self._callback.set_params(params)

    def __getattr__(self, name: str) -> Any:
        # What tf_keras asks of its own callbacks only.
        if name.startswith("__") or self.__dict__.get("_callback") is None:
            raise AttributeError(name)
        return getattr(self._callback, name)


def _passed_on(name: str) -> Callable[..., Any]:
    def hook(self: _Either, *args: Any, **kwargs: Any) -> Any:
        return getattr(self._callback, name)(*args, **kwargs)

    hook.__name__ = name
    hook.__doc__ = f"Pass `{name}` on."
    return hook


for _name in _HOOKS:
    setattr(_Either, _name, _passed_on(_name))


class UpdatePruningStep(_Either):
    """TFMOT's callback for pruning. Keras 3 models are pruned without it; it does no harm.

    It matters in a training loop that was written for TFMOT, where the plain optimizer takes the
    steps and this callback's ``on_train_batch_begin`` and ``on_epoch_end`` are called by hand: then
    it prunes there. In ``fit`` it only makes sure that the model is being pruned at all.

    Warns:
        UserWarning: at the start of training, for a model that nothing prunes.

    Raises:
        InputError: a marked model has no optimizer, compiled or set as ``model.optimizer``.
    """

    def _make(self, model: Any) -> Any:
        if keras_of(model) == "tf_keras":
            from tfinit.pruning.tfmot_api.tfmot import load_tfmot

            return load_tfmot().sparsity.keras.UpdatePruningStep()
        return _KeepUp()


class _KeepUp(keras.callbacks.Callback):
    _before = _begun = 0

    def set_model(self, model: Any) -> None:
        super().set_model(model)
        if not marked_parts(model) and pruning_optimizer(model) is None:
            warnings.warn(
                f"`model` {model.name!r} is not being pruned, and this callback does nothing. Call "
                "prune_low_magnitude on it, or compile it with a SparseOptimizer.",
                TfinitWarning,
                stacklevel=4,
            )
        elif getattr(model, "optimizer", None) is not None:
            adopt(model)

    def on_train_begin(self, logs: Any = None) -> None:
        self._begun = 0
        sparse = self._in_a_loop()
        self._before = 0 if sparse is None else sparse.steps_taken

    def on_train_batch_begin(self, batch: Any, logs: Any = None) -> None:
        sparse = self._in_a_loop()
        if sparse is not None:
            sparse.catch_up(self._before + self._begun)
        self._begun += 1

    def on_epoch_end(self, batch: Any, logs: Any = None) -> None:
        # TFMOT's guide passes the epoch as `batch`.
        sparse = self._in_a_loop()
        if sparse is not None:
            sparse.catch_up(self._before + self._begun)

    def _in_a_loop(self) -> SparseOptimizer | None:
        """What prunes, built, in a loop of somebody's own.

        `fit` says its parameters; there the optimizer itself is called, and asking would cost.
        """
        if self.params:
            return None
        sparse = adopt(self.model) or pruning_optimizer(self.model)
        if sparse is not None and not sparse.built:
            self.model.optimizer.build(self.model.trainable_variables)
        return sparse


class PruningSummaries(_Either):
    """TFMOT's callback that logs to TensorBoard, with the usual curves, for each epoch::

        <weight>/mask/sparsity        the fraction of zeros
        <weight>/mask/threshold       the smallest magnitude that survives

    Args:
        log_dir: Directory of the logs.
        update_freq: As in `keras.callbacks.TensorBoard`.
        kwargs: What else that callback takes.

    Raises:
        InputError: ``log_dir`` is not a path, or the model is not being pruned.
        MissingPackage: TensorBoard is not installed.
    """

    def __init__(self, log_dir: str, update_freq: Any = "epoch", **kwargs: Any) -> None:
        super().__init__()
        log_dir = path("log_dir", log_dir)
        if not (isinstance(update_freq, str) and update_freq in ("epoch", "batch")):
            update_freq = whole("update_freq", update_freq, 1, cure='Or "epoch" or "batch".')
        if importlib.util.find_spec("tensorboard") is None:
            raise MissingPackage("PruningSummaries", "TensorBoard", "tfinit[tensorboard]")
        self._arguments = {"log_dir": str(log_dir), "update_freq": update_freq, **kwargs}

    def _make(self, model: Any) -> Any:
        if keras_of(model) == "tf_keras":
            from tfinit.pruning.tfmot_api.tfmot import load_tfmot

            return load_tfmot().sparsity.keras.PruningSummaries(**self._arguments)
        return _Summaries(**self._arguments)


class _Summaries(keras.callbacks.TensorBoard):
    _file: Any = None

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        super().on_epoch_begin(epoch, logs)
        self._log()

    def on_train_end(self, logs: Any = None) -> None:
        self._log()
        super().on_train_end(logs)

    def _log(self) -> None:
        import tensorflow as tf

        sparse = pruning_optimizer(self.model)
        if sparse is None:
            raise InputError(f"`model` {self.model.name!r} is not being pruned: nothing to log.")
        if not sparse.built:
            return
        step = int(sparse.iterations)
        if self._file is None:
            self._file = tf.summary.create_file_writer(f"{self.log_dir}/metrics")
        with self._file.as_default():
            for variable in sparse.masked_variables():
                mask = sparse.get_mask(variable)
                assert mask is not None  # it is one of the masked
                alive = np.abs(ops.convert_to_numpy(variable))[mask]
                name = f"{variable.path}/mask"
                tf.summary.scalar(f"{name}/sparsity", 1 - mask.mean(), step=step)
                threshold = float(alive.min()) if alive.size else 0.0
                tf.summary.scalar(f"{name}/threshold", threshold, step=step)
        self._file.flush()
