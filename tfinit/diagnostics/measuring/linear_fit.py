"""How much of the targets any linear map of the inputs explains, of one batch."""

import numpy as np

# More numbers an example than this are not solved for: the batch could be fitted by chance.
_MOST_FEATURES = 512
_EXAMPLES_EACH = 3  # examples for each feature, below which a fit says nothing


def linear_fit(inputs: tuple[np.ndarray, ...], targets: np.ndarray | None) -> float | None:
    """R² of the best linear map with an offset, less what chance explains; the best target counts.

    Args:
        inputs: A model's, as they were given.
        targets: Numbers, one-hot rows or class numbers.

    Returns:
        At most 1, and about 0 where nothing is explained; None where it cannot be told: no data,
        several inputs, too few examples, numbers that are not finite, or targets that are all the
        same.
    """
    if len(inputs) != 1 or targets is None or inputs[0].dtype.kind not in "fiub":
        return None
    x = inputs[0].reshape(len(inputs[0]), -1).astype(np.float64)
    rows, features = x.shape
    if features > _MOST_FEATURES or rows < _EXAMPLES_EACH * (features + 1):
        return None
    y = targets.reshape(rows, -1).astype(np.float64)
    if targets.dtype.kind in "iub" and y.shape[1] == 1:
        labels = np.unique(y)
        y = (y == labels).astype(np.float64) if 2 < len(labels) < rows // 2 else y
    if not (np.all(np.isfinite(x)) and np.all(np.isfinite(y))):
        return None
    x, y = x - x.mean(0), y - y.mean(0)
    total = (y**2).sum(0)
    y, total = y[:, total > 0], total[total > 0]
    scale = np.sqrt((x**2).mean(0))
    x = x[:, scale > 0] / scale[scale > 0]
    if not y.size or not x.size:
        return None
    solved, _, rank, _ = np.linalg.lstsq(x, y, rcond=None)
    left = ((y - x @ solved) ** 2).sum(0) / total
    return float(np.max(1 - left * (rows - 1) / max(rows - 1 - int(rank), 1)))
