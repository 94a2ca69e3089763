"""What may enter a log: a message is checked, and becomes a draft with the columns to find it by.

Nothing is dropped here. What cannot be decoded becomes a QUARANTINED draft that holds its bytes and
the reason, so that every message of a source is accounted for.
"""

from typing import NamedTuple

from audit.errors import FormatError, InvalidInput, LimitExceeded
from audit.event.build import schema_event
from audit.event.envelope import EVENT_SCHEMA_HASH, Event, decode_event
from audit.event.types import CONTROL_TYPES, SCHEMA, SCHEMA_SOURCE
from audit.log.columns import Columns, make_columns
from audit.log.entry import (
    MAX_EVENT_IN_LEAF_BYTES,
    MAX_REASON_BYTES,
    SIGNATURE_BYTES,
    Kind,
    SourceSpan,
)
from audit.log.sequence import Draft

CONFLICT_REASON = "EVENT_ID_CONFLICT"
UNDECODABLE_REASON = "UNDECODABLE"
SIGNATURE_REASON = "SIGNATURE_MALFORMED"
RESERVED_REASON = "RESERVED"
SCHEMA_REASON = "SCHEMA_MALFORMED"

_new = tuple.__new__
"""A named tuple without the call of its own constructor, which takes longer than the tuple."""

LEDGER_SOURCE = "audit"
"""The source of what the ledger itself says; only its own commands may write in that name."""


class Message(NamedTuple):
    """What arrives for a log: the event bytes as the producer sent them, and what came along."""

    event: bytes
    signature: bytes | None = None
    source: SourceSpan | None = None


class Incoming(NamedTuple):
    """A checked message: the draft of its entry, and its columns, without a recorded time yet.

    The decoded event is not kept: a batch would only make the garbage collector walk it.
    """

    draft: Draft
    columns: Columns

    @property
    def is_quarantined(self) -> bool:
        """True when it may not enter as what it claims to be."""
        return self.draft.kind is Kind.QUARANTINED


def accept(message: Message, kind: Kind = Kind.EVENT) -> Incoming:
    """Check a message. Raises LimitExceeded when it is larger than a leaf can hold."""
    if len(message.event) > MAX_EVENT_IN_LEAF_BYTES:
        raise LimitExceeded(
            f"a message of {len(message.event)} bytes does not fit a leaf "
            f"(limit {MAX_EVENT_IN_LEAF_BYTES}); put large values into the blob store"
        )
    if message.signature is not None and len(message.signature) != SIGNATURE_BYTES:
        text = f"{SIGNATURE_REASON}: {len(message.signature)} bytes, not {SIGNATURE_BYTES}"
        return quarantine(message._replace(signature=None), text)
    try:
        event = decode_event(message.event)
    except (FormatError, LimitExceeded) as error:
        return quarantine(message, f"{UNDECODABLE_REASON}: {error}")
    fault = _fault(event) if kind is Kind.EVENT else None
    if fault is not None:
        return quarantine(message, fault)
    data, signature, source = message
    draft = _new(Draft, (kind, EVENT_SCHEMA_HASH, source, None, signature, data))
    return _new(Incoming, (draft, make_columns(draft, event)))


def _fault(event: Event) -> str | None:
    """Why a well-formed event may not be a producer's, if so."""
    if event.source == LEDGER_SOURCE or event.type in CONTROL_TYPES:
        return f"{RESERVED_REASON}: only the ledger itself writes {event.type} from {event.source}"
    is_schema = event.type == SCHEMA
    if is_schema != (event.source == SCHEMA_SOURCE):
        return f"{SCHEMA_REASON}: schemas are events of type schema from {SCHEMA_SOURCE}"
    return _schema_fault(event) if is_schema else None


def _schema_fault(event: Event) -> str | None:
    """Why an event of type schema may not stand for its schema, if so.

    Its id is the digest of its text and nothing else is in it: so that every emitter sends the same
    bytes for the same schema, and a swapped schema shows.
    """
    try:
        expected = schema_event(event.payload)
    except InvalidInput as error:
        return f"{SCHEMA_REASON}: {error}"
    if event != expected:
        return f"{SCHEMA_REASON}: the event says more, or other, than its schema's text"
    return None


def quarantine(message: Message, reason: str) -> Incoming:
    """The QUARANTINED draft of a message: its bytes, never folded, with the reason."""
    reason = reason.encode(errors="replace")[:MAX_REASON_BYTES].decode(errors="ignore")
    draft = Draft(Kind.QUARANTINED, None, message.source, reason, message.signature, message.event)
    return Incoming(draft, make_columns(draft, None))
