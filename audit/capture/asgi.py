"""ASGI middleware: who asks, request id and trace id, in every event that a request causes.

Plain protocol (ASGI 3.0), so for FastAPI, Starlette, Django and every other ASGI application. The
request's context is inherited by the tasks that it starts and by the threads of frameworks' pools,
background tasks included.
"""

import logging
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

from audit.capture.request import REQUEST_ID_HEADER, ActorOf, RequestBlock, RequestReader

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Any, Any, Any], Awaitable[None]]

_HANDLED = ("http", "websocket")
_MARK = "attestory.request_id"
"""In the scope of a request that has its context: of two middlewares the outer one decides."""

_log = logging.getLogger("audit.capture")


class AsgiMiddleware:
    """``app.add_middleware(audit.AsgiMiddleware, actor=lambda scope: scope["state"]["user"])``.

    `actor`: a function of the scope. It is asked when an event is emitted, until it says somebody:
    so it may look at what the application finds out later (`audit.identify` says it outright).
    `actor_header` instead: a header that the proxy in front sets, and removes from what clients
    send; trust it only then. `request_id_header` None: every request gets a new id. `echo`: the
    answer says the request id in the same header. Raises InvalidInput.

    A request never fails for what it brings, and what the application raises passes unchanged.
    """

    def __init__(
        self,
        app: App,
        actor: ActorOf | None = None,
        *,
        actor_header: str | None = None,
        request_id_header: str | None = REQUEST_ID_HEADER,
        echo: bool = True,
    ) -> None:
        self.app = app
        self._reader = RequestReader(actor, actor_header, request_id_header)
        self._echo = (request_id_header or REQUEST_ID_HEADER).lower().encode() if echo else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request inside its context."""
        begun = self._begin(scope) if scope["type"] in _HANDLED else None
        if begun is None:
            await self.app(scope, receive, send)
            return
        scope, block = begun
        if self._echo is not None and scope["type"] == "http":
            send = _echoing(send, self._echo, block.request_id.encode())
        with block:
            await self.app(scope, receive, send)

    def _begin(self, scope: Scope) -> tuple[Scope, RequestBlock] | None:
        """The scope to hand on, and the request's context; None: it goes on without."""
        if _MARK in scope:
            return None
        try:
            inner = dict(scope)
            # There from the start, so that copies of the scope further in share it with this one.
            inner.setdefault("state", {})
            headers = scope.get("headers") or ()
            block = self._reader.read(inner, lambda name: _values(headers, name))
        except Exception as error:  # a server's oddity must not cost a request
            _log.warning("a request goes on without its context: %s", type(error).__name__)
            return None
        inner[_MARK] = block.request_id
        return inner, block


def _values(headers: Any, name: str) -> Sequence[bytes]:
    wanted = name.encode()
    return [bytes(value) for key, value in headers if bytes(key).lower() == wanted]


def _echoing(send: Send, name: bytes, request_id: bytes) -> Send:
    """Adds the header to the start of the response, unless the application set it itself."""

    async def send_with_id(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            headers = list(message.get("headers") or ())
            if not any(bytes(key).lower() == name for key, _ in headers):
                message = {**message, "headers": [*headers, (name, request_id)]}
        await send(message)

    return send_with_id
