"""What the measurements mean: rules, causes and cures."""
