"""One kernel pruned, given what its inputs are: XᵀX, and a sparsity."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tfinit.errors import InputError
from tfinit.pruning.calibrated import surgeon
from tfinit.pruning.calibrated.kernels import Linear
from tfinit.pruning.calibrated.names import SPARSEGPT
from tfinit.pruning.calibrated.patterns import Pattern
from tfinit.pruning.scoring.after_training import array_of, rankable
from tfinit.pruning.scoring.loss_gradients import values_of
from tfinit.pruning.scoring.scores import Score
from tfinit.streams import stream_for


@dataclass(frozen=True)
class Method:
    """How kernels are pruned.

    Attributes:
        score: What ranks the weights; None for SparseGPT, which changes them, too.
        pattern: How the survivors lie.
        damping: What is added to the diagonal of XᵀX, in parts of its mean, for SparseGPT.
        seed: Of what a score draws.
    """

    score: Score | None
    pattern: Pattern
    damping: float
    seed: int

    @property
    def name(self) -> str:
        """What results call the score."""
        return SPARSEGPT if self.score is None else self.score.name

    def pruned(
        self, kernel: Linear, moments: np.ndarray, sparsity: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """The new weights and which survive: (maps, inputs, outputs) both."""
        weights = kernel.maps(weights_of(kernel)).astype(moments.dtype, copy=False)
        if self.score is not None:
            kept = self.mask(kernel, self.scores(kernel, moments), sparsity)
            return np.where(kept, weights, 0), kept
        found = [
            surgeon.prune(
                one,
                surgeon.inverse_factor(inputs, self.damping, kernel.key),
                self.pattern,
                sparsity,
                kernel.places,
            )
            for one, inputs in zip(weights, moments, strict=True)
        ]
        return np.stack([w for w, _ in found]), np.stack([kept for _, kept in found])

    def scores(self, kernel: Linear, moments: np.ndarray) -> np.ndarray:
        """The score of every weight, (maps, inputs, outputs); of SparseGPT what each would cost."""
        weights = weights_of(kernel)
        if self.score is None:
            maps = zip(kernel.maps(weights), moments, strict=True)
            return np.stack(
                [
                    surgeon.saliencies(
                        one, surgeon.inverse_factor(inputs, self.damping, kernel.key)
                    )
                    for one, inputs in maps
                ]
            )
        generator = stream_for(f"criterion {self.score.name}", self.seed, kernel.key)
        norms = np.sqrt(np.diagonal(moments, axis1=1, axis2=2))[..., None]
        found = self.score.evaluate(
            {
                "weights": lambda: weights,
                "input_norms": lambda: kernel.kernel(
                    np.broadcast_to(norms, kernel.maps(weights).shape)
                ),
                "generator": lambda: generator,
                "random": lambda: generator.random(weights.shape),
            }
        )
        found = array_of(self.score, found, weights.shape)
        return kernel.maps(rankable(self.score, kernel.key, found))

    def mask(self, kernel: Linear, scores: np.ndarray, sparsity: float) -> np.ndarray:
        """Which weights survive by their scores, of all maps together."""
        by_output = self.score is not None and self.score.by_output
        maps, inputs, outputs = scores.shape
        flat = scores.transpose(1, 0, 2).reshape(inputs, maps * outputs)
        kept = np.empty(flat.shape, dtype=bool)
        channels = inputs // kernel.places
        for start, stop in self.pattern.spans(kernel.places, channels):
            bounds = range(start, stop, channels)
            kept[start:stop] = self.pattern.keep(flat[start:stop], sparsity, by_output, bounds)
        return kept.reshape(inputs, maps, outputs).transpose(1, 0, 2)


def weights_of(kernel: Linear) -> np.ndarray:
    """The values of a kernel, float32 or wider.

    Raises:
        InputError: one is not finite, or the sum of their squares.
    """
    found = values_of(kernel.variable)
    with np.errstate(over="ignore", invalid="ignore"):
        finite = np.isfinite(np.sum(found**2))
    if not finite:
        raise InputError(
            f"{kernel.key!r} has NaN or infinite values, or squares beyond {found.dtype}. The "
            "network diverged: lower the learning rate, or leave the layer out with `filters`."
        )
    return found


def relative_error(moments: np.ndarray, weights: np.ndarray, changed: np.ndarray) -> float:
    """‖X(Ŵ − W)‖² / ‖XW‖² from XᵀX; 0 where XW is zero and nothing changes, else ∞."""
    whole, lost = _energy(moments, weights), _energy(moments, changed - weights)
    if whole > 0:
        return max(lost, 0.0) / whole
    return float("inf") if lost > 0 else 0.0


def _energy(moments: np.ndarray, weights: Any) -> float:
    return float(np.sum((moments @ weights) * weights, dtype=np.float64))
