import dataclasses
import io
import json
import os

import numpy as np
import pytest

from tfinit.errors import InputError, WorkError
from tfinit.lottery import LevelResult, LotteryConfig, Store
from tfinit.lottery.store import Place
from tfinit.origin import Origin
from tfinit.training import METRICS, Metrics


def config_at(path, **kwargs):
    return LotteryConfig(run_dir=path, **kwargs)


@pytest.fixture
def result():
    rng = np.random.default_rng(0)
    weights = {"fc1/kernel": rng.normal(size=(4, 3)).astype("f4"), "fc1/bias": np.zeros(3, "f4")}
    final = {k: v + 1 for k, v in weights.items()}
    mask = {"fc1/kernel": rng.random((4, 3)) < 0.5}
    metrics = Metrics(np.array([0, 5]), {name: rng.random(2) for name in METRICS})
    return LevelResult(2, "ticket", 7, weights, weights, mask, final, metrics)


def assert_same(a, b):
    for part in ("initial", "rewind", "mask", "final"):
        one, two = getattr(a, part), getattr(b, part)
        assert one.keys() == two.keys()
        for key, value in one.items():
            assert value.dtype == two[key].dtype
            assert value.tobytes() == two[key].tobytes()
    np.testing.assert_array_equal(a.metrics.step, b.metrics.step)
    for name, column in a.metrics.values.items():
        assert column.tobytes() == b.metrics.values[name].tobytes()


def test_a_level_comes_back_as_it_was(tmp_path, result):
    Store(config_at(tmp_path / "r")).keep(result)
    back = Store(config_at(tmp_path / "r")).level(
        Place(2, "ticket", 7), result.initial, result.rewind
    )
    assert_same(result, back)


def test_a_level_that_is_not_there(tmp_path, result):
    assert (
        Store(config_at(tmp_path / "r")).level(Place(2, "ticket", 7), result.initial, result.rewind)
        is None
    )


def test_initial_weights_are_computed_once(tmp_path, result):
    store = Store(config_at(tmp_path / "r"))
    first = store.initial(0, "ticket", lambda: result.initial)
    assert all(np.array_equal(v, first[k]) for k, v in result.initial.items())
    back = store.initial(0, "ticket", lambda: pytest.fail("computed again"))
    assert all(np.array_equal(v, back[k]) for k, v in result.initial.items())


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_level_is_noticed_and_said(tmp_path, result, share):
    lines = []
    store = Store(config_at(tmp_path / "r"), warn=lines.append)
    store.keep(result)
    path = next((tmp_path / "r").rglob("level-07.npz"))
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert store.level(Place(2, "ticket", 7), result.initial, result.rewind) is None
    assert len(lines) == 1
    assert "level-07.npz is damaged" in lines[0]


def test_any_flipped_bit_in_the_arrays_is_noticed_or_harmless(tmp_path, result):
    """Each member has a CRC-32. What it does not cover (names, dates) must not alter the arrays."""
    lines = []
    store = Store(config_at(tmp_path / "r"), warn=lines.append)
    store.keep(result)
    path = next((tmp_path / "r").rglob("level-07.npz"))
    content = path.read_bytes()
    for at in range(0, len(content), 7):
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        back = store.level(Place(2, "ticket", 7), result.initial, result.rewind)
        if back is not None:
            assert_same(result, back)
    assert len(lines) > 50


def test_damaged_initial_weights_are_made_again(tmp_path, result):
    lines = []
    store = Store(config_at(tmp_path / "r"), warn=lines.append)
    store.initial(0, "ticket", lambda: result.initial)
    path = next((tmp_path / "r").rglob("initial.npz"))
    path.write_bytes(path.read_bytes()[:40])
    first = store.initial(0, "ticket", lambda: result.initial)
    assert all(np.array_equal(v, first[k]) for k, v in result.initial.items())
    assert "initial.npz is damaged" in lines[0]


def test_the_same_experiment_may_go_on(tmp_path):
    Store(config_at(tmp_path / "r"))
    Store(config_at(tmp_path / "r"))


