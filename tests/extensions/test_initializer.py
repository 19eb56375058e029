"""An initializer that is added: known to both Kerases, and wherever initializations are named."""

import keras
import numpy as np
import pytest
import tf_keras
from recipes import recipe

import tfinit
from tfinit import models
from tfinit.comparison.initializations import read_schemes
from tfinit.errors import InputError
from tfinit.initializers.registry import CLASSES


@pytest.fixture
def added():
    known = [library.saving.get_custom_objects() for library in (keras, tf_keras)]
    before = [dict(objects) for objects in known]
    names = {}
    exec(recipe("An initializer"), names)
    yield names["HalfNormal"]
    del CLASSES["HalfNormal"]
    for objects, those in zip(known, before, strict=True):
        objects.clear()
        objects.update(those)


def test_it_is_found_wherever_initializers_are(added):
    layer = keras.layers.Dense(3, kernel_initializer="tfinit>half_normal")
    assert isinstance(layer.kernel_initializer, added)
    copy = keras.layers.Dense.from_config(
        keras.layers.Dense(3, kernel_initializer=added(0.5, seed=1)).get_config()
    )
    assert copy.kernel_initializer.get_config() == {"std": 0.5, "seed": 1}
    layer = tf_keras.layers.Dense(3, kernel_initializer=added(seed=1))
    layer.build((None, 4))
    assert (layer.kernel.numpy() > 0).all()

    assert "HalfNormal" in models.initializations()
    model = models.build("mlp-2-relu", keras, (4,), 3, seed=1, initialization="HalfNormal")
    assert all((np.array(kernel) > 0).all() for kernel in models.kernels(model).values())
    [entry] = read_schemes(["HalfNormal"])
    entry.initialize(model, None, 2)
    with pytest.raises(InputError, match=r"`schemes` must be among .*HalfNormal"):
        tfinit.compare(lambda: model, "digits", ["no such"])
    with pytest.raises(InputError, match=r"`initialization` must be one of .*HalfNormal"):
        models.check_initialization("no such")


def test_it_is_gone_again():
    assert "HalfNormal" not in models.initializations()
    with pytest.raises(ValueError, match="half_normal"):
        keras.initializers.get("tfinit>half_normal")
