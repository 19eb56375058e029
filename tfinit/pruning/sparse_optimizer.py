"""SparseOptimizer: an optimizer around an optimizer that keeps pruned weights at zero."""
