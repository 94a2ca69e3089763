"""Entries as rows of one table: a row an entry, the same columns in `audit sql` and in an export.

`valid_time` is what the producer claimed, null where he claimed none (then the recorded time
counts). `before`, `after` and `data` are JSON text in the spelling of `audit.event.values`.
`problem` says why a payload cannot be read; `quarantined` why the log did not accept an entry.
"""

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import pyarrow as pa

from audit.errors import InvalidInput, StoreCorrupt
from audit.event.row import Change
from audit.event.types import SCHEMA
from audit.event.valuejson import dumps_bytes
from audit.log.record import Record
from audit.replay.fold import DATA_PREFIX
from audit.replay.query import sort_of
from audit.store.contract import Located

Decode = Callable[[Record], Any]
"""Gives what a record's payload says; raises InvalidInput where it cannot be read."""

BATCH_ROWS = 20_000
"""Rows of one record batch: what is held in memory at once."""

TIME = pa.timestamp("us", "UTC")
EVENT_COLUMNS = pa.schema(
    [
        pa.field("index", pa.int64(), nullable=False),
        pa.field("recorded_time", TIME, nullable=False),
        pa.field("valid_time", TIME),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("type", pa.string()),
        pa.field("op", pa.string()),
        pa.field("source", pa.string()),
        pa.field("event_id", pa.string()),
        pa.field("entity_type", pa.string()),
        pa.field("entity_key", pa.string()),
        pa.field("actor", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("transaction_id", pa.string()),
        pa.field("supersedes", pa.string()),
        pa.field("request_id", pa.string()),
        pa.field("trace_id", pa.string()),
        pa.field("image", pa.string()),
        pa.field("before", pa.string()),
        pa.field("after", pa.string()),
        pa.field("data", pa.string()),
        pa.field("problem", pa.string()),
        pa.field("quarantined", pa.string()),
        pa.field("leaf_hash", pa.string(), nullable=False),
    ]
)
"""Every column but `log` (which is the partition of an export) and `leaf`, the exact bytes."""
LEAF_COLUMN = pa.field("leaf", pa.binary(), nullable=False)
LOG_COLUMN = pa.field("log", pa.int64(), nullable=False)

OF_SAID = frozenset(("image", "before", "after", "data", "problem"))
"""The columns that tell what payloads say."""
UNREAD = frozenset(("index", "log", "leaf"))
"""What needs no decoding; an index is what the reader counted, and every decoded leaf agrees."""
_OF_EVENT = {
    "type": "type",
    "source": "source",
    "event_id": "event_id",
    "entity_type": "entity_type",
    "entity_key": "entity_key",
    "actor": "actor",
    "reason": "reason",
    "transaction_id": "transaction_id",
    "supersedes": "supersedes",
    "request_id": "request_id",
    "trace_id": "trace_id",
}


def event_schema(columns: Collection[str] | None = None, leaf: bool = False) -> pa.Schema:
    """The table's schema with these columns (None: all), `leaf` at its end when it is asked for."""
    fields = [field for field in EVENT_COLUMNS if columns is None or field.name in columns]
    return pa.schema([*fields, LEAF_COLUMN] if leaf else fields)


def event_batch(records: Sequence[Record], decode: Decode, schema: pa.Schema) -> pa.RecordBatch:
    """Records as one batch with the columns of `schema` (those of `event_schema`, or `log`)."""
    names = set(schema.names)
    said = [said_of(record, decode) for record in records] if names & OF_SAID else []
    arrays = [_array(field, records, said) for field in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def bare_batches(
    log: int, located: Iterable[Located], schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    """Batches of BATCH_ROWS from what a reader found, with columns of UNREAD only."""
    stream = iter(located)
    while block := list(islice(stream, BATCH_ROWS)):
        yield _bare_batch(log, block, schema)


def _bare_batch(log: int, block: Sequence[Located], schema: pa.Schema) -> pa.RecordBatch:
    found = {
        "index": [located.index for located in block],
        "log": [log] * len(block),
        "leaf": [located.leaf for located in block],
    }
    arrays = [pa.array(found[field.name], field.type) for field in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _array(field: pa.Field, records: Sequence[Record], said: Sequence[dict[str, Any]]) -> pa.Array:
    name = field.name
    values: list[Any]
    if name in OF_SAID:
        values = [one.get(name) for one in said]
    elif name in _OF_EVENT:
        attribute = _OF_EVENT[name]
        values = [None if r.event is None else getattr(r.event, attribute) for r in records]
    else:
        values = [_OF_ENTRY[name](record) for record in records]
    try:
        return pa.array(values, field.type)
    except (pa.ArrowException, OverflowError, UnicodeError) as error:
        raise StoreCorrupt(f"the column {name} holds what no table can: {error}") from None


def _valid_us(record: Record) -> int | None:
    return None if record.event is None else record.event.valid_time_us


def op_of(record: Record) -> str | None:
    """create, update, delete, truncate; None for what is no change of data."""
    event = record.event
    if event is None or sort_of(record) != "event" or not event.type.startswith(DATA_PREFIX):
        return None
    return event.type[len(DATA_PREFIX) :]


_OF_ENTRY: dict[str, Callable[[Record], Any]] = {
    "index": lambda record: record.index,
    "log": lambda record: record.log,
    "recorded_time": lambda record: record.entry.recorded_time_us,
    "valid_time": _valid_us,
    "kind": sort_of,
    "op": op_of,
    "quarantined": lambda record: record.entry.reason if record.event is None else None,
    "leaf_hash": lambda record: record.leaf_hash.hex(),
    "leaf": lambda record: record.leaf,
}


def said_of(record: Record, decode: Decode) -> dict[str, Any]:
    """The columns OF_SAID of one record; those that are not there are null."""
    if record.event is None:
        return {}
    try:
        said = decode(record)
        if isinstance(said, Change):
            return {
                "image": said.image,
                "before": None if said.before is None else dumps_bytes(said.before),
                "after": None if said.after is None else dumps_bytes(said.after),
            }
        if record.event.type == SCHEMA:
            text = json.dumps(said, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
            return {"data": text}
        return {"data": dumps_bytes(said) if said else None}
    except InvalidInput as error:
        return {"problem": str(error)}
