"""One event: what it changed, why, what else happened with it, and its proof."""

from itertools import islice
from typing import Any

from audit.errors import AuditError, InvalidInput
from audit.event.row import Change
from audit.event.times import format_time
from audit.event.values import Value, fields_to_json
from audit.ledger import Ledger
from audit.ledger.said import kind, summary, what
from audit.log.record import Record
from audit.replay.fold import fold
from audit.replay.points import Cut
from audit.replay.steps import Steps
from audit.web.answer import Answer, Asked, Parameter, Screen
from audit.web.query_text import term
from audit.web.receipts import digest_of

SIBLINGS = 50
"""Events of the same transaction, or request, that are shown."""
_CONTEXT = (
    *("event_id", "source", "actor", "reason", "transaction_id", "request_id", "trace_id"),
    *("supersedes", "subject", "producer_id", "producer_sequence"),
)


def _answer(asked: Asked) -> Answer:
    ledger = asked.ledger
    record = ledger.entry(asked.needed("at"))
    place = f"{record.log}/{record.index}"
    changes = _changes(ledger, record)
    siblings, more = _siblings(ledger, record, asked.cut)
    signed = ledger.who_signed(record, asked.policy)
    receipt, unproven = _receipt(ledger, record)
    data = {
        "event": ledger.event_json(record),
        "changes": [_json_of(one) for one in changes],
        "hashes": _hashes(record),
        "signed": signed.to_json(),
        "siblings": [ledger.event_json(one) for one in siblings],
        "siblings_query": _siblings_query(record),
        "receipt": receipt,
        "unproven": unproven,
    }
    event = record.event
    view = {
        "record": record,
        "kind": kind(record),
        "what": what(record),
        "summary": summary(ledger, record),
        "context": [] if event is None else _context(event),
        "valid_us": None if event is None else event.valid_time_us,
        "cells": changes,
        "rows": [(one, kind(one), what(one), summary(ledger, one)) for one in siblings],
        "more_siblings": more,
        "vkey": next(i.vkey for i in ledger.reader.logs() if i.log == record.log),
        "entry_schema": digest_of("entry.v1"),
        "before": _neighbour(asked, record, -1),
        "after": _neighbour(asked, record, 1),
    }
    command = ("audit", "show", place)
    return Answer(f"Entry {place}", data, view, command)


def _neighbour(asked: Asked, record: Record, step: int) -> int | None:
    at = record.index + step
    return at if 0 <= at < asked.ledger.reader.size(record.log) else None


def _context(event: Any) -> list[tuple[str, Any]]:
    found = [(name.replace("_", " "), getattr(event, name)) for name in _CONTEXT]
    return [(name, value) for name, value in found if value is not None]


def _hashes(record: Record) -> dict[str, Any]:
    entry = record.entry
    source = entry.source
    return {
        "leaf_hash": record.leaf_hash.hex(),
        "prev_hash": entry.prev_hash.hex(),
        "schema_hash": None if entry.schema_hash is None else entry.schema_hash.hex(),
        "leaf_bytes": len(record.leaf),
        "from": None if source is None else f"{source.topic}/{source.partition}/{source.offset}",
        "recorded_time": format_time(record.recorded_time_us),
    }


def _changes(ledger: Ledger, record: Record) -> list[tuple[str, str, Value, Value]]:
    """(field, added | removed | changed | same, before, after) of a change of one row.

    `before` is what the log itself says: the row just before this entry.
    """
    event = record.event
    if event is None or event.entity_type is None or event.entity_key is None:
        return []
    try:
        said = ledger.content(record)
        if not isinstance(said, Change):
            return []
        before, after = _row_around(ledger, record)
    except InvalidInput:
        return []
    names = sorted({*before, *after})
    return [(name, *_cell(before, after, name)) for name in names]


def _row_around(ledger: Ledger, record: Record) -> tuple[dict[str, Value], dict[str, Value]]:
    """The row before an entry and after it."""
    place = f"{record.log}/{record.index}"
    assert record.event is not None
    assert record.event.entity_key is not None
    with ledger.reader.steady():
        cut = ledger.cut(place)
        steps = Steps(ledger.reader, record.event.entity_type or "", cut)
        found = steps.of_key(record.event.entity_key)
    earlier = [step for step in found if step.position != (record.log, record.index)]
    return dict(fold(earlier).row or {}), dict(fold(found).row or {})


_ABSENT = object()


def _cell(before: dict[str, Value], after: dict[str, Value], name: str) -> tuple[str, Value, Value]:
    old, new = before.get(name, _ABSENT), after.get(name, _ABSENT)
    if old is _ABSENT:
        return "added", None, after[name]
    if new is _ABSENT:
        return "removed", before[name], None
    same = type(old) is type(new) and (old == new or (old != old and new != new))
    return ("same" if same else "changed"), before[name], after[name]


def _json_of(change: tuple[str, str, Value, Value]) -> dict[str, Any]:
    name, state, before, after = change
    spelled = fields_to_json({"before": before, "after": after})
    return {"field": name, "change": state, **spelled}


def _siblings_query(record: Record) -> str | None:
    """The query of what happened together with an event; None where nothing says so."""
    event = record.event
    if event is None or event.transaction_id is None:
        return None
    return term("transaction", event.transaction_id)


def _siblings(ledger: Ledger, record: Record, cut: Cut) -> tuple[list[Record], bool]:
    query = _siblings_query(record)
    if query is None:
        return [], False
    found = ledger.events(query, cut)
    others = (one for one in found if (one.log, one.index) != (record.log, record.index))
    kept = list(islice(others, SIBLINGS + 1))
    return kept[:SIBLINGS], len(kept) > SIBLINGS


def _receipt(ledger: Ledger, record: Record) -> tuple[str | None, str | None]:
    """The receipt as text; or why there is none."""
    try:
        return ledger.prove(f"{record.log}/{record.index}").decode(), None
    except AuditError as error:
        return None, str(error)


EVENT = Screen(
    path="/event",
    template="event.html",
    about="One entry: its event, what it changed, its context, hashes, signatures and receipt.",
    answer=_answer,
    parameters=(
        Parameter(
            "at", "Its position: LOG/INDEX, sha256:HEX, an event id, HEAD~3.", True, example="0/42"
        ),
    ),
)
