"""The examples in the docstrings."""

import doctest
import importlib

import keras
import numpy
import pytest

from tfinit.schemes import SCHEMES, Record, Report, initialize

MODULES = sorted({scheme.__module__ for scheme in SCHEMES.values()})
OTHERS = [
    "tfinit.schemes.initialize",
    "tfinit.schemes.engine.report",
    "tfinit.streams",
]


@pytest.mark.parametrize("name", MODULES + OTHERS)
def test_examples_of_the_docstrings(name):
    names = {"keras": keras, "numpy": numpy, "initialize": initialize}
    names |= {"Record": Record, "Report": Report}
    module = importlib.import_module(name)
    failed, _ = doctest.testmod(module, extraglobs=names, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert failed == 0
