"""Tickets of whole channels: what is masked, counted and chosen, and what a control makes of it."""

import json
import re
from pathlib import Path

import keras
import numpy as np
import pytest
from bare_runs import run
from keras import ops

from tfinit import datasets
from tfinit.errors import InputError
from tfinit.lottery import LotteryConfig, Ticket, load
from tfinit.lottery.counts import ends_early, next_counts
from tfinit.lottery.structures import WholeChannels
from tfinit.pruning import compact
from tfinit.pruning.scoring.before_training import snip
from tfinit.variables import prunable_weights

NOISE = np.random.default_rng(0).random((2, 40, 4, 4, 2), np.float32)
DATA = datasets.from_arrays(*((x, np.arange(40) % 2) for x in NOISE), name="noise")
CONTROLS = ("reinit", "shuffle", "one-shot", "fine-tune")


def build_model(seed=0):
    """A convolution and its residual branch, normalized: 8 channels. Dense: 10 units."""
    keras.utils.set_random_seed(seed)
    layers = keras.layers
    given = keras.Input((4, 4, 2))
    x = layers.Conv2D(8, 3, padding="same", use_bias=False, name="c1")(given)
    x = layers.ReLU()(layers.BatchNormalization(name="bn")(x))
    x = layers.Add()([x, layers.DepthwiseConv2D(3, padding="same", name="dw")(x)])
    x = layers.Add()([x, layers.Conv2D(8, 1, name="c2")(x)])
    x = layers.Dense(10, "relu", name="fc")(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(given, layers.Dense(2, name="out")(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), loss, metrics=["accuracy"])
    return model


def config(directory, **changes):
    settings = {
        **{"levels": 2, "prune_fraction": 0.3, "steps": 4, "evaluate_every": 4, "batch_size": 8},
        **{"seeds": (0,), "structure": "channels", "allocation": "global"},
        **{"controls": CONTROLS, "run_dir": directory},
    }
    return LotteryConfig(**settings | changes)


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return tmp_path_factory.mktemp("run") / "r"


@pytest.fixture(scope="module")
def results(directory):
    return run(config(directory), data=DATA, build_model=build_model)


def channels_of(mask):
    """By hand: the channels of both groups that a mask leaves something of."""
    return mask["c1/kernel"].any(axis=(0, 1, 2)), mask["fc/kernel"].any(axis=0)


def masks_of(first, second):
    """By hand: the masks of all kernels, of the channels that stay."""
    return {
        "c1/kernel": np.broadcast_to(first, (3, 3, 2, 8)),
        "c2/kernel": np.outer(first, first)[None, None],
        "fc/kernel": np.outer(first, second),
        "out/kernel": np.broadcast_to(second[:, None], (10, 2)),
    }


def test_masks_are_of_whole_channels_as_many_as_the_fraction_says(results):
    # 18 channels: 18 - round(5.4) = 13, 13 - round(3.9) = 9.
    for result in results:
        first, second = channels_of(result.mask)
        assert first.sum() + second.sum() == {0: 18, 1: 13, 2: 9}[result.level]
        assert first.any() and second.any()
        expected = masks_of(first, second)
        assert result.mask.keys() == expected.keys()
        for key, mask in result.mask.items():
            np.testing.assert_array_equal(mask, expected[key])
        assert result.survivors == sum(int(mask.sum()) for mask in expected.values())


def test_those_of_the_smallest_sums_of_their_group_go(results):
    tickets = {r.level: r for r in results if r.branch == "ticket"}
    for level in (0, 1):
        before = tickets[level]
        w = {key: np.abs(before.final[key].astype("float64")) for key in before.mask}
        c2 = w["c2/kernel"][0, 0]
        first = w["c1/kernel"].sum(axis=(0, 1, 2)) + c2.sum(axis=0) + c2.sum(axis=1)
        first += w["fc/kernel"].sum(axis=1)
        second = w["fc/kernel"].sum(axis=0) + w["out/kernel"].sum(axis=1)
        shares = np.concatenate([first / first.mean(), second / second.mean()])
        alive = np.concatenate(channels_of(before.mask))
        after = np.concatenate(channels_of(tickets[level + 1].mask))
        assert not (after & ~alive).any()
        assert shares[alive & ~after].max() <= shares[after].min()


def test_controls_work_on_the_channels(results):
    by_name = {(r.branch, r.level): r for r in results}
    for level in (1, 2):
        ticket = by_name["ticket", level]
        for key, mask in by_name["reinit", level].mask.items():
            np.testing.assert_array_equal(mask, ticket.mask[key])
        shuffled = by_name["shuffle", level]
        assert shuffled.alive == ticket.alive
        pairs = zip(channels_of(shuffled.mask), channels_of(ticket.mask), strict=True)
        assert any((a != b).any() for a, b in pairs)
    for branch in ("one-shot", "fine-tune"):
        assert sum(map(np.sum, channels_of(by_name[branch, 2].mask))) == 9


def test_what_is_pruned_stays_zero(results):
    for result in results:
        for key, mask in result.mask.items():
            assert not result.final[key][~mask].any()


def test_a_ticket_is_a_small_network(results, tmp_path):
    ticket = next(r for r in results if r.branch == "ticket" and r.level == 2)
    Ticket.of(ticket).save(tmp_path / "ticket.npz")
    model = build_model()
    Ticket.load(tmp_path / "ticket.npz").apply(model)
    small = compact(model).model
    first, second = channels_of(ticket.mask)
    assert small.get_layer("c1").filters == first.sum()
    assert small.get_layer("fc").units == second.sum()
    x = DATA.test[0]
    expected, found = (ops.convert_to_numpy(m(x, training=False)) for m in (model, small))
    assert np.abs(expected - found).max() <= 1e-5 * np.abs(expected).max()


def test_the_same_seed_gives_the_same_bits(results, tmp_path):
    fewer = config(tmp_path / "again", levels=1, controls=())
    again = run(fewer, data=DATA, build_model=build_model)
    before = [r for r in results if r.branch == "ticket"]
    for one, other in zip(again, before, strict=False):
        for key, mask in one.mask.items():
            assert mask.tobytes() == np.ascontiguousarray(other.mask[key]).tobytes()
            assert one.final[key].tobytes() == other.final[key].tobytes()


def test_the_directory_says_the_structure(results, directory):
    assert json.loads((directory / "config.json").read_text())["structure"] == "channels"
    assert load(directory).config.structure == "channels"
    assert len(load(directory).results) == len(results)
    with pytest.raises(InputError, match=r"differing: structure \(there 'channels'"):
        run(config(directory, structure="weights"), data=DATA, build_model=build_model)


def test_each_group_loses_its_share_by_the_allocation_uniform():
    model = build_model()
    structure = WholeChannels(model, prunable_weights(model))
    assert structure.shapes == {"c1/kernel": 8, "fc/kernel": 10}
    channels = {"c1/kernel": np.arange(8) != 3, "fc/kernel": np.arange(10) < 1}
    mask = structure.masks(channels)
    assert structure.alive(mask) == {"c1/kernel": 7, "fc/kernel": 1}
    for key, expected in masks_of(*channels.values()).items():
        np.testing.assert_array_equal(mask[key], expected)


def test_channels_are_pruned_before_training_by_the_sums_of_their_scores():
    model = build_model()
    structure = WholeChannels(model, prunable_weights(model))
    data = DATA.train[0][:8], DATA.train[1][:8]
    scores = snip(model, *data)
    mask = structure.at_initialization(model, "snip", 12, data, seed=0)
    first, second = channels_of(mask)
    assert first.sum() + second.sum() == 12
    c2 = scores["c2/kernel"][0, 0]
    sums = scores["c1/kernel"].sum(axis=(0, 1, 2)) + c2.sum(axis=0) + c2.sum(axis=1)
    sums = sums + scores["fc/kernel"].sum(axis=1)
    other = scores["fc/kernel"].sum(axis=0) + scores["out/kernel"].sum(axis=1)
    shares = np.concatenate([sums / sums.mean(), other / other.mean()])
    kept = np.concatenate([first, second])
    assert shares[~kept].max() <= shares[kept].min()
    for key, expected in masks_of(first, second).items():
        np.testing.assert_array_equal(mask[key], expected)


def test_channels_are_pruned_before_training_in_rounds():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(9), keras.layers.Dense(2)])
    structure = WholeChannels(model, prunable_weights(model))
    mask = structure.at_initialization(model, "synflow", 4, (None, None), seed=0)
    one, two = (np.abs(ops.convert_to_numpy(layer.kernel)) for layer in model.layers)
    flow = one.sum(axis=0) * two.sum(axis=1)  # of ones, through each hidden unit
    best = np.isin(np.arange(9), np.argsort(flow)[-4:])
    assert [m.tolist() for m in mask.values()] == [[best.tolist()] * 3, [[b] * 2 for b in best]]


