"""Jobs in processes of Ray: what they tell, what becomes of those that fail, and the same bits."""

import os
import signal
import sys
import threading
import time

import pytest

pytest.importorskip("ray", reason="needs tfinit[scale]")

import numpy as np
import psutil
import ray

from tfinit import datasets, threads
from tfinit.backends import backend_of
from tfinit.errors import InputError, MissingPackage, WorkError
from tfinit.executors.job import Job
from tfinit.executors.ray_executor import RayExecutor
from tfinit.executors.versions import check_same_versions, versions
from tfinit.executors.workers import Workers, executing, workers_of
from tfinit.lottery import LotteryConfig, Store, run

# Workers do not find this file by its name.
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])


@pytest.fixture(scope="module", autouse=True)
def two_workers():
    """One Ray for all tests: executors use one that runs, and leave it."""
    with pytest.MonkeyPatch.context() as patch:
        # They would give way to all others, which are busy here for as long as these tests wait.
        patch.setenv("RAY_worker_niceness", "0")
        if not ray.is_initialized():
            quiet = {"log_to_driver": False, "configure_logging": False}
            ray.init(num_cpus=2, include_dashboard=False, **quiet)
        yield
        ray.shutdown()


def setup():
    """Does what a task says; counts what this process has done."""
    done = 0

    def work(task, tell):
        nonlocal done
        done += 1
        what, value = task
        if what == "raise":
            raise ValueError(value)
        if what == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if what == "sleep":
            time.sleep(value)
        for n in range(3):
            tell("step", n)
        return value, done, os.getpid()

    return work


class Asked:
    """A job's task, another one each time that it is asked for."""

    def __init__(self, *tasks):
        self.tasks, self.times = tasks, 0

    def __call__(self):
        self.times += 1
        return self.tasks[min(self.times, len(self.tasks)) - 1]


def job(*tasks, heard=lambda kind, value: None):
    name = f"{tasks[0][0]} {tasks[0][1]}"
    return Job(name, Asked(*tasks), setup(), setup, heard)


def ended(executor, *jobs):
    """Name of each job → how it ended."""
    for one in jobs:
        executor.submit(one)
    found = [executor.ended() for _ in jobs]
    return {one.job.name: one for one in found}


def test_what_a_job_tells_is_heard_in_order_before_its_outcome():
    told = []
    with RayExecutor(Workers(2)) as executor:
        assert executor.slots == 2
        found = ended(executor, job(("add", 1), heard=lambda *message: told.append(message)))
    assert told == [("step", 0), ("step", 1), ("step", 2)]
    assert found["add 1"].outcome[0] == 1
    assert found["add 1"].outcome[2] != os.getpid()


def test_who_follows_is_told_what_goes_where():
    class Follower:
        told = ()

        def at_work(self, parts):
            self.told = (*self.told, dict(parts))

    follower = Follower()
    with RayExecutor(Workers(2), follower) as executor:
        process = ended(executor, job(("add", 6)))["add 6"].outcome[2]
    waits, begun, over = follower.told
    assert (waits, over) == ({"add 6": None}, {})
    assert begun["add 6"].endswith(f" {process}")


def test_a_process_makes_a_setup_once():
    with RayExecutor(Workers(1, cpus_per_training=2)) as executor:
        outcomes = [ended(executor, job(("add", n)))[f"add {n}"].outcome for n in range(4)]
    by_process = {}
    for _, done, process in outcomes:
        by_process.setdefault(process, []).append(done)
    # An idle process may end between two jobs; one that is used again has not begun anew.
    assert all(done == sorted(set(done)) for done in by_process.values())
    assert len(by_process) < 4


def test_a_job_that_raises_is_named_and_the_rest_is_done():
    with RayExecutor(Workers(2)) as executor:
        found = ended(executor, job(("raise", "no luck")), job(("add", 2)))
    assert isinstance(found["raise no luck"].error, ValueError)
    assert "no luck" in str(found["raise no luck"].error)
    assert found["add 2"].outcome[0] == 2


def test_it_stops_at_the_first_if_asked():
    with (
        RayExecutor(Workers(2, on_failure="stop")) as executor,
        pytest.raises(WorkError, match="raise no luck: ValueError: no luck"),
    ):
        ended(executor, job(("raise", "no luck")))


def test_a_job_whose_process_dies_goes_on_from_what_its_task_says_then():
    lost = job(("kill", 0), ("add", 3))
    with RayExecutor(Workers(2)) as executor:
        found = ended(executor, lost, job(("add", 4)))
    assert (found["kill 0"].outcome[0], found["kill 0"].error) == (3, None)
    assert lost.task.times == 2
    assert found["add 4"].outcome[0] == 4


def test_a_job_whose_processes_all_die_is_given_up():
    lost = job(("kill", 0))
    with RayExecutor(Workers(2, retries=1)) as executor:
        found = ended(executor, lost)
    assert lost.task.times == 2
    assert isinstance(found["kill 0"].error, WorkError)
    assert "its process was lost" in str(found["kill 0"].error)


def test_a_job_that_hangs_is_given_up_and_its_place_is_free_again():
    with RayExecutor(Workers(1, cpus_per_training=2, time_limit=5)) as executor:
        found = ended(executor, job(("sleep", 600)))
        assert isinstance(found["sleep 600"].error, TimeoutError)
        assert ended(executor, job(("add", 5)))["add 5"].outcome[0] == 5


