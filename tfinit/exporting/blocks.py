"""Sparse Dense layers for LiteRT: which encoding each gets, and that its numbers stay right.

LiteRT's converter looks at a kernel's zeros. Where e, the share of empty 1×4 blocks (4 inputs of
one unit), is more than 0.9·s, with s the share of zeros, it stores blocks, and a sparse kernel
runs. Else it stores the survivors one by one, and a DENSIFY op unpacks them: smaller, as fast as
dense. It has no switch for this, and it errs three times:

* with a number of inputs that is no multiple of 4 the block kernel drops the last columns;
* with half of the blocks empty the sparse kernel is slower than the dense one (0.64× at 50%);
* scattered zeros get no blocks below s = 96.6%, though blocks pay earlier.

So while a model is being converted, its Dense layers compute with another kernel of the same
function: rows of zeros added where 4 does not divide, and some zeros replaced by `_TINY`, which
steers the converter. `restore_zeros` makes them zeros again, in the file.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from tfinit.block_sizes import BLOCK_SIZES
from tfinit.graph.overlay import overlaid
from tfinit.variables import walk_layers

BLOCK, _ = BLOCK_SIZES["litert"]
# What the converter calls sparse enough to encode at all.
CONVERTER_MINIMUM = 0.3
# Share of empty blocks from which the sparse kernel is faster than the dense one: measured 0.64×
# at 50%, 1.12× at 70%, 1.66× at 80%, 3.1× at 90% (LeNet-300-100, batch 1, one thread).
PAYS = 0.7
# Zeros from which scattered ones go into blocks: at 95%, 19% of the blocks hold something. With
# fewer zeros the file would grow for little speed.
SCATTERED = 0.945
# No trained weight is as small, and sums with it change nothing. Not subnormal, which is slow.
_TINY = np.float32(1e-33)
_SMALL = 1e-30  # a scale that the converter folds into the kernel may make it larger

BLOCKS, UNPACKED, DENSE = "blocks", "unpacked", "dense"


@dataclass(frozen=True)
class Encoding:
    """How the kernel of a Dense layer goes into the file.

    Attributes:
        key: The layer's path in the model.
        how: ``"blocks"`` (sparse kernel), ``"unpacked"`` (stored sparse, run dense) or ``"dense"``.
        sparsity: Share of zeros.
        empty_blocks: Share of 1×4 blocks without a survivor.
        padding: Inputs that were added, so that 4 divides their number.
    """

    key: str
    how: str
    sparsity: float
    empty_blocks: float
    padding: int = 0


def encoding_of(key: str, kernel: np.ndarray, blocks: bool = True) -> Encoding:
    """The encoding that pays for a kernel of shape (inputs, units).

    Args:
        key: Its layer.
        kernel: The weights.
        blocks: Whether block encoding may be used at all.

    Example:
        >>> kernel = np.zeros((8, 10)); kernel[:4, 0] = 1
        >>> encoding_of("fc", kernel).how
        'blocks'
        >>> encoding_of("fc", np.eye(8, 10)).how  # 90% zeros, one in each of 8 blocks of 20
        'unpacked'
    """
    sparsity = float(np.mean(kernel == 0)) if kernel.size else 0.0
    empty = empty_blocks(kernel)
    share = float(empty.mean()) if empty.size else 0.0
    if sparsity < CONVERTER_MINIMUM:
        return Encoding(key, DENSE, sparsity, share)
    regular = share > 0.9 * sparsity
    runs = blocks and share >= PAYS and (regular or sparsity >= SCATTERED)
    # Unpacked ones too: the converter counts columns beyond a multiple of 4 as empty blocks.
    return Encoding(key, BLOCKS if runs else UNPACKED, sparsity, share, -len(kernel) % BLOCK)


def empty_blocks(kernel: np.ndarray) -> np.ndarray:
    """Which 1×4 blocks hold no survivor: shape (⌈inputs/4⌉, units)."""
    padded = np.pad(kernel != 0, ((0, -len(kernel) % BLOCK), (0, 0)))
    return ~np.any(padded.reshape(-1, BLOCK, kernel.shape[1]), axis=1)


def steered(kernel: np.ndarray, encoding: Encoding) -> np.ndarray:
    """The kernel of the same function that the converter encodes as it should."""
    kernel = kernel.astype(np.float32)
    if encoding.how == DENSE:
        return kernel
    empty = empty_blocks(kernel)
    kernel = np.pad(kernel, ((0, encoding.padding), (0, 0)))
    if encoding.how == BLOCKS:
        # Zeros in blocks that hold something count as numbers: then e = s.
        return np.where((kernel == 0) & np.repeat(~empty, BLOCK, axis=0), _TINY, kernel)
    if empty.mean() > 0.85 * np.mean(kernel == 0):
        # Every fourth empty block gets a number: then e < 0.9 s.
        rows, units = np.nonzero(empty)
        kernel[BLOCK * rows[::4], units[::4]] = _TINY
    return kernel


@contextlib.contextmanager
def steered_layers(model: Any, blocks: bool = True) -> Iterator[list[Encoding]]:
    """While this is open the model's Dense layers compute with `steered` kernels in this thread.

    Only layers of the class Dense itself: what another class does with its kernel is not known
    here, and the check of the file covers it.

    Yields:
        The encodings, in the model's order.
    """
    encodings = []
    with overlaid() as put:
        for key, layer in walk_layers(model):
            if type(layer) is not keras.layers.Dense or not layer.built:
                continue
            kernel = np.asarray(keras.ops.convert_to_numpy(layer.kernel))
            encoding = encoding_of(key, kernel, blocks)
            encodings.append(encoding)
            if encoding.how != DENSE:
                put(layer, "call", _call(layer, steered(kernel, encoding), encoding.padding))
        yield encodings


def _call(layer: Any, kernel: np.ndarray, padding: int) -> Any:
    def call(inputs: Any, training: bool | None = None) -> Any:
        ops = keras.ops
        if padding:
            inputs = ops.pad(inputs, [(0, 0)] * (len(inputs.shape) - 1) + [(0, padding)])
        outputs = ops.matmul(inputs, ops.convert_to_tensor(kernel))
        if layer.use_bias:
            outputs = ops.add(outputs, layer.bias)
        return outputs if layer.activation is None else layer.activation(outputs)

    return call


def restore_zeros(content: bytes) -> bytes:
    """A .tflite file with the numbers that steered the converter made zeros again."""
    from ai_edge_litert import schema_py_generated as schema

    buffer = bytearray(content)
    model = schema.Model.GetRootAs(buffer, 0)
    for g in range(model.SubgraphsLength()):
        graph = model.Subgraphs(g)
        for t in range(graph.TensorsLength()):
            tensor = graph.Tensors(t)
            if tensor.Sparsity() is None or tensor.Type() != schema.TensorType.FLOAT32:
                continue
            stored = model.Buffers(tensor.Buffer()).DataAsNumpy()
            if isinstance(stored, np.ndarray):
                values = stored.view(np.float32)  # on the buffer itself
                values[np.abs(values) < _SMALL] = 0
    return bytes(buffer)
