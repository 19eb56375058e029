"""Pruning: masks, and the two engines that keep them while a model trains."""
