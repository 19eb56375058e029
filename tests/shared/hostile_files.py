"""Files as somebody means them who wants to read, run or exhaust what is not his.

Three tables of makers by name: each writes one file. All name the canaries of a `Place`: files that
nobody may open, and code that must not run.
"""

import io
import itertools
import json
import os
import pickle
import struct
import warnings
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from tfinit.lottery.ticket import Ticket, _digest

SECRET = 1234.5678
SHAPE = (4, 4)  # of the kernel and the inputs that they are asked for
GOOD = np.arange(16, dtype="f4").reshape(SHAPE)
_HUGE = 20_000  # squared, in float32, 1.6 GB


@dataclass(frozen=True)
class Place:
    """A directory with the canaries and the honest files that hostile ones are made from."""

    root: Path

    @property
    def canaries(self):
        return self.root / "canaries"

    @property
    def ran(self):
        """A file that is there once canary code has run."""
        return self.root / "ran"

    @property
    def base(self):
        return self.root / "base.keras"

    @classmethod
    def made(cls, root):
        import keras

        place = cls(root)
        place.canaries.mkdir(parents=True)
        secret = np.full(SHAPE, SECRET, "f4")
        (place.canaries / "secret.bin").write_bytes(secret.tobytes())
        (place.canaries / "words.txt").write_text("secret word\nanother secret\n")
        np.savez(place.canaries / "secret.npz", kernel=secret)
        with h5py.File(place.canaries / "secret.h5", "w") as file:
            file["layers/fc/vars/0"] = secret
        layers = [keras.Input((SHAPE[0],)), keras.layers.Dense(SHAPE[1], name="fc")]
        model = keras.Sequential(layers)
        model.layers[-1].kernel.assign(GOOD)
        model.save(place.base)
        return place


class _Code:
    """What runs when it is unpickled."""

    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return os.mkdir, (str(self.place.ran),)


# -- NumPy: "kernel" is asked for, and x_train, y_train, x_test, y_test


def npy(header, values=b"", version=(1, 0)):
    """An array in NumPy's format with any header."""
    text = header if isinstance(header, bytes) else header.encode()
    size = struct.pack("<H" if version == (1, 0) else "<I", len(text))
    return b"\x93NUMPY" + bytes(version) + size + text + values


def claim(shape, dtype="<f4", values=b"\0" * 64):
    """An array that says it has this shape."""
    return npy(f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {shape}, }}\n", values)


def honest(array):
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


def archive(path, content, how=zipfile.ZIP_STORED, extra=()):
    """An .npz whose inputs and kernel all have this content."""
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", how) as file:
        warnings.simplefilter("ignore")  # of a name that is there twice
        for name in ("kernel", "rewind/kernel", "x_train", "x_test"):
            file.writestr(f"{name}.npy", content)
        for name in ("y_train", "y_test"):
            file.writestr(f"{name}.npy", honest(np.arange(SHAPE[0])))
        for name, more in extra:
            file.writestr(name, more)


def patched(path, change):
    """Change each entry of an archive's directory: ``change(content, where it starts)``."""
    content = bytearray(path.read_bytes())
    at = content.find(b"PK\x01\x02")
    while at >= 0:
        change(content, at)
        at = content.find(b"PK\x01\x02", at + 4)
    path.write_bytes(content)


def _sizes_claimed(path, place):
    archive(path, claim((_HUGE, _HUGE)), zipfile.ZIP_DEFLATED)
    patched(path, lambda content, at: struct.pack_into("<I", content, at + 24, 2**31))


def _encrypted(path, place):
    archive(path, honest(GOOD))
    patched(path, lambda content, at: struct.pack_into("<H", content, at + 8, 1))


def _one_over_the_other(path, place):
    """All members with the bytes of one."""
    archive(path, claim((2**20,), values=bytes(2**22)), zipfile.ZIP_DEFLATED)
    last = path.read_bytes().rfind(b"PK\x03\x04")
    patched(path, lambda content, at: struct.pack_into("<I", content, at + 42, last))


