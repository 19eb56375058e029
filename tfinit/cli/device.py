"""The device of a command: its flag, and the line on stderr that says which one trains."""

import contextlib
import logging
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import wrapt

from tfinit.cli.console import Command, EachLineOnce
from tfinit.devices import DEVICES, choose
from tfinit.missing_gpu import gpus
from tfinit.moved import former_names
from tfinit.threads import use_threads


@dataclass(frozen=True)
class OnDevice(Command):
    """A command that computes. The device is no part of what makes two runs the same."""

    device: str = field(default="auto", kw_only=True)
    """auto: the first GPU if the framework lists one. gpu: an error where it lists none."""

    choices: ClassVar[Mapping[str, Iterable[str | None]]] = {"device": DEVICES}


def prepare(device: str = "auto", keras: str = "keras", threads: int = 0) -> None:
    """Load the framework on the device that was asked for; what begins there is said on stderr.

    For processes that are all ours, and before anything is read or written.

    Args:
        device: ``"auto"``, ``"cpu"`` or ``"gpu"``: see `tfinit.devices.choose`.
        keras: Whose framework: ``"keras"`` or ``"tf_keras"``.
        threads: As for `tfinit.threads.use_threads`.

    Raises:
        InputError: there is no such device.
    """
    # TensorFlow and JAX take all the memory of a GPU at once, if nobody says otherwise.
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    flags = os.environ.get("XLA_FLAGS", "")
    if gpus() and "deterministic_ops" not in flags:
        # What goes on must end with the same bits; JAX reads this when it finds its devices.
        os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()
    use_threads(threads, keras)  # JAX has its own as soon as a device is looked for
    choose(device, keras)
    log = logging.getLogger("tfinit.devices")
    # At each line anew: above a bar that is drawn, rich stands in for stderr.
    handlers: list[logging.Handler] = [EachLineOnce(lambda: sys.stderr)]
    log.handlers, log.propagate = handlers, False
    log.setLevel(logging.INFO)


def warm_up(device: str = "auto", keras: str = "keras", threads: int = 0) -> None:
    """`prepare`, and let TensorFlow or JAX compile once: see `tfinit.training.warm_up`.

    Where Keras is on another backend, TensorFlow gets no GPU if something loads it, as data of the
    user's own may: it would take memory of it.
    """
    prepare(device, keras, threads)
    from keras import backend

    name = "tensorflow" if keras == "tf_keras" else backend.backend()
    if name != "tensorflow":
        wrapt.register_post_import_hook(_without_gpu, "tensorflow")
    if name in ("tensorflow", "jax"):
        from tfinit.training import warm_up

        warm_up()


def _without_gpu(tensorflow: Any) -> None:
    with contextlib.suppress(RuntimeError):  # it has computed something
        tensorflow.config.set_visible_devices([], "GPU")


__getattr__ = former_names(__name__, {"wake_up": "warm_up"})
