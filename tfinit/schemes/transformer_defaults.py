"""What GPT-2 and BERT were drawn with: the defaults of most transformers since."""

import math

from tfinit.arguments import number
from tfinit.gains import CUT_STD
from tfinit.schemes.engine.registry import scheme
from tfinit.schemes.engine.report import Report
from tfinit.schemes.engine.task import Task
from tfinit.schemes.engine.transformers import draw_each, require_transformer
from tfinit.schemes.variance import set_biases


@scheme("GPT-2", fits="transformers")
def gpt2(task: Task, *, std: float = 0.02) -> Report:
    """N(0, std²), over √(2N) in the standard deviation of what ends a residual branch; biases 0.

    N is the number of layers, of two residual additions each. Embeddings of words and positions are
    N(0, std²), too. It is "depth_scaled" with the biases, and for transformers alone.

    A start for language models with the normalization first, from some hundred units on, with
    warm-up. 0.02 is Xavier's deviation at 768 units between as many and four times as many; for
    narrow models, of 64 units say, it is small, and "small_init" or "xavier" start faster.

    Args:
        task: A transformer.
        std: The standard deviation.

    Raises:
        InputError: the model has no attention, or no residual branches; ``std`` is not positive.

    Example:
        >>> i = keras.Input((6, 8))
        >>> x = keras.layers.add([i, keras.layers.MultiHeadAttention(2, 4, name="a")(i, i)])
        >>> x = keras.layers.add([x, keras.layers.Dense(8)(x)])
        >>> report = initialize(keras.Model(i, x), "gpt2", seed=1)
        >>> round(report["a/attention_output/kernel"].std, 4), report["a/query/kernel"].std
        (0.0141, 0.02)

    Radford et al., Language models are unsupervised multitask learners, 2019, section 2.3.
    """
    std = number("std", std, above=0)
    require_transformer("gpt2", task)
    additions, last = task.structure.additions, task.structure.branch_ends
    scales = {k.key: 1 / math.sqrt(additions) if k.key in last else 1.0 for k in task.kernels}
    set_biases(task, [kernel for kernel in task.kernels if kernel.trainable], 0.0)
    return draw_each(
        task,
        "gpt2",
        {key: std * scale for key, scale in scales.items()},
        scales,
        dict.fromkeys(last, "ends a residual branch"),
        f"{additions} residual additions",
        distribution="normal",
    )


@scheme("BERT", fits="transformers")
def bert(task: Task, *, std: float = 0.02) -> Report:
    """N(0, std²) cut at two standard deviations, for every kernel and embedding; biases 0.

    What is cut is not made up for: the deviation of the weights is 0.88 std, as in BERT's code.
    Also the start of vision transformers (DeiT, Swin). It sees neither widths nor depth: with the
    normalization behind the sum, as BERT has it, it needs warm-up. Any model has a place for it.

    Args:
        task: A model.
        std: The standard deviation before the cut.

    Raises:
        InputError: ``std`` is not positive.

    Example:
        >>> model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(64, name="fc")])
        >>> round(initialize(model, "bert", seed=1)["fc/kernel"].std, 4)
        0.0176

    Devlin, Chang, Lee & Toutanova, BERT: pre-training of deep bidirectional transformers, NAACL
    2019, and its code.
    """
    std = number("std", std, above=0)
    set_biases(task, [kernel for kernel in task.kernels if kernel.trainable], 0.0)
    stds = {kernel.key: std * CUT_STD for kernel in task.kernels}
    return draw_each(task, "bert", stds, {}, {}, distribution="truncated_normal")
