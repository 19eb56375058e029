"""Per-tensor initializers: a shape in, a tensor out. Any layer takes them as an argument."""
