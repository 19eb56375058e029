"""`sensitivity`: how much the loss rises where one kernel alone is pruned."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from tfinit import arguments
from tfinit.arguments import number, refused, text
from tfinit.errors import InputError
from tfinit.graph.calling import check_data
from tfinit.graph.gradients import without_gradients
from tfinit.graph.snapshot import apart
from tfinit.pruning.calibrated.allocating import of_errors
from tfinit.pruning.calibrated.kernels import find_linear
from tfinit.pruning.calibrated.layer_by_layer import UNSEEN, LayerByLayer
from tfinit.pruning.calibrated.names import SPARSEGPT
from tfinit.pruning.calibrated.one_kernel import Method
from tfinit.pruning.calibrated.patterns import Pattern
from tfinit.pruning.calibrated.pruning import check_calibrated_score, check_some
from tfinit.pruning.calibrated.result import SkippedWeight
from tfinit.pruning.calibrated.writing import check_keras_3
from tfinit.pruning.channels.groups import Filters, check_filters
from tfinit.pruning.scoring.loss_gradients import Loss, checked_loss, values_of
from tfinit.pruning.scoring.scores import AnyScore
from tfinit.results import Result
from tfinit.text_table import aligned, of_shape, printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class SensitiveWeight:
    """What pruning one weight does.

    Attributes:
        key: The weight's stable key.
        shape: Its shape.
        rises: By how much the loss rises at each sparsity; below 0 where it falls.
    """

    key: str
    shape: tuple[int, ...]
    rises: tuple[float, ...]


@dataclass(frozen=True, repr=False)
class Sensitivity(Result):
    """What `sensitivity` measured. Prints as a table, a line for each weight.

    Attributes:
        score: The name of the score.
        loss: The mean loss of the model as it is.
        sparsities: The sparsities at which it was measured.
        weights: What was measured, in the order in which the data come there.
        skipped: What cannot be pruned, and why.
    """

    score: str
    loss: float
    sparsities: tuple[float, ...]
    weights: tuple[SensitiveWeight, ...]
    skipped: tuple[SkippedWeight, ...]

    def allocation(self, sparsity: float) -> dict[str, float]:
        """The sparsities s_i that have ``Σ n_i s_i = s Σ n_i`` and the least sum of the rises.

        n_i is the size of a weight. Between two sparsities the rise is taken for a line, and where
        it is not convex for the largest convex function below. What `prune_after_training` takes as
        its ``allocation``.

        Args:
            sparsity: s, at most the largest at which the rises were measured.

        Raises:
            InputError: it is more than that.

        Example:
            >>> weights = (
            ...     SensitiveWeight("a", (4, 2), (0.1, 0.4)),
            ...     SensitiveWeight("b", (4, 2), (0.3, 0.9)),
            ... )
            >>> Sensitivity("magnitude", 1.0, (0.5, 0.75), weights, ()).allocation(0.5)
            {'a': 0.5, 'b': 0.5}
        """
        most = self.sparsities[-1]
        if number("sparsity", sparsity, least=0, below=1) > most:
            raise InputError(
                f"`sparsity` {sparsity:g} is more than {most:g}, up to which the rises were "
                "measured. Measure them with other `sparsities`."
            )
        # Where the loss is not finite, nothing is pruned to that.
        rises = {w.key: [0.0, *(min(r, 1e30) for r in w.rises)] for w in self.weights}
        sizes = {w.key: math.prod(w.shape) for w in self.weights}
        return of_errors(rises, sizes, sparsity, (0.0, *self.sparsities))

    def __str__(self) -> str:
        rows = [("weight", "shape", *(f"{s:.0%}" for s in self.sparsities))]
        rows += [
            (one.key, of_shape(one.shape), *(f"{rise:+.3g}" for rise in one.rises))
            for one in self.weights
        ]
        lines = [self._caption(), *aligned(rows, right=range(2, len(rows[0])))]
        lines += [
            f"{printable(one.key)}  left out: {printable(one.reason)}" for one in self.skipped
        ]
        return "\n".join(lines)

    def _rows(self) -> list[dict[str, Any]]:
        """One for each weight, measured or not."""
        names = [f"{s:.0%}" for s in self.sparsities]
        measured = [
            {"weight": one.key, "shape": one.shape, **dict(zip(names, one.rises, strict=True))}
            for one in self.weights
        ]
        return [*measured, *({"weight": one.key, "reason": one.reason} for one in self.skipped)]

    def _caption(self) -> str:
        score = printable(self.score)
        return f"by how much the loss, {self.loss:.4g}, rises where {score} prunes one weight"

    def plot(self, title: str | None = None) -> "Figure":
        """The rises of each weight, see `tfinit.plots.sensitivity_figure`."""
        text("title", title, none=True)
        from tfinit.plots import sensitivity_figure

        rises = {one.key: one.rises for one in self.weights}
        return sensitivity_figure(rises, self.sparsities, title or self._caption())


def sensitivity(
    model: Any,
    x: Any,
    y: Any,
    *,
    score: AnyScore = SPARSEGPT,
    sparsities: Sequence[float] = (0.5, 0.7, 0.8, 0.9, 0.95),
    filters: Filters | None = None,
    loss: Loss | None = None,
    batch_size: int = 256,
    damping: float = 0.01,
    seed: int = 0,
) -> Sensitivity:
    """How much the loss of a model rises where one weight alone is pruned, to each of some
    sparsities.

    ::

        rise_i(s) = L(model with weight i pruned to s, x, y) − L(model, x, y)

    The model is as it was afterwards, and no gradient is taken. It costs two passes of ``x`` for
    each weight and one for each of its sparsities. Kernels that `prune_after_training` would not
    prune are left out, with the reason.

    To prune by it: ``prune_after_training(model, x, 0.8, allocation=found.allocation(0.8))``. This
    sees the loss, and each weight by itself; ``allocation="by error"`` needs no targets, as it sees
    the output of each layer instead.

    Args:
        model: A built model of Keras 3, trained.
        x: Examples as the model takes them: arrays, or a list or dictionary of them. The loss is
            measured on them, and the score looks at what they make enter each layer.
        y: Their targets.
        score: As `prune_after_training` takes it.
        sparsities: Fractions of zeros, rising, above 0 and below 1.
        filters: Names or paths of layers, or regular expressions that match them whole, of the only
            layers that are measured.
        loss: A Keras loss, ``(y, output)``. None: that with which the model was compiled.
        batch_size: How many examples the loss is computed of at a time.
        damping: As `prune_after_training` takes it.
        seed: Of what is random.

    Raises:
        InputError: an argument is wrong, the data do not fit or are not finite, the loss of the
            model is not finite, or there is nothing to prune. The model is as it was.

    Example:
        >>> fc = keras.layers.Dense(1, use_bias=False, name="fc")
        >>> model = keras.Sequential([keras.Input((2,)), fc])
        >>> model.set_weights([np.array([[2.0], [1.0]])])
        >>> x = np.array([[1.0, 0.0], [0.0, 1.0]])
        >>> y = np.array([[2.0], [1.0]])
        >>> print(sensitivity(model, x, y, score="magnitude", sparsities=[0.5], loss="mse"))
        by how much the loss, 0, rises where magnitude prunes one weight
        weight     shape   50%
        fc/kernel  2×1    +0.5

    References:
        Li et al., *Pruning Filters for Efficient ConvNets*, 2016,
        https://arxiv.org/abs/1608.08710, section 3.2, for filters.
    """
    check_keras_3("model", model)
    levels = _check_sparsities(sparsities)
    method = Method(
        check_calibrated_score(score),
        Pattern(),
        number("damping", damping, least=0),
        arguments.seed("seed", seed),
    )
    kernels, skipped = find_linear(model, check_filters(filters))
    data = check_data(model, x)
    loss_now = checked_loss("sensitivity", model, x, y, loss, batch_size)
    check_some(model, kernels, skipped)
    with apart(model), without_gradients():
        dense = loss_now()
        if not math.isfinite(dense):
            raise InputError(
                f"The loss is {dense} on the data. Look at `x`, `y`, `loss` and the weights."
            )
        run = LayerByLayer(model, data, kernels)
        reached = run.reached()
        found = []
        for kernel in reached:
            moments, _ = run.moments(kernel)
            before, rises = values_of(kernel.variable), []
            for level in levels:
                changed, _ = method.pruned(kernel, moments, level)
                kernel.variable.assign(kernel.kernel(changed))
                rises.append(loss_now() - dense)
                kernel.variable.assign(before)
            found.append(SensitiveWeight(kernel.key, kernel.shape, tuple(rises)))
    measured = {one.key for one in found}
    skipped += [SkippedWeight(k.key, UNSEEN) for k in kernels if k.key not in measured]
    check_some(model, reached, skipped)
    return Sensitivity(method.name, dense, levels, tuple(found), tuple(skipped))


def _check_sparsities(given: Any) -> tuple[float, ...]:
    wanted = "fractions of zeros, rising, above 0 and below 1"
    if isinstance(given, str) or not hasattr(given, "__iter__"):
        raise refused("sparsities", wanted, given)
    levels = tuple(number("sparsities", one, above=0, below=1) for one in given)
    if not levels or any(one >= other for one, other in pairwise(levels)):
        raise refused("sparsities", wanted, given)
    return levels
