"""A scheme that is added: in the registry, in errors, in races, and in the menu of the page."""

import keras
import numpy as np
import pytest
from recipes import recipe

import tfinit
from tfinit import models
from tfinit.comparison.initializations import read_schemes
from tfinit.demo.initialization import code_for
from tfinit.demo.settings import Pane, Settings, choices
from tfinit.errors import InputError
from tfinit.schemes import SCHEMES
from tfinit.schemes.engine.registry import REGISTRY


@pytest.fixture
def added():
    names = {}
    exec(recipe("A scheme"), names)
    yield names["one_deviation"]
    del REGISTRY["one_deviation"]


def network():
    return keras.Sequential([keras.Input((50,)), keras.layers.Dense(40, name="fc")])


def test_it_is_found_wherever_schemes_are(added):
    assert SCHEMES["one_deviation"] is added
    model = network()
    report = tfinit.initialize(model, "one_deviation", seed=1, std=0.2)
    assert "one_deviation: 1 of 1 weights" in str(report)
    assert np.std(model.layers[0].kernel) == pytest.approx(0.2, rel=0.1)
    with pytest.raises(InputError, match=r"'one_deviation' has options \['std'\], received"):
        tfinit.initialize(model, "one_deviation", other=1)
    with pytest.raises(InputError, match=r"`scheme` must be one of .*one_deviation"):
        tfinit.initialize(model, "no such")

    [entry] = read_schemes(["one_deviation"])
    entry.initialize(model, None, 1)
    assert np.std(model.layers[0].kernel) == pytest.approx(0.1, rel=0.1)
    assert "one_deviation" in models.initializations()
    models.check_initialization("one_deviation")

    menu = {one["name"]: one["label"] for one in choices()["initializations"]}
    assert menu["one_deviation"] == "One deviation"
    pane = Settings(panes=[{"initialization": "one_deviation"}]).panes[0]
    assert code_for(pane, 1) == 'tfinit.initialize(model, "one_deviation", seed=1)'
    assert "one_deviation" in Pane.model_json_schema()["properties"]["initialization"]["enum"]


def test_it_is_gone_again():
    assert "one_deviation" not in SCHEMES
    with pytest.raises(ValueError, match=r"must be one of .*xavier"):
        Pane(initialization="one_deviation")
