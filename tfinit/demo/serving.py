"""Serves an application until it is interrupted, and ends the streams then."""

import asyncio
import errno
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any, NoReturn

import uvicorn

from tfinit.demo.connections import BATCH, Connections, room
from tfinit.errors import WorkError

# What a page has not taken yet waits here, in the system, where no newer frame can replace it.
_BUFFER = 128 * 1024
# Connections that the system lets wait until they are accepted.
_QUEUE = 2048
# The event loop's troubles, which may be many and the same, are said so seldom.
_SECONDS_BETWEEN = 60


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
        listener.listen(_QUEUE)
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
    """Serve until Ctrl-C, SIGTERM or SIGHUP, and end the process.

    Ctrl-C is how a page is closed: exit code 0. After SIGTERM it is 143, as of any process, and
    after SIGHUP 129.

    Args:
        app: What `tfinit.demo.server.create_app` gave.
        listener: What `listening` gave.
        opened: Called when the page can be opened.
    """
    server = Server(app, opened)
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # as under nohup; uvicorn leaves it alone
        signal.signal(signal.SIGHUP, server.handle_exit)
    with suppress(KeyboardInterrupt):  # uvicorn raises signals again after all has ended
        server.run(sockets=[listener])
    # All has ended, and there is nothing to save. Taking TensorFlow down would last seconds, and
    # crash if a thread is still in the middle of its work.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(server.exit_code)


class Server(uvicorn.Server):
    """uvicorn with the limits and deadlines of the application's runs.

    Args:
        app: What `tfinit.demo.server.create_app` gave.
        opened: Called when the page can be opened.

    Attributes:
        exit_code: Of the process, once a signal has ended it.

    Raises:
        InputError: the runs need more open files than the process may have.
    """

    def __init__(self, app: Any, opened: Callable[[], None] = lambda: None):
        self.exit_code = 0
        limits = app.state.runs.limits
        self._opened = opened
        self._connections = Connections(limits, room(limits))
        protocol: Any = self._connections.protocol
        config = uvicorn.Config(
            app,
            # Its warnings are of clients that speak no HTTP, or other protocols: theirs to know.
            log_level="error",
            access_log=False,
            lifespan="on",
            # Only for streams whose clients take nothing; the others end by themselves.
            timeout_graceful_shutdown=1,
            server_header=False,
            # No compiled extras: the same on every machine.
            http=protocol,
            ws="none",
            loop="asyncio",
            backlog=BATCH,
        )
        super().__init__(config)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End, as a signal asks for."""
        self.exit_code = 0 if sig == signal.SIGINT else 128 + sig
        super().handle_exit(sig, frame)

    async def startup(self, sockets: Any = None) -> None:
        """Begin to serve."""
        asyncio.get_running_loop().set_exception_handler(seldom())
        await super().startup(sockets)
        if self.started:
            # asyncio has one number for what it accepts at once and for what may wait.
            for listener in sockets or ():
                listener.listen(_QUEUE)
            self._opened()

    async def on_tick(self, counter: int) -> bool:
        """Look after the connections, ten times a second."""
        self._connections.sweep(self._all_open())
        return await super().on_tick(counter)

    def _all_open(self) -> Any:
        return self.server_state.connections

    async def shutdown(self, sockets: Any = None) -> None:
        """End. The streams and those who wait first: uvicorn waits for them."""
        app: Any = self.config.app
        app.state.runs.stop(0)
        self._connections.leave(self._all_open())
        await super().shutdown(sockets)


def seldom() -> Callable[[asyncio.AbstractEventLoop, dict[str, Any]], None]:
    """Says what happens in an event loop, but the same only once in a while."""
    said: dict[str, float] = {}

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        now, message = time.monotonic(), context["message"]
        if now - said.get(message, -_SECONDS_BETWEEN) >= _SECONDS_BETWEEN:
            said[message] = now
            loop.default_exception_handler(context)

    return handle
