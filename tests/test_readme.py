"""Every Python block of the README runs, in the order of the page."""

import re
from pathlib import Path

import pytest

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def test_the_readme_has_blocks():
    assert BLOCKS


@pytest.fixture(scope="module")
def namespace():
    return {}  # a later block may use what an earlier one defined, as a reader would


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_block_runs(block, namespace, tmp_path_factory, monkeypatch):
    monkeypatch.chdir(tmp_path_factory.mktemp("readme"))
    exec(compile(block, "README.md", "exec"), namespace)


def test_every_picture_and_file_that_it_names_exists():
    root = Path(__file__).parents[1]
    links = [p for p in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in p]
    assert links
    for link in links:
        assert (root / link).exists(), link
    for script in re.findall(r"\bscripts/[\w.]+", README):
        assert (root / script).exists(), script


def _named(begin, end):
    """The names in backticks between two pieces of the README."""
    [part] = re.findall(f"{re.escape(begin)}(.*?){re.escape(end)}", README, re.DOTALL)
    return set(re.findall(r"`(\w+)`", part))


def test_it_names_all_initializers_and_schemes():
    from tfinit.initializers.registry import CLASSES
    from tfinit.schemes import SCHEMES
    from tfinit.schemes.engine.registry import REGISTRY

    assert _named("any layer takes it: ", ". In Keras") == {*CLASSES}
    with_data = {name for name in SCHEMES if REGISTRY[name].needs_data}
    after = {name for name in SCHEMES if REGISTRY[name].of_targets}
    assert _named("Without data: ", ". With a batch") == {*SCHEMES} - with_data - after
    assert _named("With a batch: ", ". After one of these") == with_data
    assert _named("After one of these, with targets, ", " gives") == after
