"""A table into events: `audit import FILE`.

Twice the same file adds nothing: an event's id is made from its source, entity, key, valid time,
row, and how often that row stood in the file before; ids that are in the ledger are skipped. With
`snapshot` the file is the whole dataset: what differs from the rows now is emitted, with new ids,
in one `transaction_id`.

The file is read twice: first all of it is checked (and a CSV file's types are found), then the
events are made. A bad row stops the import with its line. What only turns out on the way, like a
row too large for an event, leaves the batches sealed before; importing the mended file adds the
rest.
"""

import os
import sqlite3
from collections.abc import Callable
from hashlib import sha256
from typing import Any, BinaryIO, NamedTuple

from audit.capture.delivery.embedded import EmbeddedLedger
from audit.capture.differences import difference
from audit.capture.importer.known import KnownKeys, RowsNow, disk_trouble
from audit.capture.importer.sealing import Batches, ImportResult
from audit.capture.importer.source import Progress, Source, located
from audit.capture.importer.tables import Key, Table, TableRow
from audit.capture.importer.target import KafkaTarget, target_of
from audit.errors import InvalidInput
from audit.event.build import data_event, new_event_id
from audit.event.values import dumps
from audit.store.contract import Reader

CSV = "csv"
JSONL = "jsonl"
PARQUET = "parquet"
FORMATS = {
    ".csv": CSV,
    ".jsonl": JSONL,
    ".ndjson": JSONL,
    ".parquet": PARQUET,
    ".pq": PARQUET,
}
"""File ending -> format."""
ID_PREFIX = "import-"
ID_HEX_DIGITS = 40


class _Task(NamedTuple):
    """What every event of one import has in common."""

    entity: str
    source: str
    actor: str | None
    reason: str | None
    transaction_id: str | None


def import_file(
    ledger: EmbeddedLedger | KafkaTarget,
    path_or_stream: str | os.PathLike[str] | BinaryIO,
    *,
    entity: str,
    key: Key,
    valid_time: str | None = None,
    snapshot: bool = False,
    source: str = "import",
    actor: str | None = None,
    reason: str | None = None,
    format: str | None = None,
    progress: Progress | None = None,
) -> ImportResult:
    """Import a CSV, JSONL or Parquet file: a create for a new key, a full update for a known one.

    `key`: the key's column, or several (`A,B` or a list: the key is then the JSON array of their
    strings and integers; a CSV file has strings). `valid_time`: a column of RFC 3339 times or
    dates; null means none. `snapshot`: the file is the full state of the dataset, so that rows that
    are not in it are deleted. `format`: csv, jsonl or parquet, when the file's ending does not say.
    `progress`: called with bytes done and in total. With a topic, which rows are there is what its
    consumer has sealed by now. Raises InvalidInput and LimitExceeded with the file's line,
    NotFound, Unavailable, StoreCorrupt.
    """
    target = target_of(ledger)
    state = target.state()
    with Source(path_or_stream, progress) as opened:
        table = table_of(opened, format, key, valid_time)
        transaction_id = new_event_id() if snapshot else None
        task = _Task(entity, source, actor, reason, transaction_id)
        batches = Batches(target)
        load = _load_snapshot if snapshot else _load_rows
        try:
            with batches.telling():
                load(state, opened, table, task, batches)
                batches.seal()
        except sqlite3.Error as error:
            raise disk_trouble(error) from None
        return batches.result(transaction_id if batches.sealed else None)


def table_of(source: Source, format: str | None, key: Key, valid_time: str | None) -> Table:
    """The file as rows, by the format said or by its ending. Raises InvalidInput."""
    ending = os.path.splitext(source.name)[1].lower()
    chosen = FORMATS.get(ending) if format is None else format
    if chosen == CSV:
        from audit.capture.importer.csv_table import CsvTable

        return CsvTable(source, key, valid_time)
    if chosen == JSONL:
        from audit.capture.importer.jsonl_table import JsonlTable

        return JsonlTable(source, key, valid_time)
    if chosen == PARQUET:
        from audit.capture.importer.parquet_table import ParquetTable

        return ParquetTable(source, key, valid_time)
    said = f"format {format!r:.32}" if format is not None else f"the ending of {source.name}"
    raise InvalidInput(f"{said} is none of csv, jsonl, parquet; say --format")


def _load_rows(state: Reader, source: Source, table: Table, task: _Task, batches: Batches) -> None:
    source.passes = 2
    known = KnownKeys(state, task.entity, task.source, table.check())
    try:
        for row in table.rows():
            with located(row.place):
                _load_row(row, task, known, batches)
    finally:
        known.close()


def _load_row(row: TableRow, task: _Task, known: KnownKeys, batches: Batches) -> None:
    there = known.is_there(row.key)
    event_id = _event_id(row, task, known.occurrence)
    if known.has_id(event_id):
        batches.count("skipped")
        return
    _add(batches, task, "update" if there else "create", row, event_id, "full", row.fields)
    known.set_there(row.key, True)


def _event_id(row: TableRow, task: _Task, occurrence: Callable[[bytes], int]) -> str:
    """The same id for the same row, whenever it is imported."""
    said = dumps([task.source, task.entity, row.key, row.valid_time_us, row.fields])
    digest = sha256(said.encode()).digest()
    count = occurrence(digest)
    return ID_PREFIX + sha256(digest + b"%d" % count).hexdigest()[:ID_HEX_DIGITS]


def _load_snapshot(
    state: Reader, source: Source, table: Table, task: _Task, batches: Batches
) -> None:
    source.passes = 2
    table.check()  # half a snapshot would delete what the other half has
    rows_now = RowsNow(state, task.entity)
    try:
        for row in table.rows():
            with located(row.place):
                _compare_row(row, task, rows_now, batches)
        for key in rows_now.untaken():
            gone = TableRow("", key, None, {})
            _add(batches, task, "delete", gone, new_event_id(), "patch", None)
    finally:
        rows_now.close()


def _compare_row(row: TableRow, task: _Task, rows_now: RowsNow, batches: Batches) -> None:
    old, taken = rows_now.take(row.key, row.place)
    if taken is not None:
        raise InvalidInput(f"the key {row.key!r:.64} is there twice, first in {taken}")
    found = difference(old, row.fields, missing_is_null=row.nulls_for_absent)
    if found is None:
        batches.count("unchanged")
        return
    _add(batches, task, found.op, row, new_event_id(), found.image, found.after)


def _add(
    batches: Batches,
    task: _Task,
    op: str,
    row: TableRow,
    event_id: str,
    image: str,
    after: dict[str, Any] | None,
) -> None:
    batches.add(
        data_event(
            op,
            task.entity,
            row.key,
            event_id=event_id,
            source=task.source,
            after=after,
            image=image,
            valid_time_us=row.valid_time_us,
            actor=task.actor,
            reason=task.reason,
            transaction_id=task.transaction_id,
        )
    )
