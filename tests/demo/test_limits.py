"""What the server refuses, and what it does not let happen."""

import gc
import http.client
import socket
import time
import weakref
from contextlib import contextmanager

import pytest

pytest.importorskip("fastapi", reason="needs tfinit[demo]")

from demo_trainings import Sleeper, engine_of

from tfinit.demo.guard import host_of
from tfinit.demo.limits import Limits
from tfinit.demo.runs import Runs
from tfinit.demo.settings import Control, Pane, Settings
from tfinit.errors import InputError

SMALL = {"depth": 2, "width": 4, "dataset": "circles", "steps": 20_000}


# Who may ask.


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 201),
        ({"Origin": "http://{host}", "Sec-Fetch-Site": "same-origin"}, 201),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),  # another server of this machine
        ({"Origin": "http://{host}.evil.example"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Host": "evil.example"}, 403),  # its name was made to point here
        ({"Host": "127.0.0.1.evil.example:8765"}, 403),
        ({"Host": "192.168.1.7"}, 403),
        ({"Host": "evil@localhost"}, 403),
        ({"Host": "localhost"}, 201),
        ({"Host": "[::1]:8765"}, 201),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/json; charset=utf-8"}, 201),
    ],
)
def test_only_its_own_page_may_start_runs(server, headers, status):
    host = f"127.0.0.1:{server.port}"
    sent = {name: value.format(host=host) for name, value in headers.items()}
    before = len(server.runs)
    answer = server.post("/api/runs", {}, headers=sent)
    assert answer.status == status, answer.body
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert len(server.runs) == before + (status == 201)
    if status == 201:
        server.runs.forget(server.runs.get(answer.json["id"]))


def test_links_from_other_sites_lead_to_the_page_but_not_to_its_events(server):
    foreign = {"Sec-Fetch-Site": "cross-site"}
    assert server.get("/", headers=foreign).status == 200
    assert server.get("/api/menu", headers=foreign).status == 403
    assert server.get("/", headers={"Host": "evil.example"}).status == 403


@pytest.mark.parametrize(
    ("own", "statuses"),
    [
        # An address cannot be made to point here, so any will do.
        ("0.0.0.0", {"192.168.1.7:80": 200, "[fe80::1]": 200, "evil.example": 403}),
        ("my.machine", {"MY.machine:80": 200, "192.168.1.7": 403, "localhost": 200}),
    ],
)
def test_the_names_of_a_server_that_is_not_only_local(serving, own, statuses):
    with serving(hosts=[own], engine=engine_of(Sleeper)) as server:
        for host, status in statuses.items():
            assert server.get("/api/menu", headers={"Host": host}).status == status


@pytest.mark.parametrize("host", ["", ":80", "a/b", "a b", "a@b", "a:x", "[::1", "a?b", "a#b"])
def test_what_is_no_host(host):
    with pytest.raises(ValueError):
        host_of(host)


# How much.


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("runs", {"depth": 31}, "depth"),
        ("runs", {"width": 65}, "width"),
        ("runs", {"width": 10**30}, "width"),
        ("runs", {"learning_rate": 10.1}, "learning_rate"),
        ("runs", {"steps": 20_001}, "steps"),
        ("runs", {"batch_size": 0}, "batch_size"),
        ("runs", {"seed": -1}, "seed"),
        ("runs", {"dataset": "../../etc/passwd"}, "dataset"),
        ("runs", {"panes": []}, "panes"),
        ("runs", {"panes": [{}] * 5}, "panes"),
        ("runs", {"panes": [{"initialization": "__import__('os')"}]}, "initialization"),
        ("runs", {"panes": [{"initialization": "normal", "value": 11}]}, "value"),
        ("runs", {"callback": "x"}, "callback"),
        ("runs/{key}/control", {"speed": 501}, "speed"),
        ("runs/{key}/control", {"layer": 2}, "layer"),  # the network has two: 0 and 1
        ("runs/{key}/control", {"action": "stop"}, "action"),
        ("runs/{key}/lottery", {"levels": 21}, "levels"),
        ("runs/{key}/lottery", {"pane": 1}, "pane"),
        ("python", {"settings": {}, "pane": 1}, "pane"),
    ],
)
def test_parameters_out_of_range_are_named(server, path, body, field):
    key = server.run(**SMALL) if "{key}" in path else ""
    answer = server.post("/api/" + path.format(key=key), body)
    assert answer.status == 422
    assert field in [part for error in answer.json["detail"] for part in error["loc"]]
    if key:
        server.runs.forget(server.runs.get(key))


@pytest.mark.parametrize(
    "raw",
    [
        b'{"seed": 1e999}',
        b'{"\\ud800": 1}',
        b'{"seed": NaN}',
        b'{"seed": %d}' % 10**4000,
        b"[" * 16_000,
        b"\xff",
    ],
)
def test_what_json_cannot_say_is_no_server_error(server, raw):
    assert server.post("/api/runs", raw=raw).status in (400, 422)


