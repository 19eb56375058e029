"""Rules about the inputs: what they hold, and whether the network can see it."""

from collections.abc import Iterator

import numpy as np

from tfinit.diagnostics.judging.cures import Cure
from tfinit.diagnostics.judging.evidence import Evidence
from tfinit.diagnostics.judging.findings import NOTE, SEVERE, WARNING, Finding, Kind, rule
from tfinit.graph.layer_kinds import kind_of

_FEW, _MANY = 8, 64  # examples that may be alike by chance, and that are not
_COLUMNS = 256  # of a table: longer rows are words or pixels, of which many are the same
# Images that are scaled, and that are not; what backbones take.
_UNIT, _PIXELS = 2.0, 20.0
_RANGES = {
    "pixels": "pixels from 0 to 255",
    "unit": "about -1 to 1",
    "bgr": "pixels less their mean, about -124 to 152",
}
_COLOURS, _SIDE = (1, 3, 4), 16  # entries of an image's axes


@rule(Kind("missing inputs", fault="inputs"), code="TFI060")
def _missing_inputs(evidence: Evidence) -> Iterator[Finding]:
    """Inputs that are NaN or infinite.

    Why: A unit that sums a NaN is NaN, so is all that follows, the loss and its gradient; after
    the first step all weights are NaN.

    Evidence: The count of inputs that are not finite. Severe where the network's outputs are not
    finite for them; a network that masks or replaces them itself is left alone.

    Cure: Replace the values before training, or leave these examples out.

    Example:
        x = frame.to_numpy()  # empty cells of a table are NaN
        model.fit(x, y)
    """
    for n, array in enumerate(evidence.found.given):
        if n not in evidence.found.filled:
            continue
        lost = int(array.size - np.count_nonzero(np.isfinite(array)))
        rows = ~np.isfinite(array.reshape(len(array), -1)).all(1)
        yield evidence.finding(
            "missing inputs",
            SEVERE,
            "",
            f"{lost:,} of {array.size:,} numbers{_of(evidence, n)} are NaN or infinite, in "
            f"{np.count_nonzero(rows):,} of {len(array):,} examples: all that the network makes of "
            "these is NaN, and after one step every weight.",
            Cure("Replace them, for one by 0, which is the mean of standardized inputs:", _REPLACE),
        )


_REPLACE = "x = numpy.nan_to_num(x, nan=0.0, posinf=0.0, neginf=0.0)"


@rule(Kind("ids out of range", fault="inputs"), code="TFI061")
def _ids_out_of_range(evidence: Evidence) -> Iterator[Finding]:
    """Ids for which an Embedding has no row.

    Why: An Embedding looks up the row of each id. Beyond its table TensorFlow stops with an error
    on the CPU; elsewhere such ids get zeros, NaN or another id's row without a word.

    Evidence: For each Embedding that reads an input: the smallest and the largest id against its
    `input_dim`. Severe where one is below 0 or not below `input_dim`.

    Cure: Give the Embedding an `input_dim` of the largest id plus 1, the ids of padding and of
    unknown words included.

    Example:
        model.add(Embedding(input_dim=10000, output_dim=32))
        tokens = tokenizer.texts_to_sequences(texts)  # num_words is not set: ids up to 88000
    """
    for lookup in evidence.found.lookups:
        ids = evidence.found.given[lookup.input].ravel()[lookup.places]
        ids = ids[np.isfinite(ids)] if ids.dtype.kind == "f" else ids
        if ids.size == 0 or (ids.min() > -1 and ids.max() < lookup.rows):
            continue
        beyond = int(np.count_nonzero((ids <= -1) | (ids >= lookup.rows)))
        most = int(ids.max())
        words = (
            f"Give {lookup.key!r} an input_dim of {most + 1:,} or more: of the largest id of all "
            "your data plus 1."
            if ids.min() > -1
            else "Number the ids from 0 on."
        )
        yield evidence.finding(
            "ids out of range",
            SEVERE,
            lookup.key,
            f"{beyond:,} of the {ids.size:,} ids that {lookup.key!r} looks up are not in its table "
            f"of {lookup.rows:,} rows: they go from {ids.min():g} to {ids.max():g}.",
            Cure(words, ""),
        )


@rule(Kind("examples alike", fault="inputs"), code="TFI065")
def _examples_alike(evidence: Evidence) -> Iterator[Finding]:
    """Examples that are all the same.

    Why: From equal inputs a network makes equal outputs. The best it can do is to give the mean of
    the targets, whatever these are.

    Evidence: Whether any two of 8 examples or more differ in any input. Severe where their targets
    differ; else a note, as such a batch may have been made up to try the network.

    Cure: Look at how the inputs are made: a loop that stores one example again and again, a column
    that was selected by mistake, an array that was never filled.

    Example:
        x = numpy.zeros((1000, 20))  # and never filled
    """
    looked_at = evidence.found.looked_at
    if not looked_at or evidence.found.examples < _FEW or not all(g.alike for g in looked_at):
        return
    targets = [t for t in (output.targets for output in evidence.found.outputs) if t is not None]
    differ = any(np.any(part[1:] != part[:1]) for part in targets)
    yield evidence.finding(
        "examples alike",
        SEVERE if differ else NOTE,
        "",
        f"All {evidence.found.examples:,} examples are the same"
        f"{', and their targets differ' if differ else ''}: the network cannot tell them apart.",
        Cure("Look at how the inputs are made; x[0] and x[1] are to differ.", ""),
    )


