"""A quarantined message that was recorded after all: what links its entry to the quarantined bytes.

Once the cause is mended, the message is sealed as an EVENT of the same log, and after it a CONTROL
entry `quarantine.retried` in that log says which is which:

    index        of the quarantined entry
    leaf_hash    of the quarantined entry, in hex
    event_index  of the event's entry; an earlier copy, where the producer had sent it again

The link's event id names the quarantined entry, so there is one link for each. The event goes
first: a crash between the two leaves an event without its link, and trying again finds the event as
a repeat and adds the link.
"""

from typing import NamedTuple

from audit.errors import FormatError
from audit.event.book import SchemaBook
from audit.event.build import record_event
from audit.event.envelope import EVENT_PREFIX, Event, encode_event
from audit.event.payload import decode_payload
from audit.log.intake import LEDGER_SOURCE
from audit.tlog.hashing import HASH_BYTES

RETRIED_TYPE = "quarantine.retried"

REGISTRY_MAGIC = b"\x00"
REGISTRY_HEADER_BYTES = 5
"""What a schema registry's framing puts in place of EVENT_PREFIX: a zero, then its id."""


class Retried(NamedTuple):
    """One link."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    leaf_hash: bytes
    event_index: int


def retried_event(retried: Retried, reason: str | None = None) -> bytes:
    """The event of the CONTROL entry, encoded. Raises InvalidInput, LimitExceeded for `reason`."""
    data = {
        "index": retried.index,
        "leaf_hash": retried.leaf_hash.hex(),
        "event_index": retried.event_index,
    }
    event_id = retried_id(retried.index)
    built = record_event(RETRIED_TYPE, data, event_id=event_id, source=LEDGER_SOURCE, reason=reason)
    return encode_event(built.event)


def retried_id(index: int) -> str:
    """The event id of the link of a quarantined entry."""
    return f"{RETRIED_TYPE}:{index}"


def parse_retried(event: Event) -> Retried:
    """The link that an event is. Raises FormatError."""
    match decode_payload(event, SchemaBook.with_builtins()):
        case {"index": int(index), "leaf_hash": str(text), "event_index": int(event_index)}:
            try:
                leaf_hash = bytes.fromhex(text)
            except ValueError:
                leaf_hash = b""
            if len(leaf_hash) == HASH_BYTES and index >= 0 and event_index >= 0:
                return Retried(index, leaf_hash, event_index)
    raise FormatError("it does not say which entry was retried as which")


def readings(quarantined: bytes) -> tuple[bytes, ...]:
    """The events that quarantined bytes may be: as they are, and without a registry's framing."""
    if quarantined[:1] != REGISTRY_MAGIC or len(quarantined) <= REGISTRY_HEADER_BYTES:
        return (quarantined,)
    return quarantined, EVENT_PREFIX + quarantined[REGISTRY_HEADER_BYTES:]
