"""Which record a correction takes out: as in a fold, an earlier one of the same key and log.

A record that was superseded by the cut is no answer any more. Being superseded itself does not undo
what a record superseded.
"""

from audit.log.entry import Kind
from audit.log.record import Record
from audit.replay.fold import Position
from audit.replay.trusted import trusted_record
from audit.store.contract import Reader

MAX_SAME_ID = 100
"""Sources that used one event id; where more did, nobody can tell which one a stranger means."""


def target_of(reader: Reader, record: Record) -> Position | None:
    """The entry that a record supersedes; None when it names none, or none that fits alone.

    Where several sources used the id, its own source is meant.
    """
    event = record.event
    if event is None or event.supersedes is None or record.entry.kind is not Kind.EVENT:
        return None
    own = [
        place
        for place in reader.find_event(event.supersedes, event.source)
        if _fits(reader, record, place)
    ]
    if own:
        return own[0] if len(own) == 1 else None
    places = reader.find_event(event.supersedes)
    if len(places) > MAX_SAME_ID:
        return None
    fits = [place for place in places if _fits(reader, record, place)]
    return fits[0] if len(fits) == 1 else None


def _fits(reader: Reader, record: Record, place: Position) -> bool:
    log, index = place
    if log != record.log or index >= record.index:
        return False
    other = trusted_record(log, index, reader.leaf(log, index))
    one, two = record.event, other.event
    return (
        one is not None
        and two is not None
        and other.entry.kind is Kind.EVENT
        and two.event_id == one.supersedes
        and (two.entity_type, two.entity_key) == (one.entity_type, one.entity_key)
    )
