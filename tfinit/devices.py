"""What trains: the device that the framework uses, and the GPU that it does not see.

TensorFlow, JAX and PyTorch train on the CPU without a word where a GPU is there but one of its
libraries is not. So a run says what it trains on when it begins, in the log of this module, and
warns where an NVIDIA GPU is there that the framework does not list.
"""

import contextlib
import importlib
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tfinit import backends
from tfinit.arguments import one_of, path
from tfinit.backends import backend_of
from tfinit.errors import InputError, reason
from tfinit.missing_gpu import ROOT, gpus, hidden_by, why_none
from tfinit.threads import cores, threads_of

__all__ = ["DEVICES", "KERASES", "Device", "announce", "choose", "in_use", "unlisted"]

KERASES = backends.KERASES
DEVICES = ("auto", "cpu", "gpu")
_Listed = list[tuple[str, str, int]]  # kind, name and number of what is no CPU
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Device:
    """What a framework computes on.

    Attributes:
        kind: ``"CPU"``, ``"GPU"`` or ``"TPU"``.
        name: What the framework calls it, ``"NVIDIA H100 80GB HBM3"``. Of a CPU, the threads that
            `tfinit.threads.use_threads` was told, or how many cores this process may use: the order
            of its sums may depend on that.
        framework: The framework and its version.
        index: The number that the framework gives it.
        others: How many more of its kind the framework lists. One process trains on one.

    Example:
        >>> print(Device("GPU", "NVIDIA H100 80GB HBM3", "tensorflow 2.21.0", others=3))
        GPU 0, NVIDIA H100 80GB HBM3 (tensorflow 2.21.0); 3 others are idle
    """

    kind: str
    name: str
    framework: str
    index: int = 0
    others: int = 0

    @property
    def model(self) -> str:
        """Kind and name: on another model a training may end with other bits."""
        return ", ".join(filter(None, (self.kind, self.name)))

    def __str__(self) -> str:
        number = "" if self.kind == "CPU" else f" {self.index}"
        what = ", ".join(filter(None, (self.kind + number, self.name)))
        idle = f"; {self.others} other{'s are' if self.others > 1 else ' is'} idle"
        return f"{what} ({self.framework}){idle if self.others else ''}"


def in_use(framework: str = "keras") -> Device:
    """The device that a framework trains on: the first GPU or TPU that it lists, else the CPU.

    Args:
        framework: ``"tensorflow"``, ``"jax"``, ``"torch"``, or whose it is: ``"keras"``,
            ``"tf_keras"``.

    Raises:
        InputError: ``framework`` is none of these, or JAX cannot use what JAX_PLATFORMS asks for.

    Example:
        >>> in_use().kind in ("CPU", "GPU", "TPU")
        True
    """
    framework = backend_of(framework)
    version = getattr(importlib.import_module(framework), "__version__", "")
    told = f"{framework} {version}".strip()
    listed = _LISTED[framework]() if framework in _LISTED else []
    if not listed:
        threads = threads_of(framework)
        count, what = (threads, "thread") if threads else (cores(), "core")
        return Device("CPU", f"{count} {what}{'s' if count > 1 else ''}", told)
    kind, name, index = listed[0]
    return Device(kind, name, told, index, len(listed) - 1)


def choose(device: str = "auto", framework: str = "keras") -> Device:
    """Let this process train on a device. To be called before anything is computed.

    Args:
        device: ``"auto"``: what `in_use` says. ``"cpu"``: GPUs are hidden from this process and
            from those that it starts. ``"gpu"``: a GPU, or an error.
        framework: ``"tensorflow"``, ``"jax"``, ``"torch"``, or whose it is: ``"keras"``,
            ``"tf_keras"``.

    Raises:
        InputError: there is no GPU; it says why, and what to do. Or one is in use already, and can
            no longer be hidden.

    Example:
        >>> choose("auto") == in_use()
        True
    """
    one_of("device", device, DEVICES)
    if device == "cpu":
        # For what is not loaded yet: Keras on PyTorch chooses as it is imported.
        os.environ.update(CUDA_VISIBLE_DEVICES="-1", KERAS_TORCH_DEVICE="cpu")
    framework = backend_of(framework)
    if device == "cpu" and framework in _HIDE:
        _HIDE[framework]()
    found = in_use(framework)
    if device == "cpu" and found.kind != "CPU":
        raise InputError(
            f"`device` 'cpu': {found} is in use already, and can no longer be hidden from this "
            "process. Choose before anything is computed."
        )
    if device == "gpu" and found.kind == "CPU":
        raise InputError(f"`device` 'gpu': {why_none(framework)}")
    return found


