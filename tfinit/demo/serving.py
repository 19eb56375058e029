"""Serves an application until it is interrupted, and ends the streams then."""

import errno
import os
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

import uvicorn

from tfinit.errors import WorkError

# What a page has not taken yet waits here, in the system, where no newer frame can replace it.
_BUFFER = 128 * 1024


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens at an address.

    Args:
        host: A name or an address of this machine.
        port: 0: any free one.

    Raises:
        WorkError: the port is in use, or the address is not this machine's.
    """
    listener = None
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        listener = socket.socket(family, kind, protocol)
        # Not on Windows, where two servers could have the port.
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
        listener.bind(address)
        listener.listen(128)
    except OSError as error:
        if listener is not None:
            listener.close()
        if error.errno == errno.EADDRINUSE:
            raise WorkError(
                f"port {port} of {host} is in use. End what uses it, or choose another with "
                "--port; 0 takes any free one."
            ) from None
        raise WorkError(f"cannot listen at {host}, port {port}: {error.strerror}.") from None
    return listener


def serve(app: Any, listener: socket.socket, opened: Callable[[], None]) -> NoReturn:
    """Serve until Ctrl-C or SIGTERM, and end the process; after Ctrl-C with exit code 0.

    Args:
        app: What `tfinit.demo.server.create_app` gave.
        listener: What `listening` gave.
        opened: Called when the page can be opened.
    """
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        lifespan="on",
        # Only for streams whose clients take nothing; the others end by themselves.
        timeout_graceful_shutdown=1,
        server_header=False,
        # No compiled extras: the same on every machine.
        http="h11",
        ws="none",
        loop="asyncio",
    )
    server = _Server(config, opened)
    with suppress(KeyboardInterrupt):  # which uvicorn raises again after all has ended
        server.run(sockets=[listener])
    # All has ended, and there is nothing to save. Taking TensorFlow down would last seconds, and
    # crash if a thread is still in the middle of its work.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, opened: Callable[[], None]):
        super().__init__(config)
        self._opened = opened

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._opened()

    async def shutdown(self, sockets: Any = None) -> None:
        # The streams first: uvicorn waits for them.
        self.config.app.state.runs.stop(0)
        await super().shutdown(sockets)
