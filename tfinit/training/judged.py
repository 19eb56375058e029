"""Which of the numbers that were measured says how good a network is, and which way it is better.

Accuracies are fractions that are shown in percent; two of them differ by points, hundredths. All
other metrics are numbers as they are, and are shown with four digits.
"""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tfinit.arguments import array, listed, one_of, text
from tfinit.errors import InputError

__all__ = [
    "ACCURACY",
    "AUTO",
    "DIRECTIONS",
    "EVALUATE_TEST",
    "LOSS",
    "MATCH_POINTS",
    "JudgedMetric",
    "judged",
    "measured",
]

AUTO = "auto"
# When the test split is measured: at each evaluation, or where a result tells of it.
EVALUATE_TEST = ("always", "needed")
DIRECTIONS = ("auto", "max", "min")
_SPLITS = ("validation", "test")
# As good as another: an accuracy within half a point of it, or any other within 1% of it.
MATCH_POINTS = 0.5
_PART = 0.01
# What a name ends with, of Keras's metrics and of those of others, says which way is better.
_MAX = (
    *("accuracy", "acc", "auc", "precision", "recall", "sensitivity", "specificity", "psnr"),
    *("f1", "f1_score", "fbeta", "fbeta_score", "f_beta_score", "dice", "dice_score", "iou"),
    *("io_u", "r2", "r2_score", "cosine_similarity", "pearson_correlation", "correlation"),
    *("concordance_correlation", "true_positives", "true_negatives", "bleu", "kappa", "mcc"),
    *("ssim", "ndcg", "mrr", "map", "average_precision", "jaccard", "likelihood"),
)
_MIN = (
    *("loss", "error", "mae", "mse", "rmse", "mape", "msle", "rmsle", "logcosh", "log_cosh"),
    *("crossentropy", "cross_entropy", "divergence", "kld", "kl", "poisson", "hinge", "nll"),
    *("perplexity", "huber", "brier", "brier_score", "wer", "cer", "elbo_loss", "distance"),
    *("false_positives", "false_negatives", "deviation", "bits_per_character", "regret"),
)


@dataclass(frozen=True)
class JudgedMetric:
    """A metric, and whether more of it is better.

    Args:
        name: As Keras writes it in the logs of ``fit``: ``"loss"``, ``"accuracy"``, ``"size_mae"``.
        direction: ``"max"``: the larger the better; ``"min"``: the smaller.

    Raises:
        InputError: the name is none, or the direction is another.

    Example:
        >>> mae = JudgedMetric("mae", "min")
        >>> mae.best([0.5, float("nan"), 0.25]), mae.text(0.25), mae.column("test")
        (2, '0.25', 'test_mae')
        >>> ACCURACY.text(0.971)
        '97.1%'
    """

    name: str
    direction: str

    def __post_init__(self) -> None:
        text("name", self.name)
        one_of("direction", self.direction, DIRECTIONS[1:])

    @property
    def is_accuracy(self) -> bool:
        """Whether it is a fraction of right answers, which is shown in percent."""
        return _is_accuracy(self.name)

    @property
    def scale(self) -> float:
        """What a value is multiplied by where it is shown."""
        return 100.0 if self.is_accuracy else 1.0

    @property
    def hint(self) -> str:
        """Which way is better, in words."""
        return "higher is better" if self.direction == "max" else "lower is better"

    @property
    def match(self) -> str:
        """How near another is as good, in words: see `as_good`."""
        return f"{MATCH_POINTS} points" if self.is_accuracy else f"{_PART:.0%}"

    def column(self, split: str = "test") -> str:
        """Its key in `tfinit.training.Metrics.values`."""
        return f"{split}_{self.name}"

    def heading(self, words: str) -> str:
        """Words of a table that tell of it, with its unit, or which way is better.

        Example:
            >>> ACCURACY.heading("test accuracy"), LOSS.heading("test loss")
            ('test accuracy in %', 'test loss (lower is better)')
        """
        return f"{words} in %" if self.is_accuracy else f"{words} ({self.hint})"

    def axis(self, words: str) -> str:
        """The same for the axis of a figure: ``"test accuracy, %"``."""
        return f"{words}, %" if self.is_accuracy else self.heading(words)

    def text(self, value: float, spread: float | None = None) -> str:
        """A value, and how far its replicates are apart, with the unit."""
        if self.is_accuracy:
            around = "" if spread is None else f" ± {100 * spread:.1f}"
            return f"{100 * value:.1f}{around}%"
        return f"{value:.4g}" + ("" if spread is None else f" ± {spread:.2g}")

    def cell(self, value: float, spread: float | None = None) -> str:
        """The same for a column of a table, without the unit."""
        return self.text(value, spread).replace(" ", "").removesuffix("%")

    def gain(self, value: float, other: float) -> float:
        """How much better a value is than another; negative where it is worse."""
        return value - other if self.direction == "max" else other - value

    def better(self, value: float, other: float) -> bool:
        """Whether a value is better than another: NaN never is, and every number is than NaN."""
        if math.isnan(value):
            return False
        return bool(math.isnan(other) or self.gain(value, other) > 0)

    def as_good(self, value: float, other: float) -> bool:
        """Whether a value is as good as another, or better, or worse by no more than `match`.

        That is half a point of an accuracy, and 1% of the other value of anything else. NaN is not.
        """
        slack = MATCH_POINTS / 100 if self.is_accuracy else _PART * abs(other)
        if self.direction == "max":
            return bool(value >= other - slack)
        return bool(value <= other + slack)

    def best(self, values: Any) -> int:
        """Where the best of some values is, the first of equal ones; NaN is never the best.

        Raises:
            InputError: there is none but NaN.
        """
        import numpy as np

        found = array("values", values).astype(float)
        if found.ndim != 1 or not len(found) or np.isnan(found).all():
            raise InputError(
                f"`values` must have a number to be the best, received {found.tolist()!r}."
            )
        return int(np.nanargmax(found) if self.direction == "max" else np.nanargmin(found))

    def error(self, values: Any) -> Any:
        """The same, turned so that more is worse: 1 - value where larger is better."""
        return 1 - values if self.direction == "max" else values

    def __str__(self) -> str:
        return self.name


