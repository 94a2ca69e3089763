"""Writing the envelope: an event to its bytes, with every limit checked.

Written by hand because it is in the path of every event (tests/event/bench_event.py has figures).
"""

from audit.errors import InvalidInput, LimitExceeded
from audit.event.envelope_form import (
    EVENT_PREFIX,
    HASH_BYTES,
    MAX_CACHED,
    MAX_EVENT_BYTES,
    MAX_EVENT_ID_BYTES,
    MAX_KEY_BYTES,
    MAX_KEY_ID_BYTES,
    MAX_NONCE_BYTES,
    MAX_SOURCE_BYTES,
    MAX_TEXT_BYTES,
    MAX_TYPE_BYTES,
    NAME,
    Encryption,
    Event,
    entity_refusal,
    too_long,
)
from audit.event.shown import shown
from audit.event.times import MAX_TIME_US, MIN_TIME_US
from audit.event.wire import LENGTHS, MAX_INT64, encode_long, encode_size

_HEADS = tuple(EVENT_PREFIX + size for size in LENGTHS[: MAX_EVENT_ID_BYTES + 1])
_SOME = tuple(b"\x02" + size for size in LENGTHS)
_NULL = b"\x00"
# Encoded with their size once checked.
_types: dict[str, bytes] = {}
_sources: dict[str, bytes] = {}
_entity_types: dict[str | None, bytes] = {None: _NULL}


def encode_event(event: Event) -> bytes:
    """The bytes of an event. Raises InvalidInput naming the field, LimitExceeded."""
    (
        event_id, type_, source, entity_type, entity_key, valid_time_us,
        actor, reason, transaction_id, supersedes, request_id, trace_id,
        payload_schema, payload, subject, encryption, producer_id, producer_sequence,
    ) = event  # fmt: skip
    try:
        id_raw = event_id.encode()
        id_size = len(id_raw)
        if not 0 < id_size <= MAX_EVENT_ID_BYTES:
            raise _bad_size("event_id", id_size, MAX_EVENT_ID_BYTES)
        if entity_type is None or entity_key is None or type_[:5] == "data.":
            refusal = entity_refusal(type_, entity_type, entity_key)
            if refusal is not None:
                raise InvalidInput(refusal)
        if type(payload) is not bytes:
            raise InvalidInput(f"payload is bytes, not {type(payload).__name__}")
        data = b"".join(
            (
                _HEADS[id_size],
                id_raw,
                _types.get(type_) or _encode_type(type_),
                _sources.get(source) or _encode_source(source),
                _entity_types.get(entity_type) or _encode_entity_type(entity_type),
                _NULL if entity_key is None else _text("entity_key", entity_key, MAX_KEY_BYTES),
                _NULL if valid_time_us is None else _valid_time(valid_time_us),
                _NULL if actor is None else _text("actor", actor),
                _NULL if reason is None else _text("reason", reason),
                _NULL if transaction_id is None else _text("transaction_id", transaction_id),
                _NULL
                if supersedes is None
                else _text("supersedes", supersedes, MAX_EVENT_ID_BYTES),
                _NULL if request_id is None else _text("request_id", request_id),
                _NULL if trace_id is None else _text("trace_id", trace_id),
                _NULL if payload_schema is None else _schema(payload_schema),
                encode_size(len(payload)),
                payload,
                _NULL if subject is None else _text("subject", subject, MAX_KEY_BYTES),
                _NULL if encryption is None else _encryption(encryption),
                _NULL
                if producer_id is None
                else _text("producer_id", producer_id, MAX_SOURCE_BYTES),
                _NULL if producer_sequence is None else _sequence(producer_sequence),
            )
        )
    except (AttributeError, TypeError, UnicodeEncodeError):
        raise _bad_type(event) from None
    if len(data) > MAX_EVENT_BYTES:
        raise LimitExceeded(
            f"event of {len(data)} bytes: at most {MAX_EVENT_BYTES};"
            " refer to large values by digest"
        )
    return data


