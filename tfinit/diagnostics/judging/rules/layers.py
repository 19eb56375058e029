"""Rules about layers: what stands where it does not belong, or is missing."""
