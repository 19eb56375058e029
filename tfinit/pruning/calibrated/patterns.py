"""Which weights of a matrix survive: by their number, in groups of n, in blocks.

A matrix has a row for each input and a column for each output; a kernel is one matrix or several,
`tfinit.graph.kernels.Matrices`, of which the inputs are the places of a window and, at each place,
its channels.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfinit.arguments import refused
from tfinit.block_sizes import BLOCK_SIZES
from tfinit.errors import InputError
from tfinit.pruning.calibrated.names import N_M, STRUCTURES
from tfinit.pruning.in_training.rules import block_size_of
from tfinit.pruning.in_training.selection import keep_count
from tfinit.pruning.scoring.masks import top_mask

Structure = str | Sequence[int] | None


@dataclass(frozen=True)
class Pattern:
    """How the survivors of a matrix lie.

    Attributes:
        n_m: m zeros in every n weights along the inputs; None: anywhere.
        block: Inputs and outputs of a block that stands or falls together.
    """

    n_m: tuple[int, int] | None = None
    block: tuple[int, int] = (1, 1)

    def spans(self, places: int, channels: int) -> Iterator[tuple[int, int]]:
        """The inputs of which the survivors are chosen together: each group of n, else all."""
        if self.n_m is None:
            yield 0, places * channels
            return
        for start in range(0, places * channels, channels):
            for first in range(0, channels, self.n_m[1]):
                yield start + first, start + min(first + self.n_m[1], channels)

    def keep(self, scores: np.ndarray, sparsity: float, by_output: bool, bounds: Any) -> np.ndarray:
        """Which entries survive among those of some inputs.

        ::

            n:m     of each output the n - m largest of the group, the first of equal ones
            blocks  max(1, round(blocks · (1 - sparsity))), by the mean of their scores
            else    max(1, round(entries · (1 - sparsity))), of each output by itself or of all

        Args:
            scores: (inputs, outputs); larger survives.
            sparsity: The fraction that goes; an n:m pattern does not ask.
            by_output: Whether each output has its own count, where there are no blocks.
            bounds: Where inputs begin that no block goes across: the places of a window.
        """
        if self.n_m is not None:
            m, n = self.n_m
            return _largest_of_each(scores, min(n - m, len(scores)))
        if self.block != (1, 1):
            return self._blocks(scores, sparsity, bounds)
        if by_output:
            return _largest_of_each(scores, count(len(scores), sparsity))
        return top_mask(scores, count(scores.size, sparsity))

    def _blocks(self, scores: np.ndarray, sparsity: float, bounds: Any) -> np.ndarray:
        height, width = self.block
        ends = [*bounds[1:], len(scores)]
        rows = [r for a, b in zip(bounds, ends, strict=True) for r in range(a, b, height)]
        columns = list(range(0, scores.shape[1], width))
        sums = np.add.reduceat(np.add.reduceat(scores, rows, axis=0), columns, axis=1)
        heights = np.diff([*rows, scores.shape[0]])
        widths = np.diff([*columns, scores.shape[1]])
        kept = top_mask(sums / np.outer(heights, widths), count(sums.size, sparsity))
        return np.repeat(np.repeat(kept, heights, axis=0), widths, axis=1)


def pattern_of(structure: Any) -> Pattern:
    """The pattern that a user named.

    Raises:
        InputError: it is none.

    Example:
        >>> pattern_of("2:4").n_m
        (2, 4)
    """
    if structure is None:
        return Pattern()
    if isinstance(structure, str) and structure in N_M:
        return Pattern(n_m=N_M[structure])
    wanted = ", ".join(f'"{name}"' for name in STRUCTURES)
    if isinstance(structure, str) and structure not in BLOCK_SIZES:
        raise refused("structure", f"None, {wanted} or the two sizes of a block", structure)
    try:
        return Pattern(block=block_size_of(structure))
    except InputError as error:
        raise refused(
            "structure", f"None, {wanted} or the two sizes of a block", structure
        ) from error


def count(size: int, sparsity: float) -> int:
    """How many of so many survive: `tfinit.pruning.in_training.selection.keep_count`."""
    return int(keep_count(size, sparsity))


def _largest_of_each(scores: np.ndarray, keep: int) -> np.ndarray:
    """The `keep` largest of each column, of equal ones the first."""
    order = np.argsort(-scores, axis=0, kind="stable")[:keep]
    mask = np.zeros(scores.shape, dtype=bool)
    np.put_along_axis(mask, order, True, axis=0)
    return mask
