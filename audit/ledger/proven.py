"""A dataset as all leaves of the logs have it, hashed up to a tree head that a trusted key signed.

The index columns of the store are not asked what belongs to the dataset: every leaf up to a signed
checkpoint is read in order, hashed into the tree, and looked at. So nothing can be left out, put
elsewhere, or changed between. What is found is then read again from the store when it is folded,
and each leaf compared with the hash that was noted.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from typing import cast

from audit.errors import InvalidProof, NotFound, StoreCorrupt
from audit.event.types import SCHEMA, SCHEMA_SOURCE
from audit.log.entry import Kind
from audit.replay.trusted import trusted_record
from audit.store.contract import Located, LogInfo, OfRow, Reader
from audit.tlog.checkpoint import Checkpoint
from audit.tlog.hashing import HASH_BYTES, leaf_hash
from audit.tlog.merkle import TreeEdge

HASHED_AT_ONCE = 4_096
"""Leaves hashed into the tree in one step."""
READ_SINGLY = 16
"""Where fewer than one in so many entries is wanted, entries are read one by one."""


class _Noted:
    """Some entries of one log: indexes in rising order, and the hash of each leaf."""

    def __init__(self) -> None:
        self.indexes = array("Q")
        self.hashes = bytearray()

    def add(self, index: int, hashed: bytes) -> None:
        self.indexes.append(index)
        self.hashes += hashed

    def between(self, start: int, stop: int | None) -> Iterator[tuple[int, bytes]]:
        at = bisect_left(self.indexes, start)
        end = len(self.indexes) if stop is None else bisect_left(self.indexes, stop)
        for place in range(at, end):
            first = place * HASH_BYTES
            yield self.indexes[place], bytes(self.hashes[first : first + HASH_BYTES])


class _ProvenLog:
    """What one log holds of a dataset, and its schemas, up to a signed size."""

    def __init__(self, reader: Reader, log: int, checkpoint: Checkpoint, entity_type: str) -> None:
        self.size = checkpoint.size
        self.events = _Noted()
        self.keyless = _Noted()
        self.schemas = _Noted()
        self.schemas_by_id: dict[str, list[int]] = {}
        self.by_key: dict[str, array[int]] = {}
        self._reader = reader
        self._log = log
        self._entity_type = entity_type
        self._hash_all(checkpoint)

    def _hash_all(self, checkpoint: Checkpoint) -> None:
        of_dataset, of_schema = self._entity_type.encode(), SCHEMA_SOURCE.encode()
        edge = TreeEdge.empty()
        hashes: list[bytes] = []
        expected = 0
        for index, leaf in self._reader.leaves(self._log, 0, self.size):
            if index != expected:
                break
            expected += 1
            hashed = leaf_hash(leaf)
            hashes.append(hashed)
            if len(hashes) == HASHED_AT_ONCE:
                edge, _ = edge.extend(hashes)
                hashes = []
            # A leaf holds these texts as they are, so one without them is about something else.
            if of_dataset in leaf or of_schema in leaf:
                self._look_at(index, leaf, hashed)
        if expected < self.size:
            raise StoreCorrupt(f"entry {self._log}/{expected} is missing")
        edge, _ = edge.extend(hashes)
        if edge.root() != checkpoint.root:
            raise InvalidProof(
                f"the leaves of {checkpoint.origin} do not hash to the root that its checkpoint of "
                f"size {self.size:,} signs; audit verify finds out which"
            )

    def _look_at(self, index: int, leaf: bytes, hashed: bytes) -> None:
        record = trusted_record(self._log, index, leaf)
        event = record.event
        if event is None or record.entry.kind is Kind.QUARANTINED:
            return
        if event.type == SCHEMA and record.entry.kind is Kind.EVENT:
            self.schemas.add(index, hashed)
            self.schemas_by_id.setdefault(event.event_id, []).append(index)
        if event.entity_type != self._entity_type:
            return
        self.events.add(index, hashed)
        if event.entity_key is None:
            self.keyless.add(index, hashed)
        else:
            own = self.by_key.get(event.entity_key)
            if own is None:
                own = self.by_key[event.entity_key] = array("Q")
            own.append(index)

    def read(self, noted: _Noted, start: int = 0, stop: int | None = None) -> Iterator[Located]:
        """The leaves that were noted, each as it was hashed."""
        wanted = list(noted.between(start, stop))
        if not wanted:
            return
        first, last = wanted[0][0], wanted[-1][0] + 1
        if len(wanted) * READ_SINGLY < last - first:
            for index, hashed in wanted:
                yield self._same(index, self._reader.leaf(self._log, index), hashed)
            return
        leaves = self._reader.leaves(self._log, first, last)
        for index, hashed in wanted:
            located = next((one for one in leaves if one.index >= index), None)
            if located is None or located.index != index:
                raise StoreCorrupt(f"entry {self._log}/{index} is missing")
            yield self._same(index, located.leaf, hashed)

    def one(self, index: int) -> Located:
        """One leaf that was noted. Raises NotFound for another."""
        for noted in (self.events, self.schemas):
            for _, hashed in noted.between(index, index + 1):
                return self._same(index, self._reader.leaf(self._log, index), hashed)
        raise NotFound(f"entry {self._log}/{index} is not among those that were proven")

    def _same(self, index: int, leaf: bytes, hashed: bytes) -> Located:
        if leaf_hash(leaf) != hashed:
            raise StoreCorrupt(f"entry {self._log}/{index} was changed while it was checked")
        return Located(index, leaf)


class ProvenReader:
    """What replaying one dataset asks of a reader, answered from proven leaves alone."""

    complete = True

    def __init__(
        self,
        reader: Reader,
        entity_type: str,
        checkpoints: Mapping[int, Checkpoint],
    ) -> None:
        """Read and hash all leaves of each log up to its checkpoint, whose signature was checked.

        Raises InvalidProof, StoreCorrupt, Unavailable.
        """
        self.address = reader.address
        self.entity_type = entity_type
        self._infos = [info for info in reader.logs() if info.log in checkpoints]
        self._logs: dict[int, _ProvenLog] = {}
        for log, checkpoint in checkpoints.items():
            self._logs[log] = _ProvenLog(reader, log, checkpoint, entity_type)

    @property
    def leaves_hashed(self) -> int:
        """How many leaves there were."""
        return sum(log.size for log in self._logs.values())

    def as_reader(self) -> Reader:
        """The same, for those who ask for no more than this has."""
        return cast(Reader, self)

    def logs(self) -> list[LogInfo]:
        """See `contract.Reader.logs`."""
        return self._infos

    def size(self, log: int) -> int:
        """See `contract.Reader.size`: up to the signed checkpoint."""
        return self._logs[log].size

    def sizes(self) -> dict[int, int]:
        """See `contract.Reader.sizes`: up to the signed checkpoints."""
        return {info.log: self._logs[info.log].size for info in self._infos}

    def leaf(self, log: int, index: int) -> bytes:
        """See `contract.Reader.leaf`: of the dataset's entries, and schemas."""
        return self._logs[log].one(index).leaf

    def find_event(self, event_id: str, source: str | None = None) -> list[tuple[int, int]]:
        """See `contract.Reader.find_event`: schemas alone."""
        if source != SCHEMA_SOURCE:
            return []
        return [
            (log, index)
            for log in sorted(self._logs)
            for index in self._logs[log].schemas_by_id.get(event_id, ())
        ]

    def entity(
        self,
        log: int,
        entity_type: str,
        entity_key: str | None = None,
        stop: int | None = None,
        start: int = 0,
    ) -> Iterator[Located]:
        """See `contract.Reader.entity`: of the one dataset."""
        proven = self._logs.get(log)
        if proven is None or entity_type != self.entity_type:
            return
        if entity_key is None:
            yield from proven.read(proven.events, start, stop)
            return
        for index in proven.by_key.get(entity_key, ()):
            if index >= start and (stop is None or index < stop):
                yield proven.one(index)

    def keyless(self, log: int, entity_type: str, stop: int | None = None) -> Iterator[Located]:
        """See `contract.Reader.keyless`: of the one dataset."""
        proven = self._logs.get(log)
        if proven is not None and entity_type == self.entity_type:
            yield from proven.read(proven.keyless, 0, stop)

    def of_row(self, log: int, entity_type: str, entity_key: str, stop: int | None = None) -> OfRow:
        """See `contract.Reader.of_row`: of the one dataset."""
        own = self.entity(log, entity_type, entity_key, stop)
        return OfRow(list(own), list(self.keyless(log, entity_type, stop)))

    def entity_keys(self, log: int, entity_type: str, stop: int | None = None) -> Iterator[str]:
        """See `contract.Reader.entity_keys`: of the one dataset."""
        proven = self._logs.get(log)
        if proven is not None and entity_type == self.entity_type:
            for key in sorted(proven.by_key, key=str.encode):
                if stop is None or proven.by_key[key][0] < stop:
                    yield key

    def entity_types(self, log: int, stop: int | None = None) -> list[str]:
        """See `contract.Reader.entity_types`: the one dataset, where there is something of it."""
        return [self.entity_type] if self._logs[log].events.indexes else []

    def special(
        self, log: int, stop: int | None = None, kind: int | None = None, start: int = 0
    ) -> Iterator[Located]:
        """See `contract.Reader.special`: schemas alone."""
        proven = self._logs.get(log)
        if proven is not None and kind in (None, int(Kind.EVENT)):
            yield from proven.read(proven.schemas, start, stop)