@pytest.mark.parametrize("size", [16 * 1024 + 1, 200_000])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_too_large(server, size, chunked):
    raw = iter([b" " * size]) if chunked else b" " * size
    answer = server.post("/api/runs", raw=raw)
    assert answer.status == 413
    assert "16384 bytes" in answer.json["detail"]


def test_one_run_too_many_is_told_to_wait_and_those_that_nobody_hears_hold_no_place(serving):
    with serving(Limits(max_runs=2, unopened=3), engine=engine_of(Sleeper)) as server:
        keys = [server.run() for _ in range(20)]
        assert [server.runs.get(key) is None for key in keys] == 17 * [True] + 3 * [False]
        with server.page() as page, server.page():
            # The last but the two pages' was made before there were too many.
            for answer in (
                server.post("/api/runs", {}),
                server.get(f"/api/runs/{keys[-1]}/events"),
            ):
                assert answer.status == 503
                assert int(answer.headers["Retry-After"]) > 0
                assert "Wait until one ends" in answer.json["detail"]
            assert server.get(f"/api/runs/{page.key}/events").status == 409
        assert server.waits_for(lambda: server.post("/api/runs", {}).status == 201)


def test_a_forgotten_page_makes_room_for_one_that_is_read(serving):
    limits = Limits(max_runs=2, crowded_seconds=0.3)
    with (
        serving(limits, engine=engine_of(Sleeper)) as server,
        server.page(steps=20_000) as busy,
        server.page() as forgotten,
    ):
        busy.ready().say(action="start")
        forgotten.ready()
        assert server.post("/api/runs", {}).status == 503
        assert server.waits_for(lambda: server.post("/api/runs", {}).status == 201)
        assert server.get("/health").json["listened_to"] == 2  # until the new one is opened
        with server.page(steps=20_000) as page:
            assert "another waited" in forgotten.problem()
            page.ready().say(action="start")  # so that it is not forgotten, too
            busy.until("frame")
            assert server.post("/api/runs", {}).status == 503


# How long.


def test_an_unopened_run_ends(serving):
    with serving(Limits(unopened_seconds=0.1), engine=engine_of(Sleeper)) as server:
        key = server.run()
        assert server.waits_for(lambda: server.runs.get(key) is None)
        assert server.get(f"/api/runs/{key}/events").status == 404


def test_an_idle_run_ends(serving):
    with (
        serving(Limits(idle_seconds=0.5), engine=engine_of(Sleeper)) as server,
        server.page() as page,
    ):
        assert "Nothing was asked of this run for 0.5 seconds" in page.problem()
        assert list(page) == []
        assert len(server.runs) == 0


def test_a_spent_run_ends(serving):
    with (
        serving(Limits(seconds=1.0), engine=engine_of(Sleeper)) as server,
        server.page(steps=20_000) as page,
    ):
        page.ready().say(action="start")
        assert "trained for 1 second," in page.problem()
        assert page.of("frame")[-1]["step"] > 0
        assert len(server.runs) == 0


def test_a_closed_page_stops_its_training(server):
    with server.page(**SMALL) as page:
        page.ready().say(action="start")
        page.until("frame", step=20)
        training = weakref.ref(server.runs.get(page.key)._panes[0].training)
        assert len(server.runs) == 1
    assert server.waits_for(lambda: len(server.runs) == 0)
    # After its last unit of work nothing has it, and nothing is worked on.
    assert server.waits_for(lambda: gc.collect() is not None and training() is None)
    units = server.runs.units
    time.sleep(0.3)
    assert server.runs.units == units


def test_runs_started_and_abandoned_leave_nothing_behind(server):
    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * 4096 / 2**20

    def abandon(times):
        for seed in range(times):
            with server.page(**SMALL, seed=seed) as page:
                page.ready().say(action="start")
                page.until("frame", step=10)
        assert server.waits_for(lambda: len(server.runs) == 0)
        gc.collect()
        return resident()

    before = abandon(5)
    # A run holds a few MiB of events and states while it lives.
    assert abandon(20) - before < 20


# Nobody starves.


@contextmanager
def going(training, settings, limits=None):
    """Runs, opened and started, as pages would; their frames are thrown away."""
    runs = Runs(limits or Limits(), engine_of(training))
    runs.start()
    try:
        made = [runs.get(runs.create(each)) for each in settings]
        for run in made:
            run.outbox.open = lambda: None
            runs.open(run)
            runs.steer(run, Control(action="start"))
        yield made
    finally:
        runs.stop()


def steps_of(run):
    return sum(pane.step for pane in run._panes)


