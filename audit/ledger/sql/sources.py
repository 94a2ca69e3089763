"""What the views of `audit sql` are made of: streams of entries, and tables of rows.

A stream is read anew each time a statement scans it, in flat memory. It is read in a thread of the
engine's; what goes wrong there is kept, because the engine gives on only its words.
"""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa

from audit.errors import AuditError
from audit.event.wire import MAX_INT64
from audit.ledger.export.entry_block import entry_batches, payloads_of
from audit.ledger.export.events import (
    BATCH_ROWS,
    LOG_COLUMN,
    UNREAD,
    bare_batches,
    event_schema,
)
from audit.ledger.export.typed import MAX_DIGITS, column_names
from audit.ledger.sql.bounds import EVERYTHING, Bounds
from audit.ledger.sql.from_model import IN_MODEL, model_batches, parts_of
from audit.replay.books import Books
from audit.replay.columnar.kept.search import Columns
from audit.replay.names import KEY_COLUMN
from audit.replay.points import Cut
from audit.replay.select import Selected
from audit.replay.trusted import trusted_record
from audit.store.contract import Reader

SIGNED_RECORDS = pa.schema(
    [
        LOG_COLUMN,
        pa.field("index", pa.int64(), nullable=False),
        pa.field("source", pa.string()),
        pa.field("event_id", pa.string()),
        pa.field("producer_key_id", pa.string()),
        pa.field("producer_signature", pa.binary()),
        pa.field("checkpoint_size", pa.int64()),
    ]
)
"""The columns of the store's own view of that name: who signed, and what checkpoint covers it."""
KEY_ID_BYTES = 4


class Stream:
    """Batches as the engine takes them. `failed`: the error that ended a reading, or None."""

    def __init__(self, schema: pa.Schema, batches: Callable[[], Iterator[pa.RecordBatch]]) -> None:
        """`batches` begins a new reading each time."""
        self.schema = schema
        self.failed: AuditError | None = None
        self._batches = batches

    def __arrow_c_schema__(self) -> object:
        """The Arrow PyCapsule protocol: the schema."""
        return self.schema.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """The Arrow PyCapsule protocol: a new reading."""
        reader = pa.RecordBatchReader.from_batches(self.schema, self._guarded())
        return reader.__arrow_c_stream__(requested_schema)

    def _guarded(self) -> Iterator[pa.RecordBatch]:
        try:
            yield from self._batches()
        except AuditError as error:
            self.failed = error
            raise


def events_stream(
    reader: Reader,
    cut: Cut,
    columns: frozenset[str] | None,
    model: Callable[[], Columns | None] = lambda: None,
    bounds: Bounds = EVERYTHING,
) -> Stream:
    """The view `events`: every entry below the cut; at least `log` and `index`.

    `model`: gives the read model, where it is worth asking; only when it has all that is named.
    `bounds`: entries outside need not be given.
    """
    named = None if columns is None else columns | {"index"}
    leaf = columns is None or "leaf" in columns
    schema = pa.schema([LOG_COLUMN, *event_schema(named, leaf)])

    # What a statement counts is what is cited: the indexes below a size, which have no gaps.
    counting = reader.complete and set(schema.names) <= {"log", "index"}

    def batches() -> Iterator[pa.RecordBatch]:
        books = Books(reader, cut)
        known = model() if not counting and IN_MODEL.issuperset(schema.names) else None
        for log in sorted(cut.sizes):
            start, stop = _span(reader, log, cut.size(log), bounds)
            if start >= stop:
                continue
            parts = None if known is None else parts_of(known, log, cut.size(log))
            if parts is not None:
                yield from model_batches(parts, start, stop, schema)
                continue
            if counting:
                yield from _numbered(log, start, stop, schema)
                continue
            if bounds.entity_type is None:
                located = reader.leaves(log, start, stop)
            else:
                located = reader.entity(log, bounds.entity_type, None, stop, start)
            if UNREAD.issuperset(schema.names):
                yield from bare_batches(log, located, schema)
                continue
            how = payloads_of(books.decode, books.of_log(log))
            yield from entry_batches(log, located, how, schema)

    return Stream(schema, batches)


def _span(reader: Reader, log: int, size: int, bounds: Bounds) -> tuple[int, int]:
    """(start, stop) of the indexes below a size that are within bounds."""
    if not bounds.log[0] <= log <= bounds.log[1]:
        return 0, 0
    start, stop = bounds.index[0], min(size, bounds.index[1] + 1)
    if bounds.recorded_us is not None:
        first_us, last_us = bounds.recorded_us
        if first_us > 0:
            start = max(start, reader.size_at(log, first_us - 1))
        if last_us < MAX_INT64:
            stop = min(stop, 0 if last_us < 0 else reader.size_at(log, last_us))
    return start, stop


def _numbered(log: int, start: int, stop: int, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    for at in range(start, stop, BATCH_ROWS):
        indexes = pa.array(np.arange(at, min(stop, at + BATCH_ROWS), dtype=np.int64))
        logs = pa.repeat(pa.scalar(log, pa.int64()), len(indexes))
        found = {"log": logs, "index": indexes}
        yield pa.RecordBatch.from_arrays([found[name] for name in schema.names], schema=schema)


def signed_stream(reader: Reader, cut: Cut) -> Stream:
    """The view `signed_records`: who signed each event, and the size of the covering checkpoint."""

    def batches() -> Iterator[pa.RecordBatch]:
        rows = _signed_rows(reader, cut)
        while some := list(islice(rows, BATCH_ROWS)):
            yield pa.RecordBatch.from_pylist(some, schema=SIGNED_RECORDS)

    return Stream(SIGNED_RECORDS, batches)


def _signed_rows(reader: Reader, cut: Cut) -> Iterator[dict[str, Any]]:
    for log in sorted(cut.sizes):
        checkpoints = iter(reader.checkpoints(log))
        size: int | None = 0
        for index, leaf in reader.leaves(log, 0, cut.size(log)):
            while size is not None and size <= index:
                size = next((found.size for found in checkpoints), None)
            record = trusted_record(log, index, leaf)
            event, signature = record.event, record.entry.signature
            if event is None:
                continue
            yield {
                "log": log,
                "index": index,
                "source": event.source,
                "event_id": event.event_id,
                "producer_key_id": None if signature is None else signature[:KEY_ID_BYTES].hex(),
                "producer_signature": None if signature is None else signature[KEY_ID_BYTES:],
                "checkpoint_size": size,
            }


def dataset_table(found: Selected) -> pa.Table:
    """A dataset as a table: `entity_key`, then the fields; absent and null are both null.

    Two fields whose names differ in case only would be one column to the engine: one of them gets
    `_` behind its name. Decimals that are too wide for the engine are text.
    """
    table = found.arrow()
    names = column_names(table.column_names[1:], (KEY_COLUMN,))
    table = table.rename_columns([KEY_COLUMN, *(names[name] for name in table.column_names[1:])])
    for at, field in enumerate(table.schema):
        if pa.types.is_decimal(field.type) and field.type.precision > MAX_DIGITS:
            texts = [None if v is None else str(v) for v in table.column(at).to_pylist()]
            table = table.set_column(at, field.name, pa.array(texts, pa.string()))
    return table
