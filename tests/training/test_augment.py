"""Random flips and crops: literal pictures, and the same ones in TensorFlow and NumPy."""

import keras
import numpy as np
import pytest

from tfinit.errors import InputError
from tfinit.training import Augment

BACKENDS = pytest.mark.backends
# 1 2 3
# 4 5 6
PICTURE = np.arange(1.0, 7.0, dtype="f4").reshape(1, 2, 3, 1)
# Padded by one: 0 0 0 0 0 / 0 1 2 3 0 / 0 4 5 6 0 / 0 0 0 0 0, or mirrored.
TABLE = [
    # mirror, down, right → the picture
    ((0, 1, 1), [[1, 2, 3], [4, 5, 6]]),
    ((1, 1, 1), [[3, 2, 1], [6, 5, 4]]),
    ((0, 0, 0), [[0, 0, 0], [0, 1, 2]]),
    ((0, 2, 2), [[5, 6, 0], [0, 0, 0]]),
    ((0, 1, 0), [[0, 1, 2], [0, 4, 5]]),
    ((0, 2, 1), [[4, 5, 6], [0, 0, 0]]),
    # The window is cut first, then mirrored.
    ((1, 0, 0), [[0, 0, 0], [2, 1, 0]]),
    ((1, 1, 2), [[0, 3, 2], [0, 6, 5]]),
]


@BACKENDS
@pytest.mark.parametrize(("draw", "expected"), TABLE)
def test_a_picture_by_hand(draw, expected):
    seen = Augment(crop=1).apply_numpy(PICTURE, np.array([draw], np.int32))
    np.testing.assert_array_equal(seen[0, :, :, 0], expected)
    assert seen.dtype == PICTURE.dtype


@BACKENDS
def test_every_picture_is_a_window_of_the_padded_one_or_its_mirror_image():
    rng = np.random.default_rng(0)
    augment, x = Augment(crop=2), rng.normal(size=(40, 6, 5, 3)).astype("f4")
    draws = augment.draw(40, start=0, stop=1, seed=3)[0]
    seen = augment.apply_numpy(x, draws)
    padded = np.pad(x, [(0, 0), (2, 2), (2, 2), (0, 0)])
    for picture, original, (mirror, down, right) in zip(seen, padded, draws, strict=True):
        window = original[down : down + 6, right : right + 5]
        np.testing.assert_array_equal(picture, window[:, ::-1] if mirror else window)


@BACKENDS
def test_half_are_mirrored_and_all_places_are_as_likely():
    draws = Augment(crop=4).draw(batch_size=100, start=0, stop=200, seed=0).reshape(-1, 3)
    n = len(draws)
    # Five standard deviations.
    assert abs(draws[:, 0].mean() - 0.5) < 5 * 0.5 / n**0.5
    for axis in (1, 2):
        counts = np.bincount(draws[:, axis], minlength=9)
        assert counts.shape == (9,)
        assert np.abs(counts / n - 1 / 9).max() < 5 * (8 / 81 / n) ** 0.5
    assert abs(np.corrcoef(draws.T)[np.triu_indices(3, 1)]).max() < 5 / n**0.5


@BACKENDS
def test_draws_are_a_function_of_seed_and_step():
    augment = Augment()
    whole = augment.draw(8, start=0, stop=10, seed=1)
    assert whole.shape == (10, 8, 3)
    assert whole.dtype == np.int32
    np.testing.assert_array_equal(augment.draw(8, start=4, stop=7, seed=1), whole[4:7])
    assert not np.array_equal(augment.draw(8, start=0, stop=10, seed=2), whole)
    assert len({d.tobytes() for d in whole}) == 10


@BACKENDS
@pytest.mark.parametrize("flip", [True, False])
@pytest.mark.parametrize("crop", [0, 3])
def test_what_is_off_does_nothing(flip, crop):
    augment = Augment(flip=flip, crop=crop)
    draws = augment.draw(50, 0, 1, seed=0)[0]
    assert draws[:, 0].any() == flip
    assert draws[:, 1:].any() == bool(crop)
    if not flip and not crop:
        x = np.random.default_rng(0).normal(size=(50, 4, 4, 1))
        np.testing.assert_array_equal(augment.apply_numpy(x, draws), x)


@BACKENDS
@pytest.mark.parametrize("crop", [-1, 0.5])
def test_a_crop_that_cannot_be(crop):
    with pytest.raises(InputError, match=f"`crop` must be a whole number.* received {crop}"):
        Augment(crop=crop)


@BACKENDS
@pytest.mark.parametrize("x", [np.zeros((5, 4)), {"a": np.zeros((5, 4, 4, 1))}])
def test_data_that_is_no_images(x):
    with pytest.raises(InputError, match=r"`augment` needs images of shape \(rows, height"):
        Augment().check(x)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="needs TensorFlow")
@pytest.mark.parametrize("xla", [True, False])
@pytest.mark.parametrize("crop", [0, 1, 3])
@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_tensorflow_and_numpy_make_the_same_pictures(xla, crop, dtype):
    import tensorflow as tf

    augment = Augment(crop=crop)
    x = np.random.default_rng(1).integers(0, 255, (64, 5, 7, 2)).astype(dtype)
    draws = augment.draw(64, 0, 1, seed=2)[0]
    seen = tf.function(augment.apply, jit_compile=xla)(tf.constant(x), tf.constant(draws)).numpy()
    assert seen.dtype == x.dtype
    np.testing.assert_array_equal(seen, augment.apply_numpy(x, draws))
