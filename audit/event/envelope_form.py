"""The form of the envelope `event.v1`: its fields, its limits, and what may be said about what."""

import re
from typing import NamedTuple

from audit.errors import LimitExceeded
from audit.event.canonical import builtin, schema_hash
from audit.event.fingerprint import single_object_prefix

MAX_EVENT_BYTES = 64_000
"""Longest event: what a leaf of 65,535 bytes has room for beside the rest of an entry."""
MAX_EVENT_ID_BYTES = 128
MAX_KEY_BYTES = 1_024
MAX_SOURCE_BYTES = 128
MAX_TYPE_BYTES = 128
MAX_TEXT_BYTES = 4_096
"""Longest actor, reason, transaction id, request id, trace id."""
MAX_KEY_ID_BYTES = 128
MAX_NONCE_BYTES = 64
HASH_BYTES = 32
MAX_CACHED = 4_096
"""How many types, sources and entity types are remembered as checked: they are few and repeat."""

RESERVED_ENTITY_TYPES = frozenset({"prediction", "run", "model", "dataset", "schema", "key"})
"""Words that name things which are no dataset; refused as the entity type of data events."""

EVENT_SCHEMA = builtin("event.v1")
EVENT_SCHEMA_HASH = schema_hash(EVENT_SCHEMA)
"""SHA-256 of the canonical JSON of schemas/event.v1.avsc: what entries name as the schema."""
EVENT_PREFIX = single_object_prefix(EVENT_SCHEMA)
"""First ten bytes of every event."""

NAME = re.compile(r"[a-z][a-z0-9_.-]*", re.ASCII)
"""What types and entity types are made of."""


class Encryption(NamedTuple):
    """How a payload is encrypted: with which key, and the nonce."""

    key_id: str
    nonce: bytes


class Event(NamedTuple):
    """What a producer says happened (the fields of `event.v1`). Times are microseconds, UTC."""

    event_id: str
    type: str
    source: str
    entity_type: str | None = None
    entity_key: str | None = None
    valid_time_us: int | None = None
    actor: str | None = None
    reason: str | None = None
    transaction_id: str | None = None
    supersedes: str | None = None
    request_id: str | None = None
    trace_id: str | None = None
    payload_schema: bytes | None = None
    payload: bytes = b""
    subject: str | None = None
    encryption: Encryption | None = None
    producer_id: str | None = None
    producer_sequence: int | None = None


def entity_refusal(type_: str, entity_type: str | None, entity_key: str | None) -> str | None:
    """Why this type of event cannot be about this entity; None when it can."""
    if not type_.startswith("data."):
        alone = entity_type is None and entity_key is not None
        return "entity_key without an entity_type" if alone else None
    if entity_type is None:
        return f"{type_} names no entity_type (its dataset)"
    if entity_type in RESERVED_ENTITY_TYPES:
        return f"entity type {entity_type!r} is a reserved word, and no dataset"
    if entity_key is None and type_ != "data.truncate":
        return f"{type_} names no entity_key"
    return None


def too_long(name: str, size: int, limit: int) -> LimitExceeded:
    """The error for a field that is longer than its limit."""
    return LimitExceeded(f"{name} of {size} bytes: at most {limit}")
