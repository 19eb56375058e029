"""Arrays of NumPy's files: the same as np.load gives, and nothing of what hostile files ask for."""

import tracemalloc

import numpy as np
import pytest
from hostile_files import GOOD, NUMPY, NUMPY_HARMLESS, Place

from tfinit.array_files import open_arrays, read_arrays
from tfinit.errors import InputError

ARRAYS = {
    "plain": np.arange(6.0).reshape(2, 3),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "big-endian": np.arange(3, dtype=">f4"),
    "scalar": np.float32(2.5),
    "empty": np.zeros((0, 2**40)),
    "bool": np.array([True, False]),
    "complex": np.array([1 + 2j]),
    "text": np.array(["one", "three"]),
    "records": np.array([(1, 2.0)], [("a", "i4"), ("b", "f8")]),
    # One of a thousand: deflate shrinks them to less than a hundredth.
    "one-hot": np.eye(1000, dtype="f4")[np.arange(600)],
}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_are_those_of_numpy(tmp_path, save):
    save(tmp_path / "a.npz", **ARRAYS)
    found = read_arrays(tmp_path / "a.npz", "")
    assert list(found) == list(ARRAYS) and len(found) == len(ARRAYS)
    with np.load(tmp_path / "a.npz") as expected, open_arrays(tmp_path / "a.npz") as stored:
        for name, array in found.items():
            assert array.dtype == expected[name].dtype == stored[name].dtype
            assert array.shape == stored[name].shape
            assert array.flags.f_contiguous == expected[name].flags.f_contiguous
            assert array.tobytes() == expected[name].tobytes()
    with pytest.raises(KeyError):
        found["other"]


def test_an_npy_file_is_called_x(tmp_path):
    np.save(tmp_path / "a.npy", ARRAYS["plain"])
    found = read_arrays(tmp_path / "a.npy", "")
    assert list(found) == ["x"] and found["x"].tolist() == ARRAYS["plain"].tolist()


# The last takes seconds to make; scripts/_attack_files.py makes it.
@pytest.mark.parametrize("kind", sorted(NUMPY.keys() - {"640 MiB of zeros"}))
def test_a_hostile_file_is_refused_in_a_line(kind, tmp_path):
    place = Place(tmp_path)
    NUMPY[kind](tmp_path / "a.npz", place)
    tracemalloc.start()
    with pytest.raises(InputError) as raised:
        found = read_arrays(tmp_path / "a.npz", "`data` is bad", "Mend it.")
        found["x" if list(found) == ["x"] else "kernel"]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    told = str(raised.value)
    assert told.startswith("`data` is bad: ") and told.endswith(" Mend it.") and "\n" not in told
    assert "memory" not in told.lower() or "asks for" in told  # not by running out of it
    assert peak < 16 * 2**20
    assert not place.ran.exists()


@pytest.mark.parametrize("kind", NUMPY_HARMLESS)
def test_what_nobody_asks_for_does_no_harm(kind, tmp_path):
    NUMPY_HARMLESS[kind](tmp_path / "a.npz", Place(tmp_path))
    assert read_arrays(tmp_path / "a.npz", "")["kernel"].tolist() == GOOD.tolist()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.npz"]
