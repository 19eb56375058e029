"""What a run directory remembers of its data: other data are refused, whoever asks."""

import dataclasses
import json

import numpy as np
import pytest
from bare_runs import measure_stability, run

from tfinit.datasets import from_arrays
from tfinit.errors import InputError
from tfinit.lottery import LotteryConfig, StabilityConfig, Store, compare_initializations
from tfinit.lottery.directory import check_directory
from tfinit.origin import Origin

SMALL = {"model": "mlp-2-relu", "steps": 2, "evaluate_every": 2, "batch_size": 4, "seeds": (0,)}
X, Y = np.random.default_rng(0).random((40, 4), np.float32), np.arange(40) % 2
# Half of 1.0 and the like are the same number in every type of floats.
HALVES = np.round(2 * X) / 2
DATA = from_arrays((HALVES, Y), (HALVES, Y))


def files(directory):
    return {p: p.read_bytes() for p in directory.rglob("*") if p.is_file() and p.name != ".lock"}


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """Of an experiment that was run, on `DATA`."""
    found = LotteryConfig(
        levels=1, controls=(), run_dir=tmp_path_factory.mktemp("run") / "r", **SMALL
    )
    run(found, data=DATA)
    return found


def without_a_digest(config):
    """Let a directory be one of an earlier tfinit."""
    path = config.run_dir / "config.json"
    values = json.loads(path.read_text())
    del values["made_with"]
    path.write_text(json.dumps(values))
    (config.run_dir / "network.json").unlink()


def changed(x=HALVES, y=Y, **options):
    pair = (x, y)
    return from_arrays(pair, options.pop("test", (HALVES, Y)), **options)


@pytest.mark.parametrize(
    "data",
    [
        changed(x=X),
        changed(x=HALVES[::-1].copy(), y=Y[::-1].copy()),  # the same examples in another order
        changed(y=1 - Y),
        changed(validation=(HALVES[:4], Y[:4])),
        changed(test=(HALVES[:20], Y[:20])),
        changed(classes=3),  # not a byte differs, but the network
        "digits",
    ],
    ids=["inputs", "order", "labels", "validation", "test", "classes", "named"],
)
def test_other_data_are_refused_and_nothing_is_touched(config, data):
    before = files(config.run_dir)
    given = {} if data == "digits" else {"data": data}
    said = r"holds an experiment (on other data|of another network); differing: .*--run-"
    with pytest.raises(InputError, match=said):
        run(config, **given)
    assert files(config.run_dir) == before


def test_the_same_numbers_in_another_form_are_the_same_data(config):
    before = {p: p.stat().st_mtime_ns for p in config.run_dir.rglob("*")}
    same = (np.asfortranarray(HALVES, "f8"), Y[:, None].astype("i8"))
    run(config, data=from_arrays(same, same, name="another name"))
    after = {p: p.stat().st_mtime_ns for p in config.run_dir.rglob("*")}
    assert {p for p, time in after.items() if time != before[p]} <= {config.run_dir / ".lock"}


def test_an_earlier_directory_takes_its_data_from_now_but_not_another_network(config):
    without_a_digest(config)
    before = files(config.run_dir)
    with pytest.raises(
        InputError, match=r"the network, whose output/kernel has the shape \(64, 2\)"
    ):
        run(config, data=changed(y=np.arange(40) % 3, test=(HALVES, Y)))
    assert files(config.run_dir) == before
    with pytest.warns(UserWarning, match="earlier tfinit, which did not note its data"):
        run(config, data=DATA)
    noted = json.loads((config.run_dir / "config.json").read_text())["made_with"]
    assert noted["data"] == DATA.digest()


def test_it_goes_on_with_the_threads_that_it_was_begun_with(config):
    origin, other = Origin.now(DATA.digest()), dataclasses.replace(config, threads=2)
    check_directory(config, origin)
    with pytest.raises(InputError, match=r"differing: threads \(there 0, asked 2\)"):
        check_directory(other, origin)


def test_stability_and_comparisons_refuse_them_too_before_they_begin(tmp_path):
    origin = Origin.now(DATA.digest())
    line = StabilityConfig(spawn_steps=(0,), run_dir=tmp_path / "line", **SMALL)
    Store(line, origin=origin)
    several = LotteryConfig(levels=1, run_dir=tmp_path / "several", **SMALL)
    he = {"initialization": "he", "run_dir": tmp_path / "several/he"}
    Store(LotteryConfig(levels=1, **he, **SMALL), origin=origin)
    before = files(tmp_path)
    with pytest.raises(InputError, match="on other data"):
        measure_stability(line, data=changed(x=X))
    with pytest.raises(InputError, match="several/he holds an experiment on other data"):
        compare_initializations(several, ["lecun", "he"], data=changed(x=X))
    assert files(tmp_path) == before


@pytest.mark.parametrize("call", [run, measure_stability, compare_initializations])
def test_a_generator_is_no_data_and_that_is_said(tmp_path, call):
    cls = StabilityConfig if call is measure_stability else LotteryConfig
    given = cls(steps=400, run_dir=tmp_path / "r")
    batches = ((HALVES, Y) for _ in range(3))
    with pytest.raises(
        InputError, match=r"`data` is a generator, .* Pass the function that makes it"
    ):
        call(given, data=batches)
    assert not (tmp_path / "r").exists() and len(list(batches)) == 3
