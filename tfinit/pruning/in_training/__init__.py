"""Pruning in training steps: the optimizer around an optimizer, its rules, schedules and masks."""

import keras  # noqa: F401  first: tfinit's hook on Keras may import this package in the middle
