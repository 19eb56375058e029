"""Are the weights as their initializers would have them: `initialization_report`."""