def test_another_experiment_is_refused_with_the_fields_and_nothing_written(tmp_path):
    Store(config_at(tmp_path / "r"))
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(InputError) as error:
        Store(config_at(tmp_path / "r", levels=3, seeds=(9,)))
    assert "levels (there 16, asked 3)" in str(error.value)
    assert "seeds (there (0, 1, 2), asked (9,))" in str(error.value)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_an_experiment_may_grow_and_not_shrink(tmp_path):
    small = config_at(tmp_path / "r", levels=3, seeds=(1, 0), controls=("one-shot",))
    large = config_at(tmp_path / "r", levels=4, seeds=(0, 1, 2), controls=("reinit", "one-shot"))
    path = tmp_path / "r/config.json"
    Store(small)
    store = Store(large)  # only looked: another process may be at work
    assert path.read_text() == small.to_json()
    with store.locked():
        assert path.read_text() == large.to_json()
    with pytest.raises(InputError, match="holds another experiment; differing: ") as error:
        Store(small)
    for told in ("levels (there 4, asked 3)", "asked ('one-shot',)", "asked (1, 0)", "for more"):
        assert told in str(error.value)


def test_what_grew_in_the_meantime_is_not_lost(tmp_path):
    one, two = (config_at(tmp_path / "r", seeds=seeds) for seeds in ((0, 1), (0, 2)))
    Store(config_at(tmp_path / "r", seeds=(0,)))
    first, second = Store(one), Store(two)
    with first.locked():
        pass
    with pytest.raises(InputError, match=r"seeds \(there \(0, 1\)"), second.locked():
        pass
    assert (tmp_path / "r/config.json").read_text() == one.to_json()
    with Store(one).locked():  # it is free again
        pass


def test_a_directory_of_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="is not empty and holds no experiment"):
        Store(config_at(tmp_path))
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_in_place_of_the_directory(tmp_path):
    (tmp_path / "r").write_text("")
    with pytest.raises(InputError, match="cannot be used"):
        Store(config_at(tmp_path / "r"))


def test_an_unreadable_configuration(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"config\.json cannot be read"):
        Store(config_at(tmp_path))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere; see test_cli.py")
def test_a_read_only_directory(tmp_path):
    (tmp_path / "r").mkdir(mode=0o500)
    with pytest.raises(InputError, match="read-only"):
        Store(config_at(tmp_path / "r"))


@pytest.mark.parametrize(
    ("name", "what"), [("new", "cannot be used: Perm"), ("", "is read-only: ")]
)
def test_a_directory_of_another_user(of_another, name, what):
    with pytest.raises(
        InputError, match=rf"{what}.*{of_another} belongs to user 4321, and this is"
    ):
        Store(config_at(of_another / name))


def test_a_failed_write_says_so_and_leaves_nothing(tmp_path, result):
    store = Store(config_at(tmp_path / "r"))
    store.keep(result)
    path = next((tmp_path / "r").rglob("level-07.npz"))
    path.unlink()
    path.mkdir()  # what is renamed to it is a file
    with pytest.raises(WorkError, match=r"cannot write .*level-07\.npz"):
        store.keep(result)
    assert [p.name for p in path.parent.iterdir()] == ["level-07.npz"]


def test_what_an_interrupted_write_left_aside_is_no_obstacle(tmp_path, result):
    store = Store(config_at(tmp_path / "r"))
    place = tmp_path / "r" / "seed-2" / "ticket"
    place.mkdir(parents=True)
    (place / ".level-07.npz.tmp").write_bytes(b"half a fi")
    (place / ".0123abcd.level-06.npz.tmp").write_bytes(b"half a fi")
    with store.locked():
        store.keep(result)
    assert_same(result, store.level(Place(2, "ticket", 7), result.initial, result.rewind))
    assert [p.name for p in place.iterdir()] == ["level-07.npz"]


ORIGIN = Origin("ab" * 32, "0.1", "keras 3.12.0", "tensorflow 2.19.0", "CPU, 2 cores")
PLACE = Place(2, "ticket", 7)


def as_before(content):
    """The content of a file of arrays as an earlier tfinit wrote it: it says not whose it is."""
    with np.load(io.BytesIO(content)) as members:
        arrays = {k: members[k] for k in members.files if not k.startswith("about/")}
    old = io.BytesIO()
    np.savez_compressed(old, **arrays)
    return old.getvalue()


