"""The server's connections: how many there may be, and how long one waits for its client.

uvicorn waits for ever for a request that does not come or comes in part, and for a client that
takes nothing of its answer; its ``limit_concurrency`` counts connections that ask nothing, so that
these lock others out. Here a new one is always welcome while an old one waits for its client.
"""

import math
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from tfinit.demo.limits import Limits
from tfinit.errors import InputError

# Connections that are accepted in one go. They are open before they can be counted.
BATCH = 32
# Open files of a connection: itself, and what it is being sent.
_FILES = 2
# Of the rest: TensorFlow, libraries, two batches that came and one that is just going.
_OTHER_FILES = 192
# What is waited for, and who gives way first: a request, that an answer is taken, nothing.
_REQUEST, _TAKING, _NOTHING = range(3)


def room(limits: Limits) -> int:
    """How many connections there may be, at most as many as ``limits`` say.

    The process's limit of open files is raised if it is too low for them.

    Raises:
        InputError: not even the streams of ``max_runs`` have room.
    """
    most = limits.max_runs + limits.connections
    try:
        import resource
    except ModuleNotFoundError:  # Windows, which has no such limit
        return most
    needed = most * _FILES + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        raised = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        with suppress(OSError, ValueError):  # a system may allow less than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, raised), hard))
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return most
    most = min(most, (soft - _OTHER_FILES) // _FILES)
    if most <= limits.max_runs:
        raise InputError(
            f"`max_runs` {limits.max_runs} needs {needed} open files, and this process may have "
            f"{soft}. Allow more, as with `ulimit -n {needed}`, or lower `max_runs`."
        )
    return most


class Connections:
    """All connections of a server.

    Args:
        limits: The server's.
        most: How many there may be: see `room`.

    Attributes:
        protocol: What uvicorn is to make for each.
    """

    def __init__(self, limits: Limits, most: int):
        self.protocol = partial(Connection, self)
        self._most, self._over = most, False
        self._patience = (limits.request_seconds, limits.stalled_seconds, math.inf)

    def admit(self, new: "Connection", all_of_them: Iterable["Connection"]) -> None:
        """Make room for a new one.

        Of the client with the most connections, those are dropped that have waited longest; the new
        one itself, if none waits.
        """
        if self._over:
            new.drop()
            return
        now = time.monotonic()
        there = [connection for connection in all_of_them if not connection.dropped]
        if len(there) <= self._most:
            return
        held = Counter(connection.address for connection in there)
        for connection in there:
            connection.look(now)
        waiting = [c for c in there if c is not new and c.waits_for != _NOTHING]
        order = {c: (-held[c.address], c.waits_for, c.since) for c in waiting}
        # Room for some more, so that not each of a flood must be compared with all.
        count = len(there) - self._most + self._most // 8
        for connection in sorted(waiting, key=order.__getitem__)[:count] or [new]:
            connection.drop()

    def sweep(self, all_of_them: Iterable["Connection"]) -> None:
        """Drop those whose time is over. To be called now and then."""
        now = time.monotonic()
        for connection in tuple(all_of_them):
            connection.look(now)
            if now - connection.since > self._patience[connection.waits_for]:
                connection.drop()

    def leave(self, all_of_them: Iterable["Connection"]) -> None:
        """Drop those that wait for their client, and who still comes, as the server ends."""
        self._over = True
        for connection in tuple(all_of_them):
            connection.look(time.monotonic())
            if connection.waits_for != _NOTHING:
                connection.drop()


class Connection(H11Protocol):
    """A connection that knows what it waits for.

    Args:
        all_of_them: Where it is admitted.
        given: What uvicorn gives its protocols.

    Attributes:
        waits_for: Its client, to send a request or to take an answer, or nothing.
        since: Since when, in seconds of the monotonic clock.
        dropped: Whether it was; uvicorn hears of it a little later.
    """

    def __init__(self, all_of_them: Connections, **given: Any):
        super().__init__(**given)
        self._all = all_of_them
        self.waits_for, self.since, self.dropped = _NOTHING, 0.0, False
        self._seen: Any = None
        self._taken = 0

    @property
    def address(self) -> str | None:
        """The client's, without its port."""
        return self.client[0] if self.client else None

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for a request, if there is room."""
        super().connection_made(transport)
        self.look(time.monotonic())
        everyone: Any = self.connections
        self._all.admit(self, everyone)

    def resume_writing(self) -> None:
        """The client has taken most of what waited for it."""
        self._taken += 1
        super().resume_writing()

    def look(self, now: float) -> None:
        """See what it waits for. One thing for long: the same request, the same bytes to send."""
        seen: tuple[Any, ...] = (_NOTHING,)
        if self.transport.is_closing() or self.flow.write_paused:
            seen = (_TAKING, self._taken)
        elif self.conn.their_state in (h11.IDLE, h11.SEND_BODY):
            seen = (_REQUEST, self.cycle, self.cycle is not None and self.cycle.response_complete)
        if seen != self._seen:
            self._seen, self.since = seen, now
            self.waits_for = seen[0]

    def drop(self) -> None:
        """Close at once, whatever is still to be sent."""
        self.dropped = True
        self.transport.abort()
