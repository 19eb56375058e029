"""Tables of vectors, and heads that read the same table."""

import numpy as np

from tfinit.arguments import flag, number
from tfinit.errors import InputError
from tfinit.graph.kernels import Kernel
from tfinit.schemes.engine.registry import scheme
from tfinit.schemes.engine.report import Report, records_of_set
from tfinit.schemes.engine.task import Task


@scheme("Embeddings", fits="networks with embeddings")
def embeddings(task: Task, *, std: float | None = None, tied: bool | None = None) -> Report:
    """E ~ N(0, 1) in every table; N(0, 1/d) where the head reads the same table, of width d.

    A vector then has entries of variance 1, as what other layers read. A tied head has the logits
    E·h, of variance 1 for h of variance 1 with σ² = 1/d; of N(0, 1) they would be √d times as
    large, and the first loss many times log of the vocabulary. The vectors themselves are small
    then: multiply them by √d, as the Transformer does, or normalize them. The way back of a head
    with a table of its own has σ² = 1/d, too. With ``mask_zero`` row 0 becomes zeros: it stands
    for nothing.

    It helps where Keras's U(−0.05, 0.05) is far from what the network was made for: sums with
    signals of variance 1, tied heads. Behind a LayerNormalization the scale of a table changes how
    fast it learns only: the larger, the slower.

    Args:
        task: The model.
        std: One standard deviation for all tables in place of these (GPT-2 and BERT: 0.02).
        tied: Whether the head reads the table. None: so if a layer of the model is called the other
            way round, too, with ``tie_weights``. Where a product is written by hand it cannot be
            seen: say so.

    Returns:
        A record for each table. Other kernels are left.

    Raises:
        InputError: the model has no embedding that trains.

    Example:
        >>> table = keras.layers.ReversibleEmbedding(50, 4, name="words")
        >>> ids = keras.Input((None,), dtype="int32")
        >>> model = keras.Model(ids, table(table(ids), reverse=True))
        >>> initialize(model, "embeddings", seed=1)["words/embeddings"].std
        0.5

    Press & Wolf, Using the output embedding to improve language models, EACL 2017,
    https://arxiv.org/abs/1608.05859; Vaswani et al., Attention is all you need, 2017, section 3.4.
    """
    std, tied = number("std", std, above=0, none=True), flag("tied", tied, none=True)
    found = [kernel for kernel in task.kernels if kernel.is_embedding]
    chosen = [kernel for kernel in found if kernel.trainable]
    if not chosen:
        raise InputError(
            f"Scheme 'embeddings' is for Embedding layers, of which `model` {task.model.name!r} "
            "has none that trains."
        )
    reversed_layers = _read_in_reverse(task)

    def deviation(kernel: Kernel) -> float:
        if std is not None:
            return std
        back = kernel.name == "reverse_embeddings"
        shared = id(kernel.layer) in reversed_layers if tied is None else tied
        width = kernel.shape[0] if back else kernel.shape[-1]
        return width**-0.5 if back or shared else 1.0

    stds = {kernel.key: deviation(kernel) for kernel in chosen}

    def value(kernel: Kernel, random: np.random.Generator) -> np.ndarray:
        values = random.normal(0, stds[kernel.key], kernel.shape)
        if getattr(kernel.layer, "mask_zero", False) and kernel.name == "embeddings":
            values[0] = 0
        return values

    task.draw(chosen, value)
    records = records_of_set(
        found,
        lambda kernel: {
            "std": stds[kernel.key],
            "note": "tied to the head" if id(kernel.layer) in reversed_layers else "",
        },
    )
    return task.report("embeddings", records)


def _read_in_reverse(task: Task) -> set[int]:
    """The ids of the layers whose table is also read from vectors to words."""
    return {
        id(part)
        for index, step in enumerate(task.graph.steps)
        if task.graph.is_reverse(index)
        for part in [step.op, getattr(step.op, "token_embedding", None)]
        if getattr(part, "tie_weights", False)
    }
