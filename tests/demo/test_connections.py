"""How many connections there may be, and what those get that only take a place."""

import asyncio
import resource
import select
import socket
import threading
import time
from contextlib import ExitStack, contextmanager, suppress

import pytest

pytest.importorskip("fastapi", reason="needs tfinit[demo]")

from demo_trainings import Sleeper, engine_of

from tfinit.demo.connections import room
from tfinit.demo.limits import Limits
from tfinit.demo.serving import seldom
from tfinit.errors import InputError

HEAD = b"POST /api/runs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
CODE = HEAD.replace(b"runs", b"python") + b'Content-Length: 16\r\n\r\n{"settings": {}}'
GET = b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n"
# What is sent at first, and then again and again.
INCOMPLETE = {
    "idle": (b"", b""),
    "half a head": (b"GET / HTTP/1.1\r\nHost: localhost\r\nX", b""),
    "a head byte by byte": (b"GET / HTTP/1.1\r\nX: ", b"x"),
    "half a body": (HEAD + b"Content-Length: 99\r\n\r\n{", b""),
    "a body byte by byte": (HEAD + b"Content-Length: 99\r\n\r\n{", b" "),
    "a body in chunks": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "a body that nobody awaits": (
        b"POST / HTTP/1.1\r\nHost: elsewhere\r\nContent-Length: 99999\r\n\r\n",
        b"x",
    ),
    "the next request": (GET % b"/health" + b"GET / HT", b"x"),
    "nothing after an answer": (GET % b"/health", b""),
}


@contextmanager
def slow_engine():
    """An engine, and the event that lets it be loaded."""
    loaded = threading.Event()

    def engine():
        loaded.wait(20)
        return engine_of(Sleeper)()._replace(python_code=lambda settings, pane: "code")

    try:
        yield engine, loaded
    finally:
        loaded.set()


@contextmanager
def sockets():
    """connect(server, bytes): a connection that has sent them."""
    with ExitStack() as stack:

        def connect(server, sent=b"", source="127.0.0.1", buffer=None):
            sock = stack.enter_context(socket.socket())
            if buffer is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
            sock.settimeout(20)
            sock.bind((source, 0))
            sock.connect(("127.0.0.1", server.port))
            sock.sendall(sent)
            return sock

        yield connect


def is_closed(sock):
    """Whether the server closed it; what it answered is thrown away."""
    sock.setblocking(False)
    try:
        while sock.recv(65536):
            pass
    except BlockingIOError:
        return False
    except OSError:  # reset
        return True
    return True


def test_who_sends_or_takes_nothing_is_waited_for_so_long_and_nobody_else_is_cut(serving):
    limits = Limits(request_seconds=0.4, stalled_seconds=0.4)
    with (
        slow_engine() as (engine, loaded),
        serving(limits, engine=engine) as server,
        server.page() as page,
        sockets() as connect,
    ):
        code = connect(server, CODE)  # whole: how long the answer takes is the server's affair
        start = time.monotonic()
        connect(server, 20 * (GET % b"/static/vendor/uPlot.esm.js"), buffer=4096)
        opened = {kind: connect(server, first) for kind, (first, _) in INCOMPLETE.items()}
        lasted = {}
        while len(lasted) < len(opened):
            for kind in opened.keys() - lasted:
                if is_closed(opened[kind]):
                    lasted[kind] = time.monotonic() - start
                else:
                    with suppress(OSError):
                        opened[kind].send(INCOMPLETE[kind][1])
            assert time.monotonic() - start < 10, opened.keys() - lasted
            time.sleep(0.05)
        assert min(lasted.values()) >= 0.4
        # The page's and the code's are left: who takes nothing does not see that it was closed.
        assert server.waits_for(lambda: len(server.connections) == 2, 10)
        loaded.set()
        assert code.recv(15) == b"HTTP/1.1 200 OK"
        page.ready()


def test_the_oldest_that_asks_nothing_gives_way_to_a_new_one(serving):
    limits = Limits(max_runs=2, connections=4)
    with (
        serving(limits, engine=engine_of(Sleeper)) as server,
        server.page() as page,
        sockets() as connect,
    ):
        # Of the client that has the most: this is another one's.
        alone = connect(server, source="127.0.0.2")
        many = []
        for number in range(30):
            many.append(connect(server, INCOMPLETE["half a body"][0] if number % 2 else b""))
            if number % 10 == 9:
                assert server.get("/").status == 200
        # Which of the last is a question of when its bytes came: that is a new wait.
        assert server.waits_for(lambda: sum(map(is_closed, many)) >= 26)
        assert not is_closed(many[-1])
        assert not is_closed(alone)
        assert len(server.connections) <= 6
        page.ready().say(action="start")
        page.until("frame", step=20)


def test_where_all_are_at_work_a_new_one_is_closed(serving):
    with (
        slow_engine() as (engine, loaded),
        serving(Limits(max_runs=1, connections=1), engine=engine) as server,
        server.page(),
        sockets() as connect,
    ):
        code = connect(server, CODE)
        assert server.waits_for(lambda: len(server.connections) == 2)
        time.sleep(0.2)  # until it was read as well
        assert connect(server).recv(1) == b""
        loaded.set()
        assert code.recv(15) == b"HTTP/1.1 200 OK"


@pytest.mark.parametrize(
    ("soft", "hard", "most"),
    [
        (1024, 4096, 272),
        (256, 4096, 272),  # is raised
        (1024, 1024, 272),
        (256, 256, 32),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, 272),
        (256, resource.RLIM_INFINITY, 272),
        (220, 220, None),
    ],
)
def test_the_connections_fit_into_the_files_that_may_be_open(monkeypatch, soft, hard, most):
    limit = [soft, hard]
    monkeypatch.setattr(resource, "getrlimit", lambda of: tuple(limit))
    monkeypatch.setattr(resource, "setrlimit", lambda of, to: limit.__setitem__(slice(2), to))
    if most is None:
        with pytest.raises(InputError, match=r"`max_runs` 16 .* have 220.*ulimit -n 736"):
            room(Limits())
    else:
        assert room(Limits()) == most
    assert limit[1] == hard
    assert limit[0] in (soft, 736)


def test_the_page_is_served_while_many_wait_until_all_is_loaded(serving):
    with (
        slow_engine() as (engine, loaded),
        serving(Limits(max_runs=2, workers=1), engine=engine) as server,
        sockets() as connect,
    ):
        waiting = [connect(server, CODE) for _ in range(60)]
        assert server.waits_for(lambda: len(select.select(waiting, [], [], 0)[0]) == 58, 20)
        refused = select.select(waiting, [], [], 0)[0]
        assert {sock.recv(12) for sock in refused} == {b"HTTP/1.1 503"}
        assert server.get("/static/style.css").status == 200
        loaded.set()
        answered = [sock for sock in waiting if sock not in refused]
        assert [sock.recv(12) for sock in answered] == 2 * [b"HTTP/1.1 200"]


def test_trouble_of_the_event_loop_is_said_once_in_a_while(caplog):
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(seldom())
    for message in 1000 * ["no files left", "another"]:
        loop.call_exception_handler({"message": message})
    loop.close()
    assert [record.message for record in caplog.records] == ["no files left", "another"]