def wait_until(runs, some, steps):
    """Until ``some`` (`min` or `max`) of the runs have done so many steps."""
    until = time.monotonic() + 30
    while some(map(steps_of, runs)) < steps:
        assert time.monotonic() < until
        time.sleep(0.01)


def test_sixteen_runs_get_the_same_share_whatever_they_hold():
    class Slow(Sleeper):
        nap = 0.001  # of a step, and 10 are an update: two threads do not suffice for all

    four = Settings(panes=(Pane(), Pane(), Pane(), Pane()))
    with going(Slow, [Settings()] * 15 + [four]) as runs:
        wait_until(runs, min, 40)  # all panes have begun
        before = [steps_of(run) for run in runs]
        wait_until(runs, max, max(before) + 200)
        steps = [steps_of(run) - start for run, start in zip(runs, before, strict=True)]
        of_four = [pane.step for pane in runs[-1]._panes]
    assert min(steps) / max(steps) >= 0.7
    assert max(of_four) - min(of_four) <= 10


def test_a_long_update_is_cut_so_that_others_come_between():
    class Slow(Sleeper):
        nap = 0.005

    with going(Slow, [Settings()] * 3, Limits(workers=1)) as runs:
        for run in runs[:2]:
            run.speed = 500  # 2.5 s, if it were one piece of work
        wait_until(runs, max, 100)
        assert min(map(steps_of, runs)) >= 20


# What a page that is slow, or a training that fails, does to the rest.


def test_a_pane_sends_at_most_15_frames_a_second_and_trains_no_faster(serving):
    with serving(engine=engine_of(Sleeper)) as server, server.page(steps=20_000) as page:
        page.ready()
        start = time.monotonic()
        page.say(action="start", speed=1)
        next(n for n, _ in page if n == "frame" and time.monotonic() - start > 1)
        frames, most = page.of("frame"), 15 * (time.monotonic() - start) + 2
        assert 2 <= len(frames) <= most
        assert frames[-1]["step"] <= most


def test_a_slow_page_misses_frames_but_no_points_of_the_curves(serving):
    class Big(Sleeper):
        big = 400_000

    with serving(Limits(stalled_seconds=1.5), engine=engine_of(Big)) as server:
        key = server.run(steps=20_000)
        with socket.create_connection(("127.0.0.1", server.port)) as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.sendall(f"GET /api/runs/{key}/events HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            run = server.runs.get(key)
            assert server.waits_for(lambda: run.opened)
            server.post(f"/api/runs/{key}/control", {"action": "start"})
            assert server.waits_for(lambda: run._panes[0].step >= 100)  # it trains on
            assert run._panes[0].training.frames <= 10  # nothing is made for nobody
            assert server.waits_for(lambda: run.ended)  # as good as gone
        with server.page() as page:
            page.ready().say(action="start")
            time.sleep(1)
            next(e for n, e in page if n == "frame" and e["step"] >= 150)
        points = []
        for frame in page.of("frame"):
            assert frame["curves"]["from"] == len(points)
            points += frame["curves"]["step"]
        assert points == list(range(len(points)))


def test_a_run_that_fails_says_so_and_leaves_the_others_alone(serving, caplog):
    class Faulty(Sleeper):
        """Its seed says where it fails, and how."""

        def begin(self):
            if self.settings.seed == 1:
                raise InputError("Too narrow.")

        def diagnose(self):
            if self.settings.seed == 2:
                raise KeyError("diagnose")
            return super().diagnose()

        def advance(self, steps):
            if self.settings.seed == 3:
                raise RuntimeError("advance")
            super().advance(steps)

        def frame(self, layer):
            cost = float("nan") if self.settings.seed == 4 else 1.0  # no JSON
            return {**super().frame(layer), "cost": cost}

    with serving(engine=engine_of(Faulty)) as server, server.page(seed=0) as other:
        other.ready().say(action="start")
        for seed, words in ((1, "Too narrow."), (2, "log"), (3, "log"), (4, "log")):
            with server.page(seed=seed) as page:
                if seed == 3:
                    page.ready().say(action="start")
                assert words in page.problem()
                assert list(page) == []
        for error in ("KeyError: 'diagnose'", "RuntimeError: advance", "not JSON compliant"):
            assert error in caplog.text
        assert "Too narrow" not in caplog.text
        step = other.until("frame")["step"]
        other.until("frame")
        assert other.until("frame")["step"] > step


def test_a_connection_that_ends_in_the_middle_of_a_body(server):
    with socket.create_connection(("127.0.0.1", server.port)) as half:
        half.sendall(
            b"POST /api/runs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: 99\r\n\r\n{"
        )
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    connection.request("GET", "/api/menu")
    assert connection.getresponse().status == 200
    connection.close()