def test_files_say_whose_they_are_and_what_they_were_made_with(tmp_path, result):
    Store(config_at(tmp_path / "r"), origin=ORIGIN).keep(result)
    with np.load(next(tmp_path.rglob("level-07.npz"))) as members:
        about = json.loads(members["about/json"].tobytes())
    assert about.pop("experiment") == config_at(tmp_path).identity()
    whose = {"kind": "level", "seed": 2, "branch": "ticket", "level": 7}
    assert about == whose | dataclasses.asdict(ORIGIN)
    told = json.loads((tmp_path / "r/config.json").read_text())
    assert told["made_with"] == dataclasses.asdict(ORIGIN)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"seed": 3}, "seed 3, not 2"),
        ({"level": 6}, "level 6, not 7"),
        ({"branch": "reinit"}, "branch 'reinit', not 'ticket'"),
        ({}, "experiment"),
        (None, "data"),
    ],
)
def test_a_file_of_another_training_is_not_believed(tmp_path, result, change, why):
    steps = 20 if change == {} else 1000
    data = "cd" * 32 if change is None else ORIGIN.data
    foreign = Store(
        config_at(tmp_path / "foreign", steps=steps), origin=dataclasses.replace(ORIGIN, data=data)
    )
    foreign.keep(dataclasses.replace(result, **(change or {})))
    lines = []
    store = Store(config_at(tmp_path / "r"), lines.append, origin=ORIGIN)
    store.keep(result)
    (path,) = (tmp_path / "r").rglob("level-07.npz")
    next((tmp_path / "foreign").rglob("level-*.npz")).replace(path)
    assert store.level(PLACE, result.initial, result.rewind) is None
    assert len(lines) == 1 and f"{path} is of another training (" in lines[0]
    assert why in lines[0] and lines[0].endswith("): training level 7 again.")


def test_one_of_another_kind_or_network_is_not_believed(tmp_path, result):
    lines = []
    store = Store(config_at(tmp_path / "r"), lines.append)
    store.initial(2, "ticket", lambda: result.initial)
    folder = tmp_path / "r/seed-2/ticket"
    (folder / "initial.npz").rename(folder / "rewind.npz")
    assert store.rewind(2, "ticket") is None
    store.keep(result)
    other = {key: np.zeros((2, 2), "f4") for key in result.initial}
    assert store.level(PLACE, other, other) is None
    told = ["rewind.npz is damaged: training level 0 again.", "level-07.npz is damaged: "]
    assert [t in line for t, line in zip(told, lines, strict=True)] == [True, True]


def test_files_from_before_are_believed_and_said_once(tmp_path, result):
    Store(config_at(tmp_path / "r")).keep(result)
    (path,) = tmp_path.rglob("level-07.npz")
    path.write_bytes(as_before(path.read_bytes()))
    lines = []
    store = Store(config_at(tmp_path / "r"), lines.append, origin=ORIGIN)
    for _ in range(2):
        assert_same(result, store.level(PLACE, result.initial, result.rewind))
    assert len(lines) == 1 and "does not say whose it is. It is believed" in lines[0]


def test_a_directory_from_before_is_accepted_and_noted(tmp_path, result):
    config, lines = config_at(tmp_path / "r"), []
    Store(config).keep(result)
    assert (tmp_path / "r/config.json").read_text() == config.to_json()
    with Store(config, lines.append, origin=ORIGIN).locked():
        pass
    assert len(lines) == 1 and "was made by an earlier tfinit, which did not note" in lines[0]
    with Store(config, lines.append, origin=ORIGIN).locked():
        pass
    assert len(lines) == 1
    with pytest.raises(InputError, match="other data"):
        Store(config, origin=dataclasses.replace(ORIGIN, data="cd" * 32))
    with Store(config, lines.append).locked():  # which only reports
        pass
    told = json.loads((tmp_path / "r/config.json").read_text())
    assert told["made_with"] == dataclasses.asdict(ORIGIN)


def test_other_data_are_refused_and_other_versions_said(tmp_path):
    config, lines = config_at(tmp_path / "r"), []
    Store(config, origin=ORIGIN)
    before = (tmp_path / "r/config.json").read_bytes()
    with pytest.raises(InputError) as error:
        Store(config, origin=dataclasses.replace(ORIGIN, data="cd" * 32))
    for word in ("`dataset` 'digits'", "there abababababab", "now cdcdcdcdcdcd", "--run-dir"):
        assert word in str(error.value)
    now = dataclasses.replace(ORIGIN, keras="keras 3.13.1")
    with Store(config, lines.append, origin=now).locked():
        pass
    assert len(lines) == 1 and "keras 3.12.0 (now keras 3.13.1)" in lines[0]
    assert (tmp_path / "r/config.json").read_bytes() == before


