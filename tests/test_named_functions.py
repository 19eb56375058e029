"""A function of the user's, found by its place."""

import sys

import pytest

from tfinit.errors import InputError
from tfinit.named_functions import is_named, load_named


@pytest.fixture(autouse=True)
def _as_it_was(monkeypatch):
    kept = dict(sys.modules)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name in set(sys.modules) - set(kept):
        del sys.modules[name]


@pytest.mark.backends
@pytest.mark.parametrize(
    ("name", "named"),
    [("a/b.py:f", True), ("m.n:f", True), ("m:f", True), ("tfds:x", False), ("mnist", False)],
)
def test_a_place_is_told_from_other_names(name, named):
    assert is_named(name) is named


@pytest.mark.backends
def test_a_file_is_run_once_and_finds_what_lies_beside_it(tmp_path):
    (tmp_path / "beside_it.py").write_text("FIVE = 5\n")
    (tmp_path / "of_mine.py").write_text("from beside_it import FIVE\ndef build(): return FIVE\n")
    build = load_named(f"{tmp_path}/of_mine.py:build", "model")
    assert build() == 5
    assert load_named(f"{tmp_path}/of_mine.py:build", "model") is build


@pytest.mark.backends
def test_a_file_with_the_name_of_a_module_does_not_take_its_place(tmp_path):
    (tmp_path / "json.py").write_text("def build(): return 'mine'\n")
    import json

    assert load_named(f"{tmp_path}/json.py:build", "model")() == "mine"
    assert sys.modules["json"] is json


@pytest.mark.backends
def test_a_module_is_found_from_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "package_of_mine").mkdir()
    (tmp_path / "package_of_mine" / "nets.py").write_text("def build(): return 3\n")
    monkeypatch.chdir(tmp_path)
    assert load_named("package_of_mine.nets:build", "model")() == 3


@pytest.mark.backends
@pytest.mark.parametrize(
    ("content", "name", "told"),
    [
        (None, "nowhere.py:build", "there is no file nowhere.py"),
        ("import absent_one\n", "m.py:build", "ModuleNotFoundError.*absent_one.*line 1"),
        ("def build(:\n", "m.py:build", "SyntaxError.*line 1"),
        ("\n\n1 / 0\n", "m.py:build", "ZeroDivisionError.*line 3"),
        ("open('no file')\n", "m.py:build", "FileNotFoundError"),
        ("def built(): pass\n", "m.py:build", "has no function build. It has built"),
        ("build = 3\n", "m.py:build", "has no function build. It has none"),
        (None, "module_that_is_not:build", "ModuleNotFoundError"),
        (None, "build", "path/to/file.py:function"),
    ],
)
def test_what_cannot_be_found_is_told_in_a_line(tmp_path, monkeypatch, content, name, told):
    monkeypatch.chdir(tmp_path)
    if content is not None:
        (tmp_path / "m.py").write_text(content)
    with pytest.raises(InputError, match=f"`model` .*{told}") as found:
        load_named(name, "model")
    assert "\n" not in str(found.value)
