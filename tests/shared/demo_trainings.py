"""What stands for the trainings of the page where only the server is looked at."""

import time

from tfinit.demo.run import Engine


class Sleeper:
    """A training whose step is a nap."""

    nap = 0.0
    big = 0  # bytes of a frame
    frames = 0

    def __init__(self, settings, pane):
        self.settings, self.pane, self.step, self.status = settings, pane, 0, "ready"
        self.curves = {"step": [0]}

    def begin(self):
        pass

    def diagnose(self):
        return {"pane": self.pane}

    def advance(self, steps):
        time.sleep(self.nap * steps)
        self.curves["step"] += range(self.step + 1, self.step + steps + 1)
        self.step += steps

    def frame(self, layer):
        self.frames += 1
        return {"pane": self.pane, "step": self.step, "big": "x" * self.big}

    def outcome(self):
        return None


def engine_of(training):
    return lambda: Engine(training, lambda settings: {}, None, None)
