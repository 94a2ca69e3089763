"""The Parquet files of an export: one writer for the entries of a log, one for all changes.

Entries: events/log=N/month=YYYY-MM/FIRST.parquet, so that engines leave out whole months, and
within a file row groups, by the statistics of index and recorded time, which both only grow.
Changes: changes/ENTITY/LOG-FIRST.parquet; all files of a dataset have the same columns. FIRST is
the index of a file's first entry.
"""

from collections.abc import Mapping, MutableMapping
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from audit.errors import InvalidInput, StoreCorrupt
from audit.event.times import time_of_us, us_of_time
from audit.ledger.export.change_block import ChangeBlock, change_table_of
from audit.ledger.export.changes import (
    KEPT,
    NO_COLUMNS,
    UNREAD,
    Columns,
    retyped,
)
from audit.ledger.export.events import EVENT_COLUMNS
from audit.ledger.export.manifest import Exported
from audit.ledger.export.place import Counted, Place, read_whole
from audit.replay.columnar.lockstep import Longs

ENTRIES_PER_FILE = 1_000_000
"""Entries of one file at most; those of one month fill several where they are more."""
CHANGES_PER_FILE = 50_000
"""When so many changes of a dataset are in memory, they are written as one file."""
CHANGES_IN_MEMORY = 100_000
"""Changes of all datasets held in memory."""
ROWS_PER_GROUP = 20_000

REMARKS = {
    KEPT: "some full images mark fields as unchanged: of keys with _odd = 'kept' replay knows more",
    UNREAD: "some payloads could not be read: _odd = 'unread'",
}
_FEW_VALUES = ("kind", "type", "op", "source", "entity_type", "actor", "reason", "image")
_STATISTICS = (
    *("index", "recorded_time", "valid_time", "kind", "type", "source", "entity_type"),
    *("entity_key", "event_id", "transaction_id"),
)
_CHANGE_STATISTICS = ("_log", "_index", "_recorded_time", "_valid_time", "_entity_key")


class Month(NamedTuple):
    """A month of UTC: its name YYYY-MM, its first microsecond, and the first after it."""

    name: str
    start_us: int
    stop_us: int


def month_of(recorded_us: int) -> Month:
    """The month of a recorded time. Raises StoreCorrupt for a time that is in no calendar."""
    try:
        moment = time_of_us(recorded_us)
    except InvalidInput:
        raise StoreCorrupt(
            f"{recorded_us} microseconds are in no calendar; run audit verify"
        ) from None
    year, month = moment.year, moment.month
    start = datetime(year, month, 1, tzinfo=UTC)
    last = year == 9999 and month == 12
    stop_us = 2**63 - 1 if last else us_of_time(_next_month(start))
    return Month(f"{year:04d}-{month:02d}", us_of_time(start), stop_us)


