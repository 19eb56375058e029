"""KerasHub's backbones, small and with random weights, and an input for each."""

from collections.abc import Callable
from typing import Any

import numpy as np


def _text(**more: Any) -> dict[str, Any]:
    ids = np.arange(16, dtype="int32").reshape(2, 8)
    return {"token_ids": ids, "padding_mask": (ids % 8 < 6).astype("int32"), **more}


def _pair() -> dict[str, Any]:
    text = _text()
    return {f"{side}_{name}": text[name] for side in ("encoder", "decoder") for name in text}


def _images() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("float32")


def _segformer(models: Any) -> Any:
    encoder = models.MiTBackbone(
        layerwise_depths=[1, 1],
        num_layers=2,
        layerwise_num_heads=[1, 2],
        layerwise_sr_ratios=[2, 1],
        max_drop_path_rate=0.1,
        layerwise_patch_sizes=[7, 3],
        layerwise_strides=[4, 2],
        image_shape=(32, 32, 3),
        hidden_dims=[8, 16],
    )
    return models.SegFormerBackbone(image_encoder=encoder, projection_filters=16)


def _resnet(models: Any) -> Any:
    return models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 16],
        stackwise_num_blocks=[2, 2],
        stackwise_num_strides=[1, 2],
        block_type="basic_block",
        image_shape=(32, 32, 3),
    )


def _whisper(models: Any) -> Any:
    return models.WhisperBackbone(
        *(50, 2, 2, 16, 32), max_encoder_sequence_length=16, max_decoder_sequence_length=8
    )


def _heard() -> dict[str, Any]:
    pair = _pair()
    del pair["encoder_token_ids"], pair["encoder_padding_mask"]
    features = np.random.default_rng(0).normal(size=(2, 16, 80)).astype("float32")
    return {"encoder_features": features, **pair}


# Vocabulary, layers, heads, width, width within: of all that are for text.
_SIZES = (50, 2, 2, 16, 32)
_BACKBONES: dict[str, tuple[Callable[[Any], Any], Callable[[], Any]]] = {
    "Bert": (
        lambda m: m.BertBackbone(*_SIZES, max_sequence_length=8),
        lambda: _text(segment_ids=np.zeros((2, 8), "int32")),
    ),
    "GPT2": (lambda m: m.GPT2Backbone(*_SIZES, max_sequence_length=8), _text),
    "OPT": (lambda m: m.OPTBackbone(*_SIZES, max_sequence_length=8), _text),
    "Llama": (lambda m: m.LlamaBackbone(*_SIZES, 1), _text),
    "Gemma": (lambda m: m.GemmaBackbone(50, 2, 2, 1, 16, 32, 8), _text),
    "T5": (lambda m: m.T5Backbone(*_SIZES), _pair),
    "Bart": (lambda m: m.BartBackbone(*_SIZES, max_sequence_length=8), _pair),
    "Mixtral": (lambda m: m.MixtralBackbone(*_SIZES, 1, num_experts=2, top_k=1), _text),
    "ViT": (lambda m: m.ViTBackbone((32, 32, 3), (8, 8), 2, 2, 16, 32), _images),
    "Whisper": (_whisper, _heard),
    "SegFormer": (_segformer, _images),
    "ResNet": (_resnet, _images),
}
NAMES = tuple(_BACKBONES)


def backbone(name: str) -> tuple[Any, Any]:
    """A small backbone with random weights, and a batch of two for it."""
    import keras_hub

    make, inputs = _BACKBONES[name]
    return make(keras_hub.models), inputs()
