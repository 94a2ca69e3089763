"""From the store to the fold: the events of one entity below a cut, in recorded order.

A key's history may be in several logs; it is read in the order of recorded time, then log. Index
columns only find entries: what an entry is about is read from its leaf, and compared.
"""

import heapq
from collections.abc import Iterable, Iterator, Mapping

from audit.errors import InvalidInput, StoreCorrupt
from audit.event.envelope import Event
from audit.event.row import Change
from audit.log.entry import Kind
from audit.log.record import Record, read_record
from audit.replay.books import Books
from audit.replay.fold import DATA_PREFIX, OPS, Position, Row, Step
from audit.replay.points import Cut
from audit.store.contract import Located, Reader

Renames = Mapping[str, str]
"""Field as it was called -> as it is called now."""


class Steps:
    """Reads the events of one entity type at a cut."""

    def __init__(
        self, reader: Reader, entity_type: str, cut: Cut, renames: Renames | None = None
    ) -> None:
        """`renames` is applied to the fields of every change."""
        self.reader = reader
        self.entity_type = entity_type
        self.cut = cut
        self.books = Books(reader, cut)
        self._renames = renames or {}

    def of_key(self, key: str) -> list[Step]:
        """All events of one key, and the truncates of its type. Reads only these."""
        found: list[Step] = []
        for log, size in self.cut.sizes.items():
            if size:
                found.extend(self._of_key(log, key, size))
        found.sort(key=lambda step: step.order)
        return found

    def _of_key(self, log: int, key: str, size: int) -> Iterator[Step]:
        own = self.reader.entity(log, self.entity_type, key, size)
        for record in self._records(log, own):
            self._require(record, key)
            yield self.step(record)
        # A truncate concerns a key only if the key was seen in its log before.
        for record in self._records(log, self.reader.keyless(log, self.entity_type, size)):
            self._require(record, None)
            yield self.step(record)

    def all(self, start: Mapping[int, int] | None = None) -> Iterator[Step]:
        """The events of all keys in recorded order, from these sizes on if given. Flat memory."""
        streams = []
        for log, size in self.cut.sizes.items():
            first = 0 if start is None else start.get(log, 0)
            if first < size:
                streams.append(self._of_log(log, first, size))
        if len(streams) == 1:
            return streams[0]
        return heapq.merge(*streams, key=lambda step: step.order)

    def _of_log(self, log: int, first: int, size: int) -> Iterator[Step]:
        located = self.reader.entity(log, self.entity_type, None, size, first)
        for record in self._records(log, located):
            yield self.step(record)

    def keys(self) -> Iterator[str]:
        """Every key ever seen below the cut, once, in byte order."""
        streams = [
            (key.encode() for key in self.reader.entity_keys(log, self.entity_type, size))
            for log, size in self.cut.sizes.items()
            if size
        ]
        last: bytes | None = None
        for key in heapq.merge(*streams):
            if key != last:
                last = key
                yield key.decode()

    def is_empty(self) -> bool:
        """True when nothing of this type is recorded below the cut."""
        return next(self.all(), None) is None

    def record_at(self, log: int, index: int) -> Record:
        """One entry, wherever it is. Raises NotFound."""
        return trusted_record(log, index, self.reader.leaf(log, index))

    def _records(self, log: int, located: Iterable[Located]) -> Iterator[Record]:
        for index, leaf in located:
            record = trusted_record(log, index, leaf)
            event = record.event
            if event is None or event.entity_type != self.entity_type:
                raise _misplaced(log, index)
            yield record

    def _require(self, record: Record, key: str | None) -> None:
        if record.event is None or record.event.entity_key != key:
            raise _misplaced(record.log, record.index)

    def step(self, record: Record) -> Step:
        """An entry as the fold takes it."""
        recorded_us = record.entry.recorded_time_us
        event = record.event
        if event is None or record.entry.kind is not Kind.EVENT:
            return Step(record, None, None, None, recorded_us)
        valid_us = recorded_us if event.valid_time_us is None else event.valid_time_us
        op = event.type[len(DATA_PREFIX) :] if event.type.startswith(DATA_PREFIX) else None
        if op not in OPS:
            return Step(record, None, None, None, valid_us)
        change, problem = self._change(record, event)
        return Step(record, op, change, problem, valid_us)

    def _change(self, record: Record, event: Event) -> tuple[Change | None, str | None]:
        if event.encryption is not None:
            return None, f"encrypted with a key that is not here ({event.encryption.key_id})"
        try:
            payload = self.books.decode(record)
        except InvalidInput as error:
            return None, str(error)
        if not isinstance(payload, Change):
            return None, "its payload is not a change of a row"
        return self._renamed(payload), None

    def _renamed(self, change: Change) -> Change:
        if not self._renames:
            return change
        return change._replace(
            before=rename_fields(change.before, self._renames),
            after=rename_fields(change.after, self._renames),
        )


def rename_fields(fields: Row | None, renames: Renames) -> Row | None:
    """The fields under the names they have now; a field that has that name already wins."""
    if not fields or renames.keys().isdisjoint(fields):
        return fields
    renamed = {renames[name]: value for name, value in fields.items() if name in renames}
    renamed.update((name, value) for name, value in fields.items() if name not in renames)
    return renamed


def trusted_record(log: int, index: int, leaf: bytes) -> Record:
    """Decode a leaf. Raises StoreCorrupt when it is none, or not the one of this index."""
    try:
        record = read_record(log, leaf)
    except InvalidInput as error:
        raise StoreCorrupt(f"entry {log}/{index} cannot be read: {error}; run audit verify") from None
    if record.index != index:
        raise StoreCorrupt(
            f"entry {log}/{index} says that it is entry {record.index}; run audit verify"
        )
    return record


def _misplaced(log: int, index: int) -> StoreCorrupt:
    return StoreCorrupt(
        f"entry {log}/{index} is about something else than the index says; run audit verify"
    )


def entries_used(
    reader: Reader, entity_type: str, entity_key: str | None, cut: Cut
) -> Iterator[Position]:
    """(log, index) of every entry that an answer about a dataset, or one key of it, is made from."""
    for log, size in cut.sizes.items():
        for index, _ in reader.entity(log, entity_type, entity_key, size):
            yield log, index
        if entity_key is not None:
            for index, _ in reader.keyless(log, entity_type, size):
                yield log, index
