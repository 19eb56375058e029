"""CONTRIBUTING.md names places that exist, and every part of tfinit."""

import re
from pathlib import Path

from recipes import CONTRIBUTING

ROOT = Path(__file__).parents[1]
ROWS = re.findall(r"^\| (·?.*?) \| .* \|$", CONTRIBUTING, re.MULTILINE)


def named():
    """Every path in the table of places; of a row with a dot, below the last package."""
    package, found = ROOT / "tfinit", set()
    for row in ROWS:
        for name in re.findall(r"`([^`]+)`", row):
            if name.startswith("tfinit/"):
                path = ROOT / name
                package = path.parent if path.suffix else path
            else:
                path = (
                    package / name if name.endswith(".py") or row.startswith("·") else ROOT / name
                )
            found.add(path)
    return found


def test_every_place_that_is_named_exists():
    assert [str(path) for path in sorted(named()) if not path.exists()] == []


def test_every_package_and_every_module_beside_them_is_named():
    parts = [
        path
        for path in (ROOT / "tfinit").iterdir()
        if (path.suffix == ".py" or (path / "__init__.py").exists()) and path.stem != "__init__"
    ]
    assert len(parts) > 40
    assert [path.name for path in sorted(parts) if path not in named()] == []
