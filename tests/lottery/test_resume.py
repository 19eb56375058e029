"""Left in the middle of a training and started again, a run ends with the same bits."""

import dataclasses
import pickle
import signal
import subprocess
import sys

import numpy as np
import pytest
from bare_runs import run

from tfinit import datasets
from tfinit.errors import InputError
from tfinit.lottery import LotteryConfig, Store, lottery
from tfinit.lottery.frameworks import framework_of
from tfinit.lottery.replicate import Replicate
from tfinit.lottery.stored_training import Trainings

REWIND = 7
STEPS = 40


class Left(Exception):
    """What stops a run in a test."""


def config_at(path):
    return LotteryConfig(
        levels=2,
        steps=STEPS,
        rewind_step=REWIND,
        evaluate_every=10,
        seeds=(3,),
        train_examples=300,
        run_dir=path,
    )


def files(path):
    return {
        str(p.relative_to(path)): p.read_bytes()
        for p in path.rglob("*")
        if p.is_file() and p.name != ".lock"
    }


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """Compiled once for all. In processes of their own: test_reliability.py."""
    config = config_at(tmp_path_factory.mktemp("none"))
    return framework_of(config, datasets.load(config.dataset).subset(config.train_examples))


def go(parts, path, progress=lambda done: None, warn=lambda line: None, **options):
    store = Store(config_at(path), warn, **options)
    with store.locked():
        return list(lottery(parts, store, config_at(path), 3, progress))


@pytest.fixture(scope="module")
def whole(parts, tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "r"
    go(parts, path)
    found = files(path)
    assert len(found) == 1 + 5 + 2 + 1  # configuration, trainings, initial weights, rewind point
    return found


def leave(parts, path, after):
    """Run with a checkpoint at each chunk until so many steps were told."""
    told = []

    def progress(done):
        told.append(done)
        if sum(told) >= after:
            raise Left

    with pytest.raises(Left):
        go(parts, path, progress, checkpoint_every=0)
    return sum(told)


# In the dense network: before the rewind point, after it; in a ticket; in a control.
@pytest.mark.parametrize("after", [4, 20, STEPS + 12, STEPS + (STEPS - REWIND) + 20])
def test_left_in_the_middle_of_a_training_it_goes_on_to_the_same_files(
    parts, tmp_path, whole, after
):
    done = leave(parts, tmp_path, after)
    partials = list(tmp_path.rglob("partial-*.npz"))
    # The one at hand; in the first chunk of a training there is none yet.
    assert len(partials) == (0 if after == 4 else 1)
    assert (tmp_path / "seed-3/ticket/rewind.npz").exists() == (done > REWIND)
    lines, told = [], []
    go(parts, tmp_path, warn=lines.append, progress=told.append)
    assert files(tmp_path) == whole
    assert lines == []
    assert sum(told) == STEPS * 3 + 2 * (STEPS - REWIND)


def test_what_a_training_is_given_does_not_need_the_directory(parts, tmp_path):
    config = config_at(tmp_path)
    store = Store(config)
    with store.locked(), Replicate(Trainings(parts, store, lambda done: None), config, 3) as plan:
        for place in plan.graph():
            job = plan.begin(place)
            task = job.task()
            sent = pickle.dumps(task)
            assert b".npz" not in sent
            key = next(iter(task.plan.mask))
            assert task.plan.weights[key].tobytes() in sent
            plan.end(place, job.work(pickle.loads(sent), job.heard))


def test_a_damaged_checkpoint_is_said_and_costs_nothing_but_time(parts, tmp_path, whole):
    leave(parts, tmp_path, STEPS + 12)
    (partial,) = tmp_path.rglob("partial-*.npz")
    content = bytearray(partial.read_bytes())
    content[len(content) // 2] ^= 16
    partial.write_bytes(content)
    lines = []
    go(parts, tmp_path, warn=lines.append)
    assert lines == [f"{partial} is damaged: training level 1 from its start."]
    assert files(tmp_path) == whole


def rewritten(path, change):
    """Alter the arrays of a file."""
    with np.load(path) as members:
        arrays = change({k: members[k] for k in members.files})
    np.savez(path, **arrays)


def without_names(arrays):
    """As an earlier tfinit wrote checkpoints: variables by their place, and no word of whose."""
    state = [k for k in arrays if k.startswith("state/")]
    others = {k: a for k, a in arrays.items() if k.split("/")[0] not in ("state", "about")}
    return others | {f"state/{n}": arrays[k] for n, k in enumerate(state)}


def with_another_shape(arrays):
    return arrays | {"state/fc1/kernel": np.zeros((2, 2), "f4")}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (without_names, "was written by an earlier tfinit, which named variables by their place"),
        (with_another_shape, "names other variables than this network's"),
    ],
)
def test_a_checkpoint_that_does_not_fit_costs_nothing_but_time(parts, tmp_path, whole, change, why):
    leave(parts, tmp_path, STEPS + 12)
    (partial,) = tmp_path.rglob("partial-*.npz")
    with np.load(partial) as members:
        assert {"state/fc1/kernel", "state/optimizer/fc1_kernel_momentum"} <= set(members.files)
    rewritten(partial, change)
    lines = []
    go(parts, tmp_path, warn=lines.append)
    assert lines == [f"{partial} {why}: training level 1 from its start."]
    assert files(tmp_path) == whole