ACCURACY = JudgedMetric("accuracy", "max")
LOSS = JudgedMetric("loss", "min")


def measured(columns: Iterable[str]) -> list[str]:
    """The names of the metrics whose columns `tfinit.training.Metrics.values` has.

    Example:
        >>> measured(["validation_loss", "validation_mae", "test_loss", "test_mae"])
        ['loss', 'mae']
    """
    starts = tuple(f"{split}_" for split in _SPLITS)
    names = (c.split("_", 1)[1] for c in columns if c.startswith(starts))
    return list(dict.fromkeys(names))


def judged(
    names: Iterable[str], metric: str = AUTO, direction: str = AUTO, model: Any = None
) -> JudgedMetric:
    """Which metric a network is judged by, of those that are measured.

    Args:
        names: Those that are measured, as Keras writes them, without their split.
        metric: One of them. ``"auto"``: ``accuracy`` where it is measured, or the one metric that
            is an accuracy under another name (``"acc"``, ``"binary_accuracy"``,
            ``"size_accuracy"``; best of k guesses does not count); with none or several of these
            the loss.
        direction: ``"max"``: the larger the better; ``"min"``. ``"auto"``: as the metric itself
            says, which those of Keras 3 do, or as its name says: losses and errors are better the
            smaller they are; accuracy, AUC, precision, recall, F1, IoU and R² the larger.
        model: The compiled model, to ask the metric itself.

    Raises:
        InputError: the metric is not measured, or nothing says which way it is better.

    Example:
        >>> judged(["loss", "accuracy"]).name, judged(["loss", "mae"]).name
        ('accuracy', 'loss')
        >>> judged(["loss", "size_mae"], "size_mae")
        JudgedMetric(name='size_mae', direction='min')
    """
    names = listed("names", names, str)
    one_of("direction", direction, DIRECTIONS)
    if text("metric", metric) == AUTO:
        metric = _chosen(names)
    elif metric not in names:
        one_of(
            "metric",
            metric,
            (AUTO, *names),
            "These are measured: the loss and the metrics that the model was compiled with.",
        )
    own = {one.name: one.direction for one in (ACCURACY, LOSS)}
    if direction not in (AUTO, own.get(metric, direction)):
        raise InputError(
            f"`metric_direction` of {metric!r} must be auto or {own[metric]}, received "
            f"{direction!r}."
        )
    if direction == AUTO:
        found = _direction(metric, model)
        if found is None:
            raise InputError(
                f"`metric` {metric!r} does not say whether more of it is better. Pass "
                "`metric_direction` 'max' or 'min'."
            )
        direction = found
    return JudgedMetric(metric, direction)


def _chosen(names: Sequence[str]) -> str:
    if ACCURACY.name in names:
        return ACCURACY.name
    alike = [name for name in names if _is_accuracy(name) and "top_k" not in name]
    if len(alike) == 1:
        return alike[0]
    return LOSS.name if LOSS.name in names else names[0]


def _is_accuracy(name: str) -> bool:
    return _ends(name, ("accuracy", "acc"))


def _direction(name: str, model: Any) -> str | None:
    """As the metric itself says, by its name, or by that of its class."""
    if name == LOSS.name:
        return LOSS.direction
    found = None
    if model is not None:
        from tfinit.graph.keras_internals import direction_of
        from tfinit.training.metric_names import metrics_of

        # Of a metric with a number for each class there is "name[0]", "name[1]" …
        found = metrics_of(model).get(name.split("[")[0])
        if found is not None and (said := direction_of(found)) is not None:
            return "max" if said == "up" else "min"
    for known in (name, *([type(found).__name__] if found is not None else [])):
        if _ends(known, _MAX):
            return "max"
        if _ends(known, _MIN):
            return "min"
    return None


def _ends(name: str, words: Sequence[str]) -> bool:
    """Whether a name ends with one of the words, in any writing, numbered or not."""
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    # "precision_at_recall" is a precision, "ndcg@10" an ndcg; Keras numbers equal names: "auc_1".
    told = re.split(r"_at_|[@\[]", snake)[0].replace(" ", "_").replace("-", "_")
    told = re.sub(r"_\d+$", "", told)
    return any(told == word or told.endswith(f"_{word}") for word in words)
