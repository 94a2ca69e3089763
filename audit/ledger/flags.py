"""Flagging things as wrong, and taking it back: review events, sealed in log 0 of the store.

They go past the bus, as all that a command says about a ledger: with Kafka too they are in the log
when the call returns. The same flag twice is one event
(`audit.lineage.recorded.reviews.flag_event`).
"""

import time
from typing import TYPE_CHECKING, NamedTuple

from audit.errors import InvalidInput, NotFound
from audit.ledger.appending import append_built
from audit.lineage.recorded.predictions import PREDICTION_ENTITY
from audit.lineage.recorded.reviews import (
    FLAG,
    UNFLAG,
    Flagged,
    Review,
    find_reviews,
    flag_event,
    review_of,
    standing_flags,
)
from audit.log.record import Record
from audit.replay.books import Books
from audit.replay.points import Cut
from audit.replay.refs import parse_ref
from audit.store.contract import Status

if TYPE_CHECKING:
    from audit.ledger.facade import Ledger

_REVIEWS = "type:review entity:review"
SOURCE = "cli"
"""The application that says it, as for `audit emit`."""


PAGE_RECORDS = 25
"""Records that are searched for at once for a page of flagged things."""


class FlaggedPage(NamedTuple):
    """Some flagged things, the newest first, and the token of what follows; None at the end.

    `stopped`: the time was over before the page was full: `next` goes on from there.
    """

    flagged: list[Flagged]
    next: str | None
    stopped: bool


def flagged_page(
    ledger: "Ledger", cut: Cut, *, after: str | None, limit: int, within_s: float
) -> FlaggedPage:
    """About `limit` of what is flagged: each thing at the oldest of its flags that still stand.

    `after`: the token of the page before. `within_s`: so long it is searched. Raises InvalidInput.
    """
    books, until = Books(ledger.reader, cut), time.monotonic() + within_s
    found: list[Flagged] = []
    while True:
        left_s = until - time.monotonic()
        page = ledger.page(_REVIEWS, cut, after=after, limit=PAGE_RECORDS, within_s=left_s)
        with ledger.reader.steady():
            things = [_flagged_at(ledger, books, cut, record) for record in page.records]
        found += [thing for thing in things if thing is not None]
        after = page.next
        stopped = page.stopped or time.monotonic() >= until
        if after is None or stopped or len(found) >= limit:
            return FlaggedPage(found, after, stopped and after is not None and len(found) < limit)


def _flagged_at(ledger: "Ledger", books: Books, cut: Cut, record: Record) -> Flagged | None:
    """The thing that a record flags, where that is the oldest of its flags that stand."""
    one = review_of(books, record)
    if one is None or one.kind != FLAG:
        return None
    flags = standing_flags(find_reviews(ledger.reader, cut, one.ref))
    if not flags or (flags[0].record.log, flags[0].record.index) != (record.log, record.index):
        return None
    return Flagged(one.ref, tuple(flags))


class Said(NamedTuple):
    """What became of a flag: its entry. `new`: it was not there before. `remark`: for the user."""

    ref: str
    event_id: str
    log: int
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    new: bool
    remark: str | None = None


def flag(ledger: "Ledger", ref: str, message: str, actor: str | None = None) -> Said:
    """Flag a thing as wrong. Raises NotFound when nothing is recorded of it."""
    if not message.strip():
        raise InvalidInput("say in a few words what is wrong with it")
    ref = known_ref(ledger, ref)
    before = find_reviews(ledger.reader, ledger.cut(), ref)
    for one in standing_flags(before):
        if (one.message, one.actor) == (message, actor):
            return _there(one)
    return _append(ledger, FLAG, ref, message, actor, before)


def unflag(
    ledger: "Ledger", ref: str, message: str | None = None, actor: str | None = None
) -> Said:
    """Take all flags of a thing back. Raises NotFound when it never was flagged."""
    ref = known_ref(ledger, ref)
    before = find_reviews(ledger.reader, ledger.cut(), ref)
    if not standing_flags(before):
        last = next((one for one in reversed(before) if one.kind == UNFLAG), None)
        if last is None:
            raise NotFound(f"{ref} is not flagged")
        return _there(last)
    return _append(ledger, UNFLAG, ref, message, actor, before)


def known_ref(ledger: "Ledger", ref: str) -> str:
    """The REF as reviews spell it, of a thing that is recorded. Raises NotFound, InvalidInput.

    A prediction is spelled by its event id, with the source before it only where two have that id.
    """
    word, slash, key = ref.partition("/")
    if not slash:
        raise InvalidInput(f"{ref!r:.80} is no REF; write prediction/ID, run/ID, user/5 ...")
    if word == PREDICTION_ENTITY:
        record = ledger.prediction_record(key)
        if record is None or record.event is None:
            raise NotFound(f"there is no prediction {key!r:.140} in {ledger.reader.address}")
        event_id = record.event.event_id
        single = len(ledger.reader.find_event(event_id)) == 1
        return f"{word}/{event_id}" if single else f"{word}/{record.event.source}:{event_id}"
    parsed = parse_ref(ref)
    if not ledger.history(parsed):
        raise NotFound(f"nothing is recorded of {parsed}")
    return str(parsed)


def _there(review: Review) -> Said:
    record = review.record
    assert record.event is not None
    return Said(review.ref, record.event.event_id, record.log, record.index, False)


def _append(
    ledger: "Ledger",
    kind: str,
    ref: str,
    message: str | None,
    actor: str | None,
    before: list[Review],
) -> Said:
    built = flag_event(kind, ref, message, actor, SOURCE, before)
    outcomes, remark = append_built(ledger.url, [built])
    outcome = outcomes[0]
    if outcome.status in (Status.CONFLICT, Status.QUARANTINED):
        raise InvalidInput(
            f"another event has the id {built.event.event_id} of this {kind.lower()}: it was put "
            "into quarantine\nsee `audit quarantine list`"
        )
    new = outcome.status is Status.SEALED
    return Said(ref, built.event.event_id, outcome.log, outcome.index, new, remark)