def test_data_that_are_replaced_are_refused_and_nothing_is_touched(tmp_path):
    """Else the accuracies of the old data came back at once, as those of the new."""
    config = dataclasses.replace(
        config_at(tmp_path / "r"), model="mlp-2-relu", levels=1, controls=(), steps=8
    )
    digits = datasets.load("digits")
    rng = np.random.default_rng(0)
    noise = dataclasses.replace(
        digits, train=(rng.random(digits.train[0].shape, np.float32), digits.train[1])
    )
    first = run(config, data=noise)
    before = files(tmp_path)
    with pytest.raises(InputError, match=r"on other data; differing: the bytes of `dataset` 'dig"):
        run(config)
    # In place, too.
    noise.train[0][0] = 0
    with pytest.raises(InputError, match="on other data"):
        run(config, data=noise)
    assert files(tmp_path) == before
    assert len(first) == 2


@pytest.mark.parametrize("name", ["rewind.npz", "initial.npz", "level-00.npz", "level-01.npz"])
@pytest.mark.parametrize("how", ["flipped", "gone"])
def test_what_is_damaged_or_gone_is_made_again(parts, tmp_path, whole, name, how):
    for path, content in whole.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(content)
    victim = tmp_path / "seed-3/ticket" / name
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 16
    victim.write_bytes(content) if how == "flipped" else victim.unlink()
    lines = []
    go(parts, tmp_path, warn=lines.append)
    assert len(lines) == (how == "flipped")
    assert all(line.startswith(f"{victim} is damaged: ") for line in lines)
    assert files(tmp_path) == whole


def test_with_fewer_levels_and_controls_first_and_then_with_all(parts, tmp_path, whole):
    config = config_at(tmp_path)
    less = dataclasses.replace(config, levels=1, controls=())
    store = Store(less)
    with store.locked():
        list(lottery(parts, store, less, 3, lambda done: None))
    times = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.npz")}
    assert len(times) == 4  # two levels, initialization, rewind point
    go(parts, tmp_path)
    assert {p: p.stat().st_mtime_ns for p in times} == times
    assert files(tmp_path) == whole


def test_what_a_killed_process_left_aside_is_cleared_up(parts, tmp_path, whole):
    for path, content in whole.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(content)
    # Killed between the level and the removal of its checkpoint, or in the middle of writing one.
    for name in ("partial-01.npz", ".partial-02.npz.tmp"):
        (tmp_path / "seed-3/ticket" / name).write_bytes(b"half a fi")
    go(parts, tmp_path)
    assert files(tmp_path) == whole


def test_one_process_at_a_time(tmp_path):
    first, second = Store(config_at(tmp_path)), Store(config_at(tmp_path))
    with first.locked():
        with pytest.raises(InputError, match=r"is in use by another process\. Wait until"):
            run(config_at(tmp_path))
        with pytest.raises(InputError, match="in use"), second.locked():
            pass
    with second.locked():
        pass


def test_ctrl_c_says_how_to_go_on(tmp_path):
    flags = "lottery --levels 3 --steps 150 --evaluate-every 50 --seeds 0 4"
    command = [sys.executable, "-c", "from tfinit.cli import main; main()", *flags.split()]
    process = subprocess.Popen(
        [*command, "--run-dir", str(tmp_path / "r")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that runs the tests in the background ignores Ctrl-C, and so would the child.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stderr.readline().startswith("device: ")
    assert process.stderr.readline().startswith("seed 0 level  0 ticket")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    last = errors.strip().splitlines()[-1]
    assert last == "tfinit: interrupted. Start the same command again to go on where it was."
    assert "Traceback" not in errors
