"""The envelope `event.v1`: what a producer says happened, as bytes and back.

Avro single-object encoding (Avro 1.11 specification, "Single-object encoding"):

    event = %xC3 %x01 fingerprint body
    fingerprint = 8 bytes, CRC-64-AVRO of event.v1's parsing canonical form, little endian
    body = the fields of `Event` in their order; what may be null has its union branch first

Decoding is strict: the shortest form of every number, every limit, all of the input. So an event
has one encoding, and a decoded event encodes to the same bytes again. Both directions are written
by hand: they are in the path of every event (figures: tests/event/bench_event.py).
"""

import re
from typing import Any, NamedTuple

from audit.errors import FormatError, InvalidInput, LimitExceeded
from audit.event.canonical import builtin, schema_hash
from audit.event.fingerprint import single_object_prefix
from audit.event.times import MAX_TIME_US, MIN_TIME_US
from audit.event.wire import LENGTHS, MAX_INT64, decode_long, encode_long, encode_size

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

RESERVED_ENTITY_TYPES = frozenset({"prediction", "run", "model", "dataset", "schema", "key"})
"""Words that name things which are no dataset; refused as the entity type of data events."""

EVENT_SCHEMA = builtin("event.v1")
EVENT_SCHEMA_HASH = schema_hash(EVENT_SCHEMA)
"""SHA-256 of the canonical JSON of schemas/event.v1.avsc: what entries name as the schema."""
EVENT_PREFIX = single_object_prefix(EVENT_SCHEMA)
"""First ten bytes of every event."""

_NAME = re.compile(r"[a-z][a-z0-9_.-]*", re.ASCII)
_MAX_CACHED = 4_096
# Types, sources and entity types are few and come again: each is checked and encoded once.
_encoded_types: dict[str, bytes] = {}
_encoded_entity_types: dict[str | None, bytes] = {None: b"\x00"}
_decoded_types: dict[bytes, str] = {}
_SOME_LENGTHS = tuple(b"\x02" + size for size in LENGTHS)


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


_TEXT_LIMITS = (
    ("actor", MAX_TEXT_BYTES),
    ("reason", MAX_TEXT_BYTES),
    ("transaction_id", MAX_TEXT_BYTES),
    ("supersedes", MAX_EVENT_ID_BYTES),
    ("request_id", MAX_TEXT_BYTES),
    ("trace_id", MAX_TEXT_BYTES),
)
_SIX_NULLS = b"\x00" * 6
_FOUR_NULLS = b"\x00" * 4


