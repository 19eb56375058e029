"""The bits of streams are part of the promise that a seed makes: these change if it is broken."""

import doctest

import numpy as np

from tfinit import initializers, streams
from tfinit.lottery.controls import shuffled
from tfinit.streams import number, seed_of_weight, stream, stream_for
from tfinit.training import batch_indices


def test_known_bits_of_each_kind():
    def two(generator):
        return generator.integers(2**63, size=2).tolist()

    assert two(stream(-7, "fc/kernel")) == [4895075097084193476, 4770129248326216928]
    assert two(stream_for("shuffled mask", 3, "fc/kernel")) == [
        6386011773333905233,
        3328089314249774211,
    ]
    assert two(stream_for("random score", 3, "fc/kernel")) == [
        3252044368469537141,
        3844996584663442907,
    ]
    assert seed_of_weight(3, "fc/kernel") == 1122440615
    assert number("1/fc/kernel", 3) == 641457


def test_known_bits_of_what_draws_from_them():
    assert initializers.He(seed=5).stream((3, 4)) == 3710122255
    mask = {"fc": np.arange(10) < 3}
    assert shuffled(mask, seed=4)["fc"].astype(int).tolist() == [0, 0, 1, 0, 0, 1, 0, 0, 1, 0]
    assert batch_indices(10, 4, 5, 3).tolist() == [
        [9, 6, 0, 2],
        [1, 4, 7, 5],
        [4, 1, 2, 8],
        [5, 0, 7, 9],
        [7, 4, 1, 8],
    ]


def test_examples():
    failed, tried = doctest.testmod(streams)
    assert not failed and tried
