import dataclasses
import hashlib
import json
from pathlib import Path

import keras
import numpy as np
import pytest

from tfinit.comparison import CompareConfig
from tfinit.datasets import from_arrays
from tfinit.errors import InputError
from tfinit.fine_tuning import PruneConfig
from tfinit.lottery import LotteryConfig, StabilityConfig

OTHER = LotteryConfig(
    dataset="mnist",
    levels=3,
    prune_fraction=0.5,
    layer_prune_fractions={"fc1/kernel": 0.3},
    seeds=(4, 7),
    controls=(),
    learning_rate=3e-4,
)


def test_json_loads_back_into_an_equal_object():
    for config in (LotteryConfig(), OTHER):
        again = LotteryConfig.from_json(config.to_json(), Path("elsewhere"))
        assert again == config
        assert again.run_dir == Path("elsewhere")


def test_json_of_an_earlier_version_loads():
    # As 0.x wrote it: other order of the fields, none of those that came later.
    text = """{"dataset": "mnist", "model": "lenet-300-100", "keras": "keras", "levels": 3,
        "prune_fraction": 0.5, "output_prune_fraction": 0.1,
        "layer_prune_fractions": {"fc1/kernel": 0.3}, "steps": 1000, "batch_size": 60,
        "optimizer": "adam", "learning_rate": 0.0003, "evaluate_every": 20, "seeds": [4, 7],
        "controls": []}"""
    assert LotteryConfig.from_json(text, Path("x")) == OTHER


def test_json_has_every_field_but_the_directory():
    names = {f.name for f in dataclasses.fields(LotteryConfig)}
    names -= {"run_dir", "structure"}  # which is said where it is not that of earlier versions
    assert set(json.loads(OTHER.to_json())) == names


def test_identity_tells_experiments_apart_and_not_how_far_they_grew():
    base = LotteryConfig().identity()
    # Files that are there hold it.
    assert base == hashlib.sha256(b'["lottery", {}]').hexdigest()
    same = [
        LotteryConfig(run_dir=Path("a")),
        LotteryConfig(levels=3, seeds=(7,), controls=()),
        LotteryConfig(weight_decay=0),
        LotteryConfig(threads=0),
    ]
    others = [
        LotteryConfig(steps=5),
        LotteryConfig(threads=1),
        LotteryConfig(batch_size=5),
        OTHER,
        StabilityConfig(),
    ]
    assert {c.identity() for c in same} == {base}
    assert len({base, *(c.identity() for c in others)}) == 6


def test_the_directory_makes_no_other_experiment():
    assert LotteryConfig(run_dir=Path("a")) == LotteryConfig(run_dir=Path("b"))


def test_differences_name_the_fields():
    assert LotteryConfig().differences(LotteryConfig(levels=3, steps=5)) == {
        "levels": (16, 3),
        "steps": (1000, 5),
    }


def test_it_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        LotteryConfig().levels = 3


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("levels", 0),
        ("levels", -1),
        ("steps", 0),
        ("steps", 2.5),
        ("batch_size", 0),
        ("evaluate_every", 0),
        ("prune_fraction", 0.0),
        ("prune_fraction", 1.0),
        ("prune_fraction", float("nan")),
        ("output_prune_fraction", -0.1),
        ("layer_prune_fractions", {"fc1/kernel": 1.5}),
        ("learning_rate", 0.0),
        ("learning_rate", float("inf")),
        ("keras", "torch"),
        ("optimizer", "adamm"),
        ("allocation", "erk?"),
        ("controls", ("reinit", "magic")),
        ("seeds", ()),
        ("seeds", (1, 1)),
        ("seeds", (-1,)),
    ],
)
def test_bad_values_are_named_with_what_was_received(field, value):
    shown = next(iter(value.values())) if isinstance(value, dict) else value
    shown = shown[-1] if field == "controls" else shown
    with pytest.raises(InputError) as error:
        LotteryConfig(**{field: value})
    message = str(error.value)
    assert field in message
    assert str(shown) in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("field", "value"),
    [("layer_prune_fractions", {"fc1/kernel": 0.3}), ("output_prune_fraction", 0.3)],
)
def test_fractions_of_layers_have_no_meaning_globally(field, value):
    with pytest.raises(InputError, match=rf"`{field}` has no meaning.*'global'.*'uniform'"):
        LotteryConfig(allocation="global", **{field: value})
    assert LotteryConfig(allocation="global").output_prune_fraction == 0.1


def test_a_run_that_was_started_with_a_fraction_that_is_refused_now_goes_on():
    """It had no effect there."""
    now = LotteryConfig(allocation="global")
    before = json.loads(now.to_json()) | {"output_prune_fraction": 0.3}
    there = LotteryConfig.from_json(json.dumps(before), Path("runs/lottery"))
    assert there.obstacles(now) == {}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '"seeds"',
        '{"levels": 3}',
        '{"seeds": 1, "controls": []}',
        '{"seeds": [1], "points": 11}',
        '{"seeds": [1], "levels": 0}',
    ],
)
def test_json_that_is_no_configuration(text):
    with pytest.raises(InputError, match="not a lottery configuration"):
        LotteryConfig.from_json(text, Path("x"))


@pytest.mark.parametrize("cls", [LotteryConfig, StabilityConfig, CompareConfig, PruneConfig])
def test_a_model_or_data_in_place_of_a_name_is_told_where_it_goes(cls):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    cures = {
        LotteryConfig: ("its argument `build_model`", "its argument `data`"),
        StabilityConfig: ("its argument `build_model`", "its argument `data`"),
        CompareConfig: ("takes functions and data", "takes functions and data"),
        PruneConfig: (r"model\.save\(", ""),
    }
    with pytest.raises(
        InputError, match=f"`model` must be .*, received Sequential.*{cures[cls][0]}"
    ):
        cls(model=model)
    if cls is not PruneConfig:
        data = from_arrays(*((np.zeros((4, 2)), np.array([0, 1, 0, 1])),) * 2)
        with pytest.raises(InputError, match=f"`dataset` .* received Dataset.*{cures[cls][1]}"):
            cls(dataset=data)


def test_paths_may_be_text(tmp_path):
    for cls in (LotteryConfig, StabilityConfig):
        assert cls(run_dir="runs/it").run_dir == Path("runs/it")
    config = PruneConfig("a.keras", out="b.keras")
    assert (config.model, config.out) == (Path("a.keras"), Path("b.keras"))
