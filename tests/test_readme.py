"""Every Python block of the README, of the site's pages and of its notebooks runs."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCS = ROOT / "docs"
# The tests of what they are about run these, with what their blocks need.
ELSEWHERE = {"data", "lottery", "rules", "trackers"}


def blocks(page):
    text = page.read_text(encoding="utf-8")
    return re.findall(r"^```(?:python|{code-cell})\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


WRITTEN = [*DOCS.glob("*.md"), *DOCS.glob("start/*.md"), *DOCS.glob("guides/*.md")]
HERE = [page for page in WRITTEN if page.stem not in ELSEWHERE and blocks(page)]
PAGES = [ROOT / "README.md", *sorted(HERE)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_blocks_of_a_page_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {}  # a later block may use what an earlier one defined, as a reader would
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
