"""How many threads compute: it decides in which order numbers are summed, and so the last bits.

A product of matrices is cut into as many parts as there are threads, and by how many there are
libraries also choose between algorithms. Each of them counts the cores that the process may use,
unless it is told a number before it first computes.
"""

import importlib
import os
from collections.abc import Callable
from typing import Any

from tfinit.arguments import one_of, whole
from tfinit.backends import FRAMEWORKS, backend_of
from tfinit.errors import InputError

__all__ = ["cores", "threads_of", "use_threads"]

_given: dict[str, int] = {}  # framework → its threads, where it was told


def use_threads(threads: int, framework: str = "keras") -> None:
    """Let a framework, and NumPy, compute with so many threads in this process.

    With equal ``threads`` two processes on processors of one kind get equal bits, however many
    cores each of them may use, whether they are pinned to some, and whatever runs beside them. It
    is to be called before anything is computed; again with the same number it changes nothing.

    Args:
        threads: So many, whether or not there are as many cores. 0: all is left as the libraries
            have it, a thread for each core that the process may use.
        framework: ``"tensorflow"``, ``"jax"``, ``"torch"``, or whose it is: ``"keras"``,
            ``"tf_keras"``.

    Raises:
        InputError: it has begun to compute with another number, which can no longer be changed.

    Example:
        >>> use_threads(0)
        >>> threads_of()
        0
    """
    threads = whole("threads", threads, 0)
    framework = backend_of(framework)
    before = _given.get(framework, 0)
    if threads == before:
        return
    one_of("framework", framework, _TELL)  # Keras has backends on which nothing is trained
    if before or not _TELL[framework](threads):
        computes = f"with {before}" if before else "with a number that it chose itself"
        raise InputError(
            f"`threads` {threads}: {FRAMEWORKS[framework]} computes in this process {computes}, "
            "and keeps to it. Begin in a new process, and set the threads there before anything "
            "is computed."
        )
    _tell_blas(threads)
    _given[framework] = threads


def threads_of(framework: str = "keras") -> int:
    """The number that a framework was told by `use_threads`; 0 if none.

    Args:
        framework: As for `use_threads`.

    Raises:
        InputError: ``framework`` is none of these.
    """
    return _given.get(backend_of(framework), 0)


def cores() -> int:
    """How many cores this process may use.

    Example:
        >>> cores() >= 1
        True
    """
    if hasattr(os, "sched_getaffinity"):  # what TensorFlow and XLA count
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _tell_blas(threads: int) -> None:
    """The libraries of linear algebra in NumPy and SciPy; JAX decomposes with those of SciPy."""
    import threadpoolctl

    importlib.import_module("scipy.linalg")  # of libraries that are loaded, all are told
    threadpoolctl.threadpool_limits(threads, user_api="blas")


def _tell_tensorflow(threads: int) -> bool:
    import tensorflow as tf

    try:  # the first decides the bits, also those of XLA in it
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
    except RuntimeError:  # it has computed something
        return False
    return True


def _tell_jax(threads: int) -> bool:
    import jax

    config: Any = jax.config
    devices = config.jax_num_cpu_devices
    try:  # another number and back: refused as soon as there are devices
        config.update("jax_num_cpu_devices", 1 if devices != 1 else -1)
    except RuntimeError:
        return False
    config.update("jax_num_cpu_devices", devices)
    # Read when it first looks for devices; the one was called the other before.
    os.environ.update(PJRT_NPROC=str(threads), NPROC=str(threads))
    return True


def _tell_torch(threads: int) -> bool:
    import torch

    torch.set_num_threads(threads)
    return True


_TELL: dict[str, Callable[[int], bool]] = {
    "tensorflow": _tell_tensorflow,
    "jax": _tell_jax,
    "torch": _tell_torch,
}
