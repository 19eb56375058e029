"""Rules about the loss and the metrics: whether they suit the task."""
