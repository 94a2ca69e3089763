"""Reading the envelope: bytes to an event, strictly, and without trust in any size it claims.

Written by hand because it is in the path of every event (tests/event/bench_event.py has figures).
No slice is checked by itself. One that reaches past the end leaves `pos` there, and then the next
index fails, or the last comparison does.
"""

from typing import Any, NamedTuple

from audit.errors import FormatError, InvalidInput, LimitExceeded
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
from audit.event.times import MAX_TIME_US, MIN_TIME_US
from audit.event.wire import LENGTHS, decode_long

_TWO_NULLS = b"\x00\x00"
_FOUR_NULLS = b"\x00\x00\x00\x00"
_SIX_NULLS = b"\x00\x00\x00\x00\x00\x00"
_new = tuple.__new__
_NO_TEXTS = (None, None, None, None, None, None)
_NO_REST = (None, None, None, None)
_SHORT_NAMES = 256
"""Longest combination of names that is remembered, in bytes."""
_names: "dict[bytes, _Names]" = {}


def decode_event(data: bytes) -> Event:
    """The event in the bytes, all of them. Raises FormatError, LimitExceeded."""
    if type(data) is not bytes:
        if not isinstance(data, bytes | bytearray | memoryview):
            raise FormatError(f"an event is bytes, not {type(data).__name__}")
        data = bytes(data)
    if len(data) > MAX_EVENT_BYTES:
        raise LimitExceeded(f"event of {len(data)} bytes: at most {MAX_EVENT_BYTES}")
    if data[:10] != EVENT_PREFIX:
        raise FormatError("not an event: does not begin with C3 01 and the fingerprint of event.v1")
    try:
        event, pos = _decode(data)
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


class _Names(NamedTuple):
    """Type, source and entity type as they follow each other in an event, checked."""

    type: str
    source: str
    entity_type: str | None
    needs_key: bool


def _decode(data: bytes) -> tuple[Event, int]:
    size = data[10]
    if size & 0x81:
        size, pos = _size(data, 10, "event_id", MAX_EVENT_ID_BYTES)
    else:
        size >>= 1
        pos = 11
    end = pos + size
    event_id = str(data[pos:end], "utf-8")
    if not size:
        raise FormatError("event_id is empty")
    # Type, source and entity type are nearly always a combination that was seen before. Where one
    # of their sizes takes more bytes, the slice below is anything, but no such combination: what is
    # remembered has sizes of one byte only.
    try:
        pos = end + 1 + (data[end] >> 1)
        pos += 1 + (data[pos] >> 1)
        pos += 2 + (data[pos + 1] >> 1) if data[pos] else 1
        names = _names.get(data[end:pos])
    except IndexError:
        names = None
    if names is None:
        names, pos = _decode_names(data, end)
    type_, source, entity_type, needs_key = names
    entity_key = valid_time_us = None
    if data[pos]:
        size, start = _some(data, pos, "entity_key", MAX_KEY_BYTES)
        pos = start + size
        entity_key = str(data[start:pos], "utf-8")
        if entity_type is None:
            raise FormatError("entity_key without an entity_type")
    else:
        if needs_key:
            raise FormatError(f"{type_} names no entity_key")
        pos += 1
    if data[pos]:
        valid_time_us, pos = _decode_valid_time(data, pos)
    else:
        pos += 1
    texts: tuple[str | None, ...] = _NO_TEXTS
    if data[pos : pos + 6] == _SIX_NULLS:
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
    rest: tuple[Any, ...] = _NO_REST
    if data[end:] == _FOUR_NULLS:
        end += 4
    else:
        rest, end = _decode_rest(data, end)
    head = (event_id, type_, source, entity_type, entity_key, valid_time_us)
    return _new(Event, (*head, *texts, payload_schema, payload, *rest)), end


def _decode_names(data: bytes, start: int) -> tuple[_Names, int]:
    size, pos = _size(data, start, "type", MAX_TYPE_BYTES)
    end = pos + size
    type_ = _checked_name(data[pos:end], "type")
    size, pos = _size(data, end, "source", MAX_SOURCE_BYTES)
    end = pos + size
    source = str(data[pos:end], "utf-8")
    if not source:
        raise FormatError("source is empty")
    entity_type = None
    if data[end]:
        size, pos = _some(data, end, "entity_type", MAX_TYPE_BYTES)
        end = pos + size
        entity_type = _checked_name(data[pos:end], "entity_type")
    else:
        end += 1
    if type_.startswith("data."):
        # Whether the key is there is seen later.
        refusal = entity_refusal(type_, entity_type, None if entity_type is None else "")
        if refusal is not None:
            raise FormatError(refusal)
    needs_key = entity_refusal(type_, entity_type, None) is not None
    names = _Names(type_, source, entity_type, needs_key)
    # Sizes of two bytes, and what was cut off, are not remembered (see _decode).
    if end <= len(data) and end - start < _SHORT_NAMES and len(_names) < MAX_CACHED:
        raw = data[start:end]
        if raw == _encoded(names):
            _names[raw] = names
    return names, end


