"""The lottery tab: prune what a pane has trained, rewind, train again, level by level.

Frankle & Carbin, The Lottery Ticket Hypothesis, ICLR 2019: iterative magnitude pruning, of all
kernels together. Every level trains as many steps as the pane had, on the same batches.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from tfinit.demo.initialization import initialize_pane
from tfinit.demo.network import StateOwner, network
from tfinit.demo.settings import LotterySettings
from tfinit.demo.training import CURVES, PaneTraining, boundary, fresh, packed, record, train
from tfinit.errors import InputError
from tfinit.pruning.scoring.masks import Masks, density, prune_globally
from tfinit.training.metrics import Diverged
from tfinit.variables import write_weights

_STEPS = 20  # of one piece of work


class Lottery(StateOwner):
    """Tickets of a pane.

    Args:
        training: The pane, trained for a step at least: level 0 is what it is now.
        settings: How many levels, how much of what is left each of them prunes, and where the
            survivors go back to: their initial values, or new ones by another seed.

    Raises:
        InputError: the pane has not trained yet, or has diverged.
    """

    def __init__(self, training: PaneTraining, settings: LotterySettings):
        if training.step == 0 or training.diverged_at is not None:
            why = "has diverged" if training.step else "has not trained yet"
            raise InputError(
                f"`pane` {settings.pane} {why}, so there is nothing to prune. Train one that "
                "learns."
            )
        self._training, self._settings = training, settings
        self._run = training.settings
        self._network = network(training.settings, masked=True)
        self._final = training.final()
        self._masks: Masks = {
            key: np.ones(weight.shape, bool) for key, weight in self._network.prunable.items()
        }
        self._steps = training.step
        self._dense = training.curves["test_accuracy"][-1]

    def events(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """The work, piece by piece: ``(name, event)``, of `lottery_progress`, `level`, and at the
        end `lottery_done`."""
        yield "level", self._level(0, self._training.curves)
        accuracies = [(1.0, self._dense)]
        for level in range(1, self._settings.levels + 1):
            fraction = self._settings.prune_fraction
            self._masks = prune_globally(self._kernels(), self._masks, fraction)
            curves: dict[str, list[Any]] = {name: [] for name in CURVES}
            self._rewind(level, curves)
            for step in range(0, self._steps, _STEPS):
                yield "lottery_progress", self._progress(level, step)
                if not self._train(step, min(step + _STEPS, self._steps), curves):
                    break  # diverged: it is what this level shows
            yield "level", self._level(level, curves)
            accuracies.append((density(self._masks), curves["test_accuracy"][-1]))
        yield "lottery_done", {"text": self._conclusion(accuracies)}

    def _kernels(self) -> dict[str, np.ndarray]:
        return {key: self._final[key] for key in self._masks}

    def _rewind(self, level: int, curves: dict[str, list[Any]]) -> None:
        """Put the network where the level begins: masked, and not trained."""
        from tfinit.pruning.in_training.model_masks import set_masks

        with self._network.with_state_of(self):
            fresh(self._network, self._run)
            set_masks(self._network.model, self._masks)
            if self._settings.rewind == "rewind":
                start = dict(self._training.initial)
            else:
                pane = self._run.panes[self._training.pane]
                # A seed of its own for each level, none of which is a pane's.
                seed = (self._run.seed + 1_000_003 * level) % 2**31
                initialize_pane(self._network.model, pane, self._network.data.train[0], seed)
                start = {k: np.array(v.numpy()) for k, v in self._network.weights.items()}
            for key, mask in self._masks.items():
                start[key] = start[key] * mask
            write_weights(self._network.weights, start)
            record(curves, 0, self._network.evaluate())

    def _train(self, start: int, stop: int, curves: dict[str, list[Any]]) -> bool:
        """Train; False if it diverged."""
        network = self._network
        with network.with_state_of(self):
            try:
                train(
                    network,
                    self._run,
                    start,
                    stop,
                    self._steps,
                    lambda step: record(curves, step, network.evaluate()),
                )
            except Diverged:
                return False
            self._final = {key: np.array(v.numpy()) for key, v in network.weights.items()}
        return True

    def _progress(self, level: int, step: int) -> dict[str, Any]:
        return {
            "level": level,
            "levels": self._settings.levels,
            "step": step,
            "steps": self._steps,
            "density": density(self._masks),
        }

    def _level(self, level: int, curves: dict[str, list[Any]]) -> dict[str, Any]:
        owner, shown = (self, self._network) if level else (self._training, network(self._run))
        with shown.with_state_of(owner, changes=False):
            seen = shown.observe()
        remaining = sum(int(np.count_nonzero(mask)) for mask in self._masks.values())
        return {
            "pane": self._training.pane,
            "level": level,
            "density": density(self._masks),
            "remaining": remaining,
            "of": sum(mask.size for mask in self._masks.values()),
            "test_accuracy": curves["test_accuracy"][-1],
            "train_accuracy": curves["train_accuracy"][-1],
            "train_cost": curves["train_cost"][-1],
            "curves": {name: list(values) for name, values in curves.items()},
            "boundary": boundary(seen) if np.isfinite(seen.confidence).all() else None,
            "masks": [
                {
                    "name": key.split("/")[0],
                    "rows": mask.shape[0],
                    "columns": mask.shape[1],
                    "values": packed(mask, "uint8"),
                }
                for key, mask in self._masks.items()
            ],
            "rewind": self._settings.rewind,
            "dense_accuracy": self._dense,
        }

    def _conclusion(self, accuracies: list[tuple[float, float | None]]) -> str:
        """How small a network still does within a point of the dense one."""
        dense = self._dense or 0.0
        matching = [
            kept for kept, accuracy in accuracies[1:] if accuracy and accuracy >= dense - 0.01
        ]
        kind = "tickets" if self._settings.rewind == "rewind" else "reinitialized networks"
        if not matching:
            return (
                f"None of the {kind} comes within a point of the dense network's test accuracy, "
                f"{100 * dense:.1f}%. One seed: try others."
            )
        return (
            f"The smallest of the {kind} within a point of the dense network's test accuracy, "
            f"{100 * dense:.1f}%, has {100 * min(matching):.1f}% of the weights. One seed: try "
            "others."
        )
