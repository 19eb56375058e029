"""TFMOT's names on Keras 3, and the way to TFMOT for tf_keras."""
