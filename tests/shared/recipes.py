"""The recipes of CONTRIBUTING.md: its code blocks, by the kind of extension that they add."""

import re
from pathlib import Path

CONTRIBUTING = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")


def recipe(kind: str) -> str:
    """The Python of the recipe under the heading ``### kind``."""
    section = CONTRIBUTING.split(f"\n### {kind}\n")[1].split("\n### ")[0].split("\n## ")[0]
    [block] = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    return block