def test_a_network_that_keeps_all_its_channels_is_refused(tmp_path):
    def one_layer():
        layers = [keras.Input((4, 4, 2)), keras.layers.Flatten(), keras.layers.Dense(2)]
        model = keras.Sequential(layers)
        model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        return model

    with pytest.raises(InputError, match="all channels of the network"):
        run(config(tmp_path / "r", controls=()), data=DATA, build_model=one_layer)
    assert not (tmp_path / "r").exists()


def test_a_file_of_single_weights_is_as_it_was():
    assert "structure" not in json.loads(LotteryConfig().to_json())
    changed = LotteryConfig(structure="channels")
    assert LotteryConfig.from_json(changed.to_json(), Path("r")) == changed
    assert changed.identity() != LotteryConfig().identity()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"structure": "filters"}, "`structure` must be one of weights, channels"),
        ({"allocation": "erk"}, "takes the allocations 'uniform' and 'global'"),
        ({"layer_prune_fractions": {"fc/kernel": 0.5}}, "`layer_prune_fractions` is of single"),
        ({"output_prune_fraction": 0.5}, "`output_prune_fraction` is of single"),
        ({"keras": "tf_keras"}, "`structure` 'channels' needs keras 'keras'"),
    ],
)
def test_what_is_not_possible_is_told_in_a_line(changes, told):
    with pytest.raises(InputError, match=told) as error:
        LotteryConfig(**{"structure": "channels"} | changes)
    assert "\n" not in str(error.value)


def test_an_experiment_ends_where_one_channel_of_each_group_is_left():
    each = LotteryConfig(structure="channels", prune_fraction=0.6)
    assert next_counts(each, {"a": 4, "b": 2}) == {"a": 2, "b": 1}
    assert next_counts(each, {"a": 2, "b": 1}) == {"a": 1, "b": 1}
    assert "at level 2 of 16, with 2 of 6 channels" in ends_early(each, {"a": 4, "b": 2})
    together = LotteryConfig(structure="channels", prune_fraction=0.6, allocation="global")
    assert [next_counts(together, {"a": n, "b": 2}) for n in (8, 2, 1)] == [4, 2, 2]


def test_the_ticket_of_the_guide_is_a_small_network(pytestconfig, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    guide = (pytestconfig.rootpath / "docs/lottery.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", guide, re.M | re.S)
    namespace = {}
    for mark in "# nets.py", 'structure="channels"':
        [block] = [b for b in blocks if mark in b]
        exec(compile(block, "lottery.md", "exec"), namespace)
    told = re.findall(r"^# (.*)", block, re.M)
    assert capsys.readouterr().out.splitlines()[-len(told) :] == told
