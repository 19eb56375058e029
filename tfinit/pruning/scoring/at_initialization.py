"""Pruning before training: one call that scores, allocates and sets the masks of a model."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tfinit import arguments
from tfinit.arguments import number, text, whole
from tfinit.errors import InputError
from tfinit.pruning.counting.emptied import emptied, emptied_message
from tfinit.pruning.in_training.model_masks import (
    ensure_sparse_optimizer,
    find_sparse_optimizer,
    set_masks,
)
from tfinit.pruning.in_training.rules import PruningRule
from tfinit.pruning.in_training.selection import keep_count
from tfinit.pruning.scoring.allocation import (
    Allocation,
    check_allocation,
    check_min_density,
    is_global,
)
from tfinit.pruning.scoring.loss_gradients import Loss, Scores, weights_of
from tfinit.pruning.scoring.masks import Masks, density, top_mask
from tfinit.pruning.scoring.scorer import scorer
from tfinit.pruning.scoring.scores import BEFORE, SCORES, AnyScore, check_score
from tfinit.pruning.scoring.sparsities import floor_counts, sparsities
from tfinit.renamed import renamed
from tfinit.results import Result, json_ready
from tfinit.text_table import aligned, of_shape

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Shapes = Mapping[str, tuple[int, ...]]


@renamed(method="score")
@dataclass(frozen=True, eq=False, repr=False)
class AtInitialization(Result):
    """What `prune_at_initialization` did. Prints as a table, a line for each weight.

    Attributes:
        score: The name of the score by which the weights were ranked.
        target: The overall sparsity that was asked for.
        masks: Key → mask, as they are now in the model's optimizer.
    """

    score: str
    target: float
    masks: Masks

    @property
    def sparsity(self) -> float:
        """The fraction of zeros in all masks together."""
        return 1 - density(self.masks)

    @property
    def collapsed(self) -> tuple[str, ...]:
        """The keys of the weights that are pruned altogether: nothing gets through them."""
        return emptied(self.masks)

    def __str__(self) -> str:
        """The table; the last line warns of collapsed layers."""
        rows = [("weight", "shape", "weights", "kept", "sparsity")]
        for key, mask in self.masks.items():
            kept = int(np.count_nonzero(mask))
            rows.append((key, of_shape(mask.shape), *_cells(kept, mask.size)))
        size = sum(mask.size for mask in self.masks.values())
        kept = sum(int(np.count_nonzero(mask)) for mask in self.masks.values())
        rows.append(("total", "", *_cells(kept, size)))
        lines = aligned(rows, right=(2, 3, 4))
        return "\n".join([f"{self.score} at initialization", *lines, *self._remarks()])

    def to_dict(self) -> dict[str, Any]:
        """What was asked for, and how much of each weight is kept; not the masks themselves."""
        found = {"score": self.score, "target": self.target, "sparsity": self.sparsity}
        return json_ready({**found, "weights": self._rows(), "collapsed": self.collapsed})

    def _rows(self) -> list[dict[str, Any]]:
        """One for each weight."""
        rows = []
        for key, mask in self.masks.items():
            kept = int(np.count_nonzero(mask))
            row = {"weight": key, "shape": mask.shape, "weights": mask.size, "kept": kept}
            rows.append({**row, "sparsity": 1 - kept / mask.size})
        return rows

    def plot(self, title: str | None = None) -> "Figure":
        """The sparsity of each weight, see `tfinit.plots.sparsity_figure`."""
        text("title", title, none=True)
        from tfinit.plots import sparsity_figure

        weights = {row["weight"]: row["sparsity"] for row in self._rows()}
        return sparsity_figure(weights, title or f"{self.score} at initialization")

    def _remarks(self) -> list[str]:
        if not self.collapsed:
            return []
        in_rounds = self.score in SCORES and SCORES[self.score].rounds > 1
        cure = "more iterations" if in_rounds else "'synflow'"
        return [f"WARNING: {emptied_message(self.collapsed, cure)}"]


def _cells(kept: int, size: int) -> tuple[str, ...]:
    return f"{size:,}", f"{kept:,}", f"{1 - kept / size:.2%}"


@renamed(method="score")
def prune_at_initialization(
    model: Any,
    sparsity: float,
    score: AnyScore = "snip",
    x: Any = None,
    y: Any = None,
    *,
    allocation: Allocation | None = None,
    min_density: float = 0.0,
    loss: Loss | None = None,
    batch_size: int = 128,
    iterations: int | None = None,
    seed: int = 0,
    sample_weight: Any = None,
) -> AtInitialization:
    """Prune a compiled model before it is trained, to an exact number of survivors.

    In round k of T the density is ``(1 - sparsity) ** (k / T)``: each round scores the model as the
    rounds before left it, and what was pruned stays pruned. The formulas of the scores are told in
    `tfinit.pruning.scoring.scores`. Then the masks are set on the model's optimizer, the pruned
    weights are zero, and stay so while it trains.

    Args:
        model: A built and compiled Keras 3 model. An optimizer that is no SparseOptimizer is
            wrapped into one; the other compile settings stay.
        sparsity: The fraction of zeros in all weights that can be pruned, 0 or more, less than 1.
        score: ``"snip"``, ``"grasp"``, ``"synflow"``, ``"magnitude"`` or ``"random"``; a
            `tfinit.pruning.Score`; or a function of what it needs, by name, as
            ``lambda weights, gradients: abs(weights * gradients)``.
        x: Training examples for scores that need gradients, all used: the papers of SNIP and GraSP
            take ten of each class. As ``fit`` takes them: an array, a list or dictionary of arrays,
            or batches (x, y) of a dataset, as for `tfinit.pruning.scoring.before_training.snip`.
            Other scores ignore its values.
        y: Their targets, as the loss takes them; None for a model whose layers add all of its loss.
        allocation: ``"global"``, ``"erk"``, ``"uniform"``, a mapping of keys to sparsities (which
            then decides in place of ``sparsity``) or a callable, as in
            `tfinit.pruning.scoring.allocation`. None: the score's own: ``"erk"`` for random
            ones, which a global choice would only make uneven, and ``"global"`` else.
        min_density: With ``"global"``: the fraction that each weight keeps at least; see
            `tfinit.pruning.PruningRule`.
        loss: For scores that need gradients: a Keras loss, its name or ``(y, output) -> tensor``.
            None: the compiled one.
        batch_size: Rows of one gradient. Bounds memory, changes nothing else.
        iterations: The number of rounds T. None: 100 for SynFlow, 1 for the others.
        seed: Of what is random.
        sample_weight: How much each example counts, as for ``fit``.

    Returns:
        The masks, and a table of them. A weight of which nothing is left is no error, but is named
        in ``collapsed``.

    Raises:
        InputError: an argument is wrong, data is missing, not finite or does not fit, the model is
            not compiled, or prunes on a schedule of its own. The model is as it was.

    Example:
        >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4, name="fc")])
        >>> model.compile("sgd", "mse")
        >>> report = prune_at_initialization(model, 0.75, "snip", np.ones((2, 8)), np.ones((2, 4)))
        >>> int(report.masks["fc/kernel"].sum())
        8

    References:
        Lee et al., *SNIP*, 2019, https://arxiv.org/abs/1810.02340; in several rounds: de Jorge et
        al., *Progressive skeletonization*, 2021, https://arxiv.org/abs/2006.09081. Wang et al.,
        *GraSP*, 2020, https://arxiv.org/abs/2002.07376. Tanaka et al., *SynFlow*, 2020,
        https://arxiv.org/abs/2006.05467.
    """
    weights = weights_of(model)
    shapes = {key: tuple(weight.shape) for key, weight in weights.items()}
    cure = "It is the fraction of zeros: 0.9 leaves one weight in ten."
    sparsity = number("sparsity", sparsity, least=0, below=1, cure=cure)
    chosen = check_score(score, BEFORE)
    allocation = check_allocation(chosen.allocation if allocation is None else allocation, shapes)
    min_density = check_min_density(min_density, allocation)
    iterations = whole("iterations", chosen.rounds if iterations is None else iterations, 1)
    batch_size = whole("batch_size", batch_size, 1)
    seed = arguments.seed("seed", seed)
    _check_optimizer(model)

    scored = scorer(
        chosen,
        model,
        x,
        y,
        loss=loss,
        batch_size=batch_size,
        seed=seed,
        sample_weight=sample_weight,
    )
    masks: Masks | None = None
    for k in range(1, iterations + 1):
        part = sparsity if k == iterations else 1 - (1 - sparsity) ** (k / iterations)
        masks = select(scored(masks), allocation, part, shapes, masks, sparsity, min_density)
    assert masks is not None  # there is a round at least
    ensure_sparse_optimizer(model, [PruningRule(scope=model)])
    set_masks(model, masks)
    return AtInitialization(chosen.name, sparsity, masks)


def select(
    scores: Scores,
    allocation: Allocation,
    sparsity: float,
    shapes: Shapes,
    masks: Masks | None = None,
    final: float | None = None,
    min_density: float = 0.0,
) -> Masks:
    """The masks of the largest scores, with the counts of an allocation: score → mask.

    Args:
        scores: Key → score, larger survives.
        allocation: As for `tfinit.pruning.scoring.sparsities.sparsities`, or ``"global"``: then the
            tensors together keep what they would keep under ``"uniform"``; on the way to ``final``
            what one tensor of their size would, but never less than in the end.
        sparsity: The overall fraction of zeros, 0 to 1.
        shapes: Key → shape, in the order that decides between equal scores.
        masks: Key → the present mask, inside which the new ones lie; None: all ones.
        final: As for `tfinit.pruning.scoring.sparsities.sparsities`.
        min_density: With ``"global"``: what each tensor keeps at least, as far as it is left.

    Returns:
        Key → mask.

    Raises:
        InputError: a score is NaN, or the allocation is wrong.
    """
    scores = {key: np.asarray(scores[key]) for key in shapes}
    if masks is not None:
        scores = {key: np.where(masks[key], scores[key], -np.inf) for key in shapes}
    size = {key: math.prod(shape) for key, shape in shapes.items()}
    if is_global(allocation):
        end = sparsity if final is None else final
        keep = sum(int(keep_count(n, end)) for n in size.values())
        if sparsity != end:
            # On the way there as if all were one tensor. Tensors of one size, each rounded by
            # itself, would lose their weights all at once: too many between two looks at scores.
            keep = max(keep, int(keep_count(sum(size.values()), sparsity)))
        if min_density > 0:
            floors = floor_counts(list(size.values()), keep, min_density)
            for key, floor in zip(shapes, floors, strict=True):
                best = top_mask(scores[key], int(floor)) & (scores[key] > -np.inf)
                scores[key] = np.where(best, np.inf, scores[key])
            keep = max(keep, sum(int(floor) for floor in floors))
        pooled = top_mask(np.concatenate([np.ravel(scores[key]) for key in shapes]), keep)
        parts = np.split(pooled, np.cumsum(list(size.values()))[:-1])
        return {key: part.reshape(shapes[key]) for key, part in zip(shapes, parts, strict=True)}
    found = {}
    for key, part in sparsities(allocation, sparsity, shapes, final).items():
        keep = int(keep_count(size[key], part))
        if masks is not None:
            keep = min(keep, int(np.count_nonzero(masks[key])))
        found[key] = top_mask(scores[key], keep)
    return found


def _check_optimizer(model: Any) -> None:
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None:
        raise InputError(
            f"`model` {model.name!r} has no optimizer to keep masks in. Call "
            "`model.compile(optimizer, loss)` first."
        )
    sparse = find_sparse_optimizer(optimizer)
    if sparse is not None and any(rule.prunes for rule in sparse.rules):
        raise InputError(
            f"`model` {model.name!r} prunes on a schedule of its own, which would replace these "
            "masks. Compile it with a plain optimizer, or a SparseOptimizer without a schedule."
        )