def encode_event(event: Event) -> bytes:
    """The bytes of an event. Raises InvalidInput naming the field, LimitExceeded."""
    (
        event_id, type_, source, entity_type, entity_key, valid_time_us,
        actor, reason, transaction_id, supersedes, request_id, trace_id,
        payload_schema, payload, subject, encryption, producer_id, producer_sequence,
    ) = event  # fmt: skip
    try:
        id_raw = event_id.encode()
        source_raw = source.encode()
        head = _encoded_types.get(type_) or _encode_type(type_)
        entity = _encoded_entity_types.get(entity_type) or _encode_entity_type(entity_type)
        if type_[:5] == "data." or entity_key is None or entity_type is None:
            refusal = _entity_refusal(type_, entity_type, entity_key)
            if refusal is not None:
                raise InvalidInput(refusal)
        id_size = len(id_raw)
        source_size = len(source_raw)
        if not 0 < id_size <= MAX_EVENT_ID_BYTES or not 0 < source_size <= MAX_SOURCE_BYTES:
            raise _bad_id(id_size, source_size)
        if type(payload) is not bytes:
            raise InvalidInput(f"payload is bytes, not {type(payload).__name__}")
        out = [
            EVENT_PREFIX,
            LENGTHS[id_size],
            id_raw,
            head,
            LENGTHS[source_size],
            source_raw,
            entity,
        ]
        if entity_key is None:
            out.append(b"\x00")
        else:
            raw = entity_key.encode()
            if len(raw) > MAX_KEY_BYTES:
                raise too_long("entity_key", len(raw), MAX_KEY_BYTES)
            out.append(_SOME_LENGTHS[len(raw)])
            out.append(raw)
        if valid_time_us is None:
            out.append(b"\x00")
        else:
            if not MIN_TIME_US <= valid_time_us <= MAX_TIME_US:
                raise InvalidInput(f"valid time {valid_time_us} us is outside years 0001 to 9999")
            out.append(b"\x02" + encode_long(valid_time_us))
        texts = (actor, reason, transaction_id, supersedes, request_id, trace_id)
        for text, (name, limit) in zip(texts, _TEXT_LIMITS, strict=True):
            out.append(b"\x00" if text is None else _encode_text(name, text, limit))
        if payload_schema is None:
            out.append(b"\x00")
        else:
            if type(payload_schema) is not bytes or len(payload_schema) != HASH_BYTES:
                raise InvalidInput("payload_schema is a SHA-256: 32 bytes")
            out.append(b"\x02")
            out.append(payload_schema)
        out.append(encode_size(len(payload)))
        out.append(payload)
        if subject is None and encryption is None and producer_id is None:
            out.append(b"\x00\x00\x00")
        else:
            out.append(_encode_privacy(subject, encryption, producer_id))
        out.append(b"\x00" if producer_sequence is None else _encode_sequence(producer_sequence))
        data = b"".join(out)
    except (AttributeError, TypeError, UnicodeEncodeError):
        raise _bad_type(event) from None
    if len(data) > MAX_EVENT_BYTES:
        raise LimitExceeded(
            f"event of {len(data)} bytes: at most {MAX_EVENT_BYTES}; refer to large values by digest"
        )
    return data


def _encode_type(type_: str) -> bytes:
    encoded = _encode_name("type", type_)
    if len(_encoded_types) < _MAX_CACHED:
        _encoded_types[type_] = encoded
    return encoded


def _encode_entity_type(entity_type: str) -> bytes:
    encoded = b"\x02" + _encode_name("entity_type", entity_type)
    if len(_encoded_entity_types) < _MAX_CACHED:
        _encoded_entity_types[entity_type] = encoded
    return encoded


def _encode_name(field: str, name: str) -> bytes:
    if _NAME.fullmatch(name) is None or len(name) > MAX_TYPE_BYTES:
        raise InvalidInput(
            f"{field} {name[:64]!r} is not made of a-z, 0-9, _ . - beginning with a letter,"
            f" at most {MAX_TYPE_BYTES} bytes"
        )
    raw = name.encode()
    return LENGTHS[len(raw)] + raw


def _encode_text(name: str, text: str, limit: int) -> bytes:
    raw = text.encode()
    if len(raw) > limit:
        raise too_long(name, len(raw), limit)
    return _SOME_LENGTHS[len(raw)] + raw


def _encode_privacy(
    subject: str | None, encryption: Encryption | None, producer_id: str | None
) -> bytes:
    out = b"\x00" if subject is None else _encode_text("subject", subject, MAX_KEY_BYTES)
    if encryption is None:
        out += b"\x00"
    else:
        key_id, nonce = encryption
        out += _encode_text("encryption.key_id", key_id, MAX_KEY_ID_BYTES)
        if type(nonce) is not bytes or len(nonce) > MAX_NONCE_BYTES:
            raise InvalidInput(f"encryption.nonce is at most {MAX_NONCE_BYTES} bytes")
        out += LENGTHS[len(nonce)] + nonce
    if producer_id is None:
        return out + b"\x00"
    return out + _encode_text("producer_id", producer_id, MAX_SOURCE_BYTES)


def _encode_sequence(producer_sequence: int) -> bytes:
    if not 0 <= producer_sequence <= MAX_INT64:
        raise InvalidInput(f"producer_sequence {producer_sequence} is not within 0 and 2^63-1")
    return b"\x02" + encode_long(producer_sequence)


def too_long(name: str, size: int, limit: int) -> LimitExceeded:
    """The error for a field that is longer than its limit."""
    return LimitExceeded(f"{name} of {size} bytes: at most {limit}")


