"""Experiments without what they leave beside their trainings: to draw it takes a second or two."""

from functools import partial

import tfinit.lottery
from tfinit.lottery import stability

run = partial(tfinit.lottery.run, reports=False)
measure_stability = partial(stability.stability, reports=False)
