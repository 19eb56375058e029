"""Files that appear whole or not at all, whatever is in their way."""

import fcntl
import os
import shutil
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tfinit.errors import InputError, WorkError
from tfinit.files import check_writable, held, open_regular, put, read_regular, write_whole

LONG = "n" * 250 + ".txt"  # of 255 bytes that a name may have


def names(path):
    return sorted(p.name for p in path.iterdir())


@pytest.fixture
def hostile(tmp_path):
    """A directory with one of each that is no file, and a file that links point to."""
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "victim").write_text("years of work")
    (tmp_path / "link").symlink_to(tmp_path / "victim")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    return tmp_path


@pytest.mark.parametrize("name", ["a.txt", LONG, "ä" * 120 + ".json", "[a-z]*.txt"])
def test_a_file_takes_the_place_of_another_and_leaves_nothing_aside(tmp_path, name):
    path = tmp_path / "new" / "deep" / name
    for content in (b"first", b"second"):
        put(path, content)
        assert path.read_bytes() == content
    (tmp_path / "source").write_bytes(b"third")
    put(path, tmp_path / "source")
    assert path.read_bytes() == b"third"
    assert names(path.parent) == [name]
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask


def test_a_directory_takes_the_place_of_another(tmp_path):
    source, path = tmp_path / "source", tmp_path / "saved"
    (source / "variables").mkdir(parents=True)
    (source / "variables" / "data").write_bytes(b"numbers")
    (path / "old").mkdir(parents=True)
    put(path, source)
    assert names(path) == ["variables"]
    assert (path / "variables" / "data").read_bytes() == b"numbers"
    assert names(tmp_path) == ["saved", "source"]


def test_a_link_is_replaced_and_not_what_it_points_to(hostile):
    put(hostile / "link", b"new")
    assert not (hostile / "link").is_symlink()
    assert (hostile / "victim").read_text() == "years of work"


def test_a_link_that_waits_aside_is_not_followed(hostile, monkeypatch):
    monkeypatch.setattr("secrets.token_hex", lambda n: "0" * 2 * n)
    aside = hostile / ".00000000.a.txt.tmp"
    aside.symlink_to(hostile / "victim")
    with pytest.raises(FileExistsError):
        put(hostile / "a.txt", b"new")
    assert (hostile / "victim").read_text() == "years of work"
    assert not (hostile / "a.txt").exists()


def test_what_cannot_be_written_leaves_what_was_there(tmp_path):
    (tmp_path / "a" / "full").mkdir(parents=True)
    with pytest.raises(WorkError, match=r"cannot write .*a: Is a directory\. What was done before"):
        write_whole(tmp_path / "a", b"")
    with pytest.raises(WorkError, match=r"Not a directory\. Try another\."):
        (tmp_path / "file").touch()
        write_whole(tmp_path / "file" / "b", b"", "Try another.")
    with pytest.raises(TypeError):
        put(tmp_path / "file", "no bytes")
    assert names(tmp_path) == ["a", "file"]
    assert names(tmp_path / "a") == ["full"]


def test_what_a_killed_process_left_goes_and_what_another_writes_stays(tmp_path):
    for token in ("0123abcd", "ffffffff"):
        (tmp_path / f".{token}.a.txt.tmp").write_bytes(b"half")
    (tmp_path / ".01234567.a.txt.tmp").mkdir()
    (tmp_path / ".0123abcd.b.txt.tmp").write_bytes(b"of another file")
    with (tmp_path / ".ffffffff.a.txt.tmp").open() as at_work:
        fcntl.flock(at_work, fcntl.LOCK_EX)
        put(tmp_path / "a.txt", b"whole")
        left = [".0123abcd.b.txt.tmp", ".ffffffff.a.txt.tmp", "a.txt"]
        assert names(tmp_path) == left


def test_two_that_write_one_file_both_succeed(tmp_path):
    contents = [bytes([n]) * 200_000 for n in range(4)]

    def write(content):
        for _ in range(20):
            put(tmp_path / "a", content)

    with ThreadPoolExecutor() as threads:
        list(threads.map(write, contents))  # raises what they raise
    assert (tmp_path / "a").read_bytes() in contents
    assert names(tmp_path) == ["a"]


def test_directories_are_synced_after_what_they_name(tmp_path, monkeypatch):
    told = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (told.append(os.fstat(fd).st_ino), sync(fd)))
    monkeypatch.setattr(os, "replace", lambda a, b: (told.append("rename"), replace(a, b)))
    put(tmp_path / "new" / "a", b"content")
    new = tmp_path / "new"
    file, own, above = ((p.stat().st_ino) for p in (new / "a", new, tmp_path))
    # The directory that was made, in the one above it; the file; its name.
    assert told == [above, file, "rename", own]
    told.clear()
    put(tmp_path / "copy", new)
    copy = tmp_path / "copy"
    inside, own = (copy / "a").stat().st_ino, copy.stat().st_ino
    assert told == [inside, own, "rename", above]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("pipe", "something else than a file"),
        ("directory", "something else than a file"),
        ("loop", "symbolic links"),
        ("nothing", "No such file"),
        (LONG * 2, "too long"),
    ],
)
def test_what_is_no_file_is_not_read(hostile, name, why):
    with pytest.raises(OSError, match=why):
        read_regular(hostile / name)


