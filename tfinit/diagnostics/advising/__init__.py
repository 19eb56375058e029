"""`recommend`: which initializer suits each layer, and why."""