def announce(framework: str = "keras") -> Device:
    """Say in the log on what a training begins; warn of a GPU that is there and is not used.

    The line ``device: …`` is of level INFO, the warning of level WARNING, of the logger
    ``tfinit.devices``.

    Args:
        framework: ``"tensorflow"``, ``"jax"``, ``"torch"``, or whose it is: ``"keras"``,
            ``"tf_keras"``.

    Raises:
        InputError: as `in_use` says.

    Example:
        >>> announce() == in_use()
        True
    """
    device = in_use(framework)
    _log.info("device: %s", device)
    if told := unlisted(framework):
        _log.warning("%s", told)
    return device


def unlisted(framework: str = "keras", root: str | Path = ROOT) -> str:
    """What to do about an NVIDIA GPU that is there and that the framework does not list.

    Where there is one, the framework is asked for its reasons in a process of its own. That may
    take ten seconds, once.

    Args:
        framework: ``"tensorflow"``, ``"jax"``, ``"torch"``, or whose it is: ``"keras"``,
            ``"tf_keras"``.
        root: The folder in which the system's own are, dev and proc: see
            `tfinit.missing_gpu.gpus`.

    Returns:
        Sentences, in one line; empty where there is no such GPU, or it is hidden on purpose, as by
        ``CUDA_VISIBLE_DEVICES=""`` or ``choose("cpu")``.

    Raises:
        InputError: as `in_use` says.

    Example:
        >>> unlisted(root=Path(tmp))  # a machine without one
        ''
    """
    root = path("root", root)
    framework = backend_of(framework)
    if hidden_by(framework) or not gpus(root) or in_use(framework).kind != "CPU":
        return ""
    return f"it trains on the CPU: {why_none(framework, root)} If that is meant: --device cpu."


def _listed_by_tensorflow() -> _Listed:
    import tensorflow as tf

    gpus = tf.config.get_visible_devices("GPU")
    about = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
    return [("GPU", one.get("device_name", ""), n) for n, one in enumerate(about)]


def _listed_by_jax() -> _Listed:
    import jax

    try:
        found = [device for device in jax.local_devices() if device.platform != "cpu"]
    except (RuntimeError, AssertionError) as error:
        # Of "cuda", where JAX sees no GPU, the latter, without a word.
        asked = os.environ.get("JAX_PLATFORMS", "")
        why = reason(error) or f"none of JAX_PLATFORMS={asked!r} is here. Unset it."
        raise InputError(f"JAX finds no device: {why}") from error
    return [("TPU" if d.platform == "tpu" else "GPU", d.device_kind, d.id) for d in found]


def _listed_by_torch() -> _Listed:
    import keras
    import torch

    if keras.backend.backend() == "torch":
        device = keras.ops.zeros(()).device  # what Keras chose
    else:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type != "cuda":
        return [] if device.type == "cpu" else [("GPU", device.type.upper(), device.index or 0)]
    first = device.index or 0
    order = [first, *(n for n in range(torch.cuda.device_count()) if n != first)]
    return [("GPU", torch.cuda.get_device_name(n), n) for n in order]


_LISTED: dict[str, Callable[[], _Listed]] = {
    "tensorflow": _listed_by_tensorflow,
    "jax": _listed_by_jax,
    "torch": _listed_by_torch,
}


def _hide_from_tensorflow() -> None:
    import tensorflow as tf

    with contextlib.suppress(RuntimeError):  # it has one in use: `choose` says so
        tf.config.set_visible_devices([], "GPU")


def _hide_from_jax() -> None:
    import jax

    jax.config.update("jax_platforms", "cpu")


_HIDE: dict[str, Callable[[], None]] = {
    "tensorflow": _hide_from_tensorflow,
    "jax": _hide_from_jax,
}