def test_what_cannot_be_sent_is_refused():
    lock = threading.Lock()
    unsendable = Job("locked", lambda: 0, setup(), lambda: lock, lambda kind, value: None)
    with (
        RayExecutor(Workers(2)) as executor,
        pytest.raises(InputError, match=r"`workers`: .* cannot be sent .*cannot pickle .*`data`"),
    ):
        executor.submit(unsendable)


def test_data_that_cannot_be_sent_are_refused_before_anything_is_written(tmp_path, one_thread):
    config = LotteryConfig(**one_thread, run_dir=tmp_path / "run")
    lock = threading.Lock()
    digits = datasets.load("digits")

    def batches():
        with lock:
            yield digits.train[0][:60], digits.train[1][:60]

    data = datasets.from_arrays(batches, digits.test, validation=digits.validation)
    with pytest.raises(InputError, match=r"`workers`: .* cannot be sent .*`data`"):
        run(config, progress=False, data=data, warn=lambda line: None, workers=Workers(1))
    assert not (tmp_path / "run").exists()


def test_an_array_of_several_setups_is_sent_once(monkeypatch):
    numbers, puts = np.arange(100_000.0), []
    monkeypatch.setattr(ray, "put", lambda value, put=ray.put: puts.append(value) or put(value))

    def adding(n):
        return lambda: lambda task, tell: float(numbers.sum()) + n + task

    with RayExecutor(Workers(2)) as executor:
        for n in (1, 2):
            executor.submit(Job(str(n), lambda: 4, None, adding(n), lambda kind, value: None))
        found = sorted(executor.ended().outcome for _ in range(2))
    assert found == [numbers.sum() + 5, numbers.sum() + 6]
    assert sorted(getattr(value, "nbytes", 0) for value in puts) == [0, 0, numbers.nbytes]
    assert all(len(value) < 10_000 for value in puts if isinstance(value, bytes))


def test_ray_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingPackage, match=r"`workers` needs Ray: pip install 'tfinit\[scale\]"):
        workers_of(2)


def test_a_worker_of_other_versions_is_refused_with_both():
    here = versions()
    check_same_versions(here)
    other = {**here, "keras": "2.0", "elsewhere": "1"}
    with pytest.raises(InputError, match=rf"keras {here['keras']} there, 2.0 here; elsewhere is"):
        check_same_versions(other)


def test_the_process_of_a_worker_refuses_a_driver_of_another_version(monkeypatch):
    here = versions()["tfinit"]
    monkeypatch.setattr("tfinit.executors.versions.__version__", "9.9")
    with RayExecutor(Workers(2)) as executor:
        error = ended(executor, job(("add", 7)))["add 7"].error
    assert isinstance(error, InputError)
    assert f"other versions than this process: tfinit {here} there, 9.9 here." in str(error)


@pytest.fixture
def one_thread(monkeypatch):
    """What this process was told: that others have computed in it with more does not matter."""
    monkeypatch.setitem(threads._given, backend_of("keras"), 1)
    return {"levels": 1, "steps": 4, "seeds": (0,), "model": "mlp-2-relu", "threads": 1}


def test_a_second_driver_on_a_directory_is_refused_and_starts_nothing(tmp_path, one_thread):
    ray.shutdown()
    config = LotteryConfig(**one_thread, run_dir=tmp_path / "run")
    with Store(config).locked(), pytest.raises(InputError, match="in use by another process"):
        run(config, progress=False, reports=False, workers=Workers(1))
    assert not ray.is_initialized()


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1"])
def test_there_is_no_such_cluster(address):
    ray.shutdown()
    with (
        pytest.raises(InputError, match=f"`address` '{address}': .*`ray start --head`"),
        executing(Workers(address=address)),
    ):
        raise AssertionError


def test_sigterm_is_heard_by_what_heard_it_before_and_ends_all_processes():
    def hear(number, frame):
        raise KeyboardInterrupt(number)

    before = signal.signal(signal.SIGTERM, hear)
    try:
        with pytest.raises(KeyboardInterrupt), RayExecutor(Workers(1)) as executor:
            assert signal.getsignal(signal.SIGTERM) is hear
            one = job(("sleep", 600))
            executor.submit(one)
            kin = psutil.Process().children(recursive=True)
            threading.Timer(1, os.kill, (os.getpid(), signal.SIGTERM)).start()
            executor.ended()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert len(kin) > 2
    assert psutil.wait_procs(kin, timeout=5)[1] == []


def test_ray_is_not_started_where_there_is_nothing_to_do():
    ray.shutdown()
    with RayExecutor(Workers(2)) as executor:
        assert executor.slots == 2
        assert not ray.is_initialized()


@pytest.mark.parametrize("workers", [0, -1, 1.5, "two"])
def test_workers_are_a_number(workers, tmp_path):
    config = LotteryConfig(levels=1, steps=4, seeds=(0,), run_dir=tmp_path / "run")
    with pytest.raises(InputError, match="`workers`"):
        run(config, progress=False, workers=workers)
    assert not (tmp_path / "run").exists()
