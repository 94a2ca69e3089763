"""Step: say which events are recorded twice, by reading the entries whose ids hash alike."""

from collections.abc import Mapping, Sequence

from audit.errors import FormatError, LimitExceeded, NotFound
from audit.event.envelope import Event, decode_event, same_event
from audit.log.entry import Kind, decode_entry
from audit.verify.guarded import GuardedReader
from audit.verify.noted import Notes
from audit.verify.steps.ids import split_place

MAX_COPIES_READ = 100
"""Copies of one event that are read; more of them say nothing new."""


class Place:
    """An event at its place, read back."""

    __slots__ = ("event", "event_bytes", "index", "kind", "log")

    def __init__(self, log: int, index: int, kind: Kind, event_bytes: bytes, event: Event) -> None:
        self.log = log
        self.index = index
        self.kind = kind
        self.event_bytes = event_bytes
        self.event = event


def report_repeats(
    reader: GuardedReader,
    candidates: Sequence[Sequence[int]],
    logs: Sequence[tuple[int, str]],
    notes: Mapping[int, Notes],
    warnings: Notes,
) -> None:
    """Compare the events at candidate places; `logs` gives (log, origin) by ordinal."""
    for places in candidates:
        first: dict[tuple[str, str], Place] = {}
        for place in places[:MAX_COPIES_READ]:
            ordinal, index = split_place(place)
            read = _read(reader, logs[ordinal][0], index)
            if read is None:
                continue
            key = (read.event.source, read.event.event_id)
            earlier = first.setdefault(key, read)
            if earlier is not read:
                _report(earlier, read, logs[ordinal][1], notes[read.log], warnings)


def _report(earlier: Place, later: Place, origin: str, notes: Notes, warnings: Notes) -> None:
    name = f"event {later.event.event_id!a:.160} of {later.event.source!a:.160}"
    if earlier.log != later.log:
        warnings.add(
            "event_id_in_two_logs",
            later.index,
            f"{name} is at index {later.index} of {origin} and at index {earlier.index} "
            "of another log",
        )
    elif same_event(earlier.event_bytes, later.event_bytes):
        notes.add(
            "duplicate_event",
            later.index,
            f"{name} at index {later.index} was recorded already at index {earlier.index}",
        )
    else:
        notes.add(
            "conflicting_event",
            later.index,
            f"{name} at index {later.index} differs from the one at index {earlier.index}",
        )


def _read(reader: GuardedReader, log: int, index: int) -> Place | None:
    try:
        entry = decode_entry(reader.leaf(log, index))
        if entry.kind is Kind.QUARANTINED:
            return None
        return Place(log, index, entry.kind, entry.event, decode_event(entry.event))
    except (FormatError, LimitExceeded, NotFound):
        return None  # reported by the step that decodes every entry
