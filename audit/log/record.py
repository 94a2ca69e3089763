"""An entry read back: the leaf, the entry in it and the event in that."""

from typing import NamedTuple

from audit.event.envelope import Event, decode_event
from audit.log.entry import Entry, Kind, decode_entry
from audit.tlog.hashing import leaf_hash


class Record(NamedTuple):
    """A decoded leaf with its place. `event` is None when the entry is QUARANTINED."""

    log: int
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    leaf: bytes
    entry: Entry
    event: Event | None

    @property
    def leaf_hash(self) -> bytes:
        """SHA-256(0x00 || leaf), RFC 6962 section 2.1."""
        return leaf_hash(self.leaf)

    @property
    def recorded_time_us(self) -> int:
        """When the log recorded it, microseconds since the epoch."""
        return self.entry.recorded_time_us


def read_record(log: int, leaf: bytes) -> Record:
    """Decode a leaf and its event. Raises FormatError on bytes that are not a leaf."""
    entry = decode_entry(leaf)
    event = None if entry.kind is Kind.QUARANTINED else decode_event(entry.event)
    return Record(log, entry.index, leaf, entry, event)
