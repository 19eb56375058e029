"""Kill workers, nodes and drivers of experiments that train by Ray, and compare the bytes.

    scripts/reliability_workers.py --kills 30
    scripts/reliability_workers.py --kills 0 --faults raise hang memory

Three small experiments are trained in one process each, undisturbed, and then by two workers, while
at random moments a worker's process, a node of a local cluster or the driver is killed by SIGKILL;
of the kind "checkpoint" the driver or a worker is while a checkpoint is being written, of the kind
"interrupt" the driver gets SIGINT. A driver that has ended is started again. At the end of each run
all files of its directory must be those of the undisturbed run, byte for byte, and no process of
Ray's may be left: those of a driver that was killed end by themselves.

With --faults a training of `tfinit lottery --workers 2` raises, hangs or eats all memory: it must
be named, all else trained, and the exit code be 1 (`_faulty_workers`).
"""

import collections
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import tyro

from tfinit.cli.signals import heard

KINDS = ("worker", "driver", "node", "checkpoint", "interrupt")
_COMMON = {
    "seeds": (0, 1),
    "model": "mlp-2-relu",
    "train_examples": 400,
    "steps": 1200,
    "evaluate_every": 100,
    "threads": 1,
}


@dataclass
class Asked:
    """What is tried."""

    kills: int = 30
    """Over all experiments and kinds."""
    seconds: float = 3600.0
    """Begin no run after so many."""
    seed: int = 0
    """Of all that is drawn."""
    kinds: tuple[str, ...] = KINDS
    """What is killed."""
    faults: tuple[str, ...] = ()
    """What a training does: raise, hang, memory."""


def tickets(home, **more):
    """Tickets and reinitialized ones."""
    from tfinit.lottery import LotteryConfig, run

    config = LotteryConfig(levels=2, controls=("reinit",), run_dir=home, **_COMMON)
    run(config, progress=False, reports=False, checkpoint_every=0.1, **more)


def rewound(home, **more):
    """Late rewinding, with controls of every shape."""
    from tfinit.lottery import LotteryConfig, run

    controls = ("reinit", "shuffle", "one-shot", "snip", "lr-rewind", "fine-tune")
    config = LotteryConfig(
        levels=2, rewind_step=50, controls=controls, run_dir=home, **_COMMON | {"seeds": (0,)}
    )
    run(config, progress=False, reports=False, checkpoint_every=0.1, **more)


def parting(home, **more):
    """Copies that part, and the lines between them."""
    from tfinit.lottery import StabilityConfig, stability

    config = StabilityConfig(spawn_steps=(0, 300), points=3, run_dir=home, **_COMMON)
    stability(config, progress=False, reports=False, checkpoint_every=0.1, **more)


EXPERIMENTS = {made.__name__: made for made in (tickets, rewound, parting)}


def drive(name, home, how):
    """What the process of a driver does: ``how`` is serial, local or cluster."""
    if how == "serial":
        return EXPERIMENTS[name](home)
    from tfinit.executors import Workers

    more = {"workers": Workers(2, cpus_per_training=1, retries=100)}
    if how == "local":
        return EXPERIMENTS[name](home, **more)
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    asked = threading.Semaphore(0)

    def replace_nodes():
        while True:
            node = cluster.add_node(num_cpus=1)
            asked.acquire()
            cluster.remove_node(node, allow_graceful=False)

    ray.init(address=cluster.address, log_to_driver=False, configure_logging=False)
    signal.signal(signal.SIGUSR1, lambda number, frame: asked.release())
    threading.Thread(target=replace_nodes, daemon=True).start()
    try:
        EXPERIMENTS[name](home, **more)
    finally:
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        ray.shutdown()
        cluster.shutdown()


