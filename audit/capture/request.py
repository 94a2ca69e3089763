"""What is known of a web request: who asks, its id and its trace, for the events that it causes.

Everything here comes from outside. What is not as it should be is left out, with a line in the log,
and the request goes on.

    request id   the header X-Request-ID where it is one short word, else a new one
    trace id     of the header traceparent (W3C Trace Context, section 3.2)
    actor        a header that the proxy in front sets, or what a function of the application says
"""

import contextlib
import inspect
import logging
import re
from collections.abc import Callable, Sequence
from contextvars import ContextVar, Token
from typing import Any

from audit.capture.context import MAX_CONTEXT_TEXT_BYTES, ContextBlock, LateActor, checked_text
from audit.capture.context import context as context_block
from audit.errors import AuditError, InvalidInput
from audit.event.ids import new_event_id

REQUEST_ID_HEADER = "X-Request-ID"
MAX_REQUEST_ID_CHARS = 128
MAX_TRACEPARENT_BYTES = 512
"""Versions after 00 may say more than its 55 characters."""

ActorOf = Callable[[Any], str | int | None]
"""Who makes a request: gets the ASGI scope or the WSGI environ; None while it is not known."""

Headers = Callable[[str], Sequence[bytes]]
"""The values of a request's header, by its name in lower case."""

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._~:/+=@-]{1,%d}" % MAX_REQUEST_ID_CHARS)
_TRACEPARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?", re.S)
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}")

_log = logging.getLogger("audit.capture")
_late: ContextVar[LateActor | None] = ContextVar("audit_request_actor", default=None)


def identify(actor: str | None) -> None:
    """Say who makes the request that is being handled, once that is known.

    For all events of the request from now on, in whichever task or thread: call it where users are
    authenticated. A block of `audit.context(actor=...)` still says otherwise inside. Raises
    InvalidInput outside of a request that an audit middleware handles, LimitExceeded.
    """
    late = _late.get()
    if late is None:
        raise InvalidInput(
            "no request is being handled here: add the audit middleware to the application, or use "
            "audit.context(actor=...)"
        )
    told = checked_text("actor", actor)
    late.ask = lambda: told


class RequestReader:
    """Makes the context of one request after the other. Safe for threads."""

    def __init__(
        self, actor: ActorOf | None, actor_header: str | None, request_id_header: str | None
    ) -> None:
        """See the middlewares. Raises InvalidInput."""
        if actor is not None and actor_header is not None:
            raise InvalidInput("give actor or actor_header, not both: one of them decides")
        if actor is not None and (not callable(actor) or _is_async(actor)):
            raise InvalidInput(
                "actor is a plain function of the scope or environ: events are emitted in plain "
                "code too\nwhat needs waiting calls audit.identify(...) once it knows"
            )
        for name in (actor_header, request_id_header):
            if name is not None and not (isinstance(name, str) and _HEADER_NAME.fullmatch(name)):
                raise InvalidInput(f"{name!r:.80} is no name of a header")
        self._actor = actor
        self._actor_header = actor_header and actor_header.lower()
        self._id_header = request_id_header and request_id_header.lower()

    def read(self, place: Any, headers: Headers) -> "RequestBlock":
        """The block in which a request is handled."""
        request_id = None
        if self._id_header is not None:
            request_id = request_id_of(headers(self._id_header))
        if request_id is None:
            request_id = new_event_id()
        late = self._late_actor(place, headers)
        trace_id = trace_id_of(headers("traceparent"))
        block = context_block(actor=late, request_id=request_id, trace_id=trace_id)
        return RequestBlock(block, late, request_id)

    def _late_actor(self, place: Any, headers: Headers) -> LateActor:
        late = LateActor()
        if self._actor_header is not None:
            named = header_actor(self._actor_header, headers(self._actor_header))
            late.ask = lambda: named
        elif self._actor is not None:
            late.ask = _Question(self._actor, place)
        else:
            late.ask = _nobody
        return late


def _nobody() -> None:
    return None


def _is_async(function: Any) -> bool:
    call = type(function).__call__
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)


class RequestBlock:
    """The context of one request, entered with `with`. `request_id`: in its events, and answer."""

    def __init__(self, block: ContextBlock, late: LateActor, request_id: str) -> None:
        """Nothing is entered yet."""
        self.request_id = request_id
        self._block = block
        self._late = late
        self._token: Token[LateActor | None] | None = None

    def __enter__(self) -> None:
        """From here on events are the request's."""
        self._token = _late.set(self._late)
        self._block.__enter__()

    def __exit__(self, *raised: object) -> None:
        """The request was handled; the tasks that it started keep their copies of its context."""
        self._block.__exit__(*raised)
        token, self._token = self._token, None
        if token is not None:
            with contextlib.suppress(ValueError):  # left in a copy that ends now
                _late.reset(token)


class _Question:
    """Asks the application who makes a request, until it says somebody."""

    def __init__(self, actor: ActorOf, place: Any) -> None:
        self._actor = actor
        self._place = place
        self._found: str | None = None
        self._said = False

    def __call__(self) -> str | None:
        if self._found is None:
            try:
                found = self._actor(self._place)
                name = str(found) if type(found) is int else checked_text("actor", found)
            except Exception as error:  # the application's own: its events go on without an actor
                self._complain(error)
            else:
                self._found = name or None
        return self._found

    def _complain(self, error: Exception) -> None:
        if not self._said:
            self._said = True
            # Of others only the kind: what they say may be about somebody.
            why = str(error) if isinstance(error, AuditError) else type(error).__name__
            _log.warning("who makes a request is not known, its actor stays empty: %s", why)


def header_actor(header: str, values: Sequence[bytes]) -> str | None:
    """The name in a trusted header; None where there is none, several, or one that is too long."""
    if len(values) != 1:
        if values:
            _log.warning("%d headers %s: the actor of a request stays empty", len(values), header)
        return None
    raw = values[0].strip()
    if len(raw) > MAX_CONTEXT_TEXT_BYTES // 2:  # as Latin-1 it may be twice as long in UTF-8
        _log.warning("a header %s of %d bytes: the actor stays empty", header, len(raw))
        return None
    try:
        return raw.decode() or None
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def request_id_of(values: Sequence[bytes]) -> str | None:
    """The request id that the client or a proxy gave, where it is one short word; else None."""
    raw = values[0].strip() if len(values) == 1 else b""
    return raw.decode("ascii") if _REQUEST_ID.fullmatch(raw) else None


def trace_id_of(values: Sequence[bytes]) -> str | None:
    """The trace id of a traceparent: 32 hex digits; None where it is not valid."""
    raw = values[0].strip() if len(values) == 1 else b""
    match = _TRACEPARENT.fullmatch(raw) if len(raw) <= MAX_TRACEPARENT_BYTES else None
    if match is None:
        return None
    version, trace, span, more = match.groups()
    if version == b"ff" or (version == b"00" and more is not None):
        return None
    return trace.decode() if trace.strip(b"0") and span.strip(b"0") else None
