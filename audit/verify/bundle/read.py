"""Reading a bundle like a ledger: the `Reader` contract over the entries that are in it.

Everything is held in memory, below the limits of `format`. Nothing is verified here, as in
every reader: `verify_bundle` does that, and whoever replays may ask for it.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import Self

from audit.errors import FormatError, LimitExceeded, NotFound
from audit.event.envelope import Event
from audit.event.types import SCHEMA
from audit.log.columns import columns_of
from audit.log.entry import Kind
from audit.log.record import Record, read_record
from audit.store.contract import (
    Counts,
    Located,
    LogInfo,
    OfRow,
    StoredCheckpoint,
    StoredEntry,
    StoredTile,
)
from audit.tlog.hashing import leaf_hash
from audit.tlog.merkle import HashSource
from audit.verify.bundle.format import (
    ENTRIES,
    MAX_ENTRIES,
    MAX_ENTRIES_BYTES,
    BundleLog,
    checkpoint_name,
)
from audit.verify.bundle.hashes import BundleHashes
from audit.verify.bundle.ocf import BundleEntry, read_entries
from audit.verify.bundle.zip import BundleFile

BLOCK_ROWS = 4_096


class _Log:
    """The entries of one log that are in the bundle, by index."""

    def __init__(self, described: BundleLog, note: bytes) -> None:
        self.described = described
        self.note = note
        self.entries: list[BundleEntry] = []
        self.indexes: list[int] = []

    def between(self, start: int, stop: int | None) -> Iterator[BundleEntry]:
        first = bisect_left(self.indexes, start)
        last = len(self.indexes) if stop is None else bisect_left(self.indexes, stop)
        for at in range(first, last):
            yield self.entries[at]


class BundleReader:
    """A bundle as a ledger. See `contract.Reader`; `size` is the one that its checkpoint signs."""

    complete = False

    def __init__(self, path: Path) -> None:
        """Raises StoreMissing, Unavailable, FormatError, LimitExceeded."""
        self.address = f"bundle:///{path}"
        with BundleFile(path) as bundle:
            self.query = bundle.manifest.query
            self._logs = {
                log.log: _Log(log, bundle.read(checkpoint_name(log.log)))
                for log in bundle.manifest.logs
            }
            with bundle.open(ENTRIES) as file:
                for entry in limited(read_entries(file)):
                    log = self._logs.get(entry.log)
                    if log is None or (log.indexes and entry.index <= log.indexes[-1]):
                        raise FormatError("an entry of the bundle is out of order or of no log")
                    if entry.index >= log.described.size:
                        raise FormatError("an entry of the bundle lies above its checkpoint")
                    log.entries.append(entry)
                    log.indexes.append(entry.index)

    def steady(self) -> AbstractContextManager[None]:
        """See `contract.Reader.steady`: what was read of the file does not change."""
        return nullcontext()

    def logs(self) -> list[LogInfo]:
        """See `contract.Reader.logs`."""
        described = [log.described for log in self._logs.values()]
        return [LogInfo(log.log, log.origin, log.vkey) for log in described]

    def size(self, log: int) -> int:
        """See `contract.Reader.size`: what the checkpoint in the bundle claims."""
        found = self._logs.get(log)
        return found.described.size if found else 0

    def sizes(self) -> dict[int, int]:
        """See `contract.Reader.sizes`."""
        return {log: self.size(log) for log in sorted(self._logs)}

    def leaf(self, log: int, index: int) -> bytes:
        """See `contract.Reader.leaf`. Raises NotFound also for what the bundle leaves out."""
        for entry in self._between(log, index, index + 1):
            return entry.leaf
        raise NotFound(f"entry {log}/{index} is not in {self.address}")

    def leaves(self, log: int, start: int = 0, stop: int | None = None) -> Iterator[Located]:
        """See `contract.Reader.leaves`."""
        for entry in self._between(log, start, stop):
            yield Located(entry.index, entry.leaf)

    def leaves_at(self, log: int, indexes: Sequence[int]) -> Iterator[Located]:
        """See `contract.Reader.leaves_at`."""
        for index in indexes:
            yield from self.leaves(log, index, index + 1)

    def stored_entries(
        self, log: int, start: int = 0, stop: int | None = None
    ) -> Iterator[Sequence[StoredEntry]]:
        """See `contract.Reader.stored_entries`; the columns are computed from the leaves."""
        block: list[StoredEntry] = []
        for entry in self._between(log, start, stop):
            record = self._record(entry)
            columns = columns_of(record.entry, record.event)
            block.append(StoredEntry(entry.index, entry.leaf, *columns))
            if len(block) == BLOCK_ROWS:
                yield block
                block = []
        if block:
            yield block

    def size_at(self, log: int, recorded_time_us: int) -> int:
        """See `contract.Reader.size_at`: up to the last entry of the bundle at or before the time.

        Entries that are left out have times too, but nothing in a bundle depends on them.
        """
        found = self._logs.get(log)
        if found is None:
            return 0
        low, high = 0, len(found.entries)
        while low < high:
            middle = (low + high) // 2
            if self._record(found.entries[middle]).recorded_time_us <= recorded_time_us:
                low = middle + 1
            else:
                high = middle
        if low == len(found.entries):
            return found.described.size
        return found.indexes[low - 1] + 1 if low else 0

    def find_event(self, event_id: str, source: str | None = None) -> list[tuple[int, int]]:
        """See `contract.Reader.find_event`. Looks at every entry."""
        return [
            (log, record.index)
            for log in self._logs
            for record, event in self._events(log)
            if event.event_id == event_id and source in (None, event.source)
        ]

    def find_leaf_hash(self, prefix_hex: str, limit: int = 10) -> list[tuple[int, int]]:
        """See `contract.Reader.find_leaf_hash`. Hashes every entry."""
        prefix_hex = prefix_hex.lower()
        found: list[tuple[int, int]] = []
        for log in self._logs:
            for entry in self._between(log, 0, None):
                if len(found) == limit:
                    return found
                if leaf_hash(entry.leaf).hex().startswith(prefix_hex):
                    found.append((log, entry.index))
        return found

    def entity(
        self,
        log: int,
        entity_type: str,
        entity_key: str | None = None,
        stop: int | None = None,
        start: int = 0,
    ) -> Iterator[Located]:
        """See `contract.Reader.entity`."""
        for record, event in self._events(log, stop, start):
            if event.entity_type == entity_type and entity_key in (None, event.entity_key):
                yield Located(record.index, record.leaf)

    def keyless(self, log: int, entity_type: str, stop: int | None = None) -> Iterator[Located]:
        """See `contract.Reader.keyless`."""
        for record, event in self._events(log, stop):
            if event.entity_type == entity_type and event.entity_key is None:
                yield Located(record.index, record.leaf)

    def of_row(self, log: int, entity_type: str, entity_key: str, stop: int | None = None) -> OfRow:
        """See `contract.Reader.of_row`."""
        own = self.entity(log, entity_type, entity_key, stop)
        return OfRow(list(own), list(self.keyless(log, entity_type, stop)))

    def entity_keys(self, log: int, entity_type: str, stop: int | None = None) -> Iterator[str]:
        """See `contract.Reader.entity_keys`."""
        keys = {
            event.entity_key
            for _, event in self._events(log, stop)
            if event.entity_type == entity_type and event.entity_key is not None
        }
        yield from sorted(keys, key=str.encode)

    def entity_types(self, log: int, stop: int | None = None) -> list[str]:
        """See `contract.Reader.entity_types`."""
        return sorted({e.entity_type for _, e in self._events(log, stop) if e.entity_type})

    def special(
        self, log: int, stop: int | None = None, kind: int | None = None, start: int = 0
    ) -> Iterator[Located]:
        """See `contract.Reader.special`."""
        for entry in self._between(log, start, stop):
            record = self._record(entry)
            if kind is not None and record.entry.kind != kind:
                continue
            if record.entry.kind is not Kind.EVENT or _is_schema(record):
                yield Located(record.index, record.leaf)

    def counts(self, log: int, stop: int | None = None) -> Counts:
        """See `contract.Reader.counts`; counts what is in the bundle, but `size` is the log's."""
        events = schemas = control = quarantined = 0
        for entry in self._between(log, 0, stop):
            record = self._record(entry)
            if record.entry.kind is Kind.QUARANTINED:
                quarantined += 1
            elif record.entry.kind is Kind.CONTROL:
                control += 1
            elif _is_schema(record):
                schemas += 1
            else:
                events += 1
        size = self.size(log) if stop is None else min(stop, self.size(log))
        return Counts(size, events, schemas, control, quarantined)

    def newest_checkpoint(self, log: int) -> StoredCheckpoint | None:
        """See `contract.Reader.newest_checkpoint`: there is one for each log."""
        found = self._logs.get(log)
        return StoredCheckpoint(found.described.size, found.note) if found else None

    def covering_checkpoint(self, log: int, size: int) -> StoredCheckpoint | None:
        """See `contract.Reader.covering_checkpoint`."""
        checkpoint = self.newest_checkpoint(log)
        return checkpoint if checkpoint and checkpoint.size >= size else None

    def checkpoints(self, log: int, start_size: int = 0) -> Iterator[StoredCheckpoint]:
        """See `contract.Reader.checkpoints`."""
        checkpoint = self.covering_checkpoint(log, start_size)
        if checkpoint is not None:
            yield checkpoint

    def tile(self, log: int, level: int, index: int) -> bytes | None:
        """See `contract.Reader.tile`: a bundle holds proofs, and no tiles."""
        return None

    def tiles(self, log: int) -> Iterator[StoredTile]:
        """See `contract.Reader.tiles`: a bundle has none."""
        return iter(())

    def hashes(self, log: int, size: int) -> HashSource:
        """See `contract.Reader.hashes`: only for the size of the checkpoint, from its proofs."""
        found = self._logs.get(log)
        if found is None or size != found.described.size:
            raise NotFound(f"{self.address} has no proofs for size {size} of log {log}")
        return BundleHashes(size, found.indexes, found.entries, found.described.edge)

    def defects(self) -> list[tuple[str, str]]:
        """See `contract.Reader.defects`: a file has no schema."""
        return []

    def index_defects(self) -> list[tuple[str, str]]:
        """See `contract.Reader.index_defects`: a file has no indexes."""
        return []

    def warnings(self) -> list[tuple[str, str]]:
        """See `contract.Reader.warnings`: a file has no guards."""
        return []

    def close(self) -> None:
        """See `contract.Reader.close`: the file was closed after it was read."""

    def __enter__(self) -> Self:
        """Use as a context manager."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Close."""

    def _between(self, log: int, start: int, stop: int | None) -> Iterator[BundleEntry]:
        found = self._logs.get(log)
        return found.between(start, stop) if found else iter(())

    def _events(
        self, log: int, stop: int | None = None, start: int = 0
    ) -> Iterator[tuple[Record, Event]]:
        for entry in self._between(log, start, stop):
            record = self._record(entry)
            if record.event is not None:
                yield record, record.event

    @staticmethod
    def _record(entry: BundleEntry) -> Record:
        record = read_record(entry.log, entry.leaf)
        if record.index != entry.index:
            raise FormatError(f"the entry filed as {entry.index} says it is {record.index}")
        return record


def limited(entries: Iterator[BundleEntry]) -> Iterator[BundleEntry]:
    """The same entries; raises LimitExceeded when they become too many or too large."""
    total = 0
    for count, entry in enumerate(entries, 1):
        total += len(entry.leaf) + 32 * len(entry.proof)
        if count > MAX_ENTRIES or total > MAX_ENTRIES_BYTES:
            raise LimitExceeded(
                f"a bundle has at most {MAX_ENTRIES:,} entries of {MAX_ENTRIES_BYTES:,} bytes"
            )
        yield entry


def open_bundle(path: Path | str) -> BundleReader:
    """Open a bundle for reading. Raises StoreMissing, Unavailable, FormatError, LimitExceeded."""
    return BundleReader(Path(path))


def _is_schema(record: Record) -> bool:
    return record.event is not None and record.event.type == SCHEMA