def _next_month(start: datetime) -> datetime:
    return datetime(start.year + start.month // 12, start.month % 12 + 1, 1, tzinfo=UTC)


def event_path(log: int, month: str, first: int) -> str:
    """The name of a file of entries."""
    return f"events/log={log}/month={month}/{first:012d}.parquet"


class EventFiles:
    """Writes the entries of one log, in order; `files` gets what was written."""

    def __init__(self, place: Place, log: int, files: MutableMapping[str, Exported]) -> None:
        """Nothing is written yet."""
        self._place = place
        self._log = log
        self._files = files
        self._month: Month | None = None
        self._rows = 0
        self._path = ""
        self._open = ExitStack()
        self._counted: Counted | None = None
        self._writer: Any = None

    def add(self, batch: pa.RecordBatch, recorded_us: Longs) -> None:
        """Write a batch; `recorded_us`: int64, when each entry of it was recorded."""
        at = 0
        while at < batch.num_rows:
            if self._writer is None or not self._room(recorded_us[at:]):
                self._finish()
                self._begin(int(recorded_us[at]), batch.column("index")[at].as_py(), batch.schema)
            count = max(1, self._room(recorded_us[at:]))
            self._writer.write_batch(batch.slice(at, count), row_group_size=ROWS_PER_GROUP)
            self._rows += count
            at += count

    def _room(self, recorded_us: Longs) -> int:
        """How many of the next entries go into the file that is open."""
        month = self._month
        if month is None:
            return 0
        some = recorded_us[: max(0, ENTRIES_PER_FILE - self._rows)]
        outside = np.flatnonzero((some < month.start_us) | (some >= month.stop_us))
        return int(outside[0]) if len(outside) else len(some)

    def _begin(self, recorded_us: int, index: int, schema: pa.Schema) -> None:
        self._month = month_of(recorded_us)
        self._path = event_path(self._log, self._month.name, index)
        self._rows = 0
        self._counted = self._open.enter_context(self._place.create(self._path))
        self._writer = pq.ParquetWriter(
            self._counted,
            schema,
            compression="zstd",
            use_dictionary=list(_FEW_VALUES),
            write_statistics=[name for name in _STATISTICS if name in EVENT_COLUMNS.names],
        )

    def _finish(self) -> None:
        if self._writer is None or self._counted is None:
            return
        self._writer.close()
        digest = self._counted.digest()
        self._open.close()
        self._files[self._path] = Exported(self._rows, digest)
        self._writer = None

    def close(self) -> None:
        """Finish the last file."""
        self._finish()

    def abandon(self, error: BaseException) -> None:
        """Give up the file that is being written."""
        if self._counted is not None and self._writer is not None:
            # Left alone, the writer would end its file when it is collected.
            self._counted.ignore()
            with suppress(Exception):
                self._writer.close()
        self._open.__exit__(type(error), error, error.__traceback__)


class ChangeFiles:
    """Writes the changes of all datasets. `columns` and `remarks`: by dataset, as known so far."""

    def __init__(
        self,
        place: Place,
        files: MutableMapping[str, Exported],
        known: Mapping[str, tuple[Columns, tuple[str, ...]]],
    ) -> None:
        """`files`: what was exported earlier, to which is added; `known`: of those datasets."""
        self._place = place
        self._files = files
        self.columns = {entity: columns for entity, (columns, _) in known.items()}
        self.remarks = {entity: dict.fromkeys(remarks) for entity, (_, remarks) in known.items()}
        self.replaced: list[str] = []
        """Files that others replace: to be removed once a manifest says so."""
        self._written: dict[str, Columns] = {
            path: known[entity][0]
            for path in files
            if (entity := entity_of(path)) is not None and entity in known
        }
        self._waiting: dict[str, list[ChangeBlock]] = {}
        self._counts: dict[str, int] = {}

    def add(self, entity: str, block: ChangeBlock) -> None:
        """Take the next rows of a log."""
        self._waiting.setdefault(entity, []).append(block)
        self._counts[entity] = self._counts.get(entity, 0) + block.base.num_rows
        for odd in sorted(block.odd):
            self.remarks.setdefault(entity, {})[REMARKS[odd]] = None
        if self._counts[entity] >= CHANGES_PER_FILE:
            self._flush(entity)
        elif sum(self._counts.values()) >= CHANGES_IN_MEMORY:
            self._flush(max(self._counts, key=lambda name: self._counts[name]))

    def flush(self) -> None:
        """Write what waits: at the end of each log."""
        for entity in list(self._waiting):
            self._flush(entity)

    def _flush(self, entity: str) -> None:
        blocks = self._waiting.pop(entity)
        del self._counts[entity]
        known = self.columns.get(entity, NO_COLUMNS)
        kinds = dict(known.kinds)
        for block in blocks:
            kinds = block.kinds(kinds)
        columns = known.with_kinds(kinds)
        self.columns[entity] = columns
        path = f"changes/{entity}/{blocks[0].log}-{blocks[0].first:012d}.parquet"
        self._write(path, change_table_of(blocks, columns), columns)

    def _write(self, path: str, table: pa.Table, columns: Columns) -> None:
        with self._place.create(path) as out:
            pq.write_table(
                table,
                out,
                compression="zstd",
                row_group_size=ROWS_PER_GROUP,
                write_statistics=[*_CHANGE_STATISTICS],
            )
            digest = out.digest()
        self._files[path] = Exported(table.num_rows, digest)
        self._written[path] = columns

    def finish(self) -> None:
        """Give all files of a dataset the same columns: those that have fewer are written anew."""
        self.flush()
        for path, old in list(self._written.items()):
            entity = entity_of(path)
            new = self.columns[entity or ""]
            if old == new:
                continue
            # Read once: what was changed behind the export's back must not get a new digest.
            data = read_whole(self._place, path, self._files[path].digest.size_bytes)
            if sha256(data).digest() != self._files[path].digest.sha256:
                raise StoreCorrupt(f"{path} is not the file that was exported; export anew")
            table = pq.read_table(pa.BufferReader(data))
            self._write(_next_name(path), retyped(table, old, new), new)
            del self._files[path], self._written[path]
            self.replaced.append(path)


def entity_of(path: str) -> str | None:
    """The dataset of a file of changes; None for another file."""
    parts = path.split("/")
    return parts[1] if parts[0] == "changes" and len(parts) == 3 else None


def first_of(path: str) -> tuple[int, int]:
    """(log, first index) of a file of changes, by its name."""
    log, _, rest = path.rpartition("/")[2].partition("-")
    return int(log), int(rest.partition(".")[0])


def _next_name(path: str) -> str:
    """Another name for the same rows: the old file stays until the new manifest is there."""
    stem, *again = path.removesuffix(".parquet").split(".r")
    return f"{stem}.r{int(again[0]) + 1 if again else 2}.parquet"
