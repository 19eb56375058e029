"""What Dropout and the like draw from: a function of a seed, and a part of what is kept."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np


def set_noise(model: Any, seed: int, start: int) -> None:
    """Begin every stream of noise of a Keras 3 model at a place of (seed, its number, start)."""
    states = [v for v in model.variables if v.name == "seed_generator_state"]
    for n, state in enumerate(states):
        state.assign(np.random.SeedSequence([seed, n, start]).generate_state(2))


@contextmanager
def torch_seeded(legacy: bool, seed: int, start: int) -> Iterator[None]:
    """On PyTorch, Dropout draws from the generator of the process, not from the layer's seed.

    Inside the block it is begun at a place of (seed, start); after it, it is what it was.
    """
    if not legacy:
        import keras

        if keras.backend.backend() == "torch":
            import torch

            with torch.random.fork_rng():
                seed_torch(seed, start)
                yield
            return
    yield


def seed_torch(seed: int, start: int) -> None:
    """On PyTorch, begin the generator of the process at a place of (seed, start)."""
    import keras

    if keras.backend.backend() == "torch":
        import torch

        drawn = np.random.SeedSequence([seed, 0, start]).generate_state(1)
        torch.manual_seed(int(drawn[0]))


class TorchGenerator:
    """The state of a generator of PyTorch, read and assigned as a variable is."""

    def __init__(self, read: Callable[[], Any], assign: Callable[[Any], None]):
        self._read, self._assign = read, assign

    @property
    def shape(self) -> tuple[int, ...]:
        """Its length: PyTorch keeps it as bytes."""
        return tuple(self._read().shape)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self._read().numpy(), dtype)

    def assign(self, value: np.ndarray) -> None:
        """Go on from a state that was read."""
        import torch

        self._assign(torch.from_numpy(np.array(value, np.uint8)))


def torch_generators() -> dict[str, TorchGenerator]:
    """PyTorch's generators of this process: of the CPU, and of each GPU where there are some."""
    import torch

    found = {"torch/cpu": TorchGenerator(torch.get_rng_state, torch.set_rng_state)}
    for n in range(torch.cuda.device_count()):
        found[f"torch/cuda_{n}"] = TorchGenerator(
            lambda n=n: torch.cuda.get_rng_state(n),
            lambda state, n=n: torch.cuda.set_rng_state(state, n),
        )
    return found
