"""Which weights survive: scores, shares of each tensor, and masks of arrays."""
