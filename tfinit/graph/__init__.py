"""What tfinit knows of a Keras model: its calls, kinds of layers, kernels, channels."""
