"""The recipe "A score": what it adds is found wherever a score is chosen."""

import keras
import numpy as np
import pytest
from recipes import recipe

from tfinit import cli
from tfinit.errors import InputError
from tfinit.lottery import LotteryConfig
from tfinit.pruning import ConstantSparsity, PruningRule, prune_at_initialization
from tfinit.pruning.scoring.after_training import score_trained
from tfinit.pruning.scoring.scores import SCORES

NAME = "energy"


@pytest.fixture(autouse=True)
def added():
    before = dict(SCORES)
    exec(recipe("A score"), {})
    assert set(SCORES) - set(before) == {NAME}
    yield
    del SCORES[NAME]


def network():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="fc")])
    model.layers[0].kernel.assign([[1.0, -4.0], [2.0, 0.5], [-3.0, 0.1]])
    model.compile("sgd", "mse")
    return model


def test_it_ranks_before_training_in_steps_and_after_training():
    report = prune_at_initialization(network(), 0.5, NAME)
    assert report.masks["fc/kernel"].tolist() == [[0, 1], [1, 0], [1, 0]]
    assert str(report).startswith("energy at initialization\n")
    assert PruningRule(ConstantSparsity(0.5, 1), score=NAME).get_config()["score"] == NAME
    final = {"w": np.array([1.0, -2.0, 3.0])}
    found = score_trained(NAME, final, final, {"w": np.ones(3, bool)})["w"]
    np.testing.assert_allclose(found, np.array([1, 4, 9]) * 3 / 14, rtol=1e-6)


def test_the_lottery_has_it_in_configurations_help_and_errors(capsys):
    config = LotteryConfig(score=NAME)
    assert LotteryConfig.from_json(config.to_json(), config.run_dir) == config
    with pytest.raises(SystemExit):
        cli.main(["lottery", "--help"])
    assert NAME in " ".join(capsys.readouterr().out.split())
    with pytest.raises(InputError, match=f"`score` must be one of .*{NAME}"):
        LotteryConfig(score="no")
