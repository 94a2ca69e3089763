"""Who is acting and why, for every event emitted inside a block.

The context lives in a context variable (PEP 567): an asyncio task inherits a copy of its creator's,
tasks do not see each other's changes, and a new thread begins with an empty one (run its function
through `contextvars.copy_context().run` to hand the context on).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import date, datetime
from enum import Enum
from typing import Final, Literal, NamedTuple

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


def current() -> Context:
    """The context of the running task or thread."""
    return _context.get()


@contextmanager
def context(
    *,
    actor: Text = INHERIT,
    reason: Text = INHERIT,
    transaction: Text = INHERIT,
    transaction_id: Text = INHERIT,
    request_id: Text = INHERIT,
    trace_id: Text = INHERIT,
    valid_time: ValidTime | Literal[_Inherit.INHERIT] | None = INHERIT,
) -> Iterator[Context]:
    """Fill these into all events emitted inside the block, unless a call says otherwise.

    Blocks nest: what an inner one does not give is inherited, None takes it back. `valid_time` is
    an aware datetime, a date (00:00 UTC) or RFC 3339 text. Raises InvalidInput, LimitExceeded on
    entering. `transaction_id` is another name of `transaction`. As a decorator
    (`@audit.context(actor="nightly")`) it holds during each call of a plain function.

    The block that first names a `request_id` notes the time: predictions in it, and in blocks
    inside it, were all asked at that moment.
    """
    outer = _context.get()
    given = {
        "actor": actor,
        "reason": reason,
        "transaction": one_transaction(transaction, transaction_id),
        "request_id": request_id,
        "trace_id": trace_id,
    }
    changes: dict[str, str | int | None] = {
        name: _checked(name, text) for name, text in given.items() if text is not INHERIT
    }
    if valid_time is not INHERIT:
        changes["valid_time_us"] = None if valid_time is None else valid_time_us(valid_time)
    if "request_id" in changes and changes["request_id"] != outer.request_id:
        changes["request_us"] = None if changes["request_id"] is None else clock_us()
    inner = outer._replace(**changes)  # type: ignore[arg-type]  # checked above
    token = _context.set(inner)
    try:
        yield inner
    finally:
        _context.reset(token)


def one_transaction(transaction: Text, transaction_id: Text) -> Text:
    """What was given under either name. Raises InvalidInput when both are, and differ."""
    if transaction is INHERIT:
        return transaction_id
    if transaction_id is not INHERIT and transaction_id != transaction:
        raise InvalidInput("transaction and transaction_id are one thing: give one of them")
    return transaction


def _checked(name: str, text: object) -> str | None:
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
