"""Wanda and SparseGPT as the papers write them, in NumPy and float64, and the rows of any layer.

Nothing here is fast. The inverse of the Hessian of the inputs that are left is computed anew for
each input, and what a layer multiplies its weights with is found by calling it: with a kernel that
is 1 in one entry and 0 elsewhere, its output is what that entry is multiplied with.
"""

import itertools

import keras
import numpy as np


def maps_of(layer, shape):
    """The entries of a kernel: for each map and each of its outputs those of its inputs."""
    axes = range(len(shape))
    if hasattr(layer, "equation"):
        inputs, rest = layer.equation.split(",")
        kernel, output = rest.split("->")
        letters = [
            "e" if a in inputs and a in output else "o" if a in output else "i" for a in kernel
        ]
    elif isinstance(layer, keras.layers.DepthwiseConv2D):
        letters = [*"ii", "e", "o"]
    else:
        letters = ["o" if axis == len(shape) - 1 else "i" for axis in axes]
    of = {kind: [axis for axis in axes if letters[axis] == kind] for kind in "eio"}
    every = {kind: list(itertools.product(*(range(shape[a]) for a in of[kind]))) for kind in "eio"}

    def entry(e, i, o):
        placed = dict(zip((*of["e"], *of["i"], *of["o"]), (*e, *i, *o), strict=True))
        return tuple(placed[axis] for axis in axes)

    found = [[[entry(e, i, o) for i in every["i"]] for o in every["o"]] for e in every["e"]]
    groups = getattr(layer, "groups", 1)
    if groups == 1:
        return found
    size = len(found[0]) // groups
    return [found[0][g * size : (g + 1) * size] for g in range(groups)]


def rows_by_calls(layer, x, entries):
    """What some entries of the kernel are multiplied with: (rows, entries), some rows zero."""
    variable, columns = layer.kernel, []
    before = keras.ops.convert_to_numpy(variable)
    for entry in entries:
        one = np.zeros(tuple(variable.shape), "float32")
        one[entry] = 1
        variable.assign(one)
        columns.append(keras.ops.convert_to_numpy(layer(x)).astype("float64").ravel())
    variable.assign(before)
    return np.stack(columns, axis=1)


def kept_number(size, sparsity):
    return max(1, round(size * (1 - sparsity)))


def kept(costs, number):
    """Which of some costs are the `number` largest."""
    mask = np.zeros(costs.size, bool)
    mask[np.argsort(-costs.ravel(), kind="stable")[:number]] = True
    return mask.reshape(costs.shape)


def wanda(weights, x, sparsity, n_m=None):
    """Sun et al. 2023, (1): |w| · ‖x‖₂, compared in each output. Weights are (inputs, outputs)."""
    scores = np.abs(weights) * np.linalg.norm(x, axis=0)[:, None]
    made = np.zeros_like(weights)
    for output in range(weights.shape[1]):
        if n_m is None:
            mask = kept(scores[:, output], kept_number(len(weights), sparsity))
        else:
            parts = [scores[a : a + n_m[1], output] for a in range(0, len(weights), n_m[1])]
            mask = np.concatenate([kept(part, n_m[1] - n_m[0]) for part in parts])
        made[:, output] = np.where(mask, weights[:, output], 0)
    return made


def sparsegpt(weights, x, sparsity, damping=0.01, n_m=None, columns=128):
    """Frantar & Alistarh 2023, algorithm 1, each step as the optimal brain surgeon takes it.

    w_j costs w_j² / [H⁻¹]_jj, others change by −w_j / [H⁻¹]_jj · H⁻¹_:j; H: of inputs from j on.
    """
    w = weights.astype("float64").copy()
    hessian = 2 * x.T @ x
    hessian += damping * np.mean(np.diag(hessian)) * np.eye(len(w))
    inverses = [np.linalg.inv(hessian[j:, j:]) for j in range(len(w))]
    diagonal = np.array([inverse[0, 0] for inverse in inverses])
    mask = np.ones(w.shape, bool)
    together = columns if n_m is None else n_m[1]
    for j in range(len(w)):
        if j % together == 0:
            part = slice(j, j + together)
            costs = w[part] ** 2 / diagonal[part, None]
            if n_m is None:
                mask[part] = kept(costs, kept_number(costs.size, sparsity))
            else:
                mask[part] = np.stack([kept(c, n_m[1] - n_m[0]) for c in costs.T], axis=1)
        error = np.where(mask[j], 0, w[j]) / diagonal[j]
        w[j:] -= inverses[j][:, :1] * error
        w[j] = np.where(mask[j], w[j], 0)
    return w


def pruned(layer, x, by, **options):
    """The kernel of a layer, pruned by one of the two: map by map."""
    kernel = keras.ops.convert_to_numpy(layer.kernel).astype("float64")
    made = np.zeros_like(kernel)
    for outputs in maps_of(layer, kernel.shape):
        rows = rows_by_calls(layer, x, outputs[0])
        matrix = np.array([[kernel[entry] for entry in inputs] for inputs in outputs]).T
        found = by(matrix, rows, **options)
        for output, inputs in enumerate(outputs):
            for row, entry in enumerate(inputs):
                made[entry] = found[row, output]
    return made
