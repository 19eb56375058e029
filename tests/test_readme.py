"""Every Python block of the README, of the first page of the site and of its notebooks runs.

Pages that are about one part of tfinit are run by the tests of that part.
"""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCS = ROOT / "docs"
NOTEBOOKS = sorted(path for path in DOCS.glob("guides/*.md") if path.stem != "index")
PAGES = [ROOT / "README.md", DOCS / "start" / "index.md", DOCS / "training.md", *NOTEBOOKS]


def blocks(page):
    text = page.read_text(encoding="utf-8")
    return re.findall(r"^```(?:python|{code-cell})\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_blocks_of_a_page_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {}  # a later block may use what an earlier one defined, as a reader would
    assert blocks(page)
    for number, block in enumerate(blocks(page)):
        exec(compile(block, f"{page.name}, block {number}", "exec"), namespace)


def test_every_picture_and_file_that_the_readme_names_exists():
    links = [p for p in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in p]
    assert links
    for link in links:
        assert (ROOT / link).exists(), link


def test_every_script_that_a_page_names_exists():
    for page in [ROOT / "README.md", *DOCS.rglob("*.md")]:
        for script in re.findall(r"\b(?:scripts|benchmarks)/[\w.]+\.(?:py|sh)\b", page.read_text()):
            assert (ROOT / script).exists(), f"{page}: {script}"


def _named(begin, end):
    """The names in backticks between two pieces of the guide."""
    guide = (DOCS / "guides" / "choosing_an_initialization.md").read_text(encoding="utf-8")
    words = " ".join(guide.split())
    [part] = re.findall(f"{re.escape(begin)}(.*?){re.escape(end)}", words)
    return set(re.findall(r"`(\w+)`", part))


def test_the_guide_names_all_initializers_and_schemes():
    from tfinit.initializers.registry import CLASSES
    from tfinit.schemes import SCHEMES
    from tfinit.schemes.engine.registry import REGISTRY

    assert _named("any layer takes it: ", ". In Keras") == {*CLASSES}
    with_data = {name for name in SCHEMES if REGISTRY[name].needs_data}
    after = {name for name in SCHEMES if REGISTRY[name].of_targets}
    assert _named("Without data: ", ". With a batch") == {*SCHEMES} - with_data - after
    assert _named("With a batch: ", ". After one of these") == with_data
    assert _named("After one of these, with targets, ", " gives") == after
