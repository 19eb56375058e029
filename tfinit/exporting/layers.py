"""Which pruned layers run faster in an exported file, and of each other one why not."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfinit.exporting.blocks import BLOCKS, CONVERTER_MINIMUM, DENSE, PAYS, Encoding
from tfinit.exporting.contents import Stored
from tfinit.exporting.dense import PRUNED, kernels
from tfinit.exporting.formats import FORMATS
from tfinit.graph.layer_kinds import kind_of
from tfinit.pruning.counting.effective_weights import nonzero
from tfinit.variables import walk_layers

# Of an int8 layer too, which may be faster for being int8.
_SLOW = "will not run faster for the zeros"


@dataclass(frozen=True)
class LayerNote:
    """What becomes of a pruned layer in a file.

    Attributes:
        layer: Its path in the model.
        kind: Its class.
        sparsity: Share of zeros in its kernels.
        sparse_kernel: Whether the runtime skips its zeros. How much that gains is measured for the
            whole file only.
        why: Why, or why not, as the rest of a sentence that begins with the layer.
    """

    layer: str
    kind: str
    sparsity: float
    sparse_kernel: bool
    why: str

    def __str__(self) -> str:
        """One sentence."""
        does = "skips zeros" if self.sparse_kernel else _SLOW
        return f"{self.layer} ({self.kind}, {self.sparsity:.0%} zeros) {does}: {self.why}."


def layer_notes(
    model: Any,
    format: str,
    quantize: str | None,
    sparse: bool,
    encodings: Iterable[Encoding],
    stored: Iterable[Stored],
) -> tuple[LayerNote, ...]:
    """A note for each layer that has 5% of zeros or more in its kernels, for all if ``sparse``."""
    planned = {encoding.key: encoding for encoding in encodings}
    blocks = [weight for weight in stored if weight.encoding == "blocks" and not weight.unpacked]
    notes = []
    for key, layer in walk_layers(model):
        own = kernels(layer)
        there = [nonzero(layer, kernel) for kernel in own]
        size = sum(kernel.size for kernel in there)
        zeros = size - sum(int(np.count_nonzero(kernel)) for kernel in there)
        if not size:
            continue
        kind = type(layer).__name__
        if zeros / size < PRUNED:
            if sparse:
                notes.append(LayerNote(key, kind, zeros / size, False, "it has hardly any"))
            continue
        runs, why = False, FORMATS[format].zeros
        if quantize:
            why = "an int8 zero is multiplied like any other int8 number"
        elif sparse:
            runs, why = _in_sparse_file(layer, np.asarray(own[0]), planned.get(key), blocks)
        notes.append(LayerNote(key, kind, zeros / size, runs, why))
    return tuple(notes)


def _in_sparse_file(
    layer: Any, kernel: np.ndarray, planned: Encoding | None, blocks: list[Stored]
) -> tuple[bool, str]:
    """Whether the sparse kernel runs, and why (not). Takes the weight that it finds from blocks."""
    if planned is None or planned.how == BLOCKS:
        added = 0 if planned is None else planned.padding * kernel.shape[-1]
        for weight in blocks:
            if weight.size == kernel.size + added:
                blocks.remove(weight)
                return True, _share(kernel, planned)
    if planned is None:
        if kind_of(layer).looks_up:
            return False, "a lookup reads whole rows, zeros or not"
        kind = type(layer).__name__
        return False, f"LiteRT has no sparse kernel for {kind}; it unpacks the weights before it"
    if planned.how == BLOCKS:
        return False, "LiteRT's converter did not keep the 1×4 blocks"
    if planned.how == DENSE:
        return False, f"LiteRT stores a kernel sparse from {CONVERTER_MINIMUM:.0%} zeros on only"
    empty = f"{planned.empty_blocks:.0%} of the 1×4 blocks are empty"
    if _is_two_of_four(kernel):
        return (
            False,
            "LiteRT's kernels for the CPU do not use the 2:4 pattern; it unpacks the weights",
        )
    if planned.empty_blocks > 0.9 * planned.sparsity and planned.empty_blocks < PAYS:
        return False, (
            f"{empty}, and below {PAYS:.0%} the sparse kernel is slower than the dense one; so the "
            "layer is stored sparse and unpacked"
        )
    return False, (
        f"they are scattered, {empty}, and LiteRT unpacks the layer to a dense kernel; prune with "
        'block_size="litert", or to 95% or more'
    )


def _share(kernel: np.ndarray, planned: Encoding | None) -> str:
    if planned is None:
        return "LiteRT's sparse kernel runs it"
    return f"{planned.empty_blocks:.0%} of the 1×4 blocks are empty, LiteRT's sparse kernel runs it"


def _is_two_of_four(kernel: np.ndarray) -> bool:
    """Two zeros or more in every four inputs of a unit, and half of all weights or more left."""
    whole = len(kernel) // 4 * 4
    if kernel.ndim != 2 or not whole:
        return False
    zeros = (kernel[:whole] == 0).reshape(-1, 4, kernel.shape[1]).sum(axis=1)
    return bool(zeros.min() >= 2 and zeros.mean() < 2.2)


def sentences(notes: Sequence[LayerNote]) -> list[str]:
    """One sentence for each layer that will not run faster; layers with one reason share theirs.

    Example:
        >>> why = "ONNX Runtime never skips zeros"
        >>> print(*sentences([LayerNote(n, "Conv2D", 0.8, False, why) for n in ("a", "b")]))
        a, b (Conv2D, 80% zeros) will not run faster for the zeros: ONNX Runtime never skips zeros.
    """
    groups: dict[tuple[str, str], list[LayerNote]] = {}
    for note in notes:
        if not note.sparse_kernel:
            groups.setdefault((note.kind, note.why), []).append(note)
    lines = []
    for (kind, why), same in groups.items():
        names = [note.layer or "the model itself" for note in same]
        if len(names) > 4:
            names = [*names[:2], f"… {len(names) - 3} more …", names[-1]]
        low, high = (f"{end(n.sparsity for n in same):.0%}" for end in (min, max))
        zeros = low if low == high else f"{low[:-1]}–{high}"
        lines.append(f"{', '.join(names)} ({kind}, {zeros} zeros) {_SLOW}: {why}.")
    return lines