def _deflated_zeros(mebibytes):
    """What zlib makes of zeros, without ever holding them: the same block again and again."""
    packer = zlib.compressobj(9)
    start = packer.compress(b"") + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    end = zlib.compressobj(9, wbits=-15).flush()  # an empty last block
    checksum = (mebibytes * 2**20 % 65521) << 16 | 1  # Adler's, of zeros
    return start + mebibytes * block + end + checksum.to_bytes(4, "big")


def _real_bomb(path, place):
    """640 MiB of zeros that are really there, in 650 KB."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as file:
        for name in ("kernel", "x_train"):
            with file.open(f"{name}.npy", "w") as member:
                member.write(claim((40 * 2**22,), values=b""))
                for _ in range(40):
                    member.write(bytes(2**24))
        for name in ("y_train", "x_test", "y_test"):
            file.writestr(f"{name}.npy", honest(np.arange(SHAPE[0])))


def _cut_short(path, place):
    archive(path, honest(GOOD))
    path.write_bytes(path.read_bytes()[:300])


def _fifo(path, place):
    os.mkfifo(path)


def _of(content, how=zipfile.ZIP_STORED, extra=()):
    return lambda path, place: archive(
        path, content(place) if callable(content) else content, how, extra
    )


def _objects(place):
    return honest(np.array([_Code(place)], object))


NUMPY = {
    "npy of 2^40 numbers": lambda path, place: path.write_bytes(claim((2**40,))),
    "stored, huge shape": _of(claim((_HUGE, _HUGE))),
    "deflated, huge shape": _of(claim((_HUGE, _HUGE)), zipfile.ZIP_DEFLATED),
    "sizes claimed in the archive": _sizes_claimed,
    "objects that run code": _of(_objects),
    "a bare pickle as a member": _of(lambda place: pickle.dumps(_Code(place))),
    "a bare pickle": lambda path, place: path.write_bytes(pickle.dumps(_Code(place))),
    "negative shape": _of(claim((-1, -16))),
    "shape beyond 64 bits": _of(claim((2**33, 2**33))),
    "a hundred axes": _of(claim((1,) * 100)),
    "true as a number": _of(claim((True, 16))),
    "a header of 4 GB": _of(b"\x93NUMPY\2\0\xff\xff\xff\xff{}"),
    "a header of version 3": _of(npy("{}", version=(3, 0))),
    "code in the header": _of(npy("__import__('os').mkdir('ran')\n")),
    "nesting in the header": _of(npy("(" * 2000)),
    "strings of 4 GB": _of(claim((1,), "<U999999999")),
    "records with objects": _of(claim((1,), [("a", "O")])),
    "bzip2": _of(honest(GOOD), zipfile.ZIP_BZIP2),
    "lzma": _of(honest(GOOD), zipfile.ZIP_LZMA),
    "encrypted": _encrypted,
    "members one over the other": _one_over_the_other,
    "640 MiB of zeros": _real_bomb,
    "cut short": _cut_short,
    "a pipe": _fifo,
    "a directory": lambda path, place: path.mkdir(),
    "a device without an end": lambda path, place: path.symlink_to("/dev/zero"),
}
# What nobody asks for does no harm: these are read as the honest files that they else are.
NUMPY_HARMLESS = {
    "a huge member nobody asks for": _of(honest(GOOD), extra=[("z.npy", claim((2**40,)))]),
    "objects nobody asks for": lambda path, place: archive(
        path, honest(GOOD), extra=[("z.npy", _objects(place))]
    ),
    "a member that climbs": _of(honest(GOOD), extra=[("../../ran", b"x"), ("/ran.npy", b"x")]),
}


# -- tickets


def ticket(changes=(), members=None, **told):
    """A maker of a ticket with a valid checksum, whatever else is wrong with it."""

    def make(path, place):
        Ticket({"fc/kernel": GOOD > 5}, {"fc/kernel": GOOD, "fc/bias": GOOD[0]}).save(path)
        with np.load(path) as file:
            made = {name: file[name] for name in file.files}
        header = json.loads(made["header"].tobytes()) | told
        for weight, changed in zip(header["weights"], changes, strict=False):
            weight.update(changed)
        made["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
        made |= members(place) if members else {}
        if all(made[name].dtype != object for name in made):
            made["sha256"] = _digest({name: made[name] for name in ("header", "masks", "values")})
        np.savez_compressed(path, **made)

    return make


def _bytes(text):
    return np.frombuffer(text.encode(), np.uint8)


TICKETS = {
    "a masked shape of gigabytes": ticket([{"shape": [_HUGE, _HUGE]}]),
    "a whole shape of gigabytes": ticket([{}, {"shape": [_HUGE, _HUGE]}]),
    "a shape beyond 64 bits": ticket([{"shape": [2**40, 2**40]}]),
    "a negative shape": ticket([{"shape": [-4, -3]}]),
    "100,000 axes": ticket([{"shape": [1] * 100_000}]),
    "a shape that is a text": ticket([{"shape": "43"}]),
    "weights that are objects": ticket([{"dtype": "O"}]),
    "weights of 1 GB each": ticket([{}, {"dtype": "V1000000000"}]),
    "weights of records": ticket([{"dtype": "f8," * 1000}]),
    "no weights": ticket(weights=[]),
    "fewer values than weights": ticket(members=lambda place: {"values": _bytes("")}),
    "more masks than weights": ticket(members=lambda place: {"masks": np.zeros(10**6, "u1")}),
    "a header that runs code": ticket(
        members=lambda place: {"header": np.array([_Code(place)], object)}
    ),
    "a nested header": ticket(members=lambda place: {"header": _bytes("[" * 100_000)}),
    "a header that is no row": ticket(members=lambda place: {"header": np.zeros((2, 2), "f8")}),
    "a header of a number": ticket(members=lambda place: {"header": _bytes("9" * 10_000)}),
}


# -- HDF5: layers/fc/vars/0 is asked for


def _hdf5(write):
    """A maker of a weights file in which ``write(group, name, place)`` makes the kernel."""

    def make(path, place):
        with h5py.File(path, "w") as file:
            group = file.create_group("layers/fc/vars")
            group["1"] = np.zeros(SHAPE[1], "f4")
            write(group, "0", place)

    return make


def _external(group, name, place):
    group.create_dataset(name, SHAPE, "f4", external=[(place.canaries / "secret.bin", 0, 64)])


def _external_bytes(group, name, place):
    group.create_dataset(name, (16,), "u1", external=[(place.canaries / "words.txt", 0, 16)])


def _external_of_nothing(group, name, place):
    group.create_dataset(name, SHAPE, "f4", external=[(place.canaries / "missing.bin", 0, 64)])


def _external_link(group, name, place):
    group[name] = h5py.ExternalLink(str(place.canaries / "secret.h5"), "layers/fc/vars/0")


def _external_group(group, name, place):
    group[name] = GOOD
    group.parent.parent["there"] = h5py.ExternalLink(str(place.canaries / "secret.h5"), "/")
    del group[name]
    group[name] = h5py.SoftLink("/layers/there/layers/fc/vars/0")


def _virtual(group, name, place):
    layout = h5py.VirtualLayout(SHAPE, "f4")
    layout[:] = h5py.VirtualSource(place.canaries / "secret.h5", "layers/fc/vars/0", SHAPE)
    group.create_virtual_dataset(name, layout)


def _virtual_without_end(group, name, place):
    made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    space = h5py.h5s.create_simple(SHAPE, (h5py.h5s.UNLIMITED, 4))
    space.select_hyperslab((0, 0), (1, 1), (1, 1), (h5py.h5s.UNLIMITED, 4))
    source = h5py.h5s.create_simple(SHAPE, (h5py.h5s.UNLIMITED, 4))
    source.select_hyperslab((0, 0), (1, 1), (1, 1), (h5py.h5s.UNLIMITED, 4))
    file = str(place.canaries / "secret.h5").encode()
    made.set_virtual(space, file, b"layers/fc/vars/0", source)
    h5py.h5d.create(group.id, name.encode(), h5py.h5t.IEEE_F32LE, space, made)


def _chunk_bomb(group, name, place):
    """A chunk of 768 KiB that becomes 256 MiB: HDF5 decompresses to the end."""
    options = {"chunks": (2**16, 4), "maxshape": (None, 4), "compression": "gzip"}
    made = group.create_dataset(name, SHAPE, "f4", **options)
    made.id.write_direct_chunk((0, 0), _deflated_zeros(256))


def _lzf_lie(group, name, place):
    made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    made.set_chunk(SHAPE)
    made.set_filter(32000, h5py.h5z.FLAG_OPTIONAL, (4, 261, 2**32 - 1))
    h5py.h5d.create(group.id, b"0", h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple(SHAPE), made)


def _unknown_filter(group, name, place):
    made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    made.set_chunk(SHAPE)
    made.set_filter(32015, h5py.h5z.FLAG_OPTIONAL, (1,))
    h5py.h5d.create(group.id, b"0", h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple(SHAPE), made)


def _variable_length(group, name, place):
    group.create_dataset(name, SHAPE, h5py.vlen_dtype(np.float32))


def _records(group, name, place):
    group[name] = np.zeros(SHAPE, [("a", "f4"), ("b", "S4")])


def _cut_short_hdf5(path, place):
    _hdf5(lambda group, name, place: group.create_dataset(name, data=GOOD))(path, place)
    path.write_bytes(path.read_bytes()[:1500])


def _set(*args, **kwargs):
    return _hdf5(lambda group, name, place: group.create_dataset(name, *args, **kwargs))


HDF5 = {
    "values in another file": _hdf5(_external),
    "bytes of another file": _hdf5(_external_bytes),
    "values in a file that is not there": _hdf5(_external_of_nothing),
    "a link to another file": _hdf5(_external_link),
    "a link by way of another file": _hdf5(_external_group),
    "a soft link": _hdf5(lambda group, name, place: group.__setitem__(name, h5py.SoftLink("1"))),
    "a virtual data set": _hdf5(_virtual),
    "a virtual data set without an end": _hdf5(_virtual_without_end),
    "an empty data set of gigabytes": _set((_HUGE, _HUGE), "f4"),
    "empty chunks of gigabytes": _set((_HUGE, _HUGE), "f4", chunks=True, compression="gzip"),
    "an empty data set of the right shape": _set(SHAPE, "f4"),
    "a chunk larger than all": _set(SHAPE, "f4", chunks=(2**14, 2**14), maxshape=(None, None)),
    "a chunk that grows": _hdf5(_chunk_bomb),
    "lzf that lies": _hdf5(_lzf_lie),
    "a filter from elsewhere": _hdf5(_unknown_filter),
    "scale and offset": _set(data=np.arange(16).reshape(SHAPE), scaleoffset=4),
    "rows of any length": _hdf5(_variable_length),
    "texts": _set(data=["a"] * 16),
    "records": _hdf5(_records),
    "references": _set(SHAPE, h5py.ref_dtype),
    "cut short": _cut_short_hdf5,
    "no HDF5": lambda path, place: path.write_bytes(pickle.dumps(_Code(place))),
}


# -- models: a .keras file


def _edited(change, how=zipfile.ZIP_STORED, weights=None, extra=()):
    """A maker of the honest model with another configuration or other weights."""

    def make(path, place):
        with zipfile.ZipFile(place.base) as old, zipfile.ZipFile(path, "w", how) as new:
            for name in old.namelist():
                content = old.read(name)
                if name == "config.json":
                    found = change(json.loads(content), place)
                    content = found if isinstance(found, bytes) else json.dumps(found).encode()
                if name == "model.weights.h5" and weights is not None:
                    aside = path.with_suffix(".h5")
                    weights(aside, place)
                    content = aside.read_bytes()
                    aside.unlink()
                new.writestr(name, content)
            for name, content in extra:
                new.writestr(name, content)

    return make


def _same(config, place):
    return config


def layer_of(config):
    """The configuration of the model's layer with weights, in that of the model."""
    return config["config"]["layers"][-1]