def _encode_type(type_: str) -> bytes:
    encoded = _name("type", type_)
    if len(_types) < MAX_CACHED:
        _types[type_] = encoded
    return encoded


def _encode_entity_type(entity_type: str | None) -> bytes:
    encoded = b"\x02" + _name("entity_type", entity_type)
    if len(_entity_types) < MAX_CACHED:
        _entity_types[entity_type] = encoded
    return encoded


def _name(field: str, name: str | None) -> bytes:
    if name is None or NAME.fullmatch(name) is None or len(name) > MAX_TYPE_BYTES:
        raise InvalidInput(
            f"{field} {shown(name)} is not made of a-z, 0-9, _ . - beginning with a letter,"
            f" at most {MAX_TYPE_BYTES} bytes"
        )
    raw = name.encode()
    return LENGTHS[len(raw)] + raw


def _encode_source(source: str) -> bytes:
    raw = source.encode()
    if not 0 < len(raw) <= MAX_SOURCE_BYTES:
        raise _bad_size("source", len(raw), MAX_SOURCE_BYTES)
    encoded = LENGTHS[len(raw)] + raw
    if len(_sources) < MAX_CACHED:
        _sources[source] = encoded
    return encoded


def _text(name: str, text: str, limit: int = MAX_TEXT_BYTES) -> bytes:
    raw = text.encode()
    if len(raw) > limit:
        raise too_long(name, len(raw), limit)
    return _SOME[len(raw)] + raw


def _valid_time(us: int) -> bytes:
    if type(us) is not int:
        raise TypeError
    if not MIN_TIME_US <= us <= MAX_TIME_US:
        raise InvalidInput(
            f"valid time {shown(us)} us since 1970 is outside the years 0001 to 9999"
        )
    return b"\x02" + encode_long(us)


def _schema(payload_schema: bytes) -> bytes:
    if type(payload_schema) is not bytes or len(payload_schema) != HASH_BYTES:
        raise InvalidInput("payload_schema is a SHA-256: 32 bytes")
    return b"\x02" + payload_schema


def _encryption(encryption: Encryption) -> bytes:
    if type(encryption) is not Encryption:
        raise TypeError
    key_id, nonce = encryption
    if key_id == "":
        raise InvalidInput("encryption.key_id is empty")
    if type(nonce) is not bytes or len(nonce) > MAX_NONCE_BYTES:
        raise InvalidInput(f"encryption.nonce is at most {MAX_NONCE_BYTES} bytes")
    return _text("encryption.key_id", key_id, MAX_KEY_ID_BYTES) + LENGTHS[len(nonce)] + nonce


def _sequence(producer_sequence: int) -> bytes:
    if type(producer_sequence) is not int:
        raise TypeError
    if not 0 <= producer_sequence <= MAX_INT64:
        raise InvalidInput(
            f"producer_sequence {shown(producer_sequence)} is not within 0 and 2^63-1"
        )
    return b"\x02" + encode_long(producer_sequence)


def _bad_size(name: str, size: int, limit: int) -> InvalidInput:
    return too_long(name, size, limit) if size else InvalidInput(f"{name} is empty")


def _bad_type(event: Event) -> InvalidInput:
    """Which field has the wrong type, found after the fact to keep the common path short."""
    ints = ("valid_time_us", "producer_sequence")
    for name, value in zip(Event._fields, event, strict=True):
        if name in ("payload_schema", "payload", "encryption") or name in ints:
            continue
        if value is None and name not in ("event_id", "type", "source"):
            continue
        if not isinstance(value, str):
            return InvalidInput(f"{name} is a string, not {type(value).__name__}")
        try:
            value.encode()
        except UnicodeEncodeError:
            return InvalidInput(f"{name} holds a lone surrogate, which UTF-8 cannot spell")
    for name in ints:
        value = getattr(event, name)
        if value is not None and type(value) is not int:
            return InvalidInput(f"{name} is an integer, not {type(value).__name__}")
    return InvalidInput("encryption is an Encryption: a key id (string) and a nonce (bytes)")
