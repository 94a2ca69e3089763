"""Runs, models, datasets and feature definitions of a ledger, read once, and what came since.

They are few and small beside predictions and rows, which are never in here; of runs only what leads
to them is kept. What was read is held in the process for all readers of the ledger, bound to the
root hash of the log that it was read from: where that is another one, it is thrown away.
"""

import threading
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import NamedTuple
from weakref import WeakKeyDictionary

from audit.errors import AuditError, FormatError, LimitExceeded, StoreCorrupt, UnknownSchema
from audit.event.types import DATASET_VERSION, FEATURE_DEFINITION, MODEL_VERSION, SCHEMA_SOURCE
from audit.lineage.recorded.in_force import target_of
from audit.lineage.recorded.models import MODEL_ENTITY
from audit.lineage.recorded.records import DATASET_ENTITY, FEATURES_PREFIX, RUN_ENTITY, Found
from audit.lineage.recorded.run_index import RunTables, There, Told
from audit.lineage.recorded.runs import RUN_TYPES, Run, run_of
from audit.lineage.tracing.things import Things
from audit.lineage.tracing.trace_records import (
    DatasetEntry,
    FeatureEntry,
    ModelEntry,
    dataset_entry,
    feature_entry,
    model_entry,
)
from audit.log.entry import Kind
from audit.log.record import Record
from audit.replay.books import Books
from audit.replay.fold import Position
from audit.replay.points import Cut
from audit.replay.trusted import trusted_record
from audit.store.contract import Reader
from audit.tlog.merkle import tree_root

MAX_RECORDS = 500_000
"""Records of runs, models and datasets that one trace may have to know, START events included."""
MAX_HELD_BYTES = 256 * 1024 * 1024
"""Records of all ledgers that are held in the process, by the length of their leaves; what is kept
of them takes up to three times that."""
RUNS_READ = 2_000
"""Runs whose record is kept read."""
RUNS_READ_BYTES = 16 * 1024 * 1024
"""All of these together, by the length of their leaves; a run that was read takes some six times
that."""
LINES_KEPT = 4
"""Lists of all runs, each at another cut, that are kept."""
FEW_SCHEMAS = 100
"""Up to so many schemas that records wait for are looked up one by one."""

_READ = {
    RUN_ENTITY: RUN_TYPES,
    MODEL_ENTITY: frozenset((MODEL_VERSION,)),
    DATASET_ENTITY: frozenset((DATASET_VERSION, FEATURE_DEFINITION)),
}
_DECODERS: dict[str, Callable[[Found], ModelEntry | DatasetEntry | FeatureEntry | None]] = {
    MODEL_VERSION: model_entry,
    DATASET_VERSION: dataset_entry,
    FEATURE_DEFINITION: feature_entry,
}


class Bound(NamedTuple):
    """What a log was when it was read."""

    size: int
    root: bytes


