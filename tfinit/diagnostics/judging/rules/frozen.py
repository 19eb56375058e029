"""Rules about weights that do not train: everything, the head, a base that was never trained."""

import math
from collections.abc import Iterator

from tfinit.diagnostics.judging.cures import Cure
from tfinit.diagnostics.judging.evidence import Evidence, elsewhere
from tfinit.diagnostics.judging.findings import SEVERE, WARNING, Finding, Kind, rule

_MOST = 0.8  # of the frozen kernels
_BATCHES = 3  # batch normalizations from which it is a backbone's


@rule(Kind("frozen", fault="activation"), code="TFI120")
def _nothing_trains(evidence: Evidence) -> Iterator[Finding]:
    """All weights are frozen, so that training changes none of them, or only scales and biases.

    Why: `trainable = False` takes weights out of training. `fit` runs, the loss is printed, and
    nothing is learned. It happens when a model is frozen after a head was put on it, or when a
    layer that is shared with another model was frozen there.

    Evidence: no weight of the model is trainable, and it has targets or a compiled loss: severe.
    Where some are, but none of more than one axis (biases and scales of normalizations alone), a
    warning.

    Cure: `model.trainable = True`, then compile it again.

    Example:
        model.trainable = False; model.compile("adam", "mse"); model.fit(x, y)
    """
    settings, model = evidence.found.settings, evidence.found.structure.model
    if not (any(o.targets is not None for o in evidence.found.outputs) or _has_loss(model)):
        return
    trained = model.trainable_weights
    if not trained:
        yield evidence.finding(
            "frozen",
            SEVERE,
            "",
            f"All {settings.numbers:,} weights are frozen: training changes none of them.",
            Cure("Make it trainable, then compile it again:", "model.trainable = True"),
        )
    elif all(len(weight.shape) < 2 for weight in trained) and any(
        len(weight.shape) > 1 for weight in model.weights
    ):
        yield evidence.finding(
            "frozen",
            WARNING,
            "",
            f"Of {settings.numbers:,} weights {settings.trainable:,} train: biases and scales, and "
            "no kernel.",
            Cure(
                "If you did not mean that, make the last layer trainable, then compile again.", ""
            ),
        )


def _has_loss(model: object) -> bool:
    return bool(getattr(model, "compiled", False)) and getattr(model, "loss", None) is not None


@rule(Kind("frozen head", ("frozen",), fault="head"), code="TFI121")
def _frozen_head(evidence: Evidence) -> Iterator[Finding]:
    """The last layer is frozen while those before it train.

    Why: the last layer turns what the network has found into the answer. Frozen, it mixes its
    inputs by the numbers that it was drawn with, and its biases cannot follow the targets.

    Evidence: the last layer with a kernel has no trainable weight, and a layer right before it has.
    A discriminator that is frozen whole behind a generator is none.

    Cure: make that layer trainable, then compile the model again.

    Example:
        head = Dense(10, activation="softmax", trainable=False)
    """
    structure = evidence.found.structure
    kernels = {k.key: k for k in structure.kernels if not k.is_embedding}
    rows = {layer.key: layer for layer in evidence.kernels}
    for key in sorted(structure.outputs):
        name = key.rsplit("/", 1)[0]
        head = kernels.get(key)
        if head is None or name not in rows or head.layer.trainable_weights:
            continue
        before = [r for r in evidence.kernels if r.depth == rows[name].depth - 1]
        if any(w.trainable for row in before for w in row.weights):
            alone = "/" not in name
            code = f"model.get_layer({name!r}).trainable = True" if alone else ""
            words = "Make it trainable, then compile the model again"
            yield evidence.finding(
                "frozen head",
                WARNING,
                name,
                f"The last layer {name!r} is frozen, and the layers before it train: its "
                f"{sum(math.prod(w.shape) for w in head.layer.weights):,} weights stay as they "
                "were drawn or loaded.",
                Cure(f"{words}{':' if code else '.'}", code),
            )


@rule(Kind("untrained base", ("frozen",), fault="initial"), code="TFI122")
def _untrained_base(evidence: Evidence) -> Iterator[Finding]:
    """Frozen layers at the beginning that hold random numbers.

    Why: one freezes a base to keep what it has learned. A base that was built with weights=None, or
    whose weights were not loaded, has learned nothing: what the head sees are random features.

    Evidence: of the frozen kernels, 80% or more come before all that trains, have the deviation,
    mean and range that their initializers give, and biases of zero. A warning, as random features
    may be meant.

    Cure: load trained weights, as weights="imagenet", or make the layers trainable.

    Example:
        base = keras.applications.MobileNetV2(weights=None); base.trainable = False
    """
    structure = evidence.found.structure
    frozen = [k for k in structure.kernels if not k.trainable]
    fresh = evidence.found.settings.fresh
    if not evidence.found.structure.model.trainable_weights:
        return
    if fresh and len(fresh) >= _MOST * len(frozen):
        name = fresh[0].rsplit("/", 1)[0]
        yield evidence.finding(
            "untrained base",
            WARNING,
            name,
            f"{name!r} is frozen, and its weights are as its initializer draws them: nothing was "
            f"learned that could be kept.{elsewhere(fresh)}",
            Cure("Load trained weights into it before it is frozen, or let it train.", ""),
        )


@rule(Kind("base in training mode"), code="TFI123")
def _base_in_training_mode(evidence: Evidence) -> Iterator[Finding]:
    """Frozen layers whose batch normalizations still use, and change, the batch's statistics.

    Why: the kernels of a trained base fit the means and variances that its BatchNormalization
    layers have stored. In training mode these are replaced by those of each batch and slowly
    overwritten, so that the base is another one than was trained, and yet another when it is used.

    Evidence: three or more BatchNormalization layers that train, behind frozen kernels and none
    that trains. A warning.

    Cure: freeze them too (`base.trainable = False`), or call the base with training=False.

    Example:
        for layer in base.layers: layer.trainable = isinstance(layer, BatchNormalization)
    """
    moving = [n for n in evidence.found.settings.normalized if n.trains and n.behind_frozen]
    if len(moving) >= _BATCHES:
        norm = moving[0]
        yield evidence.finding(
            "base in training mode",
            WARNING,
            norm.key,
            f"{len(moving)} BatchNormalization layers behind frozen kernels, {norm.key!r} the "
            "first, take their means and variances from each batch, and store them.",
            Cure("Call the frozen base with training=False, or freeze these layers too.", ""),
        )
