"""A data set that is added: in flags, help and errors of all commands, and on the page."""

import re

import numpy as np
import pytest
from pydantic import ValidationError
from recipes import recipe

from tfinit import datasets
from tfinit.cli import main
from tfinit.comparison import CompareConfig
from tfinit.demo.plane import plane
from tfinit.demo.settings import Settings, choices
from tfinit.errors import InputError
from tfinit.lottery import LotteryConfig
from tfinit.lottery.experiment import checked_data
from tfinit.saved_data import read_splits


@pytest.fixture
def added():
    exec(recipe("A data set"), {})
    yield
    del datasets.DATASETS["stripes"]
    plane.cache_clear()


def test_it_is_found_wherever_data_sets_are(added, capsys):
    data = datasets.load("stripes")
    assert (data.name, data.classes, len(data.train[0])) == ("stripes", 2, 360)
    assert datasets.NAMES[-1] == "stripes"
    for refuses in (lambda: datasets.load("stripe"), lambda: read_splits("stripe")):
        with pytest.raises(InputError, match=r"one of digits, mnist.*stripes|be digits.*stripes"):
            refuses()
    for command in ("lottery", "initializations", "stability", "compare", "prune", "export"):
        with pytest.raises(SystemExit):
            main([command, "--help"])
        told = " ".join(re.sub("[│\\s]+", " ", capsys.readouterr().out).split())
        about = "" if command in ("prune", "export") else " (points: six stripes)"
        assert f"stripes{about}, " in told, command

    config = LotteryConfig(dataset="stripes")
    assert checked_data(config, None, print, print).digest() == data.digest()
    assert CompareConfig(dataset="stripes").dataset == "stripes"
    np.testing.assert_array_equal(read_splits("stripes")[0][0], data.train[0])

    assert Settings(dataset="stripes").dataset == "stripes"
    assert "stripes" in Settings.model_json_schema()["properties"]["dataset"]["enum"]
    assert {"name": "stripes", "label": "Stripes"} in choices()["datasets"]
    assert plane("stripes").projection is None


def test_it_is_gone_again():
    assert "stripes" not in datasets.NAMES
    with pytest.raises(InputError, match="`dataset` must be one of"):
        datasets.load("stripes")
    with pytest.raises(ValidationError, match=r"must be one of blobs, .*, digits, received"):
        Settings(dataset="stripes")


def test_the_docstring_has_every_data_set():
    told = datasets.load.__doc__
    assert [name for name in datasets.NAMES if f"``{name}``" not in told] == []
