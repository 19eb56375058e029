"""The frameworks that compute, by name, and which of them a Keras computes with."""

from tfinit.arguments import one_of

FRAMEWORKS = {"tensorflow": "TensorFlow", "jax": "JAX", "torch": "PyTorch"}
KERASES = ("keras", "tf_keras")  # the modules: Keras 3, and the legacy one that TFMOT takes


def backend_of(framework: str) -> str:
    """The framework of a Keras; any other name of a framework as it is.

    Raises:
        InputError: ``framework`` is none of `FRAMEWORKS` and none of `KERASES`.
    """
    one_of("framework", framework, (*KERASES, *FRAMEWORKS))
    if framework == "keras":
        import keras

        return keras.backend.backend()
    return "tensorflow" if framework == "tf_keras" else framework
