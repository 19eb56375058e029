"""Points in the plane: sizes, classes, and geometry by their definitions."""

import numpy as np
import pytest

from tfinit import datasets, points

CLASSES = {"blobs": 3, "circles": 2, "moons": 2, "xor": 2, "spiral": 2}


@pytest.mark.parametrize("name", points.NAMES)
def test_sizes_classes_and_types(name):
    data = datasets.load(name)
    assert data.name == name and data.classes == CLASSES[name]
    for split, rows in ((data.train, 300), (data.validation, 100), (data.test, 200)):
        x, y = split
        assert (x.shape, x.dtype, y.shape, y.dtype) == ((rows, 2), "float32", (rows,), "int32")
        counts = np.bincount(y, minlength=data.classes)
        assert counts.max() - counts.min() <= 1
        assert np.abs(x).max() < 1.75
    # No example twice, in whatever split.
    every = np.concatenate([data.train[0], data.validation[0], data.test[0]])
    assert len(np.unique(every, axis=0)) == 600
    again = points.make(name)
    assert all(np.array_equal(again["train"][n], data.train[n]) for n in (0, 1))


def test_circles_are_rings_of_radius_one_and_a_half():
    x, y = points.make("circles")["train"]
    radius = np.linalg.norm(x, axis=1)
    assert [float(np.median(radius[y == c])) for c in (0, 1)] == pytest.approx([1, 0.5], abs=0.05)


def test_xor_is_whether_the_signs_differ():
    x, y = points.make("xor")["train"]
    assert np.array_equal(y, (x[:, 0] * x[:, 1] < 0).astype(int))
    assert np.abs(x).min() >= 0.05
    # All four quadrants have some.
    assert len(np.unique(np.sign(x), axis=0)) == 4


def test_the_spirals_arms_are_half_a_turn_apart():
    x, y = points.make("spiral")["train"]
    radius, angle = np.linalg.norm(x, axis=1), np.arctan2(x[:, 0], x[:, 1])
    off = angle - 3 * np.pi * radius - np.pi * y
    off = (off + np.pi) % (2 * np.pi) - np.pi
    far = radius > 0.4  # noise turns those near the middle
    assert np.abs(off[far]).max() < np.pi / 2  # none is nearer to the other arm
