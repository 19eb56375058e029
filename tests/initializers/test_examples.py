"""The examples of the docstrings run and print what they say."""

import doctest
import importlib

import keras
import pytest

import tfinit.initializers as initializers

MODULES = ["critical", "identities", "orthogonal", "pretrained", "recurrent", "scaling", "sparse"]


@pytest.mark.parametrize(
    "name", ["fans", "gains", *(f"initializers.{module}" for module in MODULES)]
)
def test_examples(name):
    module = importlib.import_module(f"tfinit.{name}")
    names = {n: getattr(initializers, n) for n in initializers.__all__}
    failed, tried = doctest.testmod(module, extraglobs={"keras": keras, **names})
    assert tried > 0
    assert failed == 0
