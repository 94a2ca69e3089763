"""The common case of `intake.accept`, in half of its time: a plain event, scanned and not decoded.

What it gives is what `accept` gives, always: where the scan does not judge, `accept` does.
"""

from audit.event.envelope import EVENT_SCHEMA_HASH
from audit.event.envelope_scan import Names, names_bytes, names_of, scan_event
from audit.event.types import SCHEMA
from audit.log.columns import Columns
from audit.log.entry import SIGNATURE_BYTES, Kind, SourceSpan
from audit.log.intake import Incoming, Message, accept
from audit.log.sequence import Draft

MAX_KNOWN = 4_096
"""How many combinations of names are remembered: they are few and repeat."""

_EVENT = int(Kind.EVENT)
_new = tuple.__new__
_known: dict[bytes, Names] = {}


def accept_event(event: bytes, signature: bytes | None, source: SourceSpan) -> Incoming:
    """As `accept` of a Message. Raises LimitExceeded when it is larger than a leaf can hold."""
    found = scan_event(event, _known)
    if found is None or (signature is not None and len(signature) != SIGNATURE_BYTES):
        return _accept(Message(event, signature, source))
    (type_, named, entity_type, _), event_id, key = found
    draft = _new(Draft, (Kind.EVENT, EVENT_SCHEMA_HASH, source, None, signature, event))
    columns = (0, _EVENT, type_, named, event_id, entity_type, key, signature)
    return _new(Incoming, (draft, _new(Columns, columns)))


def _accept(message: Message) -> Incoming:
    item = accept(message)
    columns = item.columns
    # What the names decide was decided just now: a reserved type or source is quarantined. Schemas
    # are looked at one by one.
    if item.is_quarantined or columns.type in (None, SCHEMA) or len(_known) >= MAX_KNOWN:
        return item
    type_, named, entity_type = columns.type, columns.source, columns.entity_type
    assert type_ is not None and named is not None
    raw = names_bytes(type_, named, entity_type)
    if raw is not None:
        _known[raw] = names_of(type_, named, entity_type)
    return item
