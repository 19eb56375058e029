"""Rules about the inputs: what they hold, and whether the network can see it."""

from collections.abc import Iterator

import numpy as np

from tfinit.diagnostics.judging.cures import Cure
from tfinit.diagnostics.judging.evidence import Evidence
from tfinit.diagnostics.judging.findings import SEVERE, Finding, Kind, rule


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


def _of(evidence: Evidence, n: int) -> str:
    """Which input is meant, where there are several."""
    return f" of input {n + 1}" if len(evidence.found.given) > 1 else " in the inputs"
