"""The league's bookkeeping: what is trained is kept, ranked, and never trained twice."""

import importlib
from dataclasses import replace
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[1] / "scripts"
RATES = (0.01, 0.1)


@pytest.fixture(scope="module")
def modules():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPTS))
        yield {name: importlib.import_module(name) for name in ("league", "_league_table")}


@pytest.fixture(scope="module")
def trained(modules, tmp_path_factory):
    """A league of one network and two entries, all of it trained."""
    league = tiny(modules["league"], tmp_path_factory.mktemp("league"))
    modules["league"].Trainer(league).work(league.entries(), 0)
    return league


def tiny(script, directory):
    class Small(script.Setting):
        initializations = ("keras", "recommend")

    one = script.SETTINGS["relu-mlp-10"]

    def build():
        import keras

        from tfinit.networks import mlp

        return mlp(keras, (8, 8, 1), 10, 3, "relu", width=8)

    fields = {name: getattr(one, name) for name in one.__dataclass_fields__}
    small = Small(**{**fields, "build": build, "steps": 40, "rates": RATES})
    return script.League(directory, {"mlp": small}, seeds=(0, 1))


def files(league):
    return {path: path.read_bytes() for path in league.directory.rglob("*.json")}


def test_each_entry_is_tuned_on_a_seed_of_its_own_then_trained_from_the_others(modules, trained):
    for name in ("keras", "recommend"):
        tuned = trained.tuned("mlp", name)
        assert set(tuned) == {*RATES}
        best = trained.rate("mlp", name)
        assert tuned[best] == min(tuned.values())
        kept = {path.name for path in (trained.directory / "mlp" / name).iterdir()}
        seeds = {f"seed-{seed}-rate-{best:g}.json" for seed in (0, 1)}
        assert kept == seeds | {f"seed-1000-rate-{rate:g}.json" for rate in RATES}


def test_what_was_stopped_goes_on_to_the_same_numbers(modules, trained):
    before = files(trained)
    gone = trained.path("mlp", "keras", trained.rate("mlp", "keras"), 1)
    losses = trained.kept("mlp", "keras", trained.rate("mlp", "keras"), 1)["losses"]
    gone.unlink()
    assert not trained.done("mlp", "keras")
    modules["league"].Trainer(trained).work(trained.entries(), 1)
    after = files(trained)
    assert {path for path in before if before[path] != after[path]} <= {gone}
    assert trained.kept("mlp", "keras", trained.rate("mlp", "keras"), 1)["losses"] == losses


def test_an_entry_of_another_process_is_left_to_it(modules, tmp_path):
    script = modules["league"]
    league = tiny(script, tmp_path)
    with script._claimed(tmp_path / "locks" / "mlp-keras") as mine:
        assert mine
        script.Trainer(league).work([("mlp", "keras")], 0)
    assert files(league) == {}


def test_results_of_another_length_are_not_those_asked_for(modules, trained):
    settings = {"mlp": replace(trained.settings["mlp"], steps=41)}
    assert replace(trained, settings=settings).tuned("mlp", "keras") is None


def test_the_tables_rank_what_is_trained_whole(modules, trained):
    table = modules["_league_table"]
    one = table.comparison(trained, "mlp")
    assert one.labels == ["keras", "recommend"]
    assert one.seeds == [0, 1]
    text = table.tables(trained, {"mlp": one})
    assert "mlp: 40 steps of 64 examples, SGD with momentum 0.9" in text
    assert "He, relu (2)" in text
    assert "Not trained whole" not in text


def test_processes_begin_where_each_has_as_much_to_do(modules, tmp_path):
    script = modules["league"]
    league = script.League.of(tmp_path, quick=False)
    entries = league.entries()
    seconds = [league.settings[network].seconds for network, _ in entries]
    begins = [script._first(league, entries, turn, 4) for turn in range(4)]
    parts = [sum(seconds[a:b]) for a, b in zip(begins, [*begins[1:], None], strict=True)]
    assert max(parts) - min(parts) <= 2 * max(seconds)


def test_recommend_is_held_out_on_three_of_the_eight_settings(modules, tmp_path):
    league = modules["league"].League.of(tmp_path, quick=False)
    groups = {one.group for one in league.settings.values()}
    assert len(groups) == 8
    assert len({one.group for one in league.settings.values() if one.held_out}) == 3
