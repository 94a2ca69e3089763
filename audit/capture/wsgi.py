"""WSGI middleware: who asks, request id and trace id, in every event that a request causes.

Plain protocol (PEP 3333), so for Flask, Django and every other WSGI application. A server's thread
handles one request after the other: so each request runs in a copy of the context, its streamed
body included, and nothing of it stays behind in the thread.
"""

import contextvars
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from audit.capture.request import REQUEST_ID_HEADER, ActorOf, RequestReader

App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

_MARK = "attestory.request_id"
"""In the environ of a request that has its context: of two middlewares the outer one decides."""

_log = logging.getLogger("audit.capture")


class WsgiMiddleware:
    """``app.wsgi_app = audit.WsgiMiddleware(app.wsgi_app, actor=lambda environ: ...)``.

    `actor`: a function of the environ. It is asked when an event is emitted, until it says
    somebody: so it may look at what the application finds out later (`audit.identify` says it
    outright). `actor_header` instead: a header that the proxy in front sets, and removes from what
    clients send; trust it only then. (A WSGI server may have joined several into one, with commas.)
    `request_id_header` None: every request gets a new id. `echo`: the answer says the request id in
    the same header. Raises InvalidInput.

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
        self._echo = (request_id_header or REQUEST_ID_HEADER) if echo else None

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """Handle a request inside its context."""
        if _MARK in environ:
            return self.app(environ, start_response)
        context = contextvars.copy_context()
        if not context.run(self._begin, environ):
            return self.app(environ, start_response)
        if self._echo is not None:
            start_response = _echoing(start_response, self._echo, environ[_MARK])
        body = context.run(self.app, environ, start_response)
        wrapper = environ.get("wsgi.file_wrapper")
        is_file = isinstance(wrapper, type) and isinstance(body, wrapper)
        # Nothing is computed in these; as they are, the server knows their length or sends a file.
        return body if is_file or isinstance(body, (list, tuple)) else _Body(body, context)

    def _begin(self, environ: dict[str, Any]) -> bool:
        """Enter the request's context, in its copy, for good; False: it goes on without."""
        try:
            block = self._reader.read(environ, lambda name: _values(environ, name))
        except Exception as error:  # a server's oddity must not cost a request
            _log.warning("a request goes on without its context: %s", type(error).__name__)
            return False
        block.__enter__()
        environ[_MARK] = block.request_id
        return True


class _Body:
    """A body that is made while it is sent: each piece of it inside the request's context."""

    def __init__(self, body: Iterable[bytes], context: contextvars.Context) -> None:
        self._body = body
        self._context = context
        self._pieces: Iterator[bytes] | None = None

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._pieces is None:
            self._pieces = self._context.run(iter, self._body)
        return self._context.run(next, self._pieces)

    def close(self) -> None:
        """Tell the application's body, if it wants to know (PEP 3333)."""
        close = getattr(self._body, "close", None)
        if close is not None:
            self._context.run(close)


def _values(environ: dict[str, Any], name: str) -> Sequence[bytes]:
    value = environ.get("HTTP_" + name.upper().replace("-", "_"))
    return [] if value is None else [value.encode("latin-1")]


def _echoing(start_response: Callable[..., Any], name: str, request_id: str) -> Callable[..., Any]:
    """Adds the header to the response, unless the application set it itself."""

    def start(status: str, headers: list[tuple[str, str]], *error: Any) -> Any:
        if not any(key.lower() == name.lower() for key, _ in headers):
            headers = [*headers, (name, request_id)]
        return start_response(status, headers, *error)

    return start