class Driver:
    """A driver's process."""

    def __init__(self, name, home, how):
        self.how, self.kin, self._home = how, [], home
        self.is_to_go_on = False  # in another process: it was killed, or interrupted
        self._output = tempfile.TemporaryFile()  # noqa: SIM115
        words = [sys.executable, __file__, "drive", name, str(home), how]
        self._process = subprocess.Popen(words, stdout=self._output, stderr=self._output)

    def kind_of_kin(self, word):
        """Its processes of which the name has a word."""
        try:
            self.kin = psutil.Process(self._process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []
        found = []
        for one in self.kin:
            try:
                if word in " ".join(one.cmdline()):
                    found.append(one)
            except psutil.Error:
                continue
        return found

    def ended(self):
        """Whether it has."""
        return self._process.poll() is not None

    def wait(self):
        """The exit code; no process of its may be left."""
        code = self._process.wait(900)
        left = psutil.wait_procs(self.kin, timeout=120)[1]
        assert not left, [one.cmdline()[0] for one in left]
        return code

    def kill(self, kind, chance):
        """Kill something of it; whether there was something."""
        training = self.kind_of_kin("ray::stream")
        if not training or self.ended():
            return False
        if kind == "checkpoint":
            if not self._writes_checkpoint():
                return False
            kind = chance.choice(("worker", "driver"))
        if kind == "worker":
            chance.choice(training).kill()
        elif kind == "node":
            self._process.send_signal(signal.SIGUSR1)
        else:
            self.is_to_go_on = True
            self._process.send_signal(signal.SIGINT if kind == "interrupt" else signal.SIGKILL)
            began, code = time.monotonic(), self._process.wait(60)
            if kind == "interrupt" and code != 0:  # 0: it was done in that moment
                assert code == 130, (code, self.output())
                took = time.monotonic() - began
                print(f"interrupted: it ended after {took:.1f} s", flush=True)
        return True

    def _writes_checkpoint(self):
        """Wait until one is being written; whether one was."""
        until = time.monotonic() + 20
        while time.monotonic() < until and not self.ended():
            for _, _, files in os.walk(self._home):
                if any("partial" in name and name.endswith(".tmp") for name in files):
                    return True
        return False

    def output(self):
        """What it printed."""
        self._output.seek(0)
        return self._output.read().decode(errors="replace")[-3000:]


def contents(home):
    """Name → content of all files but locks."""
    return {
        str(path.relative_to(home)): path.read_bytes()
        for path in sorted(home.rglob("*"))
        if path.is_file() and not path.name.endswith(".lock")
    }


def disturbed(name, home, kinds, chance, whole):
    """One run, with kills of some kinds, one after the other; how many of each."""
    done, waiting = collections.Counter(), list(kinds)
    how = "cluster" if "node" in kinds else "local"
    drivers = [driver := Driver(name, home, how)]
    while True:
        until = time.monotonic() + chance.uniform(0, 3)
        while not driver.ended() and (time.monotonic() < until or not waiting):
            time.sleep(0.02)
            if time.monotonic() < until:
                driver.kind_of_kin("")
        if waiting and driver.kill(waiting[0], chance):
            kind = waiting.pop(0)
            done[kind] += 1
            if driver.is_to_go_on:
                drivers.append(driver := Driver(name, home, how))
        if driver.ended():
            code = driver.wait()
            assert code == 0, (name, code, driver.output())
            break
    for one in drivers:
        one.wait()
    there = contents(home)
    differing = sorted(n for n in {*there, *whole} if there.get(n) != whole.get(n))
    return done, differing


def attack(asked):
    """So many kills, a line for each run and a table."""
    chance, began = random.Random(asked.seed), time.monotonic()
    table, runs, left = collections.Counter(), 0, asked.kills
    with tempfile.TemporaryDirectory(prefix="reliability-") as root:
        whole = {}
        while left > 0 and time.monotonic() - began < asked.seconds:
            name = list(EXPERIMENTS)[runs % len(EXPERIMENTS)]
            if name not in whole:
                home = Path(root, name, "whole")
                driver = Driver(name, home, "serial")
                assert driver.wait() == 0, driver.output()
                whole[name] = contents(home)
            others = [kind for kind in asked.kinds if kind != "node"]
            drawn = others if others and ("node" not in asked.kinds or runs % 2) else ["node"]
            kinds = [chance.choice(drawn) for _ in range(min(left, 5))]
            home = Path(root, name, str(runs))
            done, differing = disturbed(name, home, kinds, chance, whole[name])
            runs, left = runs + 1, left - done.total()
            table.update({(name, kind): count for kind, count in done.items()})
            said = f"differing: {differing}" if differing else f"{len(whole[name])} files equal"
            print(f"{name}: {dict(done)}, {said}, {time.monotonic() - began:.0f} s", flush=True)
            assert not differing
    if not asked.kills:
        return
    print(f"\n{'killed':10}" + "".join(f"{kind:>12}" for kind in KINDS))
    for name in EXPERIMENTS:
        print(f"{name:10}" + "".join(f"{table[name, kind]:12}" for kind in KINDS))
    print(f"{table.total()} kills over {runs} runs: the bytes of the undisturbed runs in all")


def provoke(faults):
    """A line for each fault of a training."""
    from _faulty_workers import check_fault

    for fault in faults:
        with tempfile.TemporaryDirectory(prefix="reliability-") as root:
            print(f"{fault}: {check_fault(fault, Path(root))}", flush=True)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if sys.argv[1:2] == ["drive"]:
        with heard():
            drive(sys.argv[2], Path(sys.argv[3]), sys.argv[4])
    else:
        asked = tyro.cli(Asked, description=__doc__)
        provoke(asked.faults)
        attack(asked)
