"""A function of the user's in another process: where its source is, and where it is not."""

import pickle
import subprocess
import sys

import pytest

from tfinit.named_functions import load_named
from tfinit.own_code import OwnCode

ELSEWHERE = """
import pickle, sys
from tfinit.named_functions import load_named
given = pickle.load(open(sys.argv[1], "rb")).given
build = load_named(given, "model") if isinstance(given, str) else given
print(build(), build.__code__.co_filename)
"""


@pytest.fixture(autouse=True)
def _as_it_was(monkeypatch):
    kept = dict(sys.modules)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name in set(sys.modules) - set(kept):
        del sys.modules[name]


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A file of the user's that imports what lies beside it; the working directory."""
    home = tmp_path / "project"
    (home / "own_parts").mkdir(parents=True)
    (home / "own_parts/__init__.py").write_text("")
    (home / "own_parts/sizes.py").write_text("FIVE = 5\n")
    (home / "own_nets.py").write_text(
        "def build():\n    from own_parts.sizes import FIVE\n    return FIVE\n"
    )
    (home / "unused.py").write_text("raise ValueError\n")
    monkeypatch.chdir(home)
    return home


def elsewhere(code, tmp_path):
    """What is printed by another process, in another directory, that unpickles it."""
    (tmp_path / "other").mkdir(exist_ok=True)
    (tmp_path / "sent").write_bytes(code)
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, tmp_path / "sent"],
        cwd=tmp_path / "other",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize("given", ["own_nets.py:build", "own_nets:build", "the function"])
def test_what_it_needs_goes_with_it(project, tmp_path, given):
    function = load_named("own_nets:build" if "py" not in given else given, "model")
    assert function() == 5
    code = OwnCode(function if given == "the function" else given)
    sent = pickle.dumps(code)
    assert b"unused" not in sent
    assert sent == pickle.dumps(code)
    # The same files are used where they are; and elsewhere, as on another machine, their copies.
    assert elsewhere(sent, tmp_path) == ["5", str(project / "own_nets.py")]
    (project / "own_parts/sizes.py").write_text("FIVE = 6\n")
    value, where = elsewhere(sent, tmp_path)
    assert value == "5"
    assert not where.startswith(str(project))
    project.rename(tmp_path / "moved")
    assert elsewhere(sent, tmp_path)[0] == "5"


def test_a_file_that_is_no_program(tmp_path):
    (tmp_path / "net.keras").write_bytes(b"weights")
    sent = pickle.dumps(OwnCode(tmp_path / "net.keras"))
    assert pickle.loads(sent).given == str(tmp_path / "net.keras")
    (tmp_path / "net.keras").unlink()
    with open(pickle.loads(sent).given, "rb") as copy:
        assert copy.read() == b"weights"


@pytest.mark.parametrize("given", ["resnet-20", "tfinit.fans:fans", len, None, 3])
def test_what_is_none_of_the_user_s_goes_as_it_is(given):
    sent = pickle.dumps(OwnCode(given))
    assert pickle.loads(sent).given == given
    assert len(sent) < 200
