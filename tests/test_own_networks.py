"""Networks of users through every tool: each network once, each tool from Python and by command.

The whole matrix, on any backend, is scripts/own_networks.py, whose cells these are.
"""

import importlib.util
from pathlib import Path

import pytest

_SCRIPT = Path(__file__).parents[1] / "scripts/own_networks.py"
_SPEC = importlib.util.spec_from_file_location("matrix_of_own_networks", _SCRIPT)
matrix = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(matrix)

ONCE = {
    "transformer": "compare_python",
    "tagger": "stability_python",
    "unet": "prune_command",
    "by_name": "run_command",
    "two_outputs": "diagnose_python",
    "regression": "prune_python",
    "autoencoder": "stability_command",
    "vae": "resume_python",
    "resnet": "run_python",
    "transfer": "diagnose_command",
}


@pytest.mark.parametrize(("name", "cell"), ONCE.items())
def test_a_network_through_a_tool(name, cell, tmp_path, capfd):
    network = matrix.Network(name, tmp_path)
    getattr(matrix, cell)(network)  # raises where something is not as it should be


def test_the_other_way(tmp_path):
    matrix.compare_command(matrix.Network("regression", tmp_path))


def test_every_network_is_there():
    assert tuple(ONCE) == matrix.NAMES
