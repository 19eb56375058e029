"""Experiments without what they leave beside their trainings: to draw it takes a second or two."""

from functools import partial

import tfinit.lottery

run = partial(tfinit.lottery.run, reports=False)
measure_stability = partial(tfinit.lottery.stability, reports=False)
