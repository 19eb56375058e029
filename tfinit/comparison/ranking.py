"""Who won, as far as the seeds can tell; and whether it was foretold. Numbers only."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import kendalltau, rankdata
from scipy.stats import t as student_t

from tfinit.arguments import array, instance, mapping
from tfinit.errors import InputError
from tfinit.training.judged import LOSS, JudgedMetric

LEVEL = 0.05
# Smaller differences of the loss are ties whatever the seeds say: with one order of the data for
# all, even the last bits can differ the same way each time.
_LEAST = 0.01
# What a loss of exactly zero counts as: its logarithm would rule every mean.
_FLOOR = 1e-7


@dataclass(frozen=True)
class Ranking:
    """What `rank` returns.

    Attributes:
        ranks: Label → rank, in the order of ranks and, within one, of the losses. 1 is the best;
            labels that share a rank take as many places, as in sports: 1, 1, 3.
        tested: Whether ranks are apart by a test; with one seed they are by the values alone.
    """

    ranks: dict[str, int]
    tested: bool


def rank(losses: Mapping[str, Sequence[float]], metric: JudgedMetric | None = None) -> Ranking:
    """Rank by final loss; who cannot be told from the best of a group shares its rank.

    Seeds are paired: the same seed is the same order of the data. The best of those without a rank
    (by the mean of log loss) is compared with each of the others by the two-sided paired t-test of
    log loss, at 5% over all these comparisons by Holm's correction. Whom the test does not tell
    from it, or whose loss is within 1% of its own (in the geometric mean), shares its rank. The
    rest is ranked the same way, behind. A label with a loss that is not finite, which is a seed
    that diverged, is not compared: all these share the last rank. With a single seed there is no
    test: the order is that of the values.

    Values of which more is better, or of which one is negative, have no logarithm to speak of:
    then the test is of the values themselves, and whose mean is within half a point of an accuracy,
    or 1% of another value, of the best one's shares its rank.

    Args:
        losses: Label → final loss of each seed, in one order of the seeds; or final value of
            another metric. Without a negative one, those below 1e-7 count as that.
        metric: What they are of, a `tfinit.training.judged.JudgedMetric`. None: the loss.

    Raises:
        InputError: there is no label, or one without values.

    Example:
        >>> he, xavier, zeros = [0.010, 0.011, 0.013], [0.011, 0.010, 0.014], [2.30, 2.31, 2.29]
        >>> rank({"zeros": zeros, "xavier": xavier, "he": he}).ranks
        {'he': 1, 'xavier': 1, 'zeros': 3}

    Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of
    Statistics 6, 1979.
    """
    instance("metric", metric, JudgedMetric, none=True)
    losses = {
        label: array(f"losses[{label!r}]", values)
        for label, values in mapping("losses", losses, "labels to losses").items()
    }
    if not losses or not all(values.ndim == 1 and len(values) for values in losses.values()):
        raise InputError(
            "`losses` must have one or more labels, each with a loss for each seed, received "
            f"{ {label: values.shape for label, values in losses.items()} }."
        )
    compared, near = _compared(losses, metric or LOSS)
    # Sorted stably: equal ones stay in the order given.
    left = sorted(compared, key=lambda label: float(compared[label].mean()))
    tested = all(len(values) > 1 for values in losses.values())
    ranks: dict[str, int] = {}
    while left:
        best, *others = left
        if tested:
            p = holm([_p_value(compared[label], compared[best]) for label in others])
            behind = {
                label
                for label, value in zip(others, p, strict=True)
                if value < LEVEL and not near(label, best)
            }
        else:
            behind = {label for label in others if compared[label][0] > compared[best][0]}
        place = len(ranks) + 1
        ranks |= {label: place for label in left if label not in behind}
        left = [label for label in left if label in behind]
    place = len(ranks) + 1
    ranks |= {label: place for label in losses if label not in compared}
    return Ranking(ranks, tested)


def _compared(
    losses: Mapping[str, np.ndarray], metric: JudgedMetric
) -> tuple[dict[str, np.ndarray], Callable[[str, str], bool]]:
    """Of the labels that have only numbers, what is compared, less being better.

    Returns:
        Label → values; and whether one label is as good as another that is better.
    """
    finite = {label: values for label, values in losses.items() if np.isfinite(values).all()}
    if _has_logs(finite, metric):
        logs = {label: np.log(np.maximum(values, _FLOOR)) for label, values in finite.items()}
        return logs, lambda a, b: (logs[a] - logs[b]).mean() < np.log1p(_LEAST)
    turned = {label: metric.error(values) for label, values in finite.items()}
    return turned, lambda a, b: metric.as_good(float(finite[a].mean()), float(finite[b].mean()))


def _has_logs(values: Mapping[str, np.ndarray], metric: JudgedMetric) -> bool:
    return metric.direction == "min" and all((of >= 0).all() for of in values.values())


def _p_value(a: np.ndarray, b: np.ndarray) -> float:
    """Of the two-sided paired t-test. By hand: SciPy's warns of differences that hardly differ."""
    difference = a - b
    mean, error = difference.mean(), difference.std(ddof=1) / len(difference) ** 0.5
    if error == 0:  # where t is 0 / 0 or infinite
        return 1.0 if mean == 0 else 0.0
    return float(2 * student_t.sf(abs(mean) / error, len(difference) - 1))


def holm(p: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values: the k-th smallest of n times n - k + 1, never falling, at most 1.

    Example:
        >>> holm([0.04, 0.01, 0.03])
        [0.06, 0.03, 0.06]
    """
    order = np.argsort(p, kind="stable")
    adjusted = np.zeros(len(p))
    highest = 0.0
    for place, index in enumerate(order):
        highest = max(highest, min(1.0, p[index] * (len(p) - place)))
        adjusted[index] = highest
    return adjusted.tolist()


def foretold(
    risks: Mapping[str, float],
    losses: Mapping[str, Sequence[float]],
    metric: JudgedMetric | None = None,
) -> float:
    """Kendall's τ_b between the risk seen before training and the mean log loss after it.

    Of all pairs of labels, those that both put in the same order minus those that they put in
    opposite orders, by the geometric mean of the pairs that each of the two does not tie. 1: the
    higher the risk, the higher the loss. A loss or risk that is not finite is above all others,
    and tied with its like. As in `rank`, values of which more is better are turned, and those, or
    losses of which one is negative, are compared without a logarithm.

    Returns:
        τ_b, or NaN where it is not defined: fewer than two labels, or all tied in one of the two.

    Kendall, The treatment of ties in ranking problems, Biometrika 33, 1945.
    """
    arrays = {label: np.asarray(values, float) for label, values in losses.items()}
    compared, _ = _compared(arrays, metric or LOSS)
    risk = [risks[label] for label in losses]
    loss = [float(compared[label].mean()) if label in compared else np.inf for label in losses]
    if len(loss) < 2:
        return float("nan")
    above = [np.nan_to_num(values, nan=np.inf, posinf=np.inf) for values in (risk, loss)]
    return float(kendalltau(*(rankdata(values) for values in above)).statistic)
