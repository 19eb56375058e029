"""What schemes for transformers share: its rows of layers, and Xavier times a factor."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfinit.errors import InputError
from tfinit.graph.kernels import Kernel
from tfinit.graph.residual import Stream
from tfinit.schemes.engine.report import Report, records_of_set
from tfinit.schemes.engine.task import Task
from tfinit.schemes.variance import draw


def require_transformer(scheme: str, task: Task) -> list[Stream]:
    """The rows of residual additions of a model that attends; InputError if it is no transformer.

    A model without attention, and one without residual additions, are none.
    """
    if not (task.structure.attends and task.structure.streams):
        lacks = "residual additions" if task.structure.attends else "attention"
        raise InputError(
            f"Scheme {scheme!r} is for transformers, and the model has no {lacks}. For residual "
            'networks use "fixup" or "depth_scaled", for others "he" or "lsuv".'
        )
    return task.structure.streams


def layers_of(stream: Stream) -> float:
    """How many layers of a transformer a row has: of 2 additions, or 3 if it reads an encoder."""
    return stream.additions / (3 if stream.reads_another else 2)


def on_branches(task: Task, streams: list[Stream]) -> dict[str, Stream]:
    """The keys of the kernels on residual branches, but those of queries and keys → their row."""
    of_step = {step: stream for stream in streams for step in stream.steps}
    return {
        kernel.key: of_step[kernel.step]
        for kernel in task.kernels
        if kernel.step in of_step and not task.structure.makes_scores(kernel.layer)
    }


def width_of(task: Task) -> float:
    """How many channels the residual additions have: as many as what ends a branch puts out."""
    ends = [kernel for kernel in task.kernels if kernel.key in task.structure.branch_ends]
    return (ends or task.kernels)[-1].fan_out


def xavier_std(kernel: Kernel) -> float:
    """√(2 / (fan_in + fan_out))."""
    return math.sqrt(2 / (kernel.fan_in + kernel.fan_out))


def draw_each(
    task: Task,
    name: str,
    stds: Mapping[str, float],
    scales: Mapping[str, float],
    notes: Mapping[str, str],
    *more: str,
    distribution: str = "uniform",
) -> Report:
    """Draw each kernel with its standard deviation; embeddings are normal where others are uniform.

    Args:
        task: The model.
        name: The scheme's name.
        stds: Key → standard deviation, of every kernel.
        scales: Key → the factor that is in it; of some.
        notes: Key → what the report says of it; of some.
        *more: What it says of the model.
        distribution: As `draw` takes it.
    """
    chosen = [kernel for kernel in task.kernels if kernel.trainable]

    def value(kernel: Kernel, random: np.random.Generator) -> np.ndarray:
        of = "normal" if kernel.is_embedding and distribution == "uniform" else distribution
        return draw(kernel, [stds[kernel.key]] * len(kernel.activations), of, random)

    task.draw(chosen, value)

    def known(kernel: Kernel) -> dict[str, Any]:
        key = kernel.key
        return {"std": stds[key], "scale": scales.get(key), "note": notes.get(key, "")}

    return task.report(name, records_of_set(task.kernels, known), *more)