def _encoded(names: _Names) -> bytes:
    """Type, source and entity type with sizes of one byte; something else if they are longer."""
    type_, source = names.type.encode(), names.source.encode()
    if max(len(type_), len(source), len(names.entity_type or "")) > 63:
        return b""
    out = LENGTHS[len(type_)] + type_ + LENGTHS[len(source)] + source
    if names.entity_type is None:
        return out + b"\x00"
    return out + b"\x02" + LENGTHS[len(names.entity_type)] + names.entity_type.encode()


def _decode_valid_time(data: bytes, pos: int) -> tuple[int, int]:
    if data[pos] != 2:
        raise _bad_branch("valid_time_us")
    us, pos = decode_long(data, pos + 1)
    if not MIN_TIME_US <= us <= MAX_TIME_US:
        raise FormatError(f"valid time {us} us since 1970 is outside the years 0001 to 9999")
    return us, pos


def _decode_rest(data: bytes, pos: int) -> tuple[tuple[Any, ...], int]:
    """The fields from subject to producer_sequence."""
    subject = encryption = producer_id = producer_sequence = None
    if data[pos : pos + 2] == _TWO_NULLS:
        pos += 2
    else:
        subject, encryption, pos = _decode_privacy(data, pos)
    if data[pos]:
        size, start = _some(data, pos, "producer_id", MAX_SOURCE_BYTES)
        pos = start + size
        producer_id = str(data[start:pos], "utf-8")
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


def _decode_texts(data: bytes, pos: int) -> tuple[tuple[str | None, ...], int]:
    actor = reason = None
    if data[pos]:
        size, start = _some(data, pos, "actor", MAX_TEXT_BYTES)
        pos = start + size
        actor = str(data[start:pos], "utf-8")
    else:
        pos += 1
    if data[pos]:
        size, start = _some(data, pos, "reason", MAX_TEXT_BYTES)
        pos = start + size
        reason = str(data[start:pos], "utf-8")
    else:
        pos += 1
    if data[pos : pos + 4] == _FOUR_NULLS:
        return (actor, reason, None, None, None, None), pos + 4
    texts: list[str | None] = [actor, reason]
    for name, limit in _MORE_TEXTS:
        if data[pos]:
            size, start = _some(data, pos, name, limit)
            pos = start + size
            texts.append(str(data[start:pos], "utf-8"))
        else:
            texts.append(None)
            pos += 1
    return tuple(texts), pos


_MORE_TEXTS = (
    ("transaction_id", MAX_TEXT_BYTES),
    ("supersedes", MAX_EVENT_ID_BYTES),
    ("request_id", MAX_TEXT_BYTES),
    ("trace_id", MAX_TEXT_BYTES),
)


def _decode_privacy(data: bytes, pos: int) -> tuple[str | None, Encryption | None, int]:
    subject = encryption = None
    if data[pos]:
        size, start = _some(data, pos, "subject", MAX_KEY_BYTES)
        pos = start + size
        subject = str(data[start:pos], "utf-8")
    else:
        pos += 1
    if data[pos]:
        size, start = _some(data, pos, "encryption.key_id", MAX_KEY_ID_BYTES)
        pos = start + size
        key_id = str(data[start:pos], "utf-8")
        if not key_id:
            raise FormatError("encryption.key_id is empty")
        size, start = _size(data, pos, "encryption.nonce", MAX_NONCE_BYTES)
        pos = start + size
        encryption = Encryption(key_id, data[start:pos])
    else:
        pos += 1
    return subject, encryption, pos


def _size(data: bytes, pos: int, name: str, limit: int) -> tuple[int, int]:
    byte = data[pos]
    if byte & 0x81:
        size, pos = decode_long(data, pos)
        if size < 0:
            raise FormatError(f"{name} has a negative size")
        if size > limit:
            raise too_long(name, size, limit)
        return size, pos
    # One byte says at most 63, which is within every limit.
    return byte >> 1, pos + 1


def _some(data: bytes, pos: int, name: str, limit: int) -> tuple[int, int]:
    if data[pos] != 2:
        raise _bad_branch(name)
    byte = data[pos + 1]
    if byte & 0x81:
        return _size(data, pos + 1, name, limit)
    return byte >> 1, pos + 2


def _bad_branch(name: str) -> FormatError:
    return FormatError(f"{name} is neither null nor there (no such union branch)")


def _checked_name(raw: bytes, name: str) -> str:
    text = str(raw, "utf-8")
    if NAME.fullmatch(text) is None:
        raise FormatError(f"{name} {text[:64]!r} is not made of a-z, 0-9, _ . -")
    return text


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
