"""Flagging things as wrong, and taking it back: review events, sealed in log 0 of the store.

They go past the bus, as all that a command says about a ledger: with Kafka too they are in the log
when the call returns. The same flag twice is one event
(`audit.lineage.recorded.reviews.flag_event`).
"""

from typing import TYPE_CHECKING, NamedTuple

from audit.errors import InvalidInput, NotFound
from audit.ledger.appending import append_built
from audit.lineage.recorded.predictions import PREDICTION_ENTITY
from audit.lineage.recorded.reviews import (
    FLAG,
    UNFLAG,
    Review,
    find_reviews,
    flag_event,
    standing_flags,
)
from audit.replay.refs import parse_ref
from audit.store.contract import Status

if TYPE_CHECKING:
    from audit.ledger.facade import Ledger

SOURCE = "cli"
"""The application that says it, as for `audit emit`."""


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