def _bad_id(id_size: int, source_size: int) -> InvalidInput:
    if id_size == 0 or source_size == 0:
        return InvalidInput(f"{'event_id' if id_size == 0 else 'source'} is empty")
    if id_size > MAX_EVENT_ID_BYTES:
        return too_long("event_id", id_size, MAX_EVENT_ID_BYTES)
    return too_long("source", source_size, MAX_SOURCE_BYTES)


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
    return InvalidInput("encryption is null or a key id (string) and a nonce (bytes)")


def _entity_refusal(type_: str, entity_type: str | None, entity_key: str | None) -> str | None:
    """Why this type of event cannot be about this entity; None when it can."""
    if entity_type is None and entity_key is not None:
        return "entity_key without an entity_type"
    if not type_.startswith("data."):
        return None
    if entity_type is None:
        return f"{type_} names no entity_type (its dataset)"
    if entity_type in RESERVED_ENTITY_TYPES:
        return f"entity type {entity_type!r} is a reserved word, and no dataset"
    if entity_key is None and type_ != "data.truncate":
        return f"{type_} names no entity_key"
    return None


def decode_event(data: bytes) -> Event:
    """The event in the bytes, all of them. Raises FormatError, LimitExceeded."""
    if len(data) > MAX_EVENT_BYTES:
        raise LimitExceeded(f"event of {len(data)} bytes: at most {MAX_EVENT_BYTES}")
    if data[:10] != EVENT_PREFIX:
        raise FormatError("not an event: does not begin with C3 01 and the fingerprint of event.v1")
    try:
        # No slice is checked by itself. One that reaches past the end leaves `pos` there, and then
        # the next index fails, or the last comparison does.
        event, pos = _decode_body(data)
    except IndexError:
        raise FormatError("event is cut off") from None
    except UnicodeDecodeError:
        raise FormatError("event holds text that is not UTF-8") from None
    if pos != len(data):
        raise FormatError(
            f"event has {len(data) - pos} bytes after its end"
            if pos < len(data)
            else "event is cut off"
        )
    return event


def _decode_body(data: bytes) -> tuple[Event, int]:
    size, pos = _size(data, 10, "event_id", MAX_EVENT_ID_BYTES)
    end = pos + size
    event_id = str(data[pos:end], "utf-8")
    size, pos = _size(data, end, "type", MAX_TYPE_BYTES)
    end = pos + size
    raw = data[pos:end]
    type_ = _decoded_types.get(raw) or _decode_type(raw, "type")
    size, pos = _size(data, end, "source", MAX_SOURCE_BYTES)
    end = pos + size
    source = str(data[pos:end], "utf-8")
    if not event_id or not source:
        raise FormatError("event_id or source is empty")
    pos = end
    entity_type = entity_key = None
    if data[pos]:
        size, pos = _some(data, pos, "entity_type", MAX_TYPE_BYTES)
        end = pos + size
        raw = data[pos:end]
        entity_type = _decoded_types.get(raw) or _decode_type(raw, "entity_type")
        pos = end
    else:
        pos += 1
    if data[pos]:
        size, pos = _some(data, pos, "entity_key", MAX_KEY_BYTES)
        end = pos + size
        entity_key = str(data[pos:end], "utf-8")
        pos = end
    else:
        pos += 1
    if type_[:5] == "data." or entity_type is None:
        refusal = _entity_refusal(type_, entity_type, entity_key)
        if refusal is not None:
            raise FormatError(refusal)
    valid_time_us = None
    if data[pos]:
        valid_time_us, pos = _decode_valid_time(data, pos)
    else:
        pos += 1
    texts: tuple[str | None, ...] | list[str | None]
    if data[pos : pos + 6] == _SIX_NULLS:
        texts = (None, None, None, None, None, None)
        pos += 6
    else:
        texts, pos = _decode_texts(data, pos)
    payload_schema = None
    branch = data[pos]
    pos += 1
    if branch:
        if branch != 2:
            raise _bad_branch("payload_schema")
        end = pos + HASH_BYTES
        payload_schema = data[pos:end]
        pos = end
    size, pos = _size(data, pos, "payload", MAX_EVENT_BYTES)
    end = pos + size
    payload = data[pos:end]
    rest: tuple[Any, ...]
    if data[end:] == _FOUR_NULLS:
        rest = (None, None, None, None)
        pos = end + 4
    else:
        rest, pos = _decode_rest(data, end)
    return Event(
        event_id, type_, source, entity_type, entity_key, valid_time_us, *texts,
        payload_schema, payload, *rest,
    ), pos  # fmt: skip