def test_another_device_is_said_and_one_that_was_not_noted_is_not(tmp_path):
    config, lines = config_at(tmp_path / "r"), []
    Store(config, origin=ORIGIN)
    before = (tmp_path / "r/config.json").read_bytes()
    gpu = dataclasses.replace(ORIGIN, device="GPU, NVIDIA H100 80GB HBM3")
    with Store(config, lines.append, origin=gpu).locked():
        pass
    (line,) = lines
    assert "made with CPU, 2 cores (now GPU, NVIDIA H100 80GB HBM3): it goes on" in line
    assert (tmp_path / "r/config.json").read_bytes() == before
    # Of a tfinit that did not know of devices.
    values = json.loads(before)
    del values["made_with"]["device"]
    old = json.dumps(values, indent=2) + "\n"
    (tmp_path / "r/config.json").write_text(old)
    with Store(config, lines.append, origin=gpu).locked():
        pass
    assert len(lines) == 1
    assert (tmp_path / "r/config.json").read_text() == old


@pytest.mark.filterwarnings("ignore:.* was made with")  # the bit may be of a version
def test_a_flipped_bit_of_the_configuration_is_one_line_or_harmless(tmp_path):
    """Some of them; scripts/reliability.py flips all."""
    config = config_at(tmp_path, levels=2, seeds=(0,), layer_prune_fractions={"fc1/kernel": 0.5})
    Store(config, origin=ORIGIN)
    path = tmp_path / "config.json"
    content = path.read_bytes()
    whole = json.loads(content)
    refused, flips = 0, [(at, bit) for at in range(0, len(content), 3) for bit in (at % 7, 7)]
    for at, bit in flips:
        path.write_bytes(content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :])
        try:
            with Store(config, origin=ORIGIN).locked():
                pass
        except InputError as error:
            assert str(tmp_path) in str(error) and "\n" not in str(error)
            refused += 1
        else:  # blanks, versions, a smaller experiment: it is again what was asked for
            there = json.loads(path.read_bytes())
            assert there.pop("made_with")["data"] == ORIGIN.data
            assert there == {k: v for k, v in whole.items() if k != "made_with"}
    assert refused > 0.8 * len(flips)
    assert sorted(os.listdir(tmp_path)) == [".lock", "config.json"]


@pytest.mark.parametrize(
    ("field", "text"),
    [
        *(("", text) for text in ("[]", "null", "1e999", '{"seeds": [[0]]}', "[" * 100_000)),
        *(("layer_prune_fractions", text) for text in ("[]", "null", "1", '{"fc1": {}}')),
        *(("controls", text) for text in ("null", "[[]]", '[["reinit"]]', "{}{}")),
        *(("seeds", text) for text in ("null", '["0"]', "[[0]]", "[1e999]")),
        *(("steps", text) for text in ("null", "[]", "1e999", "NaN", "9" * 5000)),
        *(("made_with", text) for text in ("[]", "{}", '"tfinit"', '{"data": 1}')),
    ],
)
def test_a_configuration_of_anything_is_one_line(tmp_path, field, text):
    values = json.loads(config_at(tmp_path).to_json())
    values[field] = "here"
    whole = json.dumps(values).replace('"here"', text) if field else text
    (tmp_path / "config.json").write_text(whole)
    with pytest.raises(InputError, match=r"config\.json cannot be read|experiment") as error:
        Store(config_at(tmp_path), origin=ORIGIN)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["config.json", ".lock"])
@pytest.mark.parametrize("kind", ["pipe", "directory", "link"])
def test_what_is_no_file_in_a_run_directory_is_one_line(tmp_path, name, kind):
    root = tmp_path / "r"
    Store(config_at(root))
    path = root / name
    path.unlink(missing_ok=True)
    make = {
        "pipe": lambda: os.mkfifo(path),
        "directory": path.mkdir,
        "link": lambda: path.symlink_to(path),
    }
    make[kind]()
    with (
        pytest.raises(InputError, match=r"config\.json cannot be read|\.lock is something else"),
        Store(config_at(root)).locked(),
    ):
        pass


def test_a_pipe_in_place_of_a_file_of_arrays_is_replaced(tmp_path, result):
    lines = []
    store = Store(config_at(tmp_path / "r"), lines.append)
    folder = tmp_path / "r/seed-2/ticket"
    folder.mkdir(parents=True)
    for name in ("level-07.npz", "initial.npz", "rewind.npz", "partial-07.npz"):
        os.mkfifo(folder / name)
    assert store.level(PLACE, result.initial, result.rewind) is None
    assert store.partial(PLACE) is None
    assert store.rewind(2, "ticket") is None
    store.initial(2, "ticket", lambda: result.initial)
    store.keep(result)
    assert_same(result, store.level(PLACE, result.initial, result.rewind))
    assert [line.split(" is damaged")[0].split("/")[-1] for line in lines] == [
        "level-07.npz",
        "partial-07.npz",
        "rewind.npz",
        "initial.npz",
    ]
