"""Rules about recurrent layers: signals and gradients through time."""