@rule(Kind("idle columns", fault="inputs"), code="TFI066")
def _idle_columns(evidence: Evidence) -> Iterator[Finding]:
    """Columns of a table that are constant, or the same as another.

    Why: A column that is the same for all examples is one more bias, and two equal columns count
    twice. Networks learn all the same; but an id, or a column that was filled with one value, is
    often a mistake made before.

    Evidence: Columns without any difference over 64 examples or more that are not 0, and pairs of
    equal columns, in tables of at most 256 columns. A note.

    Cure: Leave them out, or look at how they are made.

    Example:
        frame["country"] = "NZ"
    """
    for n, given in enumerate(evidence.found.looked_at):
        if not given.stds.size or given.stds.size > _COLUMNS or given.shape[0] < _MANY:
            continue
        if given.alike or n in {lookup.input for lookup in evidence.found.lookups}:
            continue
        constant = np.flatnonzero((given.stds == 0) & (given.means != 0))
        if not constant.size and not given.copies:
            continue
        first = (f"column {c} is {given.means[c]:.3g} for all" for c in constant[:1])
        told = [*first, *(f"columns {a} and {b} are the same" for a, b in given.copies[:1])]
        more = constant.size + len(given.copies) - len(told)
        yield evidence.finding(
            "idle columns",
            NOTE,
            "",
            f"Of {given.stds.size} columns{_of(evidence, n)}, {' and '.join(told)}"
            f"{f'; {more} more are such' if more else ''}.",
            Cure("Leave them out if they are no mistake.", ""),
        )


@rule(Kind("channel order", fault="inputs"), code="TFI067")
def _channel_order(evidence: Evidence) -> Iterator[Finding]:
    """Images whose colours are on another axis than the convolution takes them from.

    Why: Keras takes images as (height, width, colours), PyTorch as (colours, height, width). A
    convolution over the wrong axes slides over colours and mixes columns: it runs, but learns
    badly.

    Evidence: Images of equal height and width, 16 or more, with 1, 3 or 4 entries on the other
    axis, and the `data_format` of the convolution that reads them. A warning.

    Cure: Move the axis, and build the network for that shape.

    Example:
        model = keras.Sequential([keras.Input((3, 32, 32)), keras.layers.Conv2D(16, 3)])
    """
    graph = evidence.found.structure.graph
    readers = graph.readers()
    for n, given in enumerate(evidence.found.looked_at):
        if len(given.shape) != 4 or n >= len(graph.inputs):
            continue
        _, first, middle, last = given.shape
        wrong = {
            "channels_last": first in _COLOURS and middle == last >= _SIDE,
            "channels_first": last in _COLOURS and first == middle >= _SIDE,
        }
        for index in readers.get(graph.inputs[n], []):
            step = graph.steps[index]
            order = getattr(step.op, "data_format", "")
            if not (kind_of(step.op).convolution and wrong.get(order)):
                continue
            axes = "0, 2, 3, 1" if order == "channels_last" else "0, 3, 1, 2"
            yield evidence.finding(
                "channel order",
                WARNING,
                step.key,
                f"The images{_of(evidence, n)} have shape {given.shape[1:]}; {step.key!r} takes "
                f"the colours from the {'last' if order == 'channels_last' else 'first'} axis.",
                Cure(
                    f"Pass x.transpose({axes}), and build the network for images of that shape.", ""
                ),
            )


@rule(Kind("wrong preprocessing", fault="inputs"), code="TFI068")
def _wrong_preprocessing(evidence: Evidence) -> Iterator[Finding]:
    """Images in another range than the pretrained backbone was trained on.

    Why: The weights of a network of `keras.applications` are for pixels in the range that it was
    trained on. EfficientNet divides by 255 itself: of images from 0 to 1 it sees black ones. A
    MobileNet that gets 0 to 255 for -1 to 1 is saturated everywhere. What comes out is nearly the
    same for all images.

    Evidence: The smallest and the largest number that enters the backbone, which is known by its
    name. Where it takes pixels up to 255: numbers of at most 2; where it takes -1 to 1: numbers
    above 20. Severe if the backbone is frozen, else a warning. Freshly drawn weights take any
    range.

    Cure: Use the `preprocess_input` of the backbone's own module, once, on pixels from 0 to 255.

    Example:
        base = keras.applications.EfficientNetB0(include_top=False)
        model = keras.Sequential([keras.layers.Rescaling(1 / 255), base, ...])
    """
    if evidence.found.drawn:
        return
    for base in evidence.found.backbones:
        dark = base.takes != "unit" and base.high <= _UNIT and base.low >= -_UNIT
        bright = base.takes == "unit" and base.high > _PIXELS
        if not dark and not bright:
            continue
        own = f"keras.applications.{base.module}.preprocess_input(x)"
        words = (
            "It scales them itself: pass pixels from 0 to 255, and leave out what scales them "
            "before."
            if base.takes == "pixels"
            else f"Pass x = {own} of pixels from 0 to 255, and leave out what scales them besides."
        )
        yield evidence.finding(
            "wrong preprocessing",
            SEVERE if base.frozen else WARNING,
            base.name,
            f"What enters {base.name!r} goes from {base.low:.3g} to {base.high:.3g}; its weights "
            f"are for {_RANGES[base.takes]}.",
            Cure(words, ""),
        )


def _of(evidence: Evidence, n: int) -> str:
    """Which input is meant, where there are several."""
    return f" of input {n + 1}" if len(evidence.found.given) > 1 else " in the inputs"
