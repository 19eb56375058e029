"""Linear mode connectivity: from which step on does the order of the data no longer matter?"""

import csv
import dataclasses
import importlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tfinit import models
from tfinit.arguments import array, flag, instance, listed, mapping, number, one_of, text
from tfinit.datasets import Dataset
from tfinit.devices import announce
from tfinit.errors import InputError
from tfinit.lottery.config import StabilityConfig
from tfinit.lottery.directory import check_directory, check_network
from tfinit.lottery.experiment import checked_data
from tfinit.lottery.frameworks import Parts, Training, parts_of
from tfinit.lottery.report_files import OF_STABILITY, check_reports, write_stability
from tfinit.lottery.result import LevelResult, Weights
from tfinit.lottery.store import Place, Store
from tfinit.lottery.stored_training import trained
from tfinit.origin import Origin
from tfinit.progress import as_warning, check_progress, following
from tfinit.results import Result
from tfinit.spread import Spread
from tfinit.training.compiled import Evaluator, choose_xla
from tfinit.training.metrics import Progress
from tfinit.training.order import check_batch_size
from tfinit.variables import all_weights, check_same_keys, write_weights

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "COPIES",
    "MEASURES",
    "MOST_TRAIN_ROWS",
    "TRUNK",
    "StabilityResult",
    "StabilityRow",
    "barrier",
    "branch_of",
    "copy_seed",
    "instability",
    "interpolate",
    "stability",
    "stability_steps",
    "stability_to_csv",
    "summarize_stability",
]

TRUNK = "trunk"
COPIES = (1, 2)
# So many training examples tell an error to half a point; all of a large set would take as long as
# the training.
MOST_TRAIN_ROWS = 10_000
MEASURES = ("train_error", "test_error", "train_loss", "test_loss")


@dataclass(frozen=True, eq=False)
class StabilityResult(Result):
    """What was measured along the line between two copies of a network, parted at step ``k``.

    All arrays have one value for each point of the line. Where the trunk diverged before step k, or
    a copy later, there is no line: all measures are NaN.

    Attributes:
        seed: The replicate.
        k: The step at which the copies parted.
        alphas: The points: 0 is the first copy, 1 the second.
        train_error: Fraction of wrong answers on the training examples, at most 10,000 of them,
            without augmentation.
        test_error: The same on the test examples, all of them.
        train_loss: Mean cross-entropy, without weight decay, on the same training examples.
        test_loss: The same on the test examples.
    """

    seed: int
    k: int
    alphas: np.ndarray
    train_error: np.ndarray
    test_error: np.ndarray
    train_loss: np.ndarray
    test_loss: np.ndarray

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
            train, test = (f"{self.barrier(split):.1%}" for split in ("train", "test"))
            told = f"error barrier {train} in training, {test} in test"
        return f"seed {self.seed} k={self.k}: {told}"

    def _rows(self) -> list[dict[str, Any]]:
        """One for each point of the line."""
        columns = {name: getattr(self, name).tolist() for name in ("alphas", *MEASURES)}
        return [
            {
                "seed": self.seed,
                "k": self.k,
                "alpha": alpha,
                **dict(zip(MEASURES, point, strict=True)),
            }
            for alpha, *point in zip(*columns.values(), strict=True)
        ]

    def plot(self, title: str | None = None) -> "Figure":
        """The errors along the line, see `tfinit.plots.stability_figure`."""
        text("title", title, none=True)
        from tfinit.plots import stability_figure

        return stability_figure([self], title or str(self))


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


def copy_seed(seed: int, copy: int) -> int:
    """What decides order, augmentation and noise of a copy: a function of replicate and copy.

    Not of k: the copies of all k see the same two streams, each from step k on. Both differ from
    the trunk's, which is that of ``seed``, so copies that part at step 0 share weights only.
    """
    return int(np.random.SeedSequence([seed, copy]).generate_state(1, np.uint64)[0])


def branch_of(k: int, copy: int | None = None) -> str:
    """What files and results call the place where copies part, and each copy."""
    return f"from-{k:06d}" + ("" if copy is None else f"-copy-{copy}")


def stability_steps(config: StabilityConfig) -> int:
    """How many steps the experiment trains, all networks together."""
    instance("config", config, StabilityConfig)
    copies = sum(len(COPIES) * (config.steps - k) for k in config.spawn_steps)
    return len(config.seeds) * (max(config.spawn_steps) + copies)


