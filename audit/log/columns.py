"""What the store's index columns must say of an entry: computed when writing and when verifying.

The columns find entries; they prove nothing. A verifier computes them again from the leaf and
compares. What a QUARANTINED entry claims to be is not indexed: its `event_id` column holds the
SHA-256 of its bytes, so that a repeat of it is found, and the rest is null.
"""

from hashlib import sha256
from typing import NamedTuple

from audit.event.envelope import Event
from audit.log.entry import Entry, Kind
from audit.log.sequence import Draft

_NUMBER = {kind: int(kind) for kind in Kind}


class Columns(NamedTuple):
    """The index columns of one entry, in the order of the entries table after `index`."""

    recorded_time_us: int
    kind: int
    type: str | None
    source: bytes | None
    event_id: bytes | None
    entity_type: str | None
    entity_key: bytes | None
    signature: bytes | None


def columns_of(entry: Entry, event: Event | None) -> Columns:
    """The columns of a decoded entry. `event` is None exactly when the entry is quarantined."""
    return make_columns(entry, event)._replace(recorded_time_us=entry.recorded_time_us)


def make_columns(draft: Draft | Entry, event: Event | None) -> Columns:
    """The columns before there is a recorded time, which is 0 here.

    Producers' strings become UTF-8 bytes: SQL text has limits that they do not have.
    """
    if event is None or draft.kind is Kind.QUARANTINED:
        digest = sha256(draft.event).digest()
        kind = int(Kind.QUARANTINED)
        return Columns(0, kind, None, None, digest, None, None, draft.signature)
    event_id, type_, source, entity_type, entity_key = event[:5]
    key = None if entity_key is None else entity_key.encode()
    columns = (
        *(0, _NUMBER[draft.kind], type_, source.encode(), event_id.encode()),
        *(entity_type, key, draft.signature),
    )
    return tuple.__new__(Columns, columns)
