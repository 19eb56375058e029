"""The server with real trainings: what a page gets, in which order, and how it steers."""

import base64
import http.client
import logging
import os
import re
import resource
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tfinit.cli import main

SMALL = {"depth": 2, "width": 4, "dataset": "circles", "steps": 40}
HE, ZEROS = {"initialization": "he"}, {"initialization": "zeros"}
# A point at each of the first 20 steps, then at every tenth.
POINTS = [*range(21), 30, 40]


def curves(page, pane=0):
    """The curves of a pane as a page puts them together, and that no point is lost or doubled."""
    whole = {}
    for frame in page.of("frame", pane=pane):
        start = frame["curves"]["from"]
        if start == 0:
            whole = {}
        for name, values in frame["curves"].items():
            if name != "from":
                assert len(whole.setdefault(name, [])) == start
                whole[name] += values
    return whole


def test_the_page_and_its_files_come_with_a_policy_and_are_never_stale(server):
    page = server.get("/")
    assert page.status == 200
    assert page.headers["Content-Type"].startswith("text/html")
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert page.headers["X-Content-Type-Options"] == "nosniff"
    assert page.headers["Cache-Control"] == "no-cache"
    script = re.search(rb'src="/?(static/[^"]+\.js)"', page.body)[1].decode()
    assert server.get(f"/{script}").headers["Cache-Control"] == "no-cache"
    assert server.get("/static/../server.py").status == 404
    assert server.get("/docs").status == 404  # it would load scripts from elsewhere


@pytest.mark.parametrize(
    "path", ["/", "/static/style.css", "/api/menu", "/health", "/openapi.json"]
)
def test_a_head_is_the_answer_without_its_body(server, path):
    whole, head = server.get(path), server.ask("HEAD", path)
    assert (whole.status, head.status, head.body) == (200, 200, b"")
    for answer in (whole, head):
        del answer.headers["Date"]
    assert head.headers.items() == whole.headers.items()
    assert int(head.headers["Content-Length"]) == len(whole.body) > 0


def test_a_head_or_a_question_for_methods_begins_no_run(server):
    before = len(server.runs)
    for method, path in (("HEAD", "/api/runs"), ("OPTIONS", "/api/runs"), ("OPTIONS", "/")):
        assert server.ask(method, path).status == 405
    key = server.run()
    assert server.ask("HEAD", f"/api/runs/{key}/events").status == 405
    assert not server.runs.get(key).opened
    server.runs.forget(server.runs.get(key))
    assert len(server.runs) == before


def test_what_is_no_request_for_the_page_leaves_no_line_in_the_log(server, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("uvicorn"), "propagate", True)
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    assert server.get("/", headers=upgrade).status == 200
    many = "bytes=" + ",".join(f"{n}-{n}" for n in range(0, 2000, 2))
    assert server.get("/", headers={"Range": many}).status == 200
    for sent in (b"\x16\x03\x01\r\n\r\n", b"GET / HTTP/1.1\r\nX: " + b"x" * 40_000):
        with socket.create_connection(("127.0.0.1", server.port), 20) as other:
            other.sendall(sent)
            assert other.recv(12) == b"HTTP/1.1 400"
    assert caplog.records == []


def test_the_menu_offers_what_the_schema_takes(server):
    menu = server.get("/api/menu").json
    assert server.post("/api/python", {"settings": menu["defaults"], "pane": 0}).status == 200
    assert menu["ranges"]["depth"] == [1, 30]
    assert {"he", "zeros"} <= {entry["name"] for entry in menu["initializations"]}


