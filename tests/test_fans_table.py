"""The fans against what layers do to noise, and the table in the docs against its own errors."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
spec = importlib.util.spec_from_file_location("fans_table", ROOT / "scripts" / "fans_table.py")
fans_table = importlib.util.module_from_spec(spec)
spec.loader.exec_module(fans_table)

DRAWS = 6
# The largest standard error of a mean over 6 draws is 0.014. The smallest mistake that Keras makes
# in this table is 25 %.
BOUND = 0.05
MEASURED = [(case, side) for case in fans_table.CASES for side in fans_table.sides(case)]


@pytest.mark.parametrize(
    ("case", "side"), MEASURED, ids=[f"{case.name}-{side}" for case, side in MEASURED]
)
def test_the_signal_keeps_its_variance(case, side):
    mean, _ = fans_table.measure(case, side, "tfinit", DRAWS)
    assert mean == pytest.approx(1, abs=BOUND)


def test_the_table_in_the_docs_has_every_row_within_its_error():
    lines = (ROOT / "docs" / "fans.md").read_text(encoding="utf-8").splitlines()
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("|")][2:]
    assert [cells[0] for cells in rows] == [case.name for case in fans_table.CASES]
    for cells in rows:
        found = re.findall(r"([\d.]+) ± ([\d.]+)", " ".join(cells))
        assert found
        for mean, error in found:
            assert abs(float(mean) - 1) <= 4.5 * float(error)
