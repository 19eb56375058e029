"""Linear mode connectivity: how the error rises on the straight line between two networks."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tfinit.arguments import array, listed, mapping, number, one_of, text
from tfinit.errors import InputError
from tfinit.lottery.controls import Weights
from tfinit.results import Result
from tfinit.spread import Spread
from tfinit.training.judged import ACCURACY, LOSS, JudgedMetric
from tfinit.variables import check_same_keys

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "MEASURES",
    "StabilityResult",
    "StabilityRow",
    "barrier",
    "interpolate",
    "stability_to_csv",
    "summarize_stability",
]

MEASURES = ("train_error", "test_error", "train_loss", "test_loss")


@dataclass(frozen=True, eq=False, repr=False)
class StabilityResult(Result):
    """What was measured along the line between two copies of a network, parted at step ``k``.

    All arrays have one value for each point of the line. Where the trunk diverged before step k, or
    a copy later, there is no line: all measures are NaN.

    Attributes:
        seed: The replicate.
        k: The step at which the copies parted.
        alphas: The points: 0 is the first copy, 1 the second.
        train_error: Fraction of wrong answers on the training examples, at most 10,000 of them,
            without augmentation. Of networks that are judged by another metric: that metric, so
            turned that more is worse, see `tfinit.training.judged.JudgedMetric.error`.
        test_error: The same on the test examples, all of them.
        train_loss: Mean loss, without weight decay, on the same training examples.
        test_loss: The same on the test examples.
        metric: What the networks are judged by.
    """

    seed: int
    k: int
    alphas: np.ndarray
    train_error: np.ndarray
    test_error: np.ndarray
    train_loss: np.ndarray
    test_loss: np.ndarray
    metric: JudgedMetric = ACCURACY

    @property
    def diverged(self) -> bool:
        """Whether there is no line, since a training diverged."""
        return bool(np.isnan(self.train_error).all())

    def barrier(self, split: str = "test") -> float:
        """The `barrier` of the errors on ``"train"`` or ``"test"``; NaN if a copy diverged.

        Raises:
            InputError: there is no such split.
        """
        one_of("split", split, ("train", "test"))
        return barrier(getattr(self, f"{split}_error"))

    def __str__(self) -> str:
        """One line: the barriers, or that there is none."""
        told = "diverged, so there is no barrier"
        if not self.diverged:
            train, test = (self.metric.text(self.barrier(split)) for split in ("train", "test"))
            what = "error barrier" if self.metric.is_accuracy else f"barrier of {self.metric}"
            told = f"{what} {train} in training, {test} in test"
        return f"seed {self.seed} k={self.k}: {told}"

    def _rows(self) -> list[dict[str, Any]]:
        """One for each point of the line."""
        columns = {"alpha": self.alphas, **self._measured()}
        points = zip(*(column.tolist() for column in columns.values()), strict=True)
        return [
            {"seed": self.seed, "k": self.k, **dict(zip(columns, point, strict=True))}
            for point in points
        ]

    def _measured(self) -> dict[str, np.ndarray]:
        """`_line_columns` → values."""
        names, values = _line_columns(self.metric), [getattr(self, name) for name in MEASURES]
        if not self.metric.is_accuracy:  # its own values: turning them again undoes it
            values[:2] = [self.metric.error(value) for value in values[:2]]
        return dict(zip(names, values[-len(names) :], strict=True))

    def plot(self, title: str | None = None) -> "Figure":
        """The errors along the line, see `tfinit.plots.stability_figure`."""
        text("title", title, none=True)
        from tfinit.plots import stability_figure

        return stability_figure([self], title or str(self))


def _line_columns(metric: JudgedMetric) -> tuple[str, ...]:
    """What is told of each point: `MEASURES`, with the metric's name for another's error."""
    if metric.is_accuracy:
        return MEASURES
    own = () if metric.name == LOSS.name else (metric.column("train"), metric.column("test"))
    return (*own, *MEASURES[2:])


def barrier(errors: np.ndarray) -> float:
    """How far the error rises on the way from one network to another.

    With the errors e(α) at points α of the line, both ends among them::

        max over α of e(α)  -  (e(0) + e(1)) / 2

    The ends themselves are points, so it is never negative. Frankle et al. (2020) call it the
    linear interpolation instability, and a network stable if it is below 0.02.

    Args:
        errors: Shape (points,), in the order of the line. NaN anywhere gives NaN.

    Raises:
        InputError: fewer than two points, or no row of numbers.

    Example:
        >>> barrier([0.1, 0.75, 0.15])
        0.625

    References:
        Frankle, Dziugaite, Roy & Carbin, *Linear Mode Connectivity and the Lottery Ticket
        Hypothesis*, ICML 2020, https://arxiv.org/abs/1912.05671, section 2.
    """
    errors = array("errors", errors).astype(float)
    if errors.ndim != 1 or len(errors) < 2:
        raise InputError(
            f"`errors` must be of shape (points,), at least two, received shape {errors.shape}."
        )
    return float(errors.max() - (errors[0] + errors[-1]) / 2)


def interpolate(one: Weights, two: Weights, alpha: float) -> dict[str, np.ndarray]:
    """(1 - α) · one + α · two, for every weight: kernels, biases, statistics of BatchNormalization.

    Computed in float64, returned in the type of ``one``: for α = 0 and 1 these are ``one`` and
    ``two``, bit for bit but for the sign of zero.

    Args:
        one: Key → array.
        two: The same keys and shapes.
        alpha: Where on the line.

    Raises:
        InputError: a key is missing or unknown, or a shape differs.

    Example:
        >>> interpolate({"bias": np.float32([0, 1])}, {"bias": np.float32([4, 1])}, 0.25)
        {'bias': array([1., 1.], dtype=float32)}
    """
    alpha = number("alpha", alpha)
    one, two = mapping("one", one, "keys to arrays"), mapping("two", two, "keys to arrays")
    one = {key: array(f"one[{key!r}]", value) for key, value in one.items()}
    two = {key: array(f"two[{key!r}]", value) for key, value in two.items()}
    check_same_keys("two", two, one)
    return {
        key: ((1 - alpha) * a.astype(float) + alpha * two[key].astype(float)).astype(a.dtype)
        for key, a in one.items()
    }


@dataclass(frozen=True)
class StabilityRow:
    """The barriers at one step k, over the replicates that did not diverge; NaN if all did.

    Attributes:
        k: The step at which the copies parted.
        train: Barrier of the training error, a fraction; or of another metric.
        test: Barrier of the test error.
        metric: What the networks are judged by.
    """

    k: int
    train: Spread
    test: Spread
    metric: JudgedMetric = ACCURACY


def summarize_stability(results: Sequence[StabilityResult]) -> list[StabilityRow]:
    """One row for each k, rising.

    Example:
        >>> e = np.array([0.0, 0.5, 0.0])
        >>> result = StabilityResult(0, 20, np.array([0, 0.5, 1]), e, 2 * e, e, e)
        >>> summarize_stability([result])[0].test.mean
        1.0
    """
    groups: dict[int, list[StabilityResult]] = {}
    for result in listed("results", results, StabilityResult, empty=True):
        groups.setdefault(result.k, []).append(result)
    return [
        StabilityRow(
            k,
            *(
                Spread.of([r.barrier(split) for r in group if not r.diverged])
                for split in ("train", "test")
            ),
            group[0].metric,
        )
        for k, group in sorted(groups.items())
    ]


def stability_to_csv(results: Sequence[StabilityResult]) -> str:
    """One line for each point of each line: seed, k, alpha, errors and losses.

    Of networks that are judged by another metric than an accuracy the columns of errors have its
    name, and its values.
    """
    found = listed("results", results, StabilityResult, empty=True)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = _line_columns(found[0].metric if found else ACCURACY)
    writer.writerow(["seed", "k", "alpha", *names])
    for r in found:
        writer.writerows(row.values() for row in r._rows())
    return out.getvalue()
