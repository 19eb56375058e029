"""What was pruned: zeros and multiply-adds of a model, layer by layer."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tfinit.arguments import text
from tfinit.graph.layer_kinds import kind_of
from tfinit.graph.multiply_adds import UnknownShapes, count_uses
from tfinit.graph.weight_uses import Uses
from tfinit.pruning.counting.effective_weights import (
    adapters,
    counted_weights,
    has_lora,
    is_coded,
    nonzero,
    zeros_before_lora,
)
from tfinit.pruning.in_training.lora import is_masked
from tfinit.pruning.tfmot_api.adoption import warn_of_dense_report
from tfinit.results import Records
from tfinit.text_table import RULE, aligned, of_shape, printable
from tfinit.variables import find_prunable, keras_of, walk_layers, weight_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class LayerSparsity:
    """The counts of one layer's own weights, or of a whole model.

    The weights are those that the layer computes with: with LoRA the kernel with its adapters
    merged, as Keras saves it; quantized the kernel that its codes stand for, zero where a code is
    the zero point. Adapters, scales and zero points are not counted themselves.

    Attributes:
        key: The layer's path in the model; ``"total"`` for the whole.
        layer: The class of the layer.
        parameters: The entries of all its weights. A weight that an earlier layer has too is
            counted there.
        zeros: How many of them are exactly zero.
        prunable: The entries of the weights that pruning may zero.
        prunable_zeros: How many of those are exactly zero.
        multiply_adds: The multiply-adds for one sample, all weights counted; None if unknown, 0
            with a note for a layer of your own that has no rule.
        multiply_adds_left: Those with weights that are not zero; None if unknown.
        skipped: Which weights are not prunable, or why none is: ``"bias"``, ``"normalization"``,
            ``"depthwise"``, ``"frozen"``, ``"LoRA"``, ``"int8"`` and other quantizations.
        note: What to know about the counts.
    """

    key: str
    layer: str
    parameters: int
    zeros: int
    prunable: int
    prunable_zeros: int
    multiply_adds: int | None
    multiply_adds_left: int | None
    skipped: str = ""
    note: str = ""

    @property
    def sparsity(self) -> float | None:
        """The fraction of zeros in the prunable weights; None if there are none."""
        return self.prunable_zeros / self.prunable if self.prunable else None

    @property
    def sparsity_of_all(self) -> float | None:
        """The fraction of zeros in all weights; None if there are none."""
        return self.zeros / self.parameters if self.parameters else None

    def to_dict(self) -> dict[str, Any]:
        """All attributes, and the two fractions."""
        return asdict(self) | {"sparsity": self.sparsity, "sparsity_of_all": self.sparsity_of_all}


class SparsityReport(Records[LayerSparsity]):
    """The records of `sparsity_report`, in the model's order. Prints as a table.

    Attributes:
        name: The model's name.
        records: One record for each layer with weights of its own, or with attention products.
        total: Their sum.
        input_shapes: The shapes of the model's inputs for one sample, if known.
        notes: What concerns the whole model.
    """

    def __init__(
        self,
        name: str,
        records: Sequence[LayerSparsity],
        input_shapes: Sequence[tuple[int, ...]] = (),
        notes: Sequence[str] = (),
    ) -> None:
        self.name = name
        self._records = tuple(records)
        self.input_shapes = tuple(input_shapes)
        self.notes = tuple(notes)
        self.total = LayerSparsity(
            "total",
            "",
            *(
                sum(getattr(record, field) for record in self.records)
                for field in ("parameters", "zeros", "prunable", "prunable_zeros")
            ),
            *(
                _sum(getattr(record, field) for record in self.records)
                for field in ("multiply_adds", "multiply_adds_left")
            ),
        )

    @property
    def records(self) -> tuple[LayerSparsity, ...]:
        """One for each layer with weights of its own, or with attention products."""
        return self._records

    def to_dict(self) -> dict[str, Any]:
        """The report as what JSON can hold: name, input_shapes, records, total, notes."""
        return {
            "name": self.name,
            "input_shapes": [list(shape) for shape in self.input_shapes],
            "records": [record.to_dict() for record in self.records],
            "total": self.total.to_dict(),
            "notes": list(self.notes),
        }

    def _rows(self) -> list[dict[str, Any]]:
        return [record.to_dict() for record in self.records]

    def plot(self, title: str | None = None) -> "Figure":
        """The sparsity of each layer, see `tfinit.plots.sparsity_figure`.

        Raises:
            InputError: no layer has weights that can be pruned.
        """
        text("title", title, none=True)
        from tfinit.plots import sparsity_figure

        layers = {r.key: r.sparsity for r in self.records if r.sparsity is not None}
        return sparsity_figure(layers, title or f"{self.name}: sparsity")

    def __str__(self) -> str:
        """The table; ``sparsity`` is that of the prunable weights, ``of all`` of all."""
        rows = [_HEAD, *map(_cells, self.records), _cells(self.total)]
        if not any(record.note for record in self.records):
            rows = [row[:-1] for row in rows]
        rows = [rows[0], RULE, *rows[1:-1], RULE, rows[-1]]
        sample = " and ".join(map(of_shape, self.input_shapes))
        head = f"{printable(self.name)}: multiply-adds for one sample" + (
            f" of {sample}" if sample else ""
        )
        return "\n".join([head, *aligned(rows, right=range(2, 8)), *self.notes])


_UNRULED = "multiply-adds: no rule"
_HEAD = (
    "layer",
    "class",
    "weights",
    "zeros",
    "sparsity",
    "of all",
    "multiply-adds",
    "left",
    "skipped",
    "note",
)


def _cells(record: LayerSparsity) -> tuple[str, ...]:
    return (
        record.key,
        record.layer,
        f"{record.parameters:,}",
        f"{record.zeros:,}",
        _percent(record.prunable_zeros, record.prunable),
        _percent(record.zeros, record.parameters),
        _count(record.multiply_adds),
        _count(record.multiply_adds_left),
        record.skipped,
        record.note,
    )


def _percent(part: int, whole: int) -> str:
    """In percent, rounded toward neither end: 100% means all, 0% none."""
    if not whole:
        return ""
    text = f"{part / whole:.2%}"
    if part < whole and text == "100.00%":
        return ">99.99%"
    return "<0.01%" if part and text == "0.00%" else text


def _count(count: int | None) -> str:
    return "unknown" if count is None else f"{count:,}"


def _sum(counts: Iterator[int | None]) -> int | None:
    total = 0
    for count in counts:
        if count is None:
            return None
        total += count
    return total


def sparsity_report(model: Any, input_shape: Any = None) -> SparsityReport:
    """Count the zeros of a model, and the multiply-adds that pruning left, layer by layer.

    A layer's multiply-adds for one sample are, summed over its kernels::

        dense = (entries of the kernel)         · (positions that use it)
        left  = (nonzero entries of the kernel) · (positions that use it)

    and for attention also its two products, as left too. `tfinit.graph.weight_uses` says what
    the positions are. *Left* is what a runtime would do that skips every zero; few do, and a dense
    one does not become faster.

    The weights are those that a layer computes with: LoRA's adapters merged, Keras's codes of 4 and
    8 bits as the weights that they stand for; see `LayerSparsity`.

    Args:
        model: A built layer or model of Keras 3, on any backend: Sequential, functional or
            subclassed. Of tf_keras too, with unknown multiply-adds; TFMOT's masks, thresholds and
            steps are not counted as weights.
        input_shape: Where the model's own input shape is unknown or has unknown axes: the shape
            with its batch axis, as for ``model.build``, such as ``(None, 224, 224, 3)``; for
            several inputs a list or dict of shapes. Data as the model takes them will do, too.

    Returns:
        A record for each layer that has weights of its own, and the total. All counts are exact.
        Multiply-adds are None, with a note, where a shape is unknown, and then in the total too.
        A layer of your own that multiplies with its weights, and is none of Keras's, counts 0,
        with a note.

    Raises:
        InputError: ``model`` is not a Keras model or is not built, or ``input_shape`` does not
            fit it.

    Example:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="fc")])
        >>> _ = model.layers[0].kernel.assign([[1, 0], [0, 1], [0, 0], [2, 3]])
        >>> report = sparsity_report(model)
        >>> report["fc"].sparsity, report.total.multiply_adds, report.total.multiply_adds_left
        (0.5, 8, 4)
    """
    if keras_of(model) == "keras":
        warn_of_dense_report(model)
    prunable = {id(weight) for weight in find_prunable(model).values()}
    trainable = {id(weight) for weight in model.trainable_weights}
    uses, notes = _uses(model, input_shape)
    counts: dict[int, tuple[int, int]] = {}  # id of weight → its entries, those not zero
    records = []
    for key, layer in walk_layers(model):
        weights = [] if kind_of(layer).masks else counted_weights(layer)
        products = uses.products[id(layer)] if uses else 0
        if not weights and not products:
            continue
        counted = [weight for weight in weights if id(weight) not in counts]
        for weight in counted:
            there = nonzero(layer, weight)
            counts[id(weight)] = there.size, int(np.count_nonzero(there))
        of_prunable = [weight for weight in counted if id(weight) in prunable]
        dense, left, note = _multiply_adds(layer, weights, counts, uses)
        empty = [
            weight_name(weight)
            for weight in of_prunable
            if counts[id(weight)][0] and not counts[id(weight)][1]
        ]
        if empty:
            note = "; ".join(filter(None, [note, f"nothing is left of {', '.join(empty)}"]))
        notes_of = [note, "shares weights of a layer above" if len(counted) < len(weights) else ""]
        parameters, alive = _total(counted, counts)
        prunable_parameters, prunable_alive = _total(of_prunable, counts)
        records.append(
            LayerSparsity(
                key or layer.name,
                type(layer).__name__,
                parameters,
                parameters - alive,
                prunable_parameters,
                prunable_parameters - prunable_alive,
                dense,
                left,
                _skipped(layer, weights, prunable, trainable),
                "; ".join(filter(None, [*notes_of, _lora_note(layer)])),
            )
        )
    unruled = [record.key for record in records if record.note.startswith(_UNRULED)]
    if unruled:
        notes.append(f"The total is without the multiply-adds of {', '.join(unruled)}: no rule.")
    return SparsityReport(model.name, records, uses.shapes if uses else (), notes)


def _uses(model: Any, input_shape: Any) -> tuple[Uses | None, list[str]]:
    if keras_of(model) != "keras":
        return None, ["Multiply-adds are unknown: they are counted for Keras 3 models."]
    try:
        return count_uses(model, input_shape), []
    except UnknownShapes as error:
        return None, [f"Multiply-adds are unknown: {error}"]


def _multiply_adds(
    layer: Any, weights: list[Any], counts: dict[int, tuple[int, int]], uses: Uses | None
) -> tuple[int | None, int | None, str]:
    """Dense, left, and the note about them."""
    if uses is None:
        return None, None, ""
    if id(layer) in uses.unknown:
        return None, None, f"multiply-adds unknown: {uses.unknown[id(layer)]}"
    if id(layer) in uses.unruled:
        return 0, 0, f"{_UNRULED} for {type(layer).__name__}"
    times = [(weight, uses.kernels[id(layer), id(weight)]) for weight in weights]
    products = uses.products[id(layer)]
    return (
        products + sum(counts[id(weight)][0] * n for weight, n in times),
        products + sum(counts[id(weight)][1] * n for weight, n in times),
        "" if id(layer) in uses.called else "not called",
    )


def _total(weights: list[Any], counts: dict[int, tuple[int, int]]) -> tuple[int, int]:
    """The entries of some weights, and those of them that are not zero."""
    sizes = [counts[id(weight)] for weight in weights]
    return sum(size for size, _ in sizes), sum(alive for _, alive in sizes)


def _lora_note(layer: Any) -> str:
    """What becomes of the zeros of a layer with LoRA."""
    # Both adapters zero, as Keras leaves them when it loads a file: no gradient will move them.
    if not has_lora(layer) or is_masked(layer) or not any(map(np.any, adapters(layer))):
        return ""
    zeros = zeros_before_lora(layer)
    return f"LoRA: its {zeros:,} zeros are dense once merged; see mask_lora" if zeros else ""


def _skipped(layer: Any, weights: list[Any], prunable: set[int], trainable: set[int]) -> str:
    """The weights of a layer that are not prunable, or why none is."""
    kept = [weight for weight in weights if id(weight) not in prunable]
    if not kept:
        return ""
    if len(kept) == len(weights):
        if has_lora(layer):
            return "LoRA"
        if is_coded(layer):
            return layer.quantization_mode
        if reason := kind_of(layer).left_alone:
            return reason
        if not any(id(weight) in trainable for weight in kept):
            return "frozen"
    return ", ".join(weight_name(weight) for weight in kept)
