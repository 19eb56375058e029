"""One run of a page: its state, its panes, and which piece of work is next. No threads, no HTTP.

`tfinit.demo.runs` calls all of this with its lock held, except a unit's ``work``.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from tfinit.demo.limits import Limits
from tfinit.demo.outbox import Outbox, encoded
from tfinit.demo.settings import Control, LotterySettings, Settings
from tfinit.errors import InputError

PAUSED, TRAINING, DONE, LOTTERY = "paused", "training", "done", "lottery"
# What a pane has behind it.
_NEW, _BEGUN, _READY = range(3)
_OVER = ("diverged", "done")
# A unit of work should not keep others waiting for longer.
_UNIT_SECONDS = 0.05
_JUDGE_SECONDS = 1.0


class Engine(NamedTuple):
    """What trains: see `tfinit.demo.training`, `plane`, `lottery` and `python_code`."""

    training: Callable[[Settings, int], Any]
    opening_event: Callable[[Settings], dict[str, Any]]
    lottery: Callable[[Any, LotterySettings], Any]
    python_code: Callable[[Settings, int], str]


class Unit(NamedTuple):
    """A piece of work: ``done(work())``, where only ``work`` takes time, and needs no lock."""

    run: "PageRun"
    work: Callable[[], Any]
    done: Callable[[Any], None]


class Conflict(Exception):
    """What was asked for does not fit the state that the run is in."""


@dataclass(eq=False)
class _Pane:
    number: int
    training: Any = None  # None until `begin`
    stage: int = _NEW
    busy: bool = False
    due: float = 0.0  # when its next update and frame may come
    left: int = 0  # steps that its update still lacks
    showing: bool = False  # whether its update ends with a frame
    shown: Any = None  # what its newest frame was of
    sent: int = 0  # points of the curves that were sent
    step_seconds: float = 0.0
    outcome: dict[str, Any] | None = None
    judged: float = 0.0  # when that was sent

    @property
    def over(self) -> bool:
        return self.training is not None and self.training.status in _OVER

    @property
    def step(self) -> int:
        return 0 if self.training is None else self.training.step

    def chunk(self) -> int:
        """Steps of the update that fit into one unit."""
        if not self.step_seconds:
            return min(self.left, 10)
        return max(1, min(self.left, int(_UNIT_SECONDS / self.step_seconds)))

    def took(self, seconds: float, steps: int) -> None:
        """Learn how long a step takes. The first may have compiled: what is faster counts more."""
        now = seconds / steps
        faster = not self.step_seconds or now < self.step_seconds
        self.step_seconds = now if faster else 0.7 * self.step_seconds + 0.3 * now


@dataclass(eq=False)
class _Lottery:
    settings: LotterySettings
    pane: _Pane
    events: Iterator[tuple[str, dict[str, Any]]] | None = None  # None until its first unit
    due: float = 0.0  # when its next progress may be sent


class PageRun:
    """A run, paused at step 0.

    Args:
        settings: What trains.
        limits: The server's.
        engine: Gives what trains; called in units only, as it may have to load it.
        now: Seconds of the monotonic clock.

    Attributes:
        outbox: What its page gets.
        state: ``"paused"``, ``"training"``, ``"done"`` or ``"lottery"``.
        ended: Whether it is over for good.
        trained: Seconds that it was training.
        heard: When its page last said something.
    """

    def __init__(
        self, settings: Settings, limits: Limits, engine: Callable[[], Engine], now: float
    ):
        self.settings, self.limits = settings, limits
        self.outbox = Outbox()
        self.opened = self.ended = False
        self.state, self.speed, self.layer = PAUSED, 10, 0
        self.trained, self.heard = 0.0, now
        self._engine = engine
        self._opening: bool | None = None  # None: not begun; False: in work; True: sent
        self._panes = self._new_panes()
        self._lottery: _Lottery | None = None

    @property
    def training(self) -> bool:
        """Whether its time is counted."""
        return self.state in (TRAINING, LOTTERY)

    @property
    def has_news(self) -> bool:
        """Whether a pane has something newer to show than its page was sent."""
        return any(self._is_outdated(pane) for pane in self._panes)

    def control(self, control: Control, now: float) -> None:
        """Do what the page says.

        Raises:
            Conflict: ``step`` while a lottery goes.
        """
        self.heard = now
        if control.action == "step" and self._lottery:
            raise Conflict("A lottery is going: pause, start or reset it.")
        self.speed = control.speed or self.speed
        self.layer = self.layer if control.layer is None else control.layer
        if control.action == "start":
            self.state = LOTTERY if self._lottery else TRAINING
            self._finish()
        elif control.action in ("pause", "step"):
            if control.action == "pause" or self.training:
                self._pause()
            if control.action == "step":
                for pane in self._panes:
                    pane.left += 0 if pane.over else 1
        elif control.action == "reset":
            self._lottery = None
            self.state = PAUSED
            self._panes = self._new_panes()
            self.outbox.drop(
                "frame", "verdict", "outcome", "level", "lottery_progress", "lottery_done"
            )
        self._tell_state()

    def start_lottery(self, settings: LotterySettings, now: float) -> None:
        """Pause, and prune what a pane has trained.

        Raises:
            Conflict: the pane has not trained yet, or a lottery goes already.
        """
        self.heard = now
        pane = self._panes[settings.pane]
        if self._lottery:
            raise Conflict("A lottery is going already. Reset ends it.")
        if pane.step == 0:
            raise Conflict(f"Pane {settings.pane} has not trained yet. Start it first.")
        if pane.training.status == "diverged":
            raise Conflict(f"Pane {settings.pane} has diverged. Prune one that learns.")
        self._pause()
        self._lottery = _Lottery(settings, pane)
        self.state = LOTTERY
        self.outbox.drop("level", "lottery_progress", "lottery_done")
        self._tell_state()

    def end(self, problem: str | None = None, rested: bool = False) -> None:
        """Be over, and let go of everything; a problem is the last that the page gets.

        Args:
            problem: Why it ends.
            rested: Whether that is no fault: nobody wanted anything.
        """
        if problem and not self.ended:
            event = encoded("problem", {"text": problem, "rested": rested})
            self.outbox.put(("problem", 0), event)
        self.ended = True
        self.outbox.close()
        self._panes, self._lottery = (), None

    def next_unit(self, now: float) -> Unit | float:
        """The next piece of work, or when there may be one: infinity if something else must end.

        First the opening event; then every pane begins; then each is diagnosed; then they
        train, the one that is behind first.
        """
        if self._opening is not True:
            if self._opening is None:
                self._opening = False
                return Unit(self, self._make_opening_event, self._opening_event_made)
            return math.inf
        free = [pane for pane in self._panes if not pane.busy]
        stage = min((pane.stage for pane in self._panes), default=_READY)
        if stage < _READY:
            behind = next((pane for pane in free if pane.stage == stage), None)
            if behind is None:
                return math.inf
            return self._begin(behind) if stage == _NEW else self._diagnose(behind)
        later = math.inf
        for pane in sorted(free, key=lambda pane: pane.step):
            trains = not pane.over and (pane.left > 0 or self.state == TRAINING)
            if not trains and not (self._is_outdated(pane) and self._wanted(pane)):
                continue
            if pane.left > 0 or pane.due <= now:
                return self._advance(pane, now) if trains else self._show(pane, now)
            later = min(later, pane.due)
        if self.state == LOTTERY and self._lottery and not self._lottery.pane.busy:
            return self._draw(self._lottery, now)
        return later

    def _is_outdated(self, pane: _Pane) -> bool:
        """Whether its newest frame is out of date."""
        return pane.stage > _NEW and pane.shown != self._view(pane)

    def _view(self, pane: _Pane) -> Any:
        return pane.step, pane.training.status, self.layer

    def _over(self) -> bool:
        return all(pane.over for pane in self._panes)

    def _new_panes(self) -> tuple[_Pane, ...]:
        return tuple(_Pane(number) for number in range(len(self.settings.panes)))

    def _pause(self) -> None:
        if self.state in (TRAINING, LOTTERY):
            self.state = PAUSED
        for pane in self._panes:
            pane.left = 0

    def _tell_state(self) -> None:
        step = max((pane.step for pane in self._panes), default=0)
        self._tell("state", 0, {"state": self.state, "step": step, "speed": self.speed})

    def _tell(self, name: str, number: int, data: dict[str, Any]) -> None:
        self.outbox.put((name, number), encoded(name, data))

    # Units. Between `work` and `done` the page may have reset or gone: then `done` finds that the
    # pane or the lottery is none of the run's any more.

    def _make_opening_event(self) -> bytes:
        return encoded("scene", self._engine().opening_event(self.settings))

    def _opening_event_made(self, event: bytes) -> None:
        self._opening = True
        self.outbox.put(("scene", 0), event)

    def _begin(self, pane: _Pane) -> Unit:
        def work() -> bytes:
            pane.training = self._engine().training(self.settings, pane.number)
            pane.training.begin()
            return self._frame(pane)

        def done(frame: bytes) -> None:
            pane.stage = _BEGUN
            self.outbox.put(("frame", pane.number), frame)

        return self._unit(pane, work, done)

    def _diagnose(self, pane: _Pane) -> Unit:
        def done(verdict: bytes) -> None:
            pane.stage = _READY
            self.outbox.put(("verdict", pane.number), verdict)
            if all(pane.stage == _READY for pane in self._panes):
                self._tell_state()

        return self._unit(pane, lambda: encoded("verdict", pane.training.diagnose()), done)

    def _advance(self, pane: _Pane, now: float) -> Unit:
        asked = self.state != TRAINING  # steps one by one, by hand
        if asked or not pane.left:  # an update begins
            pane.showing = pane.due <= now
            if pane.showing:
                pane.due = now + 1 / self.limits.frames
            pane.left = pane.left or self.speed
        steps = pane.chunk()
        pane.left -= steps

        def work() -> tuple[float, bytes | None, dict[str, Any] | None]:
            start = time.perf_counter()
            pane.training.advance(steps)
            took = time.perf_counter() - start
            show = pane.over or (pane.showing and not pane.left)
            frame = self._frame(pane) if show and self._wanted(pane) else None
            return took, frame, pane.training.outcome()

        def done(result: tuple[float, bytes | None, dict[str, Any] | None]) -> None:
            took, frame, outcome = result
            pane.took(took, steps)
            if pane.over:
                pane.left = 0
            if frame is not None:
                self.outbox.put(("frame", pane.number), frame)
            self._judge(pane, outcome, now)
            resting = not any(pane.busy or pane.left for pane in self._panes)
            if not self._finish() and self.state != TRAINING and resting:
                self._tell_state()

        return self._unit(pane, work, done)

    def _finish(self) -> bool:
        """Be done, if all panes are, and their last frames were made."""
        if self.state not in (TRAINING, PAUSED) or self._lottery or not self._over():
            return False
        if any(pane.busy or self._is_outdated(pane) for pane in self._panes):
            return False
        self.state = DONE
        self._tell_state()
        return True

    def _judge(self, pane: _Pane, outcome: dict[str, Any] | None, now: float) -> None:
        """Send an outcome when it changes; when only its numbers do, once in a while."""
        if outcome is None or outcome == pane.outcome:
            return
        before = pane.outcome or {}
        same = all(before.get(name) == outcome[name] for name in ("outcome", "came_true"))
        if same and not pane.over and now - pane.judged < _JUDGE_SECONDS:
            return
        pane.outcome, pane.judged = outcome, now
        self._tell("outcome", pane.number, outcome)

    def _show(self, pane: _Pane, now: float) -> Unit:
        pane.due = now + 1 / self.limits.frames

        def done(frame: bytes) -> None:
            self.outbox.put(("frame", pane.number), frame)
            self._finish()

        return self._unit(pane, lambda: self._frame(pane), done)

    def _draw(self, lottery: _Lottery, now: float) -> Unit:
        pane = lottery.pane

        def work() -> tuple[str, dict[str, Any], bytes]:
            try:
                if lottery.events is None:
                    made = self._engine().lottery(pane.training, lottery.settings)
                    lottery.events = made.events()
                name, event = next(lottery.events)
            except InputError as error:  # the pane's training can go on
                name, event = "lottery_done", {"text": str(error)}
            return name, event, encoded(name, event)

        def done(result: tuple[str, dict[str, Any], bytes]) -> None:
            name, event, text = result
            if lottery is not self._lottery:
                return
            if name != "lottery_progress":
                self.outbox.put((name, event.get("level", 0)), text)
            elif lottery.due <= now and not self.outbox.stalled:
                lottery.due = now + 1 / self.limits.frames
                self.outbox.put((name, 0), text)
            if name == "lottery_done":
                self._lottery = None
                self.state = DONE if self._over() else PAUSED
                self._tell_state()

        return self._unit(pane, work, done)

    def _unit(self, pane: _Pane, work: Callable[[], Any], done: Callable[[Any], None]) -> Unit:
        pane.busy = True

        def finished(result: Any) -> None:
            pane.busy = False
            if any(pane is ours for ours in self._panes):
                done(result)

        return Unit(self, work, finished)

    def _wanted(self, pane: _Pane) -> bool:
        """Whether the page can take a frame of this pane now."""
        return not self.outbox.stalled and not self.outbox.has("frame", pane.number)

    def _frame(self, pane: _Pane) -> bytes:
        """The frame of a pane, with the points of its curves that were not sent yet."""
        pane.shown = self._view(pane)
        frame = pane.training.frame(pane.shown[-1])
        start = pane.sent
        curves = {name: values[start:] for name, values in pane.training.curves.items()}
        pane.sent = start + len(curves["step"])
        return encoded("frame", {**frame, "curves": {"from": start, **curves}, "made": time.time()})
