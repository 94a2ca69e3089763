"""Who is acting and why, for every event emitted inside a block.

The context lives in a context variable (PEP 567): an asyncio task inherits a copy of its creator's,
tasks do not see each other's changes, and a new thread begins with an empty one (run its function
through `contextvars.copy_context().run` to hand the context on; `asyncio.to_thread` does).
"""

import functools
import inspect
from collections.abc import Callable
from contextvars import ContextVar, Token
from datetime import date, datetime
from enum import Enum
from typing import Any, Final, Literal, NamedTuple, TypeVar, cast

from audit.errors import InvalidInput, LimitExceeded
from audit.event.times import days_of_date, parse_date, parse_rfc3339, us_of_time
from audit.store import clock_us

MAX_CONTEXT_TEXT_BYTES = 4_096
"""Longest actor, reason, transaction, request id and trace id, in UTF-8."""

_DAY_US = 86_400_000_000
_DATE_CHARS = len("2026-01-31")

ValidTime = datetime | date | str
"""An aware datetime, a date (its 00:00 UTC), or either as RFC 3339 text."""


class _Inherit(Enum):
    """The type of INHERIT, so that a type checker knows it."""

    INHERIT = "inherit"


INHERIT: Final = _Inherit.INHERIT
"""Stands for an option that was not given; None means "nobody", "no reason" and so on."""

Text = str | Literal[_Inherit.INHERIT] | None


class Context(NamedTuple):
    """What is filled into an event that does not say otherwise.

    `valid_time_us` is since the epoch; so is `request_us`: when the request began, noted once for
    all that answers it.
    """

    actor: str | None = None
    reason: str | None = None
    transaction: str | None = None
    request_id: str | None = None
    trace_id: str | None = None
    valid_time_us: int | None = None
    request_us: int | None = None


_EMPTY = Context()
_context: ContextVar[Context] = ContextVar("audit_context", default=_EMPTY)

F = TypeVar("F", bound=Callable[..., Any])


class LateActor(str):
    """Stands for an actor who is found out while a request is handled, and is asked for then.

    The same object is in all contexts that were copied from the request's: what one task or thread
    of it finds out, all of them know.
    """

    ask: Callable[[], str | None]


def current() -> Context:
    """The context of the running task or thread."""
    return _settled(_context.get())


def _settled(found: Context) -> Context:
    actor = found.actor
    return found._replace(actor=actor.ask()) if type(actor) is LateActor else found


class ContextBlock:
    """What `context` returns: enter it with `with`, or decorate a function with it."""

    def __init__(self, changes: dict[str, Any]) -> None:
        """`changes`: fields of `Context`, checked."""
        self._changes = changes
        self._entered: list[tuple[Token[Context], Context, Context]] = []

    def __enter__(self) -> Context:
        """The context inside the block."""
        outer = _context.get()
        changes = self._changes
        if "request_id" in changes and changes["request_id"] != outer.request_id:
            began_us = None if changes["request_id"] is None else clock_us()
            changes = {**changes, "request_us": began_us}
        inner = outer._replace(**changes)
        self._entered.append((_context.set(inner), outer, inner))
        # One that was given just now is asked for by the first event, and not before.
        return inner if "actor" in changes else _settled(inner)

    def __exit__(self, *raised: object) -> None:
        """Go back to the context outside."""
        token, outer, inner = self._entered.pop()
        try:
            _context.reset(token)
        except ValueError:
            # Left in another copy of the context than it was entered in, as frameworks do that run
            # both halves of a generator in threads of a pool.
            if _context.get() is inner:
                _context.set(outer)

    def __call__(self, function: F) -> F:
        """A function during whose calls the context holds; coroutine functions too."""
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise InvalidInput(
                f"{function.__name__} is a generator, which runs after its call: "
                "write `with audit.context(...)` inside it"
            )
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def wait_inside(*args: Any, **kwargs: Any) -> Any:
                with ContextBlock(self._changes):
                    return await function(*args, **kwargs)

            return cast(F, wait_inside)

        @functools.wraps(function)
        def call_inside(*args: Any, **kwargs: Any) -> Any:
            with ContextBlock(self._changes):
                return function(*args, **kwargs)

        return cast(F, call_inside)


def context(
    *,
    actor: Text = INHERIT,
    reason: Text = INHERIT,
    transaction: Text = INHERIT,
    transaction_id: Text = INHERIT,
    request_id: Text = INHERIT,
    trace_id: Text = INHERIT,
    valid_time: ValidTime | Literal[_Inherit.INHERIT] | None = INHERIT,
) -> ContextBlock:
    """Fill these into all events emitted inside the block, unless a call says otherwise.

    Blocks nest: what an inner one does not give is inherited, None takes it back. `valid_time` is
    an aware datetime, a date (00:00 UTC) or RFC 3339 text. Raises InvalidInput, LimitExceeded.
    `transaction_id` is another name of `transaction`. As a decorator
    (`@audit.context(actor="nightly")`) it holds during each call of a function, or coroutine
    function.

    The block that first names a `request_id` notes the time: predictions in it, and in blocks
    inside it, were all asked at that moment.
    """
    given = {
        "actor": actor,
        "reason": reason,
        "transaction": one_transaction(transaction, transaction_id),
        "request_id": request_id,
        "trace_id": trace_id,
    }
    changes: dict[str, Any] = {
        name: checked_text(name, text) for name, text in given.items() if text is not INHERIT
    }
    if valid_time is not INHERIT:
        changes["valid_time_us"] = None if valid_time is None else valid_time_us(valid_time)
    return ContextBlock(changes)


def one_transaction(transaction: Text, transaction_id: Text) -> Text:
    """What was given under either name. Raises InvalidInput when both are, and differ."""
    if transaction is INHERIT:
        return transaction_id
    if transaction_id is not INHERIT and transaction_id != transaction:
        raise InvalidInput("transaction and transaction_id are one thing: give one of them")
    return transaction


def checked_text(name: str, text: object) -> str | None:
    """A text of a context, as it is. Raises InvalidInput, LimitExceeded."""
    if text is None:
        return None
    if not isinstance(text, str):
        raise InvalidInput(f"{name} is a text, not {type(text).__name__}")
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise InvalidInput(f"{name} holds a lone surrogate, which UTF-8 cannot spell") from None
    if size > MAX_CONTEXT_TEXT_BYTES:
        raise LimitExceeded(f"{name} of {size} bytes is over {MAX_CONTEXT_TEXT_BYTES}")
    return text


def valid_time_us(value: ValidTime) -> int:
    """Microseconds since the epoch of a valid time.

    Raises InvalidInput for a naive datetime, anything finer than a microsecond, and other types.
    """
    if isinstance(value, str):
        if len(value) == _DATE_CHARS:
            return days_of_date(parse_date(value)) * _DAY_US
        return parse_rfc3339(value)
    if isinstance(value, datetime):  # pandas' Timestamp is one, and has nanoseconds
        if value != value:  # NaT is a datetime to isinstance
            raise InvalidInput("NaT is no valid time; give None where there is none")
        if getattr(value, "nanosecond", 0):
            raise InvalidInput(f"valid time {value} is finer than a microsecond: refused")
        return us_of_time(value)
    if isinstance(value, date):
        return days_of_date(value) * _DAY_US
    raise InvalidInput(
        f"a valid time is an aware datetime, a date or RFC 3339 text, not {type(value).__name__}"
    )
