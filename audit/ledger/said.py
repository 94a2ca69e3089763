"""An event in a few words: what it is about, its kind, what it says."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from audit.errors import InvalidInput
from audit.event.row import Change
from audit.event.times import format_time
from audit.event.types import SCHEMA
from audit.event.values import Value
from audit.replay.query import sort_of
from audit.replay.rows_out import plain_text

if TYPE_CHECKING:
    from audit.ledger.facade import Ledger
    from audit.log.record import Record

MAX_SUMMARY_CHARS = 200

EVENT_COLUMNS = (
    *("log", "index", "recorded_time", "event_id", "type", "source", "entity_type", "entity_key"),
    *("valid_time", "actor", "reason", "transaction_id", "supersedes"),
    *("image", "before", "after", "data"),
)
"""Of an event's JSON, what a table of events has."""


def json_cell(value: Any) -> Any:
    """A value in JSON's form as a cell of a table: what is nested as JSON text."""
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    return value


def when(time_us: int) -> str:
    """A time for people: to the second, UTC."""
    return format_time(time_us)[:19].replace("T", " ")


def what(record: "Record") -> str:
    """What the event is about."""
    event = record.event
    if event is None or event.entity_type is None:
        return ""
    return event.entity_type + ("" if event.entity_key is None else f"/{event.entity_key}")


def kind(record: "Record") -> str:
    """Its type; for what has none, what it is."""
    return sort_of(record) if record.event is None else record.event.type


def place(ledger: "Ledger", record: "Record") -> str:
    """The index; with several logs LOG/INDEX, which is what `audit show` takes."""
    return str(record.index) if ledger.single else f"{record.log}/{record.index}"


def summary(ledger: "Ledger", record: "Record") -> str:
    """What the event says, in a few words: the fields it sets."""
    if record.event is None:
        return record.entry.reason or ""
    try:
        said = ledger.content(record)
    except InvalidInput as error:
        return f"undecodable: {error}"
    if record.event.type == SCHEMA:
        return _schema_name(said)
    if not isinstance(said, Change):
        return _fields(said)
    if said.after is not None:
        return ("= " if said.image == "full" and kind(record) == "data.update" else "") + _fields(
            said.after
        )
    return ""


def _schema_name(said: Any) -> str:
    schema = said.get("schema") if isinstance(said, dict) else None
    return str(schema.get("name", "")) if isinstance(schema, dict) else ""


def _fields(fields: Mapping[str, Value]) -> str:
    text = ", ".join(f"{name}={plain_text(value)}" for name, value in fields.items())
    return text[:MAX_SUMMARY_CHARS]
