"""The rows of an export against its leaves: everything that can be made again is, and compared."""

import re
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from audit.errors import FormatError
from audit.event.book import SchemaBook
from audit.event.envelope import Event
from audit.event.payload import decode_payload
from audit.event.types import SCHEMA
from audit.ledger.export.asof_text import ENGINES, file_text
from audit.ledger.export.changes import ChangeRow, change_row, change_table, superseded_by
from audit.ledger.export.events import BATCH_ROWS, event_batch, event_schema
from audit.ledger.export.files import entity_of, first_of, month_of
from audit.ledger.export.manifest import DatasetColumns, ExportedLog, Manifest
from audit.ledger.export.once import Once
from audit.ledger.export.place import Place, read_whole
from audit.log.entry import Kind
from audit.log.record import Record, read_record
from audit.tlog.merkle import TreeEdge
from audit.verify.findings import Notes
from audit.verify.policy import Policy
from audit.verify.steps_producers import ProducerWalk

MAX_TEXT_BYTES = 5_000_000
"""Longest statement in `sql/`."""
HASH_BYTES = 32
HASHES_PER_READ = 32_768
_EVENTS = re.compile(r"events/log=(0|[1-9][0-9]*)/month=([0-9]{4}-[0-9]{2})/([0-9]{12,})\.parquet")
_TREE = re.compile(r"tree/log=(0|[1-9][0-9]*)/([0-9]{12,})\.bin")
_CHANGES = re.compile(r"changes/[^/]+/(0|[1-9][0-9]*)-([0-9]{12,})(?:\.r[0-9]+)?\.parquet")
_NOW = re.compile(rb"TIMESTAMP(?:TZ)? '([0-9: -]{19})(?: UTC|\+00:00)'")


def log_of(path: str) -> int | None:
    """The log that a file's rows are of; None for a statement. Raises FormatError."""
    if path.startswith("sql/"):
        return None
    for pattern in (_EVENTS, _TREE, _CHANGES):
        match = pattern.fullmatch(path)
        if match is not None:
            return int(match[1])
    raise FormatError(f"{path} is no name of an export's file")


