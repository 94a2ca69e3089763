"""The Confluent wire format as a framing of events on their way: to it and back, bytes only.

    value = %x00 schema-id body         ; what a topic with a schema registry holds
    schema-id = 4 bytes, big endian     ; the registry's number for event.v1
    event = %xC3 %x01 fingerprint body  ; what is signed and sealed (audit.event.envelope)

The body is the same in both. A registry's id means nothing without that registry, so it stays
outside the event: signature, leaf and offline verifier never see it.
"""

from audit.errors import FormatError, InvalidInput
from audit.event.envelope import EVENT_PREFIX

MAGIC = b"\x00"
ID_BYTES = 4
HEADER_BYTES = len(MAGIC) + ID_BYTES
MAX_SCHEMA_ID = 2**31 - 1
"""Registries count in signed 32-bit numbers."""

_PREFIX_BYTES = len(EVENT_PREFIX)


def to_confluent(event: bytes, schema_id: int) -> bytes:
    """An event in the framing of a registry that knows event.v1 as `schema_id`.

    Raises FormatError for bytes that are no event.v1, InvalidInput for a number that is no id.
    """
    if event[:_PREFIX_BYTES] != EVENT_PREFIX or len(event) == _PREFIX_BYTES:
        raise FormatError(
            f"{len(event)} bytes that are no event.v1 cannot be framed for a registry"
        )
    if not 0 <= schema_id <= MAX_SCHEMA_ID:
        raise InvalidInput(f"a schema id is 0 to {MAX_SCHEMA_ID}, not {schema_id}")
    return MAGIC + schema_id.to_bytes(ID_BYTES, "big") + event[_PREFIX_BYTES:]


def from_confluent(value: bytes) -> tuple[int, bytes]:
    """The schema id of a framed value, and all that follows it. Raises FormatError."""
    if value[:1] != MAGIC:
        begin = value[:HEADER_BYTES].hex() or "nothing"
        raise FormatError(f"neither an event nor framed by a registry: begins with {begin}")
    if len(value) <= HEADER_BYTES:
        raise FormatError(f"{len(value)} bytes framed by a registry, without a body: cut off")
    schema_id = int.from_bytes(value[1:HEADER_BYTES], "big")
    if schema_id > MAX_SCHEMA_ID:
        raise FormatError(f"schema id {schema_id} is beyond what registries count to")
    return schema_id, value[HEADER_BYTES:]


def single_object(body: bytes) -> bytes:
    """The event of a body of event.v1. Whether the body is one, `decode_event` says."""
    return EVENT_PREFIX + body
