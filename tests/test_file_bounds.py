import doctest
import os
import zipfile

import numpy as np
import pytest

import tfinit.file_bounds as module
from tfinit.file_bounds import array_bytes, check_bytes, check_member, most_bytes
from tfinit.files import open_regular


def test_examples():
    failed, tried = doctest.testmod(module)
    assert (failed, tried > 0) == (0, True)


def test_the_bound_is_what_deflate_can_do_and_never_falls():
    stored = [0, 1, 904, 500_000, 520_602, 10**6, 5_368_709, 5_368_710, 10**8, 10**12]
    most = [most_bytes(n) for n in stored]
    assert most == sorted(most)
    assert most[2] == 932_928  # of a ticket of 904 bytes
    assert most[-1] == 10**14
    # What is not compressed is never refused.
    assert all(most_bytes(n) >= n for n in stored)


def test_an_array_that_cannot_be():
    assert array_bytes((), np.dtype("f8")) == 8
    assert array_bytes((0, 2**40), np.dtype("f8")) == 0
    for shape in [(-1,), (True,), (1.0,), ("4",), (1,) * 65]:
        with pytest.raises(ValueError, match="no array has the shape"):
            array_bytes(shape, np.dtype("f4"))
    with pytest.raises(
        ValueError, match=r"it asks for 1,600,000,000 bytes .* the file has 904; if"
    ):
        check_bytes("it", array_bytes((20_000, 20_000), np.dtype("f4")), 904)


def test_a_member_cannot_be_larger_than_the_archive():
    member = zipfile.ZipInfo("x.npy")
    member.file_size = member.compress_size = 1000
    check_member(member, 1100)
    with pytest.raises(ValueError, match=r"says that it has 1,000 bytes, and 900 are there"):
        check_member(member, 900)
    member.compress_type, member.file_size = zipfile.ZIP_DEFLATED, 1_032_001
    with pytest.raises(ValueError, match="asks for 1,032,001 bytes"):
        check_member(member, 1100)


def test_only_regular_files_are_opened(tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    with open_regular(tmp_path / "file") as file:
        assert file.read() == b"content"
    os.mkfifo(tmp_path / "pipe")  # whose open would wait for a writer
    for path in (tmp_path, tmp_path / "pipe", "/dev/zero", tmp_path / "nowhere"):
        with pytest.raises(OSError), open_regular(path):
            pass
