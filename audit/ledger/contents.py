"""What the entries of a ledger say: payloads read with the schemas that the ledger knows by now."""

from typing import Any

from audit.event.jsonform import event_to_json
from audit.event.row import Change
from audit.event.times import format_time
from audit.event.values import Value, to_json
from audit.log.record import Record
from audit.replay.books import Books
from audit.replay.points import resolve
from audit.store.contract import Reader


class Contents:
    """Reads what records say. Schemas are read again when a newer record comes along."""

    def __init__(self, reader: Reader) -> None:
        """Nothing is read yet."""
        self._reader = reader
        self._cut = resolve(reader, None, 0)
        self._books = Books(reader, self._cut)

    def of(self, record: Record) -> Change | dict[str, Value]:
        """What a record's event says. Raises FormatError, LimitExceeded where it cannot be read."""
        return self._books_for(record).decode(record)

    def to_json(self, record: Record) -> dict[str, Any]:
        """A record as JSON: its event in the form of INTERFACE, and where the log put it."""
        if record.event is None:
            said: dict[str, Any] = {
                "quarantined": record.entry.reason,
                "event": to_json(record.entry.event),
            }
        else:
            said = event_to_json(record.event, self._books_for(record).of_log(record.log))
        return {
            **said,
            "log": record.log,
            "index": record.index,
            "recorded_time": format_time(record.recorded_time_us),
            "leaf_hash": record.leaf_hash.hex(),
        }

    def _books_for(self, record: Record) -> Books:
        if not self._cut.holds((record.log, record.index)):
            self._cut = resolve(self._reader, None, 0)
            self._books = Books(self._reader, self._cut)
        return self._books