def test_a_run_from_the_scene_to_the_end(server):
    with server.page(**SMALL, panes=[HE, ZEROS]) as page:
        assert page.answer.getheader("Content-Type").startswith("text/event-stream")
        assert page.answer.getheader("Cache-Control") == "no-store"
        page.ready()
        order = [(name, event.get("pane")) for name, event in page.seen]
        assert order[0] == ("scene", None)
        assert set(order[1:3]) == {("frame", 0), ("frame", 1)}
        assert set(order[3:5]) == {("verdict", 0), ("verdict", 1)}
        assert [name for name, _ in order[5:]] == ["state"]
        page.say(action="start", speed=7)
        assert page.until("state", state="done")["step"] == 40
        for pane in (0, 1):
            steps = [frame["step"] for frame in page.of("frame", pane=pane)]
            assert steps == sorted(set(steps))
            assert steps[-1] == 40
            assert curves(page, pane)["step"] == POINTS
        last = page.of("frame", pane=1)[-1]
        assert len(base64.b64decode(last["boundary"]["winner"])) == 100 * 100
        assert last["layers"][0]["distinct_units"] == 1  # zeros: all of them twins
        assert page.of("outcome", pane=1)[-1]["outcome"] == "stuck"


def test_the_curves_do_not_depend_on_speed_pauses_or_neighbours(server):
    seen = []
    for speed, panes in ((1, [HE]), (500, [ZEROS, HE])):
        with server.page(**SMALL, panes=panes) as page:
            page.ready().say(action="start", speed=speed)
            page.until("frame", pane=0)
            page.say(action="pause")
            page.say(action="start")
            page.until("state", state="done")
            seen.append(curves(page, len(panes) - 1))
    assert seen[0] == seen[1]


def test_step_reset_and_the_layer_whose_weights_are_shown(server):
    with server.page(**SMALL) as page:
        page.ready()
        for step in (1, 2):
            page.say(action="step")
            assert page.until("state", step=step)["state"] == "paused"
        if not page.of("frame", step=2):  # it may come before the state
            page.until("frame", step=2)
        first = curves(page)["train_cost"]
        assert len(first) == 3
        page.say(layer=1)
        weights = next(e["weights"] for n, e in page if n == "frame" and e["weights"]["layer"] == 1)
        assert (weights["rows"], weights["columns"]) == (4, 2)
        page.say(action="reset")
        assert page.until("frame", step=0)["curves"]["from"] == 0
        page.until("verdict")
        page.say(action="start")
        page.until("state", state="done")
        assert curves(page)["train_cost"][:3] == first


def test_one_that_diverges_sends_no_nan(server):
    wild = {"initialization": "normal", "value": 10}
    settings = {**SMALL, "depth": 6, "learning_rate": 10, "activation": "linear"}
    with server.page(**settings, panes=[wild]) as page:
        page.ready().say(action="start")
        page.until("state", state="done")
        frame = page.of("frame")[-1]
        assert frame["status"] == "diverged"
        assert 1 <= frame["diverged_at"] <= 40
        assert page.of("outcome")[-1]["outcome"] == "diverged"
        answer = server.post(f"/api/runs/{page.key}/lottery", {})
        assert (answer.status, answer.json["detail"][:6]) == (409, "Pane 0")


def test_a_lottery_level_by_level(server):
    with server.page(**SMALL) as page:
        path = f"/api/runs/{page.key}/lottery"
        page.ready()
        answer = server.post(path, {"levels": 2})
        assert answer.status == 409
        assert "not trained" in answer.json["detail"]
        page.say(action="start", speed=40)
        page.until("state", state="done")
        assert server.post(path, {"levels": 2, "prune_fraction": 0.5}).status == 202
        assert server.post(path, {"levels": 2}).status == 409  # one goes already
        page.until("state", state="lottery")
        page.say(action="pause")
        page.until("state", state="paused")
        page.say(action="start")
        page.until("lottery_done")
        page.until("state", state="done")
        # 2·4 + 4·2 weights, half of what is left each time.
        assert [level["remaining"] for level in page.of("level")] == [16, 8, 4]
        assert server.post(path, {"levels": 20}).status == 202
        page.until("level", level=1)
        page.say(action="reset")
        page.until("frame", step=0)
        assert server.post(path, {}).status == 409


