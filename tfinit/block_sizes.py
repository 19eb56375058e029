"""The blocks of weights that a runtime's sparse kernels skip, by the runtime's name."""

# Height and width, as of a Dense kernel (inputs, units). LiteRT: 4 inputs of one unit.
BLOCK_SIZES = {"litert": (4, 1)}
