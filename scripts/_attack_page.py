"""Two thousand connections that only take place, against `tfinit demo`: is its page still served?

    python scripts/_attack_page.py [seed]        # a minute and a half; Linux, 127.0.0.1 only

Idle ones, half of a request, requests that come byte by byte or never end, answers that nobody
takes, what is no HTTP, runs that nobody listens to. Meanwhile a page trains, another is opened, and
the server's files, memory and stderr are read.
"""

import http.client
import itertools
import json
import os
import random
import re
import resource
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from statistics import median

CONNECTIONS = 2000
# `Limits.request_seconds` and `Limits.stalled_seconds`, and what a loaded machine may add.
DEADLINE, STALLED, LATE = 10, 60, 10

_TFINIT = "from tfinit.cli import main; main()"
_HEAD = b"POST /api/runs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
_ENDLESS = b"POST / HTTP/1.1\r\nHost: elsewhere\r\nContent-Length: 9999999\r\n\r\n"
_BIG = b"GET /static/vendor/uPlot.esm.js HTTP/1.1\r\nHost: localhost\r\n\r\n"
_UPGRADE = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
# What is sent at first, what is then sent every second, and of how many.
KINDS = {
    "idle": (b"", b"", 600),
    "half head": (b"GET / HTTP/1.1\r\nHost: localhost\r\nX", b"", 400),
    "half body": (_HEAD + b"Content-Length: 99\r\n\r\n{", b"", 400),
    "head byte by byte": (b"GET / HTTP/1.1\r\nX: ", b"x", 100),
    "body byte by byte": (_HEAD + b"Content-Length: 99\r\n\r\n{", b" ", 100),
    "body in chunks": (_HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n", 100),
    "body after its refusal": (_ENDLESS, b"x", 50),
    "head too large": (b"GET / HTTP/1.1\r\nX: " + b"x" * 100_000, b"", 50),
    "no HTTP": (b"\x16\x03\x01\r\n\r\n", b"", 50),
    "websocket": (_UPGRADE, b"", 50),
    "answered": (b"HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"", 50),
    "takes nothing": (_BIG * 20, b"", 50),
}
assert sum(count for _, _, count in KINDS.values()) == CONNECTIONS


class _Server:
    """`tfinit demo` in a process of its own, with as many open files as is usual: 1,024."""

    def __init__(self, directory):
        self.stderr = directory / "stderr.txt"
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 1024), hard))
        try:
            with self.stderr.open("wb") as errors:
                self.process = subprocess.Popen(
                    [sys.executable, "-c", _TFINIT, "demo", "--port", "0"],
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    cwd=directory,
                    text=True,
                )
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        line = self.process.stdout.readline()
        assert ":" in line, self.stderr.read_text()
        self.port = int(re.search(r"127\.0\.0\.1:(\d+) ", line)[1])

    def connect(self):
        """A connection for requests."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def ask(self, method, path, body=None):
        """Status and body of an answer."""
        with closing(self.connect()) as connection:
            sent = None if body is None else json.dumps(body)
            connection.request(method, path, sent, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read()

    def create(self, **settings):
        """The id of a new run."""
        status, body = self.ask("POST", "/api/runs", settings)
        assert status == 201, (status, body)
        return json.loads(body)["id"]

    def files(self):
        """How many files and sockets it has open."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def resident(self):
        """MiB of memory that it uses."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * resource.getpagesize() / 2**20


@contextmanager
def _serving(directory):
    server = _Server(directory)
    try:
        yield server
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(30) == 0
    finally:
        server.process.kill()
        server.process.wait()
        server.process.stdout.close()


class _Page:
    """A page that trains, and notes when its frames came."""

    def __init__(self, server):
        self.start, self.frames = time.monotonic(), []
        self.key = server.create(steps=20_000)
        self._connection = server.connect()
        self._connection.request("GET", f"/api/runs/{self.key}/events")
        self._answer = self._connection.getresponse()
        assert self._answer.status == 200, self._answer.read()
        self._began = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()
        assert self._began.wait(60), "no frame in a minute"
        server.ask("POST", f"/api/runs/{self.key}/control", {"action": "start"})

    def longest_wait(self):
        """The most seconds between two frames, until now."""
        times = [*self.frames, time.monotonic()]
        return max(b - a for a, b in itertools.pairwise(times))

    def close(self):
        """Leave: the server sees it, and the reading thread ends."""
        self._connection.sock.shutdown(socket.SHUT_RDWR)

    def _read(self):
        with suppress(OSError, ValueError, http.client.HTTPException):
            for line in self._answer:
                if line.startswith(b"event: frame"):
                    self.frames.append(time.monotonic())
                    self._began.set()


class _Reader(threading.Thread):
    """Asks for the page ten times a second, over a new connection each time."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self._server, self._over = server, threading.Event()
        self.seconds, self.failed = [], []

    def run(self):
        """Until `end`."""
        while not self._over.wait(0.1):
            start = time.monotonic()
            try:
                status, body = self._server.ask("GET", "/")
            except (OSError, http.client.HTTPException) as error:
                self.failed.append(repr(error))
                continue
            self.seconds.append(time.monotonic() - start)
            if status != 200 or b"<html" not in body:
                self.failed.append(f"{status} {body[:80]!r}")

    def end(self):
        """Stop, and wait for the last answer."""
        self._over.set()
        self.join()