class RecordIndex:
    """The records of one ledger, read as far as anybody asked. Safe for several threads."""

    def __init__(self) -> None:
        """Nothing is read yet."""
        self.runs = RunTables()
        self.things = Things()
        self.bytes = 0
        self.bound: Mapping[int, Bound] | None = {}
        self._lock = threading.Lock()
        self._sizes: dict[int, int] = {}
        self._records = 0
        self._places: dict[int, list[int]] = {}
        self._corrections: dict[int, list[int]] = {}
        self._superseded: dict[Position, list[Position]] = {}
        self._schemas: dict[tuple[int, bytes], int] = {}
        self._waiting: dict[tuple[int, bytes], set[int]] = {}
        self._read_runs: OrderedDict[Position, tuple[int, Run]] = OrderedDict()
        self._read_bytes = 0
        self._half_way: set[Position] = set()
        self._lines: OrderedDict[object, list[Told]] = OrderedDict()

    def read(self, reader: Reader, cut: Cut) -> None:
        """Read on, up to a cut. Raises LimitExceeded, StoreCorrupt, Unavailable."""
        with self._lock:
            if all(size <= self._sizes.get(log, 0) for log, size in cut.sizes.items()):
                return
            try:
                self._read(reader, cut)
            finally:
                for places in (*self._places.values(), *self._corrections.values()):
                    places.sort()

    def _read(self, reader: Reader, cut: Cut) -> None:
        # What fails half-way must not be there twice, nor be left out, when it is tried again.
        come = self._come(reader, cut)
        found: list[Record] = []
        for log, schema in come:
            indexes = sorted(self._waiting[log, schema])
            found += [trusted_record(log, i, leaf) for i, leaf in reader.leaves_at(log, indexes)]
        gone: list[tuple[Position, Position]] = []
        for log, size in cut.sizes.items():
            start = self._sizes.get(log, 0)
            if size > start:
                self._gather(reader, log, start, size, found, gone)
        taken = [(record, self._since(reader, record)) for record in found]
        sizes = {log: max(size, self._sizes.get(log, 0)) for log, size in cut.sizes.items()}
        # A store that was exchanged meanwhile is not what was read before: nothing of it is kept.
        is_same = reader.complete and _holds(reader, self.bound)
        bound = _bound(reader, {**self._sizes, **sizes}) if is_same else None
        books = Books(reader, cut)
        for record, since in taken:
            place = record.log, record.index
            if since is not None and place not in self._half_way:
                self._take(books, record, since)
                self._half_way.add(place)
        self._half_way = {one for one in self._half_way if one[1] >= sizes.get(one[0], 0)}
        for key in come:
            del self._waiting[key]
        for correction, target in gone:
            self._superseded.setdefault(target, []).append(correction)
            self._corrections.setdefault(correction[0], []).append(correction[1])
        self._sizes.update(sizes)
        self.bound = bound

    def _come(self, reader: Reader, cut: Cut) -> list[tuple[int, bytes]]:
        """The schemas that records wait for, and that came since."""
        if len(self._waiting) <= FEW_SCHEMAS:
            return [
                (log, schema)
                for log, schema in self._waiting
                if any(there == log for there, _ in reader.find_event(schema.hex(), SCHEMA_SOURCE))
            ]
        come = set()
        for log, size in cut.sizes.items():
            start = self._sizes.get(log, 0)
            for index, leaf in reader.special(log, size, int(Kind.EVENT)):
                event = trusted_record(log, index, leaf).event if index >= start else None
                if event is not None and event.source == SCHEMA_SOURCE:
                    come.add((log, bytes.fromhex(event.event_id)))
        return sorted(come & self._waiting.keys())

    def _gather(
        self,
        reader: Reader,
        log: int,
        start: int,
        stop: int,
        found: list[Record],
        gone: list[tuple[Position, Position]],
    ) -> None:
        """Gather the records of [start, stop) that are wanted, and those that take others out."""
        known = self._records + sum(map(len, self._waiting.values()))
        for entity_type, types in _READ.items():
            for index, leaf in reader.entity(log, entity_type, None, stop, start):
                record = trusted_record(log, index, leaf)
                target = target_of(reader, record)
                if target is not None:
                    gone.append(((log, index), target))
                if _is_wanted(record, entity_type, types):
                    found.append(record)
                if known + len(found) > MAX_RECORDS:
                    raise LimitExceeded(
                        f"{reader.address} has more than {MAX_RECORDS:,} records of runs, "
                        "models and datasets; trace as of an earlier point"
                    )

    def _since(self, reader: Reader, record: Record) -> int | None:
        """From which index on a record can be read: its own or its schema's, which may be later."""
        assert record.event is not None
        schema = record.event.payload_schema
        if schema is None:
            return record.index
        key = record.log, schema
        if key not in self._schemas:
            places = [
                index
                for log, index in reader.find_event(schema.hex(), SCHEMA_SOURCE)
                if log == record.log
            ]
            if not places:
                self._waiting.setdefault(key, set()).add(record.index)
                return None
            self._schemas[key] = min(places)
        return max(record.index, self._schemas[key])

    def _take(self, books: Books, record: Record, since: int) -> None:
        if self._is_taken(books, record, since):
            self._places.setdefault(record.log, []).append(since)
        self._records += 1
        self.bytes += len(record.leaf)

    def _is_taken(self, books: Books, record: Record, since: int) -> bool:
        """Enter a record; False for one that cannot be read, or names nothing."""
        assert record.event is not None
        try:
            data = books.decode(record)
        except (FormatError, UnknownSchema, LimitExceeded):
            return False
        if not isinstance(data, dict):
            return False
        # A thing is known by the key that it is recorded under: who may write one writes only that.
        decoder = _DECODERS.get(record.event.type)
        if decoder is None:
            return self.runs.add(record, data, since)
        thing = decoder(Found(record, data))
        prefix = FEATURES_PREFIX if record.event.type == FEATURE_DEFINITION else ""
        if thing is None or record.event.entity_key != f"{prefix}{thing.name}@{thing.version}":
            return False
        self.things.add(thing, since)
        return True

    # What is there at a cut

    def is_there(self, cut: Cut, log: int, index: int, since: int) -> bool:
        """Whether a record is below a cut and was not superseded there."""
        if since >= cut.size(log):
            return False
        corrections = self._superseded.get((log, index))
        return corrections is None or not any(map(cut.holds, corrections))

    def there(self, cut: Cut) -> There:
        """Whether the record of a run counts at a cut."""
        return lambda told: self.is_there(cut, *told.position, told.since)

    def lines(self, cut: Cut) -> list[Told]:
        """The record that counts of every run below a cut, in the order of first being recorded."""
        counted = self._places, self._corrections
        with self._lock:
            # Cuts between which nothing of this was recorded have the same answer.
            key = tuple(
                (log, *(bisect_left(one.get(log, ()), size) for one in counted))
                for log, size in sorted(cut.sizes.items())
            )
            found = self._lines.pop(key, None)
            if found is None:
                is_all = not self._superseded and all(
                    places[-1] < cut.size(log) for log, places in self._places.items()
                )
                found = self.runs.lines(None if is_all else self.there(cut))
            self._lines[key] = found
            while len(self._lines) > LINES_KEPT:
                self._lines.popitem(last=False)
            return found

    def run(self, reader: Reader, cut: Cut, told: Told) -> Run:
        """The run that a record tells of."""
        with self._lock:
            held = self._read_runs.pop(told.position, None)
            if held is None:
                log, index = told.position
                record = trusted_record(log, index, reader.leaf(log, index))
                data = Books(reader, cut).decode(record)
                if not isinstance(data, dict) or data.get("run_id") != told.run_id:
                    raise StoreCorrupt(f"entry {log}/{index} says something else than it did")
                held = len(record.leaf), run_of(Found(record, data))
                self._read_bytes += held[0]
            self._read_runs[told.position] = held
            while len(self._read_runs) > RUNS_READ or self._read_bytes > RUNS_READ_BYTES:
                _, (let_go, _) = self._read_runs.popitem(last=False)
                self._read_bytes -= let_go
            return held[1]