def _size(data: bytes, pos: int, name: str, limit: int) -> tuple[int, int]:
    byte = data[pos]
    if byte & 0x81:
        size, pos = decode_long(data, pos)
        if size < 0:
            raise FormatError(f"{name} has a negative size")
    else:
        size = byte >> 1
        pos += 1
    if size > limit:
        raise too_long(name, size, limit)
    return size, pos


def _some(data: bytes, pos: int, name: str, limit: int) -> tuple[int, int]:
    if data[pos] != 2:
        raise _bad_branch(name)
    return _size(data, pos + 1, name, limit)


def _bad_branch(name: str) -> FormatError:
    return FormatError(f"{name} is neither null nor there (no such union branch)")


def _decode_type(raw: bytes, name: str) -> str:
    text = str(raw, "utf-8")
    if _NAME.fullmatch(text) is None:
        raise FormatError(f"{name} {text[:64]!r} is not made of a-z, 0-9, _ . -")
    if len(_decoded_types) < _MAX_CACHED:
        _decoded_types[raw] = text
    return text


def _decode_valid_time(data: bytes, pos: int) -> tuple[int, int]:
    if data[pos] != 2:
        raise _bad_branch("valid_time_us")
    value, pos = decode_long(data, pos + 1)
    if not MIN_TIME_US <= value <= MAX_TIME_US:
        raise FormatError(f"valid time {value} us since 1970 is outside the years 0001 to 9999")
    return value, pos


def _decode_texts(data: bytes, pos: int) -> tuple[list[str | None], int]:
    texts: list[str | None] = []
    for name, limit in _TEXT_LIMITS:
        if data[pos]:
            size, pos = _some(data, pos, name, limit)
            end = pos + size
            texts.append(str(data[pos:end], "utf-8"))
            pos = end
        else:
            texts.append(None)
            pos += 1
    return texts, pos


def _decode_rest(data: bytes, pos: int) -> tuple[tuple[Any, ...], int]:
    subject = encryption = producer_id = producer_sequence = None
    if data[pos]:
        size, pos = _some(data, pos, "subject", MAX_KEY_BYTES)
        subject = str(data[pos : pos + size], "utf-8")
        pos += size
    else:
        pos += 1
    if data[pos]:
        size, pos = _some(data, pos, "encryption.key_id", MAX_KEY_ID_BYTES)
        key_id = str(data[pos : pos + size], "utf-8")
        size, pos = _size(data, pos + size, "encryption.nonce", MAX_NONCE_BYTES)
        encryption = Encryption(key_id, data[pos : pos + size])
        pos += size
    else:
        pos += 1
    if data[pos]:
        size, pos = _some(data, pos, "producer_id", MAX_SOURCE_BYTES)
        producer_id = str(data[pos : pos + size], "utf-8")
        pos += size
    else:
        pos += 1
    if data[pos]:
        if data[pos] != 2:
            raise _bad_branch("producer_sequence")
        producer_sequence, pos = decode_long(data, pos + 1)
        if producer_sequence < 0:
            raise FormatError("producer_sequence is negative")
    else:
        pos += 1
    return (subject, encryption, producer_id, producer_sequence), pos


def same_event(first: bytes, second: bytes) -> bool:
    """Whether two event byte strings say the same, apart from who sent them and their count.

    Bytes that are no events are the same only when they are equal.
    """
    if first == second:
        return True
    try:
        one, other = decode_event(first), decode_event(second)
    except InvalidInput:
        return False
    return one._replace(producer_id=None, producer_sequence=None) == other._replace(
        producer_id=None, producer_sequence=None
    )
