"""A server on a free port, and a page that talks to it as a browser would."""

import http.client
import json
import threading
import time
from contextlib import contextmanager

import pytest


class Answer:
    def __init__(self, answer):
        self.status, self.headers, self.body = answer.status, answer.headers, answer.read()

    @property
    def json(self):
        return json.loads(self.body)


class Running:
    """An application that serves in a thread."""

    def __init__(self, app, port, connections):
        self.app, self.port = app, port
        self.runs = app.state.runs
        self.connections = connections

    def ask(self, method, path, body=None, headers=None, raw=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        sent = {} if method == "GET" else {"Content-Type": "application/json"}
        data = raw if body is None else json.dumps(body)
        try:
            connection.request(method, path, data, {**sent, **(headers or {})})
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def get(self, path, **more):
        return self.ask("GET", path, **more)

    def post(self, path, body=None, **more):
        return self.ask("POST", path, body, **more)

    def run(self, **settings):
        """The id of a new run."""
        answer = self.post("/api/runs", settings)
        assert answer.status == 201, answer.body
        return answer.json["id"]

    @contextmanager
    def page(self, **settings):
        """A page that listens to a new run, and leaves it at the end."""
        page = Page(self, self.run(**settings))
        try:
            yield page
        finally:
            page.close()

    def waits_for(self, condition, seconds=20):
        """Whether something comes true in time, however busy the machine."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if condition():
                return True
            time.sleep(0.02)
        return False


class Page:
    def __init__(self, server, key):
        self.server, self.key = server, key
        self.connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        self.connection.request("GET", f"/api/runs/{key}/events")
        self.answer = self.connection.getresponse()
        assert self.answer.status == 200, self.answer.read()
        self.seen = []

    def __iter__(self):
        """(name, event) of each. NaN and infinity are no JSON."""
        name, start = None, time.monotonic()
        for line in self.answer:
            # The stream says that it is still there, so reading it does not time out.
            assert time.monotonic() - start < 60, f"nothing more than {self.seen[-3:]}"
            if line.startswith(b"event: "):
                name = line[7:].decode().strip()
            elif line.startswith(b"data: "):
                event = json.loads(line[6:], parse_constant=pytest.fail)
                self.seen.append((name, event))
                yield name, event

    def until(self, name, **fields):
        """The next event of a name with some fields."""
        for kind, event in self:
            if kind == name and fields.items() <= event.items():
                return event
            assert kind != "problem", event["text"]
        raise AssertionError(f"the stream ended before {name} {fields}")

    def problem(self):
        """The words of the problem that ends the run."""
        return next(event["text"] for name, event in self if name == "problem")

    def ready(self):
        self.until("state", state="paused")
        return self

    def say(self, **control):
        answer = self.server.post(f"/api/runs/{self.key}/control", control)
        assert answer.status == 204, answer.body

    def of(self, name, **fields):
        """The events of a name so far."""
        return [e for kind, e in self.seen if kind == name and fields.items() <= e.items()]

    def close(self):
        self.answer.close()
        self.connection.close()


@pytest.fixture(scope="session")
def serving():
    """serving(limits=..., engine=...): a context with a server of the real application."""
    pytest.importorskip("uvicorn", reason="needs tfinit[demo]")
    import anyio

    from tfinit.demo.server import create_app

    # Otherwise loaded by the first file that is served, and rewritten by pytest then: Python 3.11
    # cannot parse in one thread while TensorFlow does in another ("recursion depth mismatch").
    assert anyio.open_file
    from tfinit.demo.serving import Server, listening

    @contextmanager
    def start(limits=None, **more):
        app = create_app(limits, warm=False, **more)
        listener = listening("127.0.0.1", 0)
        server = Server(app)
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        running = Running(app, listener.getsockname()[1], server.server_state.connections)
        assert running.waits_for(lambda: server.started, 20)
        try:
            yield running
        finally:
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive()

    return start


@pytest.fixture(scope="session")
def server(serving):
    """The server with the limits that users get."""
    with serving() as running:
        yield running