def _is_wanted(record: Record, entity_type: str, types: frozenset[str]) -> bool:
    event = record.event
    if event is None or event.entity_type != entity_type:
        raise StoreCorrupt(
            f"entry {record.log}/{record.index} is about something else than the index says; "
            "run audit verify"
        )
    return event.type in types and record.entry.kind is Kind.EVENT


_of_ledgers: "OrderedDict[tuple[str, ...], RecordIndex]" = OrderedDict()
_of_readers: "WeakKeyDictionary[Reader, RecordIndex]" = WeakKeyDictionary()
_lock = threading.Lock()


def index_of(reader: Reader, cut: Cut) -> RecordIndex:
    """The index of a reader's ledger, read up to a cut. Raises what `RecordIndex.read` raises."""
    if not reader.complete:  # a bundle: nothing tells its root, so that it is its reader's alone
        with _lock:
            index = _of_readers.setdefault(reader, RecordIndex())
        index.read(reader, cut)
        return index
    key = (reader.address, *(info.origin for info in reader.logs()[:1]))
    with _lock:
        index = _of_ledgers.setdefault(key, RecordIndex())
    if not _holds(reader, index.bound):
        with _lock:
            index = _of_ledgers[key] = RecordIndex()
    index.read(reader, cut)
    with _lock:
        _of_ledgers.setdefault(key, index)
        _of_ledgers.move_to_end(key)
        while sum(one.bytes for one in _of_ledgers.values()) > MAX_HELD_BYTES:
            _of_ledgers.popitem(last=False)
    return index


def _holds(reader: Reader, bound: Mapping[int, Bound] | None) -> bool:
    """Whether the logs are still what was read, or have only grown."""
    if bound is None:
        return False
    try:
        return all(
            reader.size(log) >= size and tree_root(reader.hashes(log, size), size) == root
            for log, (size, root) in bound.items()
        )
    except AuditError:
        return False


def _bound(reader: Reader, sizes: Mapping[int, int]) -> Mapping[int, Bound] | None:
    """What the logs are by now; None where a store cannot tell: then nothing is kept."""
    try:
        return {
            log: Bound(size, tree_root(reader.hashes(log, size), size))
            for log, size in sizes.items()
            if size
        }
    except AuditError:
        return None
