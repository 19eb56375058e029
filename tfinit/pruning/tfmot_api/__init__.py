"""TFMOT's names on Keras 3, and the way to TFMOT for tf_keras."""

import keras  # noqa: F401  first: tfinit's hook on Keras may import this package in the middle
