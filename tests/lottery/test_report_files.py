"""What is left beside the trainings: by a call in Python and by the command, the same bytes."""

import numpy as np
import pytest

from tfinit.cli import main
from tfinit.errors import InputError
from tfinit.lottery import LotteryConfig, StabilityConfig, compare_initializations, run
from tfinit.lottery.report_files import drawn_shape
from tfinit.lottery.stability_experiment import stability
from tfinit.plots.masks import first_layer_image

SMALL = {"model": "mlp-2-relu", "steps": 2, "evaluate_every": 2, "batch_size": 4, "seeds": (0,)}
FLAGS = "--dataset tiny --model mlp-2-relu --steps 2 --evaluate-every 2 --batch-size 4 --seeds 0"
OF_AN_EXPERIMENT = {
    *("results.csv", "evaluations.csv", "layers.csv"),
    *("tickets.png", "curves.png", "layers.png", "masks.png"),
}


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A data set for the command: 40 examples of 4 features, 2 classes."""
    x, y = np.random.default_rng(0).random((40, 4), np.float32), np.arange(40) % 2
    np.savez(tmp_path / "tiny.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    monkeypatch.setenv("TFINIT_DATA_DIR", str(tmp_path))


def reports(directory):
    """Name → content of the reports, which are then removed."""
    found = [
        p
        for p in directory.rglob("*")
        if p.suffix in (".csv", ".png") or p.name == "conclusion.txt"
    ]
    contents = {str(p.relative_to(directory)): p.read_bytes() for p in found}
    for path in found:
        path.unlink()
    return contents


def test_a_call_leaves_what_the_commands_leave(tmp_path, tiny, capfd):
    """What is there is not trained again, but reported anew. `tfinit lottery`: test_cli."""
    here = tmp_path / "stability"
    config = StabilityConfig(dataset="tiny", spawn_steps=(0,), points=3, run_dir=str(here), **SMALL)
    stability(config, progress=False)
    written = reports(here)
    assert written.keys() == {"stability.csv", "stability.png"}
    flags = [*FLAGS.split(), "--spawn-steps", "0", "--points", "3"]
    main(["stability", *flags, "--run-dir", str(here)])
    assert reports(here) == written

    here = tmp_path / "initializations"
    halves = {"prune_fraction": 0.5, "output_prune_fraction": 0.5, "controls": ()}
    config = LotteryConfig(dataset="tiny", levels=40, run_dir=here, **halves, **SMALL)
    lines, told = [], []
    names = ["he", "zeros"]
    found = compare_initializations(config, names, told.append, warn=lines.append, reports=False)
    # 4·64 and 64·2 weights; of one of each, none can be halved.
    assert [line.split(",")[0] for line in lines] == ["The experiment ends at level 8 of 40"]
    assert sum(told) == 2 * (2 + 8 * 2)
    assert {name: results[-1].level for name, results in found.items()} == {"he": 8, "zeros": 8}
    assert reports(here) == {}
    flags = [*FLAGS.split(), "--levels", "40", "--prune-fraction", "0.5", "--controls"]
    flags += ["--output-prune-fraction", "0.5", "--initializations", "he"]
    main(["initializations", *flags, "--run-dir", str(here)])
    assert capfd.readouterr().err.count("tfinit: The experiment ends at level 8 of 40") == 1
    written = reports(here)
    assert written.keys() == {"initializations.png", *(f"he/{name}" for name in OF_AN_EXPERIMENT)}
    with pytest.warns(UserWarning, match="The experiment ends at level 8 of 40"):
        compare_initializations(config, ["he"], None)
    assert reports(here) == written


@pytest.mark.parametrize("name", ["tickets.png", "conclusion.txt"])
def test_what_is_in_the_way_is_known_before_the_training(tmp_path, tiny, name):
    (tmp_path / "r" / name).mkdir(parents=True)
    config = LotteryConfig(dataset="tiny", run_dir=tmp_path / "r", **SMALL)
    with pytest.raises(InputError, match=f"{name}' is a directory"):
        run(config)
    assert [p.name for p in (tmp_path / "r").iterdir()] == [name]


@pytest.mark.parametrize("shape", [(24,), (2, 12), (2, 3, 4), (2, 2, 2, 3), (1, 2, 2, 2, 3)])
def test_whatever_is_trained_on_can_be_drawn(shape):
    """Refused else, once all had been trained."""
    assert first_layer_image(np.ones((24, 5), bool), drawn_shape((24, 5), shape)).sum() == 24 * 5