def stability(
    config: StabilityConfig,
    progress: bool | Progress | None = True,
    finished: Callable[[StabilityResult], None] = lambda result: None,
    warn: Callable[[str], None] = as_warning,
    data: Dataset | None = None,
    reports: bool = True,
    **store_options: Any,
) -> list[StabilityResult]:
    """Measure the error barrier between two copies of a network that part at step k, for some k.

    For each replicate, with initial weights θ₀ (`instability` is the algorithm)::

        train from θ₀                                      → θₖ for every k: the trunk
        train twice from θₖ, from step k to the last one   → w₁, w₂
        measure the error of (1 - α) · w₁ + α · w₂         → its `barrier`

    The copies differ in the order of the data, in augmentation and in the noise of layers (see
    `copy_seed`), and in nothing else. Each has the learning rate of its step, and a fresh
    optimizer: its momentum, and Adam's averages, start from zero at step k. In the paper they go
    on; in its successor's code, OpenLTH, they start afresh as here. The trunk ends at the last k.

    Interrupted at any moment and started again, it ends with the same files, bit for bit, on the
    same machine. So it does if it is started with fewer seeds or steps k, and then again with all.
    While it runs no other process can work in the directory.

    Args:
        config: The experiment.
        progress: True: a bar with the time that is left, on a terminal or in a notebook. False or
            None: nothing. Or a function, called with the number of training steps done, or found
            done, since the last call; `stability_steps` in all.
        finished: Called with each result, also of those found in the directory.
        warn: Called with a line about each file that is damaged or of another training, and is made
            again; and about versions or a device other than those the directory was made with. By
            default they are Python's warnings.
        data: As for `tfinit.lottery.run`.
        reports: Whether to leave what the command leaves: ``stability.csv`` and ``stability.png``.
        **store_options: For `Store`: ``checkpoint_every``, seconds between checkpoints.

    Returns:
        One result for each replicate and k, in this order, k rising. A network that diverged is a
        result too, with NaN for its barrier.

    Raises:
        InputError: the configuration does not fit the data, the model or the directory, the
            directory holds an experiment on other data, a report cannot be written, or another
            process works there. Nothing was written.
        WorkError: a file could not be written. What was done is kept.

    Example:
        >>> config = StabilityConfig(
        ...     steps=20, spawn_steps=(0, 10), seeds=(0,), points=3, run_dir=Path(tmp) / "stability"
        ... )
        >>> [(r.k, r.alphas.tolist(), r.barrier("test") >= 0) for r in stability(config)]
        [(0, [0.0, 0.5, 1.0], True), (10, [0.0, 0.5, 1.0], True)]

    References:
        Frankle, Dziugaite, Roy & Carbin, *Linear Mode Connectivity and the Lottery Ticket
        Hypothesis*, ICML 2020, https://arxiv.org/abs/1912.05671, algorithm 1. OpenLTH:
        https://github.com/facebookresearch/open_lth.
    """
    instance("config", config, StabilityConfig)
    check_progress(progress)
    reports = flag("reports", reports)
    data = checked_data(config, data, finished, warn)
    if reports:
        check_reports(config.run_dir, OF_STABILITY)
    origin = Origin.now(data.digest(), config.keras)
    check_directory(config, origin)
    if config.train_examples:
        data = data.subset(config.train_examples)
    check_batch_size(config.batch_size, len(data.train[0]))
    results = []
    with following(progress) as follower:
        follower.expect(stability_steps(config))
        parts = parts_of(config, data)
        store = Store(config, warn, origin=origin, **store_options)
        check_network(config.run_dir, {key: mask.shape for key, mask in parts.full_mask().items()})
        line = _Line(config, data)
        with store.locked():
            announce(config.keras)
            for seed in config.seeds:
                trunk = _Trunk(parts, store, config, seed, follower)
                for k in sorted(config.spawn_steps):
                    results.append(instability(trunk, line, k))
                    finished(results[-1])
                    follower.say(str(results[-1]))
    if reports:
        write_stability(config, results, data)
    return results


def instability(trunk: "_Trunk", line: "_Line", k: int) -> StabilityResult:
    """Train two copies from the trunk at step k, and measure along the line between them."""
    copies = trunk.copies(k)
    if len(copies) < len(COPIES) or any(copy.diverged_at is not None for copy in copies):
        return StabilityResult(trunk.seed, k, line.alphas, **line.nowhere())
    measured = trunk.measured(k, lambda: line.between(*(copy.final for copy in copies)))
    return StabilityResult(trunk.seed, k, line.alphas, **measured)


