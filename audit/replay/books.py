"""The schemas of a ledger at a cut: a payload is read with what its own log held by then.

Schemas are looked up by their hash, one index seek each, when a payload first asks for them; so
reading one row costs no walk through all schemas.
"""

from typing import Any

from audit.event.book import PayloadSchema, SchemaBook
from audit.event.canonical import schema_hash
from audit.event.payload import decode_payload
from audit.event.row import Change
from audit.event.types import SCHEMA, SCHEMA_SOURCE
from audit.log.record import Record, read_record
from audit.replay.points import Cut
from audit.store.contract import Reader


class LogBook(SchemaBook):
    """The schemas of one log below a size, loaded as they are asked for."""

    def __init__(self, reader: Reader, log: int, size: int) -> None:
        """Nothing is read yet."""
        super().__init__()
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
        for log, index in self._reader.find_event(name.hex(), SCHEMA_SOURCE):
            if log != self._log or index >= self._size:
                continue
            event = read_record(log, self._reader.leaf(log, index)).event
            if event is not None and event.type == SCHEMA and schema_hash(event.payload) == name:
                self.add(event.payload)
                return
        self._missing.add(name)


class Books:
    """A book for each log of a ledger, at a cut."""

    def __init__(self, reader: Reader, cut: Cut) -> None:
        """Nothing is read yet."""
        self._reader = reader
        self._cut = cut
        self._books: dict[int, LogBook] = {}

    def of_log(self, log: int) -> LogBook:
        """The book of one log."""
        book = self._books.get(log)
        if book is None:
            book = self._books[log] = LogBook(self._reader, log, self._cut.size(log))
        return book

    def decode(self, record: Record) -> Change | dict[str, Any]:
        """What the entry's payload says; nothing for an entry without an event.

        Raises UnknownSchema, FormatError or LimitExceeded when it cannot be read.
        """
        if record.event is None:
            return {}
        return decode_payload(record.event, self.of_log(record.log))