class _Crowd:
    """The connections, and when the server closed them."""

    def __init__(self, port):
        self._port = port
        self._selector = selectors.DefaultSelector()
        self._open = {}  # socket → its kind and when it was opened
        self.closed = {}  # kind → seconds until it was closed, of each
        self._second = time.monotonic()

    def add(self, kind):
        """Open one and send what its kind sends first."""
        sock = socket.socket()
        if kind == "takes nothing":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.settimeout(30)
        sock.connect(("127.0.0.1", self._port))
        sock.setblocking(False)
        self._open[sock] = kind, time.monotonic()
        with suppress(OSError):  # closed already
            sock.send(KINDS[kind][0])
        # Who takes nothing does not see that it was closed: that is seen by the server's files.
        if kind != "takes nothing":
            self._selector.register(sock, selectors.EVENT_READ)

    def waiting(self):
        """Those that are still open, of each kind."""
        return Counter(kind for kind, _ in self._open.values())

    def tend(self, seconds):
        """Take what is answered, note what is closed, and send the next byte where one is due."""
        for key, _ in self._selector.select(seconds):
            self._take(key.fileobj)
        if time.monotonic() - self._second > 1:
            self._second = time.monotonic()
            for sock, (kind, _) in self._open.items():
                with suppress(OSError):  # closed: read of next
                    if KINDS[kind][1]:
                        sock.send(KINDS[kind][1])

    def close(self):
        """Close all that are left."""
        for sock in self._open:
            sock.close()
        self._selector.close()

    def _take(self, sock):
        try:
            if sock.recv(65536):
                return
        except BlockingIOError:
            return
        except OSError:  # reset
            pass
        kind, opened = self._open.pop(sock)
        self.closed.setdefault(kind, []).append(time.monotonic() - opened)
        self._selector.unregister(sock)
        sock.close()


@contextmanager
def _many_files(needed):
    """This process may have so many open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise OSError(f"needs {needed} open files, and {hard} are allowed: ulimit -n {needed}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, needed), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _flood(crowd, server, chance):
    """Open all, in any order; returns how long it took and the most files that the server had."""
    kinds = [kind for kind, (_, _, count) in KINDS.items() for _ in range(count)]
    chance.shuffle(kinds)
    start, most = time.monotonic(), 0
    for number, kind in enumerate(kinds):
        crowd.add(kind)
        if number % 20 == 0:
            crowd.tend(0)
            most = max(most, server.files())
    return time.monotonic() - start, most


def attack(directory: Path, chance: random.Random) -> str:
    """Attack a server of its own, assert what it withstands, and return the figures as a line.

    Args:
        directory: Where its stderr goes.
        chance: Of the order of the connections.
    """
    with _many_files(CONNECTIONS + 200), _serving(directory) as server:
        server.ask("POST", "/api/python", {"settings": {}})  # waits until all is loaded
        page = _Page(server)
        files, resident = server.files(), server.resident()
        reader, crowd = _Reader(server), _Crowd(server.port)
        reader.start()
        try:
            took, most = _flood(crowd, server, chance)
            crowded = time.monotonic()
            for seed in range(40):  # nobody will listen to them
                server.create(seed=seed)
            other = _Page(server)
            opened = other.frames[0] - other.start
            other.close()
            while set(crowd.waiting()) - {"takes nothing"}:
                crowd.tend(0.1)
                left = crowd.waiting()
                assert time.monotonic() - crowded < DEADLINE + LATE, f"still open: {left}"
            longest = max(max(seconds) for seconds in crowd.closed.values())
            # Those who take nothing have longer; by then there is nothing left of all.
            while server.files() > files + 5:
                crowd.tend(0.1)
                after = time.monotonic() - crowded
                assert after < STALLED + LATE, f"{server.files()} files open, {files} before"
            free = time.monotonic() - crowded
        finally:
            reader.end()
            crowd.close()
        status, health = server.ask("GET", "/health")
        grown, errors = server.resident() - resident, server.stderr.stat().st_size
        gap = page.longest_wait()
        page.close()
        assert (status, json.loads(health)["status"]) == (200, "ok"), health
    assert not reader.failed, reader.failed[:3]
    usual, slowest = median(reader.seconds), max(reader.seconds)
    assert slowest < 10, slowest
    assert opened < 30, opened
    assert gap < 15, gap
    assert most < 1024, most
    assert grown < 300, grown
    assert errors < 20_000, server.stderr.read_text()[:2000]
    return (
        f"{CONNECTIONS} connections of {len(KINDS)} kinds in {took:.1f} s: the page was served "
        f"{len(reader.seconds)} times meanwhile, in {1000 * usual:.0f} ms (slowest {slowest:.2f} "
        f"s); a new run's first frame after {opened:.2f} s, no frame of the one that trained later "
        f"than {gap:.2f} s; closed after {longest:.1f} s at most, who takes nothing after "
        f"{free:.0f} s; {most} files open at most, {files} before; {grown:+.0f} MiB, "
        f"{errors} bytes of stderr"
    )


def main():
    """One attack, a line of figures."""
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    print(f"seed {seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="attack-page-") as name:
        print("page:", attack(Path(name), random.Random(seed)), flush=True)


if __name__ == "__main__":
    main()
