"""The site: Sphinx with MyST-NB and the PyData theme. `scripts/docs.sh` builds it."""

import json
import re
import sys
from pathlib import Path

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS), str(DOCS.parent)]

import _reference  # noqa: E402
from docutils.parsers.rst.states import Inliner  # noqa: E402

import tfinit  # noqa: E402

project = "tfinit"
author = "the tfinit authors"
release = version = tfinit.__version__
copyright = author

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
exclude_patterns = ["_build", "**.ipynb_checkpoints"]
# A word in backticks may be the attribute of several classes: it links to one of them.
suppress_warnings = ["ref.python"]

# Markdown. Formulas are plain text: they read the same in a terminal, and no script is needed.
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
# Notebooks are Markdown that is run; what was printed is kept until a page changes.
nb_execution_mode = "cache"
nb_execution_cache_path = str(DOCS / "_build" / "notebooks")
nb_execution_in_temp = True
nb_execution_timeout = 300
nb_execution_raise_on_error = True
nb_merge_streams = True
nb_output_stderr = "remove"  # what TensorFlow says of the machine

# Docstrings: Google's sections. What is in single backticks is code, and a link where there is one.
default_role = "py:obj"
highlight_language = "none"  # what follows "::" is a formula more often than a program
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 80
python_use_unqualified_type_names = True
toc_object_entries = False

html_theme = "pydata_sphinx_theme"
html_title = "tfinit"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_sidebars = {"index": [], "start/index": [], "gallery/index": []}
html_copy_source = False
html_show_search_summary = False  # else a search loads each page that it found
html_last_updated_fmt = None
html_theme_options = {
    "navigation_with_keys": False,
    "show_prev_next": True,
    "show_toc_level": 2,
    "collapse_navigation": True,  # else each page carries the names of all
    "navbar_persistent": ["search-button"],
    "navbar_end": ["theme-switcher"],
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": ["theme-version"],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True


def _bar(self, match, lineno):
    return match.string[: match.end("start")], [], match.string[match.end("start") :], []


# Docstrings say |w| and mean a magnitude.
Inliner.dispatch = {**Inliner.dispatch, "|": _bar}


# What screen readers are told: the lines of a long signature are no definitions, and what opens a
# part of the sidebar has a name.
_TOLD = {
    "<dl>": '<dl role="presentation">',
    '<dd><em class="sig-param">': '<dd role="presentation"><em class="sig-param">',
    "<summary><span class": '<summary aria-label="Its pages"><span class',
}


# The theme loads what searches, with the index of all words, on each page, for a search while one
# types, which is off: the page of the search suffices.
_SEARCHES = re.compile(
    r'\s*<script src="[^"]*(?:searchtools|language_data|searchindex)\.js[^"]*"></script>'
)
# That page, in turn, has no code to copy and no notebook.
_OF_CODE = re.compile(
    r"\s*<(?:link|script) [^>]*_static/(?:mystnb|copybutton|clipboard)[^>]*>(?:</script>)?"
)


def _finish(app, exception):
    if exception or app.builder.format != "html":
        return
    for page in Path(app.outdir).rglob("*.html"):
        text = told = page.read_text(encoding="utf-8")
        for found, instead in _TOLD.items():
            told = told.replace(found, instead)
        told = (_OF_CODE if page.name == "search.html" else _SEARCHES).sub("", told)
        if told != text:
            page.write_text(told, encoding="utf-8")
    # Entries of the general index are names that are among the objects already.
    index = Path(app.outdir, "searchindex.js")
    begin, end = "Search.setIndex(", ")"
    found = json.loads(index.read_text(encoding="utf-8").removeprefix(begin).removesuffix(end))
    found["indexentries"] = {}
    told = json.dumps(found, ensure_ascii=False, separators=(",", ":"))
    index.write_text(begin + told + end, encoding="utf-8")


def setup(app):
    """Write the reference before Sphinx looks for pages."""
    app.connect("config-inited", lambda *_: _reference.write(DOCS / "reference"))
    app.connect("build-finished", _finish)