def naming(file, key="kernel"):
    """A maker of a model whose kernel comes from another file, if its configuration is believed."""

    def change(config, place):
        layer_of(config)["config"]["kernel_initializer"] = {
            "module": "tfinit.initializers.pretrained",
            "class_name": "Pretrained",
            "config": {"source": str(place.canaries / file), "key": key},
            "registered_name": "tfinit>Pretrained",
        }
        return config

    return _edited(change)


def _layer(**changes):
    def change(config, place):
        layer = layer_of(config)
        for name, value in changes.items():
            layer[name] = value(place) if callable(value) else value
        return config

    return _edited(change)


def _vocabulary(place):
    return {"vocabulary": str(place.canaries / "words.txt"), "name": "fc"}


def _config_bomb(path, place):
    with (
        zipfile.ZipFile(place.base) as old,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as new,
    ):
        for name in old.namelist():
            if name != "config.json":
                new.writestr(name, old.read(name))
        with new.open("config.json", "w") as member:
            for _ in range(40):
                member.write(b" " * 2**24)


def _units(config, place):
    layer_of(config)["config"]["units"] = 300_000_000
    return config


def _nested(config, place):
    return b"[" * 200_000


def _function(config, place):
    layer_of(config)["config"]["activation"] = {
        "module": "os",
        "class_name": "function",
        "config": "mkdir",
        "registered_name": "mkdir",
    }
    return config


