"""Which channels a model needs, and why those that look dead are kept.

Mark and sweep: what must stay is live; what a live channel reads with a weight that is not zero is
live too, unless it is a constant that the reader's bias can take. The rest can go. It is the
largest set that can go together: circles through an addition need no second look.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from tfinit.graph.channel_values import Channels, Mixing, Value

_SHARED = "they stand or fall with channels that are in use (Add, Flatten, a depth multiplier)"
_LAST = "one is kept of channels that are all dead"


@dataclass(frozen=True)
class Liveness:
    """Which classes of channels stay.

    Attributes:
        representatives: Class → the class that speaks for it.
        live: Class that speaks for others → it stays.
        forced: Class → why it stays though nothing needs it.
        folds: Whether constants that go move into the bias of what reads them.
    """

    representatives: np.ndarray
    live: np.ndarray
    forced: Mapping[int, str]
    folds: bool = True

    def of(self, value: Value) -> np.ndarray:
        """True for the channels of a tensor that stay."""
        return self.live[self.representatives[value.classes]]


def find_live(channels: Channels) -> Liveness:
    """The channels that must stay so that the model's outputs stay what they are."""
    representatives = channels.representatives()
    live = np.zeros(len(representatives), dtype=bool)
    for root in channels.roots:
        live[representatives[root.value.classes]] = True
    _sweep(channels, representatives, live, lambda mixing: ~mixing.foldable)
    forced: dict[int, str] = {}
    unfit = [(value, 0, _LAST) for value in channels.values if len(value)] + channels.unfit
    changed = True
    while changed:
        changed = False
        for value, size, reason in unfit:
            owners = representatives[value.classes]
            if live[owners].sum() == size:
                kept = int(owners[~live[owners]][0])
                forced[kept] = reason
                live[kept] = changed = True
                # What it reads may go all the same: it is not read, or is a constant without that,
                # or with constants that cannot be moved into its bias.
                _sweep(channels, representatives, live, lambda mixing: mixing.differing)
    return Liveness(representatives, live, forced)


def _sweep(
    channels: Channels,
    representatives: np.ndarray,
    live: np.ndarray,
    needs: Callable[[Mixing], np.ndarray],
) -> None:
    """Mark in `live` what the live channels read, of what their layers need."""
    changed = True
    while changed:
        changed = False
        for mixing in reversed(channels.mixings.values()):
            readers = live[representatives[mixing.made.classes]]
            if not readers.any():
                continue
            wanted = needs(mixing) & ~live[representatives[mixing.taken.classes]]
            if not wanted.any():
                continue
            needed = np.flatnonzero(wanted)[mixing.uses[wanted][:, readers].any(axis=1)]
            if len(needed):
                live[representatives[mixing.taken.classes[needed]]] = True
                changed = True


def kept_dead(channels: Channels, liveness: Liveness) -> list[tuple[str, int, str]]:
    """The dead channels that stay: layer that makes them, how many, why.

    Dead are constant channels, and those that would not be needed if every constant could be
    folded. A dead channel of several reasons counts under the first.
    """
    ideal = np.zeros_like(liveness.live)
    for root in channels.roots:
        needed = root.value.classes[~root.value.constant]
        ideal[liveness.representatives[needed]] = True
    _sweep(channels, liveness.representatives, ideal, lambda mixing: ~mixing.taken.constant)
    reasons = _reasons(channels, liveness)
    found = []
    for mixing in channels.mixings.values():
        owners = liveness.representatives[mixing.made.classes]
        dead = liveness.live[owners] & (mixing.made.constant | ~ideal[owners])
        counts = Counter(reasons.get(owner, _SHARED) for owner in owners[dead].tolist())
        found += [(mixing.name, count, reason) for reason, count in counts.items()]
    return found


def _reasons(channels: Channels, liveness: Liveness) -> dict[int, str]:
    """Class of channels → why it must stay, though it is dead."""
    reasons: dict[int, str] = {}

    def note(classes: np.ndarray, reason: str) -> None:
        for owner in liveness.representatives[classes].tolist():
            reasons.setdefault(owner, reason)

    for root in channels.roots:
        note(root.value.classes, root.reason)
    for mixing in channels.mixings.values():
        readers = liveness.of(mixing.made)
        blocked = mixing.taken.constant & ~mixing.foldable
        blocked[blocked] = mixing.uses[blocked][:, readers].any(axis=1)
        note(
            mixing.taken.classes[blocked & mixing.differing],
            f"{mixing.name} is called several times, and they are not the same constant in each",
        )
        note(
            mixing.taken.classes[blocked],
            f"{mixing.name} pads its input with zeros, which their constants are not",
        )
    for owner, reason in liveness.forced.items():
        reasons.setdefault(owner, reason)
    return reasons
