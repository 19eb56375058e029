"""Experiments without what they leave beside their trainings: to draw it takes a second or two."""

from functools import partial

from tfinit.lottery import run as run_lottery
from tfinit.lottery import stability

run = partial(run_lottery, reports=False)
measure_stability = partial(stability, reports=False)
