"""What the schemes are built on: the model, read; the pass that sets kernels; streams; report."""
