"""The score and the allocation of an experiment: names of today and before, and a user's own."""

import itertools
import json
import subprocess
import sys
import warnings
from pathlib import Path

import keras
import numpy as np
import pytest
from bare_runs import run

from tfinit import datasets
from tfinit.errors import InputError, TfinitDeprecationWarning
from tfinit.lottery import LotteryConfig
from tfinit.lottery.counts import last_level, next_counts
from tfinit.pruning import Score

DATA = datasets.from_arrays(
    *((np.random.default_rng(0).random((40, 4), np.float32), np.arange(40) % 2) for _ in range(2)),
    name="noise",
)
SMALL = {
    **{"model": "mlp-2-relu", "steps": 3, "evaluate_every": 3, "batch_size": 4, "seeds": (0,)},
    **{"levels": 2, "controls": ()},
}
SHAPES = {"fc1/kernel": (4, 64), "output/kernel": (64, 2)}


@keras.saving.register_keras_serializable("tests")
def grown(weights, initial):
    return weights**2 - initial**2


@keras.saving.register_keras_serializable("tests")
class Power(Score):
    """|w|ᵖ + |wᵢ|."""

    def __init__(self, power=2):
        self.power = power

    def __call__(self, weights, initial):
        return keras.ops.abs(weights) ** self.power + keras.ops.abs(initial)

    def get_config(self):
        return {"power": self.power}


@keras.saving.register_keras_serializable("tests")
def first_alone(key, shape, sparsity):
    return min(2 * float(sparsity), 0.9) if shape == (4, 64) else 0.25


# 384 weights: 288, 75% of them, are a sparsity of 0.25; the kernels have 0.5 and 0.25 then.
# 224 weights: 168 are a sparsity of 0.5625; the first has 0.9: round(256 · 0.1) survive.
BY_FIRST_ALONE = [(256, 128), (128, 96), (26, 96)]


@pytest.mark.parametrize(
    ("score", "by_numpy", "allocation", "counts"),
    [
        (
            Power(3),
            lambda w, initial: np.abs(w) ** 3 + np.abs(initial),
            "uniform",
            [(256, 128), (192, 115)],
        ),
        (grown, lambda w, initial: w**2 - initial**2, first_alone, BY_FIRST_ALONE),
    ],
    ids=["object", "functions"],
)
def test_the_survivors_are_the_largest_of_ones_own_score_as_many_as_ones_own_allocation_says(
    score, by_numpy, allocation, counts, tmp_path
):
    config = LotteryConfig(
        **SMALL | {"levels": len(counts) - 1},
        score=score,
        allocation=allocation,
        prune_fraction=0.25,
        run_dir=tmp_path / "run",
    )
    results = run(config, data=DATA)
    assert [tuple(int(m.sum()) for m in r.mask.values()) for r in results] == counts
    for before, after in itertools.pairwise(results):
        for key, alive in before.mask.items():
            assert not np.any(after.mask[key] & ~alive)
            scores = by_numpy(before.final[key], before.rewind[key])
            lost = scores[alive & ~after.mask[key]]
            assert lost.max(initial=-np.inf) <= scores[after.mask[key]].min()
    # It goes on where it was; another score is another experiment.
    assert len(run(config, data=DATA)) == len(results)
    with pytest.raises(InputError, match=r"differing: .*score"):
        run(LotteryConfig(score="distance", run_dir=config.run_dir, **SMALL), data=DATA)


def test_erk_has_as_many_of_all_weights_as_global_and_spares_the_small():
    config = LotteryConfig(allocation="erk", prune_fraction=0.5, levels=3)
    alive = {key: int(np.prod(shape)) for key, shape in SHAPES.items()}
    assert sum(next_counts(config, alive, SHAPES).values()) == 192
    # ε·(4 + 64) + ε·(64 + 2) = 192
    assert next_counts(config, alive, SHAPES) == {"fc1/kernel": 97, "output/kernel": 95}
    assert last_level(config, SHAPES) == (3, 48)


@pytest.mark.parametrize(
    ("former", "today"),
    [
        ({"criterion": "small-init"}, {"score": "small-init"}),
        ({"score": "movement"}, {"score": "distance"}),
        ({"criterion": "movement"}, {"score": "distance"}),
        ({"allocation": "layerwise"}, {"allocation": "uniform"}),
    ],
)
def test_former_names_are_taken_with_a_warning_at_the_line_that_uses_them(former, today):
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        config = LotteryConfig(**former)
    assert config == LotteryConfig(**today)
    assert {(w.category, w.filename) for w in seen} == {(TfinitDeprecationWarning, __file__)}


def test_files_that_were_written_before_are_read_without_a_warning_as_the_same_experiment():
    # As 0.x wrote them, with the digests that its stored trainings hold.
    before = {
        (
            '{"criterion": "movement", "allocation": "layerwise", "seeds": [0], "steps": 50}',
            "ab430bcb",
        ): {"score": "distance"},
        (
            '{"criterion": "random", "allocation": "global", "seeds": [0], "steps": 50}',
            "e8033b6a",
        ): {
            "score": "random",
            "allocation": "global",
        },
    }
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for (text, digest), today in before.items():
            read = LotteryConfig.from_json(text, Path("run"))
            assert read == LotteryConfig(seeds=(0,), steps=50, **today)
            assert read.identity()[:8] == digest
            assert LotteryConfig.from_json(read.to_json(), Path("run")) == read


def test_ones_own_are_written_by_their_registered_names():
    config = LotteryConfig(score=Power(3), allocation=first_alone)
    text = config.to_json()
    assert LotteryConfig.from_json(text, Path("run")) == config
    assert config.identity() != LotteryConfig(score=Power(2), allocation=first_alone).identity()
    told = json.loads(text)
    assert told["score"]["function"]["config"] == {"power": 3}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"score": "snip"}, r"`score` must be one of magnitude, small-final, .*before training"),
        ({"score": lambda weights, gradients: weights}, r"`gradients`, .* not after training"),
        ({"allocation": {"a": 0.5}}, r"`allocation` must be one of uniform, erk, global, or"),
        ({"allocation": "erk", "output_prune_fraction": 0.3}, r"no meaning.*'erk'.*'uniform'"),
        ({"score": "random", "keras": "tf_keras"}, r"`score` 'random' needs keras 'keras'"),
    ],
)
def test_what_cannot_be_chosen_is_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        LotteryConfig(**arguments)


def test_configurations_know_the_names_without_keras():
    program = (
        "import sys; from tfinit.lottery import LotteryConfig; from tfinit.fine_tuning.config "
        "import PruneConfig; LotteryConfig(score='distance', allocation='erk'); "
        "assert not {'keras', 'tensorflow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
