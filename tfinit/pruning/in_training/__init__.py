"""Pruning in training steps: the optimizer around an optimizer, its rules, schedules and masks."""
