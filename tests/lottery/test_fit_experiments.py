"""Experiments that only Keras's own `fit` can train: left, they go on to the same bits."""

import keras
import numpy as np
import pytest
from bare_runs import run

from tfinit.datasets import Dataset
from tfinit.errors import TfinitWarning
from tfinit.lottery import LotteryConfig

pytestmark = pytest.mark.backends
L = keras.layers


def examples(rows):
    x = np.random.default_rng(rows).normal(size=(rows, 6)).astype("f4")
    return x, (x[:, 0] > 0).astype("i4") + (x[:, 1] > 0)


DATA = Dataset("made up", examples(60), examples(20), examples(20), 3)


class Own(keras.Sequential):
    def train_step(self, *args):
        return super().train_step(*args)


def network(seed):
    keras.utils.set_random_seed(seed)
    layers = [L.Dense(8, "relu", name="a"), L.Dropout(0.3), L.BatchNormalization(name="n")]
    model = Own([L.Input((6,)), *layers, L.Dense(3, name="b")])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.02), loss)
    return model


class Left(Exception):
    """What stops a run in a test."""


def go(path, progress=None):
    """Run with a checkpoint wherever one can be; what was said of `fit`."""
    config = LotteryConfig(
        levels=1,
        steps=16,
        rewind_step=3,
        batch_size=10,
        evaluate_every=5,
        seeds=(3,),
        controls=(),
        run_dir=path,
    )
    with pytest.warns(TfinitWarning) as told:
        run(config, progress, data=DATA, build_model=network, checkpoint_every=0)
    return [line for one in told if "with fit" in (line := str(one.message))]


def files(path):
    return {
        str(p.relative_to(path)): p.read_bytes()
        for p in path.rglob("*")
        if p.is_file() and p.name != ".lock"
    }


def test_left_in_the_middle_it_goes_on_to_the_same_files_and_says_once_why_fit(tmp_path):
    assert len(go(tmp_path / "whole")) == 1
    expected = files(tmp_path / "whole")
    left, told = tmp_path / "left", []

    def progress(done):
        told.append(done)
        if sum(told) >= 16 + 6:
            raise Left

    with pytest.raises(Left):
        go(left, progress)
    [partial] = left.rglob("partial-01.npz")
    with np.load(partial) as kept:
        assert any("seed_generator_state" in name for name in kept.files)
    go(left)
    assert files(left).keys() == expected.keys()
    for name, content in files(left).items():
        assert content == expected[name], name
