"""`compact` on KerasHub's backbones: functional models of classes of their own.

Three of them here; all twelve by ``scripts/keras_hub_table.py``.
"""

import keras
import numpy as np
import pytest
from channel_cuts import fill, free_groups, masked_and_cut
from keras_hub_backbones import BACKBONES, batch_for

from tfinit.graph.channels import follow
from tfinit.pruning import channel_plan, compact


@pytest.fixture(scope="module")
def models():
    return pytest.importorskip("keras_hub").models


def same_outputs(model, new):
    given = batch_for(model, rows=2)
    one, two = (keras.tree.flatten(m(given, training=False)) for m in (model, new))
    return len(one) == len(two) and all(
        np.abs(np.array(a) - np.array(b)).max() <= 1e-5 * np.abs(np.array(a)).max() > 0
        for a, b in zip(one, two, strict=True)
    )


def test_a_backbone_of_layers_that_cannot_be_opened_is_copied_by_its_class(models):
    model = BACKBONES["Gemma"](models)
    result = compact(model)
    assert type(result.model) is type(model)
    assert result.removed == {} and result.notes == ()
    assert {kept.layer for kept in result.kept} >= {"decoder_block_0", "decoder_block_1"}
    assert [x.name for x in result.model.layers] == [x.name for x in model.layers]
    assert same_outputs(model, result.model)


@pytest.mark.parametrize(
    "name, sizes, barriers",
    [
        ("Bert", [24, 24], set()),
        ("OPT", [24, 24], set()),
        ("ViT", [24], {"vit_patching_and_embedding"}),  # one width for all its blocks
    ],
)
def test_half_of_the_feed_forward_widths_of_whole_blocks_is_cut(models, name, sizes, barriers):
    model = BACKBONES[name](models)
    fill(model)
    assert [group.size for group in free_groups(model)] == sizes
    new, gone = masked_and_cut(model)
    assert gone == [size // 2 for size in sizes] and set(follow(model).barriers) == barriers
    assert new.count_params() < model.count_params()
    assert same_outputs(model, new)


def test_heads_of_whole_blocks_are_listed_with_the_reason_why_they_stay(models):
    plan = channel_plan(BACKBONES["Bert"](models), target={"channels": 0.5}, round_to=1)
    reasons = {one.path: one.reason for one in plan.skipped}
    for block in ("transformer_layer_0", "transformer_layer_1"):
        assert "hidden width / heads" in reasons[f"{block}/num_heads"]
    assert [group.channels for group in plan.groups] == [24, 24]


def test_a_block_that_cannot_be_made_again_stays_whole(models):
    result = compact(BACKBONES["Llama"](models))
    reasons = {kept.layer: kept.reason for kept in result.kept}
    assert "cannot be made again from its get_config()" in reasons["transformer_layer_0"]


def test_dead_filters_of_a_resnet_go(models):
    model = BACKBONES["ResNet"](models)
    conv = model.get_layer("stack0_block0_1_conv")
    kernel = keras.ops.convert_to_numpy(conv.kernel).copy()
    kernel[..., :10] = 0
    conv.kernel.assign(kernel)
    result = compact(model)
    assert {name: tuple(x) for name, x in result.removed.items()} == {
        "stack0_block0_1_conv": (10, 64)
    }
    # A filter has 3·3 weights for each of 64 inputs, 4 of BatchNormalization, 3·3 for each reader.
    assert result.parameters_before - result.parameters == 10 * (64 * 9 + 4 + 64 * 9)
    assert [x.name for x in result.model.layers] == [x.name for x in model.layers]
    assert "its class ResNetBackbone makes its layers itself" in result.notes[0]
    assert same_outputs(model, result.model)


def test_a_backbone_inside_stays_while_its_head_shrinks(models):
    vit = BACKBONES["ViT"](models)
    image = keras.Input((32, 32, 3))
    hidden = keras.layers.Dense(4, "relu", name="hidden")
    x = hidden(keras.layers.GlobalAveragePooling1D()(vit(image)))
    model = keras.Model(image, keras.layers.Dense(2, name="out")(x))
    kernel, bias = hidden.get_weights()
    kernel[:, 1] = 0
    hidden.set_weights([kernel, bias])
    result = compact(model)
    assert {name: tuple(x) for name, x in result.removed.items()} == {"hidden": (1, 4)}
    assert type(result.model.get_layer(vit.name)) is type(vit)
    assert same_outputs(model, result.model)