def batches_of(place: Place, path: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """A Parquet file's rows in batches. Raises FormatError when it is none, or of other columns."""
    with place.open(path) as file:
        try:
            parquet = pq.ParquetFile(file)
            if not parquet.schema_arrow.equals(schema):
                raise FormatError(f"{path} has other columns than an export has")
            yield from parquet.iter_batches(BATCH_ROWS)
        except (pa.ArrowException, OSError, ValueError) as error:
            if isinstance(error, FormatError):
                raise
            raise FormatError(f"{path} is no Parquet file that can be read: {error}") from None


class LogRows:
    """The rows of one log."""

    def __init__(
        self, place: Place, manifest: Manifest, log: ExportedLog, policy: Policy, notes: Notes
    ) -> None:
        """Nothing is read yet; what is found goes to `notes`."""
        self._place = place
        self._manifest = manifest
        self._log = log
        self._notes = notes
        self._schema = event_schema(leaf=manifest.selection.leaves)
        self._events = self._paths(_EVENTS, 3)
        self._edge = TreeEdge.empty()
        self._tree = self._hashes() if not manifest.selection.whole else None
        self._tree_at = 0
        self._producers = ProducerWalk(policy, notes, Notes())
        self._book = SchemaBook()
        self._named: dict[str, list[Record]] = {}
        self._last = -1
        self._last_us = -1
        self._changes = {
            entity: _Changes(place, found, self._of_entity(entity))
            for entity, found in manifest.datasets.items()
        }

    def _paths(self, pattern: re.Pattern[str], first: int) -> list[str]:
        """This log's files of a sort, by their first index."""
        found = [
            (int(match[first]), path)
            for path in self._manifest.files
            if (match := pattern.fullmatch(path)) is not None and int(match[1]) == self._log.log
        ]
        return [path for _, path in sorted(found)]

    def _of_entity(self, entity: str) -> list[str]:
        paths = [
            path
            for path in self._manifest.files
            if entity_of(path) == entity and log_of(path) == self._log.log
        ]
        return sorted(paths, key=first_of)

    def check(self) -> Iterator[int]:
        """Check all rows; gives how many were, from time to time. Raises FormatError, ..."""
        leaves = self._manifest.selection.leaves
        if leaves:
            self._look_ahead()
        decode = Once(lambda record: decode_payload(_event(record), self._book))
        superseded = superseded_by(lambda name: self._named.get(name, []))
        count = 0
        for path in self._events:
            match = _EVENTS.fullmatch(path)
            month = match[2] if match else ""
            rows = 0
            for batch in batches_of(self._place, path, self._schema):
                if leaves:
                    records = self._records(batch, month)
                    if not event_batch(records, decode, self._schema).equals(batch):
                        self._row_differs(path, batch, event_batch(records, decode, self._schema))
                    self._take_changes(records, decode, superseded)
                    decode.forget()
                self._take_hashes(path, batch)
                rows += batch.num_rows
                count += batch.num_rows
                yield count
            if rows != self._manifest.files[path].rows:
                self._differs(f"{path} has {rows:,} rows, not those of the manifest")
        for changes in self._changes.values() if leaves else ():
            self._notes_of(changes.finish())
        self._check_root()

    def _differs(self, message: str, index: int | None = None) -> None:
        self._notes.add("export_differs", index, message)

    def _notes_of(self, message: str | None) -> None:
        if message is not None:
            self._differs(message)

    def _look_ahead(self) -> None:
        """The schemas of the log, and the entries that later ones supersede.

        Found by the columns, which are compared with the leaves afterwards.
        """
        columns = ["kind", "type", "event_id", "supersedes", "leaf"]
        named: set[str] = set()
        for path in self._events:
            for batch in self._some(path, columns):
                named.update(batch.column("supersedes").drop_null().to_pylist())
                for leaf in batch.filter(pc.equal(batch.column("type"), SCHEMA)).column("leaf"):
                    event = read_record(self._log.log, leaf.as_py()).event
                    if event is not None and event.type == SCHEMA:
                        self._book.add(event.payload)
        if not named:
            return
        wanted = pa.array(sorted(named), pa.string())
        for path in self._events:
            for batch in self._some(path, columns):
                fits = pc.is_in(batch.column("event_id"), value_set=wanted)
                for leaf in batch.filter(fits).column("leaf"):
                    record = read_record(self._log.log, leaf.as_py())
                    if record.event is not None and record.entry.kind is not Kind.QUARANTINED:
                        self._named.setdefault(record.event.event_id, []).append(record)

    def _some(self, path: str, columns: list[str]) -> Iterator[pa.RecordBatch]:
        with self._place.open(path) as file:
            try:
                parquet = pq.ParquetFile(file)
                if not parquet.schema_arrow.equals(self._schema):
                    raise FormatError(f"{path} has other columns than an export has")
                yield from parquet.iter_batches(BATCH_ROWS, columns=columns)
            except (pa.ArrowException, OSError) as error:
                raise FormatError(f"{path} cannot be read: {error}") from None

    def _records(self, batch: pa.RecordBatch, month: str) -> list[Record]:
        records = []
        for leaf in batch.column("leaf").to_pylist():
            record = read_record(self._log.log, leaf)
            if record.index <= self._last or record.recorded_time_us <= self._last_us:
                self._differs(f"entry {record.index} is out of order", record.index)
            self._last, self._last_us = record.index, record.recorded_time_us
            if month_of(record.recorded_time_us).name != month:
                self._differs(f"entry {record.index} is filed under another month", record.index)
            if record.event is not None and record.entry.kind is Kind.EVENT:
                self._producers.take(record.index, record.entry.event, record.entry.signature)
            records.append(record)
        return records

    def _row_differs(self, path: str, batch: pa.RecordBatch, made: pa.RecordBatch) -> None:
        """Say which column of which entry is not what the leaf says."""
        for name in self._schema.names:
            for at, (said, meant) in enumerate(
                zip(batch.column(name).to_pylist(), made.column(name).to_pylist(), strict=True)
            ):
                if said != meant:
                    index = made.column("index")[at].as_py()
                    self._differs(f"entry {index} says another {name} than {path}", index)
                    return

    def _take_changes(self, records: list[Record], decode: Once, superseded: Any) -> None:
        if self._manifest.selection.query:
            return
        wanted = self._manifest.selection.entities
        for record in records:
            row = change_row(record, decode, superseded)
            entity = None if record.event is None else record.event.entity_type
            if row is None or entity is None or (wanted is not None and entity not in wanted):
                continue
            changes = self._changes.get(entity)
            if changes is None:
                self._differs(f"the changes of {entity} are not there", record.index)
            else:
                self._notes_of(changes.take(row))

    def _take_hashes(self, path: str, batch: pa.RecordBatch) -> None:
        """The leaf hashes of a batch: into the tree, or against the tree that is there."""
        try:
            hashes = [bytes.fromhex(text) for text in batch.column("leaf_hash").to_pylist()]
        except ValueError:
            raise FormatError(f"{path} has a leaf hash that is none") from None
        if any(len(found) != HASH_BYTES for found in hashes):
            raise FormatError(f"{path} has a leaf hash that is none")
        indexes = batch.column("index").to_pylist()
        if self._tree is None:
            if indexes != list(range(self._edge.size, self._edge.size + len(hashes))):
                raise FormatError(f"{path} does not continue the log at entry {self._edge.size}")
            self._edge, _ = self._edge.extend(hashes)
            return
        for index, found in zip(indexes, hashes, strict=True):
            if not self._tree_at <= index < self._log.size:
                raise FormatError(f"{path} has entry {index} out of order")
            while self._tree_at <= index:
                at = next(self._tree, b"")
                self._tree_at += 1
            if at != found:
                self._differs(f"the leaf hash of entry {index} is not in the tree", index)

    def _hashes(self) -> Iterator[bytes]:
        """The leaf hashes of all entries of the log, from `tree/`; they go into the edge too."""
        for path in self._paths(_TREE, 2):
            with self._place.open(path) as file:
                while data := file.read(HASH_BYTES * HASHES_PER_READ):
                    some = [data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)]
                    self._edge, _ = self._edge.extend(some)
                    yield from some

    def _check_root(self) -> None:
        for _ in self._tree or ():
            pass
        size, root = self._edge.size, self._edge.root()
        if (size, root) != (self._log.size, self._log.root_hash):
            self._notes.add(
                "root",
                None,
                f"{size:,} leaf hashes of {self._log.origin} lead to root {root.hex()}, not to the "
                f"one of size {self._log.size:,}",
            )


