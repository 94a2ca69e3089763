"""`audit show`: one thing - an entry with all that is known of it, or a row."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from audit.cli.options import (
    as_of_option,
    json_option,
    policy_option,
    session_argument,
    store_option,
)
from audit.cli.outcome import FINDINGS
from audit.cli.output import write, write_block, write_json
from audit.cli.session import Session
from audit.errors import InvalidInput, NotFound
from audit.event.row import Change
from audit.event.times import format_time
from audit.event.types import SCHEMA
from audit.ledger.harmless import harmless
from audit.ledger.said import kind, summary
from audit.replay.refs import RECORD_WORDS, Ref, parse_ref
from audit.replay.rows_out import plain_text

if TYPE_CHECKING:
    from audit.ledger import Ledger
    from audit.ledger.cards import Card
    from audit.log.record import Record
    from audit.verify.signed_by import SignedBy

_ENVELOPE = {
    "actor": "ACTOR",
    "reason": "REASON",
    "transaction_id": "TRANSACTION",
    "supersedes": "SUPERSEDES",
    "request_id": "REQUEST",
    "trace_id": "TRACE",
    "subject": "SUBJECT",
    "producer_id": "PRODUCER ID",
    "producer_sequence": "SEQUENCE",
}


@click.command()
@click.argument("what", metavar="REF|POSITION")
@click.option("--count", is_flag=True, help="model/...: count its predictions; reads them all.")
@as_of_option
@policy_option
@store_option
@json_option
@session_argument
def show(
    session: Session,
    what: str,
    count: bool,
    as_of: str | None,
    policy: str | None,
    store: str,
    as_json: bool,
) -> None:
    """One entry: its event, its position, its hashes, who signed it, and what that leaves open.

    POSITION: an index, HEAD, HEAD~3, sha256:HEX, an event id. REF, such as user/5: the newest entry
    about it. prediction/ID, run/ID, model/NAME@V, dataset/NAME@V and dataset/features/NAME@V have a
    card besides: all that is known of it. Exit 1 when a signature does not hold.

    \b
    audit show model/credit-risk@3      # how it was trained: data, code, libraries, parameters
    audit show run/018f...              # why it failed: the error with its traceback
    """
    ledger = session.ledger(store)
    record = _find(ledger, what, as_of)
    card = _card(ledger, what, record, as_of)
    predictions = _count(ledger, card, as_of) if count else None
    signed = ledger.who_signed(record, ledger.policy_file(policy))
    if any(one.status == "INVALID" for one in (signed.producer, signed.log, signed.witnesses)):
        session.exit_code = FINDINGS
    if as_json:
        said = _json(ledger, record, signed)
        if card is not None:
            counted = {} if predictions is None else {"predictions": predictions}
            said["card"] = {**card.to_json(), **counted}
        write_json(said)
        return
    if card is not None:
        from audit.ledger.cards import pairs_of

        write_block(pairs_of(card))
        if predictions is not None:
            write_block([("PREDICTIONS", f"{predictions:,}")])
        write("\n")
    write_block(_pairs(ledger, record, whole=card is None))
    write("\n")
    for line in signed.lines():
        write(harmless(line) + "\n")


def _find(ledger: "Ledger", what: str, as_of: str | None) -> "Record":
    """The entry that is meant: a REF's newest by the point, or the one at a POSITION."""
    word, slash, key = what.partition("/")
    if slash and word == "prediction":
        found = ledger.prediction_record(key, as_of)
        if found is not None:
            return found
    if slash and word == "model" and "@" not in key:
        from audit.lineage.recorded.model_card import model_card

        return model_card(ledger.reader, key, ledger.cut(as_of)).record
    if slash and (word in RECORD_WORDS or word in ledger.datasets()):
        return _newest(ledger, parse_ref(what), as_of)
    if as_of is not None:
        raise InvalidInput("--as-of goes with a REF such as user/5; a position is an entry already")
    return ledger.entry(what)


