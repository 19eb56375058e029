"""How quick and how fair `tfinit demo` is, measured over HTTP by clients that parse every frame.

    python benchmarks/demo.py            # first panes clients memory: two minutes
    python benchmarks/demo.py panes      # some parts of it

The server runs in a process of its own, the clients share another: both on the same cores, as a
browser would. An update is some steps of training (`--speed`, 10) and a frame that shows them. Lag
is from a frame's making to its client's having parsed it.
"""

import argparse
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from statistics import median, quantiles
from typing import Any

STEPS = 20_000  # none of these trainings ends by itself
FOUR = [
    {"initialization": "he"},
    {"initialization": "xavier"},
    {"initialization": "zeros"},
    {"initialization": "normal", "value": 0.5},
]


class Server:
    """`tfinit demo` in a process of its own."""

    def __init__(self):
        command = [sys.executable, "-c", "from tfinit.cli import main; main()", "demo"]
        start = time.perf_counter()
        self.process = subprocess.Popen(
            [*command, "--port", "0"], stdout=subprocess.PIPE, text=True
        )
        line = self.process.stdout.readline()
        self.opened = time.perf_counter() - start
        self.port = int(re.search(r":(\d+) ", line)[1])

    def post(self, path: str, body: dict[str, Any]) -> bytes:
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
            headers = {"Content-Type": "application/json"}
            connection.request("POST", path, json.dumps(body), headers)
            answer = connection.getresponse()
            if answer.status >= 400:
                raise RuntimeError(f"{path}: {answer.status} {answer.read()!r}")
            return answer.read()

    def resident(self) -> float:
        """MiB of memory that the process uses."""
        with open(f"/proc/{self.process.pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

    def seconds(self) -> float:
        """Processor time so far."""
        with open(f"/proc/{self.process.pid}/stat") as file:
            fields = file.read().rsplit(")")[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def wait_until_warm(self) -> None:
        """Until all is loaded: this answer waits for it."""
        self.post("/api/python", {"settings": {}})

    def stop(self) -> float:
        start = time.perf_counter()
        self.process.send_signal(signal.SIGINT)
        self.process.wait()
        return time.perf_counter() - start


class Page:
    """A client: opens a run, and reads its events."""

    def __init__(self, server: Server, **settings: Any):
        self.server = server
        self.start = time.perf_counter()
        self.key = json.loads(server.post("/api/runs", {"steps": STEPS, **settings}))["id"]
        self.connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        self.connection.request("GET", f"/api/runs/{self.key}/events")
        self.answer = self.connection.getresponse()

    def events(self) -> Iterator[tuple[str, dict[str, Any]]]:
        name = ""
        for line in self.answer:
            if line.startswith(b"event: "):
                name = line[7:].strip().decode()
            elif line.startswith(b"data: "):
                event = json.loads(line[6:])
                if name == "problem":
                    raise RuntimeError(event["text"])
                yield name, event

    def until(self, name: str) -> dict[str, Any]:
        return next(event for kind, event in self.events() if kind == name)

    def control(self, **control: Any) -> None:
        self.server.post(f"/api/runs/{self.key}/control", control)

    def close(self) -> None:
        self.answer.close()
        self.connection.close()


@contextmanager
def serving() -> Iterator[Server]:
    server = Server()
    try:
        yield server
    finally:
        took = server.stop()
        print(f"  ended by Ctrl-C in {took:.2f} s, exit code {server.process.returncode}")


def first(seconds: float, speed: int) -> None:
    """First frames: of the first start, and of later ones with the same architecture."""
    with serving() as server:
        print(f"address printed after {server.opened:.2f} s")
        page = Page(server)
        page.until("frame")
        print(f"  a start at once: {time.perf_counter() - page.start:.2f} s, with all that loads")
        page.close()
    with serving() as server:
        server.wait_until_warm()
        later = {
            "first start": {},
            "another initialization": {"panes": [{"initialization": "zeros"}]},
            "another seed": {"seed": 7},
            "another learning rate": {"learning_rate": 0.5},
            "four panes": {"panes": FOUR},
            "another architecture": {"depth": 7, "activation": "tanh"},
            "that one again": {"depth": 7, "activation": "tanh", "seed": 3},
        }
        for words, settings in later.items():
            page = Page(server, **settings)
            page.until("frame")
            took = time.perf_counter() - page.start
            page.until("state")
            ready = time.perf_counter() - page.start
            page.close()
            print(f"  {words}: first frame {took:.3f} s, all verdicts {ready:.3f} s", flush=True)
    print("  asked: first start ≤ 1.5 s, later ones with the same architecture ≤ 0.5 s")


class Watcher(threading.Thread):
    """Counts the frames of a page, from when all have started until they stop."""

    def __init__(self, page: Page, going: threading.Event):
        super().__init__(daemon=True)
        self.page, self.going = page, going
        self.lags: list[float] = []
        self.frames: dict[int, list[int]] = {}

    def run(self) -> None:
        try:
            for name, event in self.page.events():
                if name == "frame" and self.going.is_set():
                    self.lags.append(time.time() - event["made"])
                    self.frames.setdefault(event["pane"], []).append(event["step"])
        except (OSError, ValueError, AttributeError, http.client.HTTPException):
            return  # closed under its feet


def watched(server: Server, pages: list[Page], seconds: float, speed: int) -> list[Watcher]:
    for page in pages:
        page.until("state")
    going = threading.Event()
    watchers = [Watcher(page, going) for page in pages]
    for watcher in watchers:
        watcher.start()
        watcher.page.control(action="start", speed=speed)
    time.sleep(3)  # what must be compiled is
    before = server.seconds()
    going.set()
    time.sleep(seconds)
    going.clear()
    print(f"  the server used {(server.seconds() - before) / seconds:.2f} cores")
    for page in pages:
        page.connection.sock.shutdown(socket.SHUT_RDWR)
    return watchers


def tell_lags(lags: list[float]) -> None:
    p95 = quantiles(lags, n=20)[-1]
    print(f"  lag p50 {1000 * median(lags):.0f} ms, p95 {1000 * p95:.0f} ms", flush=True)


def panes(seconds: float, speed: int) -> None:
    """Four panes of one page: depth 5, 300 points, a boundary of 100 by 100."""
    with serving() as server:
        server.wait_until_warm()
        page = Page(server, panes=FOUR, depth=5, dataset="circles")
        (watcher,) = watched(server, [page], seconds, speed)
        for pane, steps in sorted(watcher.frames.items()):
            trained = (steps[-1] - steps[0]) / seconds
            print(f"  pane {pane}: {len(steps) / seconds:.1f} updates/s, {trained:.0f} steps/s")
        tell_lags(watcher.lags)
    print("  asked: 4 × 10 updates/s, lag p50 < 100 ms")


def clients(seconds: float, speed: int) -> None:
    """Sixteen pages at once, one pane each."""
    with serving() as server:
        server.wait_until_warm()
        pages = [Page(server, seed=seed) for seed in range(16)]
        watchers = watched(server, pages, seconds, speed)
        rates = [len(w.frames.get(0, ())) / seconds for w in watchers]
        low, high = min(rates), max(rates)
        print(f"  {low:.1f} to {high:.1f} updates/s, min/max {low / high:.2f}")
        tell_lags([lag for watcher in watchers for lag in watcher.lags])
    print("  asked: 16 × 5 updates/s, min/max ≥ 0.7")


def memory(seconds: float, speed: int, runs: int = 200) -> None:
    """Runs started and abandoned in the middle of their training."""
    with serving() as server:
        server.wait_until_warm()
        read = []
        for number in range(1, runs + 1):
            page = Page(server, seed=number, panes=FOUR[:2], optimizer=("sgd", "adam")[number % 2])
            page.until("state")
            page.control(action="start", speed=speed)
            next(e for name, e in page.events() if name == "frame" and e["step"] >= 2 * speed)
            page.close()
            if number % 20 == 0:
                read.append(server.resident())
                print(f"  after {number} runs {read[-1]:.0f} MiB", flush=True)
    growth = (read[-1] - read[len(read) // 2]) / (len(read) // 2 * 20)
    print(f"  second half: {1024 * growth:.0f} KiB a run (asked: flat)")


PARTS: dict[str, Callable[[float, int], None]] = {
    "first": first,
    "panes": panes,
    "clients": clients,
    "memory": memory,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "parts", nargs="*", default=list(PARTS), metavar="PART", help=", ".join(PARTS)
    )
    parser.add_argument("--seconds", type=float, default=10, help="of measuring")
    parser.add_argument("--speed", type=int, default=10, help="steps between updates")
    arguments = parser.parse_args()
    for part in arguments.parts:
        print(f"{part}: {PARTS[part].__doc__}", flush=True)
        PARTS[part](arguments.seconds, arguments.speed)


if __name__ == "__main__":
    main()