class _Changes:
    """The rows of a dataset's files of changes, of one log, against rows made again."""

    def __init__(self, place: Place, dataset: DatasetColumns, paths: list[str]) -> None:
        self._columns = dataset.columns
        self._paths = paths
        schema = dataset.columns.schema()
        self._there = (batch for path in paths for batch in batches_of(place, path, schema))
        self._rest = schema.empty_table()
        self._made: list[ChangeRow] = []

    def take(self, row: ChangeRow) -> str | None:
        """Take the next row; what is wrong, in words."""
        self._made.append(row)
        return self._compare() if len(self._made) >= BATCH_ROWS else None

    def finish(self) -> str | None:
        """After the last row."""
        wrong = self._compare()
        if wrong is None and (self._rest.num_rows or any(b.num_rows for b in self._there)):
            return f"{self._paths[-1]} has rows that no entry made"
        return wrong

    def _compare(self) -> str | None:
        rows, self._made = self._made, []
        parts = [self._rest]
        while sum(part.num_rows for part in parts) < len(rows):
            batch = next(self._there, None)
            if batch is None:
                return f"{self._paths[-1] if self._paths else 'changes/'} lacks rows"
            parts.append(pa.Table.from_batches([batch]))
        table = pa.concat_tables(parts)
        self._rest = table.slice(len(rows))
        if not rows or _same(table.slice(0, len(rows)), change_table(rows, self._columns)):
            return None
        first = rows[0].record.index
        return f"the changes from entry {first} on are not what the entries say: {self._paths[0]}"


def _same(left: pa.Table, right: pa.Table) -> bool:
    """Equality of two tables; NaN equals NaN, and -0.0 is not 0.0."""
    for name in left.schema.names:
        one, other = left.column(name), right.column(name)
        if pa.types.is_floating(one.type):
            bits = [array.combine_chunks() for array in (one, other)]
            if not _bits(bits[0]).equals(_bits(bits[1])):
                return False
        elif not one.equals(other):
            return False
    return True


def _bits(array: pa.Array) -> pa.Array:
    return array.view(pa.int64())


def _event(record: Record) -> Event:
    if record.event is None:
        raise FormatError("an entry without an event says nothing")
    return record.event


def texts_differ(place: Place, manifest: Manifest) -> Iterator[str]:
    """The statements in `sql/` that are not those of their datasets."""
    expected = set()
    for entity, found in manifest.datasets.items():
        for engine in ENGINES:
            path = f"sql/{entity}.{engine.name}.sql"
            expected.add(path)
            if path not in manifest.files:
                yield path
                continue
            text = read_whole(place, path, MAX_TEXT_BYTES)
            now = _NOW.search(text)
            meant = file_text(engine, entity, found.columns.names, now[1].decode() if now else "")
            if text != meant.encode():
                yield path
    yield from (p for p in manifest.files if p.startswith("sql/") and p not in expected)
