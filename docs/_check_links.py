"""Whether all links of the built site lead somewhere, and whether it asks nothing of the network.

python docs/_check_links.py docs/_build/html
"""

import argparse
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

# Tag → the attribute that a browser loads at once.
LOADED = {"img": "src", "script": "src", "iframe": "src", "source": "src", "link": "href"}
# Of <link>: what names a page and loads nothing.
NAMES_ONLY = {"canonical", "index", "search", "next", "prev", "author"}


class Page(HTMLParser):
    """The places of a page, where it leads, and what it loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.places: set[str] = set()
        self.leads: set[str] = set()
        self.loads: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what the tag has."""
        given = {name: value or "" for name, value in attrs}
        self.places |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and given.get("href"):
            self.leads.add(given["href"])
        loaded = given.get(LOADED.get(tag, ""))
        if loaded and not (tag == "link" and NAMES_ONLY & {*given.get("rel", "").split()}):
            self.loads.add(loaded)


def wrong(site: Path) -> list[str]:
    """Each link that leads nowhere, and all that comes from elsewhere."""
    files = sorted(path for path in site.rglob("*.html") if "_static" not in path.parts)
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in files}
    found = []
    for path, page in pages.items():
        name = path.relative_to(site)
        for link in sorted(page.leads | page.loads):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                if link in page.loads and parts.scheme != "data":
                    found.append(f"{name}: loads {link}")
                continue
            there = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            there = there / "index.html" if there.is_dir() else there
            place = unquote(parts.fragment)
            if not there.exists():
                found.append(f"{name}: {link} is no file")
            elif place and there in pages and place not in pages[there].places:
                found.append(f"{name}: {link} is no place there")
    for sheet in site.rglob("*.css"):
        text = sheet.read_text(encoding="utf-8")
        found += [
            f"{sheet.relative_to(site)}: loads {url}"
            for url in re.findall(r"(?:url\(|@import\s)\s*['\"]?((?:https?:)?//[^'\")\s]+)", text)
        ]
    print(f"{len(pages)} pages, {sum(len(page.leads) for page in pages.values())} links")
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("site", type=Path)
    wrongs = wrong(parser.parse_args().site.resolve())
    print("\n".join(wrongs))
    sys.exit(bool(wrongs))
