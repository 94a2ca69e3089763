"""What every emitting call may say besides, and how it is joined with the context."""

from collections.abc import Callable
from datetime import date, datetime
from typing import Any, Final, TypedDict

from audit.capture.context import INHERIT, current, one_transaction, valid_time_us
from audit.errors import InvalidInput
from audit.event.build import new_event_id
from audit.event.times import format_time

Clock = Callable[[], int]
"""Gives microseconds since the epoch."""


class Options(TypedDict, total=False):
    """Options of one call; what it does not say comes from `audit.context`.

    `valid_time` is an aware datetime, a date (00:00 UTC) or RFC 3339 text; without one it is the
    moment of the call, and None means the time it is recorded. `supersedes` is the id of the event
    that this one corrects. `subject` says whose personal data it is. `transaction_id` is another
    name of `transaction`.
    """

    actor: str | None
    reason: str | None
    valid_time: datetime | date | str | None
    transaction: str | None
    transaction_id: str | None
    supersedes: str | None
    event_id: str | None
    subject: str | None
    source: str | None


_NAMES: Final = frozenset(Options.__annotations__)


def envelope(options: Options, source: str, clock: Clock) -> dict[str, Any]:
    """The arguments that builders of events take, from options, context and defaults.

    Raises InvalidInput for an unknown option and a valid time that is none.
    """
    context = current()
    valid_us = context.valid_time_us
    fields: dict[str, Any] = {
        "event_id": new_event_id(),
        "source": source,
        "valid_time_us": clock() if valid_us is None else valid_us,
        "actor": context.actor,
        "reason": context.reason,
        "transaction_id": context.transaction,
        "request_id": context.request_id,
        "trace_id": context.trace_id,
    }
    given: dict[str, Any] = dict(options)
    unknown = given.keys() - _NAMES
    if unknown:
        listed = ", ".join(sorted(_NAMES))
        raise InvalidInput(f"there is no option {', '.join(sorted(unknown))}; there are {listed}")
    for name in ("actor", "reason", "supersedes", "subject"):
        if name in given:
            fields[name] = given[name]
    transaction = one_transaction(
        given.get("transaction", INHERIT), given.get("transaction_id", INHERIT)
    )
    if transaction is not INHERIT:
        fields["transaction_id"] = transaction
    for name in ("event_id", "source"):
        if given.get(name) is not None:
            fields[name] = given[name]
    if "valid_time" in given:
        valid_time = given["valid_time"]
        fields["valid_time_us"] = None if valid_time is None else valid_time_us(valid_time)
    return fields


def json_defaults(clock: Clock) -> dict[str, Any]:
    """What the context and the clock say, as fields of an event's JSON form."""
    context = current()
    valid_us = clock() if context.valid_time_us is None else context.valid_time_us
    return {
        "valid_time": format_time(valid_us),
        "actor": context.actor,
        "reason": context.reason,
        "transaction_id": context.transaction,
        "request_id": context.request_id,
        "trace_id": context.trace_id,
    }
