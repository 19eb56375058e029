"""Points in the plane, in two or more classes: small data sets whose boundary can be drawn.

Every one has 300 points to train, 100 to validate and 200 to test, drawn by a fixed seed, in equal
classes, about centred and scaled to stay within [-1.75, 1.75].
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from tfinit.arguments import one_of

if TYPE_CHECKING:
    import numpy as np

__all__ = ["NAMES", "Points", "description", "make"]

_TRAIN, _VALIDATION, _TEST = 300, 100, 200
_COUNT = _TRAIN + _VALIDATION + _TEST
_SEED = 0

Points = tuple["np.ndarray", "np.ndarray"]


def _blobs() -> Points:
    """Three Gaussian clouds."""
    from sklearn.datasets import make_blobs

    centers = [(-0.8, -0.6), (0.8, -0.6), (0.0, 0.8)]
    return make_blobs(_COUNT, centers=centers, cluster_std=0.25, random_state=_SEED)[:2]


def _circles() -> Points:
    """A disc's rim inside another: radii 1 and 0.5, noise 0.1."""
    from sklearn.datasets import make_circles

    return make_circles(_COUNT, noise=0.1, factor=0.5, random_state=_SEED)


def _moons() -> Points:
    """Two interleaved half circles, noise 0.1."""
    from sklearn.datasets import make_moons

    x, y = make_moons(_COUNT, noise=0.1, random_state=_SEED)
    return x - (0.5, 0.25), y


def _xor() -> Points:
    """Four squares, classes across: whether the signs differ. A gap of 0.05 at the axes."""
    import numpy as np

    rng = np.random.default_rng(_SEED)
    y = np.arange(_COUNT) % 2
    size = rng.uniform(0.05, 1, (_COUNT, 2))
    first = rng.choice([-1, 1], _COUNT)
    return size * np.stack([first, first * (1 - 2 * y)], axis=1), y


def _spiral() -> Points:
    """Two arms of one and a half turns, noise 0.03."""
    import numpy as np

    rng = np.random.default_rng(_SEED)
    y = np.arange(_COUNT) % 2
    along = rng.uniform(0.1, 1, _COUNT)
    angle = 3 * np.pi * along + np.pi * y
    x = along[:, None] * np.stack([np.sin(angle), np.cos(angle)], axis=1)
    return x + rng.normal(0, 0.03, x.shape), y


_MAKERS: dict[str, Callable[[], Points]] = {
    "blobs": _blobs,
    "circles": _circles,
    "moons": _moons,
    "xor": _xor,
    "spiral": _spiral,
}
NAMES = tuple(_MAKERS)


def description(name: str) -> str:
    """What a data set of `NAMES` is, in a few words.

    Example:
        >>> description("circles")
        "points: a disc's rim inside another"
    """
    one_of("name", name, NAMES)
    words = (_MAKERS[name].__doc__ or "").partition(":")[0].partition(",")[0].rstrip(".")
    return f"points: {words[0].lower()}{words[1:]}"


def make(name: str) -> dict[str, Points]:
    """The points of a data set of `NAMES`: ``"train"``, ``"validation"``, ``"test"`` → (x, y).

    x is float32 of shape (n, 2), y int32 of shape (n,).

    Example:
        >>> {split: x.shape for split, (x, _) in make("circles").items()}
        {'train': (300, 2), 'validation': (100, 2), 'test': (200, 2)}
    """
    one_of("name", name, NAMES)
    import numpy as np
    from sklearn.model_selection import train_test_split

    x, y = _MAKERS[name]()
    x, y = x.astype(np.float32), y.astype(np.int32)
    rest, test = train_test_split(
        np.arange(_COUNT), test_size=_TEST, stratify=y, random_state=_SEED
    )
    train, validation = train_test_split(
        rest, test_size=_VALIDATION, stratify=y[rest], random_state=_SEED
    )
    rows = {"train": train, "validation": validation, "test": test}
    return {split: (x[own], y[own]) for split, own in rows.items()}
