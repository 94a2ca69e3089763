"""The one middleware: refuses what may not come in, and puts the safe headers on what goes out."""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from contextlib import suppress
from typing import Any

from starlette.requests import cookie_parser

from audit.errors import InvalidInput
from audit.web.api.accept import wants_data
from audit.web.api.problem import PROBLEM_TYPE, problem
from audit.web.guard.connection import NOT_HTTP
from audit.web.guard.headers import NOT_KEPT, SECURITY_HEADERS
from audit.web.guard.hosts import Hosts
from audit.web.guard.limits import Rate, neighbourhood
from audit.web.guard.turns import Turn, Turns
from audit.web.guard.who import COOKIE, Doorkeeper, Visitor
from audit.web.options import address_of

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
LaneOf = Callable[[str, bytes], str | None]
"""From a path and a query to the lane where a request waits; None: it need not."""
App = Callable[[Scope, Receive, Send], Awaitable[None]]

MAX_ADDRESS_BYTES = 32_768
"""Longest path and query of a request."""
MAX_BODY_BYTES = 4_096
"""Longest body: there is nothing to send here but a token and a button."""
MAX_LENGTH_DIGITS = 9
"""Of `Content-Length`."""
RETRY_SECONDS = 2
"""After so long who asked for too much at once may ask again."""

LOGIN = "/login"
OPEN_TO_ALL = (LOGIN, "/static/", "/healthz")
"""What strangers get to see: the way in, and how it looks."""

VISITOR = "attestory.visitor"
"""Where in the scope the screens find who asks."""

UNKNOWN = "unknown"
"""The address of who asks through no network."""

_SAFE = ("GET", "HEAD", "OPTIONS")
_log = logging.getLogger("audit.web")

_REFUSED = {
    Turn.TOO_MANY_OF_ONE: (429, "you ask for too much at once; wait for the answers"),
    Turn.TOO_MANY: (503, "too much is asked at once"),
    Turn.TOO_LATE: (503, "all readers are busy; ask again in a moment"),
}


class Guard:
    """Stands before the application."""

    def __init__(
        self,
        app: App,
        hosts: Hosts,
        doorkeeper: Doorkeeper,
        rate: Rate,
        turns: Turns,
        lane_of: LaneOf,
    ) -> None:
        """`app`: what is guarded."""
        self._app = app
        self._hosts = hosts
        self._doorkeeper = doorkeeper
        self._rate = rate
        self._turns = turns
        self._lane_of = lane_of

    def is_proxy(self, address: str) -> bool:
        """Whether an address is that of the trusted proxy, behind which are many."""
        return self._doorkeeper.is_proxy(_spelled(address))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it with why not."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        send = _with_headers(send)
        headers = _headers(scope)
        refused = self._refused(scope, headers)
        if refused is not None:
            await _say(scope, send, *refused)
            return
        visitor = self._doorkeeper.visitor(_client(scope), headers, _cookie(headers))
        stranger = f"stranger:{neighbourhood(_client(scope))}"
        counted = stranger if visitor is None else visitor.counted_as
        wait = self._rate.wait_s(counted)
        if wait > 0:
            retry = (b"retry-after", str(math.ceil(wait)).encode())
            await _say(scope, send, 429, "too many requests; wait a little", [retry])
            return
        if visitor is None and not _is_open(scope["path"]):
            await self._ask_who(scope, send)
            return
        scope[VISITOR] = visitor
        # Before its turn: who says it a byte at a time must not hold a place meanwhile.
        body = b"" if scope["method"] in _SAFE else await _body(receive)
        if body is None:
            return
        watched = _Watched(receive, body)
        lane = self._lane_of(scope["path"], scope["query_string"])
        if lane is None:
            await self._app(scope, watched.receive, send)
        else:
            await self._in_turn(lane, counted, scope, watched, send)

    def _refused(self, scope: Scope, headers: dict[str, str]) -> tuple[int, str] | None:
        """What is wrong with a request, whoever sent it: status and words."""
        if not self._hosts.knows(headers.get("host", "")):
            return 421, "this server is not asked for under that name; see --allow-host"
        if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > MAX_ADDRESS_BYTES:
            return 414, f"the address is over {MAX_ADDRESS_BYTES} bytes"
        length = headers.get("content-length", "" if scope["method"] == "POST" else "0")
        # Where both are said the chunks count (RFC 9112), and they have no end.
        sized = length.isascii() and length.isdigit() and "transfer-encoding" not in headers
        if not sized:
            return 411, "say how long the body is"
        if len(length) > MAX_LENGTH_DIGITS or int(length) > MAX_BODY_BYTES:
            return 413, f"the body is over {MAX_BODY_BYTES} bytes"
        if scope["method"] != "POST":
            return None  # a page says which methods it takes; no other changes anything
        # A page elsewhere must not press buttons here with this browser's cookie.
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return 403, "this was sent by a page of another server"
        if "origin" in headers and not self._hosts.is_own(headers["origin"]):
            return 403, "this was sent by a page of another server"
        return None

    async def _ask_who(self, scope: Scope, send: Send) -> None:
        path = scope["path"]
        accept = _headers(scope).get("accept", "")
        wants_page = "." not in path.rpartition("/")[2] and not wants_data(path, accept)
        if self._doorkeeper.takes_tokens and wants_page and scope["method"] in _SAFE:
            await _say(scope, send, 303, "", [(b"location", LOGIN.encode())])
            return
        challenge = [(b"www-authenticate", b'Bearer realm="attestory"')]
        await _say(scope, send, 401, "say who you are: Authorization: Bearer TOKEN", challenge)

    async def _in_turn(
        self, lane: str, client: str, scope: Scope, watched: "_Watched", send: Send
    ) -> None:
        turn = await self._turns.take(lane, client, watched.gone)
        if turn is Turn.GONE:
            return
        if turn is not Turn.READY:
            retry = (b"retry-after", str(RETRY_SECONDS).encode())
            await _say(scope, send, *_REFUSED[turn], [retry])
            return
        try:
            await self._app(scope, watched.receive, send)
        except asyncio.CancelledError:
            # Nobody cancels but the end of the server, which would log this as if it were a bug.
            _log.warning("an answer was broken off: the server ends")
        finally:
            self._turns.give_back(lane, client)