def _newest(ledger: "Ledger", ref: Ref, as_of: str | None) -> "Record":
    versions = ledger.history(ref, as_of)
    if not versions:
        raise NotFound(f"nothing of {ref} was recorded by {as_of}")
    return ledger.entry(f"{versions[-1].log}/{versions[-1].index}")


def _card(ledger: "Ledger", what: str, record: "Record", as_of: str | None) -> "Card | None":
    """The card of what a REF names; a POSITION asks for the entry alone."""
    if what.partition("/")[0] not in RECORD_WORDS:
        return None
    from audit.ledger.cards import card_of

    return card_of(ledger, record, as_of)


def _count(ledger: "Ledger", card: "Card | None", as_of: str | None) -> int:
    """How many predictions a model version made: a walk through all of them."""
    from audit.lineage.recorded.model_card import ModelCard, count_predictions

    if not isinstance(card, ModelCard):
        raise click.UsageError("--count goes with model/NAME@VERSION")
    return count_predictions(ledger.reader, card, ledger.cut(as_of))


def _pairs(ledger: "Ledger", record: "Record", whole: bool = True) -> Iterator[tuple[str, str]]:
    """The lines of an entry; all that its event says with `whole` only, as a card has it too."""
    entry, event = record.entry, record.event
    yield "ENTRY", f"{record.log}/{record.index} of {ledger.origin(record.log)}"
    yield "RECORDED", format_time(record.recorded_time_us)
    if entry.source is not None:
        yield "FROM", f"{entry.source.topic}/{entry.source.partition} offset {entry.source.offset}"
    if event is None:
        yield "QUARANTINED", entry.reason or ""
        place = f"{record.index}" if ledger.single else f"{record.log}/{record.index}"
        yield "BYTES", f"{len(entry.event)}, shown by `audit quarantine show {place}`"
    else:
        yield "EVENT", f"{kind(record)} {event.event_id}"
        yield "SOURCE", event.source
        if event.entity_type is not None:
            key = "" if event.entity_key is None else f"/{event.entity_key}"
            yield "ABOUT", event.entity_type + key
        if event.valid_time_us is not None:
            yield "VALID FROM", format_time(event.valid_time_us)
        for name, label in _ENVELOPE.items():
            value = getattr(event, name)
            if value is not None:
                yield label, str(value)
        if whole:
            yield from _said(ledger, record)
    yield "", ""
    yield "LEAF HASH", record.leaf_hash.hex()
    yield "PREVIOUS", entry.prev_hash.hex()
    if entry.schema_hash is not None:
        yield "SCHEMA", entry.schema_hash.hex()
    yield "LEAF", f"{len(record.leaf):,} bytes"


def _said(ledger: "Ledger", record: "Record") -> Iterator[tuple[str, str]]:
    """What the event says: a label for the first line only."""
    try:
        said = ledger.content(record)
    except InvalidInput as error:
        yield "UNDECODABLE", str(error)
        return
    if record.event is not None and record.event.type == SCHEMA:
        yield "DATA", f"schema {summary(ledger, record)}"
    elif not isinstance(said, Change):
        yield from _fields("DATA", said)
    else:
        if said.before is not None:
            yield from _fields("BEFORE", said.before)
        if said.after is not None:
            yield from _fields("AFTER (ALL)" if said.image == "full" else "AFTER", said.after)


def _fields(label: str, fields: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in fields.items():
        yield label, f"{name} = {plain_text(value)}"
        label = ""
    if label:
        yield label, "(no fields)"


def _json(ledger: "Ledger", record: "Record", signed: "SignedBy") -> dict[str, Any]:
    """The event in the form of INTERFACE, and under names of their own all that is around it."""
    entry = record.entry
    return {
        **ledger.event_json(record),
        "origin": ledger.origin(record.log),
        "prev_hash": entry.prev_hash.hex(),
        "schema_hash": None if entry.schema_hash is None else entry.schema_hash.hex(),
        "leaf_bytes": len(record.leaf),
        "signed_by": signed.to_json(),
    }