@pytest.fixture
def process(tmp_path):
    """`tfinit demo` in a process of its own."""
    command = [sys.executable, "-c", "from tfinit.cli import main; main()", "demo", "--port", "0"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=tmp_path, **pipes) as started:
        yield started
        started.kill()


def seconds_of(pid):
    """The processor's time that a process has had."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def of_ended_children():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.parametrize(
    ("how", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_ends_it_at_once_with_a_stream_open(process, how, code):
    line = process.stdout.readline()
    address = re.fullmatch(r"tfinit demo: http://(127\.0\.0\.1):(\d+)  \(Ctrl-C ends it\)\n", line)
    assert address, (line, process.stderr.read())
    connection = http.client.HTTPConnection(address[1], int(address[2]), timeout=20)
    connection.request("GET", "/")
    page = connection.getresponse()
    assert b"<html" in page.read()
    connection.request("POST", "/api/runs", "{}", {"Content-Type": "application/json"})
    key = connection.getresponse().read()[7:-2].decode()
    connection.request("GET", f"/api/runs/{key}/events")
    stream = connection.getresponse()
    assert stream.status == 200
    before = of_ended_children() + seconds_of(process.pid)
    process.send_signal(how)
    rest, errors = process.communicate(timeout=60)
    assert (process.returncode, rest) == (code, "")
    # By then TensorFlow may have been loaded, or not.
    assert re.fullmatch(r"(device: .+\n)?", errors)
    # It waits for no TensorFlow that is being loaded: by the processor's time, not by the clock.
    assert of_ended_children() - before < 2


def test_a_port_in_use_and_a_missing_extra_are_one_line(server, capsys, monkeypatch):
    with pytest.raises(SystemExit, match="1"):
        main(["demo", "--port", str(server.port)])
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert f"port {server.port} of 127.0.0.1 is in use" in err
    monkeypatch.delitem(sys.modules, "tfinit.demo.server")
    monkeypatch.setitem(sys.modules, "fastapi", None)
    with pytest.raises(SystemExit, match="1"):
        main(["demo"])
    assert capsys.readouterr().err == (
        "tfinit: `tfinit demo` needs FastAPI and uvicorn: pip install 'tfinit[demo]'\n"
    )


@pytest.mark.parametrize(
    ("host", "shown", "warned"),
    [("127.0.0.1", "127.0.0.1", False), ("0.0.0.0", "127.0.0.1", True)],
)
def test_listening_for_others_is_said(capsys, monkeypatch, host, shown, warned):
    def serve(app, listener, opened):
        opened()
        assert listener.getsockname()[0] == host
        listener.close()

    monkeypatch.setattr("tfinit.demo.serving.serve", serve)
    main(["demo", "--host", host, "--port", "0"])
    out, err = capsys.readouterr()
    assert out.startswith(f"tfinit demo: http://{shown}:")
    assert ("anyone who reaches 0.0.0.0" in err) == warned


def test_it_says_on_which_device_it_trains_once_that_is_loaded(capsys, monkeypatch):
    loading = []
    monkeypatch.setattr(
        "tfinit.demo.server.create_app", lambda *given, **options: loading.append(options)
    )
    monkeypatch.setattr("tfinit.demo.serving.serve", lambda app, listener, opened: listener.close())
    main(["demo", "--port", "0"])
    assert capsys.readouterr().err == ""
    with loading[0]["loading"]():
        pass
    assert re.fullmatch(r"device: .+\n", capsys.readouterr().err)


@pytest.mark.parametrize("flags", [["--port", "70000"], ["--max-runs", "0"]])
def test_flags_out_of_range(capsys, flags):
    with pytest.raises(SystemExit, match="2"):
        main(["demo", *flags])
    assert capsys.readouterr().err.startswith(f"tfinit: {flags[0]} must be ")
