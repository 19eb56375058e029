"""The pages of docs/ before they are built: what the reference holds, and where links lead.

`scripts/docs.sh` builds the site, runs its notebooks and checks the links of the pages as they are.
"""

import importlib
import importlib.util
import re
from pathlib import Path

import pytest
from public_surface import PUBLIC_MODULES

from tfinit.cli import commands

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
TEXTS = sorted(path for path in DOCS.rglob("*.md") if "_build" not in path.parts)
spec = importlib.util.spec_from_file_location("_reference", DOCS / "_reference.py")
reference = importlib.util.module_from_spec(spec)
spec.loader.exec_module(reference)


@pytest.fixture(scope="module")
def pages():
    return reference.pages()


def test_every_public_name_has_its_page(pages):
    documented = "\n".join(pages.values())
    listed = {id(one.value) for names in reference.public().values() for one in names}
    for module in PUBLIC_MODULES:
        home = importlib.import_module(f"tfinit.{module}")
        if f"tfinit.{module}" not in reference.public():
            continue  # a module that tests look at, and no stub names
        assert f".. automodule:: tfinit.{module}\n" in documented
        for name in home.__all__:
            value = getattr(home, name)
            if f"tfinit.{module}.{name}" not in reference.public():
                assert id(value) in listed, f"{module}.{name}"


def test_a_page_is_about_one_name_and_a_module_lists_its_own(pages):
    assert ".. autofunction:: tfinit.diagnose\n" in pages["api/tfinit/diagnose.rst"]
    assert "api/tfinit.diagnostics/diagnose.rst" not in pages  # the same function
    optimizer = pages["api/tfinit.pruning/SparseOptimizer.rst"]
    assert ".. autoclass:: tfinit.pruning.SparseOptimizer\n" in optimizer
    assert (
        ":doc:`SparseOptimizer <tfinit.pruning/SparseOptimizer>`" in pages["api/tfinit.pruning.rst"]
    )
    assert len({page.lower() for page in pages}) == len(pages)  # one file each on any system


def test_every_command_has_its_help(pages):
    for word in commands():
        assert f"usage: tfinit {word} " in pages[f"commands/{word}.rst"]
        assert f"\n   commands/{word}\n" not in pages["commands/index.rst"]
        assert f"\n   {word}\n" in pages["commands/index.rst"]


def test_pages_are_written_and_those_of_former_names_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(reference, "pages", lambda: {"api/new.rst": "text\n"})
    former = tmp_path / "api" / "former.rst"
    former.parent.mkdir()
    former.write_text("")
    reference.write(tmp_path)
    new = tmp_path / "api" / "new.rst"
    assert [*tmp_path.rglob("*.rst")] == [new] and new.read_text() == "text\n"
    written = new.stat().st_mtime_ns
    reference.write(tmp_path)
    assert new.stat().st_mtime_ns == written  # Sphinx need not read it again


def places(text):
    """The anchors of a page's headings, as MyST makes them."""
    lines = re.sub(r"^(```|~~~).*?^\1", "", text, flags=re.M | re.S)
    titles = re.findall(r"^#{1,3} (.*)$", lines, re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: page.relative_to(DOCS).as_posix())
def test_links_lead_somewhere(page, pages):
    text = re.sub(r"^```.*?^```|`[^`]*`", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in link or link.startswith("mailto:"):
            continue
        name, _, place = link.partition("#")
        there = (page.parent / name).resolve() if name else page
        if there.is_relative_to(DOCS / "reference"):
            made = there.relative_to(DOCS / "reference").with_suffix(".rst").as_posix()
            if made in pages:
                continue
        assert there.is_file(), f"{link}: no file"
        assert there.is_relative_to(DOCS), f"{link}: not on the site"
        if place:
            assert place in places(there.read_text(encoding="utf-8")), f"{link}: no place there"
