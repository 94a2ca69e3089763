"""Reading the envelope: bytes to an event, strictly, and without trust in any size it claims.

Written by hand because it is in the path of every event (tests/event/bench_event.py has figures).
No slice is checked by itself. One that reaches past the end leaves `pos` there, and then the next
index fails, or the last comparison does.
"""

from typing import Any

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
from audit.event.wire import decode_long

_TWO_NULLS = b"\x00\x00"
_FOUR_NULLS = b"\x00\x00\x00\x00"
_SIX_NULLS = b"\x00\x00\x00\x00\x00\x00"
_new = tuple.__new__
# What was checked once.
_types: dict[bytes, str] = {}
_sources: dict[bytes, str] = {}


def decode_event(data: bytes) -> Event:
    """The event in the bytes, all of them. Raises FormatError, LimitExceeded."""
    if type(data) is not bytes:
        data = bytes(data)
    if len(data) > MAX_EVENT_BYTES:
        raise LimitExceeded(f"event of {len(data)} bytes: at most {MAX_EVENT_BYTES}")
    if data[:10] != EVENT_PREFIX:
        raise FormatError("not an event: does not begin with C3 01 and the fingerprint of event.v1")
    try:
        head, pos = _decode_head(data)
        tail, pos = _decode_tail(data, pos)
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
    return _new(Event, head + tail)


def _decode_head(data: bytes) -> tuple[tuple[Any, ...], int]:
    """The fields from event_id to valid_time_us."""
    size = data[10]
    if size & 0x81:
        size, pos = _size(data, 10, "event_id", MAX_EVENT_ID_BYTES)
    else:
        size >>= 1
        pos = 11
    end = pos + size
    event_id = str(data[pos:end], "utf-8")
    size = data[end]
    if size & 0x81:
        size, pos = _size(data, end, "type", MAX_TYPE_BYTES)
    else:
        size >>= 1
        pos = end + 1
    end = pos + size
    raw = data[pos:end]
    type_ = _types.get(raw) or _decode_type(raw, "type")
    size = data[end]
    if size & 0x81:
        size, pos = _size(data, end, "source", MAX_SOURCE_BYTES)
    else:
        size >>= 1
        pos = end + 1
    end = pos + size
    raw = data[pos:end]
    source = _sources.get(raw) or _decode_source(raw)
    if not event_id:
        raise FormatError("event_id is empty")
    entity_type = entity_key = valid_time_us = None
    if data[end]:
        size = data[end + 1]
        if data[end] == 2 and not size & 0x81:
            pos = end + 2
            end = pos + (size >> 1)
        else:
            size, pos = _some(data, end, "entity_type", MAX_TYPE_BYTES)
            end = pos + size
        raw = data[pos:end]
        entity_type = _types.get(raw) or _decode_type(raw, "entity_type")
    else:
        end += 1
    if data[end]:
        size = data[end + 1]
        if data[end] == 2 and not size & 0x81:
            pos = end + 2
            end = pos + (size >> 1)
        else:
            size, pos = _some(data, end, "entity_key", MAX_KEY_BYTES)
            end = pos + size
        entity_key = str(data[pos:end], "utf-8")
    else:
        end += 1
    if entity_type is None or type_[:5] == "data.":
        refusal = entity_refusal(type_, entity_type, entity_key)
        if refusal is not None:
            raise FormatError(refusal)
    if data[end]:
        if data[end] != 2:
            raise _bad_branch("valid_time_us")
        valid_time_us, end = decode_long(data, end + 1)
        if not MIN_TIME_US <= valid_time_us <= MAX_TIME_US:
            raise FormatError(f"valid time {valid_time_us} us is outside the years 0001 to 9999")
    else:
        end += 1
    return (event_id, type_, source, entity_type, entity_key, valid_time_us), end


def _decode_tail(data: bytes, pos: int) -> tuple[tuple[Any, ...], int]:
    """The fields from actor to producer_sequence."""
    if data[pos : pos + 6] == _SIX_NULLS:
        texts: tuple[str | None, ...] = (None, None, None, None, None, None)
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
    if data[end:] == _FOUR_NULLS:
        return (*texts, payload_schema, payload, None, None, None, None), end + 4
    subject = encryption = producer_id = producer_sequence = None
    if data[end : end + 2] == _TWO_NULLS:
        end += 2
    else:
        subject, encryption, end = _decode_privacy(data, end)
    if data[end]:
        size, pos = _some(data, end, "producer_id", MAX_SOURCE_BYTES)
        end = pos + size
        producer_id = str(data[pos:end], "utf-8")
    else:
        end += 1
    if data[end]:
        if data[end] != 2:
            raise _bad_branch("producer_sequence")
        producer_sequence, end = decode_long(data, end + 1)
        if producer_sequence < 0:
            raise FormatError("producer_sequence is negative")
    else:
        end += 1
    return (
        *texts,
        payload_schema,
        payload,
        subject,
        encryption,
        producer_id,
        producer_sequence,
    ), end


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


def _decode_type(raw: bytes, name: str) -> str:
    text = str(raw, "utf-8")
    if NAME.fullmatch(text) is None:
        raise FormatError(f"{name} {text[:64]!r} is not made of a-z, 0-9, _ . -")
    if len(_types) < MAX_CACHED:
        _types[raw] = text
    return text


def _decode_source(raw: bytes) -> str:
    if not raw:
        raise FormatError("source is empty")
    text = str(raw, "utf-8")
    if len(_sources) < MAX_CACHED:
        _sources[raw] = text
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
