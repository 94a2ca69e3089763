"""From the store to the fold: the events of one entity below a cut, in recorded order.

A key's history may be in several logs; it is read in the order of recorded time, then log. Index
columns only find entries: what an entry is about is read from its leaf, and compared.
"""

import heapq
from collections.abc import Container, Iterable, Iterator

from audit.errors import InvalidInput, StoreCorrupt
from audit.event.row import Change
from audit.log.entry import Kind
from audit.log.record import Record
from audit.replay.books import Books
from audit.replay.columns import Naming
from audit.replay.fold import DATA_PREFIX, OPS, Position, Step
from audit.replay.points import Cut
from audit.replay.trusted import trusted_record
from audit.store.contract import Located, Reader

__all__ = ["Steps", "entries_used", "trusted_record"]

MAX_SINGLE_KEYS = 50
"""Up to so many keys are read each on its own; for more the entity type is walked through once."""
ANY_KEY = "\ud800"
"""Stands for whatever key; no key is this, as it is no UTF-8."""


class Steps:
    """Reads the events of one entity type at a cut."""

    def __init__(
        self, reader: Reader, entity_type: str, cut: Cut, naming: Naming | None = None
    ) -> None:
        """Fields are called as `naming` says; without it, as they are called at the cut."""
        self.reader = reader
        self.entity_type = entity_type
        self.cut = cut
        self._keyless: dict[int, list[Record]] = {}
        self.naming = Naming(reader, entity_type, cut) if naming is None else naming
        self.books = Books(reader, cut, self.naming.schemas)

    def of_key(self, key: str) -> list[Step]:
        """All events of one key, and the truncates of its type. Reads only these."""
        records: list[Record] = []
        for log, size in self.cut.sizes.items():
            if size:
                records.extend(self._of_row(log, key, size))
        records.sort(key=_order)
        steps = [self.step(record) for record in records]
        if not self.naming.moved:
            return steps
        names = self._names_of(steps)
        return [self._renamed(step, names) for step in steps]

    def of_key_between(self, key: str, log: int, start: int, stop: int) -> list[Step]:
        """The events of one key at the indexes from `start` to `stop`, as they were written."""
        own = self.reader.entity(log, self.entity_type, key, min(stop, self.cut.size(log)), start)
        return [self.step(record) for record in self._records(log, own, key)]

    def _of_row(self, log: int, key: str, size: int) -> list[Record]:
        """The entries of a key, and the few without one: these the same for all, read once."""
        own: Iterable[Located]
        if log in self._keyless:
            own = self.reader.entity(log, self.entity_type, key, size)
        else:
            own, keyless = self.reader.of_row(log, self.entity_type, key, size)
            self._keyless[log] = list(self._records(log, keyless, None))
        # A truncate concerns a key only if the key was seen in its log before.
        return [*self._records(log, own, key), *self._keyless[log]]

    def of_keys(self, keys: Iterable[str]) -> dict[str, list[Step]]:
        """As `of_key` for several keys: one by one when they are few, else in one walk."""
        wanted = frozenset(keys)
        if len(wanted) <= MAX_SINGLE_KEYS:
            return {key: self.of_key(key) for key in wanted}
        found: dict[str, list[Step]] = {key: [] for key in wanted}
        keyless: list[Step] = []
        for step in self.all(wanted):
            event = step.record.event
            if event is None or event.entity_key is None:
                keyless.append(step)
            else:
                found[event.entity_key].append(step)
        if keyless:
            found = {k: sorted(own + keyless, key=lambda s: s.order) for k, own in found.items()}
        return found

    def _names_of(self, steps: list[Step]) -> frozenset[str]:
        """The names of the declared schemas behind a key's events."""
        names = self.naming.names_of(step.record for step in steps)
        if names or not any(self.naming.may_rename(step.change) for step in steps):
            return names
        return self.naming.names_of_dataset()

    def all(self, keys: Container[str] | None = None) -> Iterator[Step]:
        """The events of all keys, or of these keys, in recorded order, with the truncates.

        Flat memory; one walk over the entity type, however many keys are asked for.
        """
        streams = [self._of_log(log, size, keys) for log, size in self.cut.sizes.items() if size]
        if len(streams) == 1:
            return streams[0]
        return heapq.merge(*streams, key=lambda step: step.order)

    def _of_log(self, log: int, size: int, keys: Container[str] | None) -> Iterator[Step]:
        located = self.reader.entity(log, self.entity_type, None, size)
        names = self.naming.names_of_dataset() if self.naming.moved else None
        for record in self._records(log, located):
            key = None if record.event is None else record.event.entity_key
            if keys is not None and key is not None and key not in keys:
                continue
            step = self.step(record)
            yield step if names is None else self._renamed(step, names)

    def keys(self) -> Iterator[str]:
        """Every key ever seen below the cut, once, in byte order."""
        streams = [
            map(_key_bytes, self.reader.entity_keys(log, self.entity_type, size))
            for log, size in self.cut.sizes.items()
            if size
        ]
        last: bytes | None = None
        for key in heapq.merge(*streams):
            if key != last:
                last = key
                yield key.decode()

    def record_at(self, log: int, index: int) -> Record:
        """One entry, wherever it is. Raises NotFound."""
        return trusted_record(log, index, self.reader.leaf(log, index))

    def _records(
        self, log: int, located: Iterable[Located], key: str | None = ANY_KEY
    ) -> Iterator[Record]:
        for index, leaf in located:
            record = trusted_record(log, index, leaf)
            event = record.event
            if event is None or event.entity_type != self.entity_type:
                raise _misplaced(log, index)
            if key is not ANY_KEY and event.entity_key != key:
                raise _misplaced(log, index)
            yield record

    def step(self, record: Record) -> Step:
        """An entry as the fold takes it, its fields called as they were written."""
        recorded_us = record.entry.recorded_time_us
        event = record.event
        if event is None or record.entry.kind is not Kind.EVENT:
            return Step(record, None, None, None, recorded_us)
        valid_us = recorded_us if event.valid_time_us is None else event.valid_time_us
        op = event.type[len(DATA_PREFIX) :] if event.type.startswith(DATA_PREFIX) else None
        if op not in OPS:
            return Step(record, None, None, None, valid_us)
        try:
            payload = self.books.decode(record)
        except InvalidInput as error:
            return Step(record, op, None, str(error), valid_us)
        if not isinstance(payload, Change):
            return Step(record, op, None, "its payload is not a change of a row", valid_us)
        return Step(record, op, payload, None, valid_us)

    def _renamed(self, step: Step, names: frozenset[str]) -> Step:
        if step.change is None:
            return step
        return step._replace(change=self.naming.rename(step.record, step.change, names))


def _key_bytes(key: str) -> bytes:
    try:
        return key.encode()
    except UnicodeEncodeError:
        raise StoreCorrupt("a key in the index is no UTF-8 text; run audit verify") from None


def _order(record: Record) -> tuple[int, int]:
    return record.entry.recorded_time_us, record.log


def _misplaced(log: int, index: int) -> StoreCorrupt:
    return StoreCorrupt(
        f"entry {log}/{index} is about something else than the index says; run audit verify"
    )


def entries_used(
    reader: Reader, entity_type: str, entity_key: str | None, cut: Cut
) -> Iterator[Position]:
    """(log, index) of every entry that an answer about a dataset, or one key, is made from."""
    for log, size in cut.sizes.items():
        for index, _ in reader.entity(log, entity_type, entity_key, size):
            yield log, index
        if entity_key is not None:
            for index, _ in reader.keyless(log, entity_type, size):
                yield log, index