class _Watched:
    """What comes from a client that has said all: nothing, until it goes away."""

    def __init__(self, receive: Receive, body: bytes) -> None:
        self._receive = receive
        self._body = body
        self._said = False

    async def gone(self) -> None:
        """Returns when it has gone away. A body that comes all the same is dropped."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def receive(self) -> Message:
        """For the application: the body, then that it has gone away."""
        if not self._said:
            self._said = True
            return {"type": "http.request", "body": self._body, "more_body": False}
        while (message := await self._receive())["type"] != "http.disconnect":
            pass
        return message


async def _body(receive: Receive) -> bytes | None:
    """The whole body, whose length was looked at before; None: who sends it has gone away."""
    found = bytearray()
    while (message := await receive())["type"] == "http.request":
        found += message.get("body", b"")
        if not message.get("more_body", False):
            return bytes(found)
    return None


def name_of_visitor(scope: Scope) -> str:
    """The name of who asks; empty for a stranger at the door."""
    found: Visitor | None = scope.get(VISITOR)
    return "" if found is None else found.name


def client_of(scope: Scope) -> str:
    """What the requests of who asks are counted under."""
    found: Visitor | None = scope.get(VISITOR)
    return UNKNOWN if found is None else found.counted_as


def _is_open(path: str) -> bool:
    return any(path == one or (one.endswith("/") and path.startswith(one)) for one in OPEN_TO_ALL)


def _headers(scope: Scope) -> dict[str, str]:
    """By name in lower case; one that is there twice is joined by a line feed, which none can
    have, and so fits nothing: a proxy that adds its header to the client's names nobody.
    """
    found: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        found.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    return {name: "\n".join(values) for name, values in found.items()}


def _client(scope: Scope) -> str:
    """The address that asks, in its one spelling."""
    client = scope.get("client")
    return _spelled(str(client[0])) if client else UNKNOWN


def _spelled(address: str) -> str:
    try:
        return address_of(address)
    except InvalidInput:
        return UNKNOWN


def _cookie(headers: dict[str, str]) -> str | None:
    return cookie_parser(headers.get("cookie", "")).get(COOKIE)


def _with_headers(send: Send) -> Send:
    """Adds the headers that every answer has, and the one against keeping it where none is said.

    Who sends what is no HTTP beside his request was told so already: nothing more can be said.
    """

    async def send_safely(message: Message) -> None:
        if message["type"] == "http.response.start":
            held = list(message.get("headers") or ())
            names = {bytes(name).lower() for name, _ in held}
            held += [one for one in (*SECURITY_HEADERS, NOT_KEPT) if one[0] not in names]
            message = {**message, "headers": held}
        with suppress(NOT_HTTP):
            await send(message)

    return send_safely


async def _say(
    scope: Scope, send: Send, status: int, words: str, headers: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    accept = _headers(scope).get("accept", "")
    kind, body = b"text/plain; charset=utf-8", (words + "\n").encode() if words else b""
    if words and wants_data(scope["path"], accept):
        kind, body = PROBLEM_TYPE.encode(), problem(status, words)
    start: list[tuple[bytes, bytes]] = [
        (b"content-type", kind),
        (b"content-length", str(len(body)).encode()),
        *headers,
    ]
    await send({"type": "http.response.start", "status": status, "headers": start})
    await send({"type": "http.response.body", "body": body})
