"""A run's events as a response: server-sent events, until the page goes or the run ends."""

from collections.abc import AsyncIterator
from typing import Any

from starlette.responses import StreamingResponse

from tfinit.demo.run import PageRun
from tfinit.demo.runs import Runs


class EventStream(StreamingResponse):
    """The events of a run, which ends with the stream.

    FastAPI's own server-sent events read ahead of the client and say that they are there every 15
    seconds only, so they cannot tell when a page is slow.

    Args:
        run: The run, opened.
        runs: Where it is forgotten at the end.
    """

    media_type = "text/event-stream"

    def __init__(self, run: PageRun, runs: Runs):
        # Proxies must not collect events.
        super().__init__(self._events(), headers={"X-Accel-Buffering": "no"})
        self._run, self._runs = run, runs

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Send until the client goes, which `StreamingResponse` notices, or nothing more comes."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._runs.forget(self._run)

    async def stream_response(self, send: Any) -> None:
        """Send; while the client takes nothing, nothing new is made for it."""
        outbox = self._run.outbox

        async def watched(message: Any) -> None:
            outbox.stalled = True
            try:
                await send(message)
            finally:
                outbox.stalled = False

        await super().stream_response(watched)

    async def _events(self) -> AsyncIterator[bytes]:
        outbox, seconds = self._run.outbox, self._run.limits.keep_alive
        while (events := await outbox.take(seconds)) is not None:
            for event in events:
                yield event
            if not events:
                yield b": waiting\n\n"
            elif self._run.has_news:
                self._runs.wake()
