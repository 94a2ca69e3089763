"""The schemas that a log has recorded, each with the index of its first recording.

A payload is read in columns only with a schema that its own log recorded before it: so what a part
holds does not depend on the cut it is read for.
"""

from audit.errors import InvalidInput
from audit.event.avrotype import AvroType
from audit.event.book import SchemaBook
from audit.event.canonical import builtin, schema_hash
from audit.event.envelope import Event
from audit.event.payload import decode_payload
from audit.event.row import Change
from audit.event.types import SCHEMA, SCHEMA_SOURCE
from audit.replay.trusted import trusted_record
from audit.store.contract import Reader

ROW_SCHEMA = schema_hash(builtin("row.v1"))


class KnownSchemas:
    """Schemas by their SHA-256, and from where on they are known."""

    def __init__(self) -> None:
        """None yet."""
        self._first: dict[bytes, int] = {}
        self._book = SchemaBook()

    @classmethod
    def before(cls, reader: Reader, log: int, start: int) -> "KnownSchemas":
        """Those that a log recorded below an index."""
        known = cls()
        if start:
            for index, leaf in reader.special(log, start):
                record = trusted_record(log, index, leaf)
                event = record.event
                if event is not None and event.type == SCHEMA and event.source == SCHEMA_SOURCE:
                    known.note(index, event.event_id, event.payload)
        return known

    def note(self, index: int, event_id: str, canonical: bytes) -> None:
        """An entry that records a schema, as `audit.replay.books` would find it."""
        name = schema_hash(canonical)
        if event_id != name.hex() or name in self._first:
            return
        try:
            self._book.add(canonical)
        except InvalidInput:
            return
        self._first[name] = index

    def first(self, name: bytes) -> int | None:
        """The index at which it was recorded first; None where it was not."""
        return self._first.get(name)

    def declared_row(self, name: bytes) -> AvroType | None:
        """The rows of a declared dataset, where that is the schema of its changes."""
        found = self._book.get(name)
        return None if found is None else found.row

    def decode(self, index: int, type_: str, schema: bytes | None, payload: bytes) -> Change | None:
        """The change in a payload that is not encrypted; None where it cannot be read."""
        if schema is not None and self._first.get(schema, index) >= index:
            return None
        event = Event("", type_, "", payload_schema=schema, payload=payload)
        try:
            said = decode_payload(event, self._book)
        except InvalidInput:
            return None
        return said if isinstance(said, Change) else None
