"""Lottery tickets: train, prune, rewind, retrain."""
