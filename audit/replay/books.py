"""The schemas of a ledger at a cut: a payload is read with what its own log held by then.

Schemas are looked up by their hash, one index seek each, when a payload first asks for them; so
reading one row costs no walk through all schemas. Whoever has read them already passes them on.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from audit.event.book import PayloadSchema, SchemaBook
from audit.event.canonical import schema_hash
from audit.event.payload import decode_payload
from audit.event.row import Change
from audit.event.types import SCHEMA, SCHEMA_SOURCE
from audit.log.record import Record
from audit.replay.points import Cut
from audit.replay.schemas import SchemaEvent
from audit.replay.trusted import trusted_record
from audit.store.contract import Reader


class LogBook(SchemaBook):
    """The schemas of one log below a size, loaded as they are asked for."""

    def __init__(
        self, reader: Reader, log: int, size: int | None, read: Iterable[SchemaEvent] = ()
    ) -> None:
        """Nothing is read yet. Without a size: whatever the log holds when it is asked.

        `read`: schema events of this log that were read already.
        """
        super().__init__()
        self._read = {
            event.hash: event.canonical
            for event in read
            if event.by_hash and (size is None or event.index < size)
        }
        self._reader = reader
        self._log = log
        self._size = size
        self._missing: set[bytes] = set()

    def get(self, name: bytes) -> PayloadSchema | None:
        """See `SchemaBook.get`."""
        if name not in self._canonical and name not in self._missing:
            self._load(name)
        return super().get(name)

    def canonical(self, name: bytes) -> bytes | None:
        """See `SchemaBook.canonical`."""
        self.get(name)
        return super().canonical(name)

    def __contains__(self, name: object) -> bool:
        """True when the log holds this schema below the size."""
        return isinstance(name, bytes) and self.get(name) is not None

    def _load(self, name: bytes) -> None:
        if name in self._read:
            self.add(self._read[name])
            return
        for log, index in self._reader.find_event(name.hex(), SCHEMA_SOURCE):
            if log != self._log or (self._size is not None and index >= self._size):
                continue
            event = trusted_record(log, index, self._reader.leaf(log, index)).event
            if event is not None and event.type == SCHEMA and schema_hash(event.payload) == name:
                self.add(event.payload)
                return
        if self._size is not None:
            self._missing.add(name)


class Books:
    """A book for each log of a ledger, at a cut; without one, of what it holds when asked."""

    def __init__(
        self,
        reader: Reader,
        cut: Cut | None,
        read: Mapping[int, Iterable[SchemaEvent]] | None = None,
    ) -> None:
        """Nothing is read yet, but the schema events of some logs perhaps: `read`."""
        self._read = {} if read is None else read
        self._reader = reader
        self._cut = cut
        self._books: dict[int, LogBook] = {}

    def of_log(self, log: int) -> LogBook:
        """The book of one log."""
        book = self._books.get(log)
        if book is None:
            size = None if self._cut is None else self._cut.size(log)
            book = self._books[log] = LogBook(self._reader, log, size, self._read.get(log, ()))
        return book

    def decode(self, record: Record) -> Change | dict[str, Any]:
        """What the entry's payload says; nothing for an entry without an event.

        Raises UnknownSchema, FormatError or LimitExceeded when it cannot be read.
        """
        if record.event is None:
            return {}
        return decode_payload(record.event, self.of_log(record.log))
