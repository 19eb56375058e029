"""Rules about the learning rate and the optimizer."""
