import keras
import numpy as np
import pytest
import tensorflow as tf

import tfinit
from tfinit.origin import Origin


def test_it_names_the_data_and_the_versions():
    now = Origin.now("ab" * 32)
    expected = (tfinit.__version__, f"keras {keras.__version__}", f"tensorflow {tf.__version__}")
    assert (now.tfinit, now.keras, now.backend) == expected
    legacy = Origin.now("ab" * 32, "tf_keras")
    assert legacy.keras.startswith("tf_keras 2.") and legacy.backend == now.backend


def test_it_names_the_device_that_the_framework_uses(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0, 1, 2}, raising=False)
    if not tf.config.get_visible_devices("GPU"):
        assert Origin.now("ab" * 32).device == "CPU, 3 cores"


def test_other_versions_are_told_and_other_data_are_none():
    old = Origin("a", "0.1", "keras 3.12.0", "tensorflow 2.19.0")
    assert old.other_versions(Origin("b", "0.1", "keras 3.12.0", "tensorflow 2.19.0")) == ""
    new = Origin("a", "0.2", "keras 3.12.0", "jax 0.7")
    told = "tfinit 0.1 (now tfinit 0.2), tensorflow 2.19.0 (now jax 0.7)"
    assert old.other_versions(new) == told


def test_another_device_is_told_where_both_are_known():
    versions = ("a", "0.1", "keras 3.12.0", "tensorflow 2.19.0")
    unknown, two, four = (Origin(*versions, device) for device in ("", "CPU, 2 cores", "CPU, 4"))
    assert two.other_versions(four) == "CPU, 2 cores (now CPU, 4)"
    assert two.other_versions(two) == unknown.other_versions(two) == ""
    assert "device" not in unknown.to_dict()  # as earlier files were
    for origin in (unknown, two):
        assert Origin.of(origin.to_dict()) == origin


@pytest.mark.parametrize(
    "values", [None, [], "data", {}, {"data": "a"}, dict.fromkeys("abcd", ""), np.zeros(3)]
)
def test_what_is_none_is_refused(values):
    with pytest.raises(ValueError, match="it is made with"):
        Origin.of(values)
    numbers = {"data": 1, "tfinit": "", "keras": "", "backend": ""}
    with pytest.raises(ValueError, match="which is not text"):
        Origin.of(numbers)