KERAS = {
    "a Lambda": _layer(
        class_name="Lambda",
        config={"name": "fc", "function": {"class_name": "__lambda__", "config": {"value": "x"}}},
    ),
    "a SavedModel": _layer(
        class_name="TFSMLayer",
        config=lambda place: {"name": "fc", "filepath": str(place.canaries)},
    ),
    "a vocabulary": _layer(class_name="StringLookup", config=_vocabulary),
    "a vocabulary of text": _layer(class_name="TextVectorization", config=_vocabulary),
    "a module of PyTorch": _layer(
        module="keras.layers",
        class_name="TorchModuleWrapper",
        config=lambda place: {"name": "fc", "module": pickle.dumps(_Code(place)).hex()},
    ),
    "a class that is no layer": _layer(module="os", class_name="system", config={"command": "x"}),
    "a function of the system": _edited(_function),
    "a layer of 4.8 GB": _edited(_units),
    "a configuration of 640 MiB": _config_bomb,
    "a nested configuration": _edited(_nested),
    "no configuration": _edited(lambda config, place: b""),
    "bzip2": _edited(_same, zipfile.ZIP_BZIP2),
    "weights of NumPy's": lambda path, place: zipfile.ZipFile(path, "w").close(),
    **{f"weights: {name}": _edited(_same, weights=make) for name, make in HDF5.items()},
}
# They are loaded as the honest model that they else are; nothing that they name is opened.
KERAS_HARMLESS = {
    "an initializer that names a file": naming("secret.npz"),
    "an initializer that names weights": naming("secret.h5", "layers/fc/vars/0"),
    "an initializer that names no file": naming("missing.npz"),
    "a member that climbs": _edited(_same, extra=[("../ran", b"x"), ("assets/../../ran", b"x")]),
}


def all_kinds():
    """(family, name, suffix, maker) of every hostile file."""
    tables = {
        "NumPy": (".npz", NUMPY | NUMPY_HARMLESS),
        "ticket": (".npz", TICKETS),
        "HDF5": (".weights.h5", HDF5),
        "Keras": (".keras", KERAS | KERAS_HARMLESS),
    }
    for family, (suffix, table) in tables.items():
        yield from zip(
            itertools.repeat(family), table, itertools.repeat(suffix), table.values(), strict=False
        )
