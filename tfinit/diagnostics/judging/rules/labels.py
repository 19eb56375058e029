"""Rules about labels and targets."""
