"""Training steps a second of LeNet-300-100, one replicate and several in one program, on JAX.

    KERAS_BACKEND=jax python benchmarks/replicates.py --replicates 1 4 16 64

The program is that of tfinit's loop: an epoch of 916 steps of 60 examples, Adam through
SparseOptimizer with masks of a half, 55,000 examples of 784 numbers on the device. Several
replicates are `jax.vmap` of it over weights, masks, optimizer states and orders of the data. Median
of three epochs each, after one that compiles.
"""

import statistics
import time

import jax
import keras
import numpy as np
import tyro
from jax import numpy as jnp
from lottery import BATCH, ROWS, STEPS, dense, loss_of, numbers

from tfinit.devices import in_use
from tfinit.pruning import SparseOptimizer, set_masks
from tfinit.training.jax_program import JaxProgram
from tfinit.variables import prunable_weights


def program() -> JaxProgram:
    model = dense(keras)
    model.compile(SparseOptimizer(keras.optimizers.Adam(1.2e-3)), loss_of(keras))
    model.optimizer.build(model.trainable_variables)
    rng = np.random.default_rng(1)
    shapes = {key: w.shape for key, w in prunable_weights(model).items()}
    set_masks(model, {key: rng.random(shape) < 0.5 for key, shape in shapes.items()})
    return JaxProgram(model, numbers(), None)


def epoch_seconds(made: JaxProgram, replicates: int) -> float:
    """Seconds of an epoch of all replicates, median of three."""
    values = tuple([v.value for v in part] for part in made._variables())
    rng = np.random.default_rng(2)
    orders = np.stack([rng.permutation(ROWS)[: STEPS * BATCH] for _ in range(replicates)])
    rows = jnp.asarray(orders.reshape(replicates, STEPS, BATCH).astype("int32"))
    if replicates == 1:
        run, state, rows = jax.jit(made._steps), values, rows[0]
    else:
        run = jax.jit(jax.vmap(made._steps, in_axes=(0, 0, None, None, None)))
        state = jax.tree.map(lambda a: jnp.stack([a] * replicates), values)
    taken = []
    for _ in range(4):
        start = time.perf_counter()
        losses = run(state, rows, STEPS, None, made._train)[-1]
        if not np.isfinite(np.asarray(losses)).all():
            raise ArithmeticError("a replicate diverged")
        taken.append(time.perf_counter() - start)
    return statistics.median(taken[1:])


def main(replicates: tuple[int, ...] = (1, 4, 16)):
    """Print the table.

    Args:
        replicates: How many train in one program, each of these.
    """
    print(f"device: {in_use()}", flush=True)
    made = program()
    alone = STEPS / epoch_seconds(made, 1)
    print("| replicates | steps/s each | steps/s together | beside one |")
    print("| ---: | ---: | ---: | ---: |")
    for count in replicates:
        rate = STEPS / epoch_seconds(made, count)
        print(
            f"| {count} | {rate:.0f} | {rate * count:.0f} | {rate * count / alone:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    tyro.cli(main)
