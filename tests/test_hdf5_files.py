"""Weights in HDF5: the same as h5py gives, and nothing that lies elsewhere or is not there."""

import h5py
import ml_dtypes
import numpy as np
import pytest
from hostile_files import HDF5, SECRET, SHAPE, Place

from tfinit.hdf5_files import open_hdf5

VALUES = np.arange(600, dtype="f4").reshape(20, 30)


def written(path):
    with h5py.File(path, "w") as file:
        for name, options in {
            "contiguous": {},
            "chunked": {"chunks": (7, 9)},
            "gzip": {"chunks": (7, 9), "compression": "gzip"},
            "all filters": {"compression": "gzip", "shuffle": True, "fletcher32": True},
            "lzf": {"compression": "lzf", "shuffle": True},
            "growing": {"maxshape": (None, 30), "chunks": (64, 30), "compression": "gzip"},
        }.items():
            file.create_dataset(f"a/{name}", data=VALUES, **options)
        file["b/scalar"] = np.float64(2.5)
        file["b/big-endian"] = VALUES.astype(">f4")
        file["b/bool"] = VALUES > 300
        file["b/int"] = VALUES.astype("i8")
        file["b/complex"] = VALUES * 1j
        file.create_dataset("b/empty", (0, 5), "f4")
        file.create_dataset("b/no chunk of zeros", data=np.zeros((3, 3)), compression="gzip")
        half = file.create_dataset("b/vars/0", data=VALUES.astype(ml_dtypes.bfloat16))
        half.attrs["dtype"] = "bfloat16"
        file["b/vars"].attrs["name"] = "fc"
        file["c/none"] = h5py.Empty("f4")
        file["c/again"] = file["a/gzip"]  # the same object by another name
        file["c/loop"] = file["c"]


def test_tensors_are_those_of_h5py(tmp_path):
    written(tmp_path / "w.h5")
    with h5py.File(tmp_path / "w.h5") as file, open_hdf5(tmp_path / "w.h5") as opened:
        expected = {}

        def visit(name, item):
            if isinstance(item, h5py.Dataset) and item.shape is not None:
                expected[name] = item

        file.visititems(visit)
        opened.check()
        found = opened.tensors()
        assert list(found) == list(expected)
        assert opened.aliases() == {"b/vars/0": "fc/vars/0"}
        for path, tensor in found.items():
            assert tensor.shape == expected[path].shape
            array = tensor.read()
            assert array.tobytes() == np.asarray(expected[path][()]).tobytes()
            assert array.dtype == tensor.dtype
        assert found["b/vars/0"].dtype == ml_dtypes.bfloat16
        assert found["b/vars/0"].read()[0, 3] == 3


@pytest.mark.parametrize("kind", HDF5)
def test_a_hostile_file_is_refused(kind, tmp_path):
    place = Place(tmp_path)
    place.canaries.mkdir()
    secret = np.full(SHAPE, SECRET, "f4")
    (place.canaries / "secret.bin").write_bytes(secret.tobytes())
    (place.canaries / "words.txt").write_text("secret words, many of them")
    with h5py.File(place.canaries / "secret.h5", "w") as file:
        file["layers/fc/vars/0"] = secret
    HDF5[kind](tmp_path / "w.h5", place)
    with pytest.raises((ValueError, OSError)), open_hdf5(tmp_path / "w.h5") as file:
        file.check()
    with pytest.raises((ValueError, OSError)), open_hdf5(tmp_path / "w.h5") as file:
        tensor = file.tensors()["layers/fc/vars/0"]
        if tensor.shape != SHAPE:
            raise ValueError("it would be refused for its shape")
        tensor.read()
    assert not place.ran.exists()


def test_many_names_for_the_same_bytes_are_counted(tmp_path):
    """Each is as large as its bytes; all of them together are not."""
    path = tmp_path / "w.h5"
    with h5py.File(path, "w", libver="earliest") as file:
        for n in range(150):
            file.create_dataset(f"{n}", data=np.full(2, n, "f8"))
        file["large"] = np.zeros(2**20)
        offset = file["large"].id.get_offset()
        few = [file[f"{n}"].id.get_offset() for n in range(150)]
    content = bytearray(path.read_bytes())
    for address in few:  # data sets of 16 bytes become ones of 8 MiB, at the address of the large
        old = address.to_bytes(8, "little") + (16).to_bytes(8, "little")
        at = content.find(old)
        content[at : at + 16] = offset.to_bytes(8, "little") + (2**23).to_bytes(8, "little")
        shape = content.rfind((2).to_bytes(8, "little") * 2, 0, at)
        content[shape : shape + 16] = (2**20).to_bytes(8, "little") * 2
    path.write_bytes(content)
    with open_hdf5(path) as file:
        assert file.tensors()["0"].read().nbytes == 2**23
        with pytest.raises(ValueError, match="it asks for 1,266,679,808 bytes"):
            file.check()


def test_the_weights_of_a_keras_file_wherever_they_are(tmp_path):
    """Stored as Keras does it, or compressed by somebody since."""
    import zipfile

    written(tmp_path / "w.h5")
    for how in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        with zipfile.ZipFile(tmp_path / "m.keras", "w", how) as archive:
            archive.writestr("config.json", "{}")
            archive.write(tmp_path / "w.h5", "model.weights.h5")
        with open_hdf5(tmp_path / "m.keras") as file:
            assert file.size == (tmp_path / "w.h5").stat().st_size
            assert np.array_equal(file.tensors()["a/all filters"].read(), VALUES)
    content = (tmp_path / "m.keras").read_bytes()
    (tmp_path / "m.keras").write_bytes(content[:2000])
    with pytest.raises(Exception, match="File is not a zip file"), open_hdf5(tmp_path / "m.keras"):
        pass
