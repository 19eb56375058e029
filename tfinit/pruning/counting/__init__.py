"""What pruning came to: zeros, weights and multiply-adds, layer by layer."""
