"""`tfinit demo`: the live page."""

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, ClassVar

import tyro

from tfinit.cli.console import loading
from tfinit.cli.device import OnDevice, prepare
from tfinit.cli.signals import nothing_begun
from tfinit.devices import announce
from tfinit.errors import InputError, MissingPackage
from tfinit.native_output import stderr_held

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class _Demo(OnDevice):
    """A live page in the browser: watch initialization decide whether a network trains."""

    host: str = "127.0.0.1"
    """Where to listen. 0.0.0.0: at all addresses of this machine."""
    port: int = 8765
    """0: any free one."""
    max_runs: int = 16
    """Trainings at once, one for each open page; the next is told to wait."""
    open: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Open the page in the browser."""

    stopped: ClassVar[str] = "The page could not be opened yet."
    command_lines: ClassVar[Sequence[str]] = ("tfinit demo --open",)

    def run(self) -> int:
        demo(self.host, self.port, self.max_runs, self.open, self.device)
        return 0


COMMANDS = {"demo": _Demo}


def demo(
    host: str = "127.0.0.1",
    port: int = 8765,
    max_runs: int = 16,
    open_page: bool = False,
    device: str = "auto",
) -> None:
    """Serve the page until Ctrl-C or another signal; it ends the process.

    Raises:
        InputError: ``port`` or ``max_runs`` is out of range, there is no such device, or
            KERAS_BACKEND asks for another backend than TensorFlow.
        WorkError: the port is in use, or the host is not this machine's.
        MissingPackage: the extra ``demo`` is not installed.
    """
    if not host:
        raise InputError("`host` must be a name or an address of this machine, received none.")
    if not 0 <= port <= 65535:
        raise InputError(f"`port` must be 0 to 65535, received {port}.")
    if max_runs < 1:
        raise InputError(f"`max_runs` must be at least 1, received {max_runs}.")
    backend = os.environ.get("KERAS_BACKEND") or "tensorflow"
    if backend != "tensorflow":
        raise InputError(
            f"`tfinit demo` trains with TensorFlow, received KERAS_BACKEND={backend!r}. "
            "Set KERAS_BACKEND=tensorflow."
        )
    os.environ["KERAS_BACKEND"] = backend  # whatever Keras's own file says
    # Before TensorFlow loads. Two threads train; the networks are too small for more each.
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
    os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
    # It warns of every new network that is compiled.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    try:
        with nothing_begun():
            from tfinit.demo.limits import Limits
            from tfinit.demo.server import create_app
            from tfinit.demo.serving import listening, serve
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("tfinit"):
            raise
        raise MissingPackage("`tfinit demo`", "FastAPI and uvicorn", "tfinit[demo]") from error
    if device != "auto":  # what may fail, before the page can be opened
        with loading():
            prepare(device)
    listener = listening(host, port)
    shown = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    shown = f"[{shown}]" if ":" in shown else shown
    address = f"http://{shown}:{listener.getsockname()[1]}"

    def opened() -> None:
        print(f"tfinit demo: {address}  (Ctrl-C ends it)", flush=True)
        if open_page:
            import threading
            import webbrowser

            # Some browsers do not return, and the server has to go on.
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()

    @contextmanager
    def ready() -> Iterator[None]:
        with stderr_held():
            prepare(device)
            yield
        announce()

    # Before TensorFlow loads, while stderr is closed.
    if host not in _LOOPBACK:
        print(
            f"tfinit: anyone who reaches {host} can start trainings on this machine.",
            file=sys.stderr,
        )
    app = create_app(Limits(max_runs=max_runs), [host], loading=ready)
    serve(app, listener, opened)
