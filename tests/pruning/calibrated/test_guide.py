"""docs/after_training.md runs as it is written."""

import re
from pathlib import Path

import numpy as np


def test_the_guide_runs():
    page = Path(__file__).parents[3] / "docs" / "after_training.md"
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^( *)```python\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    namespace = {}
    for indent, block in blocks:
        code = re.sub(f"^{indent}", "", block, flags=re.MULTILINE)
        exec(compile(code, page.name, "exec"), namespace)
    assert len(blocks) == 4
    kernels = [layer.kernel.numpy() for layer in namespace["model"].layers if layer.weights]
    zeros = sum(np.sum(kernel == 0) for kernel in kernels)  # held in the last training
    assert zeros > 0.7 * sum(kernel.size for kernel in kernels)
