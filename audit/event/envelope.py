"""The envelope `event.v1`: what a producer says happened, as bytes and back.

Avro single-object encoding (Avro 1.11 specification, "Single-object encoding"):

    event = %xC3 %x01 fingerprint body
    fingerprint = 8 bytes, CRC-64-AVRO of event.v1's parsing canonical form, little endian
    body = the fields of `Event` in their order; what may be null has its union branch first

Decoding is strict: the shortest form of every number, every limit, all of the input. So an event
has one encoding, and a decoded event encodes to the same bytes again.
"""

from audit.event.envelope_form import (
    EVENT_PREFIX,
    EVENT_SCHEMA,
    EVENT_SCHEMA_HASH,
    HASH_BYTES,
    MAX_EVENT_BYTES,
    MAX_EVENT_ID_BYTES,
    MAX_KEY_BYTES,
    MAX_KEY_ID_BYTES,
    MAX_NONCE_BYTES,
    MAX_SOURCE_BYTES,
    MAX_TEXT_BYTES,
    MAX_TYPE_BYTES,
    RESERVED_ENTITY_TYPES,
    Encryption,
    Event,
)
from audit.event.envelope_read import decode_event, same_event
from audit.event.envelope_write import encode_event

__all__ = [
    "EVENT_PREFIX",
    "EVENT_SCHEMA",
    "EVENT_SCHEMA_HASH",
    "HASH_BYTES",
    "MAX_EVENT_BYTES",
    "MAX_EVENT_ID_BYTES",
    "MAX_KEY_BYTES",
    "MAX_KEY_ID_BYTES",
    "MAX_NONCE_BYTES",
    "MAX_SOURCE_BYTES",
    "MAX_TEXT_BYTES",
    "MAX_TYPE_BYTES",
    "RESERVED_ENTITY_TYPES",
    "Encryption",
    "Event",
    "decode_event",
    "encode_event",
    "same_event",
]
