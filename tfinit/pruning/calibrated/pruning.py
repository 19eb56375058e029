"""`prune_after_training`: weights removed by what calibration data show, layer by layer."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfinit import arguments
from tfinit.arguments import number, one_of
from tfinit.errors import InputError
from tfinit.graph.calling import check_data
from tfinit.graph.gradients import without_gradients
from tfinit.graph.snapshot import apart
from tfinit.pruning.calibrated.allocating import LEVELS, of_errors, of_scores
from tfinit.pruning.calibrated.kernels import Linear, find_linear
from tfinit.pruning.calibrated.layer_by_layer import UNSEEN, LayerByLayer
from tfinit.pruning.calibrated.names import ALLOCATIONS, BY_ERROR, SPARSEGPT, scores
from tfinit.pruning.calibrated.one_kernel import (
    Method,
    relative_error,
    weights_of,
)
from tfinit.pruning.calibrated.patterns import Structure, pattern_of
from tfinit.pruning.calibrated.result import AfterTraining, PrunedWeight, SkippedWeight
from tfinit.pruning.calibrated.writing import check_keras_3, write_all
from tfinit.pruning.channels.groups import Filters, check_filters
from tfinit.pruning.scoring.allocation import FORMER, Allocation, check_allocation
from tfinit.pruning.scoring.loss_gradients import values_of
from tfinit.pruning.scoring.scores import CALIBRATED, AnyScore, Score, check_score
from tfinit.pruning.scoring.sparsities import sparsities


def prune_after_training(
    model: Any,
    x: Any,
    sparsity: float | None = None,
    *,
    score: AnyScore = SPARSEGPT,
    structure: Structure = None,
    allocation: Allocation = "uniform",
    filters: Filters | None = None,
    damping: float = 0.01,
    seed: int = 0,
) -> AfterTraining:
    """Prune a trained model in place, by one pass of some examples, without training.

    The examples go through the model once. Where they reach a layer, its kernel is pruned by what
    enters it, and they go on through the pruned layer: each layer is pruned for what the pruned
    layers before it make. With the rows of X for what a kernel W is multiplied with (an example of
    Dense, a position and all that the window sees there of a convolution)::

        "sparsegpt"   the least of w_j² / U_jj², chosen for 128 inputs of all outputs at a time,
                      where UᵀU is the inverse of XᵀX + damping · mean(diag XᵀX) · I; the other
                      weights make up for it: `tfinit.pruning.calibrated.surgeon`
        "wanda"       the least of |w_j| · ‖x_j‖₂ of each output, j its inputs
        "magnitude"   the least of |w| of the whole kernel

    Pruned are the trainable kernels of Dense, EinsumDense (so queries, keys, values and outputs of
    attention) and convolutions, grouped and separable ones too, at any depth of any model; a
    depthwise kernel only where ``filters`` names its layer. Each group of a grouped convolution and
    each channel of a depthwise one is a matrix of its own. Embeddings, transposed convolutions,
    recurrent layers, layers with a ``call`` of your own and frozen ones are left, and told with the
    reason.

    Memory: beside the model's forward pass over all of ``x`` at once, the XᵀX of one layer (inputs²
    numbers, four times with SparseGPT), and the new weights. The linear algebra is NumPy's on the
    host, on every backend.

    What comes of odd data: a layer that is called several times (a shared one) is pruned at its
    first call, by the inputs of all its calls, for which the model is run once more. A layer that
    no data reach is left, with the reason; so is one whose calls are compiled into a loop. Inputs
    that are constant, always zero, or fewer than the inputs of a layer make XᵀX singular:
    ``damping`` makes up for it; a weight of an input that is always zero costs nothing and goes
    first, and where all inputs of a layer are zero SparseGPT goes by magnitude. NaN is refused.

    Args:
        model: A built model of Keras 3, trained. Its optimizer is left as it was: to train on with
            the zeros, compile it with `hold_zeros`.
        x: Calibration data as the model takes them: arrays, or a list or dictionary of them, a few
            hundred examples without targets.
        sparsity: The fraction of zeros, 0 or more and less than 1. None with a ``structure`` of
            n:m, which is half.
        score: ``"sparsegpt"``, ``"wanda"``, ``"magnitude"``, ``"random"``, a
            `tfinit.pruning.Score`, or a function of what it needs among weights, input_norms,
            random and generator, all of the weight's shape: ``lambda weights, input_norms:
            abs(weights) * input_norms**0.5``. It ranks the whole kernel, a `Score` with
            ``by_output`` each output.
        structure: None: any weights. ``"2:4"`` or ``"4:8"``: half of every 4 or 8 consecutive
            inputs of an output, which are channels at one place of the window; of a shorter last
            group as many stay as of the others, or all. (height, width), or ``"litert"``: blocks of
            so many inputs and outputs, by the mean score.
        allocation: How sparse each kernel becomes: ``"uniform"``, ``"erk"``, a mapping from key to
            sparsity (0 for others) or a function, see `tfinit.pruning.scoring.allocation`.
            ``"global"``: as sparse as it would be if the scores of all kernels, on the model as it
            is given and each over the mean of its kernel, were ranked together. ``"by error"``:
            such that the sum of the relative errors ``‖X(Ŵ − W)‖² / ‖XW‖²`` is least, measured on
            the given model for each kernel by itself, with the weights that survive as they are.
        filters: Names or paths of layers, or regular expressions that match them whole, of the only
            layers that are pruned.
        damping: What is added to the diagonal of XᵀX, in parts of its mean. More changes the
            weights less. The inverse is taken in float32, where that fails in float64.
        seed: Of what is random.

    Returns:
        The sparsity and the error of each weight, and what was skipped.

    Raises:
        InputError: an argument is wrong, the data do not fit or are not finite, a weight or what
            enters a layer is not, XᵀX has no inverse with this ``damping``, or there is nothing to
            prune. The model is as it was.

    Example:
        >>> fc = keras.layers.Dense(1, use_bias=False, name="fc")
        >>> model = keras.Sequential([keras.Input((2,)), fc])
        >>> model.set_weights([np.array([[2.0], [1.0]])])
        >>> x = np.array([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])  # one input twice
        >>> prune_after_training(model, x, 0.5, damping=1e-4).sparsity
        0.5
        >>> fc.kernel.numpy().round(3).tolist()
        [[0.0], [3.0]]

    References:
        Frantar & Alistarh, *SparseGPT: Massive Language Models Can Be Accurately Pruned in
        One-Shot*, 2023, https://arxiv.org/abs/2301.00774. Sun et al., *A Simple and Effective
        Pruning Approach for Large Language Models* (Wanda), 2023, https://arxiv.org/abs/2306.11695.
    """
    check_keras_3("model", model)
    pattern = pattern_of(structure)
    sparsity = _check_sparsity(sparsity, structure if pattern.n_m else None)
    method = Method(
        check_calibrated_score(score),
        pattern,
        number("damping", damping, least=0),
        arguments.seed("seed", seed),
    )
    patterns = check_filters(filters)
    by_error = isinstance(allocation, str) and allocation == BY_ERROR
    if isinstance(allocation, str) and not by_error and allocation not in FORMER:
        one_of("allocation", allocation, ALLOCATIONS)
    kernels, skipped = find_linear(model, patterns)
    if not by_error:
        allocation = check_allocation(allocation, [kernel.key for kernel in kernels])
    if pattern.n_m and allocation != "uniform":
        raise InputError(
            f"`structure` {structure!r} prunes half of every weight, and does not ask "
            f"`allocation`, {allocation!r}. Leave one of them out."
        )
    data = check_data(model, x)
    check_some(model, kernels, skipped)
    with apart(model), without_gradients():
        run = _Run(model, data, kernels, method)
        reached = run.reached()
        if reached:
            run.prune(run.allocated(allocation, sparsity, reached))
    skipped += [SkippedWeight(k.key, UNSEEN) for k in kernels if k.key not in run.values]
    done = [kernel for kernel in kernels if kernel.key in run.values]
    check_some(model, done, skipped)
    write_all(model, [(kernel.variable, run.values[kernel.key]) for kernel in done])
    shown = structure if structure is None or isinstance(structure, str) else pattern.block
    return AfterTraining(method.name, shown, tuple(run.records), tuple(skipped))


class _Run(LayerByLayer):
    """Kernels pruned, each where the data first reach it.

    Attributes:
        records: What was pruned, in the order in which the data came there.
        values: Key → its new values.
    """

    def __init__(self, model: Any, data: Any, kernels: list[Linear], method: Method) -> None:
        super().__init__(model, data, kernels)
        self._method = method
        self.records: list[PrunedWeight] = []
        self.values: dict[str, np.ndarray] = {}

    def allocated(
        self, allocation: Any, sparsity: float, kernels: list[Linear]
    ) -> Mapping[str, float]:
        """The sparsity of each kernel."""
        shapes = {kernel.key: kernel.shape for kernel in kernels}
        if allocation == "uniform":
            return dict.fromkeys(shapes, sparsity)
        if allocation not in ("global", BY_ERROR) or not isinstance(allocation, str):
            return {k: float(s) for k, s in sparsities(allocation, sparsity, shapes).items()}
        scores: dict[str, np.ndarray] = {}
        errors: dict[str, list[float]] = {}

        def measure(kernel: Linear, moments: np.ndarray, count: int) -> None:
            found = self._method.scores(kernel, moments)
            if allocation == "global":
                scores[kernel.key] = found
                return
            weights = kernel.maps(weights_of(kernel)).astype(moments.dtype, copy=False)
            errors[kernel.key] = [
                relative_error(
                    moments, weights, np.where(self._method.mask(kernel, found, s), weights, 0)
                )
                for s in LEVELS
            ]

        self.through(measure)
        if allocation == "global":
            return of_scores(scores, sparsity)
        return of_errors(errors, {k: math.prod(shape) for k, shape in shapes.items()}, sparsity)

    def prune(self, targets: Mapping[str, float]) -> None:
        """Prune each kernel where the data first reach it."""

        def prune(kernel: Linear, moments: np.ndarray, count: int) -> None:
            target = targets[kernel.key]
            weights = kernel.maps(weights_of(kernel)).astype(moments.dtype, copy=False)
            changed, kept = self._method.pruned(kernel, moments, target)
            masked = np.where(kept, weights, 0)
            kernel.variable.assign(kernel.kernel(changed))
            stored = values_of(kernel.variable)
            if not np.isfinite(stored).all():
                raise InputError(
                    f"The weights of {kernel.key!r} would not be finite in {kernel.variable.dtype}:"
                    f" its inputs depend on each other. Raise `damping`, {self._method.damping:g}."
                )
            self.values[kernel.key] = stored
            self.records.append(
                PrunedWeight(
                    kernel.key,
                    kernel.shape,
                    target,
                    float(np.mean(stored == 0)),
                    relative_error(moments, weights, masked),
                    relative_error(moments, weights, kernel.maps(stored).astype(moments.dtype)),
                    count,
                )
            )

        self.through(prune)


def _check_sparsity(sparsity: Any, half: Any) -> float:
    if half is None:
        cure = "It is the fraction of zeros: 0.5 leaves one weight in two."
        return number("sparsity", sparsity, least=0, below=1, cure=cure)
    if number("sparsity", sparsity, least=0, below=1, none=True) not in (None, 0.5):
        raise InputError(
            f"`structure` {half!r} prunes half of the weights, `sparsity` is {sparsity}. Leave one "
            "of them out."
        )
    return 0.5


def check_calibrated_score(score: Any) -> Score | None:
    """The score, checked; None for SparseGPT."""
    if isinstance(score, str) and score == SPARSEGPT:
        return None
    if isinstance(score, str):
        one_of("score", score, scores())
    return check_score(score, CALIBRATED)


def check_some(model: Any, kernels: list[Linear], skipped: list[SkippedWeight]) -> None:
    """InputError, with the reasons, where there is no kernel to prune."""
    if not kernels:
        told = "; ".join(f"{one.key}: {one.reason}" for one in skipped[:5])
        raise InputError(
            f"`model` {model.name!r} has nothing to prune{': ' if told else ''}{told}. Unfreeze a "
            "layer, or look at `filters`."
        )