@pytest.mark.parametrize("name", ["", ".", "/", "a\0b"])
def test_what_is_no_name_is_an_error_like_others(name):
    for call in (read_regular, lambda path: put(path, b"")):
        with pytest.raises(OSError, match=r"Is a directory|null byte"):
            call(Path(name))
    with pytest.raises(InputError, match=r"`plot` .*Is a directory|null byte"):
        check_writable("plot", Path(name))


def test_a_file_is_read_also_through_a_link(hostile):
    assert read_regular(hostile / "link") == b"years of work"
    with open_regular(hostile / "victim") as file:
        assert file.read(5) == b"years"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("pipe", "is something else than a file"),
        ("directory", "is a directory"),
        ("victim/a", "Not a directory"),
        ("loop/a", "symbolic links"),
        (LONG * 2, "too long"),
        ("new/" + LONG * 2, "too long"),
        (LONG * 2 + "/a", "too long"),
        ("/proc/tfinit/a", "No such file"),
    ],
)
def test_what_cannot_be_written_is_known_before(hostile, name, why):
    before = names(hostile)
    with pytest.raises(InputError, match=rf"`plot` .*{why}"):
        check_writable("plot", hostile / name)
    assert names(hostile) == before


@pytest.mark.parametrize("name", ["new", "victim", "link", "new/deep/a", LONG, "new/" + LONG])
def test_what_can_be_written_is_looked_at_and_left_alone(hostile, name):
    before = names(hostile)
    check_writable("plot", hostile / name)
    assert names(hostile) == before
    assert (hostile / "victim").read_text() == "years of work"


@pytest.mark.parametrize("name", ["a.txt", "new/deep/a.txt"])
def test_whose_directory_it_is_and_who_may_write_there(of_another, name):
    said = (
        f"Permission denied: {of_another} belongs to user 4321, and this is user 1234; let user "
        "1234 write there, or run this as user 4321 (a container: --user 4321:8765)."
    )
    path = of_another / name
    with pytest.raises(InputError) as error:
        check_writable("out", path)
    assert str(error.value) == f"`out` {str(path)!r} cannot be written: {said} Choose another path."
    with pytest.raises(WorkError) as error:
        write_whole(path, b"", "Mend it.")
    assert str(error.value) == f"cannot write {path}: {said} Mend it."
    with pytest.raises(InputError) as error, held(path.with_name(".lock"), "`out`", "--out"):
        pass
    assert name != "a.txt" or said in str(error.value)


def test_of_root_s_directory_no_one_is_told_to_be_root(of_another):
    os.setresuid(0, 0, 0)
    os.chown(of_another, 0, 0)
    os.setresuid(1234, 1234, 0)
    with pytest.raises(InputError, match=r"this is user 1234; let user 1234 write there\. Choose"):
        check_writable("out", of_another / "a.txt")


def test_the_mode_of_one_s_own_directory(of_another):
    os.setresuid(0, 0, 0)
    os.chown(of_another, 1234, 1234)
    of_another.chmod(0o500)
    os.setresuid(1234, 1234, 0)
    with pytest.raises(InputError, match=f"denied: the mode of {of_another} is 500. Choose"):
        check_writable("out", of_another / "deep" / "a.txt")


def test_a_directory_for_a_directory(hostile):
    check_writable("path", hostile / "directory", directory=True)
    with pytest.raises(InputError, match=r"`path` .* is a file\. Choose another path"):
        check_writable("path", hostile / "victim", directory=True)


@pytest.mark.parametrize("name", ["pipe", "directory", "link", "loop"])
def test_a_lock_that_is_no_file(hostile, name):
    with (
        pytest.raises(InputError, match=r"`out` it cannot be locked: .*choose another with --out"),
        held(hostile / name, "`out` it", "--out"),
    ):
        pass
    assert (hostile / "victim").read_text() == "years of work"


def test_a_lock_is_held_by_one_and_may_be_removed_by_it(tmp_path):
    lock = tmp_path / ".lock"
    with held(lock, "`out` it", "--out"):
        with pytest.raises(InputError, match="in use by another process"), held(lock, "", "--out"):
            pass
        lock.unlink()
    with held(lock, "`out` it", "--out"):
        pass


def test_on_a_full_disk_nothing_is_left_aside(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, os.strerror(28))

    put(tmp_path / "a", b"before")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WorkError, match="No space left"):
        write_whole(tmp_path / "a", b"after")
    assert (tmp_path / "a").read_bytes() == b"before"
    assert names(tmp_path) == ["a"]
    monkeypatch.setattr(shutil, "copytree", full)
    with pytest.raises(WorkError, match="No space left"):
        write_whole(tmp_path / "b", tmp_path)
    assert names(tmp_path) == ["a"]
