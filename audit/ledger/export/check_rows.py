"""The rows of an export against its leaves: everything that can be made again is, and compared."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from audit.errors import FormatError
from audit.event.book import SchemaBook
from audit.event.envelope import Event
from audit.event.payload import decode_payload
from audit.event.types import SCHEMA
from audit.ledger.export.asof_text import ENGINES, file_text
from audit.ledger.export.change_block import ChangeBlock, changes_of, rows_by_dataset
from audit.ledger.export.changes import Superseded, superseded_by
from audit.ledger.export.check_changes import CheckedChanges, batches_of
from audit.ledger.export.entry_block import BLOCK_BYTES, payloads_of, read_entries
from audit.ledger.export.events import BATCH_ROWS, event_batch, event_schema
from audit.ledger.export.files import entity_of, first_of, month_of
from audit.ledger.export.manifest import ExportedLog, Manifest
from audit.ledger.export.once import Once
from audit.ledger.export.place import Place, read_whole
from audit.log.entry import Kind
from audit.log.record import Record, read_record
from audit.replay.columnar.lockstep import Longs
from audit.tlog.merkle import TreeEdge
from audit.verify.noted import Notes
from audit.verify.policy import Policy
from audit.verify.steps.producers import ProducerWalk

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
        self._producers = ProducerWalk(policy, log.origin, notes, Notes())
        self._book = SchemaBook()
        self._named: dict[str, list[Record]] = {}
        self._last = -1
        self._last_us = -1
        self._changes = {
            entity: CheckedChanges(place, found, self._of_entity(entity))
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
                for part in _parts(batch) if leaves else ():
                    self._take(path, part, month, decode, superseded)
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

        Found by the columns, which are compared with the leaves afterwards. Leaves are read only of
        the batches that hold one.
        """
        named: set[str] = set()
        for path in self._events:
            with self._parquet(path) as parquet:
                for group in range(parquet.num_row_groups):
                    has_schema = False
                    for batch in _some(parquet, group, ["type", "supersedes"]):
                        named.update(batch.column("supersedes").drop_null().to_pylist())
                        is_schema = pc.any(pc.equal(batch.column("type"), SCHEMA))
                        has_schema = has_schema or is_schema.as_py() is True
                    if has_schema:
                        self._take_schemas(parquet, group)
        if not named:
            return
        wanted = pa.array(sorted(named), pa.string())
        for path in self._events:
            with self._parquet(path) as parquet:
                for group in range(parquet.num_row_groups):
                    self._take_named(parquet, group, wanted)

    def _take_schemas(self, parquet: Any, group: int) -> None:
        for batch in _some(parquet, group, ["type", "leaf"]):
            for leaf in batch.filter(pc.equal(batch.column("type"), SCHEMA)).column("leaf"):
                event = read_record(self._log.log, leaf.as_py()).event
                if event is not None and event.type == SCHEMA:
                    self._book.add(event.payload)

    def _take_named(self, parquet: Any, group: int, wanted: pa.Array) -> None:
        fits = [
            pc.is_in(batch.column("event_id"), value_set=wanted)
            for batch in _some(parquet, group, ["event_id"])
        ]
        if not any(pc.any(one).as_py() for one in fits):
            return
        for batch in _some(parquet, group, ["event_id", "leaf"]):
            some = pc.is_in(batch.column("event_id"), value_set=wanted)
            for leaf in batch.filter(some).column("leaf"):
                record = read_record(self._log.log, leaf.as_py())
                if record.event is not None and record.entry.kind is not Kind.QUARANTINED:
                    self._named.setdefault(record.event.event_id, []).append(record)

    @contextmanager
    def _parquet(self, path: str) -> Iterator[Any]:
        with self._place.open(path) as file:
            try:
                parquet = pq.ParquetFile(file)
                if not parquet.schema_arrow.equals(self._schema):
                    raise FormatError(f"{path} has other columns than an export has")
                yield parquet
            except (pa.ArrowException, OSError) as error:
                raise FormatError(f"{path} cannot be read: {error}") from None

    def _take(
        self, path: str, batch: pa.RecordBatch, month: str, decode: Once, superseded: Superseded
    ) -> None:
        """Make the columns of these rows again from their leaves, and compare."""
        leaves = batch.column("leaf").to_pylist()
        block = read_entries(self._log.log, leaves, None, payloads_of(decode, self._book))
        if block is not None:
            self._take_order(block.said.index, block.said.recorded_us, month)
            has_event = block.said.kind == Kind.EVENT
            for at in np.flatnonzero(has_event & block.said.signed).tolist():
                self._take_signature(block.record(at))
            made = block.batch(self._schema)
        else:
            records = [read_record(self._log.log, leaf) for leaf in leaves]
            self._take_order(
                np.array([record.index for record in records], dtype=np.int64),
                np.array([record.recorded_time_us for record in records], dtype=np.int64),
                month,
            )
            for record in records:
                if record.event is not None and record.entry.kind is Kind.EVENT:
                    self._take_signature(record)
            made = event_batch(records, decode, self._schema)
        if not made.equals(batch):
            self._row_differs(path, batch, made)
        if self._manifest.selection.query:
            return
        if block is not None:
            self._take_changes(changes_of(block, decode, superseded))
        else:
            self._take_changes(rows_by_dataset(records, decode, superseded))

    def _take_signature(self, record: Record) -> None:
        self._producers.take(record.index, record.entry.event, record.entry.signature)

    def _take_order(self, indexes: Longs, recorded_us: Longs, month: str) -> None:
        """Entries come in order, each under its month."""
        wrong = np.diff(indexes, prepend=self._last) <= 0
        wrong |= np.diff(recorded_us, prepend=self._last_us) <= 0
        for index in indexes[wrong].tolist():
            self._differs(f"entry {index} is out of order", index)
        if len(indexes):
            self._last, self._last_us = int(indexes[-1]), int(recorded_us[-1])
        at = 0
        while at < len(indexes):
            found = month_of(int(recorded_us[at]))
            inside = (recorded_us[at:] >= found.start_us) & (recorded_us[at:] < found.stop_us)
            stop = len(indexes) if inside.all() else at + int(np.argmin(inside))
            if found.name != month:
                for index in indexes[at:stop].tolist():
                    self._differs(f"entry {index} is filed under another month", index)
            at = stop

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

    def _take_changes(self, made: Mapping[str, ChangeBlock]) -> None:
        wanted = self._manifest.selection.entities
        for entity, block in made.items():
            if wanted is not None and entity not in wanted:
                continue
            changes = self._changes.get(entity)
            if changes is None:
                self._differs(f"the changes of {entity} are not there", block.first)
            else:
                self._notes_of(changes.take(block))

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


def _parts(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """A batch in pieces whose leaves can be decoded at once."""
    if not batch.num_rows:
        return
    sizes = pc.binary_length(batch.column("leaf")).to_numpy(zero_copy_only=False)
    number = np.cumsum(sizes, dtype=np.int64) // BLOCK_BYTES
    bounds = [0, *(np.flatnonzero(np.diff(number)) + 1).tolist(), batch.num_rows]
    for start, stop in pairwise(bounds):
        yield batch.slice(start, stop - start)


def _some(parquet: Any, group: int, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """Columns of one row group, in batches."""
    found: Iterator[pa.RecordBatch] = parquet.iter_batches(
        BATCH_ROWS, row_groups=[group], columns=columns
    )
    return found


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
