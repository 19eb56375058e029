"""What waits to be sent to one page. Bounded: of each kind of event only the newest waits.

Filled by the threads that train, emptied by the event loop.
"""

import asyncio
import json
import threading
from typing import Any

# Who waits for what: its kind, and a number where there are several.
Key = tuple[str, int]


def encoded(name: str, data: dict[str, Any]) -> bytes:
    """An event as server-sent events have it.

    Raises:
        ValueError: a number is NaN or infinite: no JSON.
    """
    text = json.dumps(data, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    return f"event: {name}\ndata: {text}\n\n".encode()


class Outbox:
    """The events for one page, in order, the newest of each key.

    Attributes:
        stalled: Whether the page is slower than what is sent: nothing more should be made for it.
        closed: Whether nothing more comes.
    """

    def __init__(self) -> None:
        self.stalled = False
        self.closed = False
        self._waiting: dict[Key, bytes] = {}
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._something = asyncio.Event()

    def open(self) -> None:
        """Say which event loop sends. Called there, once."""
        self._loop = asyncio.get_running_loop()

    def put(self, key: Key, event: bytes) -> None:
        """Let an event wait at the end; one of the same key that still waits is dropped."""
        with self._lock:
            if self.closed:
                return
            self._waiting.pop(key, None)
            self._waiting[key] = event
        self._wake()

    def has(self, *key_or_kind: Any) -> bool:
        """Whether an event of this key waits."""
        return tuple(key_or_kind) in self._waiting

    def drop(self, *kinds: str) -> None:
        """Forget what waits of these kinds."""
        with self._lock:
            self._waiting = {k: v for k, v in self._waiting.items() if k[0] not in kinds}

    def close(self) -> None:
        """End the stream as soon as what waits is sent."""
        with self._lock:
            self.closed = True
        self._wake()

    async def take(self, seconds: float) -> list[bytes] | None:
        """All that waits, as soon as there is something: empty after so long, None at the end."""
        if not self._waiting and not self.closed:
            try:
                await asyncio.wait_for(self._something.wait(), seconds)
            except asyncio.TimeoutError:  # in 3.10 not the built-in one
                return []
        self._something.clear()
        with self._lock:
            taken, self._waiting = list(self._waiting.values()), {}
            return taken or (None if self.closed else [])

    def _wake(self) -> None:
        if self._loop is None:
            return
        try:
            self._loop.call_soon_threadsafe(self._something.set)
        except RuntimeError:  # the loop is closed: the server ends, and nobody reads this
            self.closed = True