class _Trunk:
    """The training of one replicate up to the last k, and the copies that part from it."""

    def __init__(
        self, parts: Parts, store: Store, config: StabilityConfig, seed: int, progress: Progress
    ):
        self.seed = seed
        self._parts, self._store, self._config = parts, store, config
        self._progress = progress
        self._full = parts.full_mask()
        self._initial = store.initial(seed, TRUNK, lambda: parts.initial(seed))
        marks = [k for k in config.spawn_steps if k > 0]
        if marks:
            self._train(marks)

    def _train(self, marks: list[int]) -> None:
        """Keep the weights at the marks. They change nothing: a mark only looks."""
        keep = {k: self._keep(k) for k in marks}
        training = Training(self._initial, self._full, self.seed, stop=max(marks), at=keep)
        there = {k for k in marks if self._store.rewind(self.seed, branch_of(k)) is not None}
        trained(
            self._parts,
            self._store,
            Place(self.seed, TRUNK, 0),
            training,
            self._initial,
            max(marks),
            self._progress,
            usable=lambda step: all(k in there for k in marks if k <= step),
        )

    def _keep(self, k: int) -> Callable[[Weights], None]:
        return lambda weights: self._store.keep_rewind(self.seed, branch_of(k), weights)

    def copies(self, k: int) -> list[LevelResult]:
        """The copies from step k to the last; none if the trunk diverged before."""
        steps = self._config.steps
        start = self._initial if k == 0 else self._store.rewind(self.seed, branch_of(k))
        if start is None:
            self._progress(len(COPIES) * (steps - k))
            return []
        return [
            trained(
                self._parts,
                self._store,
                Place(self.seed, branch_of(k, copy), 0),
                Training(start, self._full, copy_seed(self.seed, copy), k, rate_from=k),
                self._initial,
                steps,
                self._progress,
            )
            for copy in COPIES
        ]

    def measured(self, k: int, measure: Callable[[], dict[str, np.ndarray]]) -> dict[str, Any]:
        """What ``measure`` gives, from the store if it is there."""
        stored = self._store.line(self.seed, branch_of(k))
        if stored is None:
            self._store.keep_line(self.seed, branch_of(k), measure())
            stored = self._store.line(self.seed, branch_of(k))
        return dict(stored or {})


class _Line:
    """Measures networks along the line between two. One network, compiled once."""

    def __init__(self, config: StabilityConfig, data: Dataset):
        keras = importlib.import_module(config.keras)
        self.alphas = np.linspace(0, 1, config.points)
        x = data.train[0]
        # The weights do not matter, they are written before each measurement.
        model = models.build(config.model, keras, x.shape[1:], data.classes, seed=0)
        self._weights = all_weights(model)
        train = data.subset(min(len(x), MOST_TRAIN_ROWS)).train
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        self._evaluate = Evaluator(
            model,
            dataclasses.replace(data, validation=train),
            loss,
            # As in training, so that the ends of the line are what was measured there.
            jit_compile=config.keras == "keras" and choose_xla(model)[0],
        )

    def between(self, one: Weights, two: Weights) -> dict[str, np.ndarray]:
        """Each of `MEASURES` along the line."""
        one, two = dict(one), dict(two)  # read from their files once, not at each point
        rows = []
        for alpha in self.alphas:
            write_weights(self._weights, interpolate(one, two, alpha))
            train_loss, train_accuracy, test_loss, test_accuracy = self._evaluate()
            rows.append((1 - train_accuracy, 1 - test_accuracy, train_loss, test_loss))
        return dict(zip(MEASURES, np.array(rows).T, strict=True))

    def nowhere(self) -> dict[str, np.ndarray]:
        """`MEASURES` where there is no line."""
        return {name: np.full(len(self.alphas), np.nan) for name in MEASURES}


@dataclass(frozen=True)
class StabilityRow:
    """The barriers at one step k, over the replicates that did not diverge; NaN if all did.

    Attributes:
        k: The step at which the copies parted.
        train: Barrier of the training error, a fraction.
        test: Barrier of the test error.
    """

    k: int
    train: Spread
    test: Spread


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
        )
        for k, group in sorted(groups.items())
    ]


def stability_to_csv(results: Sequence[StabilityResult]) -> str:
    """One line for each point of each line: seed, k, alpha, errors and losses."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["seed", "k", "alpha", *MEASURES])
    for r in listed("results", results, StabilityResult, empty=True):
        columns = [getattr(r, name).tolist() for name in MEASURES]
        for alpha, *values in zip(r.alphas.tolist(), *columns, strict=True):
            writer.writerow([r.seed, r.k, alpha, *values])
    return out.getvalue()
