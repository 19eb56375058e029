"""Many training steps as one JAX program."""

import os
from typing import Any

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp

from tfinit.array_trees import each
from tfinit.training.augment import Augment
from tfinit.training.evaluation import counts_put_back

State = tuple[list[Any], list[Any], list[Any]]


def warm_up() -> None:
    """Ask for deterministic kernels on a GPU, find the devices, and compile once."""
    flags = os.environ.get("XLA_FLAGS", "")
    if "deterministic_ops" not in flags:  # read when the devices are found
        os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()
    jax.jit(lambda: jnp.zeros(()))().block_until_ready()


class JaxProgram:
    """The steps of a model, on data that lie on the device.

    A step is that of Keras's ``fit`` on JAX: ``compute_loss_and_updates``, its gradients, and the
    optimizer's ``stateless_apply``. The number of steps is a value, so that none is compiled anew.

    Args:
        model: A compiled Keras 3 model with a built optimizer.
        train: The training split, arrays.
        augment: Of the training images, or None.

    Attributes:
        function: The program.
        xla: True.
    """

    xla = True

    def __init__(self, model: Any, train: tuple, augment: Augment | None):
        self._model, self._augment = model, augment
        # Copies: of an aligned NumPy array `asarray` would make a view.
        self._train = tuple(each(jnp.array, train))
        # The CPU has no use for the memory, and an interruption would find variables without it.
        donated = () if jax.default_backend() == "cpu" else (0,)
        self.function = jax.jit(self._steps, donate_argnums=donated)
        with counts_put_back(model):  # a loss makes its variables where it is first computed
            x, y, weight = (*each(lambda a: a[:2], self._train), None)[:3]
            y_pred = model(x, training=False)
            model.compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=weight, training=False)

    def __call__(self, rows: np.ndarray, count: int, draws: np.ndarray | None) -> np.ndarray:
        """Train on the first ``count`` of the rows of indices; their losses."""
        variables = self._variables()
        state = tuple([v.value for v in part] for part in variables)
        *state, losses = self.function(state, rows, count, draws, self._train)
        for part, values in zip(variables, state, strict=True):
            for variable, value in zip(part, values, strict=True):
                variable.assign(value)
        return np.array(losses)[:count]

    def _variables(self) -> tuple[list[Any], list[Any], list[Any]]:
        model = self._model
        return model.trainable_variables, model.non_trainable_variables, model.optimizer.variables

    def _steps(self, state: State, rows: Any, count: Any, draws: Any, train: tuple) -> tuple:
        losses = jnp.zeros(rows.shape[0], jnp.float32)

        def step(n: Any, carried: tuple) -> tuple:
            *state, losses = carried
            batch = each(lambda a: jnp.take(a, rows[n], axis=0, mode="clip"), train)
            x, y, weight = (*batch, None)[:3]
            if draws is not None and self._augment is not None:
                x = self._augment.apply(x, draws[n])
            state, loss = self._step(*state, x, y, weight)
            return *state, losses.at[n].set(loss.astype(jnp.float32))

        return lax.fori_loop(0, count, step, (*state, losses))

    def _step(
        self, weights: list, others: list, states: list, x: Any, y: Any, weight: Any
    ) -> tuple[State, Any]:
        model = self._model
        counts = [v.value for v in model.metrics_variables]  # not followed in training
        gradients = jax.value_and_grad(model.compute_loss_and_updates, has_aux=True)
        (_, (loss, _, others_after, _)), found = gradients(
            weights, others, counts, x, y, weight, training=True, optimizer_variables=states
        )
        weights_after, states_after = model.optimizer.stateless_apply(states, found, weights)
        state = (
            _as_before(weights, weights_after),
            _as_before(others, others_after),
            _as_before(states, states_after),
        )
        return state, loss


def _as_before(before: list[Any], after: list[Any]) -> list[Any]:
    """Values of the same types: a loop's state keeps them."""
    return [jnp.asarray(new, old.dtype) for old, new in zip(before, after, strict=True)]
