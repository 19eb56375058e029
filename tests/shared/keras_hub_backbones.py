"""KerasHub's backbones, tiny, with random weights, as its users take them."""

from collections.abc import Callable
from typing import Any

import numpy as np

_TEXT = {"vocabulary_size": 29, "num_layers": 2, "hidden_dim": 16, "intermediate_dim": 24}
_HEADS = {"num_query_heads": 4, "num_key_value_heads": 2}
_SIZE = 32  # of images
_STEPS = 10  # of texts


def _mit(models: Any) -> Any:
    return models.MiTBackbone(
        layerwise_depths=[1, 1],
        num_layers=2,
        layerwise_num_heads=[1, 2],
        layerwise_sr_ratios=[2, 1],
        max_drop_path_rate=0.1,
        layerwise_patch_sizes=[7, 3],
        layerwise_strides=[4, 2],
        image_shape=(_SIZE, _SIZE, 3),
        hidden_dims=[16, 32],
    )


BACKBONES: dict[str, Callable[[Any], Any]] = {
    "Bert": lambda m: m.BertBackbone(**_TEXT, num_heads=4, max_sequence_length=12),
    "GPT2": lambda m: m.GPT2Backbone(**_TEXT, num_heads=4, max_sequence_length=12),
    "OPT": lambda m: m.OPTBackbone(**_TEXT, num_heads=4, max_sequence_length=12),
    "Llama": lambda m: m.LlamaBackbone(**_TEXT, **_HEADS),
    "Gemma": lambda m: m.GemmaBackbone(**_TEXT, **_HEADS, head_dim=4),
    "T5": lambda m: m.T5Backbone(**_TEXT, num_heads=4),
    "Bart": lambda m: m.BartBackbone(**_TEXT, num_heads=4, max_sequence_length=12),
    "Mixtral": lambda m: m.MixtralBackbone(**_TEXT, **_HEADS, num_experts=3),
    "ViT": lambda m: m.ViTBackbone(
        image_shape=(_SIZE, _SIZE, 3),
        patch_size=8,
        num_layers=2,
        num_heads=4,
        hidden_dim=16,
        mlp_dim=24,
    ),
    "Whisper": lambda m: m.WhisperBackbone(
        **_TEXT, num_heads=4, max_encoder_sequence_length=24, max_decoder_sequence_length=12
    ),
    "SegFormer": lambda m: m.SegFormerBackbone(image_encoder=_mit(m), projection_filters=16),
    "ResNet": lambda m: m.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 128],
        stackwise_num_blocks=[2, 2],
        stackwise_num_strides=[1, 2],
        block_type="basic_block",
        image_shape=(_SIZE, _SIZE, 3),
    ),
}
"""Name → a function of the module `keras_hub.models` that builds the backbone."""


def batch_for(model: Any, rows: int = 8, seed: int = 0) -> Any:
    """A batch as the backbone takes it: words, masks of ones, noise for images and sounds."""
    import keras

    random = np.random.default_rng(seed)

    def part(tensor: Any) -> np.ndarray:
        shape = [rows, *(n or _STEPS for n in tensor.shape[1:])]
        if "mask" in tensor.name:
            return np.ones(shape, "int32")
        if "segment" in tensor.name:
            return random.integers(0, 2, shape).astype("int32")
        if "int" in str(tensor.dtype):
            return random.integers(1, 29, shape).astype("int32")
        return random.standard_normal(shape).astype("float32")

    return keras.tree.map_structure(part, model.input)


NAMES = tuple(BACKBONES)


def backbone(name: str, rows: int = 2) -> tuple[Any, Any]:
    """A small backbone with random weights, and a batch for it."""
    import keras_hub

    model = BACKBONES[name](keras_hub.models)
    return model, batch_for(model, rows)
