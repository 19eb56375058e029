"""`prune_after_training`: a trained model pruned by what calibration data show."""
