"""The order of a run's work and of what its page is told, without threads or a server."""

import asyncio
import json

import pytest

pytest.importorskip("fastapi", reason="needs tfinit[demo]")

from tfinit.demo.limits import Limits
from tfinit.demo.outbox import encoded
from tfinit.demo.run import Engine, PageRun
from tfinit.demo.settings import Control, Settings

STEPS = 40


class Quick:
    """Stands for a training that needs no time."""

    def __init__(self, settings, pane):
        self.step, self.status, self.curves = 0, "ready", {"step": [0]}

    def begin(self):
        pass

    def diagnose(self):
        return {}

    def advance(self, steps):
        self.curves["step"] += range(self.step + 1, self.step + steps + 1)
        self.step += steps
        self.status = "done" if self.step == STEPS else "training"

    def frame(self, layer):
        return {"step": self.step}

    def outcome(self):
        return None


def begun():
    settings = Settings(depth=2, width=4, steps=STEPS)
    run = PageRun(settings, Limits(), lambda: Engine(Quick, lambda settings: {}, None, None), 0.0)
    work(run)
    told(run)
    return run


def work(run, now=0.0):
    """Do all that there is to do now."""
    while not isinstance(unit := run.next_unit(now), float):
        unit.done(unit.work())


def told(run):
    """(name, data) of what waits for the page."""
    lines = [event.decode().splitlines() for event in asyncio.run(run.outbox.take(1)) or ()]
    return [(name[7:], json.loads(data[6:])) for name, data, _ in lines]


def press(run):
    run.control(Control(action="pause"), 0.0)
    run.control(Control(action="start"), 0.0)


@pytest.mark.parametrize("again", ["in work", "while a frame waits", "after the last frame"])
def test_done_comes_after_the_last_frame_however_start_is_pressed(again):
    run, events = begun(), []
    if again == "while a frame waits":
        run.outbox.put(("frame", 0), encoded("frame", {"step": 0}))
    run.control(Control(action="start", speed=STEPS), 0.0)
    while True:
        unit = run.next_unit(1.0)
        result = unit.work()
        if run._panes[0].step == STEPS:
            break
        unit.done(result)
    if again == "in work":
        press(run)
    unit.done(result)
    if again == "while a frame waits":
        press(run)
        events += told(run)
        assert run.state == "training"
    work(run, 2.0)
    if again == "after the last frame":
        events += told(run)
        press(run)
    events += told(run)
    assert run.state == "done"
    places = [n for n, (name, event) in enumerate(events) if event.get("state") == "done"]
    shown = [n for n, (name, event) in enumerate(events) if name == "frame"]
    assert events[shown[-1]][1]["step"] == STEPS
    assert shown[-1] < places[0]
