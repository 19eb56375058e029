"""Who may ask, and how much: checks of every request's head, and headers of every answer.

A page of another site may send requests to this server from its reader's browser, and may have
its own name point to this machine (DNS rebinding). So the ``Host`` must be one of the server's, and
what a browser says of a request's origin must be this server's own page.
"""

import ipaddress
import json
import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

LOCAL = ("localhost", "127.0.0.1", "::1")
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = (
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_API = "/api/"
_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._-]+)(:[0-9]{1,5})?")
# What is read of a body that is too large, so that its sender hears why.
_PATIENCE = 1024 * 1024


class Refused(Exception):
    """A request that is not answered: status and reason."""

    def __init__(self, status: int, reason: str):
        super().__init__(reason)
        self.status = status


def host_of(value: str) -> str:
    """The name or address in a ``Host`` header, without the port: ``[::1]:80`` → ``::1``.

    Raises:
        ValueError: it is no host.
    """
    found = _HOST.fullmatch(value)
    if found is None:
        raise ValueError(f"no host: {value!r}")
    return found["name"].strip("[]").lower()


def everywhere(host: str) -> bool:
    """Whether a server bound to this host can be reached at every address of the machine."""
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


class Guard:
    """The checks around an application (ASGI).

    Args:
        app: The application.
        hosts: Names and addresses of the server beside those of this machine itself. With
            ``0.0.0.0`` or ``::`` any address will do, as only a name can be made to point here.
        body: Bytes of a request's body.
    """

    def __init__(self, app: Any, hosts: Iterable[str] = (), body: int = 16 * 1024):
        self._app, self._body = app, body
        self._hosts = {*LOCAL, *(host.lower() for host in hosts)}
        self._any_address = any(everywhere(host) for host in self._hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check a request, and pass it on or refuse it."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        api = scope["path"].startswith(_API)
        stored = (b"cache-control", b"no-store" if api else b"no-cache")

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                kept = [h for h in message.get("headers", ()) if h[0].lower() != stored[0]]
                message = {**message, "headers": [*kept, stored, *_HEADERS]}
            await send(message)

        try:
            self._check(scope, api)
            body = await self._read(scope, receive)
        except Refused as refused:
            await _refuse(answer, refused)
            return
        # Nothing here is large, and ranges can be so many that some versions of Starlette take
        # seconds to sort them.
        kept = [header for header in scope["headers"] if header[0].lower() != b"range"]
        await self._app({**scope, "headers": kept}, _replayed(body, receive), answer)

    def _check(self, scope: Scope, api: bool) -> None:
        headers: dict[bytes, list[str]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.lower(), []).append(value.decode("latin-1"))
        hosts = headers.get(b"host", [])
        if len(hosts) != 1 or not self._ours(hosts[0]):
            raise Refused(
                403, f"Host {' '.join(hosts)!r} is not this server. Start it with --host."
            )
        for origin in headers.get(b"origin", []):
            if urlsplit(origin).netloc.lower() != hosts[0].lower():
                raise Refused(403, f"Only this server's own page may ask, not {origin!r}.")
        # Links from other sites to the page itself are welcome.
        sites = headers.get(b"sec-fetch-site", [])
        if api and any(site not in ("same-origin", "none") for site in sites):
            raise Refused(
                403, f"Only this server's own page may ask, not one that is {sites[0]!r}."
            )
        if scope["method"] == "POST":
            # A page of another site can send other types without asking the server first.
            kind = " ".join(headers.get(b"content-type", [])).split(";")[0].strip().lower()
            if kind != "application/json":
                raise Refused(415, f"Content-Type must be application/json, received {kind!r}.")

    def _ours(self, host: str) -> bool:
        try:
            name = host_of(host)
        except ValueError:
            return False
        if name in self._hosts:
            return True
        if not self._any_address:
            return False
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    async def _read(self, scope: Scope, receive: Receive) -> bytes:
        """The whole body."""
        body, size, more = bytearray(), 0, True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                raise Refused(400, "The request ended in the middle of its body.")
            part = message.get("body", b"")
            size += len(part)
            if size <= self._body:  # what is too large need not be kept
                body += part
            more = message.get("more_body", False)
            if size > _PATIENCE or (size > self._body and not more):
                raise Refused(413, f"A body may have {self._body} bytes, received more.")
        return bytes(body)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Receives the body, which was read already, then whatever comes."""
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return waiting.pop() if waiting else await receive()

    return again


async def _refuse(send: Send, refused: Refused) -> None:
    body = json.dumps({"detail": str(refused)}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
